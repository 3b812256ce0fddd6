"""Write views and their cameras as a scene on which nerfstudio, instant-ngp and readers of COLMAP models train.

Cameras are in metres, as in the other exports. COLMAP's text model is in sparse/0 beside transforms.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from portrait360.geometry import camera_files
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.export.units import METRES
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.images import save_picture, to_uint8


class View(NamedTuple):
    rgb: Floats  # (h, w, 3)
    alpha: Floats | None  # (h, w) straight
    camera: Camera


class Points(NamedTuple):
    """Points from which training can start."""

    places: NDArray[np.float32]  # (n, 3) canonical frame
    colours: NDArray[np.float32]  # (n, 3) in [0, 1]


def write_scene(folder: Path, views: Iterable[View], points: Points | None = None) -> None:
    """Write images/000.png and so on, one at a time, then COLMAP's files and transforms.json."""
    frames: list[dict[str, Any]] = []
    cameras: list[Camera] = []
    with translate_write_errors(folder):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for i, view in enumerate(views):
            height, width = view.rgb.shape[:2]
            name = f"images/{i:03d}.png"
            save_picture(folder / name, view.rgb, view.alpha)
            cameras.append(_scale_to_metres(view.camera))
            frames.append(camera_files.frame_entry(name, cameras[-1], width, height))
        if not frames:
            raise ValueError("a scene needs at least one view")
        _write_colmap(folder / "sparse" / "0", frames, cameras, points)
        _write(folder / "transforms.json", json.dumps(_shared_entries(frames[0]) | {"frames": frames}, indent=1))


def _scale_to_metres(camera: Camera) -> Camera:
    pose = camera.cam2world.copy()
    pose[:3, 3] *= METRES
    return replace(camera, cam2world=pose)


def _shared_entries(frame: dict[str, Any]) -> dict[str, Any]:
    """Return the shared entries for instant-ngp: the first view's lens, and the head's position in its unit cube."""
    lens = {name: frame[name] for name in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    angles = {
        "camera_angle_x": 2 * math.atan(frame["w"] / 2 / frame["fl_x"]),
        "camera_angle_y": 2 * math.atan(frame["h"] / 2 / frame["fl_y"]),
    }
    cube = {"aabb_scale": 1, "scale": 1 / METRES, "offset": [0.5, 0.5, 0.5]}  # one canonical unit wide
    return {"camera_model": "OPENCV", **lens, **angles, **cube}


def _write_colmap(
    folder: Path, frames: Sequence[dict[str, Any]], cameras: Sequence[Camera], points: Points | None
) -> None:
    """Write cameras.txt (one line per lens), images.txt (world to camera), and points3D.txt (possibly empty)."""
    folder.mkdir(parents=True, exist_ok=True)
    lenses = [tuple(frame[name] for name in ("w", "h", "fl_x", "fl_y", "cx", "cy")) for frame in frames]
    camera_ids = {lens: i + 1 for i, lens in enumerate(dict.fromkeys(lenses))}
    lines = [" ".join(map(str, (id, "PINHOLE", *map(_format_number, lens)))) for lens, id in camera_ids.items()]
    _write(folder / "cameras.txt", "# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n" + "\n".join(lines) + "\n")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then the points seen in it: none"]
    for i, (frame, camera, lens) in enumerate(zip(frames, cameras, lenses, strict=True)):
        pose = " ".join(map(_format_number, _colmap_pose(camera)))
        lines += [f"{i + 1} {pose} {camera_ids[lens]} {Path(frame['file_path']).name}", ""]
    _write(folder / "images.txt", "\n".join(lines) + "\n")
    with atomic_write(folder / "points3D.txt") as temporary, temporary.open("w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK\n")
        if points is not None:
            ids = np.arange(1, len(points.places) + 1)[:, None]
            table = np.concatenate([ids, points.places * METRES, to_uint8(points.colours)], 1)
            np.savetxt(file, table, "%d %.7g %.7g %.7g %d %d %d 0")


def _colmap_pose(camera: Camera) -> F64:
    """Return the quaternion w x y z and the translation from the world to the camera."""
    world2cam = camera.world2cam
    x, y, z, w = Rotation.from_matrix(world2cam[:3, :3]).as_quat(canonical=True)
    return np.array([w, x, y, z, *world2cam[:3, 3]])


def _format_number(number: float) -> str:
    """Return the shortest text that parses to exactly this number."""
    return repr(int(number) if isinstance(number, int) else float(number))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)
