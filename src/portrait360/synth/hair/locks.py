"""Hair in locks: dreadlocks, box braids, and cornrows braided along the scalp."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.strands import braid, hair_dye, make_strands, resample, twist
from portrait360.synth.hair.ties import CENTER
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.sampling.hairstyles import HairStyle
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Strands

ROW_SPAN = 72.0  # degrees from the middle to the outermost cornrow


def make_locks(guides: np.ndarray, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator) -> Strands:
    """Make locks or braids along the grown guides (g, k, 3)."""
    paths = np.stack([resample(path, 26) for path in guides])
    outward = unit(paths - CENTER)
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1).mean() / HEAD_HEIGHT
    if style.locks == "locs":
        points = twist(paths, outward, 0.0125, 26, 3.2 * length, rng)
        return make_strands(points, 0.0062, hair_dye(parameters.hair), rng, taper=0.75, thin_root=1.0)
    points = braid(paths, outward, 0.0078, 8, 11 * length, rng)
    return make_strands(points, 0.0046, hair_dye(parameters.hair), rng, taper=0.8, thin_root=1.0)


def make_cornrows(head: Head, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator) -> Strands:
    """Make braids that run from the forehead over the scalp and hang from the nape."""
    rows = []
    for tilt in np.radians(np.linspace(-ROW_SPAN, ROW_SPAN, style.locks_count)):
        side = abs(np.degrees(tilt)) / ROW_SPAN
        sweep = np.radians(np.linspace(42 + 16 * side**2, 196 - 34 * side, 60))[:, None]
        up = np.array([np.sin(tilt), np.cos(tilt), 0.0])
        towards = unit(np.cos(sweep) * np.array([0, 0, 1.0]) + np.sin(sweep) * up).astype(np.float32)
        path = CENTER + (head.field.radius(CENTER, towards) + 0.007)[:, None] * towards
        hang = np.linspace(0, 1, 24)[1:, None] * (0.42 * parameters.hair.length * HEAD_HEIGHT)
        tail = path[-1] + hang * np.array([0.12 * np.sin(tilt), -1.0, -0.08])
        path = np.concatenate([path, head.field.push_out(tail, 0.014)])
        rows.append(resample(path, 90))
    paths = np.stack(rows)
    outward = unit(paths - CENTER)
    points = braid(paths, outward, 0.0105, 16, 24, rng)
    return make_strands(points, 0.0048, hair_dye(parameters.hair), rng, taper=0.7, thin_root=0.8)
