"""Convert a sampled person into a toon, a fantasy character, an animal or a statue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.draws import choose, uniform
from portrait360.synth.sampling.parameters import (
    Animal,
    Facial,
    Fantasy,
    Hair,
    HeadParameters,
    Skin,
    Statue,
    Toon,
    Wear,
)

STATUE_HATS = ("none",) * 5 + ("knight", "crown", "turban")
STONES = {
    "marble": "#e9e5dd",
    "bronze": "#6e5230",
    "gold": "#d9ab45",
    "terracotta": "#b06a48",
    "granite": "#8d8f92",
}


def make_toon(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    age = uniform(rng, 0.20, 0.34) if person.shape.age < 0.6 else uniform(rng, 0.5, 0.8)
    weight, mood = uniform(rng, 0.45, 0.7), _add_smile(person.shape.expression)
    shape = replace(person.shape, age=age, weight=weight, morphs=_reduce_morphs(person.shape.morphs), expression=mood)
    skin = _smooth_skin_tone(person.skin, rng)
    hair = person.hair
    if rng.random() < 0.4:
        hair = replace(hair, colour=choose(rng, palettes.DYED + palettes.BRIGHT))
    cel_shaded = rng.random() < 0.4
    eyes = replace(
        person.eyes,
        iris=choose(rng, palettes.EYES_VIVID),
        iris_size=uniform(rng, 0.56, 0.68),
        pupil=uniform(rng, 0.4, 0.52),
        lashes=uniform(rng, 0.5, 0.9) if person.shape.gender < 0.5 else 0.15,
    )
    beard = "none" if age < 0.35 else person.facial.beard
    return replace(
        person,
        kind="toon",
        shape=shape,
        skin=skin,
        hair=hair,
        eyes=eyes,
        facial=replace(person.facial, brow_weight=uniform(rng, 0.5, 1.0), beard=beard),
        clothes=replace(person.clothes, colour=choose(rng, palettes.BRIGHT + palettes.CLOTH)),
        toon=_sample_proportions(cel_shaded, rng),
    )


def _smooth_skin_tone(skin: Skin, rng: np.random.Generator) -> Skin:
    return replace(
        skin,
        tone=choose(rng, palettes.TOON_SKIN),
        wrinkles=0.0,
        moles=0,
        blood=uniform(rng, 0.8, 1.4),
        stubble=0.0,
        eyeshadow=None,
        eyeliner=min(skin.eyeliner, 0.3),
        blush=uniform(rng, 0.2, 0.6),
    )


def _sample_proportions(cel_shaded: bool, rng: np.random.Generator) -> Toon:
    return Toon(
        eyes=uniform(rng, 0.48, 0.76),
        cranium=uniform(rng, 0.45, 1.1),
        nose=uniform(rng, 0.35, 0.9),
        chin=uniform(rng, 0.35, 0.85),
        cheeks=uniform(rng, 0.2, 0.9),
        neck=uniform(rng, 0.45, 0.9),
        outline=0.0035 if cel_shaded else 0.0,
        steps=4 if cel_shaded else 0,
    )


def _add_smile(expression: dict[str, float]) -> dict[str, float]:
    """Add a slight smile unless the toon frowns or purses its lips."""
    if any(name.startswith(("mouthFrown", "mouthPucker", "mouthFunnel", "mouthPress")) for name in expression):
        return expression
    return expression | {side: max(expression.get(side, 0.0), 0.3) for side in ("mouthSmileLeft", "mouthSmileRight")}


def _reduce_morphs(morphs: dict[str, float]) -> dict[str, float]:
    return {name: round(0.7 * w, 4) for name, w in morphs.items() if not name.startswith("asym")}


def make_fantasy(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    race = choose(rng, ("elf", "elf", "orc", "demon", "nymph"))
    horn = choose(rng, ("short", "long", "ram", "devil"))
    skin = replace(person.skin, tone=choose(rng, palettes.FANTASY_SKIN), lips=None, blood=0.5)
    marks = choose(rng, palettes.BRIGHT) if rng.random() < 0.35 else None
    shape = replace(person.shape, age=max(person.shape.age, 0.4))
    parts, hat = _sample_fantasy_parts(race, horn, rng), "none"
    if race == "elf":
        skin = person.skin if rng.random() < 0.75 else skin
        hat = choose(rng, ("none", "none", "none", "crown", "headband"))
    elif race == "orc":
        skin = replace(skin, tone=palettes.FANTASY_SKIN[int(rng.integers(2))])
        shape = replace(shape, muscle=0.9)
    elif race == "nymph":
        marks = choose(rng, palettes.BRIGHT)
    hair = replace(person.hair, colour=choose(rng, palettes.DYED + palettes.HAIR), grey=0.0)
    iris = choose(rng, palettes.EYES_VIVID)
    slit = 1.0 if race == "demon" and rng.random() < 0.6 else 0.0
    clothes = replace(person.clothes, collar=choose(rng, ("crew", "scoop", "scarf", "armour", "hoodie", "v_neck")))
    return replace(
        person,
        kind="fantasy",
        shape=shape,
        skin=skin,
        hair=hair,
        eyes=replace(person.eyes, iris=iris, slit=slit),
        wear=replace(person.wear, hat=hat, glasses="none"),
        clothes=clothes,
        fantasy=replace(parts, marks=marks),
    )


def _sample_fantasy_parts(race: str, horn: str, rng: np.random.Generator) -> Fantasy:
    """Sample ears, horns, tusks and build of a fantasy race."""
    if race == "elf":
        return Fantasy(ears=uniform(rng, 0.8, 1.6), ear_angle=uniform(rng, -15, 25))
    if race == "orc":
        ears, tusks, brute = uniform(rng, 0.4, 0.8), uniform(rng, 0.5, 1.0), uniform(rng, 0.6, 1.0)
        return Fantasy(ears=ears, ear_angle=-10.0, tusks=tusks, brute=brute)
    if race == "demon":
        return Fantasy(ears=uniform(rng, 0.5, 1.0), horns=horn, brute=uniform(rng, 0.0, 0.4))
    return Fantasy(ears=uniform(rng, 0.6, 1.0), horns=choose(rng, ("none", "short")))


def make_animal(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    from portrait360.synth.sampling.species import SPECIES

    species = choose(rng, list(SPECIES))
    coat, belly, marking, pattern = choose(rng, SPECIES[species].coats)
    return replace(
        person,
        kind="animal",
        skin=Skin(),  # only shoulders, pose, clothes and necklace remain of the person
        hair=Hair(style="bald"),
        facial=Facial(),
        wear=Wear(metal=person.wear.metal),
        shape=replace(person.shape, morphs={}, expression={}, age=0.5, weight=0.5),
        eyes=replace(person.eyes, iris=choose(rng, SPECIES[species].irises), slit=SPECIES[species].slit),
        animal=Animal(
            species=species,
            coat=palettes.hex_to_linear(coat),
            belly=palettes.hex_to_linear(belly),
            marking=palettes.hex_to_linear(marking),
            pattern=pattern,
            muzzle=uniform(rng, 0.85, 1.15),
            ears=uniform(rng, 0.85, 1.15),
            cheeks=uniform(rng, 0.85, 1.15),
            mouth_open=uniform(rng, 0.3, 1.0) if rng.random() < 0.3 else 0.0,
            fluff=uniform(rng, 0.8, 1.25),
        ),
    )


def make_statue(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    stone = choose(rng, list(STONES))
    calm_expression = {name: round(0.5 * w, 4) for name, w in person.shape.expression.items() if "Blink" not in name}
    return replace(
        person,
        kind="statue",
        shape=replace(person.shape, expression=calm_expression, age=max(person.shape.age, 0.3)),
        wear=replace(person.wear, glasses="none", earrings="none", nose_stud=False, hat=choose(rng, STATUE_HATS)),
        pose=replace(person.pose, gaze=(0.0, 0.0)),
        statue=Statue(stone=stone, colour=palettes.hex_to_linear(STONES[stone]), vein=uniform(rng, 0.0, 0.6)),
    )


def keep_human(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    return person


SAMPLERS: dict[str, Callable[[HeadParameters, np.random.Generator], HeadParameters]] = {
    "human": keep_human,
    "toon": make_toon,
    "fantasy": make_fantasy,
    "animal": make_animal,
    "statue": make_statue,
}
