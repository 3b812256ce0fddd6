"""The colour of ears against the face's: redder, since they are thin and full of blood, and darker in their folds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from portrait360.pipeline.avatar.skin.mesh import coarse_count, soften
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.ear_folds import find_fold_heights
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.ear_occlusion import open_ears
from portrait360.synth.render.lights import uniform_environment
from portrait360.synth.render.mesh_buffers import flatten
from portrait360.synth.scene import Light, Mesh
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

THIN = np.array([0.02, -0.13, -0.10], np.float32)  # logarithms of gains: all of an ear
RIM = np.array([0.03, -0.10, -0.07], np.float32)  # what its ridges have besides
HOLLOW = np.array([-0.06, -0.16, -0.15], np.float32)  # and its hollows, where light goes from wall to wall
HIGH, DEEP = 0.006, 0.010  # head heights of folds that count fully
DEEP_SHADE = np.array([0.45, 0.55, 0.58], np.float32)
"""Powers of the share of the sky in a fold by which it is darker in itself: lamps, whose maps are too coarse for it,
light it fully, and what light goes on from wall to wall is redder."""
SKY = Light(
    uniform_environment([1, 1, 1]),
    np.zeros((0, 3), np.float32),
    np.zeros((0, 3), np.float32),
    np.zeros(0, np.float32),
)
EDGE = 3  # steps of diffusion over which the tint begins
BEFORE = (0.056, 0.036)  # head heights before the middle of the head: the pack's ears hold a strip of the cheek


@lru_cache(maxsize=2)
def find_ears(count: int) -> F32:
    """Return 1 for the vertices (n,) of ears, without the cheek before them, to 0 a little beside."""
    level = 1 if count == coarse_count() else 2
    ears = load_pack().mask("ears", level) * smoothstep(*BEFORE, load_average_head().fine[level][:, 2])
    return soften(ears, EDGE)


@lru_cache(maxsize=2)
def redden_ears(count: int) -> F32:
    """Return logarithms of gains (n, 3) from the colours of the face to those of ears."""
    ears, height = find_ears(count)[:, None], find_fold_heights(1 if count == coarse_count() else 2)[:, None]
    rim, hollow = smoothstep(0.0, HIGH, height), smoothstep(0.0, DEEP, -height)
    return np.asarray(ears * (THIN + rim * RIM + hollow * HOLLOW), np.float32)


def shade_ears(mesh: Mesh) -> F32:
    """Return logarithms of gains (n, 3) that darken the folds of ears, and the skin behind them."""
    surface, solid, _ = flatten((mesh,))
    return np.asarray(DEEP_SHADE * np.log(np.maximum(open_ears(surface, solid, SKY), 1e-2)), np.float32)
