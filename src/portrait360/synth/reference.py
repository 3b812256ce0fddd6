"""The average head: where features are placed, whatever the shape of the head that wears them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from portrait360.synth.pack import HeadPack, load_pack, macro_weights
from portrait360.synth.scene import F32


@dataclass(frozen=True, eq=False)
class Reference:
    """The average head in head heights: chin at -.5, crown at +.5, eyes near y = 0."""

    base: F32  # (n, 3)
    fine: dict[int, F32]  # level: (m, 3)


@lru_cache(maxsize=1)
def reference() -> Reference:
    pack = load_pack()
    vertices = pack.blend(macro_weights(0.5, 0.5, 0.5, 0.5, (1, 1, 1)))
    base = frame(pack, vertices, vertices)
    first = pack.subdivide(base[: pack.body])
    return Reference(base, {1: first, 2: pack.subdivision(2)(first)})


def frame(pack: HeadPack, vertices: F32, neutral: F32) -> F32:
    """Vertices in head heights about the head's centre, as the neutral face measures them."""
    marks = pack.landmarks
    crown, chin = neutral[marks["crown"]], neutral[marks["chin"]]
    depth = (neutral[marks["nose_bridge"], 2] + neutral[marks["back"], 2]) / 2
    center = np.array([0.0, (crown[1] + chin[1]) / 2, depth], np.float32)
    return ((vertices - center) / (crown[1] - chin[1])).astype(np.float32)
