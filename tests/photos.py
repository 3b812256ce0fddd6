"""Photos to try portraits on, and what the tests of portraits share."""

from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image

from portrait360.cameras import Camera, focal_from_fov
from portrait360.portrait import Portrait

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
IMAGE = Image.open(ASTRONAUT).convert("RGB")
FOCAL = focal_from_fov(18.8)


def turn(one: Camera, other: Camera) -> float:
    """Degrees between two cameras."""
    across = one.cam2world[:3, :3].T @ other.cam2world[:3, :3]
    return float(np.degrees(np.arccos(np.clip((np.trace(across) - 1) / 2, -1, 1))))


def assert_same(one: Portrait, other: Portrait) -> None:
    for entry in fields(Portrait):
        a, b = getattr(one, entry.name), getattr(other, entry.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), entry.name
        else:
            assert a == b, entry.name


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path
