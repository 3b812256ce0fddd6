"""The morph targets that make faces differ, and their distributions. Data for the sampler."""

from __future__ import annotations

import numpy as np

# target without its suffix, (suffix for negative values, suffix for positive values), standard deviation, mean
AXES: tuple[tuple[str, tuple[str, str], float, float], ...] = (
    ("head/head-scale-horiz", ("decr", "incr"), 0.22, 0.0),
    ("head/head-scale-vert", ("decr", "incr"), 0.18, 0.0),
    ("head/head-scale-depth", ("decr", "incr"), 0.20, 0.0),
    ("head/head-fat", ("decr", "incr"), 0.25, 0.0),
    ("head/head-angle", ("in", "out"), 0.15, 0.0),
    ("head/head-back-scale-depth", ("decr", "incr"), 0.3, 0.0),
    ("forehead/forehead-scale-vert", ("decr", "incr"), 0.25, 0.0),
    ("forehead/forehead-temple", ("decr", "incr"), 0.3, 0.0),
    ("forehead/forehead-trans", ("backward", "forward"), 0.25, 0.0),
    ("forehead/forehead-nubian", ("decr", "incr"), 0.25, 0.0),
    ("eyebrows/eyebrows-angle", ("down", "up"), 0.35, 0.0),
    ("eyebrows/eyebrows-trans", ("down", "up"), 0.35, 0.1),
    ("nose/nose-scale-vert", ("decr", "incr"), 0.25, 0.0),
    ("nose/nose-scale-horiz", ("decr", "incr"), 0.25, -0.05),
    ("nose/nose-scale-depth", ("decr", "incr"), 0.25, 0.0),
    ("nose/nose-hump", ("decr", "incr"), 0.25, 0.0),
    ("nose/nose-curve", ("concave", "convex"), 0.3, 0.0),
    ("nose/nose-point", ("down", "up"), 0.3, 0.05),
    ("nose/nose-point-width", ("decr", "incr"), 0.3, 0.0),
    ("nose/nose-volume", ("decr", "incr"), 0.25, -0.05),
    ("nose/nose-width1", ("decr", "incr"), 0.3, 0.0),
    ("nose/nose-width2", ("decr", "incr"), 0.3, 0.0),
    ("nose/nose-width3", ("decr", "incr"), 0.3, 0.0),
    ("nose/nose-flaring", ("decr", "incr"), 0.25, 0.0),
    ("nose/nose-base", ("down", "up"), 0.3, 0.0),
    ("nose/nose-trans", ("down", "up"), 0.2, 0.0),
    ("mouth/mouth-scale-horiz", ("decr", "incr"), 0.3, 0.05),
    ("mouth/mouth-scale-vert", ("decr", "incr"), 0.2, 0.0),
    ("mouth/mouth-trans", ("down", "up"), 0.2, 0.0),
    ("mouth/mouth-angles", ("down", "up"), 0.25, 0.15),
    ("mouth/mouth-cupidsbow", ("decr", "incr"), 0.35, 0.1),
    ("mouth/mouth-upperlip-height", ("decr", "incr"), 0.3, 0.05),
    ("mouth/mouth-upperlip-volume", ("decr", "incr"), 0.35, 0.1),
    ("mouth/mouth-lowerlip-height", ("decr", "incr"), 0.3, 0.05),
    ("mouth/mouth-lowerlip-volume", ("decr", "incr"), 0.35, 0.1),
    ("mouth/mouth-philtrum-volume", ("decr", "incr"), 0.3, 0.0),
    ("chin/chin-width", ("decr", "incr"), 0.3, 0.0),
    ("chin/chin-height", ("decr", "incr"), 0.25, -0.05),
    ("chin/chin-bones", ("decr", "incr"), 0.3, 0.0),
    ("chin/chin-prominent", ("decr", "incr"), 0.25, 0.0),
    ("chin/chin-jaw-drop", ("decr", "incr"), 0.2, -0.1),
    ("chin/chin-cleft", ("decr", "incr"), 0.3, 0.0),
    ("neck/neck-scale-horiz", ("decr", "incr"), 0.2, 0.0),
    ("neck/neck-scale-vert", ("decr", "incr"), 0.2, 0.0),
    ("eyes/{side}-eye-scale", ("decr", "incr"), 0.3, 0.30),
    ("eyes/{side}-eye-height2", ("decr", "incr"), 0.25, 0.12),
    ("eyes/{side}-eye-trans", ("in", "out"), 0.25, 0.0),
    ("eyes/{side}-eye-corner1", ("down", "up"), 0.3, 0.0),
    ("eyes/{side}-eye-corner2", ("down", "up"), 0.3, 0.05),
    ("eyes/{side}-eye-bag", ("decr", "incr"), 0.3, -0.25),
    ("eyes/{side}-eye-eyefold", ("down", "up"), 0.3, 0.1),
    ("cheek/{side}-cheek-bones", ("decr", "incr"), 0.35, 0.1),
    ("cheek/{side}-cheek-volume", ("decr", "incr"), 0.3, 0.0),
    ("cheek/{side}-cheek-inner", ("decr", "incr"), 0.25, 0.0),
    ("ears/{side}-ear-scale", ("decr", "incr"), 0.3, -0.1),
    ("ears/{side}-ear-wing", ("decr", "incr"), 0.3, -0.2),
    ("ears/{side}-ear-lobe", ("decr", "incr"), 0.3, 0.0),
)
HEAD_SHAPES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
ASYMMETRY = (
    "brown-1",
    "brown-2",
    "cheek-1",
    "cheek-2",
    "ear-1",
    "eye-1",
    "eye-4",
    "jaw-1",
    "mouth-1",
    "nose-1",
)

