"""All parameters of one head: a frozen tree of plain values that can be printed, edited, written and read.

Colours are linear RGB, angles are in degrees. Edit with `dataclasses.replace`; the JSON round trip is exact.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any

Colour = tuple[float, float, float]

KINDS = ("human", "toon", "fantasy", "animal", "statue")


@dataclass(frozen=True)
class Shape:
    """Bones and soft tissue: weights of the head pack."""

    gender: float = 0.5  # 0 female .. 1 male
    age: float = 0.5  # 0 baby, 0.19 child, 0.5 young, 1 old
    muscle: float = 0.5
    weight: float = 0.5
    origin: tuple[float, float, float] = (1.0, 1.0, 1.0)  # african, asian, european shares
    morphs: dict[str, float] = field(default_factory=dict)  # targets of the head pack
    expression: dict[str, float] = field(default_factory=dict)  # expression units
    scan: tuple[float, ...] = ()  # coefficients of a real head's shape (`scan_shape`); empty: none


@dataclass(frozen=True)
class Pose:
    """Head pose; the face keeps looking along +z, and the shoulders turn beneath it."""

    turn: float = 0.0  # rotation of the head over the shoulders, to the subject's left
    tilt: float = 0.0
    nod: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)  # azimuth and elevation of the line of sight


@dataclass(frozen=True)
class Skin:
    tone: Colour = (0.6, 0.36, 0.25)
    blood: float = 0.6  # redness of cheeks, nose, ears
    freckles: float = 0.0
    moles: int = 0
    wrinkles: float = 0.0
    lips: Colour | None = None  # lipstick
    eyeshadow: Colour | None = None
    eyeliner: float = 0.0
    blush: float = 0.0
    stubble: float = 0.0  # strength of the shadow of a shaven beard


@dataclass(frozen=True)
class Eyes:
    iris: Colour = (0.06, 0.03, 0.015)
    iris_size: float = 0.46  # angular radius on the eyeball, radians
    pupil: float = 0.4  # radius as a fraction of the iris
    lashes: float = 0.5  # length
    slit: float = 0.0  # 0 a round pupil .. 1 a cat's pupil


@dataclass(frozen=True)
class Hairline:
    """Where the hair begins over the forehead, other than by receding with age."""

    peak: float = 0.0  # strength of a widow's peak, 0..1
    height: float = 0.0  # -1 a low forehead .. 1 a high one
    temples: float = 0.0  # how far the temples recede, 0..1


@dataclass(frozen=True)
class Hair:
    style: str = "crew"
    colour: Colour = (0.03, 0.015, 0.008)
    tips: Colour | None = None  # dyed or bleached towards the ends
    length: float = 1.0  # factor on the lengths of the style
    volume: float = 1.0
    curl: float = 1.0
    parting: float = 0.05  # x of the parting, in head heights; the subject's left is positive
    receding: float = 0.0
    grey: float = 0.0  # share of white strands
    sweep: float = 0.0  # -1..1: fringe and top combed aside, to the subject's left where positive
    tuck_left: float = 0.0  # 0..1: share of the hair that is tucked behind the subject's left ear
    tuck_right: float = 0.0
    wet: float = 0.0  # 0..1: darker, flatter, stuck together in strands
    flyaway: float = 0.0  # 0..1: thin loose strands off the outline
    messy: float = 0.0  # 0..1: clumps that leave the direction of the comb
    wind: float = 0.0  # -1..1: blown to the subject's left where positive
    hairline: Hairline = Hairline()
    streaks: Colour | None = None  # highlights
    streaks_share: float = 0.35  # how many of the strands they take
    streaks_from: float = 0.0  # share of the length at which they begin: 0 highlights, 0.5 balayage
    roots: Colour | None = None  # what has grown since the hair was dyed


@dataclass(frozen=True)
class Facial:
    """Eyebrows and beard."""

    brow_weight: float = 0.5
    brow_arch: float = 0.5
    brow_colour: Colour = (0.03, 0.015, 0.008)
    beard: str = "none"
    beard_colour: Colour = (0.03, 0.015, 0.008)
    beard_length: float = 1.0


@dataclass(frozen=True)
class HatFit:
    """What is added to the measures of a hat of its kind; lengths in head heights."""

    front: float = 0.0  # the rim at the forehead
    back: float = 0.0  # the rim at the back of the head
    rise: float = 0.0
    brim: float = 0.0
    curl: float = 0.0
    flare: float = 0.0
    tilt: float = 0.0  # degrees, to the subject's left
    even: float = 0.0  # how far the rim of a tilted hat comes down on its higher side, too: 1 as far as on the lower


@dataclass(frozen=True)
class GlassesFit:
    """What is added to the measures of glasses of their kind; lengths in head heights."""

    width: float = 0.0  # of half a lens
    height: float = 0.0
    power: float = 0.0  # how square the lenses are
    droop: float = 0.0
    cat: float = 0.0  # how far the outer upper corners are raised
    taper: float = 0.0  # share by which the lenses are narrower at their lower edges
    rim: float = 0.0
    upper: float = 0.0  # how much thicker the rim is above
    apart: float = 0.0  # how far the lenses lie aside from the eyes
    rise: float = 0.0
    aside: float = 0.0  # to the subject's left
    tilt: float = 0.0  # degrees, the subject's left side up where positive
    forward: float = 0.0  # how far the lenses lie before their usual place


@dataclass(frozen=True)
class Wear:
    hat: str = "none"
    fit: HatFit = HatFit()
    hat_colour: Colour = (0.1, 0.1, 0.12)
    hat_trim: Colour = (0.4, 0.4, 0.38)
    glasses: str = "none"
    glasses_fit: GlassesFit = GlassesFit()
    glasses_colour: Colour = (0.01, 0.01, 0.012)
    earrings: str = "none"
    nose_stud: bool = False
    metal: Colour = (0.75, 0.55, 0.2)
    gem: Colour = (0.85, 0.83, 0.78)  # of pearls and stones
    necklace: str = "chain"  # which one, if clothes.necklace says that there is one


@dataclass(frozen=True)
class Clothes:
    collar: str = "crew"
    colour: Colour = (0.1, 0.12, 0.2)
    second: Colour = (0.7, 0.68, 0.62)
    pattern: str = "plain"
    necklace: bool = False
    drop: float = 0.0  # head heights by which the neckline lies lower in front


@dataclass(frozen=True)
class Toon:
    """Strength of each deviation from human proportions."""

    eyes: float = 0.6
    cranium: float = 0.5
    nose: float = 0.6  # how much smaller
    chin: float = 0.6  # how much smaller
    cheeks: float = 0.5
    neck: float = 0.6  # how much thinner
    outline: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class Fantasy:
    ears: float = 1.0  # length of the points
    ear_angle: float = 0.0
    horns: str = "none"
    horn_colour: Colour = (0.45, 0.38, 0.28)
    tusks: float = 0.0
    brute: float = 0.0  # heavy brow, jaw and neck
    marks: Colour | None = None  # painted on the face


@dataclass(frozen=True)
class Animal:
    species: str = "fox"
    coat: Colour = (0.5, 0.16, 0.03)
    belly: Colour = (0.85, 0.8, 0.72)
    marking: Colour = (0.03, 0.02, 0.02)
    pattern: str = "plain"
    muzzle: float = 1.0
    ears: float = 1.0
    cheeks: float = 1.0
    mouth_open: float = 0.0
    fluff: float = 1.0


@dataclass(frozen=True)
class Statue:
    stone: str = "marble"
    colour: Colour = (0.8, 0.78, 0.72)
    vein: float = 0.3


@dataclass(frozen=True)
class HeadParameters:
    seed: int = 0
    kind: str = "human"
    shape: Shape = Shape()
    pose: Pose = Pose()
    skin: Skin = Skin()
    eyes: Eyes = Eyes()
    hair: Hair = Hair()
    facial: Facial = Facial()
    wear: Wear = Wear()
    clothes: Clothes = Clothes()
    toon: Toon | None = None
    fantasy: Fantasy | None = None
    animal: Animal | None = None
    statue: Statue | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> HeadParameters:
        return _from_json_value(cls, json.loads(text))


def _from_json_value(kind: Any, value: Any) -> Any:
    """Convert a JSON value to the declared type of its field; an unknown field is an error."""
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if typing.get_origin(kind) not in (tuple, dict) and options:  # X | None
        return None if value is None else _from_json_value(options[0], value)
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise ValueError(f"{getattr(kind, '__name__', kind)} has no field {unknown[0]!r}")
        return typing.cast(Any, kind)(**{name: _from_json_value(hints[name], v) for name, v in value.items()})
    return value
