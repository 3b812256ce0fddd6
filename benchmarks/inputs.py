"""Pictures as people bring them, good and bad: what `portrait360 make` does with each.

python -m benchmarks.inputs [--keep DIR]

Each ends in a result (exit code 0) or in one plain sentence (2), and never in a traceback; what lay there before is
still there. The heads are synthetic but for the astronaut.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.images import over_grey, to_uint8

ASTRONAUT = Image.open(Path(__file__).parent.parent / "examples" / "astronaut.png").convert("RGB")
SMALL = ASTRONAUT.resize((256, 256))
GOOD, BAD = 0, 2  # exit codes


def head(kind: str, seed: int, azimuth: float = 10.0) -> Image.Image:
    seen = render(prepare_scene(build(sample(seed, kind))), Camera(look_at(azimuth, 5), focal_from_fov(FOV)), 320)
    return Image.fromarray(to_uint8(over_grey(seen.rgb, seen.alpha)))


def couple() -> Image.Image:
    both = Image.new("RGB", (512, 256), (120, 130, 140))
    both.paste(SMALL, (0, 0))
    both.paste(head("human", 3).resize((220, 220)), (270, 20))
    return both


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(SMALL.convert("L")).astype(np.uint16) * 257).save(path)


def save_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    SMALL.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def cut_out(path: Path) -> None:
    picture = SMALL.convert("RGBA")
    shade = Image.fromarray(((np.hypot(*(np.indices((256, 256)) - 120)) < 115) * 255).astype(np.uint8))
    picture.putalpha(shade)
    picture.save(path)


def cut_off(path: Path) -> None:
    SMALL.save(path)
    path.write_bytes(path.read_bytes()[:30_000])


def save_as(image: Callable[[], Image.Image], **options: object) -> Callable[[Path], None]:
    return lambda path: image().save(path, **options)


CASES: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...], int]] = {
    # what it is: (file, how it is made, options, exit code)
    "a face": ("face.jpg", save_as(lambda: SMALL), (), GOOD),
    "two faces": ("two.jpg", save_as(couple), (), GOOD),
    "two faces, the third asked for": ("two.jpg", save_as(couple), ("--face", "3"), BAD),
    "a side, told": ("side.png", save_as(lambda: head("human", 5, 90)), ("--azimuth", "90"), GOOD),
    "a back, told": ("back.png", save_as(lambda: head("human", 5, 180)), ("--azimuth", "180"), GOOD),
    "a cartoon": ("toon.png", save_as(lambda: head("toon", 4)), (), GOOD),
    "an animal": ("animal.png", save_as(lambda: head("animal", 2)), (), GOOD),
    "a statue": ("statue.png", save_as(lambda: head("statue", 3)), (), GOOD),
    "no head": ("plain.png", save_as(lambda: Image.new("RGB", (300, 300), (90, 120, 60))), (), BAD),
    "49 megapixels": ("huge.png", save_as(lambda: ASTRONAUT.resize((7000, 7000))), (), GOOD),
    "a bomb of 400 megapixels": ("bomb.png", save_as(lambda: Image.new("1", (20000, 20000))), (), BAD),
    "one pixel": ("dot.png", save_as(lambda: Image.new("RGB", (1, 1))), (), BAD),
    "48 pixels": ("tiny.png", save_as(lambda: ASTRONAUT.crop((130, 0, 330, 200)).resize((48, 48))), (), GOOD),
    "cut off": ("cut.png", cut_off, (), BAD),
    "text": ("text.jpg", lambda path: path.write_text("not a picture") and None, (), BAD),
    "empty": ("empty.png", lambda path: path.write_bytes(b"") and None, (), BAD),
    "an animation": ("moving.gif", save_as(lambda: SMALL, save_all=True, append_images=[SMALL.rotate(9)]), (), GOOD),
    "CMYK": ("cmyk.jpg", save_as(lambda: SMALL.convert("CMYK")), (), GOOD),
    "16 bits": ("sixteen.png", sixteen_bits, (), GOOD),
    "turned by EXIF": ("turned.jpg", save_turned, (), GOOD),
    "cut out": ("alpha.png", cut_out, (), GOOD),
    "a folder that is a file": ("face.jpg", save_as(lambda: SMALL), ("-o", "taken"), BAD),
    "a folder that cannot be written": ("face.jpg", save_as(lambda: SMALL), ("-o", "/proc/out"), BAD),
    "no GPU": ("face.jpg", save_as(lambda: SMALL), ("--device", "cuda"), BAD),
    "a preset that cannot run": ("face.jpg", save_as(lambda: SMALL), ("--preset", "sd15"), BAD),
}


def try_case(place: Path, number: int, name: str) -> bool:
    """One case, told in a line; whether it ended as it should."""
    file, write, options, code = CASES[name]
    write(place / file)
    command = [
        sys.executable,
        "-m",
        "portrait360",
        "make",
        file,
        "-o",
        f"out{number}",
        "--as",
        "views",
        "--views",
        "4",
    ]
    begin = time.perf_counter()
    done = subprocess.run([*command, *options], cwd=place, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    lines = done.stderr.splitlines()
    sentences = [line for line in lines if line.startswith("portrait360:")]
    warnings = [line for line in lines if line.startswith("warning: ")]
    fine = done.returncode == code and "Traceback" not in done.stderr and len(sentences) == (code != GOOD)
    print(
        f"{'ok ' if fine else 'BAD'} {done.returncode} {seconds:5.1f} s  {name}: {(sentences or warnings or [''])[0]}"
    )
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = a.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        (place / "taken").write_text("mine")
        right = [try_case(place, number, name) for number, name in enumerate(CASES)]
        kept = (place / "taken").read_text() == "mine"
        print(
            f"{sum(right)} of {len(right)} end as they should; what was there is {'' if kept else 'NOT '}still there"
        )


if __name__ == "__main__":
    main()
