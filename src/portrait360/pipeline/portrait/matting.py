"""The matte of a crop's subject: how much space its hair needs, and how it continues where the photo ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.geometry.canonical_frame import FRAME_MARGIN, RADIUS, SHOULDER_HEIGHT
from portrait360.pipeline.portrait.crop import CropPadding, CropSquare, cut
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.utils.array_types import Floats
from portrait360.utils.image_ops import foreground
from portrait360.utils.images import Picture

MOST = 1.6  # how much a crop may be enlarged for hair and hats
REACH_PERCENTILE = 99.7  # per cent: ignores stray pixels of hair
CENTER_RADIUS = 0.15  # crop sides: solid pixels this close to the crop's centre belong to the head
HEAD_HALF_AXES = (0.21, 0.27, 0.25)  # canonical: ellipsoid that completes a head at the photo's edge
MAX_HAIR_SCALE = 1.4  # how much hair may enlarge the ellipsoid
EDGE_WIDTH = 0.02  # canonical: width of the soft edge of ellipsoid and body
MATTE_SIDE = 832  # pixels: the matted region is downscaled to this
FRAME_CONVEXITY = 0.95  # share of its hull that an opaque part fills if framed (heads on shoulders: 0.64 to 0.81)
GREY = 0.5  # replaces transparent pixels


Guess = Callable[[Floats, float, tuple[int, int]], tuple[Floats, Floats]]
"""Takes the corner of a part of the photo, its pixels per photo pixel, and its shape; returns alpha and a weight."""


@dataclass(frozen=True, eq=False)
class Matte:
    """A matte of a part of a photo, possibly downscaled."""

    values: Floats
    corner: tuple[float, float]  # of the part, in pixels of the photo
    scale: float  # pixels of the matte per pixel of the photo

    def cut(self, square: CropSquare, size: int, border: int) -> Floats:
        """Resample the matte to a square of the photo."""
        x, y = ((c - start) * self.scale for c, start in zip(square.corner, self.corner, strict=True))
        return cut(self.values, CropSquare((x, y), square.side * self.scale), size, border)


def picture_over_grey(picture: Picture) -> Floats:
    """Composite the picture over grey: transparent pixels may hide any colour."""
    if picture.alpha is None:
        return picture.rgb
    alpha = picture.alpha[..., None]
    return picture.rgb * alpha + GREY * (1 - alpha)


def downscale(values: Floats, side: int = MATTE_SIDE) -> tuple[Floats, float]:
    """Downscale an image to at most this side; return it and the scale factor."""
    scale = side / max(values.shape[:2])
    if scale >= 1:
        return values, 1.0
    small = cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32, copy=False), scale


def is_only_framed(alpha: Floats) -> bool:
    """Whether the alpha only frames a photo (rounded corners, a disc, a stray pixel) and cuts out no subject."""
    opaque = cv2.findNonZero((downscale(alpha)[0] > 0.5).astype(np.uint8))
    return opaque is not None and len(opaque) > FRAME_CONVEXITY * cv2.contourArea(cv2.convexHull(opaque))


def photo_matte(picture: Picture, square: CropSquare | None = None, guess: Guess | None = None) -> Matte:
    """Return the photo's own alpha, or the network's matte in and around the square, or of the whole photo.

    `guess` says what another network takes for the subject.
    """
    if picture.alpha is not None and not is_only_framed(picture.alpha):
        return Matte(picture.alpha, (0.0, 0.0), 1.0)
    height, width = picture.rgb.shape[:2]
    region = CropSquare((0.0, 0.0), float(max(height, width))) if square is None else square.scale(MOST)
    x, y = (int(np.clip(c, 0, n - 1)) for c, n in zip(region.corner, (width, height), strict=True))
    right, bottom = (
        int(np.clip(np.ceil(c + region.side), low + 1, n))
        for c, low, n in zip(region.corner, (x, y), (width, height), strict=True)
    )
    part, scale = downscale(picture.rgb[y:bottom, x:right])
    point = None if square is None else ((square.center[0] - x) * scale, (square.center[1] - y) * scale)
    if picture.alpha is None:
        second = None if guess is None else guess(np.array([x, y], np.float64), scale, part.shape[:2])
        values = find_matte(np.ascontiguousarray(part), point, second)
    else:  # otherwise the network may take a conspicuous frame for the subject
        frame = downscale(picture.alpha[y:bottom, x:right])[0]
        values = find_matte(foreground(part, frame), point) * frame
    return Matte(values, (float(x), float(y)), scale)


def crop_colours(picture: Picture, square: CropSquare, size: int) -> Floats:
    """Resample the colours of the crop; those of transparent pixels do not bleed into opaque ones."""
    if picture.alpha is None:
        return cut(picture.rgb, square, size)
    alpha = picture.alpha[..., None]
    cover = cut(picture.alpha, square, size)[..., None]
    rgb = cut(picture.rgb * alpha, square, size) / np.maximum(cover, 1 / 255)
    return np.where(cover > 1 / 255, np.clip(rgb, 0, 1), GREY).astype(np.float32)


def crop_scale_for_hair(matte: Matte, square: CropSquare, camera: Camera) -> float:
    """Return the factor, at least 1, by which to enlarge the square so that hair and hats fit into it."""
    size = 256
    x, y, height = _pixel_grid(size, MOST, camera)
    solid = (matte.cut(square.scale(MOST), size, cv2.BORDER_CONSTANT) > 0.5) & (height > SHOULDER_HEIGHT)
    _, pieces = cv2.connectedComponents(solid.astype(np.uint8))  # without shoulders: other people may touch them
    central = pieces[solid & (np.hypot(x, y) < CENTER_RADIUS)]
    subject = pieces == np.bincount(central).argmax() if len(central) else solid
    reach = np.maximum(abs(x), abs(y))[solid & subject]
    return float(np.clip(np.percentile(reach, REACH_PERCENTILE) / FRAME_MARGIN, 1, MOST)) if len(reach) else 1.0


def extend_matte(alpha: Floats, padding: CropPadding, camera: Camera, factor: float) -> Floats:
    """Extend the matte beyond the photo: the body to the crop's edge, the head to the size of a usual head."""
    x, y, height = _pixel_grid(padding.size, factor, camera)
    axes = camera.cam2world[:3, :2] * np.array(HEAD_HALF_AXES)[:, None]  # of the ellipsoid, in the camera's view
    (a, b), (_, c) = np.linalg.inv(axes.T @ axes) * (RADIUS / camera.focal) ** 2
    radius = np.sqrt(a * x * x + 2 * b * x * y + c * y * y)  # in half axes
    body = np.clip((SHOULDER_HEIGHT - height) / EDGE_WIDTH + 0.5, 0, 1)
    body[padding.spans[1][1] :] = 1  # a body cut by the photo's lower edge continues straight down
    solid = padding.edge & (alpha > 0.5) & (body == 0)
    scale = np.clip(radius[solid].max(initial=1), 1, MAX_HAIR_SCALE)  # enlarges the head to hair at the photo's edge
    head = np.clip((scale - radius) * min(HEAD_HALF_AXES) / EDGE_WIDTH + 0.5, 0, 1)
    edge_alpha = np.clip(3 * padding.repeat_edges(alpha) - 1.5, 0, 1)
    return np.where(padding.distance > 0, edge_alpha * np.maximum(head, body), alpha).astype(np.float32)


def is_below_neck(size: int, factor: float, camera: Camera) -> NDArray[np.bool_]:
    """Return where a crop that was enlarged by `factor` shows what lies lower than the shoulders."""
    return _pixel_grid(size, factor, camera)[2] < SHOULDER_HEIGHT


def _pixel_grid(size: int, factor: float, camera: Camera) -> tuple[Floats, Floats, Floats]:
    """Return x, y and the canonical height of the pixels of a crop that was enlarged by `factor`.

    x and y are measured from the centre, in sides of the original crop; the height is taken at the head's distance.
    """
    along = ((np.arange(size) + 0.5) / size - 0.5) * factor
    x, y = np.broadcast_arrays(along[None], along[:, None])
    height = (x * camera.cam2world[1, 0] + y * camera.cam2world[1, 1]) * RADIUS / camera.focal
    return x, y, height
