"""A folder of pictures with cameras as a camera rig: one picture is the portrait, all others are the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from portrait360.evaluation.multiview_datasets import CameraRig, RigFrame
from portrait360.evaluation.rig_alignment import nearest_front
from portrait360.geometry.camera_files import Shot
from portrait360.geometry.camera_folders import EXPECTED, find_cameras, read_shots
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import WORKING_SIDE, Picture, load_picture

FEWEST = 3  # pictures: with fewer, it is not known where the head is
MOST_TRUTH = 120  # pictures that are compared, evenly chosen
MOST_FACES = 60  # pictures that are searched for the surest face, evenly chosen
REFERENCE = "reference.png"  # the photo among a run's views
LISTED = 5  # names in a message


def load_picture_folder(folder: Path) -> CameraRig:
    """Read the cameras of a folder, or of its subfolder `views`; pictures are loaded when they are needed."""
    source = find_cameras(folder) or find_cameras(folder / "views")
    if source is None:
        raise UserError(f"{folder} has no cameras for its pictures; add {EXPECTED}.")
    shots = read_shots(source)
    if len(shots) < FEWEST:
        raise UserError(f"{source} lists {len(shots)} pictures; an evaluation needs at least {FEWEST}.")
    return CameraRig(folder.resolve().name, tuple(_make_frame(shot, folder) for shot in shots))


def find_portrait(rig: CameraRig, name: str) -> int:
    """Return the index of the picture with this name; its folder and its suffix may be left out."""
    for shorten in (Path.as_posix, _name_of, _stem_of):
        found = [i for i, frame in enumerate(rig.shots) if shorten(Path(frame.name)) == name]
        if len(found) > 1:
            raise UserError(f"{len(found)} pictures of {rig.name} are called {name}; give the folder, too.")
        if found:
            return found[0]
    names = ", ".join(frame.name for frame in rig.shots[:LISTED])
    raise UserError(f"{rig.name} has no picture {name}; choose one of {len(rig.shots)}, such as {names}.")


def choose_portrait(rig: CameraRig) -> int:
    """Return the index of a run's own photo, or of the picture with the surest and most frontal face."""
    own = [i for i, frame in enumerate(rig.shots) if Path(frame.name).name == REFERENCE]
    if own:
        return own[0]
    candidates = [i * len(rig.shots) // MOST_FACES for i in range(MOST_FACES)]
    candidates = candidates if len(rig.shots) > MOST_FACES else list(range(len(rig.shots)))
    return candidates[nearest_front(CameraRig(rig.name, tuple(rig.shots[i] for i in candidates)))]


def select_truth(count: int, portrait: int) -> list[int]:
    """Return the indices of all pictures but the portrait, or of MOST_TRUTH of them, evenly chosen."""
    others = [i for i in range(count) if i != portrait]
    if len(others) <= MOST_TRUTH:
        return others
    return [others[i * len(others) // MOST_TRUTH] for i in range(MOST_TRUTH)]


def _name_of(path: Path) -> str:
    return path.name


def _stem_of(path: Path) -> str:
    return path.stem


def _make_frame(shot: Shot, folder: Path) -> RigFrame:
    size = find_loaded_size(shot.width, shot.height)
    image, root = shot.image.resolve(), folder.resolve()
    name = image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name
    return RigFrame(name, shot.cam2world, _to_intrinsics(shot, size), None, partial(_load_shot, shot, size))


def find_loaded_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height in which a picture is used: that in which it is loaded."""
    factor = min(1.0, WORKING_SIDE / max(width, height))
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _to_intrinsics(shot: Shot, size: Sequence[int]) -> F64:
    """Return K in pixels of this size, counted from the centre of the first one."""
    x, y = size[0] / shot.width, size[1] / shot.height
    return np.array([[shot.fx * x, 0, shot.cx * x - 0.5], [0, shot.fy * y, shot.cy * y - 0.5], [0, 0, 1.0]])


def _load_shot(shot: Shot, size: tuple[int, int]) -> Picture:
    picture = load_picture(shot.image)
    height, width = picture.rgb.shape[:2]
    if (width > height) != (size[0] > size[1]) and width != height:
        raise UserError(
            f"{shot.image} has an EXIF orientation tag that rotates it; remove the tag without rotating the pixels."
        )
    if (width, height) == size:
        return picture
    alpha = None if picture.alpha is None else _resize(picture.alpha, size)
    return replace(picture, rgb=_resize(picture.rgb, size), alpha=alpha)


def _resize(values: Floats, size: tuple[int, int]) -> Floats:
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
