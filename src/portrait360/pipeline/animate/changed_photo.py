"""What a photo still shows of a face that has moved: its relief moves with the skin, but for eyes and mouth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from portrait360.geometry import rasterizer
from portrait360.geometry.rasterizer import Buffers
from portrait360.pipeline.animate.moving_parts import Shift
from portrait360.pipeline.animate.neck import NeckTurn
from portrait360.pipeline.animate.openings import Openings
from portrait360.pipeline.avatar.photo.exposure import look_up_points
from portrait360.pipeline.avatar.photo.pixels import BEARD, SKIN, Photo
from portrait360.pipeline.avatar.view.relief import Relief
from portrait360.synth.render.compositing import Film
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32, I32, Bools, Bytes, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

SIDE = 256  # of the pictures that say what has moved
AROUND, SOFT = 0.008, 0.005  # picture sides by which an opening reaches further, and over which it ends
GAP = 0.05  # picture sides: lids and lips closed to one region
INSIDE = 0.3  # of a mask
STIFF = 0.03  # picture sides along hair, hats and cloth over which skin follows an expression less
STRETCHED = (1.7, 2.6)  # lids' lengths against those in the photo over which its skin gives way to that of the layers
EDGE = 0.004  # picture sides beside teeth and eyeballs over which a photo shows their blurred edge
TORN = 0.004  # canonical moves by which neighbouring pixels differ at an edge
LASHES = (Label.EYE, Label.FACE)
MOVING = (*SKIN, *BEARD)  # labels of what an expression moves


@dataclass(frozen=True, eq=False)
class PhotoOfFace:
    """The skin as the photo's camera sees it."""

    photo: Photo
    relief: Relief
    openings: F32  # (SIDE, SIDE, 3) where the photo shows eyes and mouth
    moves: F32  # (v,) how far vertices of the relief move with the skin
    inner: F32  # (s, s) where the photo shows eyeballs and the inside of the mouth
    eyes: F32  # (s, s) and eyeballs alone
    _rows: slice  # of the skin in the surface
    _triangles: I32
    _buffers: Buffers
    _nearest: NDArray[np.intp]  # (2, SIDE, SIDE) the pixel of skin nearest to each

    def find_changed(self, change: F32) -> F32:
        """Return where the photo no longer shows what is there (SIDE, SIDE), by the openings' change (3,)."""
        return np.asarray((self.openings * change).max(-1), np.float32)

    def find_turned(self, turned: F32) -> F32:
        """Return where the photo shows eyeballs that have turned (SIDE, SIDE), by how far each has (3,)."""
        side = (SIDE, SIDE)
        return self.find_changed(turned) * np.asarray(cv2.resize(self.eyes, side, interpolation=cv2.INTER_AREA))

    def move(self, shift: Shift, turn: NeckTurn, changed: F32) -> Relief:
        """Return the relief moved with the skin, without what has `changed`."""
        picture = rasterizer.interpolate(self._buffers, self._triangles, shift.surface[self._rows])
        picture = picture[self._nearest[0], self._nearest[1]]
        moves = look_up_points(picture, self.relief.uv) * self.moves[:, None]
        vertices = turn.bend(self.relief.vertices + moves)
        kept = 1 - look_up_points(changed, self.relief.uv) * (self.moves > 0)
        shift_of_all = np.asarray(vertices - self.relief.vertices, np.float32)
        return replace(
            self.relief, vertices=np.asarray(vertices, np.float64), shift=shift_of_all, kept=kept.astype(np.float32)
        )

    def find_torn(self, labels: Bytes, shift: F32, rest: Floats, opening: F32) -> F32:
        """Return where pixels (s, s) lie at the edge of lids and lips, of which each may have moved with the other.

        Args:
            labels: What a camera sees (s, s).
            shift: How far what a camera sees has moved (s, s, 3).
            rest: Where that was in the photo (s, s, 3).
            opening: How far lids and lips (3,) show something else than in the photo.
        """
        square = np.ones((3, 3), np.uint8)
        inside = cv2.dilate(np.isin(labels, (Label.EYE, Label.MOUTH)).astype(np.uint8), square) > 0
        step = (cv2.dilate(shift, square) - cv2.erode(shift, square)).max(-1)
        uv = self.photo.camera.project(rest)[0]
        return np.asarray((inside & (step > TORN)) * look_up(self.find_changed(opening), uv), np.float32)

    def find_lost(
        self, labels: Bytes, before: Bools, points: Floats, rest: Floats, opening: F32, turned: F32, stare: F32
    ) -> F32:
        """Return where the photo says nothing any more (s, s): it shows another part, or hardly any of this one.

        Args:
            labels: What a camera sees (s, s).
            before: Where it sees strands before the skin.
            points: Where that is (s, s, 3).
            rest: Where that was in the photo.
            opening: How far lids and lips (3,) show something else than in the photo.
            turned: How far eyeballs have turned (3,): lids and lashes that rest stay the photo's.
            stare: How far eyes (3,) are open wider: of a whole iris the photo shows a part.
        """
        uv = self.photo.camera.project(rest)[0]
        is_eye = (labels == Label.EYE) & ~before
        other = np.where(is_eye, 1 - look_up(self.eyes, uv), look_up(self.inner, uv))
        spread = _measure_spread(self.photo.camera.project(points)[0], uv)
        lids = look_up(self.openings[..., :2].max(-1), uv) * ~is_eye
        doubt = np.maximum(other, np.asarray(smoothstep(*STRETCHED, spread)) * lids)
        doubt = np.maximum(doubt, before & np.isin(labels, LASHES)) * look_up(self.find_changed(opening), uv)
        shown = np.where(is_eye, other, look_up(self.eyes, uv) * (before & np.isin(labels, LASHES)))
        doubt = np.maximum(doubt, shown * look_up(self.find_changed(turned), uv))
        doubt = np.maximum(doubt, is_eye * look_up(self.find_changed(stare), uv))
        return np.maximum(doubt, opening[2] * (labels == Label.MOUTH)).astype(np.float32)


