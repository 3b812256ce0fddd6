"""The pictures of README and docs: five heads from four sides, one that turns, suitable and difficult photos.

python -m benchmarks.readme_pictures -o docs/img                 all of them
python -m benchmarks.readme_pictures -o docs/img --only statue   one row, kept in --work until all are there
python -m benchmarks.readme_pictures -o docs/img --only photos   the photos alone
python -m benchmarks.readme_pictures -o docs/img --only avatar   the sheet of docs/avatar.md
python -m benchmarks.readme_pictures -o src/portrait360/apps/web/examples --only examples   those of the web app
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.export.contact_sheet import proxy_sheet
from portrait360.pipeline.export.video import save_turntable
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.synth.build import build
from portrait360.synth.photography import backgrounds
from portrait360.synth.photography.occluders import draw_hand_at_face, find_site
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.lights import light_of
from portrait360.synth.render.photo_lights import HARSH_MOODS
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.images import to_uint8

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
AZIMUTHS, ELEVATION = (40, 90, 180, 270), 4.0
CELL, PHOTO = 288, 768  # pixels: of a picture in the sheet, of a synthetic photo
EXAMPLES, EXAMPLE = ("man", "statue"), 512  # of the web app, beside the astronaut; pixels
FRAMES, FPS, FRAME = 60, 12, 384
Paint = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True)
class Subject:
    """A synthetic head, from where it is photographed, and what lies behind it."""

    kind: str
    seed: int
    azimuth: float
    background: Paint


SUBJECTS: dict[str, Subject | None] = {
    "astronaut": None,  # the photo in examples
    "man": Subject("human", 21, 14, backgrounds.paint_plain_room),
    "boy": Subject("human", 51, -12, backgrounds.paint_studio),
    "statue": Subject("statue", 23, 16, backgrounds.paint_studio),
    "cat": Subject("animal", 31, 18, backgrounds.paint_plain_room),
}


def take_picture(subject: Subject, size: int = PHOTO, harsh: bool = False, covered: bool = False) -> F32:
    """Return a portrait of a synthetic head before a background, in side light or with a hand at its face."""
    rng = np.random.default_rng([subject.seed, 7])
    scene = build(sample(subject.seed, subject.kind), 2)
    if harsh:
        scene = replace(scene, light=light_of(HARSH_MOODS["side_sun"], rng))
    view = render(prepare_scene(scene), Camera(look_at(subject.azimuth, ELEVATION), focal_from_fov(FOV * 1.08)), size)
    rgb = composite_over(view.rgb, view.alpha, subject.background(rng, size))
    if covered:
        hand = draw_hand_at_face(np.random.default_rng(4), find_site(rng, rgb, view.labels))
        rgb = composite_over(hand.rgb, hand.alpha, rgb)
    return np.clip(rgb, 0, 1).astype(np.float32)


def save_photo_strips(folder: Path) -> None:
    """Save examples of suitable photos, and of difficult ones."""
    man, boy, statue = (SUBJECTS[name] for name in ("man", "boy", "statue"))
    assert man and boy and statue
    good = [photo_cell(ASTRONAUT), *(shrink(take_picture(subject)) for subject in (man, statue))]
    plain = Image.fromarray(to_uint8(take_picture(boy)))
    cut = plain.crop((PHOTO // 5, PHOTO * 31 // 100, PHOTO - PHOTO // 5, PHOTO * 91 // 100)).resize((PHOTO, PHOTO))
    small = Image.fromarray(to_uint8(boy.background(np.random.default_rng([boy.seed, 7]), PHOTO)))
    view = render(prepare_scene(build(sample(boy.seed, boy.kind))), Camera(look_at(-8, 0), focal_from_fov(FOV)), 190)
    head = np.concatenate([to_uint8(view.rgb), to_uint8(view.alpha)[..., None]], -1)
    small.paste(Image.fromarray(head), (PHOTO // 2, PHOTO - 190), Image.fromarray(head))
    bad = [np.asarray(cut), to_uint8(take_picture(replace(boy, azimuth=88)))]
    bad += [to_uint8(take_picture(man, harsh=True)), np.asarray(small), to_uint8(take_picture(boy, covered=True))]
    strips = {"photos_good": good, "photos_bad": [shrink(picture / np.float32(255)) for picture in bad]}
    for name, cells in strips.items():
        Image.fromarray(np.concatenate(cells, 1)).save(folder / f"{name}.webp", quality=84, method=6)


def save_avatar_sheet(folder: Path) -> None:
    """Save the astronaut, what of the photo is used, normals, and the avatar from twelve sides."""
    sheet = Image.fromarray(to_uint8(proxy_sheet(build_proxy(make_portrait(ASTRONAUT)))))
    sheet.resize((4 * CELL, 4 * CELL), Image.Resampling.LANCZOS).save(folder / "avatar.webp", quality=84, method=6)


def save_examples(folder: Path) -> None:
    """Save the synthetic photos that the web app offers to click."""
    for name in EXAMPLES:
        subject = SUBJECTS[name]
        assert subject
        picture = Image.fromarray(to_uint8(take_picture(subject)))
        picture = picture.resize((EXAMPLE, EXAMPLE), Image.Resampling.LANCZOS)
        picture.save(folder / f"{name}.jpg", quality=86, optimize=True)


def save_row(name: str, subject: Subject | None, work: Path) -> None:
    """Save the portrait of a subject and its head from four sides, side by side."""
    photo = ASTRONAUT
    if subject:
        photo = work / f"{name}-photo.png"
        Image.fromarray(to_uint8(take_picture(subject))).save(photo)
    faceless = subject if subject and subject.kind == "animal" else None
    azimuth, elevation = (faceless.azimuth, ELEVATION) if faceless else (None, None)
    head = build_proxy(make_portrait(photo, azimuth=azimuth, elevation=elevation))
    views = [head.render(Camera(look_at(angle, ELEVATION), focal_from_fov(FOV)), 2 * CELL) for angle in AZIMUTHS]
    cells = [shrink(view.rgb * view.mask[..., None] + shade(2 * CELL) * (1 - view.mask[..., None])) for view in views]
    Image.fromarray(np.concatenate([photo_cell(photo), *cells], 1)).save(work / f"{name}.png")
    if subject is None:
        cameras = orbit(FRAMES, elevation=ELEVATION, focal=focal_from_fov(FOV))
        turn = [head.render(camera, FRAME) for camera in cameras]
        frames = [view.rgb * view.mask[..., None] + shade(FRAME) * (1 - view.mask[..., None]) for view in turn]
        save_turntable(work / "turning.webp", frames, FPS)


def photo_cell(path: Path) -> np.ndarray:
    """Return the whole photo as a square cell, cut about its middle."""
    picture = Image.open(path).convert("RGB")
    side = min(picture.size)
    left = (picture.width - side) // 2
    return np.asarray(picture.crop((left, 0, left + side, side)).resize((CELL, CELL), Image.Resampling.LANCZOS))


def shade(size: int) -> Floats:
    """Return the light grey behind heads, a little darker towards the bottom."""
    return np.linspace(0.93, 0.84, size)[:, None, None] * np.ones((size, size, 3))


def shrink(picture: Floats) -> np.ndarray:
    return np.asarray(Image.fromarray(to_uint8(picture)).resize((CELL, CELL), Image.Resampling.LANCZOS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/readme-pictures"))
    parser.add_argument("--only", choices=[*SUBJECTS, "photos", "avatar", "examples"])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.only in (None, "photos"):
        save_photo_strips(arguments.output)
    if arguments.only in (None, "avatar"):
        save_avatar_sheet(arguments.output)
    if arguments.only == "examples":
        save_examples(arguments.output)
    for name, subject in SUBJECTS.items():
        if arguments.only in (None, name):
            save_row(name, subject, arguments.work)
    rows = [arguments.work / f"{name}.png" for name in SUBJECTS]
    if all(row.exists() for row in rows):
        sheet = np.concatenate([np.asarray(Image.open(row).convert("RGB")) for row in rows])
        Image.fromarray(sheet).save(arguments.output / "heads_four_sides.webp", quality=86, method=6)
        (arguments.output / "talking.webp").write_bytes((arguments.work / "turning.webp").read_bytes())


if __name__ == "__main__":
    main()
