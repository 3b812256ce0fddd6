"""Training samples of the portrait reader: synthetic people from many sides in many lights, with all they show.

python -m portrait360.training.data.reader_samples -o DIR [--count 1000] [--first 0] [--pictures 4] [--skins FOLDER]
    [--worn 0.5]

A sample holds a head without its surroundings; background, occluders, framing and the look of the photo are added
anew each time it is used. A stopped run resumes: identities whose samples are already there are skipped.

`--worn` is the share of the people who wear what portraits and paintings show and everyday photos do not: turbans,
veils, hoods, thin glasses, large jewellery, ruffs. The others stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, RADIUS
from portrait360.synth.build import build
from portrait360.synth.head.photo_skin import SkinTextures, load_skins
from portrait360.synth.head.varied_head import sample_varied_head
from portrait360.synth.photography.cutout import Cutout
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.photo_lights import sample_photo_light
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.draws import pick
from portrait360.synth.sampling.hats import EXTRA_HATS, NEAREST_HAT, UNLIKE_ANY, hat_kind
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.worn_variation import diversify_wear
from portrait360.synth.scene import Light
from portrait360.training.data.head_map_samples import Arrays, generate, make_parser
from portrait360.training.data.reader_targets import CLASSES, NUMBERS, UNKNOWN, describe_head
from portrait360.utils.array_types import F32, I32
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import to_uint8

DATA = "reader samples 1"  # recorded in the weights that are trained on them
CANVAS = 320  # pixels
FIELD = 1.15  # side of the canvas in sides of a portrait's crop
PICTURES = 4  # per identity, two in each light
ODDS = {"human": 0.74, "toon": 0.10, "animal": 0.09, "statue": 0.07}
WORN_ODDS = {"human": 0.76, "toon": 0.07, "statue": 0.17}


@dataclass(frozen=True, eq=False)
class ReaderSample(Arrays):
    rgba: NDArray[np.uint8]  # (CANVAS, CANVAS, 4) straight
    labels: NDArray[np.uint8]
    flow: NDArray[np.int8]  # (.., 2) times 127
    normals: NDArray[np.int8]  # (.., 3) times 127
    classes: NDArray[np.int32]  # (CLASSES,)
    numbers: NDArray[np.float32]  # (NUMBERS,)

    def cutout(self) -> Cutout:
        def scale(values: np.ndarray, steps: int) -> F32:
            return (values / np.float32(steps)).astype(np.float32)

        rgb, alpha = scale(self.rgba[..., :3], 255), scale(self.rgba[..., 3], 255)
        return Cutout(rgb, alpha, self.labels, scale(self.flow, 127), scale(self.normals, 127))


def make_samples(
    seed: int, pictures: int = PICTURES, skins: Path | None = None, worn: float = 0.0
) -> list[ReaderSample]:
    """Return the samples of one identity; `worn` is how probably it wears things that are rare in everyday photos."""
    is_worn = bool(np.random.default_rng([seed, 33]).random() < worn)
    parameters, rng = sample_head(seed, worn=is_worn), np.random.default_rng([seed, 32])
    scene = build(parameters, skins=None if skins is None else _load_skins_once(skins))
    samples: list[ReaderSample] = []
    for light, count in share_lights(rng, pictures):
        lit = prepare_scene(replace(scene, light=light), quality=DRAFT)
        for _ in range(count):
            camera = sample_camera(rng)
            view = render(lit, camera, CANVAS)
            axes = camera.cam2world[:3, :3].astype(np.float32)
            rgba = np.concatenate([to_uint8(view.rgb), to_uint8(view.alpha)[..., None]], -1)
            flow, normals = (np.rint(127 * v).astype(np.int8) for v in (view.flow, view.normals @ axes))
            classes, numbers = describe_worn(parameters, light, camera)
            samples.append(ReaderSample(rgba, view.labels, flow, normals, classes, numbers))
    return samples


@lru_cache(maxsize=1)
def _load_skins_once(folder: Path) -> SkinTextures:
    return load_skins(folder)


def share_lights(rng: np.random.Generator, pictures: int) -> Iterator[tuple[Light, int]]:
    """Yield lights, each with the number of pictures taken in it: baking one costs as much as two pictures."""
    while pictures > 0:
        count = min(2, pictures)
        yield sample_photo_light(rng), count
        pictures -= count


def describe_worn(parameters: HeadParameters, light: Light, camera: Camera) -> tuple[I32, F32]:
    """Describe a head as `describe_head`, its hat as the nearest of those that have a class, or as unknown."""
    wear = parameters.wear
    kind = hat_kind(wear.hat)
    known = replace(parameters, wear=replace(wear, hat=NEAREST_HAT.get(kind, kind)))
    classes, numbers = describe_head(known, light, camera)
    if kind in UNLIKE_ANY:
        classes[list(CLASSES).index("hat")] = UNKNOWN
    if kind in EXTRA_HATS and EXTRA_HATS[kind].hides_hair:
        numbers[[NUMBERS.index(f"hair_{axis}") for axis in "Lab"]] = np.nan
    return classes, numbers


def sample_head(seed: int, *, worn: bool = False) -> HeadParameters:
    """Sample a head such that ages, skin tones and hairstyles, the rare ones too, occur about equally often."""
    rng = np.random.default_rng([seed, 31])
    kind = pick(rng, WORN_ODDS if worn else ODDS)
    head = sample_varied_head(rng, seed, kind)
    return diversify_wear(np.random.default_rng([seed, 34]), head) if worn else head


def sample_camera(rng: np.random.Generator) -> Camera:
    """Sample a camera: mostly near the front, often from the side, from near and far."""
    spread = rng.random()
    azimuth = rng.normal(0, 20) if spread < 0.5 else rng.uniform(-60, 60) if spread < 0.8 else rng.uniform(-95, 95)
    elevation = float(np.clip(rng.normal(0, 10), -30, 30))
    radius = RADIUS * float(np.exp(rng.uniform(-0.5, 0.7)))
    pose = look_at(float(azimuth), elevation, roll=float(np.clip(rng.normal(0, 7), -20, 20)), radius=radius)
    return Camera(pose, focal_from_fov(FOV) * radius / RADIUS / FIELD)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--pictures", type=int, default=PICTURES, help="pictures per identity")
    parser.add_argument("--skins", type=Path, help="folder with photographic skin textures")
    parser.add_argument("--worn", type=float, default=0.0, help="share of people with turbans, veils, jewellery ...")
    args = parser.parse_args()
    make = partial(make_samples, pictures=args.pictures, skins=args.skins, worn=args.worn)
    run_entry_point(partial(generate, make, args.output, args.split, args.first, args.count, args.processes))
