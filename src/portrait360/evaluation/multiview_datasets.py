"""Load multi-view data sets: real heads seen by many cameras at one moment, as NeRSemble and RenderMe-360 publish
them."""

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

from portrait360.geometry.camera_files import parse_rigid_transform
from portrait360.geometry.pose_normalisation import focus_point
from portrait360.utils.array_types import F64, Bytes, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.images import FORMATS, MAX_BYTES, MAX_PIXELS, Picture

NERSEMBLE_SIZE = (2200, 3208)  # pixels, width and height: the picture size that its intrinsics refer to
NERSEMBLE_FIRST = "EXP-1-head"  # the sequence that starts with a neutral face
NERSEMBLE_EMPTY = "BACKGROUND"  # the sequence that shows nobody
MAX_CALIBRATION = 1 << 20  # bytes of JSON
MAX_SIDE = 1 << 14  # pixels: OpenCV warps no larger ones
RENDERME_CAMERAS = tuple(f"{i:02d}" for i in range(60))
RENDERME_FIRST = "e0"  # the part that shows a neutral face
DISTORTIONS = (4, 5, 8, 12, 14)  # how many coefficients OpenCV accepts
MAX_MISS = 0.2  # of its distance: by how much a camera may miss the point that all cameras look at


@dataclass(frozen=True, eq=False)
class RigFrame:
    """One camera of a rig. Pixels are OpenCV's: (0, 0) is the centre of the first one."""

    name: str
    cam2world: F64  # (4, 4), OpenCV axes, the data set's own units and frame
    K: F64  # (3, 3) pixels
    distortion: F64 | None  # (n,) OpenCV's distortion coefficients
    load: Callable[[], Picture]  # the undistorted picture: as a pinhole camera with this K sees it


@dataclass(frozen=True, eq=False)
class CameraRig:
    """All cameras of a rig at one moment."""

    name: str
    shots: tuple[RigFrame, ...]


# each subject is opened on its own, so that a damaged one does not block the others
Subjects = dict[str, Callable[[], CameraRig]]


def load_nersemble(folder: Path, sequence: str | None = None, frame: int = 0) -> Subjects:
    """Return the participants of NeRSemble (version 2) by number, with those cameras that have films."""
    people = [person for person in _list_folders(Path(folder)) if person.name.isdigit()]
    if not people:
        raise UserError(
            f"{folder} contains no NeRSemble participants (folders such as 017); give the folder that contains them."
        )
    return {person.name: partial(_load_participant, person, sequence, frame) for person in people}


def _load_participant(person: Path, sequence: str | None, frame: int) -> CameraRig:
    poses, K = _load_nersemble_calibration(person / "calibration" / "camera_params.json")
    names = [path.name for path in _list_folders(person / "sequences") if path.name != NERSEMBLE_EMPTY]
    if not names:
        raise UserError(f"{person / 'sequences'} contains no sequences; download one.")
    sequence = sequence or (NERSEMBLE_FIRST if NERSEMBLE_FIRST in names else names[0])
    paths = {serial: person / "sequences" / sequence / "images" / f"cam_{serial}.mp4" for serial in sorted(poses)}
    films = {serial: path for serial, path in paths.items() if path.is_file()}
    if not films:
        raise UserError(f"{person / 'sequences' / sequence / 'images'} contains no videos of the calibrated cameras.")
    shots = [
        RigFrame(
            serial,
            poses[serial],
            _resize_intrinsics(K, _read_film_size(film)),
            None,
            partial(_load_film_picture, film, frame),
        )
        for serial, film in films.items()
    ]
    return CameraRig(f"{person.name}_{sequence}_{frame}", tuple(shots))


def _load_nersemble_calibration(path: Path) -> tuple[dict[str, F64], F64]:
    """Return cam2world by serial number, and the intrinsics that all cameras share."""
    try:
        calibration = json.loads(read_limited(path, MAX_CALIBRATION))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; download it again.") from error
    world2cam = calibration.get("world_2_cam") if isinstance(calibration, dict) else None
    if not isinstance(world2cam, dict) or not world2cam:
        raise UserError(f"{path} lists no cameras (world_2_cam); download it again.")
    poses = {
        str(name): _invert(parse_rigid_transform(world2cam[name], f"{path}, camera {name}")) for name in world2cam
    }
    return poses, _parse_intrinsics(calibration.get("intrinsics"), str(path))


