"""Hats as data. Heights and lengths are in head heights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from portrait360.synth.sampling.parameters import HatFit
from portrait360.synth.scene import Material


@dataclass(frozen=True)
class Drape:
    """Cloth that falls from the head to the shoulders and is open at the face."""

    top: float = 0.40  # height of the upper edge of the opening, in head heights
    side: float = 56.0  # azimuth of its side edges, in degrees
    low: float = 45.0  # azimuth of its edges below the chin; negative: closed there
    loose: float = 0.06  # distance from the head, in head heights
    hem: float = -1.25  # height at which the cloth ends
    folds: float = 0.03  # depth of the folds in head heights
    inward: float = 0.45  # greatest slope of hanging cloth towards the neck
    peak: float = 0.0  # how far the top rises into a point
    opacity: float = 1.0
    border: float = 0.0  # width of the coloured border, in degrees
    knot: float = 0.0  # size of a knot under the chin, in head heights


@dataclass(frozen=True)
class Hat:
    """Heights and lengths in head heights."""

    front: float = 0.23  # the rim at the forehead
    back: float = -0.02  # the rim at the back of the head
    thick: float = 0.030
    rise: float = 0.04  # height of the top over the crown of the head
    power: float = 2.3  # superellipse exponent of the crown's profile: 2 a dome .. 10 a cylinder
    flare: float = 0.0  # the crown widens (+) or narrows (-) upwards
    brim: float = 0.0
    curl: float = 0.0  # upward curl of the brim at the sides
    bill: float = 0.0
    cuff: float = 0.0  # height of the turned-up edge
    band: float = 0.0  # height of a ribbon
    ribs: int = 0
    pinch: float = 0.0
    opening: tuple[float, float] | None = None  # half width and height of a face opening, in degrees
    lowest: float = 180.0  # degrees from the pole at which a cover with a face opening ends
    material: Material = Material.CLOTH
    folds: float = 0.0
    spikes: int = 0
    pompon: float = 0.0
    tilt: float = 0.0  # degrees, to the subject's left
    even: float = 0.0  # how far the rim comes down on the higher side, too: 1 as far as on the lower one
    floppy: float = 0.0  # height of the waves of a brim
    texture: str = "plain"  # straw, dots, stripes, check, flowers, paisley, wool, fur
    hoop: bool = False  # the hair above it remains visible
    hides_hair: bool = False
    wraps: float = 0.0  # number of turns of wound cloth
    winding: str = "spiral"  # cross: from both sides to the front; knot: gathered at the front
    crown: float = 0.0  # share of wound cloth, from the top, that has the colour of the trim
    tails: tuple[float, ...] = ()  # lengths of hanging ends of cloth, in head heights
    tail_turn: float = 180.0  # where they hang, in degrees; 0 is the front
    tail_width: float = 0.14
    leaves: int = 0  # of a wreath
    drape: Drape | None = None


HATS: dict[str, Hat] = {
    "beanie": Hat(front=0.2, back=-0.12, thick=0.035, rise=0.06, cuff=0.12, ribs=44),
    "slouch": Hat(front=0.22, back=-0.1, thick=0.032, rise=0.14, power=2.0, ribs=36, folds=0.02),
    "bobble": Hat(front=0.2, back=-0.12, thick=0.036, rise=0.06, cuff=0.13, ribs=40, pompon=0.085),
    "cap": Hat(front=0.235, back=-0.02, thick=0.026, rise=0.05, power=2.5, bill=0.3),
    "visor_back": Hat(front=0.215, back=0.0, thick=0.026, rise=0.045, power=2.5, bill=-0.28),
    "fedora": Hat(front=0.235, back=0.03, thick=0.028, rise=0.14, power=4.5, flare=-0.06, brim=0.21,
        curl=0.05, band=0.09, pinch=0.06),
    "sun_hat": Hat(front=0.235, back=0.02, thick=0.03, rise=0.08, power=2.8, brim=0.34, curl=-0.08,
        band=0.07),
    "bowler": Hat(front=0.235, back=0.03, thick=0.028, rise=0.11, power=2.6, brim=0.13, curl=0.07, band=0.06),
    "top_hat": Hat(front=0.245, back=0.04, thick=0.028, rise=0.32, power=14, flare=0.04, brim=0.16,
        curl=0.06, band=0.1),
    "cowboy": Hat(front=0.24, back=0.02, thick=0.03, rise=0.15, power=4.0, flare=-0.05, brim=0.26, curl=0.16,
        band=0.04, pinch=0.08),
    "straw": Hat(front=0.245, back=0.03, thick=0.028, rise=0.1, power=5.0, brim=0.26, curl=0.02, band=0.06),
    "boater": Hat(front=0.27, back=0.08, thick=0.028, rise=0.06, power=16, brim=0.15, band=0.06),
    "bucket": Hat(front=0.2, back=-0.04, thick=0.028, rise=0.07, power=4.0, flare=-0.08, brim=0.12, curl=-0.1),
    "pillbox": Hat(front=0.3, back=0.08, thick=0.03, rise=0.06, power=12, ribs=0),
    "chef": Hat(front=0.25, back=0.0, thick=0.04, rise=0.34, power=6.0, flare=0.22, band=0.1, folds=0.03),
    "bandana": Hat(front=0.25, back=-0.16, thick=0.022, rise=0.02, power=2.1, folds=0.012),
    "beret": Hat(front=0.26, back=0.0, thick=0.04, rise=-0.01, power=3.2, flare=0.38),
    "helmet": Hat(front=0.22, back=-0.14, thick=0.075, rise=0.09, power=2.2, material=Material.PLASTIC,
        band=0.05),
    "knight": Hat(front=0.2, back=-0.22, thick=0.055, rise=0.08, power=2.0, material=Material.METAL,
        band=0.06, pinch=-0.03),
    "turban": Hat(front=0.24, back=-0.06, thick=0.095, rise=0.1, power=2.4, folds=0.05),
    "headband": Hat(front=0.25, back=0.02, thick=0.03, band=0.09),
    "crown": Hat(front=0.33, back=0.14, thick=0.04, band=0.09, spikes=8, material=Material.METAL),
    "hood": Hat(opening=(50, 66), thick=0.1, lowest=152, folds=0.03),
    "hijab": Hat(opening=(40, 50), thick=0.042, lowest=158, folds=0.012),
}  # fmt: skip


EXTRA_HATS: dict[str, Hat] = {  # `sample` never draws these, so that a seed keeps its head
    "wound_turban": Hat(front=0.24, back=-0.12, thick=0.08, rise=0.08, power=2.3, wraps=5),
    "crossed_turban": Hat(front=0.24, back=-0.10, thick=0.10, rise=0.06, power=2.3, wraps=6, winding="cross"),
    "knotted_turban": Hat(front=0.25, back=-0.14, thick=0.06, rise=0.05, power=2.2, wraps=4, winding="knot",
        hides_hair=True),
    "tailed_turban": Hat(front=0.25, back=-0.26, thick=0.06, rise=0.17, power=2.1, wraps=3.5, winding="cross",
        hides_hair=True, crown=0.5, tails=(1.15,), tail_turn=150, tail_width=0.3),
    "tied_bandana": Hat(front=0.24, back=-0.14, thick=0.024, rise=0.012, power=2.1, wraps=1.2, tails=(0.3, 0.36),
        tail_width=0.08, texture="paisley"),
    "kerchief": Hat(front=0.27, back=-0.2, thick=0.04, rise=0.02, power=2.1, wraps=1.5, winding="knot",
        tails=(0.22, 0.26), tail_turn=12, tail_width=0.07, texture="dots"),
    "wide_band": Hat(front=0.30, back=0.0, thick=0.04, band=0.16, hoop=True),
    "sweatband": Hat(front=0.26, back=0.02, thick=0.03, band=0.1, hoop=True, texture="wool"),
    "tied_band": Hat(front=0.27, back=0.0, thick=0.03, band=0.09, hoop=True, tails=(0.5, 0.6), tail_width=0.07),
    "fillet": Hat(front=0.30, back=0.06, thick=0.02, band=0.035, hoop=True),
    "wreath": Hat(front=0.30, back=0.06, thick=0.04, band=0.05, hoop=True, leaves=46),
    "stone_wreath": Hat(front=0.29, back=0.05, thick=0.085, band=0.09, hoop=True, leaves=46),
    "stone_band": Hat(front=0.28, back=0.05, thick=0.085, band=0.06, hoop=True),
    "wide_brim": Hat(front=0.235, back=0.02, thick=0.028, rise=0.09, power=3.2, brim=0.36, curl=0.03, band=0.07,
        floppy=0.03),
    "floppy_hat": Hat(front=0.22, back=0.0, thick=0.028, rise=0.07, power=2.6, brim=0.32, curl=-0.1, band=0.06,
        floppy=0.06, texture="straw"),
    "straw_sun_hat": Hat(front=0.235, back=0.02, thick=0.028, rise=0.09, power=3.4, brim=0.3, curl=-0.02, band=0.07,
        floppy=0.025, texture="straw"),
    "felt_hat": Hat(front=0.23, back=0.03, thick=0.026, rise=0.13, power=4.5, flare=-0.06, brim=0.17, curl=0.06,
        band=0.07, pinch=0.06),
    "western": Hat(front=0.24, back=0.02, thick=0.028, rise=0.16, power=4.0, flare=-0.05, brim=0.28, curl=0.2,
        band=0.03, pinch=0.09),
    "cavalier": Hat(front=0.24, back=0.03, thick=0.028, rise=0.1, power=3.4, brim=0.33, curl=0.14, band=0.05,
        floppy=0.05, tilt=8),
    "cloche": Hat(front=0.2, back=-0.1, thick=0.034, rise=0.05, power=2.4, brim=0.07, curl=-0.05, band=0.08),
    "painter_beret": Hat(front=0.27, back=0.02, thick=0.04, rise=0.02, power=2.8, flare=0.5, tilt=10, folds=0.014),
    "flat_bonnet": Hat(front=0.29, back=0.05, thick=0.04, rise=0.0, power=5.0, flare=0.3, band=0.05),
    "newsboy": Hat(front=0.24, back=0.02, thick=0.04, rise=0.03, power=3.0, flare=0.3, bill=0.18, ribs=8,
        texture="check"),
    "trucker": Hat(front=0.235, back=-0.02, thick=0.026, rise=0.11, power=3.6, bill=0.32),
    "peaked_cap": Hat(front=0.25, back=0.02, thick=0.03, rise=0.06, power=5.0, flare=0.25, bill=0.2, band=0.1),
    "coif": Hat(front=0.3, back=-0.22, thick=0.03, rise=0.03, power=2.2, folds=0.01, cuff=0.06, ribs=60),
    "fur_hat": Hat(front=0.23, back=-0.06, thick=0.08, rise=0.09, power=5.0, texture="fur", material=Material.FUR),
    "fez": Hat(front=0.3, back=0.12, thick=0.024, rise=0.22, power=14, flare=-0.12),
    "watch_cap": Hat(front=0.22, back=-0.08, thick=0.03, rise=0.09, power=2.2, cuff=0.1, ribs=52),
    "tight_cap": Hat(front=0.25, back=-0.14, thick=0.022, rise=0.015, power=2.1),
    "long_veil": Hat(drape=Drape(top=0.41, side=60, low=58, loose=0.055, folds=0.05, inward=0.18)),
    "sheer_veil": Hat(drape=Drape(top=0.37, side=62, low=54, loose=0.05, folds=0.035, inward=0.2, opacity=0.45)),
    "mantle": Hat(drape=Drape(top=0.43, side=66, low=40, loose=0.09, folds=0.075, inward=0.22, border=4)),
    "headscarf": Hat(drape=Drape(top=0.37, side=56, low=-10, loose=0.05, hem=-0.85, folds=0.035, inward=0.6,
        knot=0.06)),
    "shawl": Hat(drape=Drape(top=0.36, side=56, low=-20, loose=0.07, hem=-1.3, folds=0.075, inward=0.5)),
    "cowl": Hat(drape=Drape(top=0.40, side=58, low=30, loose=0.13, folds=0.06, inward=0.4, peak=0.06)),
    "parka_hood": Hat(drape=Drape(top=0.36, side=58, low=20, loose=0.14, folds=0.035, inward=0.6, border=7)),
}  # fmt: skip

NEAREST_HAT = {
    "wound_turban": "turban", "crossed_turban": "turban", "knotted_turban": "turban", "tailed_turban": "turban",
    "tied_bandana": "bandana", "kerchief": "bandana", "wide_band": "headband", "sweatband": "headband",
    "tied_band": "headband", "fillet": "headband", "wreath": "headband",
    "stone_wreath": "headband", "stone_band": "headband", "wide_brim": "sun_hat",
    "floppy_hat": "sun_hat", "straw_sun_hat": "straw", "felt_hat": "fedora", "western": "cowboy",
    "cavalier": "sun_hat", "cloche": "bucket", "painter_beret": "beret", "flat_bonnet": "beret", "newsboy": "cap",
    "trucker": "cap", "peaked_cap": "cap", "coif": "bandana", "fur_hat": "pillbox", "fez": "pillbox",
    "watch_cap": "beanie", "tight_cap": "beanie", "long_veil": "hood", "sheer_veil": "hood", "mantle": "hood",
    "headscarf": "hijab", "shawl": "hijab", "cowl": "hood", "parka_hood": "hood",
}  # fmt: skip
"""For each of EXTRA_HATS, the one of HATS that comes nearest to it."""
UNLIKE_ANY = (
    "sheer_veil",
    "fez",
    "coif",
    "wreath",
    "stone_wreath",
)  # of EXTRA_HATS, those whose nearest hat is of another family

LEAST_BRIM, LOWEST_BACK = 0.03, -0.42  # head heights: below that, a rim would lie on ears and neck
HIDES_ALL_HAIR = ("hijab",)
HOOPS = ("headband", "crown")  # the hair above these remains visible


def hat_kind(name: str) -> str:
    """Return the name of a hat without the number of its variation."""
    return name.partition(":")[0]


def hides_ears(name: str) -> bool:
    """Return whether cloth covers the ears, and rings in them with it."""
    kind = hat_kind(name)
    return kind in EXTRA_HATS and EXTRA_HATS[kind].drape is not None


@lru_cache(maxsize=64)
def find_hat(name: str) -> Hat:
    """Return the hat of this name from HATS or EXTRA_HATS; `name:7` is its seventh variation."""
    kind, _, number = name.partition(":")
    hat = HATS[kind] if kind in HATS else EXTRA_HATS[kind]
    hat = replace(hat, hoop=hat.hoop or kind in HOOPS, hides_hair=hat.hides_hair or kind in HIDES_ALL_HAIR)
    return _vary_hat(hat, np.random.default_rng([int(number), 61])) if number else hat


def change_hat(hat: Hat, fit: HatFit) -> Hat:
    """Return a hat worn as `fit` says; what its kind has none of, a brim say, it gets none of.

    A crown that is blocked above a brim bulges no more than its kind does.
    """
    return replace(
        hat,
        front=hat.front + fit.front,
        back=max(hat.back + fit.back, min(hat.back, LOWEST_BACK)),
        rise=hat.rise + fit.rise,
        brim=max(hat.brim + fit.brim, LEAST_BRIM) if hat.brim else 0.0,
        curl=hat.curl + fit.curl,
        flare=min(hat.flare + fit.flare, max(hat.flare, 0.0)) if hat.brim else hat.flare + fit.flare,
        tilt=hat.tilt + fit.tilt,
        even=0.0 if hat.brim else hat.even + fit.even,
    )


def _vary_hat(hat: Hat, rng: np.random.Generator) -> Hat:
    """Return a hat of another size, worn at another angle."""

    def scale(value: float, low: float, high: float) -> float:
        return value * float(rng.uniform(low, high))

    if hat.opening is not None:
        return hat
    lower, tip = float(rng.uniform(-0.02, 0.035)), float(rng.normal(0, 0.03))
    textures = ("plain",) * 3 + (hat.texture,) * 5 + ("dots", "stripes", "check", "flowers", "paisley")
    soft = hat.wraps > 0 or hat.hoop or (hat.drape is not None and hat.drape.opacity == 1)
    texture = textures[int(rng.integers(13))] if soft and not hat.leaves else hat.texture
    varied = replace(
        hat,
        front=hat.front + lower + 0.5 * tip,
        back=hat.back + lower - tip,
        thick=scale(hat.thick, 0.85, 1.3),
        rise=scale(hat.rise, 0.7, 1.4),
        power=scale(hat.power, 0.9, 1.15),
        brim=scale(hat.brim, 0.65, 1.3),
        curl=scale(hat.curl, 0.4, 1.5),
        bill=scale(hat.bill, 0.8, 1.2),
        cuff=scale(hat.cuff, 0.6, 1.3),
        band=scale(hat.band, 0.6, 1.4),
        pinch=scale(hat.pinch, 0.5, 1.3),
        tilt=hat.tilt + float(rng.normal(0, 6)),
        floppy=scale(hat.floppy, 0.3, 1.6),
        wraps=scale(hat.wraps, 0.75, 1.5),
        tails=tuple(scale(length, 0.6, 1.2) for length in hat.tails),
        tail_turn=hat.tail_turn + float(rng.normal(0, 14)),
        tail_width=scale(hat.tail_width, 0.8, 1.3),
        texture=texture,
    )
    return varied if hat.drape is None else replace(varied, drape=_vary_drape(hat.drape, rng))


def _vary_drape(drape: Drape, rng: np.random.Generator) -> Drape:
    """Return cloth that lies further back or forward and has other folds."""
    return replace(
        drape,
        top=drape.top + float(rng.uniform(-0.05, 0.05)),
        side=drape.side + float(rng.uniform(-6, 14)),
        low=drape.low + float(rng.uniform(-12, 25)) if drape.low > 0 else drape.low,
        loose=drape.loose * float(rng.uniform(0.8, 1.4)),
        folds=drape.folds * float(rng.uniform(0.6, 1.6)),
        opacity=1.0 if drape.opacity == 1 else float(rng.uniform(0.3, 0.85)),
        border=drape.border if rng.random() < 0.6 else float(rng.choice([0.0, 3.0, 5.0])),
    )
