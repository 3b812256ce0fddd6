"""Cameras that a user brings: places in degrees, or the transforms.json of another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portrait360.cameras import RADIUS, Camera, look_at
from portrait360.errors import UserError
from portrait360.files import read_limited
from portrait360.transforms import pose_of

MAX_BYTES = 4 << 20
MOST = 1000
STEEPEST, NEAREST, FURTHEST = 89.0, 1.0, 30.0
FORMS = "a line for each camera, like `azimuth,elevation` or `azimuth,elevation,radius`, or a run's transforms.json"


def read_orbit(path: Path, focal: float) -> list[Camera]:
    """Text with a place a line, the same as a JSON list, or a transforms.json of ours, whose frame is the head's."""
    text = read_limited(path, MAX_BYTES).decode("utf-8", "replace").strip()
    if text.startswith(("[", "{")):
        cameras = _of_json(path, text, focal)
    else:
        lines = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
        cameras = [_place(path, line, focal) for line in lines if line]
    if not 1 <= len(cameras) <= MOST:
        raise UserError(f"{path} has {len(cameras)} cameras; bring 1 to {MOST}: {FORMS}.")
    return cameras


def _of_json(path: Path, text: str, focal: float) -> list[Camera]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not whole JSON; bring {FORMS}.") from error
    if isinstance(said, list):
        return [_place(path, place if isinstance(place, list) else [], focal) for place in said]
    frames = said.get("frames")
    if "portrait360" not in said or not isinstance(frames, list):
        raise UserError(f"{path} is no transforms.json of a run, so nothing says where the head is; bring {FORMS}.")
    return [_frame(path, i, entry) for i, entry in enumerate(frames) if not _is_photo(entry)]


def _is_photo(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("file_path") == "reference.png"


def _place(path: Path, numbers: list[Any], focal: float) -> Camera:
    try:
        azimuth, elevation, radius = map(float, [*numbers, RADIUS] if len(numbers) == 2 else numbers)
    except (TypeError, ValueError):  # no numbers, or neither two nor three
        azimuth = elevation = radius = float("nan")
    if not (abs(azimuth) <= 3600 and abs(elevation) <= STEEPEST and NEAREST <= radius <= FURTHEST):
        raise UserError(
            f"{path} has a camera {' '.join(map(str, numbers))!r} that cannot be; bring {FORMS}, elevations up to "
            f"{STEEPEST:g} degrees, radii of {NEAREST:g} to {FURTHEST:g}."
        )
    return Camera(look_at(azimuth, elevation, radius=radius), focal)


def _frame(path: Path, i: int, entry: Any) -> Camera:
    where = f"{path}, frame {i}"
    try:
        width, height = float(entry["w"]), float(entry["h"])
        lens = float(entry["fl_y"]) / height, (float(entry["cx"]) / width, float(entry["cy"]) / height)
        sound = 0.1 <= lens[0] <= 100 and all(-1 <= c <= 2 for c in lens[1])
    except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise UserError(f"{where}, has no lens (w, h, fl_y, cx, cy).") from error
    if not sound:
        raise UserError(f"{where}, has a lens that cannot be.")
    return Camera(pose_of(entry, where), *lens)