def _invert(pose: F64) -> F64:
    return np.linalg.inv(pose).astype(np.float64)


def _parse_intrinsics(values: Any, source: str) -> F64:
    K = _parse_numbers(values)
    valid = K.shape == (3, 3) and np.isfinite(K).all() and (K[2] == [0, 0, 1]).all() and min(K[0, 0], K[1, 1]) > 0
    if not valid:
        raise UserError(f"{source} has no 3 x 3 intrinsics matrix.")
    return K


def _parse_numbers(values: Any) -> F64:
    """Return an empty array where the file holds anything but numbers."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(0)


def _resize_intrinsics(K: F64, size: tuple[int, int]) -> F64:
    """Scale intrinsics to the size of a film: the scaling acts on pixel edges, not on pixel centres."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    scale = np.diag([size[0] / NERSEMBLE_SIZE[0], size[1] / NERSEMBLE_SIZE[1], 1.0])
    return np.linalg.inv(half) @ scale @ half @ K


@contextmanager
def _open_film(path: Path) -> Iterator[Any]:
    """Open a film; any damage in it becomes one plain sentence."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            _check_size(stream.width, stream.height, str(path))
            yield container
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a complete video; download it again.") from error


def _read_film_size(path: Path) -> tuple[int, int]:
    with _open_film(path) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def _load_film_picture(path: Path, frame: int) -> Picture:
    with _open_film(path) as container:
        video_frame = next(islice(container.decode(video=0), frame, None), None)
        if video_frame is None:
            raise UserError(f"{path} ends before frame {frame}; download it again, or choose an earlier frame.")
        return Picture(_to_float(video_frame.to_ndarray(format="rgb24")), None, name=str(path))


def load_renderme360(folder: Path, part: str | None = None, frame: int = 0) -> Subjects:
    """Return the actors of RenderMe-360 by number. Without a `part`, the first of their expressions is used."""
    actors = _list_folders(Path(folder) / "raw")
    if not actors:
        raise UserError(
            f"{Path(folder) / 'raw'} contains no RenderMe-360 actors (folders such as 0026); download some."
        )
    return {actor.name: partial(_load_actor, Path(folder), actor.name, part, frame) for actor in actors}


def _load_actor(folder: Path, actor: str, part: str | None, frame: int) -> CameraRig:
    start, end = f"{actor}_", "_raw.smc"
    files = sorted((folder / "raw" / actor).glob(f"{start}*{end}"))
    parts = [file.name[len(start) : -len(end)] for file in files]
    if not parts:
        raise UserError(f"{folder / 'raw' / actor} contains no files such as {start}{RENDERME_FIRST}{end}.")
    expressions = [name for name in parts if name.startswith("e")] or parts
    part = part or (RENDERME_FIRST if RENDERME_FIRST in parts else expressions[0])
    raw = folder / "raw" / actor / f"{start}{part}{end}"
    anno = folder / "anno" / actor / f"{start}{part}_anno.smc"
    with _open_smc(raw) as file:
        cameras = [name for name in RENDERME_CAMERAS if f"Camera/{name}/color/{frame}" in file]
    if not cameras:
        raise UserError(f"{raw} contains no pictures of frame {frame}.")
    with _open_smc(anno) as file:
        K, D, RT = ([_read_array(file, f"Calibration/{name}/{key}") for name in cameras] for key in ("K", "D", "RT"))
    sources = [f"{anno}, camera {name}" for name in cameras]
    poses = _to_cam2world(
        [parse_rigid_transform(values, source) for values, source in zip(RT, sources, strict=True)], anno
    )
    shots = []
    for name, pose, k, d, source in zip(cameras, poses, K, D, sources, strict=True):
        lens = _parse_intrinsics(k, source), _parse_distortion(d, source)
        shots.append(RigFrame(name, pose, *lens, partial(_load_smc_picture, raw, anno, name, frame, *lens)))
    return CameraRig(f"{actor}_{part}_{frame}", tuple(shots))


def _to_cam2world(matrices: Sequence[F64], path: Path) -> F64:
    """Return cam2world (n, 4, 4), whether the file holds that or world2cam: a rig's cameras look at one point in
    front of them."""
    candidates = [np.stack(matrices), _invert(np.stack(matrices))]
    misses = [_relative_miss(poses, path) for poses in candidates]
    if min(misses) > MAX_MISS:
        raise UserError(
            f"The cameras in {path} do not look at a common point, whether read as cam2world or world2cam."
        )
    return candidates[int(np.argmin(misses))]


def _relative_miss(poses: F64, path: Path) -> float:
    """Return by how much the axes miss their meeting point, relative to its distance; infinite without one."""
    try:
        offsets = focus_point(poses, path) - poses[:, :3, 3]
    except UserError:
        return np.inf
    along = (offsets * poses[:, :3, 2]).sum(1)
    across = np.linalg.norm(offsets - along[:, None] * poses[:, :3, 2], axis=1)
    return float(np.median(across / along))


def _parse_distortion(values: F64, source: str) -> F64:
    D = _parse_numbers(values).reshape(-1)
    if len(D) not in DISTORTIONS or not np.isfinite(D).all():
        raise UserError(f"{source} has a lens model that OpenCV does not support ({len(D)} distortion coefficients).")
    return D


@contextmanager
def _open_smc(path: Path) -> Iterator[Any]:
    """Open a .smc file; any damage in it becomes one plain sentence."""
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
        raise UserError(f"{path} is not a complete .smc file (HDF5); download it again.") from error


def _read_array(file: Any, key: str) -> NDArray[Any]:
    """Read a data set of this very file, after checking its size."""
    if key not in file:
        raise UserError(f"{file.filename} contains no {key}.")
    dataset = file[key]
    if dataset.file.filename != file.filename or dataset.external or dataset.is_virtual:
        raise UserError(f"{key} of {file.filename} refers to another file.")
    if dataset.nbytes > MAX_BYTES:
        raise UserError(f"{key} in {file.filename} is {dataset.nbytes >> 20} MB; the limit is {MAX_BYTES >> 20} MB.")
    return np.asarray(dataset[()])


def _load_smc_picture(raw: Path, anno: Path, camera: str, frame: int, K: F64, distortion: F64) -> Picture:
    """Load a picture, with the data set's own mask where it has one."""
    key = f"Camera/{camera}/color/{frame}"
    with _open_smc(raw) as file:
        rgb = _to_float(_decode_picture(_read_array(file, key), f"{key} of {raw}"))
    key, alpha = f"Camera/{camera}/mask/{frame}", None
    with _open_smc(anno) as file:
        if key in file:
            alpha = _to_float(_decode_picture(_read_array(file, key), f"{key} of {anno}").max(-1))
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise UserError(f"{key} of {anno} is not as large as its picture.")
    alpha = None if alpha is None else _undistort(alpha, K, distortion)
    return Picture(_undistort(rgb, K, distortion), alpha, name=f"{raw}, camera {camera}")


def _undistort(values: Floats, K: F64, distortion: F64) -> Floats:
    return cv2.undistort(values, K, distortion).astype(np.float32, copy=False)


def _decode_picture(encoded: NDArray[Any], source: str) -> Bytes:
    """Decode the bytes of an image file to a picture (h, w, 3)."""
    try:
        with Image.open(io.BytesIO(encoded.astype(np.uint8).tobytes()), formats=FORMATS) as image:
            _check_size(*image.size, source)
            return np.asarray(image.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # decoders may raise any error on damaged bytes
        raise UserError(f"{source} is not a readable picture; download it again.") from error


def _check_size(width: int, height: int, source: str) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise UserError(f"{source} has {width} x {height} pixels, which is too large.")


def _to_float(values: Bytes) -> Floats:
    return values.astype(np.float32) / 255


def _list_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    return sorted(path for path in folder.iterdir() if path.is_dir())
