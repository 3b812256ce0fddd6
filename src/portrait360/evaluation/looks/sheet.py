"""What the looks of a head are judged by: the photo and views all around, all as the portrait reader sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.pipeline.reading.reading import read_picture
from portrait360.utils.array_types import Bools, Bytes, Floats
from portrait360.utils.images import over_grey
from portrait360.utils.portrait_labels import Label

AZIMUTHS = (0.0, 30.0, 60.0, 90.0, 180.0, 270.0, 300.0, 330.0)  # degrees: what was judged, too
SIZE = 256  # pixels of every picture
FOCAL = focal_from_fov(FOV)
SKIN = (Label.FACE, Label.SKIN, Label.EAR)
CORE = 64  # a region's core is as far from its edge as the picture's side divided by this

Read = Callable[[Floats], Bytes]  # a square picture -> the Label of every pixel
Render = Callable[[Camera, int], ProxyView]


@dataclass(frozen=True, eq=False)
class ReadView:
    """A picture of a head over grey, and its labels."""

    azimuth: float  # degrees
    rgb: Floats  # (s, s, 3) over grey
    alpha: Floats  # (s, s)
    labels: Bytes  # (s, s) Label; BACKGROUND outside the matte
    photo_share: Floats | None = None  # (s, s) 1 where the colour comes from the photo; None if nobody knows

    @property
    def size(self) -> int:
        return len(self.rgb)

    @property
    def turn(self) -> float:
        """The azimuth without its sign, at most 180."""
        return abs(float(azimuth_between(0, self.azimuth)))

    @cached_property
    def lab(self) -> Floats:
        """The picture in CIELAB, whose distances are those that people see."""
        return np.asarray(cv2.cvtColor(self.rgb.astype(np.float32), cv2.COLOR_RGB2Lab), np.float32)

    def shows(self, *labels: Label) -> Bools:
        return np.isin(self.labels, labels)

    def core(self, *labels: Label) -> Bools:
        """Return where these labels are, without what is near to their edge."""
        side = 2 * max(self.size // CORE, 1) + 1
        shown = cv2.copyMakeBorder(self.shows(*labels).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        return cv2.erode(shown, np.ones((side, side), np.uint8))[1:-1, 1:-1] > 0


@dataclass(frozen=True, eq=False)
class Sheet:
    photo: ReadView
    background: Floats  # (n, 3) colours of the photo beside the subject; few or none for a cut-out
    views: tuple[ReadView, ...]

    def near(self, low: float, high: float = 180.0) -> list[ReadView]:
        """List the views that are turned by so many degrees to either side."""
        return [view for view in self.views if low <= view.turn <= high]

    def at(self, azimuth: float) -> ReadView | None:
        """Return the view from this azimuth, if there is one."""
        return next((v for v in self.views if abs(float(azimuth_between(azimuth, v.azimuth))) < 1), None)


def read_labels(rgb: Floats) -> Bytes:
    """Return the reader's labels of a square picture, in its own size."""
    labels = read_picture(rgb).labels
    return np.asarray(cv2.resize(labels, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def read_view(
    azimuth: float, rgb: Floats, alpha: Floats, share: Floats | None = None, read: Read = read_labels
) -> ReadView:
    """Read a picture (s, s, 3) with its matte."""
    picture = over_grey(rgb, alpha).astype(np.float32)
    labels = np.where(alpha > 0.5, read(picture), np.uint8(Label.BACKGROUND))
    return ReadView(azimuth, picture, alpha, labels, share)


def make_sheet(
    portrait: Portrait, render: Render, azimuths: Sequence[float] = AZIMUTHS, read: Read = read_labels
) -> Sheet:
    """Render a head all around and read it; `render` is that of a proxy or an avatar."""
    views = []
    for azimuth in azimuths:
        view = render(Camera(look_at(azimuth), FOCAL), SIZE)
        views.append(read_view(azimuth, view.rgb, view.mask, view.visibility, read))
    return compose_sheet(portrait.rgb, portrait.alpha, portrait.camera.azimuth, views, read)


def compose_sheet(
    photo: Floats, alpha: Floats, azimuth: float, views: Sequence[ReadView], read: Read = read_labels
) -> Sheet:
    """Put a photo with its matte beside views; the photo is brought to the size of the views."""
    rgb, alpha = (shrink(values, views[0].size) for values in (photo, alpha))
    away = cv2.dilate(alpha, np.ones((5, 5), np.uint8)) < 0.1
    return Sheet(read_view(azimuth, rgb, alpha, read=read), rgb[away], tuple(views))


def shrink(values: Floats, size: int) -> Floats:
    return np.asarray(cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA), np.float32)
