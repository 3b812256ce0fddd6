"""Photos to try portraits on, and what the tests of portraits share."""

from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image

from portrait360.cameras import Camera, focal_from_fov
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy

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


def seen_again(portrait: Portrait, proxy: Proxy) -> tuple[float, float, float]:
    """A proxy at its photo's camera: PSNR inside, how much outlines overlap, how visible the inside is."""
    view = proxy.render(portrait.camera, 512)
    whole, inside, drawn = portrait.alpha > 0.9, portrait.alpha > 0.5, view.mask > 0.5
    error = ((view.rgb - portrait.rgb)[whole] ** 2).mean()
    overlap = (drawn & inside).sum() / (drawn | inside).sum()
    return float(-10 * np.log10(error)), float(overlap), float(view.visibility[whole].mean())


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path
