"""Say in parameters what head a portrait shows: age, colours, beard, glasses, hat and clothes.

The reader names what it sees; a thing is only put on if its own label covers enough of the photo, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from portrait360.pipeline.avatar.photo.pixels import CLOTHES, HAIR, SKIN, Photo
from portrait360.pipeline.avatar.skin.eye_colours import read_iris
from portrait360.pipeline.avatar.worn.head_cloth import find_two_colours
from portrait360.pipeline.reading.reading import HAT_SHARE, Reading
from portrait360.synth.sampling.parameters import (
    Clothes,
    Colour,
    Eyes,
    Facial,
    Hair,
    HeadParameters,
    Shape,
    Skin,
    Statue,
    Toon,
    Wear,
)
from portrait360.utils.portrait_labels import FACE_LABELS, Label

SURE, STONE = 0.7, 0.5  # probability from which a head is drawn or shaven, and from which it is of stone
CEL_STEPS = 3  # levels of light on a flat drawing
SEED = 5  # of everything that is grown
THINNEST_BROWS, BROADEST_BROWS = 0.015, 0.075  # pixels of both brows per pixel of the face
FEWEST = 120  # pixels whose median is a colour
BEARD_SHARE, GLASSES_SHARE = 0.02, 0.012  # pixels of a thing per pixel of the face
HAIR_REFLECTS = 1.6  # hair's albedo per unit of what a photo shows of it: strands shade one another
BEARDED = 0.4  # probability of a bearded man, and share of his chin, that make a beard together
NO_WHISKERS = 0.01  # of a chin that whiskers cover where there are none
SURE_GLASSES, WIRE_SHARE = 0.9, 0.003  # probability from which so few pixels will do: thin wires, which labels lose
DARK_LENSES, HIDDEN_EYES = 0.12, 0.01  # pixels of glasses (frames alone: 0.09) and of eyes (usually 0.02 to 0.05)
DARK = 0.3  # of the brightness of the face: a dark lens
BARE, HARDLY = 1.05, 0.1  # widths of the face that bare shoulders are wide, and share of cloth per skin beside them
UNSEEN_CLOTH = 0.022  # dark, in the tint of the photo: that goes with any
IRIS: Colour = (0.09, 0.045, 0.02)
IRIS_REFLECTS = 1.4  # its albedo per unit of what a photo shows of it: lids shade it


def describe_person(photo: Photo, reading: Reading, tone: Colour) -> HeadParameters:
    """Return parameters for a face whose shape comes from elsewhere; `tone` is the albedo of its skin."""
    woman = reading.answers["woman"].get("yes", 0.5) > 0.5
    age = float(np.clip(reading.values["age"].mean, 0.2, 0.95))
    hair_colour = find_colour(photo, HAIR)
    hair = to_colour(HAIR_REFLECTS * hair_colour) if hair_colour is not None else to_colour(0.3 * np.array(tone))
    return HeadParameters(
        seed=SEED,
        shape=Shape(gender=0.1 if woman else 0.9, age=age),
        skin=Skin(tone=tone, blood=0.4),
        eyes=Eyes(iris=find_iris(photo), lashes=0.6 if woman else 0.2),
        hair=Hair(style="crew", colour=hair),
        facial=_describe_facial_hair(photo, reading, hair),
        wear=_describe_wear(photo, reading),
        clothes=_describe_clothes(photo, reading),
        **_describe_kind(reading, tone, photo),
    )


def _describe_kind(reading: Reading, tone: Colour, photo: Photo) -> dict[str, Any]:
    kind, sure = reading.best("kind")
    if kind == "statue" and sure > STONE:
        return {"kind": kind, "statue": Statue(stone="terracotta", colour=tone)}
    if photo.painted or kind == "toon" and sure > SURE:
        return {"kind": "toon", "toon": Toon(steps=CEL_STEPS if photo.painted else 0)}
    return {}


def settle_labels(photo: Photo, parameters: HeadParameters) -> Photo:
    """Return the photo with the labels of what the head does not wear given to what lies beneath."""
    absent = {
        Label.BEARD: (parameters.facial.beard == "none", Label.FACE),
        Label.HAT: (parameters.wear.hat == "none", Label.HAIR),
        Label.GLASSES: (parameters.wear.glasses == "none", Label.FACE),
    }
    labels = photo.labels.copy()
    for label, (is_absent, beneath) in absent.items():
        if is_absent:
            labels[photo.shows(label)] = beneath
    return replace(photo, labels=labels)


def find_colour(photo: Photo, labels: tuple[Label, ...]) -> np.ndarray | None:
    """Return the median radiance well inside these labels; None if the photo shows hardly any."""
    inside = photo.mask(labels, inset=3) > 0.9
    if inside.sum() < FEWEST:
        inside = photo.shows(*labels)
    return np.median(photo.radiance[inside], 0) if inside.sum() >= FEWEST else None


def find_iris(photo: Photo) -> Colour:
    """Return the albedo of the irises; a brown where no eye is open."""
    seen = read_iris(photo.radiance, photo.shows(Label.EYE))
    return IRIS if seen is None else to_colour(IRIS_REFLECTS * seen)


def to_colour(values: np.ndarray) -> Colour:
    r, g, b = (float(v) for v in np.clip(values, 0.003, 0.85))
    return r, g, b


def shows_hat(photo: Photo) -> bool:
    """Return whether enough of the photo is a hat."""
    return share_of_face(photo, Label.HAT) > HAT_SHARE and find_colour(photo, (Label.HAT,)) is not None


def share_of_face(photo: Photo, *labels: Label) -> float:
    """Return the pixels of these labels per pixel of the face."""
    return float(photo.shows(*labels).sum() / max(photo.shows(*FACE_LABELS).sum(), 1))


def shows_beard(photo: Photo, reading: Reading) -> bool:
    """Return whether the photo shows a beard."""
    woman, shaven = reading.answers["woman"].get("yes", 0.0), reading.answers["beard"].get("none", 0.0)
    return share_of_face(photo, Label.BEARD) > BEARD_SHARE and max(woman, shaven) < SURE


def confirm_beard(reading: Reading, covered: float) -> bool:
    """Return whether a beard is there of which whiskers cover this share of the chin or of the upper lip.

    Where there are none, it must be likelier than not.
    """
    woman, shaven = reading.answers["woman"].get("yes", 0.0), reading.answers["beard"].get("none", 0.0)
    likely = (1 - woman) * (1 - shaven)
    return likely + covered > BEARDED and (covered > NO_WHISKERS or likely > 0.5)


def _describe_facial_hair(photo: Photo, reading: Reading, hair: Colour) -> Facial:
    """Describe brows, and whether there is a beard; which one it is takes the fitted head (`choose_beard`)."""
    colour = find_colour(photo, (Label.BEARD,))
    beard = "short" if shows_beard(photo, reading) else "none"
    brows = find_colour(photo, (Label.BROW,))
    weight = (share_of_face(photo, Label.BROW) - THINNEST_BROWS) / (BROADEST_BROWS - THINNEST_BROWS)
    return Facial(
        brow_weight=float(np.clip(weight, 0.1, 1.0)),
        brow_colour=hair if brows is None else to_colour(0.8 * brows),
        beard=beard,
        beard_colour=hair if colour is None else to_colour(1.2 * colour),
        beard_length=0.6,
    )


def _describe_wear(photo: Photo, reading: Reading) -> Wear:
    """Describe glasses, and the colours of a hat; which hat it is takes the fitted head (`hat_search.choose_hat`)."""
    colour = find_colour(photo, (Label.HAT,))
    hat_colour = Wear().hat_colour if colour is None else to_colour(colour)
    two = find_two_colours(photo.rgb, photo.radiance, photo.labels)
    frames = find_colour(photo, (Label.GLASSES,))
    return Wear(
        hat_colour=hat_colour if two is None else to_colour(two.main),
        hat_trim=to_colour(0.7 * np.array(hat_colour) if two is None else two.second),
        glasses=name_glasses(photo, reading),
        glasses_colour=Wear().glasses_colour if frames is None else to_colour(0.5 * frames),
    )


def name_glasses(photo: Photo, reading: Reading) -> str:
    """Name the glasses: the dark lenses of sunglasses cover the eyes, whatever the reader answers.

    Of thin wires few pixels are labelled; they are glasses if the reader is sure.
    """
    share, answer = share_of_face(photo, Label.GLASSES), reading.best("glasses")[0]
    if share > DARK_LENSES and (share_of_face(photo, Label.EYE) < HIDDEN_EYES or has_dark_lenses(photo)):
        return "sun_square"
    sure = reading.answers["glasses"].get("none", 0.0) < 1 - SURE_GLASSES
    if share > (WIRE_SHARE if sure else GLASSES_SHARE) and answer != "none":
        return "sun_square" if answer == "sun" else "round"
    return "none"


def has_dark_lenses(photo: Photo) -> bool:
    """Return whether most of what is called glasses is much darker than the face: clear lenses show skin."""
    light, face = photo.radiance.mean(-1), photo.shows(Label.FACE)
    lenses = light[photo.shows(Label.GLASSES)]
    return bool(face.any() and len(lenses) and np.median(lenses) < DARK * np.median(light[face]))


def guess_cloth(photo: Photo) -> Colour:
    """Return the colour of clothes of which the photo shows nothing."""
    shown = np.median(photo.radiance[photo.alpha > 0.9], 0) if (photo.alpha > 0.9).any() else np.ones(3)
    return to_colour(UNSEEN_CLOTH * np.sqrt(np.maximum(shown, 1e-3) / max(float(shown.mean()), 1e-3)))


def shows_bare_shoulders(photo: Photo) -> bool:
    """Return whether the photo shows skin below the face that is wider than the face, and hardly any cloth."""
    skin, cloth = photo.shows(Label.SKIN), photo.shows(*CLOTHES)
    width = photo.shows(*FACE_LABELS).sum(1).max()
    return bool(skin.sum(1).max() > BARE * width and cloth.sum() < HARDLY * skin.sum())


def _describe_clothes(photo: Photo, reading: Reading) -> Clothes:
    if shows_bare_shoulders(photo):
        return Clothes(collar="none", colour=guess_cloth(photo))
    colour = find_colour(photo, CLOTHES)
    collar = next(name for name in reading.answers["collar"] if name != "none")
    if colour is None:
        return Clothes(collar="crew" if photo.shows(*SKIN).any() else collar, colour=guess_cloth(photo))
    return Clothes(collar=collar, colour=to_colour(colour), second=to_colour(0.8 * colour))
