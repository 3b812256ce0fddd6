"""Training samples of the small view denoiser: views of completed proxies along an arc, and of the true heads.

python -m portrait360.training.data.view_samples -o DIR [--count 1000] [--first 0] [--processes 2] [--method proxy]

The proxies are completed by the weights that come with the package, so the denoiser learns to correct their errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.avatar.methods import METHODS, build_proxy
from portrait360.pipeline.portrait.matting import downscale
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.build import build
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.training.data.head_map_samples import FOCAL, Arrays, generate, make_parser, render_portraits
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import to_uint8

SIZE, VIEWS = 256, 8
STEPS = (5.0, 22.5)  # degrees between two views of an arc
HIGH = 50.0  # degrees: elevation of the highest arcs
LEVEL = 0.6  # share of arcs at elevation 0
PORTRAITS = 2  # per identity
ARCS = 2  # per portrait


@dataclass(frozen=True, eq=False)
class ViewSample(Arrays):
    """An arc of views in 8 bits; cameras as labels of 25 numbers."""

    rgba: NDArray[np.uint8]  # (v, s, s, 4) the true head
    hint: NDArray[np.uint8]  # (v, s, s, 8) the proxy: colours, visibility, cover, normals
    depth: NDArray[np.float16]  # (v, s, s) the proxy
    photo: NDArray[np.uint8]  # (s, s, 4)
    behind: NDArray[np.uint8]  # (s, s, 4) the proxy from behind
    cameras: NDArray[np.float32]  # (v, 25)


def make_view_samples(seed: int, method: str = "completed") -> list[ViewSample]:
    rng = np.random.default_rng([seed, 11])
    head, samples = prepare_scene(build(sample(seed, "any"))), []
    for portrait, frame in render_portraits(head, rng, PORTRAITS):
        proxy = build_proxy(portrait, method=method, seed=int(rng.integers(1 << 31)))
        samples += [as_sample(head, frame, portrait, proxy, random_arc(rng)) for _ in range(ARCS)]
    return samples


def random_arc(rng: np.random.Generator) -> list[Camera]:
    """Return the cameras of a random arc: even steps in either direction from a random azimuth."""
    start, step = rng.uniform(0, 360), rng.uniform(*STEPS) * rng.choice([-1, 1])
    elevation = 0.0 if rng.random() < LEVEL else rng.uniform(-HIGH / 2, HIGH)
    return [Camera(look_at((start + i * step) % 360, elevation), FOCAL) for i in range(VIEWS)]


def as_sample(
    head: PreparedScene, frame: PortraitFrame, portrait: Portrait, proxy: CoarseHead, cameras: list[Camera]
) -> ViewSample:
    head_views = [render(head, frame.camera(camera), SIZE) for camera in cameras]
    proxy_views = [proxy.render(camera, SIZE) for camera in cameras]
    behind = proxy.render(Camera(look_at(180), FOCAL), SIZE)
    return ViewSample(
        np.stack([to_rgba(view.rgb, view.alpha) for view in head_views]),
        stack_hints(proxy_views),
        np.stack([view.depth for view in proxy_views]).astype(np.float16),
        to_rgba(downscale(portrait.rgb, SIZE)[0], downscale(portrait.alpha, SIZE)[0]),
        to_rgba(behind.rgb, behind.mask),
        np.stack([camera.label() for camera in cameras]).astype(np.float32),
    )


def stack_hints(views: list[ProxyView]) -> NDArray[np.uint8]:
    channels = [(v.rgb, v.visibility[..., None], v.mask[..., None], v.normals / 2 + 0.5) for v in views]
    return np.stack([to_uint8(np.concatenate(arrays, -1)) for arrays in channels])


def to_rgba(rgb: NDArray[np.floating], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
    return to_uint8(np.concatenate([rgb, alpha[..., None]], -1))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--method", default="completed", choices=METHODS, help="how the proxies are made")
    args = parser.parse_args()
    make = partial(make_view_samples, method=args.method)
    run_entry_point(partial(generate, make, args.output, args.split, args.first, args.count, args.processes))
