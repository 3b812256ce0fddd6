"""Bend the strands that a photo does not show as those that it shows: locks side by side take the same bends.

A style combs hair evenly from its whorl. What makes it hair are locks that leave that way, close up and part again.
How far they do is read in the photo: by how far its hair runs aside of its own broad direction.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE, shrink
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.image_ops import smoothstep

FINE, LOCK, BROAD = 0.003, 0.010, 0.06  # canonical: blurs of the picture, of the direction of locks, and of hair
FEWEST, PURE = 400, 0.9  # pixels of pure hair
STRAIGHT, MOST = 0.16, 0.85  # radians by which straight hair runs aside, by what noise there is; most of bends
GAIN = 10.0  # of bends in the hair against those, by the spread of noise
WAYS = 15.0  # bends per canonical unit, and as many again half as long
ACROSS = 0.5  # share of the bends that leave the surface: one lock lies over the other
FREE = (0.11, 0.01)  # z before which hair stays as the photo shows it, and behind which it bends fully
ROOT = (0.005, 0.045)  # canonical way from the root over which hair comes to bend
STEP, MOST_POINTS = 0.010, 20  # canonical length of a step of strands that bend, and points of one
CURL, UNCURLED = 0.02, 0.7  # canonical length of a curl, and how far those of single strands are drawn out
NEAREST = 0.006  # canonical; how close to the skin hair may come


def measure_bends(photo: Photo) -> float:
    """Return by how much hair bends (radians), beyond what straight hair seems to; 0 of what tells nothing."""
    hair = shrink(photo.shows(*HAIR) & (photo.pure > PURE), 3)
    if photo.painted or hair.sum() < FEWEST:
        return 0.0
    pixels = photo.camera.focal / photo.camera.radius * photo.size
    light = np.log(np.maximum(photo.radiance, 0).mean(-1) + 0.01).astype(np.float32)
    light = cv2.GaussianBlur(light, (0, 0), FINE * pixels)
    locks, total = comb(light, hair, LOCK * pixels)
    broad = cv2.GaussianBlur(locks / (total + 1e-4)[..., None], (0, 0), BROAD * pixels)
    turn = np.arctan2(*np.moveaxis(locks[hair], -1, 0)) - np.arctan2(*np.moveaxis(broad[hair], -1, 0))
    aside = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) / 2
    sure = np.hypot(*np.moveaxis(locks[hair], -1, 0)) / (total[hair] + 1e-6)
    return float(np.clip(np.average(aside, weights=sure + 1e-9) - STRAIGHT, 0, MOST - STRAIGHT))


def comb(light: F32, hair: Bools, blur: float) -> tuple[F32, F32]:
    """Return twice the angle of the hair as a vector (s, s, 2), as long as locks are clear, and their greatest."""
    across, down = cv2.Scharr(light, cv2.CV_32F, 1, 0), cv2.Scharr(light, cv2.CV_32F, 0, 1)
    products = np.stack([across * across - down * down, 2 * across * down, across * across + down * down], -1)
    products = np.asarray(cv2.GaussianBlur(products * hair[..., None].astype(np.float32), (0, 0), blur), np.float32)
    return products[..., :2], products[..., 2]


def bend_locks(group: Strands, head: Head, bends: float, seed: int) -> Strands:
    """Return strands that bend by so many radians where the photo does not show them."""
    if bends <= 0 or len(group.points) == 0:
        return group
    group = _uncurl(add_points(group, min(round(find_length(group) / STEP) + 1, MOST_POINTS)))
    points = group.points.astype(np.float64)
    steps = np.diff(points, axis=1)
    middle = (points[:, 1:] + points[:, :-1]) / 2
    along = (measure_along(group.points)[:, 1:] + measure_along(group.points)[:, :-1]) / 2
    size = GAIN * bends * smoothstep(*FREE, middle[..., 2]) * smoothstep(*ROOT, along)
    flat = middle.reshape(-1, 3).astype(np.float32)
    aside, over = (size * (noise(flat, WAYS, seed + 101 + a, 2) - 0.5).reshape(size.shape) for a in range(2))
    tangent, outward = unit(steps), unit(middle - HEAD_CENTRE)
    across = unit(np.cross(tangent, outward))
    turned = np.cos(aside)[..., None] * tangent + np.sin(aside)[..., None] * across
    turned = unit(turned + (ACROSS * over)[..., None] * outward)
    way = np.cumsum(turned * np.linalg.norm(steps, axis=2, keepdims=True), axis=1)
    moved = np.concatenate([points[:, :1], points[:, :1] + way], axis=1)
    moved = head.field.push_out(moved, np.clip(head.field.distance(points), -1.0, NEAREST))
    moved[:, 0] = points[:, 0]
    return replace(group, points=np.asarray(moved, np.float32))


def find_length(group: Strands) -> float:
    """Return a length that three quarters of the strands do not exceed."""
    return float(np.quantile(measure_along(group.points)[:, -1], 0.75))


def _uncurl(group: Strands) -> Strands:
    """Return strands with less of their own curls behind: where each winds by itself, hair is felt from afar."""
    step = float(np.linalg.norm(np.diff(group.points, axis=1), axis=2).mean())
    axis = gaussian_filter1d(group.points, CURL / max(step, 1e-6), axis=1, mode="nearest")
    axis += group.points[:, :1] - axis[:, :1]
    share = smoothstep(*FREE, group.points[..., 2])[..., None]
    return replace(group, points=group.points + UNCURLED * share * (axis - group.points))


def add_points(group: Strands, target: int) -> Strands:
    """Return strands with at least this many points."""
    count = group.points.shape[1]
    if target <= count:
        return group
    position = np.linspace(0, count - 1, target)
    i = np.minimum(position.astype(int), count - 2)
    share = (position - i).astype(np.float32)

    def spread(values: F32) -> F32:
        part = share.reshape(-1, *(1,) * (values.ndim - 2))
        return np.asarray(values[:, i] * (1 - part) + values[:, i + 1] * part, np.float32)

    return replace(group, points=spread(group.points), widths=spread(group.widths), albedo=spread(group.albedo))
