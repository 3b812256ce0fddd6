"""Training samples of the small view denoiser over the avatar: views of avatars with errors, and of the true heads.

python -m portrait360.training.data.avatar_view_samples -o DIR [--count 1000] [--first 0] [--processes 2]
    [--real 0.03] [--size 256]

Most avatars are true heads with the errors of avatars (`disturbed_avatar`), which takes a tenth of the time; a share
of the people, `--real`, passes through all real stages.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.avatar.view.render import PhotoProjection, render_avatar
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.synth.build import build
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import DRAFT, PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.draws import pick
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Scene
from portrait360.training.data.disturbed_avatar import (
    ERRORS,
    build_layers,
    disturb_head,
    disturb_parameters,
    lay_photo_on,
    take_photo,
)
from portrait360.training.data.head_map_samples import (
    PHOTO,
    degrade,
    generate,
    make_parser,
    random_camera,
    render_portraits,
)
from portrait360.training.data.view_arcs import SIZE, ViewSample, random_arc, render_arcs, sample_arcs, shrink_photo
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.errors import UserError

ARCS = 5  # per identity
REAL = 0.03  # share of the people who pass through all real stages
ODDS = {"human": 0.84, "toon": 0.06, "fantasy": 0.05, "statue": 0.05}  # kinds of heads that avatars are made of
RESERVED = 300_000  # seeds from here on belong to protocols and benchmarks


def make_avatar_view_samples(seed: int, arcs: int = ARCS, real: float = REAL, size: int = SIZE) -> list[ViewSample]:
    """Return the samples of one identity, one per arc; none of a face that the real stages do not find.

    `size` is the side of the views in pixels.
    """
    if seed >= RESERVED:
        raise UserError(f"Only seeds below {RESERVED} are for training; choose a lower `--first`.")
    rng = np.random.default_rng([seed, 13])
    truth = sample(seed, pick(rng, ODDS))
    scene, cameras = build(truth), [random_arc(rng) for _ in range(arcs)]
    head = prepare_scene(scene, quality=DRAFT)
    if rng.random() < real:
        return _make_real_samples(head, rng, cameras, size)
    avatar, photo = disturb_avatar(truth, scene, head, rng, size)
    return render_arcs(
        lambda camera: render(head, camera, size), lambda camera: render_avatar(avatar, camera, size), photo, cameras
    )


def disturb_avatar(
    truth: HeadParameters, scene: Scene, prepared: PreparedScene, rng: np.random.Generator, size: int
) -> tuple[PhotoProjection, NDArray[np.uint8]]:
    """Return the avatar of a photo of a head, with the errors of avatars, and the photo (size, size, 4)."""
    camera = random_camera(rng)
    view = render(prepared, camera, PHOTO)
    rgb = degrade(composite_over(view.rgb, view.alpha, random_background(rng, PHOTO)), rng)
    photo, true_head = take_photo(view, rgb, camera, rng), make_head(truth)
    parameters, name = disturb_parameters(truth, rng, ERRORS), next(iter(scene.landmarks))
    scale = float(np.linalg.norm(scene.landmarks[name]) / np.linalg.norm(true_head.landmarks[name]))
    head = disturb_head(true_head, rng, ERRORS)
    layers = build_layers(head, parameters, scale)
    return lay_photo_on(layers, head, parameters, photo), shrink_photo(rgb, photo.alpha, size)


def _make_real_samples(
    head: PreparedScene, rng: np.random.Generator, arcs: list[list[Camera]], size: int
) -> list[ViewSample]:
    for portrait, frame in render_portraits(head, rng, 1):
        if can_fit_avatar(portrait):
            return sample_arcs(head, frame, portrait, make_avatar(portrait, proxy_from_photo(portrait)), arcs, size)
    return []


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--arcs", type=int, default=ARCS, help="arcs of eight views per identity")
    parser.add_argument(
        "--real", type=float, default=REAL, help="share of the people for whom all real stages are run"
    )
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of a view's side")
    args = parser.parse_args()
    make = partial(make_avatar_view_samples, arcs=args.arcs, real=args.real, size=args.size)
    run_entry_point(partial(generate, make, args.output, args.split, args.first, args.count, args.processes))
