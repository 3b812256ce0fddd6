"""Multi-view data sets: real heads before many cameras at one moment, as NeRSemble and RenderMe-360 publish them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL import Image

from portrait360.cameras import Array
from portrait360.errors import UserError
from portrait360.files import read_limited
from portrait360.images import FORMATS, MAX_BYTES, MAX_PIXELS, Picture
from portrait360.transforms import rigid
from portrait360.view_sheet import meeting_point

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]

NERSEMBLE_SIZE = (2200, 3208)  # pixels, width and height: of the pictures that its intrinsics are given for
NERSEMBLE_FIRST = "EXP-1-head"  # the sequence that starts with a neutral face
NERSEMBLE_EMPTY = "BACKGROUND"  # the sequence that shows nobody
MAX_CALIBRATION = 1 << 20  # bytes of JSON
MAX_SIDE = 1 << 14  # pixels: OpenCV warps no larger ones
RENDERME_CAMERAS = tuple(f"{i:02d}" for i in range(60))
RENDERME_FIRST = "e0"  # the part that shows a neutral face
DISTORTIONS = (4, 5, 8, 12, 14)  # how many numbers OpenCV takes
MOST_MISS = 0.2  # of its distance: by how much a camera may look past what all look at


@dataclass(frozen=True, eq=False)
class RigShot:
    """One camera of a rig. Pixels are OpenCV's: (0, 0) is the centre of the first one."""

    name: str
    cam2world: Array  # (4, 4), OpenCV axes, the data set's own units and frame
    K: Array  # (3, 3) pixels
    distortion: Array | None  # (n,) OpenCV's coefficients of the lens
    load: Callable[[], Picture]  # the picture as a pinhole with this K sees it: the distortion is taken out


@dataclass(frozen=True, eq=False)
class Rig:
    """All cameras at one moment."""

    name: str
    shots: tuple[RigShot, ...]


Subjects = dict[str, Callable[[], Rig]]  # each opened by itself: one that is damaged is in nobody's way


def nersemble(folder: Path, sequence: str | None = None, frame: int = 0) -> Subjects:
    """The participants of NeRSemble (version 2), by number; those cameras whose films are there."""
    people = [person for person in _folders(Path(folder)) if person.name.isdigit()]
    if not people:
        raise UserError(f"{folder} holds no participants of NeRSemble (folders such as 017).")
    return {person.name: partial(_participant, person, sequence, frame) for person in people}


def _participant(person: Path, sequence: str | None, frame: int) -> Rig:
    path = person / "calibration" / "camera_params.json"
    poses, K = _nersemble_calibration(path)
    names = [place.name for place in _folders(person / "sequences") if place.name != NERSEMBLE_EMPTY]
    if not names:
        raise UserError(f"{person / 'sequences'} holds no sequences.")
    chosen = sequence or (NERSEMBLE_FIRST if NERSEMBLE_FIRST in names else names[0])
    films = {serial: person / "sequences" / chosen / "images" / f"cam_{serial}.mp4" for serial in sorted(poses)}
    there = {serial: film for serial, film in films.items() if film.is_file()}
    if not there:
        raise UserError(f"{person / 'sequences' / chosen / 'images'} holds no films of the calibrated cameras.")
    shots = [
        RigShot(serial, poses[serial], _resized(K, _film_size(film)), None, partial(_film_picture, film, frame))
        for serial, film in there.items()
    ]
    return Rig(f"{person.name}_{chosen}_{frame}", tuple(shots))


def _nersemble_calibration(path: Path) -> tuple[dict[str, Array], Array]:
    """cam2world by serial number, and the intrinsics that all cameras share."""
    try:
        said = json.loads(read_limited(path, MAX_CALIBRATION))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; download it again.") from error
    turned = said.get("world_2_cam") if isinstance(said, dict) else None
    if not isinstance(turned, dict) or not turned:
        raise UserError(f"{path} names no cameras (world_2_cam); download it again.")
    poses = {str(name): _inverse(rigid(turned[name], f"{path}, camera {name}")) for name in turned}
    return poses, _intrinsics(said.get("intrinsics"), str(path))


