"""Hair out of order: tousled, blown aside by the wind, with loose single strands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.hair.face_guard import covers_face
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32

NEAREST = 0.008  # canonical; how close to the skin hair that was further off may come
MOST_LOOSE = 0.04  # share of the strands that can be loose


def stir(head: Head, points: F32, parameters: HeadParameters, freedom: float = 1.0) -> F32:
    """Tousle strands and blow them aside; those that would then hang in the face stay as they are."""
    hair = parameters.hair
    if len(points) == 0 or (hair.messy <= 0 and hair.wind == 0):
        return points
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)[:, None, None]
    t = np.linspace(0, 1, points.shape[1])[None, :, None]
    shift = np.zeros(points.shape)
    if hair.messy > 0:
        flat = points.reshape(-1, 3)
        wild = [noise(flat, 13.0, parameters.seed + 51 + a, 2).reshape(points.shape[:2]) - 0.5 for a in range(3)]
        shift += 1.1 * hair.messy * np.minimum(length, 0.22) * t * np.stack(wild, -1)
    shift += _blow(points, length, t, hair.wind)
    if freedom < 1:  # both ends hold
        shift *= freedom * np.sin(np.pi * t)
    moved = _bend(points, points + shift) if freedom == 1 else points + shift
    moved = head.field.push_out(moved, np.clip(head.field.distance(points), -1.0, NEAREST))
    moved[:, 0] = points[:, 0]
    hangs = covers_face(head, moved) & ~covers_face(head, points)
    return np.where(hangs[:, None, None], points, moved).astype(np.float32)


def _blow(points: F32, length: np.ndarray, t: np.ndarray, wind: float) -> np.ndarray:
    """Return how far the wind carries every point: aside, up and back."""
    gust = 0.8 + 0.4 * noise(points[:, 0], 12.0, 61)[:, None, None]
    lee = smoothstep(-0.12, 0.08, points[..., :1] * np.sign(wind))  # the head shelters the other side
    carry = np.minimum(length, 0.36) * t**1.5 * gust * (0.45 + 0.55 * lee)
    return carry * np.array([0.75 * wind, 0.22 * abs(wind), -0.45 * abs(wind)])


def _bend(points: F32, goal: np.ndarray) -> np.ndarray:
    """Give strands the directions of the goal and keep their lengths."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2, keepdims=True)
    way = np.cumsum(unit(np.diff(goal, axis=1)) * steps, axis=1)
    return np.concatenate([points[:, :1], points[:, :1] + way], axis=1)


def loosen(head: Head, groups: list[Strands], parameters: HeadParameters) -> list[Strands]:
    """Return thin single strands that leave the outline of these groups."""
    rng = np.random.default_rng([parameters.seed, 71])
    return [_loosen_group(head, group, parameters.hair.flyaway, rng) for group in groups]


def _loosen_group(head: Head, group: Strands, amount: float, rng: np.random.Generator) -> Strands:
    count = int(np.ceil(MOST_LOOSE * amount * len(group.points)))
    rows = rng.choice(len(group.points), min(count, len(group.points)), replace=False)
    points = group.points[rows].astype(np.float64)
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)[:, None, None]
    t = np.linspace(0, 1, points.shape[1])[None, :, None]
    reach = rng.gamma(2.0, 0.009, (len(rows), 1, 1)) * np.minimum(length / 0.18, 1) * (0.6 + 0.8 * amount)
    away = unit(head.field.gradient(points) + np.array([0, 0.25, 0]))
    aside = rng.normal(0, 0.6, (len(rows), 1, 3)) * t + rng.normal(0, 0.35, (len(rows), 1, 3)) * np.sin(4 * t)
    points = points + reach * (1 - (1 - t) ** 2) * (1.2 * away + aside)
    points = head.field.push_out(points, np.clip(head.field.distance(group.points[rows]), -1.0, NEAREST))
    keep = ~covers_face(head, points.astype(np.float32))
    rows = rows[keep]
    return replace(
        group,
        points=points[keep].astype(np.float32),
        widths=(group.widths[rows] * 0.2).astype(np.float32),
        albedo=np.minimum(group.albedo[rows] * 1.08, 0.72).astype(np.float32),
        part=group.part[rows],
        material=group.material[rows],
        normals=None if group.normals is None else group.normals[rows],
    )
