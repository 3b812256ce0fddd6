"""What makes a toon, a creature of fantasy, an animal or a statue out of a sampled person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from portrait360.synth import palettes
from portrait360.synth.parameters import Animal, Facial, Fantasy, Hair, HeadParameters, Skin, Statue, Toon, Wear

STATUE_HATS = ("none",) * 5 + ("knight", "crown", "turban")
STONES = {
    "marble": "#e9e5dd",
    "bronze": "#6e5230",
    "gold": "#d9ab45",
    "terracotta": "#b06a48",
    "granite": "#8d8f92",
}


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 4)


def _one(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def toon(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    young = _uniform(rng, 0.20, 0.34) if person.shape.age < 0.6 else _uniform(rng, 0.5, 0.8)
    weight, mood = _uniform(rng, 0.45, 0.7), _cheered(person.shape.expression)
    shape = replace(person.shape, age=young, weight=weight, morphs=_mild(person.shape.morphs), expression=mood)
    skin = _smooth_skin(person.skin, rng)
    hair = person.hair
    if rng.random() < 0.4:
        hair = replace(hair, colour=_one(rng, palettes.DYED + palettes.BRIGHT))
    celled = rng.random() < 0.4
    eyes = replace(
        person.eyes,
        iris=_one(rng, palettes.EYES_VIVID),
        iris_size=_uniform(rng, 0.56, 0.68),
        pupil=_uniform(rng, 0.4, 0.52),
        lashes=_uniform(rng, 0.5, 0.9) if person.shape.gender < 0.5 else 0.15,
    )
    beard = "none" if young < 0.35 else person.facial.beard
    return replace(
        person,
        kind="toon",
        shape=shape,
        skin=skin,
        hair=hair,
        eyes=eyes,
        facial=replace(person.facial, brow_weight=_uniform(rng, 0.5, 1.0), beard=beard),
        clothes=replace(person.clothes, colour=_one(rng, palettes.BRIGHT + palettes.CLOTH)),
        toon=_proportions(celled, rng),
    )


def _smooth_skin(skin: Skin, rng: np.random.Generator) -> Skin:
    return replace(
        skin,
        tone=_one(rng, palettes.TOON_SKIN),
        wrinkles=0.0,
        moles=0,
        blood=_uniform(rng, 0.8, 1.4),
        stubble=0.0,
        eyeshadow=None,
        eyeliner=min(skin.eyeliner, 0.3),
        blush=_uniform(rng, 0.2, 0.6),
    )


def _proportions(celled: bool, rng: np.random.Generator) -> Toon:
    return Toon(
        eyes=_uniform(rng, 0.48, 0.76),
        cranium=_uniform(rng, 0.45, 1.1),
        nose=_uniform(rng, 0.35, 0.9),
        chin=_uniform(rng, 0.35, 0.85),
        cheeks=_uniform(rng, 0.2, 0.9),
        neck=_uniform(rng, 0.45, 0.9),
        outline=0.0035 if celled else 0.0,
        steps=4 if celled else 0,
    )


def _cheered(expression: dict[str, float]) -> dict[str, float]:
    """A toon that neither frowns nor purses its lips smiles at least a little."""
    if any(name.startswith(("mouthFrown", "mouthPucker", "mouthFunnel", "mouthPress")) for name in expression):
        return expression
    return expression | {side: max(expression.get(side, 0.0), 0.3) for side in ("mouthSmileLeft", "mouthSmileRight")}


def _mild(morphs: dict[str, float]) -> dict[str, float]:
    return {name: round(0.7 * w, 4) for name, w in morphs.items() if not name.startswith("asym")}


def fantasy(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    folk = _one(rng, ("elf", "elf", "orc", "demon", "nymph"))
    horn = _one(rng, ("short", "long", "ram", "devil"))
    skin = replace(person.skin, tone=_one(rng, palettes.FANTASY_SKIN), lips=None, blood=0.5)
    marks = _one(rng, palettes.BRIGHT) if rng.random() < 0.35 else None
    shape = replace(person.shape, age=max(person.shape.age, 0.4))
    parts, hat = _folk(folk, horn, rng), "none"
    if folk == "elf":
        skin = person.skin if rng.random() < 0.75 else skin
        hat = _one(rng, ("none", "none", "none", "crown", "headband"))
    elif folk == "orc":
        skin = replace(skin, tone=palettes.FANTASY_SKIN[int(rng.integers(2))])
        shape = replace(shape, muscle=0.9)
    elif folk == "nymph":
        marks = _one(rng, palettes.BRIGHT)
    hair = replace(person.hair, colour=_one(rng, palettes.DYED + palettes.HAIR), grey=0.0)
    iris = _one(rng, palettes.EYES_VIVID)
    slit = 1.0 if folk == "demon" and rng.random() < 0.6 else 0.0
    clothes = replace(person.clothes, collar=_one(rng, ("crew", "scoop", "scarf", "armour", "hoodie", "v_neck")))
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


def _folk(folk: str, horn: str, rng: np.random.Generator) -> Fantasy:
    """Ears, horns, tusks and build of a folk."""
    if folk == "elf":
        return Fantasy(ears=_uniform(rng, 0.8, 1.6), ear_angle=_uniform(rng, -15, 25))
    if folk == "orc":
        ears, tusks, brute = _uniform(rng, 0.4, 0.8), _uniform(rng, 0.5, 1.0), _uniform(rng, 0.6, 1.0)
        return Fantasy(ears=ears, ear_angle=-10.0, tusks=tusks, brute=brute)
    if folk == "demon":
        return Fantasy(ears=_uniform(rng, 0.5, 1.0), horns=horn, brute=_uniform(rng, 0.0, 0.4))
    return Fantasy(ears=_uniform(rng, 0.6, 1.0), horns=_one(rng, ("none", "short")))


def animal(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    from portrait360.synth.species import SPECIES

    species = list(SPECIES)[int(rng.integers(len(SPECIES)))]
    coat, belly, marking, pattern = _one(rng, SPECIES[species].coats)
    return replace(
        person,
        kind="animal",
        skin=Skin(),  # of the person only shoulders, pose, clothes and necklace are left
        hair=Hair(style="bald"),
        facial=Facial(),
        wear=Wear(metal=person.wear.metal),
        shape=replace(person.shape, morphs={}, expression={}, age=0.5, weight=0.5),
        eyes=replace(person.eyes, iris=_one(rng, SPECIES[species].irises), slit=SPECIES[species].slit),
        animal=Animal(
            species=species,
            coat=palettes.linear(coat),
            belly=palettes.linear(belly),
            marking=palettes.linear(marking),
            pattern=pattern,
            muzzle=_uniform(rng, 0.85, 1.15),
            ears=_uniform(rng, 0.85, 1.15),
            cheeks=_uniform(rng, 0.85, 1.15),
            mouth_open=_uniform(rng, 0.3, 1.0) if rng.random() < 0.3 else 0.0,
            fluff=_uniform(rng, 0.8, 1.25),
        ),
    )


def statue(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    stone = _one(rng, list(STONES))
    still = {name: round(0.5 * w, 4) for name, w in person.shape.expression.items() if "Blink" not in name}
    return replace(
        person,
        kind="statue",
        shape=replace(person.shape, expression=still, age=max(person.shape.age, 0.3)),
        wear=replace(person.wear, glasses="none", earrings="none", nose_stud=False, hat=_one(rng, STATUE_HATS)),
        pose=replace(person.pose, gaze=(0.0, 0.0)),
        statue=Statue(stone=stone, colour=palettes.linear(STONES[stone]), vein=_uniform(rng, 0.0, 0.6)),
    )


def human(person: HeadParameters, rng: np.random.Generator) -> HeadParameters:
    return person


SAMPLERS: dict[str, Callable[[HeadParameters, np.random.Generator], HeadParameters]] = {
    "human": human,
    "toon": toon,
    "fantasy": fantasy,
    "animal": animal,
    "statue": statue,
}
