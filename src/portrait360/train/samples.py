"""What the map completer learns from: synthetic portraits through the real stages, and the map that they should give.

python -m portrait360.train.samples -o DIR [--count 1000] [--first 0] [--portraits 4] [--processes 2]

One identity after the other; a stopped run goes on, and what is there is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, focal_from_fov, look_at
from portrait360.engine import Processes, sure
from portrait360.errors import UserError
from portrait360.files import folder_at, whole
from portrait360.images import Picture, eight_bits
from portrait360.plainly import plainly
from portrait360.portrait import FOV, Portrait
from portrait360.progress import step_bar
from portrait360.proxy import LAYOUT, Proxy, make_proxy, on_surface
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.dataset import identity
from portrait360.synth.portrayed import Frame, frame_of, portrait_of
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.tone import over
from portrait360.train.truth_map import TruthMap, scan, truth_map

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

Floats = NDArray[np.floating]

DATA = "map samples 1"  # named in the weights that learn from them
PHOTO = 512
FOCAL = focal_from_fov(FOV)
PORTRAITS = 4  # of each identity
FAR = 0.3  # share of portraits from further aside than +-35 degrees
AZIMUTHS, ELEVATION, ROLL = (35.0, 70.0), 15.0, 8.0


@dataclass(frozen=True, eq=False)
class Arrays:
    """What is learnt from: arrays by their names, in one file."""

    def save(self, path: Path) -> None:
        values: dict[str, Any] = asdict(self)
        with whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **values)

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(**{name: data[name] for name in data.files})
        except TypeError as error:
            raise UserError(f"{path} is a sample of another kind; name a folder of this recipe's own.") from error
        except (OSError, ValueError, BadZipFile) as error:
            raise UserError(f"{path} is damaged; delete it and its .done, and make it again.") from error


Make = Callable[[int], Sequence[Arrays]]  # from the seed of an identity


@dataclass(frozen=True, eq=False)
class Sample(Arrays):
    """Pictures over the map are (rows, columns, ...) in 8 bits, radii in 16."""

    photo: NDArray[np.uint8]  # (.., 3) the photo's colours on the proxy's surface
    visible: NDArray[np.uint8]
    trust: NDArray[np.uint8]
    proxy: NDArray[np.uint8]  # (.., 3) the proxy's colours
    proxy_radius: NDArray[np.float16]
    rgb: NDArray[np.uint8]  # (.., 3) the truth
    radius: NDArray[np.float16]
    kinds: NDArray[np.uint8]  # (.., 3) share of skin, hair, cloth
    seen: NDArray[np.uint8]  # where the truth is known
    camera: NDArray[np.float32]  # (2,) azimuth and elevation that the portrait was given


def make_samples(seed: int, portraits: int = PORTRAITS) -> list[Sample]:
    """All portraits of one identity; those in which no head is found are left out."""
    head = prepare(build(sample(seed, "any")))
    everything = scan(head, FOCAL)
    return [
        as_sample(portrait, make_proxy(portrait), truth_map(everything, frame, LAYOUT))
        for portrait, frame in portraits_of(head, np.random.default_rng([seed, 7]), portraits)
    ]


def portraits_of(head: Prepared, rng: np.random.Generator, count: int) -> Iterator[tuple[Portrait, Frame]]:
    """From random places, through the real stage."""
    for _ in range(count):
        true = random_place(rng)
        try:
            portrait = portrait_of(photo_of(head, true, rng), true, PHOTO)
        except UserError:
            continue
        yield portrait, frame_of(portrait, true, PHOTO)


def random_place(rng: np.random.Generator) -> Camera:
    """Most portraits are taken from the front."""
    most = AZIMUTHS[int(rng.random() < FAR)]
    return Camera(
        look_at(rng.uniform(-most, most), rng.uniform(-ELEVATION, ELEVATION), roll=rng.uniform(-ROLL, ROLL)), FOCAL
    )


def photo_of(head: Prepared, true: Camera, rng: np.random.Generator) -> Picture:
    """As cameras and phones give it: before something, soft, noisy, compressed, or small."""
    seen = render(head, true, PHOTO)
    rgb = over(seen.rgb, seen.alpha, background(rng, PHOTO)).astype(np.float32)
    if rng.random() < 0.4:
        small = int(rng.integers(160, PHOTO))
        rgb = cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA)
        rgb = cv2.resize(rgb, (PHOTO, PHOTO), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.4:
        rgb = rgb + rng.normal(0, rng.uniform(0.003, 0.03), rgb.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 98))]
    coded = cv2.imencode(".jpg", eight_bits(np.asarray(np.clip(rgb, 0, 1), np.float32)), quality)[1]
    return Picture(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32) / 255, None)


def as_sample(portrait: Portrait, proxy: Proxy, truth: TruthMap) -> Sample:
    seen = on_surface(portrait, proxy.radius, clean=proxy.photo).own
    camera = portrait.camera
    return Sample(
        eight_bits(seen.rgb),
        eight_bits(seen.visible),
        eight_bits(seen.trust),
        eight_bits(proxy.colours),
        proxy.radius.astype(np.float16),
        eight_bits(truth.rgb),
        truth.radius.astype(np.float16),
        eight_bits(truth.kinds.transpose(1, 2, 0)),
        eight_bits(truth.seen),
        np.array([camera.azimuth, camera.elevation], np.float32),
    )


def write_samples(make: Make, folder: Path, split: str, index: int) -> int:
    """Those of one identity; the last file vouches for all."""
    seed = identity(split, index)
    done = folder / f"{seed:07d}.done"
    if done.exists():
        return 0
    made = make(seed)
    for k, one in enumerate(made):
        one.save(folder / f"{seed:07d}-{k}.npz")
    with whole(done) as temporary:
        temporary.write_text(f"{len(made)}\n")
    return len(made)


def arguments(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="identities")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--split", default="train", choices=("train", "val", "test"))
    parser.add_argument("--processes", type=int, default=2)
    return parser


def generate(make: Make, output: Path, split: str, first: int, count: int, processes: int) -> None:
    """Of so many identities, each process with one thread."""
    folder_at(output)
    work = partial(write_samples, make, output, split)
    with step_bar("Samples", count) as advance:
        for _ in sure(Processes(processes).run(work, range(first, first + count))):
            advance("")


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="of each identity")
    given = parser.parse_args()
    make = partial(make_samples, portraits=given.portraits)
    plainly(partial(generate, make, given.output, given.split, given.first, given.count, given.processes))
