"""A hairstyle as numbers, so that styles can be compared and predicted, and as one of a few families."""

from __future__ import annotations

import numpy as np

from portrait360.synth.sampling.hairstyles import EXTRA_STYLES, STYLES, HairStyle, Tie, find_style
from portrait360.synth.sampling.parameters import Hair
from portrait360.utils.array_types import F32

FAMILIES: dict[str, str] = {  # family: its styles
    "bald": "bald buzz stubbled receding tonsure",
    "short": "fade crew crop caesar side_part comb_over slick_back quiff pompadour messy pixie swept_pixie",
    "special": "spiky undercut undercut_back mohawk faux_hawk mullet curly_mullet high_top bowl",
    "medium": "curtains middle_part bob bob_fringe short_bob wavy_bob victory flow shag",
    "long": "lob wavy_lob long long_fringe long_wavy very_long layered swept slick_long curtain_fringe"
    " half_up half_bun",
    "curly": "long_curly curly_top curly_short curly_fringe coils afro_small afro_medium afro afro_big",
    "bun": "bun low_bun high_bun messy_bun man_bun top_knot double_buns space_buns puffs puff crown_braid",
    "tail": "ponytail high_ponytail low_ponytail side_ponytail pigtails front_pigtails two_braids front_braids braid",
    "locks": "cornrows box_braids dreadlocks short_locs locs_tied braids_tied",
}
FAMILY_OF: dict[str, str] = {style: family for family, styles in FAMILIES.items() for style in styles.split()}
ALL_STYLES: dict[str, HairStyle] = STYLES | EXTRA_STYLES

DESCRIPTOR = (
    *("length_top", "length_sides", "length_back", "length_fringe"),  # head heights
    *("end_left", "end_right", "end_back"),  # height over the chin of the lowest hair, head heights
    *("volume", "curl_radius", "curl_turns", "coily", "gravity", "clump"),
    *("parting", "comb_side", "comb_back", "comb_forward", "comb_up"),
    *("tied", "tie_side", "tie_elevation", "tail", "braid", "bun", "puff"),
    *("locks", "shaved", "sweep", "tuck_left", "tuck_right"),
)
"""The names of the numbers of `describe_style`."""
COILY = {"any": 0.0, "straight": 0.0, "curly": 0.5, "coily": 1.0}
TOP_TO_EAR, EAR = 0.42, 0.02  # head heights: the way from the parting to the ears, and their height
CHIN = -0.5


def describe_style(hair: Hair) -> F32:
    """Return the numbers of DESCRIPTOR for this hair."""
    style = find_style(hair.style)
    values = (
        _describe_lengths(hair, style)
        | _describe_texture(hair, style)
        | _describe_comb(hair, style)
        | _describe_ties(hair, style.ties)
    )
    values |= {
        "locks": float(style.locks != "none"),
        "shaved": 1.0 if style.region == "strip" or style.count == 0 else style.fade / 0.27,
        "sweep": float(np.clip(hair.sweep + style.sweep, -1, 1)),
        "tuck_left": hair.tuck_left,
        "tuck_right": hair.tuck_right,
    }
    if style.count == 0:
        values = dict.fromkeys(DESCRIPTOR, 0.0) | {"shaved": 1.0, "end_left": 0.5, "end_right": 0.5, "end_back": 0.5}
    return np.array([values[name] for name in DESCRIPTOR], np.float32)


def _describe_lengths(hair: Hair, style: HairStyle) -> dict[str, float]:
    factor = 1.0 if style.cut is not None or max(style.lengths) < 0.05 else hair.length
    top, sides, back, nape = (factor * length for length in style.lengths)
    top *= {"ring": 0.0, "patchy": 0.5}.get(style.region, 1.0)
    if style.ties and style.loose_below is None:  # gathered over the scalp
        top = sides = back = nape = 0.1
    if style.fade > 0.15 or style.region == "strip":
        sides = min(sides, 0.05)
    hang = min(style.gravity / 0.4, 1.0)
    fall = hang * max(top - TOP_TO_EAR, sides, 0.0)  # hair from the top hangs over that of the sides
    lowest = -9.0 if style.cut is None else style.cut
    side_end = max(EAR - fall, lowest) - CHIN
    back_end = max(-0.25 - hang * max(nape, back - 0.2, 0.0), lowest) - CHIN
    left, right, tail = (_lowest_tail(hair, style.ties, side) for side in (1, -1, 0))
    return {
        "length_top": top,
        "length_sides": sides,
        "length_back": back,
        "length_fringe": style.fringe,
        "end_left": min(side_end, left),
        "end_right": min(side_end, right),
        "end_back": min(back_end, tail),
    }


def _lowest_tail(hair: Hair, ties: tuple[Tie, ...], side: int) -> float:
    """Return the height over the chin at which tails on this side end (1 left, -1 right, 0 the back), at most 0.5."""
    lowest = 0.5
    for tie in ties:
        aside = 0 if abs(tie.azimuth) > 150 else int(np.sign(tie.azimuth))
        if tie.end in ("tail", "braid") and aside == side:
            lowest = min(lowest, 0.4 * np.sin(np.radians(tie.elevation)) - tie.size * hair.length - CHIN)
    return float(lowest)


def _describe_texture(hair: Hair, style: HairStyle) -> dict[str, float]:
    return {
        "volume": (style.offset + 0.05 * style.lift * min(2 * style.lengths[0], 1.0)) * hair.volume,
        "curl_radius": style.wave[0] * hair.curl,
        "curl_turns": style.wave[1],
        "coily": COILY[style.texture],
        "gravity": style.gravity,
        "clump": style.clump + (0.93 - style.clump) * hair.wet,
    }


def _describe_comb(hair: Hair, style: HairStyle) -> dict[str, float]:
    total = sum(style.comb.values())
    comb = {name: weight / total for name, weight in style.comb.items()}
    side = comb.get("side", 0.0)
    return {
        "parting": hair.parting if side > 0.2 or len(style.ties) == 2 else 0.0,
        "comb_side": side,
        "comb_back": comb.get("back", 0.0),
        "comb_forward": comb.get("forward", 0.0),
        "comb_up": comb.get("up", 0.0) + comb.get("vertical", 0.0),
    }


def _describe_ties(hair: Hair, ties: tuple[Tie, ...]) -> dict[str, float]:
    sizes = {end: max([t.size for t in ties if t.end == end] or [0.0]) for end in ("tail", "braid", "bun", "puff")}
    if any(tie.end == "crown" for tie in ties):
        sizes["braid"] = 0.3
    return {
        "tied": float(bool(ties)),
        "tie_side": max([abs(float(np.sin(np.radians(tie.azimuth)))) for tie in ties] or [0.0]),
        "tie_elevation": max([tie.elevation for tie in ties] or [0.0]) / 90,
        "tail": sizes["tail"] * hair.length,
        "braid": sizes["braid"] * hair.length,
        "bun": sizes["bun"] * hair.volume,
        "puff": sizes["puff"] * hair.volume,
    }
