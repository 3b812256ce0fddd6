"""The view set: pictures of one head from known cameras, from which the head is reconstructed."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.camera_files import MAX_BYTES, Shot, frame_entry
from portrait360.geometry.camera_folders import EXPECTED, find_cameras, read_shots
from portrait360.geometry.cameras import Camera
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.geometry.pose_normalisation import normalise_shots
from portrait360.geometry.volumes.volume import CELLS
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited, translate_write_errors
from portrait360.utils.images import load_picture, save_picture
from portrait360.utils.memory import require_memory

FORMAT = 1  # version of our own entry in transforms.json
OWN_KEY = "portrait360"  # key of that entry
SURFACE = "surface-cells.bin"  # compressed bits: whether the surface is near each cell of the volume
KNOWN = "reference-known.png"  # mask of the reference: white where its square lies inside the photo
MIN_VIEWS = 3  # with fewer, depth is undetermined
MAX_VIEWS = 1000
MAX_SIZE = 1024  # pixels: larger pictures are downscaled
BYTES_PER_PIXEL = 20  # of a view: its colours, alpha and mask


@dataclass(frozen=True, eq=False)
class View:
    """One square picture with straight (not premultiplied) alpha."""

    rgb: Floats  # (s, s, 3) sRGB in [0, 1]
    alpha: Floats  # (s, s)
    camera: Camera
    known_mask: Floats | None = None  # (s, s) 0 where the picture is only padding; None: 1 everywhere
    weight: float = 1.0  # of the view relative to the others

    def __post_init__(self) -> None:
        size = self.alpha.shape[0]
        if self.alpha.shape != (size, size) or self.rgb.shape != (size, size, 3):
            raise ValueError(f"a view must be square, got {self.rgb.shape} and {self.alpha.shape}")

    @property
    def size(self) -> int:
        return self.alpha.shape[0]


@dataclass(frozen=True, eq=False)
class ViewSet:
    views: tuple[View, ...]
    reference: View | None = None  # the photo itself, at its full resolution
    seed: int | None = None  # with which the views were made
    surface: Bools | None = None  # cells of a volume near the head's surface, if the views are renders of one

    @property
    def all(self) -> tuple[View, ...]:
        return self.views if self.reference is None else (*self.views, self.reference)

    def save(self, folder: Path, *, drawn: bool = False) -> None:
        """Write 000.png and so on, reference.png and, last, transforms.json, in canonical units.

        `drawn` says that `save_view` has already written all views.
        """
        folder = Path(folder)
        files = [(name_view(i), view) for i, view in enumerate(self.views)]
        files += [("reference.png", self.reference)] if self.reference is not None else []
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, view in files[len(self.views) if drawn else 0 :]:
                save_picture(folder / name, view.rgb, view.alpha)
            self._save_known_mask(folder / KNOWN)
            save_surface(folder / SURFACE, self.surface)
            frames = [frame_entry(name, view.camera, view.size, view.size) for name, view in files]
            record = {"camera_model": "OPENCV", OWN_KEY: {"format": FORMAT, "seed": self.seed}, "frames": frames}
            with atomic_write(folder / "transforms.json") as temporary:
                temporary.write_text(json.dumps(record, indent=1))

    def _save_known_mask(self, path: Path) -> None:
        """Write the mask of the reference, unless its square lies entirely inside the photo."""
        known_mask = None if self.reference is None else self.reference.known_mask
        if known_mask is None or known_mask.min() > 0.5:
            path.unlink(missing_ok=True)
        else:
            save_picture(path, np.repeat(known_mask[..., None], 3, -1).astype(np.float32))

    @classmethod
    def load(cls, folder: Path) -> ViewSet:
        """Read a folder of ours or of another program; the cameras of the latter are moved to the canonical frame."""
        path = find_cameras(Path(folder))
        if path is None:
            raise UserError(f"{folder} has no cameras for its pictures; add {EXPECTED}.")
        shots = read_shots(path)
        needed = sum(min(max(shot.width, shot.height), MAX_SIZE) ** 2 for shot in shots) * BYTES_PER_PIXEL
        require_memory("views", needed, "use fewer or smaller pictures")
        entry = json.loads(read_limited(path, MAX_BYTES)).get(OWN_KEY) if path.is_file() else None
        if not isinstance(entry, dict) or entry.get("format") != FORMAT:
            require_views(len(shots), path)  # fewer do not say where the head is
            shots, entry = normalise_shots(shots, path), {}
        views = [_load_view(shot) for shot in shots]
        photo_indices = [i for i, shot in enumerate(shots) if entry and shot.image.name == "reference.png"]
        seed = entry.get("seed")
        return cls(
            tuple(view for i, view in enumerate(views) if i not in photo_indices),
            _add_known_mask(views[photo_indices[0]], path.parent / KNOWN) if photo_indices else None,
            seed if isinstance(seed, int) else None,
            load_surface(path.parent / SURFACE) if entry else None,
        )


def name_view(index: int) -> str:
    return f"{index:03d}.png"


def save_view(folder: Path, index: int, view: View) -> None:
    save_picture(folder / name_view(index), view.rgb, view.alpha)


def save_surface(path: Path, surface: Bools | None) -> None:
    """Write the cells near the surface, or remove those of earlier views."""
    if surface is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary:
        temporary.write_bytes(zlib.compress(np.packbits(surface).tobytes()))


def load_surface(path: Path) -> Bools | None:
    """Read the cells near the surface; None if there are none, or if the file is damaged: a fit needs none."""
    size = CELLS**3 // 8
    if not path.is_file():
        return None
    try:
        packed = zlib.decompressobj().decompress(read_limited(path, 2 * size), size + 1)
    except zlib.error:
        return None
    if len(packed) != size:
        return None
    return np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool).reshape((CELLS,) * 3)


def require_views(count: int, path: Path | str) -> None:
    """Raise a UserError for fewer or more views than a head can be fitted to."""
    if not MIN_VIEWS <= count <= MAX_VIEWS:
        raise UserError(f"{path} has {count} view{'s' * (count != 1)}; provide {MIN_VIEWS} to {MAX_VIEWS}.")


def _add_known_mask(photo: View, path: Path) -> View:
    if not path.is_file():
        return photo
    known_mask = load_picture(path).rgb[..., 0]
    if known_mask.shape != photo.alpha.shape:
        raise UserError(
            f"{path} and the photo next to it differ in size; delete {path.name}, or make the views again."
        )
    return replace(photo, known_mask=(known_mask > 0.5).astype(np.float32))


def _load_view(shot: Shot) -> View:
    """Load a picture, resample it to square pixels and pad it to a square; the padding is marked as unknown."""
    picture = load_picture(shot.image)
    height, width = picture.rgb.shape[:2]
    matte = find_matte(picture.rgb) if picture.alpha is None else picture.alpha
    values = np.concatenate([picture.rgb * matte[..., None], matte[..., None]], -1).astype(np.float32)
    factor = min(MAX_SIZE / max(height, width * shot.fy / shot.fx), 1)
    rows, columns = round(height * factor), round(width * factor * shot.fy / shot.fx)
    values = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA)
    side = max(rows, columns)
    square = np.zeros((side, side, 5), np.float32)
    square[:rows, :columns, :4], square[:rows, :columns, 4] = values, 1
    alpha = square[..., 3]
    scale = np.array([columns / shot.width, rows / shot.height]) / side
    camera = Camera(shot.cam2world, shot.fy * scale[1], (shot.cx * scale[0], shot.cy * scale[1]))
    if not 0.05 * RADIUS < camera.radius < 50 * RADIUS:
        raise UserError(
            f"The camera of {shot.image.name} is too far from the head or too close to it; check its pose."
        )
    rgb = np.where(alpha[..., None] > 1 / 512, square[..., :3] / np.maximum(alpha, 1 / 512)[..., None], 0)
    return View(rgb.clip(0, 1), alpha, camera, None if rows == columns else square[..., 4])
