"""What a network learns without, to see what it is worth (`small_views.WITHOUT`)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from threading import Lock

import numpy as np

from portrait360.cameras import Camera, look_at
from portrait360.images import Picture
from portrait360.portrait import make_portrait
from portrait360.proxy import Proxy, make_proxy
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.dataset import identity
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.tone import over
from portrait360.train.view_samples import FOCAL, ViewSample, hint_pictures

PHOTO = 512
ASKED = Lock()
STRANGER = identity("val", 5_000_000)  # one whom nobody learns from


def stranger() -> Proxy:
    """Somebody else's head: what DiffPortrait360 shows its control network. Threads that read samples ask for it at
    once, and the networks that find its face bear only one of them."""
    with ASKED:
        return _stranger()


@lru_cache(maxsize=1)
def _stranger() -> Proxy:
    seen = render(build(sample(STRANGER, "human")), Camera(look_at(0), FOCAL), PHOTO)
    behind = background(np.random.default_rng(STRANGER), PHOTO)
    return make_proxy(make_portrait(Picture(np.asarray(over(seen.rgb, seen.alpha, behind), np.float32), None)))


def lessened(one: ViewSample, without: tuple[str, ...]) -> ViewSample:
    """With the stranger's hints, if it is to be without its own."""
    if "hint" in without:
        head = stranger()
        seen = [head.render(Camera.from_label(label), one.hint.shape[1]) for label in one.cameras]
        one = replace(one, hint=hint_pictures(seen), depth=np.stack([v.depth for v in seen]).astype(np.float16))
    return one