def _inverse(pose: Array) -> Array:
    return np.linalg.inv(pose).astype(np.float64)


def _intrinsics(values: Any, where: str) -> Array:
    K = _numbers(values)
    sound = K.shape == (3, 3) and np.isfinite(K).all() and (K[2] == [0, 0, 1]).all() and min(K[0, 0], K[1, 1]) > 0
    if not sound:
        raise UserError(f"{where} has no intrinsics of 3 x 3 numbers.")
    return K


def _numbers(values: Any) -> Array:
    """None at all where the file has something else."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(0)


def _resized(K: Array, size: tuple[int, int]) -> Array:
    """Of the film at its own size: a pixel's edges are what is scaled, not its centre."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    scale = np.diag([size[0] / NERSEMBLE_SIZE[0], size[1] / NERSEMBLE_SIZE[1], 1.0])
    return np.linalg.inv(half) @ scale @ half @ K


@contextmanager
def _film(path: Path) -> Iterator[Any]:
    """An open film; whatever is damaged in it becomes one plain sentence."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            _check_size(stream.width, stream.height, str(path))
            yield container
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a whole film; download it again.") from error


def _film_size(path: Path) -> tuple[int, int]:
    with _film(path) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def _film_picture(path: Path, frame: int) -> Picture:
    with _film(path) as container:
        shown = next(islice(container.decode(video=0), frame, None), None)
        if shown is None:
            raise UserError(f"{path} ends before frame {frame}; download it again, or choose an earlier frame.")
        return Picture(_float(shown.to_ndarray(format="rgb24")), None, name=str(path))


def renderme360(folder: Path, part: str | None = None, frame: int = 0) -> Subjects:
    """The actors of RenderMe-360, by number; the first of their expressions, if no part is named."""
    actors = _folders(Path(folder) / "raw")
    if not actors:
        raise UserError(f"{Path(folder) / 'raw'} holds no actors of RenderMe-360 (folders such as 0026).")
    return {place.name: partial(_actor, Path(folder), place.name, part, frame) for place in actors}


def _actor(folder: Path, actor: str, part: str | None, frame: int) -> Rig:
    start, end = f"{actor}_", "_raw.smc"
    files = sorted((folder / "raw" / actor).glob(f"{start}*{end}"))
    parts = [file.name[len(start) : -len(end)] for file in files]
    if not parts:
        raise UserError(f"{folder / 'raw' / actor} holds no files such as {start}{RENDERME_FIRST}{end}.")
    expressions = [name for name in parts if name.startswith("e")] or parts
    chosen = part or (RENDERME_FIRST if RENDERME_FIRST in parts else expressions[0])
    raw = folder / "raw" / actor / f"{start}{chosen}{end}"
    anno = folder / "anno" / actor / f"{start}{chosen}_anno.smc"
    with _smc(raw) as file:
        cameras = [name for name in RENDERME_CAMERAS if f"Camera/{name}/color/{frame}" in file]
    if not cameras:
        raise UserError(f"{raw} holds no pictures of frame {frame}.")
    with _smc(anno) as file:
        K, D, RT = ([_array(file, f"Calibration/{name}/{of}") for name in cameras] for of in ("K", "D", "RT"))
    wheres = [f"{anno}, camera {name}" for name in cameras]
    poses = _facing([rigid(values, where) for values, where in zip(RT, wheres, strict=True)], anno)
    shots = []
    for name, pose, k, d, where in zip(cameras, poses, K, D, wheres, strict=True):
        lens = _intrinsics(k, where), _distortion(d, where)
        shots.append(RigShot(name, pose, *lens, partial(_smc_picture, raw, anno, name, frame, *lens)))
    return Rig(f"{actor}_{chosen}_{frame}", tuple(shots))


def _facing(matrices: Sequence[Array], path: Path) -> Array:
    """cam2world (n, 4, 4), whether the file has that or world2cam: a rig's cameras look at one point before them."""
    readings = [np.stack(matrices), _inverse(np.stack(matrices))]
    misses = [_miss(poses, path) for poses in readings]
    if min(misses) > MOST_MISS:
        raise UserError(f"The cameras of {path} do not look at one point, whichever way their poses are read.")
    return readings[int(np.argmin(misses))]


