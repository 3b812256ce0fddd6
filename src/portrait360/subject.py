"""The subject of a crop: its matte, how much room it needs, and how it goes on where the photo ends."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Camera
from portrait360.crop import Beyond, Square, cut
from portrait360.geometry.completion import foreground
from portrait360.images import Picture
from portrait360.matte import find_matte

Floats = NDArray[np.floating]

MARGIN = 0.482  # how far from the crop's middle a head may reach, in crop sides
MOST = 1.6  # how much larger a crop may become for hair and hats
STRAYS = 99.7  # per cent: the last stray pixels of hair do not count
NEAR = 0.15  # crop sides: what is solid so near to the crop's middle is the head
SHOULDERS = -0.24  # canonical: what lies lower may leave the crop
HALVES = (0.21, 0.27, 0.25)  # canonical: half axes of the ellipsoid in which a head that the photo cuts goes on
WIDEST = 1.4  # how much larger hair may make it
SOFT = 0.02  # canonical: width of its edge
MATTE_SIDE = 832  # pixels: the region in which a matte is looked for is reduced to this
CONVEX = 0.95  # share of its convex hull from which what is opaque is a frame (heads on shoulders: .64 to .81)
GREY = 0.5  # shown in place of what is transparent


@dataclass(frozen=True, eq=False)
class Matte:
    """A matte of a part of a photo, perhaps reduced."""

    values: Floats
    corner: tuple[float, float]  # of the part, in pixels of the photo
    scale: float  # pixels of the matte for one of the photo

    def cut(self, square: Square, size: int, border: int) -> Floats:
        """The matte of a square of the photo."""
        x, y = ((c - start) * self.scale for c, start in zip(square.corner, self.corner, strict=True))
        return cut(self.values, Square((x, y), square.side * self.scale), size, border)


def shown(picture: Picture) -> Floats:
    """The picture over grey: its transparent parts may hide any colour."""
    if picture.alpha is None:
        return picture.rgb
    alpha = picture.alpha[..., None]
    return picture.rgb * alpha + GREY * (1 - alpha)


def reduced(values: Floats, side: int = MATTE_SIDE) -> tuple[Floats, float]:
    """The values at no more than this side, and by which factor they were reduced."""
    scale = side / max(values.shape[:2])
    if scale >= 1:
        return values, 1.0
    small = cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32, copy=False), scale


def framed(alpha: Floats) -> bool:
    """Whether transparency only frames a photo (rounded corners, a disc, a stray pixel) instead of cutting out a
    subject."""
    opaque = cv2.findNonZero((reduced(alpha)[0] > 0.5).astype(np.uint8))
    return opaque is not None and len(opaque) > CONVEX * cv2.contourArea(cv2.convexHull(opaque))


def matte_of(picture: Picture, square: Square | None = None) -> Matte:
    """The photo's own transparency, or what the network finds: in and around the square, or in the whole photo."""
    if picture.alpha is not None and not framed(picture.alpha):
        return Matte(picture.alpha, (0.0, 0.0), 1.0)
    height, width = picture.rgb.shape[:2]
    wide = Square((0.0, 0.0), float(max(height, width))) if square is None else square.grown(MOST)
    x, y = (int(np.clip(c, 0, n - 1)) for c, n in zip(wide.corner, (width, height), strict=True))
    right, below = (
        int(np.clip(np.ceil(c + wide.side), low + 1, n))
        for c, low, n in zip(wide.corner, (x, y), (width, height), strict=True)
    )
    part, scale = reduced(picture.rgb[y:below, x:right])
    inside = None if square is None else ((square.center[0] - x) * scale, (square.center[1] - y) * scale)
    if picture.alpha is None:
        values = find_matte(np.ascontiguousarray(part), inside)
    else:  # a frame that stood out would itself be taken for the subject
        frame = reduced(picture.alpha[y:below, x:right])[0]
        values = find_matte(foreground(part, frame), inside) * frame
    return Matte(values, (float(x), float(y)), scale)


def colours(picture: Picture, square: Square, size: int) -> Floats:
    """The crop's colours; those of transparent pixels do not bleed into the others."""
    if picture.alpha is None:
        return cut(picture.rgb, square, size)
    alpha = picture.alpha[..., None]
    cover = cut(picture.alpha, square, size)[..., None]
    own = cut(picture.rgb * alpha, square, size) / np.maximum(cover, 1 / 255)
    return np.where(cover > 1 / 255, np.clip(own, 0, 1), GREY).astype(np.float32)


def room(matte: Matte, square: Square, camera: Camera) -> float:
    """By how much the square must grow so that hair and hats are inside; at least 1."""
    size = 256
    x, y, height = _places(size, MOST, camera)
    solid = (matte.cut(square.grown(MOST), size, cv2.BORDER_CONSTANT) > 0.5) & (height > SHOULDERS)
    _, pieces = cv2.connectedComponents(solid.astype(np.uint8))  # other people may touch the shoulders
    middle = pieces[solid & (np.hypot(x, y) < NEAR)]
    own = pieces == np.bincount(middle).argmax() if len(middle) else solid
    reach = np.maximum(abs(x), abs(y))[solid & own]
    return float(np.clip(np.percentile(reach, STRAYS) / MARGIN, 1, MOST)) if len(reach) else 1.0


def continued(alpha: Floats, beyond: Beyond, camera: Camera, factor: float) -> Floats:
    """The matte carried on beyond the photo: shoulders to the crop's edge, a head as far as heads go."""
    x, y, height = _places(beyond.size, factor, camera)
    axes = camera.cam2world[:3, :2] * np.array(HALVES)[:, None]  # of the ellipsoid, as the camera sees them
    (a, b), (_, c) = np.linalg.inv(axes.T @ axes) * (RADIUS / camera.focal) ** 2
    radius = np.sqrt(a * x * x + 2 * b * x * y + c * y * y)  # in half axes
    body = np.clip((SHOULDERS - height) / SOFT + 0.5, 0, 1)
    body[beyond.spans[1][1] :] = 1  # what the photo's lower edge cuts goes straight down
    solid = beyond.edge & (alpha > 0.5) & (body == 0)
    wider = np.clip(radius[solid].max(initial=1), 1, WIDEST)  # hair at the photo's edge: the head is so much larger
    head = np.clip((wider - radius) * min(HALVES) / SOFT + 0.5, 0, 1)
    clearly = np.clip(3 * beyond.straight(alpha) - 1.5, 0, 1)
    return np.where(beyond.distance > 0, clearly * np.maximum(head, body), alpha).astype(np.float32)


def _places(size: int, factor: float, camera: Camera) -> tuple[Floats, Floats, Floats]:
    """Of the pixels of a crop that grew by a factor: x and y from its middle in sides of the first crop, and the
    canonical height of what is seen there at the head's distance."""
    along = ((np.arange(size) + 0.5) / size - 0.5) * factor
    x, y = np.broadcast_arrays(along[None], along[:, None])
    height = (x * camera.cam2world[1, 0] + y * camera.cam2world[1, 1]) * RADIUS / camera.focal
    return x, y, height
