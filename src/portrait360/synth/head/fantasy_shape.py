"""Head shapes of fantasy characters: pointed ears, heavy brows and jaws."""

from __future__ import annotations

import numpy as np

from portrait360.synth.head_pack import HeadPack
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Fantasy
from portrait360.utils.array_types import F32


def restyle(vertices: F32, rest: F32, pack: HeadPack, style: Fantasy) -> F32:
    """Apply the style to vertices in head heights; `rest` holds the same vertices on the average head."""
    v = vertices.astype(np.float64)
    x, y, z = rest.T
    brow = np.exp(-((y - 0.075) ** 2) / 0.0018 - (np.abs(x) / 0.24) ** 4) * (z > 0.1)
    jaw = smoothstep(-0.15, -0.42, y) * smoothstep(-0.75, -0.5, y + 0.5 * np.maximum(z, 0))
    v[:, 2] += style.brute * (0.035 * brow + 0.055 * jaw * smoothstep(0.05, 0.3, z))
    v[:, 0] *= 1 + style.brute * 0.20 * jaw
    neck = smoothstep(-0.35, -0.7, y) * smoothstep(-1.3, -0.9, y)
    v[:, 0] *= 1 + style.brute * 0.25 * neck
    v[:, 1] += style.brute * 0.06 * smoothstep(-0.6, -0.9, y)
    ears = np.zeros(len(v))
    ears[: pack.body] = pack.mask("ears")[: pack.body]  # subdivision keeps the vertex indices
    for side in (1, -1):
        v = _stretch_ear(v, rest, ears, side, style)
    return v.astype(np.float32)


def thicken_neck(vertices: F32, rest: F32, amount: float) -> F32:
    """Shape the bust of an animal: a wide short neck on raised shoulders."""
    v = vertices.astype(np.float64)
    y = rest[:, 1] + 0.5 * np.maximum(rest[:, 2], 0)
    neck = smoothstep(-0.35, -0.6, y) * smoothstep(-0.98, -0.72, y) * amount
    v[:, 0] *= 1 + 0.38 * neck
    v[:, 2] = (v[:, 2] + 0.10) * (1 + 0.35 * neck) - 0.10
    v[:, 0] *= 1 - 0.10 * amount * smoothstep(-0.75, -1.05, y) * smoothstep(1.5, 0.6, np.abs(rest[:, 0]))
    v[:, 1] += 0.055 * amount * smoothstep(-0.5, -0.8, y)
    return v.astype(np.float32)


def _stretch_ear(v: np.ndarray, rest: F32, ears: np.ndarray, side: int, style: Fantasy) -> np.ndarray:
    """Stretch the upper rim of the ear to a point."""
    x, y, _ = rest.T
    out = ears * smoothstep(0.315, 0.36, x * side)  # without the scalp behind the ear, where hair grows
    tip = out * smoothstep(-0.13, 0.03, y) ** 1.5
    angle = np.radians(35 + style.ear_angle)
    reach = np.array([side * 0.75 * np.cos(angle), np.sin(angle), -0.45]) * 0.30 * style.ears
    center = np.array([side * 0.36, -0.02, -0.04])
    v = v + tip[:, None] * reach
    spread = np.array([1, 0.35, 0.35])  # the ear narrows towards its point
    return np.where(out[:, None] > 0, v - (tip[:, None] * (v - center - reach)) * (1 - spread) * 0.75, v)
