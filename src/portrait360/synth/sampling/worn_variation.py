"""Give people what portraits and paintings show more often than everyday photos: cloth wound about the head, veils,
hoods and hats of all sizes, thin glasses, large jewellery, and other collars; and statues their carved hair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.draws import choose, pick, uniform
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.hats import find_hat
from portrait360.synth.sampling.palettes import hex_to_linear
from portrait360.synth.sampling.parameters import Clothes, Colour, Hair, HeadParameters, Wear
from portrait360.synth.sampling.sampler import vary


def _parse(codes: str) -> tuple[Colour, ...]:
    return tuple(hex_to_linear(code) for code in codes.split())


HAT_GROUPS: dict[str, tuple[float, str]] = {  # how often, and which
    "turban": (0.20, "wound_turban crossed_turban knotted_turban tailed_turban tailed_turban turban"),
    "veil": (0.25, "long_veil sheer_veil mantle mantle headscarf shawl"),
    "hood": (0.11, "cowl parka_hood"),
    "band": (0.14, "wide_band sweatband tied_band fillet wreath"),
    "bandana": (0.08, "tied_bandana tied_bandana kerchief"),
    "hat": (
        0.22,
        "wide_brim floppy_hat straw_sun_hat felt_hat felt_hat western western cavalier cloche painter_beret"
        " flat_bonnet newsboy trucker peaked_cap coif fur_hat fez watch_cap tight_cap cap visor_back cowboy beanie"
        " slouch sun_hat bucket beret bowler",
    ),
}
RARE_AMONG_MEN = ("veil",)
UNDER_HATS = ("long", "long_wavy", "bob", "middle_part", "slick_long", "curtains", "long_curly", "layered")
SHORT_UNDER_HATS = ("crew", "side_part", "caesar", "curly_short", "flow", "middle_part", "crop")
WIRE = "wire_round wire_round wire_oval wire_rect wire_hexagon wire_large half_rim half_moon pince_nez thick_round"
THIN_GLASSES = (*WIRE.split(), "sun_wire")
EARRINGS = ("pearl", "pearl", "pearl_drop", "pearl_drop", "large_hoop", "long_drop", "disc", "chandelier")
NECKLACES = ("pearls", "long_pearls", "choker", "ribbon", "beads", "pendant", "thick_chain")
COLLARS = {
    "bare": 2, "wide_scoop": 2, "off_shoulder": 1.5, "ruffled": 1, "robe": 1.5, "open_shirt": 2, "ruff": 1.2,
    "falling": 1.2, "stand": 1.5, "fur": 1, "space_suit": 0.7, "suit": 2, "jacket": 1,
}  # fmt: skip
WOMENS_COLLARS = ("bare", "off_shoulder", "wide_scoop", "ruffled")
OPEN_COLLARS = ("bare", "wide_scoop", "off_shoulder", "robe", "open_shirt", "scoop", "v_neck", "none")
UNDER_CLOTH = ("bare", "wide_scoop", "stand", "crew", "scoop", "v_neck", "none")  # they do not pierce a veil
STATUE_HATS = {"none": 6, "stone_wreath": 1.5, "stone_band": 1.2, "mantle": 0.8, "long_veil": 0.5, "cowl": 0.3}
STATUE_HAIR = (
    "high_bun", "low_bun", "bun", "top_knot", "top_knot", "man_bun", "half_bun", "double_buns", "crown_braid",
    "braid", "low_ponytail", "curly_short", "curly_top", "curly_fringe", "long_curly", "long_wavy", "wavy_bob",
    "coils", "caesar", "messy", "slick_back", "afro_small", "flow",
)  # fmt: skip
STATUE_COLLARS = {"none": 3, "robe": 3, "wide_scoop": 1.5, "off_shoulder": 1, "bare": 1, "ruff": 0.5, "falling": 0.7}
PAINTED = _parse(
    "#2a4a8a #3d5f9a #d9b84a #c89a3a #ece6d6 #d8cdb4 #17161a #2a2320 #7a1f22 #a23a2a #3a4a34 #5a6a4a #6a4a30 #8a8478"
    " #4a3a5a #b0603a"
)
DARK = _parse("#0d0d10 #17161a #1a1a22 #241c18 #1c2420 #2a1518 #14182a #302820")
SUITS = _parse("#dcdad4 #e8e4da #c86a2a #b8bcc0")
GEMS = _parse("#efe9dc #f2eee6 #e6d9c8 #d8d4d0 #20222a #8a2a24 #2f7d78 #2c6a44 #c8862a #34508a")


def diversify_wear(rng: np.random.Generator, person: HeadParameters) -> HeadParameters:
    """Return the person with other things to wear; animals stay as they are."""
    if person.kind == "animal":
        return person
    if person.kind == "statue":
        return _dress_statue(rng, person)
    woman = person.shape.gender < 0.5
    hat = _draw_hat(rng, woman)
    person = replace(person, wear=_draw_wear(rng, person.wear, hat, woman))
    if hat != "none":
        person = replace(person, hair=_fit_hair(rng, person.hair, hat, woman))
    return replace(person, clothes=_draw_clothes(rng, person, woman))


def _draw_hat(rng: np.random.Generator, woman: bool) -> str:
    if rng.random() > 0.68:
        return "none"
    odds = {
        name: odds * (0.3 if name in RARE_AMONG_MEN and not woman else 1) for name, (odds, _) in HAT_GROUPS.items()
    }
    return _number(rng, choose(rng, HAT_GROUPS[pick(rng, odds)][1].split()))


def _number(rng: np.random.Generator, name: str) -> str:
    """Return the name of a variation."""
    return f"{name}:{int(rng.integers(100_000))}"


def _draw_wear(rng: np.random.Generator, wear: Wear, hat: str, woman: bool) -> Wear:
    glasses = _number(rng, choose(rng, THIN_GLASSES)) if rng.random() < 0.34 else "none"
    is_adorned = rng.random() < (0.6 if woman else 0.08)
    is_leafy = hat.startswith("wreath")
    return replace(
        wear,
        hat=hat,
        hat_colour=vary(rng, choose(rng, _parse("#4a6a34 #6a7a3a #b8962e") if is_leafy else _all_cloth()), 0.2),
        hat_trim=vary(rng, choose(rng, _all_cloth()), 0.2),
        glasses=glasses,
        glasses_colour=vary(rng, choose(rng, palettes.FRAMES + palettes.METALS), 0.1),
        earrings=choose(rng, EARRINGS) if is_adorned else "none",
        metal=choose(rng, palettes.METALS),
        gem=vary(rng, choose(rng, GEMS), 0.06),
        necklace=choose(rng, NECKLACES),
    )


def _all_cloth() -> tuple[Colour, ...]:
    return PAINTED + palettes.CLOTH


def _fit_hair(rng: np.random.Generator, hair: Hair, hat: str, woman: bool) -> Hair:
    """Return hair that has room under the hat."""
    shape, style = find_hat(hat), find_style(hair.style)
    is_open = shape.hoop or not style.ties
    if is_open and not (shape.drape is not None and style.region == "strip"):
        return hair
    return replace(hair, style=choose(rng, UNDER_HATS if woman else SHORT_UNDER_HATS))


def _draw_clothes(rng: np.random.Generator, person: HeadParameters, woman: bool) -> Clothes:
    odds = {name: odds * (0.12 if name in WOMENS_COLLARS and not woman else 1) for name, odds in COLLARS.items()}
    collar = pick(rng, odds) if rng.random() < 0.72 else person.clothes.collar
    is_draped = person.wear.hat != "none" and find_hat(person.wear.hat).drape is not None
    if is_draped and collar not in UNDER_CLOTH:
        collar = choose(rng, UNDER_CLOTH if woman else UNDER_CLOTH[2:])
    colour = choose(rng, DARK) if rng.random() < 0.38 else choose(rng, _all_cloth())
    if collar == "space_suit":
        colour = choose(rng, SUITS)
    necklace = rng.random() < (0.55 if woman else 0.08) and collar in OPEN_COLLARS
    return replace(
        person.clothes,
        collar=collar,
        colour=vary(rng, colour, 0.15),
        second=vary(rng, choose(rng, _all_cloth()), 0.15),
        pattern="plain" if rng.random() < 0.75 else person.clothes.pattern,
        necklace=bool(necklace),
        drop=uniform(rng, 0.0, 0.06) if collar in WOMENS_COLLARS else 0.0,
    )


def _dress_statue(rng: np.random.Generator, person: HeadParameters) -> HeadParameters:
    hat = pick(rng, STATUE_HATS)
    hair = replace(
        person.hair,
        style=choose(rng, STATUE_HAIR),
        curl=uniform(rng, 0.9, 1.8),
        volume=uniform(rng, 0.8, 1.4),
        wet=0.0,
        flyaway=0.0,
        messy=0.0,
    )
    wear = replace(person.wear, hat=hat if hat == "none" else _number(rng, hat))
    if hat != "none":
        hair = _fit_hair(rng, hair, wear.hat, person.shape.gender < 0.5)
    collar = pick(rng, STATUE_COLLARS)
    if hat in ("mantle", "long_veil", "cowl") and collar not in UNDER_CLOTH:
        collar = "wide_scoop"
    return replace(person, hair=hair, wear=wear, clothes=replace(person.clothes, collar=collar, necklace=False))
