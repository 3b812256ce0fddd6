"""Training samples as small tars of pictures: each is a WebDataset shard with one sample.

A picture of several views has them one below the other. Colours and normals are slightly lossy, the rest is exact.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write

LARGEST_MEMBER = 1 << 24  # bytes
QUALITY = {
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 90],
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
}
SWAP = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, each under a name that ends in .webp (RGBA), .jpg (RGB), .png (one channel) or .npy."""
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, values in arrays.items():
            encoded = _encode(values, name.rsplit(".", 1)[1])
            member = tarfile.TarInfo(f"{path.stem}.{name}")  # no time, no owner: equal samples are equal bytes
            member.size = len(encoded)
            tar.addfile(member, io.BytesIO(encoded))


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_archive` wrote, by the same names."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                member.name.removeprefix(f"{path.stem}."): _decode(_read(tar, member), member.name)
                for member in tar.getmembers()
            }
    except (OSError, ValueError, tarfile.TarError, cv2.error) as error:
        raise UserError(f"{path} is damaged; delete it and its .done file, and make it again.") from error


def stack_views(views: np.ndarray) -> np.ndarray:
    """Return views (v, s, s, ...) as one picture (v s, s, ...)."""
    return views.reshape(-1, *views.shape[2:])


def split_views(picture: np.ndarray) -> np.ndarray:
    """Return the square views (v, s, s, ...) of a picture (v s, s, ...)."""
    side = picture.shape[1]
    return picture.reshape(-1, side, side, *picture.shape[2:])


def _encode(values: np.ndarray, kind: str) -> bytes:
    if kind == "npy":
        file = io.BytesIO()
        np.save(file, values, allow_pickle=False)
        return file.getvalue()
    swapped = cv2.cvtColor(values, SWAP[values.shape[2]]) if values.ndim == 3 else values
    return cv2.imencode(f".{kind}", swapped, QUALITY[kind])[1].tobytes()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isfile() and member.size <= LARGEST_MEMBER else None
    if file is None:
        raise ValueError("a member that is no file, or too large")
    return file.read()


def _decode(encoded: bytes, name: str) -> np.ndarray:
    if name.endswith(".npy"):
        return np.load(io.BytesIO(encoded), allow_pickle=False)
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError("no picture")
    return cv2.cvtColor(picture, SWAP[picture.shape[2]]) if picture.ndim == 3 else np.asarray(picture)


def with_alpha(picture: np.ndarray) -> np.ndarray:
    """Return a picture as RGBA: one that is opaque everywhere is written without alpha."""
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
    return picture if picture.shape[2] == 4 else np.concatenate([picture, opaque], -1)
