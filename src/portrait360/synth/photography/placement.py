"""Move a cutout within the picture, and its labels, directions and normals with it.

An affine maps pixel (x, y) of the cutout to pixel (x, y) of the picture, integers being the centres of pixels:
mirror, turn clockwise, enlarge, shift. Beyond the cutout's edge its last row or column goes on, so that shoulders do
not end above the picture's lower edge.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.synth.photography.cutout import Cutout
from portrait360.synth.photography.fields import Generator, blur
from portrait360.synth.render.tone_mapping import srgb_to_linear
from portrait360.utils.array_types import F32, F64, Bytes

TOP_LEAVES = 0.15  # share of the pictures whose upper edge cuts the head
LARGEST_TURN = 12.0  # degrees
SMALLEST, LARGEST = 0.8, 1.3
LINEAR = srgb_to_linear(np.linspace(0, 1, 4096))  # a table, because powers are slow


class Placement(NamedTuple):
    affine: F64  # (2, 3)
    degrees: float  # clockwise, after the mirror
    flip: bool


class Layer(NamedTuple):
    """A placed cutout."""

    light: F32  # (s, s, 3) linear, times alpha
    alpha: F32  # (s, s)


def sample_placement(rng: Generator, cutout: Cutout, size: int) -> Placement:
    """Sample how the person stands in the picture; mostly the head is whole, and the shoulders are not."""
    degrees, flip = float(np.clip(rng.normal(0, 5), -LARGEST_TURN, LARGEST_TURN)), bool(rng.random() < 0.5)
    across, down = rng.normal(0, 0.07), rng.normal(0, 0.05)
    cut = rng.uniform(0.01, 0.13) if rng.random() < TOP_LEAVES else -rng.uniform(0.01, 0.06)
    zoom = rng.uniform(1.15 if cut > 0 else SMALLEST, LARGEST)  # what is high up must be large, to have a lower end
    side = len(cutout.alpha)
    affine = make_affine(side, size, flip, degrees, zoom, (across, down))
    outline = _find_outline(cutout.alpha)
    if len(outline):
        top = float((outline @ affine[:, :2].T + affine[:, 2])[:, 1].min()) / size
        foot = float(affine[1, 1] * side + affine[1, 2]) / size
        # cut the head, or leave room above it; and keep the gap below the cutout small if there is room above
        shift = -cut - top if cut > 0 or top < -cut else min(max(0.97 - foot, 0.0), 0.15)
        affine[1, 2] += shift * size
    return Placement(affine, degrees, flip)


def sample_bystander(rng: Generator, cutout: Cutout, size: int) -> Placement:
    """Sample where another person stands: behind or beside, near or far."""
    zoom, flip = float(np.exp(rng.uniform(np.log(0.3), np.log(1.6)))), bool(rng.random() < 0.5)
    shift = rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.6), rng.uniform(-0.2, 0.35)
    degrees = float(rng.normal(0, 5))
    return Placement(make_affine(len(cutout.alpha), size, flip, degrees, zoom, shift), degrees, flip)


def sample_neighbour(rng: Generator, cutout: Cutout, size: int) -> Placement:
    """Sample where someone stands beside the person, a little nearer to the camera, cut by the picture's edge."""
    zoom, flip = rng.uniform(0.9, 1.5), bool(rng.random() < 0.5)
    shift = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 0.7), rng.uniform(-0.05, 0.35)
    degrees = float(rng.normal(0, 5))
    return Placement(make_affine(len(cutout.alpha), size, flip, degrees, zoom, shift), degrees, flip)


def make_affine(side: int, size: int, flip: bool, degrees: float, zoom: float, shift: tuple[float, float]) -> F64:
    """Return the affine (2, 3) from a cutout of this side about its middle; the shift is in picture sides."""
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = zoom * size / side * rotation @ np.diag([-1.0 if flip else 1.0, 1.0])
    middle = 0.5 * (size - 1) + np.array(shift) * size
    return np.column_stack([linear, middle - linear @ np.full(2, 0.5 * (side - 1))])


def _find_outline(alpha: F32) -> F64:
    """Return the uppermost pixel (x, y) of every eighth column."""
    columns = alpha[:, ::8] > 0.5
    found = columns.any(0)
    return np.stack([8 * np.flatnonzero(found), columns.argmax(0)[found]], -1).astype(np.float64)


def measure_scale(affine: F64) -> float:
    return float(np.hypot(affine[0, 0], affine[1, 0]))


def warp(values: F32, affine: F64, size: int) -> F32:
    """Warp values linearly; smooth first where they shrink."""
    scale = measure_scale(affine)
    if scale < 0.95:
        values = blur(values, 0.42 * float(np.sqrt(1 / scale**2 - 1)))
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(values, affine, (size, size), flags=flags, borderMode=border), np.float32)


def warp_colours(cutout: Cutout, affine: F64, size: int) -> Layer:
    weight = cutout.alpha[..., None]
    light = np.take(LINEAR, (cutout.rgb * (len(LINEAR) - 1) + 0.5).astype(np.uint16))
    values = warp(np.concatenate([light * weight, weight], -1), affine, size)
    return Layer(np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3]))


def warp_labels(labels: Bytes, affine: F64, size: int) -> Bytes:
    """Give each pixel the label that covers most of it."""
    kinds = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    most, chosen = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    shrink = 0.42 * float(np.sqrt(max(1 / measure_scale(affine) ** 2 - 1, 0)))
    for kind in kinds:
        cover = (labels == kind).view(np.uint8) * np.uint8(255)
        if shrink > 0.15:
            cover = cv2.GaussianBlur(cover, (0, 0), shrink)
        cover = cv2.warpAffine(cover, affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cv2.copyTo(np.full_like(chosen, kind), cv2.compare(cover, most, cv2.CMP_GT), chosen)
        most = cv2.max(most, cover)
    return chosen


def turn_flow(flow: F32, degrees: float, flip: bool) -> F32:
    """Turn directions given as cos and sin of twice their angle, and bring them to length 1, or 0 where undecided."""
    twice = 2 * np.radians(degrees)
    c, s = flow[..., 0], -flow[..., 1] if flip else flow[..., 1]
    turn = np.float32(np.cos(twice)), np.float32(np.sin(twice))
    return _normalise(np.dstack([c * turn[0] - s * turn[1], c * turn[1] + s * turn[0]]))


def turn_normals(normals: F32, degrees: float, flip: bool) -> F32:
    """Turn normals about the camera's axis after the mirror, and bring them to length 1, or 0 where undecided."""
    turn = np.radians(degrees)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x, y, z = (normals[..., i] for i in range(3))
    x = -x if flip else x
    return _normalise(np.dstack([x * cosine - y * sine, x * sine + y * cosine, z]))


def _normalise(vectors: F32) -> F32:
    length = np.sqrt(np.einsum("...i,...i", vectors, vectors))
    return vectors * np.where(length > 0.3, 1 / np.maximum(length, 0.3), 0)[..., None].astype(np.float32)
