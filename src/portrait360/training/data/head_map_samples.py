"""Training samples of the map completer: synthetic portraits passed through the real stages, and the true head maps.

python -m portrait360.training.data.head_map_samples -o DIR [--count 1000] [--first 0] [--portraits 4] [--processes 2]

A stopped run resumes: identities whose samples are already there are skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame, make_synthetic_portrait, portrait_frame
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo, sample_photos
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.synth.build import build
from portrait360.synth.data.clips import identity_seed
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.training.data.target_map import TruthMap, make_target_map, scan_head
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, create_folder
from portrait360.utils.images import Picture, to_uint8
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.parallel.scheduler import require_all
from portrait360.utils.progress import progress_bar

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


DATA = "map samples 1"  # recorded in the weights that are trained on them
PHOTO = 512
FOCAL = focal_from_fov(FOV)
PORTRAITS = 4  # per identity
FAR = 0.3  # share of portraits whose azimuth may exceed +-35 degrees
AZIMUTHS, ELEVATION, ROLL = (35.0, 70.0), 15.0, 8.0  # degrees to either side


@dataclass(frozen=True, eq=False)
class Arrays:
    """A training sample: named arrays in one file."""

    suffix: ClassVar[str] = ".npz"

    def save(self, path: Path) -> None:
        values: dict[str, Any] = asdict(self)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **values)

    @classmethod
    def load(cls, path: Path) -> Self:
        cls.check_kind(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(**{name: data[name] for name in data.files})
        except TypeError as error:
            raise UserError(
                f"{path} is a sample of another kind; choose a folder of this recipe's samples."
            ) from error
        except (OSError, ValueError, BadZipFile) as error:
            raise UserError(f"{path} is damaged; delete it and its .done file, and make it again.") from error

    @classmethod
    def check_kind(cls, path: Path) -> None:
        if path.suffix != cls.suffix:
            raise UserError(f"{path} is a sample of another kind; choose a folder of this recipe's samples.")


Make = Callable[[int], Sequence[Arrays]]  # takes the seed of an identity


@dataclass(frozen=True, eq=False)
class Sample(Arrays):
    """Images over the map are (rows, columns, ...) in 8 bits, radii in 16."""

    photo: NDArray[np.uint8]  # (.., 3) the photo's colours on the proxy's surface
    visible: NDArray[np.uint8]
    trust: NDArray[np.uint8]
    proxy: NDArray[np.uint8]  # (.., 3) the proxy's colours
    proxy_radius: NDArray[np.float16]
    rgb: NDArray[np.uint8]  # (.., 3) the truth
    radius: NDArray[np.float16]
    kinds: NDArray[np.uint8]  # (.., 3) share of skin, hair, cloth
    seen: NDArray[np.uint8]  # where the true surface was seen by a scanning camera
    camera: NDArray[np.float32]  # (2,) azimuth and elevation of the portrait's camera


def make_samples(seed: int, portraits: int = PORTRAITS) -> list[Sample]:
    """Return the samples of one identity, one per portrait; portraits in which no head is found are skipped."""
    head = prepare_scene(build(sample(seed, "any")))
    scanned = scan_head(head, FOCAL)
    return [
        make_sample(portrait, proxy_from_photo(portrait), make_target_map(scanned, frame, LAYOUT))
        for portrait, frame in render_portraits(head, np.random.default_rng([seed, 7]), portraits)
    ]


def render_portraits(
    head: PreparedScene, rng: np.random.Generator, count: int
) -> Iterator[tuple[Portrait, PortraitFrame]]:
    """Yield portraits of photos from random cameras, aligned by the real portrait stage."""
    for _ in range(count):
        camera = random_camera(rng)
        try:
            portrait = make_synthetic_portrait(render_photo(head, camera, rng), camera, PHOTO)
        except UserError:
            continue
        yield portrait, portrait_frame(portrait, camera, PHOTO)


def random_camera(rng: np.random.Generator) -> Camera:
    """Return a random camera, most often one in front of the face."""
    limit = AZIMUTHS[int(rng.random() < FAR)]
    return Camera(
        look_at(rng.uniform(-limit, limit), rng.uniform(-ELEVATION, ELEVATION), roll=rng.uniform(-ROLL, ROLL)), FOCAL
    )


def render_photo(head: PreparedScene, camera: Camera, rng: np.random.Generator) -> Picture:
    """Render a photo as phones take it: with a background, at random small, soft or noisy, and compressed."""
    view = render(head, camera, PHOTO)
    return Picture(degrade(composite_over(view.rgb, view.alpha, random_background(rng, PHOTO)), rng), None)


def degrade(rgb: Floats, rng: np.random.Generator) -> F32:
    """Return a picture (s, s, 3) at random small, soft or noisy, and compressed."""
    rgb, side = np.asarray(rgb, np.float32), len(rgb)
    if rng.random() < 0.4:
        small = int(rng.integers(160 * side // PHOTO, side))
        rgb = np.asarray(cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA), np.float32)
        rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    if rng.random() < 0.3:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if rng.random() < 0.4:
        rgb = rgb + rng.normal(0, rng.uniform(0.003, 0.03), rgb.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 98))]
    encoded = cv2.imencode(".jpg", to_uint8(np.asarray(np.clip(rgb, 0, 1), np.float32)), quality)[1]
    return np.asarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32) / 255, np.float32)


def make_sample(portrait: Portrait, proxy: Proxy, truth: TruthMap) -> Sample:
    photo = sample_photos(portrait, proxy.radius, clean=proxy.photo).own
    camera = portrait.camera
    return Sample(
        to_uint8(photo.rgb),
        to_uint8(photo.visible),
        to_uint8(photo.trust),
        to_uint8(proxy.colours),
        proxy.radius.astype(np.float16),
        to_uint8(truth.rgb),
        truth.radius.astype(np.float16),
        to_uint8(truth.kinds.transpose(1, 2, 0)),
        to_uint8(truth.seen),
        np.array([camera.azimuth, camera.elevation], np.float32),
    )


def write_samples(make: Make, folder: Path, split: str, index: int) -> int:
    """Write the samples of one identity and return their number; the .done file is written last."""
    seed = identity_seed(split, index)
    marker = folder / f"{seed:07d}.done"
    if marker.exists():
        return 0
    samples = make(seed)
    for k, arrays in enumerate(samples):
        arrays.save(folder / f"{seed:07d}-{k}{arrays.suffix}")
    with atomic_write(marker) as temporary:
        temporary.write_text(f"{len(samples)}\n")
    return len(samples)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="number of identities")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--split", default="train", choices=("train", "val", "test"))
    parser.add_argument("--processes", type=int, default=2)
    return parser


def generate(make: Make, output: Path, split: str, first: int, count: int, processes: int) -> None:
    """Write the samples of `count` identities by several processes with one thread each."""
    create_folder(output)
    write = partial(write_samples, make, output, split)
    with progress_bar("Samples", count) as bar:
        for _ in require_all(ProcessPool(processes).run(write, range(first, first + count))):
            bar.advance()


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="portraits per identity")
    args = parser.parse_args()
    make = partial(make_samples, portraits=args.portraits)
    run_entry_point(partial(generate, make, args.output, args.split, args.first, args.count, args.processes))
