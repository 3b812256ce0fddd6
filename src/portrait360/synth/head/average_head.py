"""The average head, on which the positions of features are defined independently of an individual's shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from portrait360.synth.head_pack import HeadPack, load_pack, macro_weights
from portrait360.utils.array_types import F32


@dataclass(frozen=True, eq=False)
class Reference:
    """The average head in head heights: chin at -0.5, crown at +0.5, eyes near y = 0."""

    base: F32  # (n, 3)
    fine: dict[int, F32]  # subdivision level -> (m, 3)


@lru_cache(maxsize=1)
def load_average_head() -> Reference:
    """Return the average head and its subdivisions."""
    pack = load_pack()
    vertices = pack.blend(macro_weights(0.5, 0.5, 0.5, 0.5, (1, 1, 1)))
    base = to_head_heights(pack, vertices, vertices)
    first = pack.subdivide(base[: pack.body])
    return Reference(base, {1: first, 2: pack.subdivision(2)(first)})


def to_head_heights(pack: HeadPack, vertices: F32, neutral: F32) -> F32:
    """Convert vertices to head heights about the head's centre, both measured on the neutral face."""
    landmarks = pack.landmarks
    crown, chin = neutral[landmarks["crown"]], neutral[landmarks["chin"]]
    depth = (neutral[landmarks["nose_bridge"], 2] + neutral[landmarks["back"], 2]) / 2
    center = np.array([0.0, (crown[1] + chin[1]) / 2, depth], np.float32)
    return ((vertices - center) / (crown[1] - chin[1])).astype(np.float32)
