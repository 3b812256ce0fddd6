"""A synthetic head unwrapped like its proxy: what the map of a perfect completion would hold.

The head is looked at by cameras all around, and each cell of the map takes what the cameras that look along its ray
see of the outermost surface there. The map is in the frame of a portrait: that of its crop and of its fitted angles,
so that the photo's pixels lie where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.head_map import HeadMap
from portrait360.geometry.scanned import unwrapped
from portrait360.synth.portrayed import Frame
from portrait360.synth.prepare import Prepared
from portrait360.synth.render import render
from portrait360.synth.scene import Part

Floats = NDArray[np.floating]

SCANS = ((0.0, 24), (40.0, 12), (70.0, 6), (88.0, 1))  # elevation, cameras
SIZE, WIDER = 288, 0.7  # pixels of a scan, and its focal length against the portrait's: down to the bust's edge
SOLID = 0.6  # alpha from which a pixel counts: stray hairs are no surface
KINDS = {Part.SKIN: 0, Part.EYES: 0, Part.BROWS: 0, Part.BEARD: 1, Part.HAIR: 1, Part.CLOTHES: 2, Part.ACCESSORY: 2}


@dataclass(frozen=True, eq=False)
class TruthMap:
    rgb: Floats  # (rows, columns, 3)
    radius: Floats  # (rows, columns)
    kinds: Floats  # (3, rows, columns) share of skin, hair and cloth
    seen: Floats  # (rows, columns) 1 where a camera saw the cell, 0 where it was filled


@dataclass(frozen=True, eq=False)
class Scan:
    """Every surface point that the scanning cameras saw, in the head's frame."""

    points: Floats  # (n, 3)
    towards: Floats  # (n, 3) unit, to the camera
    rgb: Floats  # (n, 3)
    kind: NDArray[np.int8]  # (n,) skin, hair, cloth


def scan(head: Prepared, focal: float) -> Scan:
    """The head from all around, a little from above and from the top."""
    grid = pixel_centres(SIZE, SIZE)
    table = np.zeros(len(Part), np.int8)
    for part, kind in KINDS.items():
        table[part] = kind
    parts = []
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), focal * WIDER)
            seen = render(head, camera, SIZE)
            there = (seen.alpha > SOLID) & (seen.depth > 0)
            points = camera.unproject(grid[there], seen.depth[there])
            towards = camera.position - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            parts.append((points, towards, seen.rgb[there], table[seen.parts[there]]))
    points, towards, rgb, kind = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scan(points.astype(np.float32), towards.astype(np.float32), rgb, kind)


def truth_map(seen: Scan, frame: Frame, layout: HeadMap) -> TruthMap:
    """The scan in the portrait's frame, cell by cell."""
    points, towards = (seen.points / frame.scale + frame.shift) @ frame.turn, seen.towards @ frame.turn
    found = unwrapped(layout, points, towards, [*seen.rgb.T, *(seen.kind == kind for kind in range(3))])
    kinds = found.values[..., 3:] / np.maximum(found.values[..., 3:].sum(-1, keepdims=True), 1e-6)
    return TruthMap(found.values[..., :3], found.radius, kinds.transpose(2, 0, 1), found.seen)
