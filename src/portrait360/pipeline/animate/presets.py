"""Short performances by name, which loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.pipeline.animate.performance import USUAL_RATE, Performance, unit_names
from portrait360.pipeline.animate.request import check_preset
from portrait360.utils.array_types import F64

SECONDS = {"talk": 10.0, "smile": 4.0, "surprise": 4.0, "blink": 3.0, "look": 6.0}
SOUND = 0.13  # seconds
SPEECH = "ma lo ese fumola  sabelo mu  aso le fima  "  # no language, but lips as of one
LIPS = {
    "a": {"jawOpen": 0.38, "mouthLowerDown": 0.1, "mouthUpperUp": 0.12},
    "e": {"jawOpen": 0.16, "mouthStretch": 0.25, "mouthSmile": 0.15, "mouthUpperUp": 0.12},
    "o": {"jawOpen": 0.26, "mouthFunnel": 0.45},
    "u": {"jawOpen": 0.1, "mouthPucker": 0.6, "mouthFunnel": 0.2},
    "m": {"mouthPress": 0.3, "mouthRollUpper": 0.15, "mouthRollLower": 0.15},
    "f": {"jawOpen": 0.07, "mouthRollLower": 0.35, "mouthUpperUp": 0.15},
    "s": {"jawOpen": 0.07, "mouthStretch": 0.18, "mouthLowerDown": 0.12, "mouthUpperUp": 0.2},
    "l": {"jawOpen": 0.2, "mouthUpperUp": 0.1, "tongueOut": 0.04},
    " ": {},
}
LIKE = {"b": "m", "i": "e"}
SMILE = {"mouthSmile": 0.8, "cheekSquint": 0.45, "eyeSquint": 0.25, "mouthDimple": 0.2, "mouthUpperUp": 0.25}
SURPRISE = {"browInnerUp": 0.85, "browOuterUp": 0.75, "eyeWide": 0.75, "jawOpen": 0.4, "mouthFunnel": 0.12}
SIDES = ("", "Left", "Right")
WHILE_SPEAKING = 0.35  # share of the photo's own expression that stays around the mouth
BLINK = 0.26  # seconds
NODS = (2.2, 1.2, 0.8)  # degrees by which a head moves while it talks


def make_preset(name: str, rate: float | None = None) -> Performance:
    """Return a performance by its name: talk, smile, surprise, blink or look."""
    makers: dict[str, Callable[[F64], tuple[F64, F64]]] = {
        "talk": _talk,
        "smile": lambda t: (_hold(t, SMILE), _still(t)),
        "surprise": lambda t: (_hold(t, SURPRISE), _still(t)),
        "blink": lambda t: (_blink(t, (0.8, 2.1)), _still(t)),
        "look": _look,
    }
    check_preset(name)
    rate = rate or USUAL_RATE
    times = np.arange(round(SECONDS[name] * rate)) / rate
    weights, neck = makers[name](times)
    return Performance(rate, np.clip(weights, 0, 1), neck, own=_keep_own(name, times))


def _keep_own(name: str, times: F64) -> F64:
    """Return how far the photo's own expression stays (n, 52): lips that speak and faces that smile lose it."""
    names = unit_names()
    speaks = np.array([unit.startswith(("jaw", "mouth", "tongue")) for unit in names])
    if name == "talk":
        return np.tile(np.where(speaks, WHILE_SPEAKING, 1.0), (len(times), 1))
    return np.tile(1 - (_arrive(times) if name in ("smile", "surprise") else 0 * times)[:, None], (1, len(names)))


def weigh(units: dict[str, float]) -> F64:
    """Return the weights (52,) of units by name; a name without its side sets both."""
    names, out = unit_names(), np.zeros(len(unit_names()))
    for name, value in units.items():
        out[[names.index(name + side) for side in SIDES if name + side in names]] = value
    return out


def _still(times: F64) -> F64:
    return np.zeros((len(times), 3))


def _hold(times: F64, units: dict[str, float]) -> F64:
    """Come to an expression, hold it, and leave it."""
    return _arrive(times)[:, None] * weigh(units) + _blink(times, (0.25, SECONDS["smile"] - 0.9))


def _arrive(times: F64) -> F64:
    end = SECONDS["smile"]
    way = np.interp(times, [0.3, 0.9, end - 1.3, end - 0.4], [0, 1, 1, 0])
    return way * way * (3 - 2 * way)


def _blink(times: F64, starts: tuple[float, ...]) -> F64:
    since = (times[:, None] - np.array(starts)) / BLINK
    lid = np.interp(since, [0, 0.35, 0.45, 1], [0, 1, 1, 0], left=0, right=0).max(1)
    return lid[:, None] * weigh({"eyeBlink": 1.0})


def _talk(times: F64) -> tuple[F64, F64]:
    letters = [SPEECH[int(t / SOUND) % len(SPEECH)] for t in times]
    lips = np.stack([weigh(LIPS.get(LIKE.get(letter, letter), {})) for letter in letters])
    step = float(times[1] - times[0]) if len(times) > 1 else SOUND
    lips = gaussian_filter1d(lips, 0.35 * SOUND / step, axis=0, mode="wrap")
    turn = 2 * np.pi * times / max(len(times) * step, step)
    lips = lips + np.clip(np.sin(3 * turn), 0, 1)[:, None] * weigh({"browInnerUp": 0.25, "browOuterUp": 0.15})
    neck = np.stack([np.sin(2 * turn), np.sin(5 * turn + 1) - np.sin(1), np.sin(3 * turn)], 1) * NODS
    return lips + _blink(times, (1.1, 4.0, 6.2, 8.9)), neck


def _look(times: F64) -> tuple[F64, F64]:
    """Look to the left, to the right and up, with the head behind the eyes."""
    keys = [0, 0.4, 0.6, 1.8, 2.1, 3.3, 3.6, 4.6, 4.9]
    yaw = np.interp(times, keys, [0, 0, 1, 1, -1, -1, 0, 0, 0])
    up = np.interp(times, keys, [0, 0, 0, 0, 0, 0, 1, 1, 0])
    left, right = np.maximum(yaw, 0)[:, None], np.maximum(-yaw, 0)[:, None]
    eyes = left * weigh({"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7})
    eyes = (
        eyes + right * weigh({"eyeLookInLeft": 0.7, "eyeLookOutRight": 0.7}) + up[:, None] * weigh({"eyeLookUp": 0.6})
    )
    step = float(times[1] - times[0]) if len(times) > 1 else 1.0
    neck = gaussian_filter1d(np.stack([14 * yaw, 8 * up, 2 * yaw], 1), 0.18 / step, axis=0, mode="wrap")
    return eyes + _blink(times, (0.4, 1.85, 3.35)), neck
