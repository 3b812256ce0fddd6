"""How much redder ears are than the face: they are thin and full of blood, most of all at their rims and folds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from portrait360.pipeline.avatar.skin.mesh import coarse_count, soften
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.ear_folds import find_fold_heights
from portrait360.synth.head_pack import load_pack
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

THIN = np.array([0.02, -0.13, -0.10], np.float32)  # logarithms of gains: all of an ear
RIM = np.array([0.03, -0.10, -0.07], np.float32)  # what its ridges have besides
HOLLOW = np.array([-0.06, -0.16, -0.15], np.float32)  # and its hollows, where light goes from wall to wall
HIGH, DEEP = 0.006, 0.010  # head heights of folds that count fully
EDGE = 3  # steps of diffusion over which the tint begins
BEFORE = (0.056, 0.036)  # head heights before the middle of the head: the pack's ears hold a strip of the cheek


@lru_cache(maxsize=2)
def redden_ears(count: int) -> F32:
    """Return logarithms of gains (n, 3) from the colours of the face to those of ears."""
    level = 1 if count == coarse_count() else 2
    ears = load_pack().mask("ears", level) * smoothstep(*BEFORE, load_average_head().fine[level][:, 2])
    ears, height = soften(ears, EDGE)[:, None], find_fold_heights(level)[:, None]
    rim, hollow = smoothstep(0.0, HIGH, height), smoothstep(0.0, DEEP, -height)
    return np.asarray(ears * (THIN + rim * RIM + hollow * HOLLOW), np.float32)
