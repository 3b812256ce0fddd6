"""What an avatar gets wrong of a head: a table of measured errors, and the command that measures it.

python -m portrait360.training.data.avatar_errors [--count 24] [--first 9000] [-o FILE]

People of the split for tests are photographed, pass through all real stages, and their avatars are compared with what
they truly are. Nobody of them is in a training set or in a protocol.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.synth.build import build
from portrait360.synth.data.clips import identity_seed
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import head_share, make_head
from portrait360.synth.head.fitted_head import load_linear_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.hats import NEAREST_HAT, hat_kind
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.sampling.style_descriptor import FAMILY_OF
from portrait360.training.data.head_map_samples import FOCAL, render_portraits
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.files import atomic_write

Row = dict[str, Any]
FACTORS, PLACES = ("length", "volume", "curl"), ("parting", "sweep")
NECK = -0.7  # head heights: what lies lower is not the head's
AROUND, SIZE = (0, 60, 120, 180, 240, 300), 128  # degrees and pixels of the views whose outlines are compared


@dataclass(frozen=True)
class AvatarErrors:
    """How often an avatar is wrong about what can be named, and by how much about what can be measured."""

    same_style: float  # share of the people whose hair has the very style
    same_family: float  # share of those whose hair has another style of the family
    factors: tuple[float, float, float]  # standard deviation of the logarithm of FACTORS, where the style is right
    places: tuple[float, float]  # standard deviation of PLACES, there
    shape: float  # by how much the skin of a head is off, in head heights
    beard: float  # share of those with a beard or without whose beard is another
    glasses: float  # share of those with glasses who get none
    hat: float  # share of those with a hat who get another, or none
    collar: float  # share of those in clothes who get another collar


def compare_avatar(seed: int) -> Row | None:
    """Compare a person with the avatar of a photo; None where the photo shows no face."""
    truth = sample(seed, "human")
    head, rng = prepare_scene(build(truth)), np.random.default_rng([seed, 17])
    for portrait, frame in render_portraits(head, rng, 1):
        if not can_fit_avatar(portrait):
            return None
        avatar = make_avatar(portrait, proxy_from_photo(portrait))
        cameras = [Camera(look_at(azimuth), FOCAL) for azimuth in AROUND]
        true = [render(head, frame.camera(camera), SIZE).alpha > 0.5 for camera in cameras]
        seen = [avatar.render(camera, SIZE).mask > 0.5 for camera in cameras]
        overlaps = [float((a & b).sum() / (a | b).sum()) for a, b in zip(true, seen, strict=True)]
        named = {"true": _name(truth), "found": _name(avatar.parameters)}
        vertices = load_linear_head().at(avatar.fit.shape, avatar.fit.expression)[: load_pack().body]
        shape = find_shape_error(make_head(truth).base, vertices + avatar.fit.offset)
        return named | {"overlaps": overlaps, "shape": shape}
    return None


def _name(p: HeadParameters) -> Row:
    hair = {name: getattr(p.hair, name) for name in ("style", *FACTORS, *PLACES)}
    return hair | {
        "beard": p.facial.beard,
        "glasses": p.wear.glasses,
        "hat": _name_hat(p.wear.hat),
        "collar": p.clothes.collar,
    }


def _name_hat(hat: str) -> str:
    """Return the kind of a hat: that of the nearest of those that everybody wears."""
    kind = hat_kind(hat)
    return NEAREST_HAT.get(kind, kind)


def find_shape_error(true: Floats, found: Floats) -> float:
    """Return by how much the skin `found` of a head is off, in head heights, its size and place aside."""
    weight = weigh_head()
    residual = align(found[: len(weight)], true[: len(weight)], weight) - true[: len(weight)]
    return root_mean_square(residual, weight)


def weigh_head() -> F32:
    """Return 1 for the vertices of the coarse skin that are the head's, 0 for neck and shoulders."""
    rest = load_average_head().base[: load_pack().body]
    return np.asarray(head_share(rest) * (rest[:, 1] > NECK), np.float32)


def root_mean_square(residual: Floats, weight: Floats) -> float:
    """Return the root mean square length of residuals (n, 3), in head heights."""
    return float(np.sqrt((weight[:, None] * residual**2).sum() / weight.sum())) / HEAD_HEIGHT


def align(points: Floats, target: Floats, weight: Floats) -> F64:
    """Return points (n, 3) moved, turned and scaled so that they lie nearest to a target, by Umeyama 1991."""
    share = (weight / weight.sum())[:, None].astype(np.float64)
    centre, aim = (share * points).sum(0), (share * target).sum(0)
    a, b = points - centre, target - aim
    u, values, v = np.linalg.svd((share * b).T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = float((values * sign).sum() / (share * a**2).sum())
    return scale * a @ (u * sign @ v).T + aim


def summarise_errors(rows: list[Row]) -> AvatarErrors:
    """Return the table of errors of people that were compared with their avatars."""
    bare = [row for row in rows if row["true"]["hat"] == "none" == row["found"]["hat"]]
    same = [row for row in bare if row["true"]["style"] == row["found"]["style"]]
    related = [row for row in bare if _family(row["true"]) == _family(row["found"]) and row not in same]

    def deviate(name: str, scale: Any) -> float:
        return float(np.sqrt(np.mean([(scale(r["found"][name]) - scale(r["true"][name])) ** 2 for r in same])))

    def differ(name: str, *, worn: bool) -> float:
        among = [row for row in rows if not worn or row["true"][name] != "none"]
        return float(np.mean([row["true"][name] != row["found"][name] for row in among])) if among else 0.0

    log = partial(np.log)
    lost = [row["found"]["glasses"] == "none" for row in rows if row["true"]["glasses"] != "none"]
    length, volume, curl = (deviate(name, log) for name in FACTORS)
    parting, sweep = (deviate(name, float) for name in PLACES)
    return AvatarErrors(
        len(same) / len(bare),
        len(related) / len(bare),
        (length, volume, curl),
        (parting, sweep),
        float(np.sqrt(np.mean([row["shape"] ** 2 for row in rows]))),
        differ("beard", worn=False),
        float(np.mean(lost)) if lost else 0.0,
        differ("hat", worn=True),
        differ("collar", worn=True),
    )


def _family(named: Row) -> str:
    return FAMILY_OF[named["style"]]


def measure(first: int, count: int, output: Path | None) -> None:
    rows = []
    for index in range(first, first + count):
        row = compare_avatar(identity_seed("test", index))
        if row is not None:
            rows.append(row)
            print(f"{index}: {row['true']['style']} -> {row['found']['style']}", flush=True)
            if output is not None:
                with atomic_write(output) as temporary:
                    temporary.write_text(json.dumps(rows))
    overlaps = np.mean([row["overlaps"] for row in rows], 0)
    print(f"{len(rows)} people; overlap of outlines at {AROUND} degrees: {np.round(overlaps, 3).tolist()}")
    print(json.dumps(asdict(summarise_errors(rows)), indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--first", type=int, default=9000)
    parser.add_argument("-o", "--output", type=Path, help="file that receives each person's comparison")
    args = parser.parse_args()
    run_entry_point(partial(measure, args.first, args.count, args.output))