def _miss(poses: Array, path: Path) -> float:
    """By how much the axes miss the point where they meet, over its distance; infinite where there is none."""
    try:
        towards = meeting_point(poses, path) - poses[:, :3, 3]
    except UserError:
        return np.inf
    along = (towards * poses[:, :3, 2]).sum(1)
    across = np.linalg.norm(towards - along[:, None] * poses[:, :3, 2], axis=1)
    return float(np.median(across / along))


def _distortion(values: Array, where: str) -> Array:
    D = _numbers(values).reshape(-1)
    if len(D) not in DISTORTIONS or not np.isfinite(D).all():
        raise UserError(f"{where} has a lens that OpenCV does not know ({len(D)} numbers of distortion).")
    return D


@contextmanager
def _smc(path: Path) -> Iterator[Any]:
    """An open .smc file; whatever is damaged in it becomes one plain sentence."""
    try:
        import h5py
    except ImportError as error:
        raise UserError("RenderMe-360 needs h5py; install it with: pip install 'portrait360[eval]'") from error
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a whole .smc file (HDF5); download it again.") from error


def _array(file: Any, key: str) -> NDArray[Any]:
    """A data set of the file itself, read after its size is known."""
    if key not in file:
        raise UserError(f"{file.filename} holds no {key}.")
    found = file[key]
    if found.file.filename != file.filename or found.external or found.is_virtual:
        raise UserError(f"{key} of {file.filename} leads to another file.")
    if found.nbytes > MAX_BYTES:
        raise UserError(f"{key} of {file.filename} has {found.nbytes >> 20} MB; at most {MAX_BYTES >> 20} are read.")
    return np.asarray(found[()])


def _smc_picture(raw: Path, anno: Path, camera: str, frame: int, K: Array, distortion: Array) -> Picture:
    """With the data set's own mask, where it has one."""
    key = f"Camera/{camera}/color/{frame}"
    with _smc(raw) as file:
        rgb = _float(_decoded(_array(file, key), f"{key} of {raw}"))
    key, alpha = f"Camera/{camera}/mask/{frame}", None
    with _smc(anno) as file:
        if key in file:
            alpha = _float(_decoded(_array(file, key), f"{key} of {anno}").max(-1))
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise UserError(f"{key} of {anno} is not as large as its picture.")
    alpha = None if alpha is None else _undistorted(alpha, K, distortion)
    return Picture(_undistorted(rgb, K, distortion), alpha, name=f"{raw}, camera {camera}")


def _undistorted(values: Floats, K: Array, distortion: Array) -> Floats:
    return cv2.undistort(values, K, distortion).astype(np.float32, copy=False)


def _decoded(encoded: NDArray[Any], where: str) -> Bytes:
    """The picture (h, w, 3) in the bytes of a file."""
    try:
        with Image.open(io.BytesIO(encoded.astype(np.uint8).tobytes()), formats=FORMATS) as image:
            _check_size(*image.size, where)
            return np.asarray(image.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # damaged bytes reach the decoders as any error at all
        raise UserError(f"{where} is not a picture that can be read; download it again.") from error


def _check_size(width: int, height: int, where: str) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise UserError(f"{where} is of {width} x {height} pixels, more than are read.")


def _float(values: Bytes) -> Floats:
    return values.astype(np.float32) / 255


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    return sorted(place for place in folder.iterdir() if place.is_dir())
