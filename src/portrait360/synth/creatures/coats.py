"""Coat colours: belly, mask, stripes, patches, painted on a sculpted head by position."""

from __future__ import annotations

import numpy as np

from portrait360.synth.creatures.implicit_surface import Sculpture
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Animal
from portrait360.synth.sampling.species import Species

INNER_EAR = np.array([0.62, 0.36, 0.32])


def coat_colour(form: Sculpture, kind: Species, style: Animal, seed: int) -> np.ndarray:
    """Return the coat's colour at every vertex (m, 3), linear RGB."""
    v, near = form.vertices, form.near
    x, y, z = v.T
    coat, belly, mark = (np.array(c) for c in (style.coat, style.belly, style.marking))
    colour = coat * (0.86 + 0.28 * noise(v, 18.0, seed, 2))[:, None]

    def paint(layer: np.ndarray, amount: np.ndarray) -> None:
        colour[:] += (layer * (0.9 + 0.2 * noise(v, 40.0, seed + 2))[:, None] - colour) * np.clip(amount, 0, 1)[
            :, None
        ]

    below = smoothstep(0.012, -0.028, y - (kind.tip[1] + 0.25 * (z - kind.tip[2])))
    muzzle = smoothstep(0.03, 0.0, np.minimum(near["muzzle"], near["jaw"])) * smoothstep(0.09, 0.15, z)
    if "pad" in near:
        muzzle = np.maximum(muzzle * 0.6, smoothstep(0.022, 0.004, near["pad"]))
    throat = smoothstep(-0.085, -0.125, y + 0.35 * np.abs(x) - 0.15 * (z - 0.1)) * smoothstep(-0.04, 0.05, z)
    painter = _PATTERNS[style.pattern]
    painter(paint, form, kind, coat, belly, mark, seed)
    if style.pattern == "fox":
        paint(belly, np.maximum(muzzle * below, throat))
    elif style.pattern != "points":
        paint(
            belly,
            np.maximum(muzzle * (1.0 if kind.ear == "round" and not kind.pads else 0.3 + 0.7 * below), throat * 0.8),
        )
    if "inner_ear" in near:
        ear = smoothstep(0.007, 0.0, np.abs(near["inner_ear"])) * smoothstep(0.02, 0.0, near["ear"])
        paint(0.5 * belly + 0.5 * INNER_EAR, ear)
    seam = smoothstep(0.013, 0.004, np.abs(near["muzzle"])) * smoothstep(0.013, 0.004, np.abs(near["jaw"]))
    paint(np.array([0.035, 0.015, 0.014]), seam * smoothstep(0.07, 0.11, z))
    gum = inside_mouth(form, style)
    paint(np.array([0.16, 0.035, 0.035]), gum)
    rim = smoothstep(0.010, 0.002, np.abs(near["opening"])) * smoothstep(0.02, 0.006, near["lid"])
    paint(np.array([0.015, 0.011, 0.010]), rim)
    return colour


def inside_mouth(form: Sculpture, style: Animal) -> np.ndarray:
    """Return where the upper side of the jaw and the roof of the mouth show when the mouth is open (m,)."""
    up, z = form.normals[:, 1], form.vertices[:, 2]
    jaw = smoothstep(0.010, 0.003, np.abs(form.near["jaw"])) * smoothstep(0.15, 0.5, up)
    roof = smoothstep(0.010, 0.003, np.abs(form.near["muzzle"])) * smoothstep(-0.35, -0.75, up)
    return np.maximum(jaw, roof) * smoothstep(0.06, 0.10, z) * (style.mouth_open > 0)


def _plain(paint, form, kind, coat, belly, mark, seed) -> None:
    y = form.vertices[:, 1]
    paint(coat * 0.72, smoothstep(0.02, 0.2, y) * 0.5)


def _fox(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    cheeks = (
        smoothstep(0.055, 0.10, np.abs(x))
        * smoothstep(0.012, -0.035, y - 0.25 * (np.abs(x) - 0.1))
        * smoothstep(-0.09, 0.0, z)
    )
    paint(belly, cheeks)
    tips = smoothstep(0.02, 0.0, form.near["ear"]) * smoothstep(0.20, 0.25, y)
    paint(mark, tips)
    paint(
        0.6 * coat + 0.4 * mark,
        0.5
        * smoothstep(0.016, 0.0, np.abs(np.abs(x) - 0.03 - 0.1 * np.maximum(y, 0)))
        * smoothstep(0.1, 0.16, z)
        * (y > -0.03),
    )


def _tabby(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    waver = 3.5 * (noise(form.vertices, 9.0, seed + 4) - 0.5)
    forehead = smoothstep(0.07, 0.12, y) * smoothstep(-0.05, 0.08, z)
    stripes = smoothstep(0.15, 0.7, np.sin(np.abs(x) * 150 / kind.pattern_scale + 1.2 + waver)) * forehead
    sides = smoothstep(0.05, 0.10, np.abs(x)) * (1 - forehead)
    bands = smoothstep(0.2, 0.7, np.sin((y - 0.5 * np.abs(x)) * 120 / kind.pattern_scale + waver)) * sides
    back = smoothstep(0.1, 0.7, np.sin(y * 95 / kind.pattern_scale + waver)) * smoothstep(0.0, -0.08, z)
    paint(mark, 0.85 * np.maximum(np.maximum(stripes, bands * smoothstep(0.16, 0.02, z)), back))


def _tiger(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    cheeks = smoothstep(0.06, 0.11, np.abs(x)) * smoothstep(0.02, -0.05, y) * smoothstep(-0.06, 0.02, z)
    paint(
        belly,
        np.maximum(
            cheeks,
            smoothstep(0.035, 0.02, np.hypot(np.abs(x) - kind.eye[0], y - kind.eye[1] - 0.045)) * (z > 0.05),
        ),
    )
    _tabby(paint, form, kind, coat, belly, mark, seed)


def _points(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    mask = smoothstep(0.12, 0.04, np.hypot(x * 0.9, y + 0.01)) * smoothstep(0.05, 0.12, z)
    paint(0.45 * mark, np.maximum(mask * 0.85, smoothstep(0.02, 0.0, form.near["ear"])))


def _patches(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    spot = smoothstep(0.09, 0.065, np.hypot(x - kind.eye[0], (y - kind.eye[1] - 0.02) * 0.9)) * (z > 0)
    blots = smoothstep(0.56, 0.62, noise(form.vertices, 6.5, seed + 6, 2)) * smoothstep(0.06, -0.02, z)
    paint(mark, np.maximum(np.maximum(spot, blots), smoothstep(0.02, 0.0, form.near["ear"])))


def _panda(paint, form, kind, coat, belly, mark, seed) -> None:
    x, y, z = form.vertices.T
    ax = np.abs(x) - kind.eye[0] - 0.010
    drop = np.hypot(ax + 0.5 * (y - kind.eye[1] + 0.012), (y - kind.eye[1] + 0.012) * 0.8)
    patch = smoothstep(0.056, 0.044, drop) * smoothstep(0.0, 0.06, z)
    paint(
        mark,
        np.maximum(np.maximum(patch, smoothstep(0.02, 0.004, form.near["ear"])), smoothstep(-0.20, -0.24, y)),
    )


_PATTERNS = {
    "plain": _plain,
    "fox": _fox,
    "tabby": _tabby,
    "tiger": _tiger,
    "points": _points,
    "patches": _patches,
    "panda": _panda,
}
