"""Colours of people, cloth, fur and stone. Written in sRGB, stored as linear RGB."""

from __future__ import annotations

import numpy as np

from portrait360.synth.sampling.parameters import Colour


def hex_to_linear(code: str) -> Colour:
    """Convert #rrggbb to linear RGB."""
    values = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    out = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return tuple(round(float(v), 6) for v in out)  # type: ignore[return-value]


def _parse(codes: str) -> tuple[Colour, ...]:
    return tuple(hex_to_linear(code) for code in codes.split())


# fair to dark
SKIN = _parse("#f2d0bd #ecc2a8 #e4b393 #d8a17d #c98d68 #b47852 #99623f #7d4c30 #613825 #46281b #33201a")
HAIR = _parse("#0d0a0a #1b1310 #2b1b12 #3d2615 #553419 #704a25 #8d6335 #a98350 #c9a873 #7a3616 #9a4a20 #b8602c")
DARK_HAIR = 4  # the first so many colours of HAIR occur in all populations
DYED = _parse("#2456c8 #c83a86 #2c9a5c #6d3ab0 #d4483a #2fb0b4 #e8e0d0 #e07a2a")
IRIS = _parse("#2a160a #3c2412 #5b3a1a #77562c #5c6a3a #4f7a68 #4c6f92 #7f9fb8 #8a8f93")
CLOTH = _parse(
    "#20252c #d9d7cf #7c2026 #26446c #3c5a3c #b79a5e #59385c #6d7378 #c2683a #e6dcc6 #141416 #2f6d73 #a33b52 #8aa0b4"
)
BRIGHT = _parse("#e4572e #f3a712 #3f88c5 #44af69 #d81159 #8f2d56 #f7c548 #2e86ab #e56399 #58b09c")
LIPS = _parse("#9c2833 #b54a52 #8a2a48 #b3605a #c64e66 #7a2430 #a8433c")
SHADOW = _parse("#5a4860 #7a5040 #39435e #2c2624 #6d5a45 #4a5a52")
METALS = _parse("#d4af5a #c8c8cc #c98e70")
FRAMES = _parse("#0d0d10 #3a2417 #8b8b90 #a58638 #6f1f2b #1f3550 #d8d2c4")
FANTASY_SKIN = _parse("#6fa35f #4f7f4a #6a86cf #8f6fc0 #b84d4d #6fbfc0 #a9a2b8 #c7a04e #5b6b73 #d69ab0")
TOON_SKIN = _parse("#f6cdb2 #eab48e #d79a70 #b87650 #8f5636 #6b3d26")
EYES_VIVID = _parse("#2f7fd0 #3aa06a #7a4bc0 #b0702a #d09a20 #3fb0b8 #5a3a20 #c04a3a")
"""Iris colours of toons and fantasy characters."""


def blend_skin(index: float) -> np.ndarray:
    """Return the tone at a place between those of SKIN, 0 the fairest, as linear RGB."""
    i = min(int(index), len(SKIN) - 2)
    return np.array(SKIN[i]) * (i + 1 - index) + np.array(SKIN[i + 1]) * (index - i)
