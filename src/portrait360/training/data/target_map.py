"""The true head map of a synthetic head, unwrapped like its proxy: the target of the map completer.

Cameras all around scan the head, and each cell of the map takes the outermost surface that the cameras looking along
its ray see there. The map is in the frame of a portrait, given by its crop and its fitted angles, so that the photo's
pixels lie where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.unwrap import unwrap_points
from portrait360.synth.render.bake import PreparedScene
from portrait360.synth.render.renderer import render
from portrait360.synth.scene import Part
from portrait360.utils.array_types import Floats

SCANS = ((0.0, 24), (40.0, 12), (70.0, 6), (88.0, 1))  # elevation, cameras
SIZE, WIDER = 288, 0.7  # pixels of a scan, and its focal length over the portrait's, to include the whole bust
SOLID = 0.6  # alpha above which a pixel counts as surface, which excludes stray hairs
KINDS = {Part.SKIN: 0, Part.EYES: 0, Part.BROWS: 0, Part.BEARD: 1, Part.HAIR: 1, Part.CLOTHES: 2, Part.ACCESSORY: 2}


@dataclass(frozen=True, eq=False)
class TruthMap:
    rgb: Floats  # (rows, columns, 3)
    radius: Floats  # (rows, columns)
    kinds: Floats  # (3, rows, columns) share of skin, hair and cloth
    seen: Floats  # (rows, columns) 1 where a camera saw the cell, 0 where it was filled


@dataclass(frozen=True, eq=False)
class Scan:
    """All surface points that the scanning cameras saw, in the head's frame."""

    points: Floats  # (n, 3)
    towards: Floats  # (n, 3) unit vectors to the camera
    rgb: Floats  # (n, 3)
    kind: NDArray[np.int8]  # (n,) skin, hair, cloth


def scan_head(head: PreparedScene, focal: float) -> Scan:
    """Scan the head with cameras all around it, at four elevations up to the top."""
    grid = pixel_centres(SIZE, SIZE)
    kind_of_part = np.zeros(len(Part), np.int8)
    for part, kind in KINDS.items():
        kind_of_part[part] = kind
    scans = []
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), focal * WIDER)
            view = render(head, camera, SIZE)
            mask = (view.alpha > SOLID) & (view.depth > 0)
            points = camera.unproject(grid[mask], view.depth[mask])
            towards = camera.position - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            scans.append((points, towards, view.rgb[mask], kind_of_part[view.parts[mask]]))
    points, towards, rgb, kind = (np.concatenate(arrays) for arrays in zip(*scans, strict=True))
    return Scan(points.astype(np.float32), towards.astype(np.float32), rgb, kind)


def make_target_map(scanned: Scan, frame: PortraitFrame, layout: HeadMap) -> TruthMap:
    """Unwrap the scan in the portrait's frame."""
    points, towards = (scanned.points / frame.scale + frame.shift) @ frame.turn, scanned.towards @ frame.turn
    values = [*scanned.rgb.T, *(scanned.kind == kind for kind in range(3))]
    unwrapped = unwrap_points(layout, points, towards, values)
    kinds = unwrapped.values[..., 3:] / np.maximum(unwrapped.values[..., 3:].sum(-1, keepdims=True), 1e-6)
    return TruthMap(unwrapped.values[..., :3], unwrapped.radius, kinds.transpose(2, 0, 1), unwrapped.seen)
