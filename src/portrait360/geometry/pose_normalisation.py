"""Normalise the cameras of another program to the canonical frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portrait360.geometry.camera_files import Shot
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError

MIN_DISTANCE = 1e-9  # of a camera from what it looks at, in a file's own units
HALF_VIEW_SIDE = 0.447  # canonical: half the side of what a view shows in the plane of the head's centre


def normalise_shots(shots: Sequence[Shot], path: Path) -> list[Shot]:
    """Move, rotate and scale shots into the canonical frame.

    The point that all cameras look at becomes the origin, their mean up axis becomes y, the first camera stands in
    front, and the views show as large an area as our own.
    """
    poses = np.stack([shot.cam2world for shot in shots])
    origin = focus_point(poses, path)
    distances = np.linalg.norm(poses[:, :3, 3] - origin, axis=1)
    if not distances.min() > MIN_DISTANCE:
        raise UserError(f"A camera of {path} is at the point that it looks at; check the poses.")
    up = -poses[:, :3, 1].mean(0)
    if np.linalg.norm(up) < 0.1:
        raise UserError(f"The cameras of {path} do not agree on which way is up; check the poses.")
    back = poses[0, :3, 3] - origin
    y = up / np.linalg.norm(up)
    x = np.cross(y, back)
    if np.linalg.norm(x) < 1e-3 * np.linalg.norm(back):
        raise UserError(
            f"The first camera of {path} looks straight down, so the front is unknown; begin with another one."
        )
    x /= np.linalg.norm(x)
    rotation = np.stack([x, y, np.cross(x, y)])  # world to canonical
    half_sides = distances * [min(shot.width / shot.fx, shot.height / shot.fy) / 2 for shot in shots]
    scale = HALF_VIEW_SIDE / float(np.median(half_sides))
    out = []
    for shot, pose in zip(shots, poses, strict=True):
        cam2world = np.eye(4)
        cam2world[:3, :3], cam2world[:3, 3] = rotation @ pose[:3, :3], rotation @ (pose[:3, 3] - origin) * scale
        out.append(replace(shot, cam2world=cam2world))
    return out


def focus_point(poses: F64, path: Path | str) -> F64:
    """Return the point nearest to all optical axes, which must lie in front of the cameras."""
    axes, positions = poses[:, :3, 2], poses[:, :3, 3]
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None]  # onto the plane across each axis
    total = projectors.sum(0)
    if np.linalg.eigvalsh(total)[0] < 1e-3 * len(poses):
        raise UserError(f"The cameras of {path} all look in the same direction; use views from around the head.")
    origin = np.linalg.solve(total, (projectors @ positions[..., None]).sum(0)[:, 0])
    if (((origin - positions) * axes).sum(1) <= 0).any():
        raise UserError(f"Some cameras of {path} look away from the point that the others look at; check the poses.")
    return origin
