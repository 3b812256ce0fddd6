"""Sample random heads: a seed and a kind determine the parameters, on every machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.draws import choose, pick, uniform
from portrait360.synth.sampling.hairstyles import STYLES, find_style
from portrait360.synth.sampling.hats import HATS, HIDES_ALL_HAIR, HOOPS, Hat
from portrait360.synth.sampling.kinds import SAMPLERS
from portrait360.synth.sampling.morphs import EXPRESSION_ODDS, expression_weights, sample_asymmetry, sample_morphs
from portrait360.synth.sampling.parameters import (
    KINDS,
    Clothes,
    Colour,
    Eyes,
    Facial,
    Hair,
    HeadParameters,
    Pose,
    Shape,
    Skin,
    Wear,
)

BULKY_COLLARS = ("shirt", "polo", "jacket", "hoodie", "scarf")  # these would pierce the cloth of a hood
NO_HAT = Hat()
ODDS = {"human": 0.62, "toon": 0.14, "fantasy": 0.08, "animal": 0.10, "statue": 0.06}
HATS_MEN = {
    "beanie": 3, "slouch": 1, "bobble": 1, "cap": 4, "visor_back": 1, "fedora": 2, "bowler": 1,
    "top_hat": 0.5, "helmet": 1, "knight": 0.7, "turban": 1.5, "headband": 0.5, "crown": 0.5, "hood": 1.5,
    "headphones": 2,
}  # fmt: skip
HATS_WOMEN = {
    "beanie": 2, "slouch": 2, "bobble": 2, "cap": 2, "fedora": 1, "sun_hat": 2.5, "beret": 2,
    "helmet": 0.7, "headband": 2, "crown": 0.8, "hood": 1, "hijab": 4, "headphones": 2, "turban": 0.5,
}  # fmt: skip
AGE_RANGES = ((0.14, 0.26), (0.36, 0.56), (0.56, 0.76), (0.76, 1.0))  # on MakeHuman's age axis
EARRINGS = {"none": 5, "stud": 2, "hoop": 1.5, "drop": 1.5}
GLASSES = ("round", "oval", "square", "wayfarer", "browline", "aviator", "cat_eye", "reading")
SHADES = ("sun_round", "sun_square", "sun_aviator", "sun_cat")
COLLARS = {
    "crew": 5, "v_neck": 2.5, "scoop": 1.5, "turtleneck": 1.5, "shirt": 3, "polo": 1.5, "hoodie": 2,
    "jacket": 2, "scarf": 1.2, "none": 0.4,
}  # fmt: skip
BEARDS = {
    "none": 9, "stubble": 3, "designer": 2, "moustache": 0.8, "pencil": 0.3, "handlebar": 0.3,
    "goatee": 1, "soul_patch": 0.3, "chinstrap": 0.4, "short": 2.5, "full": 2, "long": 0.7, "curly": 0.6,
    "sideburns": 0.4, "friendly": 0.2,
}  # fmt: skip


def sample(seed: int, kind: str = "any") -> HeadParameters:
    """Sample the head of this seed; `kind` is any or one of KINDS."""
    rng = np.random.default_rng([seed, 20])
    sampled_kind = pick(rng, ODDS)
    if kind == "any":
        kind = sampled_kind
    if kind not in KINDS:
        raise ValueError(f"there is no kind of head {kind!r}; choose one of: any, {', '.join(KINDS)}")
    person = sample_person(rng, seed)
    return SAMPLERS[kind](person, rng)


def vary(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """Return the colour with a random change of brightness and a smaller one of hue."""
    scale = np.exp(rng.normal(0, amount)) * np.exp(rng.normal(0, amount / 4, 3))
    return tuple(round(float(v), 5) for v in np.clip(np.array(colour) * scale, 0.001, 0.95))  # type: ignore


def hair_blocks_hat(hair: Hair, hat: str) -> bool:
    """Return whether tied hair has no room under the hat, or long hair would bury the headphones."""
    style = find_style(hair.style)
    if hat == "headphones":
        return not style.ties and max(style.lengths[1:]) > 0.4
    return bool(style.ties) and hat in HATS and hat not in (*HOOPS, *HIDES_ALL_HAIR)


def sample_person(rng: np.random.Generator, seed: int) -> HeadParameters:
    """Sample a human; the other kinds are derived from one."""
    shape = _sample_shape(rng)
    woman = shape.gender < 0.5
    origin = np.array(shape.origin)
    skin = _sample_skin(rng, shape, woman, origin)
    hair = _sample_hair(rng, shape, woman, origin)
    facial = _sample_facial_hair(rng, shape, woman, hair)
    wear = _sample_wear(rng, shape, woman, hair)
    if hair_blocks_hat(hair, wear.hat):
        wear = replace(wear, hat="none")
    collar = pick(rng, COLLARS)
    clothes = Clothes(
        collar="crew" if HATS.get(wear.hat, NO_HAT).opening and collar in BULKY_COLLARS else collar,
        colour=vary(rng, choose(rng, palettes.CLOTH), 0.15),
        second=vary(rng, choose(rng, palettes.CLOTH), 0.15),
        pattern=pick(rng, {"plain": 7, "stripes": 1.5, "check": 1, "melange": 1, "flowers": 0.6, "yoke": 0.7}),
        necklace=bool(woman and shape.age > 0.3 and rng.random() < 0.2),
    )
    pose = Pose(
        turn=uniform(rng, -14, 14),
        tilt=uniform(rng, -5, 5),
        nod=uniform(rng, -6, 6),
        gaze=(round(float(rng.normal(0, 5)), 3), round(float(rng.normal(-0.5, 3)), 3)),
    )
    eyes = Eyes(
        iris=vary(rng, _sample_iris(rng, origin), 0.15),
        iris_size=uniform(rng, 0.44, 0.50),
        pupil=uniform(rng, 0.32, 0.5),
        lashes=uniform(rng, 0.45, 1.0) if woman else uniform(rng, 0.1, 0.45),
    )
    return HeadParameters(seed, "human", shape, pose, skin, eyes, hair, facial, wear, clothes)


def _sample_shape(rng: np.random.Generator) -> Shape:
    youngest, oldest = AGE_RANGES[int(rng.choice(4, p=[0.09, 0.53, 0.22, 0.16]))]
    age = round(float(rng.uniform(youngest, oldest)), 4)
    gender = float(np.clip(rng.choice([0.06, 0.94]) + rng.normal(0, 0.09), 0, 1))
    if rng.random() < 0.45:  # one dominant origin
        origin = np.full(3, 0.06)
        origin[rng.integers(3)] = 0.88
    else:
        origin = rng.dirichlet([0.8, 0.8, 0.8])
    morphs = sample_morphs(rng, 0.75 if age > 0.3 else 0.45)
    morphs |= sample_asymmetry(rng)
    expression = pick(rng, EXPRESSION_ODDS)
    units = expression_weights(expression, float(rng.uniform(0.55, 1.0)), load_pack().units)
    eye_opening = float(rng.uniform(0.0, 0.25))
    if expression not in ("wink", "closed", "laugh", "grin", "angry"):
        units |= {name: round(max(eye_opening, units.get(name, 0.0)), 4) for name in ("eyeWideLeft", "eyeWideRight")}
    return Shape(
        gender=round(gender, 4),
        age=age,
        muscle=round(float(np.clip(rng.normal(0.5, 0.15), 0.1, 0.9)), 4),
        weight=round(float(np.clip(rng.normal(0.5, 0.17), 0.1, 0.95)), 4),
        origin=tuple(round(float(o), 4) for o in origin),  # type: ignore[arg-type]
        morphs=morphs,
        expression=units,
    )


def _sample_skin(rng: np.random.Generator, shape: Shape, woman: bool, origin: np.ndarray) -> Skin:
    tone_index = float(np.clip(origin @ [0.78, 0.32, 0.16] + rng.normal(0, 0.09), 0, 1)) * (len(palettes.SKIN) - 1)
    tone = palettes.blend_skin(tone_index)
    adult = shape.age > 0.36
    fair = tone_index < 3.5
    with_makeup = woman and adult and rng.random() < 0.55
    return Skin(
        tone=vary(rng, tuple(tone), 0.05),  # type: ignore[arg-type]
        blood=uniform(rng, 0.35, 1.0),
        freckles=uniform(rng, 0.35, 1.0) if fair and rng.random() < 0.22 else 0.0,
        moles=int(rng.integers(1, 4)) if rng.random() < 0.25 else 0,
        wrinkles=round(float(np.clip((shape.age - 0.58) * 2.2 + rng.normal(0, 0.08), 0, 1)), 4),
        lips=vary(rng, choose(rng, palettes.LIPS), 0.1) if with_makeup and rng.random() < 0.75 else None,
        eyeshadow=choose(rng, palettes.SHADOW) if with_makeup and rng.random() < 0.4 else None,
        eyeliner=uniform(rng, 0.3, 1.0) if with_makeup else 0.0,
        blush=uniform(rng, 0.2, 0.7) if with_makeup else 0.0,
        stubble=uniform(rng, 0.0, 0.6) if not woman and adult else 0.0,
    )


def _sample_hair(rng: np.random.Generator, shape: Shape, woman: bool, origin: np.ndarray) -> Hair:
    coily, straight = origin[0] > 0.55, origin[1] > 0.55
    odds = {}
    for name, style in STYLES.items():
        weight = style.worn_by[0 if woman else 1]
        if style.texture == "coily":
            weight *= 1.6 if coily else 0.12
        elif style.texture == "curly":
            weight *= 0.4 if straight else 1.0
        elif coily and not style.ties and style.gravity > 0.4:
            weight *= 0.45
        if shape.age > 0.6 and name in (
            "spiky",
            "faux_hawk",
            "quiff",
            "mohawk",
            "high_top",
            "puffs",
            "pigtails",
        ):
            weight *= 0.15
        if shape.age < 0.3 and name in ("receding", "tonsure", "bald", "comb_over", "pompadour"):
            weight = 0
        odds[name] = weight
    dark_share = float(origin @ [1.0, 0.95, 0.25])
    colour = choose(rng, palettes.HAIR[: palettes.DARK_HAIR] if rng.random() < dark_share else palettes.HAIR)
    grey = float(np.clip((shape.age - 0.66) * 3.2 + rng.normal(0, 0.2), 0, 1)) if shape.age > 0.6 else 0.0
    is_dyed = rng.random() < 0.05 and shape.age > 0.35
    tips = choose(rng, palettes.DYED + palettes.HAIR[7:9]) if woman and rng.random() < 0.10 else None
    return Hair(
        style=pick(rng, odds),
        colour=vary(rng, choose(rng, palettes.DYED) if is_dyed else colour, 0.12),
        tips=tips,
        length=uniform(rng, 0.78, 1.15),
        volume=uniform(rng, 0.8, 1.25),
        curl=uniform(rng, 0.75, 1.2),
        parting=uniform(rng, -0.09, 0.09),
        receding=0.0 if woman or shape.age < 0.4 else _sample_receding(rng, shape.age),
        grey=round(grey, 4),
    )


def _sample_receding(rng: np.random.Generator, age: float) -> float:
    return round(float(np.clip(rng.normal(0.15 + 0.4 * (age - 0.4), 0.25), 0, 1)), 4)


def _sample_facial_hair(rng: np.random.Generator, shape: Shape, woman: bool, hair: Hair) -> Facial:
    red, green, blue = hair.colour
    natural = hair.colour if red >= green >= blue else palettes.HAIR[2]  # brows and beards keep their natural colour
    brow_colour = tuple(round(0.9 * c + 0.002, 5) for c in natural)
    return Facial(
        brow_weight=uniform(rng, 0.2, 0.6) if woman else uniform(rng, 0.45, 1.0),
        brow_arch=uniform(rng, 0.35, 0.95) if woman else uniform(rng, 0.05, 0.6),
        brow_colour=brow_colour,  # type: ignore[arg-type]
        beard="none" if woman or shape.age < 0.38 else pick(rng, BEARDS),
        beard_colour=vary(rng, natural, 0.1),
        beard_length=uniform(rng, 0.75, 1.2),
    )


def _sample_iris(rng: np.random.Generator, origin: np.ndarray) -> Colour:
    light = rng.random() < 0.75 * origin[2] ** 1.5
    return choose(rng, palettes.IRIS[3:] if light else palettes.IRIS[:3])


def _sample_wear(rng: np.random.Generator, shape: Shape, woman: bool, hair: Hair) -> Wear:
    hat = "none"
    if rng.random() < 0.20:
        hat = pick(rng, HATS_WOMEN if woman else HATS_MEN)
    glasses = "none"
    if rng.random() < 0.20:
        glasses = choose(rng, GLASSES)
    elif rng.random() < 0.05 and shape.age > 0.3:
        glasses = choose(rng, SHADES)
    return Wear(
        hat=hat,
        hat_colour=vary(rng, choose(rng, palettes.CLOTH), 0.15),
        hat_trim=vary(rng, choose(rng, palettes.CLOTH + palettes.BRIGHT), 0.1),
        glasses=glasses,
        glasses_colour=choose(rng, palettes.FRAMES),
        earrings=pick(rng, EARRINGS if woman and shape.age > 0.2 else {"none": 14, "stud": 1}),
        nose_stud=bool(woman and rng.random() < 0.05),
        metal=choose(rng, palettes.METALS),
    )
