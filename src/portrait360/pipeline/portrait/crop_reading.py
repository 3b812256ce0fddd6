"""Read a crop of a photo: its labels for the matte, and warnings about what the photo does not show."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from portrait360.geometry.cameras import azimuth_between
from portrait360.models.portrait_reader import SIDE
from portrait360.pipeline.portrait.crop import CropSquare
from portrait360.pipeline.portrait.matting import crop_colours
from portrait360.pipeline.reading.reading import Reading, read_picture, shows_animal
from portrait360.utils.array_types import Bytes, Floats
from portrait360.utils.images import Picture
from portrait360.utils.portrait_labels import FACE_LABELS, Label

READ_SCALE = 1.2  # side of the read crop in sides of the fitted one: it holds most hair and some surroundings
CUT = 0.04  # of the crop's side: hair along so much of the photo's edge is cut off
FAR_TURN = 35.0  # degrees of azimuth from which the other half of the face is hardly seen
COVERING = (Label.HAIR, Label.HAT)
SIDES = ("top", "left", "right", "bottom")


def read_crop(picture: Picture, square: CropSquare) -> Reading:
    """Read a square of the photo; beyond the photo its edge is repeated."""
    return read_picture(crop_colours(picture, square, SIDE))


def find_reading_warnings(
    reading: Reading, square: CropSquare, photo_shape: tuple[int, int], azimuth: float, *, has_face: bool
) -> tuple[str, ...]:
    """Return what the user should know about what the photo leaves out; `square` is what was read."""
    warnings = []
    edges = cut_edges(reading, square, photo_shape)
    sides = [side for side in SIDES if share_of(edges[side], COVERING) > CUT]
    if sides:
        where = " and ".join(filter(None, (", ".join(sides[:-1]), sides[-1])))
        what = f"{_name_covering(reading)} is cut off at the {where} of the photo"
        warnings.append(f"{what}, so the missing part is estimated")
    if share_of(edges["bottom"], FACE_LABELS) > CUT:
        warnings.append("the face is cut off at the bottom of the photo, so the missing part is estimated")
    if has_face and shows_animal(reading, has_face=True):
        warnings.append("this is an animal's head, so it is made as a single surface and cannot change expression")
    turn = abs(azimuth_between(0, azimuth))
    if has_face and turn > FAR_TURN:
        better = "a photo from closer to the front gives a better result"
        warnings.append(f"the face is turned by {turn:.0f} degrees, so its far side is a guess; {better}")
    return tuple(warnings)


def _name_covering(reading: Reading) -> str:
    if reading.share(Label.HAT).sum() > reading.share(Label.HAIR).sum():
        return "the hat"
    return "the fur" if reading.best("kind")[0] == "animal" else "the hair"


def cut_edges(reading: Reading, square: CropSquare, photo_shape: tuple[int, int]) -> dict[str, Bytes]:
    """Return the labels along each side of the photo; empty for sides that were not read."""
    labels = np.where(reading.alpha > 0.5, reading.labels, Label.BACKGROUND).astype(np.uint8)
    pixel = square.side / SIDE
    left, top = (-corner / pixel for corner in square.corner)  # of the photo, in pixels of the reading
    right, bottom = left + photo_shape[1] / pixel, top + photo_shape[0] / pixel
    rows, columns = (slice(max(round(a), 0), max(round(b), 0)) for a, b in ((top, bottom), (left, right)))
    nothing = np.zeros(0, np.uint8)
    return {
        "top": labels[round(top) + 1, columns] if 0 <= top < SIDE - 2 else nothing,
        "left": labels[rows, round(left) + 1] if 0 <= left < SIDE - 2 else nothing,
        "right": labels[rows, round(right) - 2] if 2 < right <= SIDE else nothing,
        "bottom": labels[round(bottom) - 2, columns] if 2 < bottom <= SIDE else nothing,
    }


def share_of(line: Bytes, labels: Sequence[Label]) -> float:
    """Return how much of the read square's side these labels take along a line."""
    return float(np.isin(line, labels).sum()) / SIDE


def resample_alpha(
    reading: Reading, square: CropSquare, corner: Floats, scale: float, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Return the reader's alpha for a part of the photo that begins at `corner`, with `scale` pixels per photo pixel.

    Also return a weight: 0 beyond the read square, 1 well inside it, and 2 on clothes, which salience often misses.
    """
    step = SIDE / square.side  # pixels of the reading per pixel of the photo
    # from pixels of the part to pixels of the reading
    matrix = np.array([[step / scale, 0, 0], [0, step / scale, 0]], np.float64)
    for axis in (0, 1):
        first = corner[axis] + 0.5 / scale  # centre of the part's first pixel, in photo pixels
        matrix[axis, 2] = (first - square.corner[axis]) * step - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    margin = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]) / (0.05 * SIDE)
    inside = np.clip(np.minimum(margin[:, None], margin[None]), 0, 1).astype(np.float32)
    size = (shape[1], shape[0])
    alpha = cv2.warpAffine(reading.alpha, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = inside * (1 + reading.share(Label.CLOTHES))
    weight = cv2.warpAffine(inside, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(alpha, np.float32), np.asarray(weight, np.float32)
