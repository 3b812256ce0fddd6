"""The view sheet: pictures of one head from known cameras, which the fits turn into 3D."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Array, Camera
from portrait360.errors import UserError
from portrait360.files import read_limited, whole, writing_to
from portrait360.images import load_picture, save_picture
from portrait360.matte import find_matte
from portrait360.transforms import MAX_BYTES, Shot, frame, read_transforms

Floats = NDArray[np.floating]

FORMAT = 1  # of our own entry in transforms.json
OWN = "portrait360"  # its name
KNOWN = "reference-known.png"  # of the photo: white where its square lies within it
FEWEST = 3  # views: with fewer, nothing says how far away anything is
MOST_VIEWS = 1000
LARGEST = 1024  # pixels: larger pictures are reduced
REACH = 0.447  # canonical: half the side of what a view shows of the head's plane


@dataclass(frozen=True, eq=False)
class View:
    """One square picture; its matte is straight."""

    rgb: Floats  # (s, s, 3) sRGB in [0, 1]
    alpha: Floats  # (s, s)
    camera: Camera
    known: Floats | None = None  # (s, s) 0 where the picture says nothing; everywhere 1 if not given
    weight: float = 1.0  # how much the view counts beside the others

    def __post_init__(self) -> None:
        size = self.alpha.shape[0]
        if self.alpha.shape != (size, size) or self.rgb.shape != (size, size, 3):
            raise ValueError(f"a view is square, got {self.rgb.shape} and {self.alpha.shape}")

    @property
    def size(self) -> int:
        return self.alpha.shape[0]


@dataclass(frozen=True, eq=False)
class ViewSheet:
    views: tuple[View, ...]
    reference: View | None = None  # the photo itself, at its full resolution
    seed: int | None = None  # that made the views

    @property
    def all(self) -> tuple[View, ...]:
        return self.views if self.reference is None else (*self.views, self.reference)

    def save(self, folder: Path) -> None:
        """000.png and so on, reference.png, and transforms.json last, in canonical units."""
        folder = Path(folder)
        named = [(f"{i:03d}.png", view) for i, view in enumerate(self.views)]
        named += [("reference.png", self.reference)] if self.reference is not None else []
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, view in named:
                save_picture(folder / name, view.rgb, view.alpha)
            self._save_known(folder / KNOWN)
            frames = [frame(name, view.camera, view.size, view.size) for name, view in named]
            said = {"camera_model": "OPENCV", OWN: {"format": FORMAT, "seed": self.seed}, "frames": frames}
            with whole(folder / "transforms.json") as temporary:
                temporary.write_text(json.dumps(said, indent=1))

    def _save_known(self, path: Path) -> None:
        """Where the photo's square goes beyond the photo, nothing is known."""
        known = None if self.reference is None else self.reference.known
        if known is None or known.min() > 0.5:
            path.unlink(missing_ok=True)
        else:
            save_picture(path, np.repeat(known[..., None], 3, -1).astype(np.float32))

    @classmethod
    def load(cls, folder: Path) -> ViewSheet:
        """A folder of ours or of another program; the other's cameras are brought to the canonical frame."""
        folder = Path(folder)
        path = folder / "transforms.json" if folder.is_dir() else folder
        if not path.is_file():
            raise UserError(f"{folder} holds no transforms.json, so nothing says where its cameras stand.")
        shots = read_transforms(path)
        if not FEWEST <= len(shots) <= MOST_VIEWS:
            raise UserError(f"{path} has {len(shots)} view{'s' * (len(shots) != 1)}; bring {FEWEST} to {MOST_VIEWS}.")
        own = json.loads(read_limited(path, MAX_BYTES)).get(OWN)
        if not isinstance(own, dict) or own.get("format") != FORMAT:
            shots, own = canonical(shots, path), {}
        views = [_view(shot) for shot in shots]
        photo = [i for i, shot in enumerate(shots) if own and shot.image.name == "reference.png"]
        seed = own.get("seed")
        return cls(
            tuple(view for i, view in enumerate(views) if i not in photo),
            _known(views[photo[0]], path.parent / KNOWN) if photo else None,
            seed if isinstance(seed, int) else None,
        )


