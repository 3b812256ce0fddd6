"""The hair of an avatar whose style or numbers the user has named, fitted to the photo in what is not named."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.pipeline.avatar.hair.search import POOR, SHORT, HairFit, find_hair, soften_style
from portrait360.pipeline.avatar.hair.texture import read_grain
from portrait360.pipeline.avatar.overrules import HAIR_COLOURS, LENGTHS, Overrules
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.sampling.style_descriptor import ALL_STYLES, DESCRIPTOR, describe_style

CURL_OFF = 0.15  # radius times turns from which hair is of another texture than the photo's


@dataclass(frozen=True)
class ChosenHair:
    """Hair, and whether it is what the photo shows."""

    fit: HairFit
    agrees: bool  # if not, it is not moved to the photo's outline
    is_other: bool = False  # of another texture or outline: nothing that the photo shows of hair is like it


def choose_hair(head: Head, photo: Photo, base: HeadParameters, reading: Reading, overrules: Overrules) -> ChosenHair:
    """Return the hair that agrees best with the photo among what the user has said of it.

    What the base says of the hair's colours stays.
    """
    if not overrules.names_hair:
        return ChosenHair(find_hair(head, photo, base, reading), agrees=True)
    said = {name: getattr(base.hair, name) for name in overrules.hair if name not in HAIR_COLOURS}
    colours = {name: getattr(base.hair, name) for name in HAIR_COLOURS}
    free = replace(base, hair=replace(Hair(), **colours))
    if overrules.style is not None and find_style(overrules.style).count == 0:
        return ChosenHair(replace(take_style(free, overrules.style), hair=base.hair), agrees=False)
    found = find_hair(head, photo, free, reading, overrules.style)
    wanted = replace(found.hair, **said)
    if overrules.hair_length is not None:
        wanted = replace(wanted, length=float(np.clip(wanted.length * overrules.hair_length, *LENGTHS)))
    is_other = overrules.style is not None and _looks_otherwise(found, photo)
    if is_other and find_hair(head, photo, free, reading).hair.style == found.hair.style:
        is_other = False  # nothing else is nearer to it
    return ChosenHair(replace(found, hair=wanted), wanted == found.hair and not is_other, is_other)


def _looks_otherwise(found: HairFit, photo: Photo) -> bool:
    """Return whether the best hair of a style has not the outline or the curls of the photo's."""
    style, hair = find_style(found.hair.style), found.hair
    curl = style.wave[0] * style.wave[1] * hair.curl
    is_long = max(style.lengths) * hair.length > SHORT  # shorter hair looks curly, too
    return found.score < POOR or (is_long and abs(curl - read_grain(photo)[0]) > CURL_OFF)


def find_nearest_style(reading: Reading) -> str:
    """Return the style whose numbers are nearest to those that the reader expects, by their spread."""
    names = sorted(ALL_STYLES)
    numbers = np.stack([describe_style(Hair(style=name)) for name in names])
    mean = np.array([reading.values[name].mean for name in DESCRIPTOR])
    spread = np.hypot(numbers.std(0), [reading.values[name].deviation for name in DESCRIPTOR])
    return names[int((((numbers - mean) / spread) ** 2).sum(1).argmin())]


def take_style(base: HeadParameters, name: str) -> HairFit:
    """Return a style as the catalogue has it."""
    return HairFit(replace(base.hair, style=name), soften_style(find_style(name)), 1.0)
