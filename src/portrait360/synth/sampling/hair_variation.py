"""Give a sampled person hair, a beard and a hat drawn far more evenly than among people, to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.draws import choose, pick, uniform
from portrait360.synth.sampling.hats import HATS
from portrait360.synth.sampling.palettes import hex_to_linear
from portrait360.synth.sampling.parameters import Colour, Facial, Hair, Hairline, HeadParameters, Shape, Wear
from portrait360.synth.sampling.sampler import BEARDS, BULKY_COLLARS, NO_HAT, hair_blocks_hat, vary
from portrait360.synth.sampling.style_descriptor import ALL_STYLES, FAMILIES


def _parse(codes: str) -> tuple[Colour, ...]:
    return tuple(hex_to_linear(code) for code in codes.split())


ADULT = 0.38  # on MakeHuman's age axis
SHORTEST_STREAK = 0.08  # head heights; on shorter hair streaks would be spots
WEARS_HAT, CLEAN_SHAVEN = 0.25, 0.35
COLOURS = {"natural": 0.50, "blond": 0.12, "red": 0.11, "grey": 0.13, "dyed": 0.14}
DYES = {"vivid": 0.35, "pastel": 0.3, "two": 0.35}
BLOND = _parse("#a98350 #c9a873 #b8935a #d8bd8a #e2cf9f #9b7b4c")
RED = _parse("#7a3616 #9a4a20 #b8602c #8c2f14 #c4733a #6b2415")
PASTEL = _parse("#f2b8cf #b9c8f0 #c8b4ea #b5e3d0 #f3d9a8 #e6e2ef #f0a8a0")
VIVID = _parse("#1f4fd0 #d02a86 #1f9a55 #7a2fb8 #d83a2c #18a8b0 #e8741c #f0d020")
HIGHLIGHT = _parse("#c9a873 #a98350 #8d6335 #b8602c #e2cf9f")
GREY: Colour = (0.42, 0.41, 0.39)
FREQUENT_BEARDS = ("short", "full", "long", "curly")
GROWN_UP_STYLES = ("bald", "receding", "tonsure", "comb_over")


def diversify_hair(rng: np.random.Generator, person: HeadParameters) -> HeadParameters:
    """Return the person with other hair, brows, beard and hat."""
    hat = choose(rng, (*HATS, "headphones")) if rng.random() < WEARS_HAT else "none"
    style = _draw_style(rng, person.shape, hat)
    hair, natural = _dye(rng, _draw_form(rng, person, style), person)
    wear: Wear = replace(person.wear, hat=hat)
    clothes = person.clothes
    if HATS.get(hat, NO_HAT).opening and clothes.collar in BULKY_COLLARS:
        clothes = replace(clothes, collar="crew")
    facial = _draw_facial_hair(rng, person, hair, natural)
    return replace(person, hair=hair, facial=facial, wear=wear, clothes=clothes)


def _draw_style(rng: np.random.Generator, shape: Shape, hat: str) -> str:
    """Draw a family and then a style of it, among those that fit under the hat."""
    sex, coily = int(shape.gender >= 0.5), shape.origin[0] > 0.55
    families = {}
    for family, names in FAMILIES.items():
        odds = {}
        for name in names.split():
            style = ALL_STYLES[name]
            weight = (style.worn_by[sex] + 0.15) ** 0.5
            weight *= 0.5 if style.texture == "coily" and not coily else 1.0
            too_young = shape.age < 0.3 and name in GROWN_UP_STYLES
            odds[name] = 0.0 if too_young or hair_blocks_hat(Hair(style=name), hat) else weight
        if sum(odds.values()) > 0:
            families[family] = odds
    return pick(rng, families[choose(rng, list(families))])


def _draw_form(rng: np.random.Generator, person: HeadParameters, style: str) -> Hair:
    """Draw everything about the hair but its colours."""
    man = person.shape.gender >= 0.5 and person.shape.age >= ADULT
    side = 1.0 if rng.random() < 0.5 else -1.0
    tucks = choose(rng, ((1, 1), (1, 0), (0, 1)))
    tuck = 1.0 if rng.random() < 0.6 else uniform(rng, 0.3, 1.0)
    tucked = _keep_or_zero(rng, tuck, 0.7)  # each ear in about half of the people
    return Hair(
        style=style,
        length=uniform(rng, 0.6, 1.4),
        volume=uniform(rng, 0.6, 1.5),
        curl=uniform(rng, 0.5, 1.6),
        parting=uniform(rng, -0.16, 0.16),
        receding=_keep_or_zero(rng, uniform(rng, 0.1, 1.0)) if man else 0.0,
        sweep=_keep_or_zero(rng, side * uniform(rng, 0.2, 1.0)),
        tuck_left=tucked * tucks[0],
        tuck_right=tucked * tucks[1],
        wet=_keep_or_zero(rng, round(uniform(rng, 0.0, 1.0) ** 1.6, 4)),
        flyaway=_keep_or_zero(rng, round(uniform(rng, 0.1, 1.0) ** 1.5, 4)),
        messy=_keep_or_zero(rng, round(uniform(rng, 0.1, 1.0) ** 1.3, 4)),
        wind=_keep_or_zero(rng, round(uniform(rng, 0.15, 1.0) ** 1.5, 4)) * choose(rng, (-1, 1)),
        hairline=_draw_hairline(rng, man),
    )


def _keep_or_zero(rng: np.random.Generator, value: float, odds: float = 0.5) -> float:
    """Return the value with this probability, else 0."""
    return value if rng.random() < odds else 0.0


def _draw_hairline(rng: np.random.Generator, man: bool) -> Hairline:
    return Hairline(
        peak=_keep_or_zero(rng, uniform(rng, 0.2, 1.0)),
        height=_keep_or_zero(rng, uniform(rng, -0.8, 1.0)),
        temples=_keep_or_zero(rng, uniform(rng, 0.1, 1.0 if man else 0.5)),
    )


def _dye(rng: np.random.Generator, hair: Hair, person: HeadParameters) -> tuple[Hair, Colour]:
    """Return the hair with its colours, and the colour it has by nature."""
    dark_share = float(np.array(person.shape.origin) @ [1.0, 0.95, 0.25])
    palette = palettes.HAIR[: palettes.DARK_HAIR] if rng.random() < dark_share else palettes.HAIR
    natural = vary(rng, choose(rng, palette), 0.15)
    kind = pick(rng, COLOURS)
    if kind in ("blond", "red"):
        natural = vary(rng, choose(rng, BLOND if kind == "blond" else RED), 0.15)
    grey = person.hair.grey if kind == "natural" else uniform(rng, 0.35, 1.0) if kind == "grey" else 0.0
    hair = replace(hair, colour=natural, grey=grey)
    if kind == "dyed":
        return _dye_brightly(rng, hair, natural), natural
    if rng.random() < 0.6 and max(ALL_STYLES[hair.style].lengths) >= SHORTEST_STREAK:
        highlight = choose(rng, HIGHLIGHT)
        share = uniform(rng, 0.3, 0.9)  # few streaks are as light as they could be
        mix = tuple(round(n + share * (h - n), 5) for n, h in zip(natural, highlight, strict=True))
        hair = replace(hair, streaks=mix, streaks_share=uniform(rng, 0.1, 0.6), streaks_from=_draw_start(rng))
    if rng.random() < 0.5:
        hair = replace(hair, roots=_darken(natural, uniform(rng, 0.25, 0.8)))
    return hair, natural


def _dye_brightly(rng: np.random.Generator, hair: Hair, natural: Colour) -> Hair:
    kind = pick(rng, DYES)
    colour = vary(rng, choose(rng, PASTEL if kind == "pastel" else VIVID), 0.12)
    hair = replace(hair, colour=colour, roots=natural if rng.random() < 0.5 else None)
    if kind != "two":
        return hair
    second = vary(rng, choose(rng, (*VIVID, *PASTEL, natural)), 0.12)
    if rng.random() < 0.5:
        return replace(hair, tips=second)
    if max(ALL_STYLES[hair.style].lengths) < SHORTEST_STREAK:
        return hair
    return replace(hair, streaks=second, streaks_share=uniform(rng, 0.25, 0.6), streaks_from=_draw_start(rng))


def _draw_start(rng: np.random.Generator) -> float:
    """Draw where streaks begin: at the roots, or further down as in a balayage."""
    return _keep_or_zero(rng, uniform(rng, 0.3, 0.7))


def _darken(colour: Colour, factor: float) -> Colour:
    return tuple(round(max(factor * c, 0.001), 5) for c in colour)  # type: ignore[return-value]


def _draw_facial_hair(rng: np.random.Generator, person: HeadParameters, hair: Hair, natural: Colour) -> Facial:
    man = person.shape.gender >= 0.5 and person.shape.age >= ADULT
    weights = {name: 2.0 if name in FREQUENT_BEARDS else 1.0 for name in BEARDS if name != "none"}
    beard = pick(rng, weights) if man and rng.random() >= CLEAN_SHAVEN else "none"
    white = max(hair.grey, _keep_or_zero(rng, uniform(rng, 0.3, 1.0), 0.25))
    brow_white = white * _keep_or_zero(rng, uniform(rng, 0.3, 1.0), 0.6)
    return replace(
        person.facial,
        brow_weight=uniform(rng, 0.3, 1.0) if person.shape.gender >= 0.5 else uniform(rng, 0.15, 0.7),
        brow_colour=_whiten(_darken(natural, 0.85), brow_white if person.shape.age >= ADULT else 0.0),
        beard=beard,
        beard_colour=_whiten(vary(rng, natural, 0.15), white),
        beard_length=uniform(rng, 0.6, 1.6),
    )


def _whiten(colour: Colour, share: float) -> Colour:
    return tuple(round(c + share * (g - c), 5) for c, g in zip(colour, GREY, strict=True))  # type: ignore[return-value]