def _measure_spread(now: Floats, rest: Floats) -> F32:
    """Return by how much skin is stretched, along the axis along which it is most."""
    out = []
    for axis in (0, 1):
        lengths = (np.linalg.norm(np.gradient(uv, axis=axis), axis=-1) for uv in (now, rest))
        long, short = (cv2.GaussianBlur(np.minimum(a, 0.05).astype(np.float32), (0, 0), 1.0) for a in lengths)
        out.append(long / np.maximum(short, 1e-6))
    return np.maximum(*out)


def make_photo_of_face(
    photo: Photo, relief: Relief, film: Film, skin: Mesh, first: int, openings: Openings
) -> PhotoOfFace:
    """Look at the skin with the photo's camera.

    Args:
        photo: The photo.
        relief: Its relief.
        film: A render of the layers at its camera.
        skin: The skin.
        first: Where its vertices begin in the surface of all meshes.
        openings: Eyes and mouth.
    """
    rows = slice(first, first + len(skin.vertices))
    buffers = rasterizer.rasterise(skin.vertices, skin.triangles, photo.camera, SIDE)
    masks = rasterizer.interpolate(buffers, skin.triangles, openings.masks[:, rows].T)
    nearest = ndimage.distance_transform_edt(buffers.ids < 0, return_distances=False, return_indices=True)
    x, y = (np.clip((relief.uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    moving = cv2.distanceTransform(np.isin(photo.labels, MOVING).astype(np.uint8), cv2.DIST_L2, 5)
    moves = np.asarray(smoothstep(0, STIFF * photo.size, np.asarray(moving, np.float32)), np.float32)[y, x]
    reach = 2 * round(EDGE * photo.size) + 1
    labels = cv2.resize(film.labels, (photo.size, photo.size), interpolation=cv2.INTER_NEAREST)
    inner = photo.shows(Label.EYE, Label.MOUTH) | np.isin(
        labels, (Label.EYE, Label.MOUTH)
    )  # readers take teeth for lips
    inner = cv2.dilate(inner.astype(np.float32), np.ones((reach, reach)))
    inner, eyes = (
        np.asarray(cv2.GaussianBlur(inner, (0, 0), EDGE * photo.size / 2), np.float32),
        photo.mask((Label.EYE,)),
    )
    pictures = np.stack([_fill_opening(masks[..., i] > INSIDE) for i in range(masks.shape[-1])], -1)
    seen = rows, skin.triangles, buffers, np.asarray(nearest)
    return PhotoOfFace(photo, relief, pictures, moves, inner, eyes, *seen)


def _fill_opening(mask: NDArray[np.bool_]) -> F32:
    """Return a soft mask of lids or lips together with what is between them."""
    width, reach = (2 * round(v * SIDE) + 1 for v in (GAP, AROUND))
    padded = np.pad(mask.astype(np.uint8), width)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)[width:-width, width:-width]
    wide = cv2.dilate(np.ascontiguousarray(closed), np.ones((reach, reach), np.uint8)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), SOFT * SIDE), np.float32)
