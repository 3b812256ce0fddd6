"""What the small view denoiser learns from: views of completed proxies along an arc, and of the true heads.

python -m portrait360.train.view_samples -o DIR [--count 1000] [--first 0] [--processes 2] [--method proxy]

The proxies are completed by the weights that come with the package: what is to be mended is what those leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, look_at
from portrait360.completer import METHODS, find_proxy
from portrait360.images import eight_bits
from portrait360.plainly import plainly
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy, ProxyView
from portrait360.subject import reduced
from portrait360.synth.build import build
from portrait360.synth.portrayed import Frame
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.train.samples import FOCAL, Arrays, arguments, generate, portraits_of

SIZE, VIEWS = 256, 8
STEPS = (5.0, 22.5)  # degrees between two views of an arc
HIGH = 50.0  # degrees: the highest arcs
LEVEL = 0.6  # share of arcs at the portrait's own height
PORTRAITS = 2  # of each identity, two arcs each
ARCS = 2


@dataclass(frozen=True, eq=False)
class ViewSample(Arrays):
    """An arc of views in 8 bits; cameras as labels of 25 numbers."""

    rgba: NDArray[np.uint8]  # (v, s, s, 4) the truth
    hint: NDArray[np.uint8]  # (v, s, s, 8) of the proxy: colours, visibility, cover, normals
    depth: NDArray[np.float16]  # (v, s, s) of the proxy
    photo: NDArray[np.uint8]  # (s, s, 4)
    behind: NDArray[np.uint8]  # (s, s, 4) the proxy from behind
    cameras: NDArray[np.float32]  # (v, 25)


def make_view_samples(seed: int, method: str = "completed") -> list[ViewSample]:
    rng = np.random.default_rng([seed, 11])
    head, out = prepare(build(sample(seed, "any"))), []
    for portrait, frame in portraits_of(head, rng, PORTRAITS):
        proxy = find_proxy(portrait, method=method, seed=int(rng.integers(1 << 31)))
        out += [as_sample(head, frame, portrait, proxy, arc(rng)) for _ in range(ARCS)]
    return out


def arc(rng: np.random.Generator) -> list[Camera]:
    """From anywhere, on in even steps either way around."""
    start, step = rng.uniform(0, 360), rng.uniform(*STEPS) * rng.choice([-1, 1])
    elevation = 0.0 if rng.random() < LEVEL else rng.uniform(-HIGH / 2, HIGH)
    return [Camera(look_at((start + i * step) % 360, elevation), FOCAL) for i in range(VIEWS)]


def as_sample(head: Prepared, frame: Frame, portrait: Portrait, proxy: Proxy, cameras: list[Camera]) -> ViewSample:
    true = [render(head, frame.camera(camera), SIZE) for camera in cameras]
    seen = [proxy.render(camera, SIZE) for camera in cameras]
    behind = proxy.render(Camera(look_at(180), FOCAL), SIZE)
    return ViewSample(
        np.stack([four(v.rgb, v.alpha) for v in true]),
        hint_pictures(seen),
        np.stack([v.depth for v in seen]).astype(np.float16),
        four(reduced(portrait.rgb, SIZE)[0], reduced(portrait.alpha, SIZE)[0]),
        four(behind.rgb, behind.mask),
        np.stack([camera.label() for camera in cameras]).astype(np.float32),
    )


def hint_pictures(seen: list[ProxyView]) -> NDArray[np.uint8]:
    parts = [(v.rgb, v.visibility[..., None], v.mask[..., None], v.normals / 2 + 0.5) for v in seen]
    return np.stack([eight_bits(np.concatenate(part, -1)) for part in parts])


def four(rgb: NDArray[np.floating], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
    return eight_bits(np.concatenate([rgb, alpha[..., None]], -1))


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--method", default="completed", choices=METHODS, help="of making the proxies")
    given = parser.parse_args()
    make = partial(make_view_samples, method=given.method)
    plainly(partial(generate, make, given.output, given.split, given.first, given.count, given.processes))
