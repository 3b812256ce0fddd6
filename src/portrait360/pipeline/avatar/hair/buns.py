"""Find buns and knots in a photo: masses of hair that stand off the head, and the ties that make them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair.outline import Frame, make_frame
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.hair.ties import CENTER
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.sampling.hairstyles import HairStyle, Tie, find_style
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.portrait_labels import Label

SIDE = 192
THICKEST = 0.055  # canonical thickness of hair that is gathered over the head
SMALLEST, LARGEST = 0.045, 0.16  # canonical radius of a mass
ROUND = (0.42, 0.55)  # least share of its enclosing circle that a mass fills: one of a pair, and one alone
LOWEST = 0.05  # canonical height over the frame's centre below which a mass is hanging hair
APART = 12.0  # degrees from the top from which a mass is at one side
BULGE = 0.62  # a bun's centre lies this share of its radius beyond its tie
TILTS = np.radians(np.arange(8.0, 66.0, 2.0))  # of a tie, behind the plane of the picture
HIDDEN = 0.12  # share of a mass's radius that is cut off where it leaves the head
LOOSE = 0.2  # how loose the loops of a bun are


@dataclass(frozen=True, eq=False)
class Mass:
    """A round mass of hair in the picture, in the frame's canonical units."""

    centre: F64  # (2,) to the right and up
    radius: float
    fill: float  # share of its enclosing circle
    area: np.ndarray  # (SIDE, SIDE) its pixels

    @property
    def angle(self) -> float:
        """Return degrees from the top, positive to the right."""
        return float(np.degrees(np.arctan2(*self.centre)))


def find_masses(photo: Photo, head: Head) -> tuple[Mass, ...]:
    """Return one mass on either side, or one on top, that stand off hair which lies flat elsewhere."""
    frame = make_frame(photo.camera)
    hair = photo.shows(Label.HAIR).astype(np.uint8)
    hair = cv2.resize(hair, (SIDE, SIDE), interpolation=cv2.INTER_AREA if photo.size > SIDE else cv2.INTER_NEAREST)
    scale = float(np.linalg.norm(frame.plane[0])) * SIDE  # pixels per canonical unit
    beyond = (hair > 0) & (_distance_from_head(head, frame) > THICKEST * scale)
    opened = cv2.morphologyEx(beyond.astype(np.uint8), cv2.MORPH_OPEN, _disc(0.02 * scale))
    count, areas = cv2.connectedComponents(opened)
    masses = [_measure(areas == i, frame, scale) for i in range(1, count)]
    masses = sorted((m for m in masses if m is not None), key=lambda m: -m.radius)
    left = [m for m in masses if m.angle < -APART][:1]
    right = [m for m in masses if m.angle > APART][:1]
    if left and right:
        return (left[0], right[0]) if 0.5 < left[0].radius / right[0].radius < 2 else ()
    return tuple(m for m in masses if abs(m.angle) <= APART and m.fill > ROUND[1])[:1]


def _distance_from_head(head: Head, frame: Frame) -> Floats:
    """Return how far in pixels each pixel lies from the skin."""
    is_skin = rasterise(head.body, head.triangles, frame.camera, SIDE).ids >= 0
    return np.asarray(cv2.distanceTransform((~is_skin).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _measure(area: np.ndarray, frame: Frame, scale: float) -> Mass | None:
    """Return the mass of these pixels; None if it is no round one above the ears."""
    rows, columns = np.nonzero(area)
    points = np.stack([columns, rows], -1).astype(np.float32) + 0.5
    _, enclosing = cv2.minEnclosingCircle(points)
    radius = np.sqrt(len(rows) / np.pi)
    centre = (points.mean(0) / SIDE - frame.centre) @ np.linalg.inv(frame.plane)
    fill = float(radius / max(enclosing, 1e-6)) ** 2
    if fill < ROUND[0] or not SMALLEST < radius / scale < LARGEST or centre[1] < LOWEST:
        return None
    # the part over flat hair belongs to the mass, too
    inwards = centre / max(float(np.linalg.norm(centre)), 1e-6) * HIDDEN * radius / scale
    return Mass(centre - inwards, float(radius / scale), fill, area)


def hide_masses(photo: Photo, masses: tuple[Mass, ...]) -> Photo:
    """Return the photo with what lies within these masses unknown."""
    if not masses:
        return photo
    area = np.logical_or.reduce([mass.area for mass in masses]).astype(np.uint8)
    area = cv2.dilate(area, np.ones((5, 5), np.uint8))
    area = cv2.resize(area, (photo.size, photo.size), interpolation=cv2.INTER_NEAREST) > 0
    return replace(photo, labels=np.where(area, np.uint8(VOID), photo.labels))


def make_tied_style(masses: tuple[Mass, ...], head: Head, photo: Photo, *, end: str) -> HairStyle:
    """Return the style whose ties make these masses."""
    frame = make_frame(photo.camera)
    ties = [_make_tie(mass, head, frame, end) for mass in masses]
    ties.sort(key=lambda tie: -tie.azimuth)  # the wearer's left comes first
    return replace(find_style("bun"), ties=tuple(ties))


def _make_tie(mass: Mass, head: Head, frame: Frame, end: str) -> Tie:
    """Return the tie whose bun appears where the mass does, tilted back as far as it takes."""
    towards = mass.centre / max(float(np.linalg.norm(mass.centre)), 1e-6)
    flat = np.outer(np.cos(TILTS), towards)
    directions = unit(np.column_stack([flat, -np.sin(TILTS)]) @ frame.axes).astype(np.float32)
    reach = head.field.radius(CENTER, directions) + 0.01 + BULGE * mass.radius
    places = np.stack(frame.locate(CENTER + directions * reach[:, None]), -1)
    best = directions[np.argmin(np.linalg.norm(places - mass.centre, axis=1))]
    azimuth, elevation = np.degrees(np.arctan2(best[0], best[2])), np.degrees(np.arcsin(best[1]))
    return Tie(round(float(azimuth), 2), round(float(elevation), 2), end, round(mass.radius / HEAD_HEIGHT, 4), LOOSE)
