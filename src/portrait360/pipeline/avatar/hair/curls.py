"""The curls that a photo shows, on the hair that it does not show: each lies there as in the photo, the right way up.

Strands of curls run every way, and a pixel shows many of them: whatever colours they have, light and dark cancel out,
and what is left is felt. A curl of the photo with its gleam and the gap beside it is a place on the surface of the
hair, which all strands there share, as the grain of skin is. It is looked up pixel by pixel, for the points of a
strand lie further apart than what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.detail import CURLED, Example, read_detail
from portrait360.pipeline.avatar.hair.stains import find_clear_hair
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE, look_up_points, shrink
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.meshes import unit
from portrait360.synth.render.lights import sphere_directions
from portrait360.synth.render.strand_buffers import Curves
from portrait360.synth.scene import Part
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.vectors import measure_length

COUNT = 220  # patches all around the head, each wider than a curl
SOFT = 0.35  # width of their edges, in the distance between them
NEAREST = 3  # that blend at a point
WHORL = np.array([0.0, 1.0, -0.35])  # towards which patches are the right way up
GRAZING = (0.1, 0.45)  # cosine to the camera under which curls fade: narrower than a pixel, they would be stripes
TURNING = (16.0, 28.0)  # radians per canonical unit: straight hair turns as the head is round, by 5, short locks that
# are combed several ways by 15; curls by 20 to 60
PURE = 0.9  # purity of hair whose curls are taken


@dataclass(frozen=True, eq=False)
class Curls:
    """Patches of a photo's hair about the centre of the head."""

    detail: F32  # (s, s, 4) of the photo, see `Example`
    pixels: float  # of it per canonical unit
    strength: float
    outward: F64  # (n, 3) directions of the patches
    right: F64  # (n, 3) that of a step to the right in the photo
    up: F64  # (n, 3)
    places: F64  # (n, 2) their middles in the photo, pixels


def find_curls(photo: Photo, curves: Curves) -> Curls | None:
    """Return the curls of a photo; None of hair that is straight there or in its layers.

    The cracks of an old painting, and its blurs, look like curls; so do a few locks that are combed several ways.
    """
    turning = float(smoothstep(*TURNING, np.asarray(measure_turning(curves))))
    if turning == 0:
        return None
    pure = photo.shows(*HAIR) & (np.minimum(photo.pure, find_clear_hair(photo)) > PURE)
    example = read_detail(photo, shrink(pure, 3))
    if example is None or example.stretch >= CURLED:
        return None
    curls = lay_patches(example)
    return replace(curls, strength=turning * curls.strength)


def measure_turning(curves: Curves) -> float:
    """Return by how many radians strands of hair turn per canonical unit of their length; 0 without hair."""
    steps = curves.points[curves.segments + 1] - curves.points[curves.segments]
    length = measure_length(steps)
    along = steps / np.maximum(length, 1e-9)[:, None]
    hair = curves.part[curves.segments] == Part.HAIR
    joined = hair[:-1] & (curves.ends[:-1] & 2 == 0)
    cosine = np.clip((along[:-1] * along[1:]).sum(-1)[joined], -1, 1)
    return float(np.arccos(cosine).sum() / max(float(length[hair].sum()), 1e-6))


def lay_patches(example: Example) -> Curls:
    """Spread patches of an example around the head; some are mirrored."""
    rng = np.random.default_rng(43)
    outward = unit(sphere_directions(COUNT) + rng.normal(0, 0.25 / np.sqrt(COUNT), (COUNT, 3)))
    up = unit(WHORL - (outward @ WHORL)[:, None] * outward)
    right = np.cross(up, outward) * rng.choice([-1.0, 1.0], (COUNT, 1))
    places = example.places[rng.integers(len(example.places), size=COUNT)]
    strength = (CURLED - max(example.stretch, 1.0)) / (CURLED - 1)
    return Curls(example.detail, example.pixels, strength, outward, right, up, places)


def look_up_curls(curls: Curls, points: Floats, eye: Floats, step: float) -> F32:
    """Return what curls show at points (n, 3) of hair, seen from `eye`: logarithms of gains (n, 3).

    The points are `step` canonical units apart.
    """
    detail = curls.detail
    if step * curls.pixels > 0.8:
        detail = np.asarray(cv2.GaussianBlur(detail, (0, 0), 0.45 * step * curls.pixels), np.float32)
    off = np.asarray(points, np.float64) - HEAD_CENTRE
    radius = np.linalg.norm(off, axis=1)
    outward = off / np.maximum(radius, 1e-9)[:, None]
    distance, found = KDTree(curls.outward).query(outward, k=NEAREST)
    apart = np.sqrt(4 * np.pi / COUNT)
    total, power = np.zeros((len(off), 3), np.float32), np.full(len(off), 1e-6, np.float32)
    for away, patch in zip(np.asarray(distance).T, np.asarray(found).T, strict=True):
        across = (outward - curls.outward[patch]) * (radius * curls.pixels)[:, None]
        moved = np.stack([(across * curls.right[patch]).sum(1), -(across * curls.up[patch]).sum(1)], 1)
        shown = look_up_points(detail, (curls.places[patch] + moved) / len(detail))
        weight = np.asarray(np.exp(-0.5 * (away / (SOFT * apart)) ** 2), np.float32) * shown[:, 3]
        total += weight[:, None] * shown[:, :3]
        power += weight**2
    strength = curls.strength * smoothstep(*GRAZING, (outward * unit(eye - points)).sum(-1))
    return np.asarray(total * (strength / np.sqrt(power))[:, None], np.float32)