# expression units of each expression; one intensity scales all of them
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 0.65, "cheekSquint": 0.45, "eyeSquint": 0.15, "mouthDimple": 0.2},
    "grin": {"mouthSmile": 0.75, "jawOpen": 0.10, "cheekSquint": 0.6, "mouthUpperUp": 0.35, "eyeSquint": 0.2},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.32, "cheekSquint": 0.7, "mouthUpperUp": 0.4, "eyeSquint": 0.35},
    "smirk": {"mouthSmileLeft": 0.6, "browOuterUpLeft": 0.4, "mouthDimpleLeft": 0.3},
    "surprise": {"jawOpen": 0.35, "eyeWide": 0.7, "browOuterUp": 0.8, "browInnerUp": 0.7},
    "talk": {"jawOpen": 0.16, "mouthFunnel": 0.25, "mouthLowerDown": 0.2},
    "sad": {"browInnerUp": 0.8, "mouthFrown": 0.5, "mouthShrugLower": 0.25},
    "angry": {"browDown": 0.8, "noseSneer": 0.4, "mouthFrown": 0.3, "eyeSquint": 0.3, "mouthPress": 0.3},
    "pout": {"mouthPucker": 0.6, "browInnerUp": 0.2},
    "wink": {"eyeBlinkLeft": 0.95, "mouthSmileLeft": 0.6, "cheekSquintLeft": 0.6, "mouthSmileRight": 0.3},
    "skeptical": {"browDownLeft": 0.6, "browOuterUpRight": 0.7, "mouthPress": 0.3},
    "closed": {"eyeBlink": 0.97, "mouthSmile": 0.25},
    "puff": {"cheekPuff": 0.8, "mouthPucker": 0.3},
}
EXPRESSION_ODDS: dict[str, float] = {
    "neutral": 5, "smile": 5, "grin": 2.5, "laugh": 1.2, "smirk": 1, "surprise": 0.9, "talk": 1.5, "sad": 0.6,
    "angry": 0.6, "pout": 0.4, "wink": 0.25, "skeptical": 0.5, "closed": 0.15, "puff": 0.2,
}  # fmt: skip


def sample_morphs(rng: np.random.Generator, strength: float) -> dict[str, float]:
    """Sample symmetric differences from the average face; most are small, none is grotesque."""
    out: dict[str, float] = {}
    for name, (low, high), spread, mean in AXES:
        x = float(np.clip(mean + strength * rng.normal(0, spread), -0.85, 0.85))
        if abs(x) < 0.04:
            continue
        for side in ("l", "r") if "{side}" in name else ("",):
            out[f"{name.format(side=side)}-{high if x > 0 else low}"] = round(abs(x), 4)
    shape = HEAD_SHAPES[rng.integers(len(HEAD_SHAPES))]
    out[f"head/head-{shape}"] = round(float(rng.uniform(0, 0.55) * strength), 4)
    return out


def sample_asymmetry(rng: np.random.Generator) -> dict[str, float]:
    return {
        f"asym/asym-{name}-{'l' if rng.random() < 0.5 else 'r'}": round(float(rng.uniform(0.05, 0.4)), 4)
        for name in ASYMMETRY
        if rng.random() < 0.35
    }


def expression_weights(name: str, intensity: float, units: tuple[str, ...]) -> dict[str, float]:
    """Return the unit weights of an expression; a unit name without a side sets both sides."""
    out: dict[str, float] = {}
    for unit, weight in EXPRESSIONS[name].items():
        for full in (unit, f"{unit}Left", f"{unit}Right"):
            if full in units:
                out[full] = round(weight * intensity, 4)
    return out
