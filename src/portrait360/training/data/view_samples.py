"""Training samples of the small view denoiser: views of coarse heads along an arc, and of the true heads.

python -m portrait360.training.data.view_samples -o DIR [--count 1000] [--first 0] [--processes 2] [--method proxy]

Proxies are completed by the weights that come with the package, so the denoiser learns to correct their errors.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from portrait360.pipeline.avatar.methods import METHODS, build_proxy
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.sampling.sampler import sample
from portrait360.training.data.head_map_samples import generate, make_parser, render_portraits
from portrait360.training.data.view_arcs import ViewSample, random_arc, sample_arcs
from portrait360.utils.entry_point import run_entry_point

PORTRAITS = 2  # per identity
ARCS = 2  # per portrait


def make_view_samples(seed: int, method: str = "completed") -> list[ViewSample]:
    rng = np.random.default_rng([seed, 11])
    head, samples = prepare_scene(build(sample(seed, "any"))), []
    for portrait, frame in render_portraits(head, rng, PORTRAITS):
        coarse = build_proxy(portrait, method=method, seed=int(rng.integers(1 << 31)))
        samples += sample_arcs(head, frame, portrait, coarse, [random_arc(rng) for _ in range(ARCS)])
    return samples


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--method", default="completed", choices=METHODS, help="how the proxies are made")
    args = parser.parse_args()
    make = partial(make_view_samples, method=args.method)
    run_entry_point(partial(generate, make, args.output, args.split, args.first, args.count, args.processes))
