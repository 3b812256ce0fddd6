"""The cases of a protocol: a photo for the method, and where there is a truth, the pictures it should come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.errors import UserError
from portrait360.evaluate.alignment import nearest_front, to_canonical
from portrait360.evaluate.methods import Method
from portrait360.evaluate.protocol import Heads, Protocol
from portrait360.evaluate.rigs import Rig
from portrait360.images import Picture, load_picture
from portrait360.portrait import FOV, Portrait, make_portrait
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.portrayed import Frame, frame_of, portrait_of
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.tone import over
from portrait360.view_sheet import View

Floats = NDArray[np.floating]

FOCAL = focal_from_fov(FOV)
PHOTOS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    kind: str
    portrait: Portrait
    targets: tuple[View, ...] = ()  # the truth
    folder: Path | None = None  # of a run that was made before
    exact: Method | None = None  # the true head from any camera of the portrait's frame


def synthetic(protocol: Protocol, index: int) -> Case:
    """A head before a random background."""
    heads = protocol.heads
    assert heads is not None
    head, kind, true, photo = portrayed(heads, index, protocol.portrait)
    portrait = portrait_of(photo, true, protocol.portrait)
    asked = orbit(protocol.orbit, focal=FOCAL)
    truth = [render(head, camera, protocol.size) for camera in as_cropped(asked, portrait, true, protocol.portrait)]
    targets = (View(seen.rgb, seen.alpha, camera) for seen, camera in zip(truth, asked, strict=True))
    return Case(
        f"{index:03d}",
        kind,
        portrait,
        tuple(targets),
        exact=partial(exactly, head, frame_of(portrait, true, protocol.portrait)),
    )


def exactly(head: Prepared, frame: Frame, portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """A method that knows the head, and takes the portrait's word for how it is turned."""
    seen = ((render(head, frame.camera(camera), size), camera) for camera in cameras)
    return [View(view.rgb, view.alpha, camera) for view, camera in seen]


def portrayed(heads: Heads, index: int, size: int) -> tuple[Prepared, str, Camera, Picture]:
    """Identity, kind, camera and photo of a synthetic case."""
    seed, kind = heads.first + heads.step * index, heads.kinds[index % len(heads.kinds)]
    rng = np.random.default_rng(seed)
    head = prepare(build(sample(seed, kind)))
    azimuth, elevation, roll = (rng.uniform(-most, most) for most in (heads.azimuth, heads.elevation, heads.roll))
    true = Camera(look_at(azimuth, elevation, roll=roll), FOCAL)
    seen = render(head, true, size)
    photo = over(seen.rgb, seen.alpha, background(rng, size)).astype(np.float32)
    return head, kind, true, Picture(np.round(photo * 255).astype(np.float32) / 255, None, name=f"case {index:03d}")


def as_cropped(cameras: Sequence[Camera], portrait: Portrait, true: Camera, size: int) -> list[Camera]:
    """Cameras for a truth that is shifted and scaled as the crop is against the whole picture: how large a head is
    and where its middle lies is a convention that no photo tells. Its angles are not touched: those errors count."""
    frame = replace(frame_of(portrait, true, size), turn=np.eye(3))
    return [frame.camera(camera) for camera in cameras]


def of_photo(protocol: Protocol, path: Path) -> Case:
    return Case(path.stem, "photo", make_portrait(load_picture(path), size=protocol.portrait))


def of_run(folder: Path) -> Case:
    return Case(folder.name, "run", Portrait.load(folder / "portrait"), folder=folder)


def of_rig(protocol: Protocol, rig: Rig) -> Case:
    """The most frontal shot in, all others against the truth, where they show the head."""
    front = nearest_front(rig)
    portrait = make_portrait(rig.shots[front].load(), size=protocol.portrait)
    alignment = to_canonical(rig, front, portrait)
    others = (shot for i, shot in enumerate(rig.shots) if i != front)
    return Case(rig.name, "recorded", portrait, tuple(alignment.view(shot, protocol.size) for shot in others))


def photos_in(places: Sequence[Path]) -> list[Path]:
    """Files, and the pictures in folders, in the order of their names."""
    out: list[Path] = []
    for place in places:
        if place.is_dir():
            out += sorted(path for path in place.iterdir() if path.suffix.lower() in PHOTOS)
        elif place.is_file():
            out.append(place)
        else:
            raise UserError(f"There is no file or folder {place}.")
    if not out:
        raise UserError(f"There are no pictures in {', '.join(map(str, places))}.")
    return out