def _known(photo: View, path: Path) -> View:
    if not path.is_file():
        return photo
    known = load_picture(path).rgb[..., 0]
    if known.shape != photo.alpha.shape:
        raise UserError(f"{path} is not of the same size as the photo beside it; delete it, or make the views again.")
    return replace(photo, known=(known > 0.5).astype(np.float32))


def canonical(shots: Sequence[Shot], path: Path) -> list[Shot]:
    """Shots moved, turned and scaled: what all look at becomes the origin, up is their mean up, the first stands in
    front, and what they show is as large as in our own views."""
    poses = np.stack([shot.cam2world for shot in shots])
    origin = meeting_point(poses, path)
    up = -poses[:, :3, 1].mean(0)
    if np.linalg.norm(up) < 0.1:
        raise UserError(f"The cameras of {path} do not agree on where up is.")
    back = poses[0, :3, 3] - origin
    y = up / np.linalg.norm(up)
    x = np.cross(y, back)
    if np.linalg.norm(x) < 1e-3 * np.linalg.norm(back):
        raise UserError(f"The first camera of {path} looks straight down, so nothing says where the front is.")
    x /= np.linalg.norm(x)
    turn = np.stack([x, y, np.cross(x, y)])  # world to canonical
    away = np.linalg.norm(poses[:, :3, 3] - origin, axis=1)
    shown = away * [min(shot.width / shot.fx, shot.height / shot.fy) / 2 for shot in shots]
    scale = REACH / float(np.median(shown))
    out = []
    for shot, pose in zip(shots, poses, strict=True):
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = turn @ pose[:3, :3], turn @ (pose[:3, 3] - origin) * scale
        out.append(replace(shot, cam2world=moved))
    return out


def meeting_point(poses: Array, path: Path | str) -> Array:
    """The point nearest to all optical axes, which must lie in front of the cameras."""
    axes, places = poses[:, :3, 2], poses[:, :3, 3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    total = across.sum(0)
    if np.linalg.eigvalsh(total)[0] < 1e-3 * len(poses):
        raise UserError(f"The cameras of {path} all look the same way; bring views from around the head.")
    origin = np.linalg.solve(total, (across @ places[..., None]).sum(0)[:, 0])
    if (((origin - places) * axes).sum(1) <= 0).any():
        raise UserError(f"Some cameras of {path} look away from what the others look at.")
    return origin


def _view(shot: Shot) -> View:
    """The picture with square pixels, padded to a square; what was padded is unknown."""
    picture = load_picture(shot.image)
    height, width = picture.rgb.shape[:2]
    matte = find_matte(picture.rgb) if picture.alpha is None else picture.alpha
    values = np.concatenate([picture.rgb * matte[..., None], matte[..., None]], -1).astype(np.float32)
    shrunk = min(LARGEST / max(height, width * shot.fy / shot.fx), 1)
    tall, wide = round(height * shrunk), round(width * shrunk * shot.fy / shot.fx)
    values = cv2.resize(values, (wide, tall), interpolation=cv2.INTER_AREA)
    side = max(tall, wide)
    square = np.zeros((side, side, 5), np.float32)
    square[:tall, :wide, :4], square[:tall, :wide, 4] = values, 1
    alpha = square[..., 3]
    scale = np.array([wide / shot.width, tall / shot.height]) / side
    camera = Camera(shot.cam2world, shot.fy * scale[1], (shot.cx * scale[0], shot.cy * scale[1]))
    if not 0.05 * RADIUS < camera.radius < 50 * RADIUS:
        raise UserError(f"The camera of {shot.image.name} stands too far from or too near to the head.")
    rgb = np.where(alpha[..., None] > 1 / 512, square[..., :3] / np.maximum(alpha, 1 / 512)[..., None], 0)
    return View(rgb.clip(0, 1), alpha, camera, None if tall == wide else square[..., 4])
