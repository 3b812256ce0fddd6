"""Fit a hat to a head as a star-shaped shell, and keep hair inside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter1d, median_filter

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.hats import HOOPS, Hat, change_hat, find_hat
from portrait360.synth.sampling.parameters import HatFit
from portrait360.synth.scene import Mesh, Strands
from portrait360.synth.wear.mantles import Mantle, fit_mantle
from portrait360.synth.wear.shells import RINGS, SPOKES, Shell, blur
from portrait360.utils.array_types import F32

AS_IT_IS = HatFit()
STEEPEST = -0.85  # lowest y of a unit vector; below it an open cover would spread over the shoulders


def fit_hat(head: Head, name: str, fit: HatFit = AS_IT_IS) -> Shell:
    """Fit the named hat to this head, worn as `fit` says."""
    hat = find_hat(name) if fit == AS_IT_IS else change_hat(find_hat(name), fit)
    if hat.drape is not None:
        return fit_mantle(head, hat)
    front, back = hat.front * HEAD_HEIGHT, hat.back * HEAD_HEIGHT
    if hat.opening is None:
        pole = unit(np.array([0.0, 0.40 * HEAD_HEIGHT * 2, -(front - back) * 0.75]))
        center = np.array([0, (front + back) / 2 + 0.004, -0.02])
    else:
        pole, center = unit(np.array([0, 0.35, -1.0])), np.array([0, -0.01, -0.02])
    across = np.array([1.0, 0, 0])
    if hat.tilt:
        c, s = np.cos(np.radians(hat.tilt)), np.sin(np.radians(hat.tilt))
        across, pole = np.array([c, -s, 0]), np.array([pole[0] * c + pole[1] * s, pole[1] * c - pole[0] * s, pole[2]])
    axes = np.stack([across, pole, np.cross(across, pole)]).astype(np.float32)
    turn = np.arange(SPOKES) / SPOKES * 2 * np.pi
    rim = _rim_across(hat, turn) if hat.opening is None else _rim_of_opening(hat, axes, turn)
    empty = np.zeros((RINGS, SPOKES), np.float32)
    cover = Shell(hat, center.astype(np.float32), axes, rim.astype(np.float32), empty, empty)
    share, turns = np.meshgrid(np.linspace(0, 1, RINGS), turn, indexing="ij")
    max_radius = 0.42 if hat.opening is None else 0.29  # a cover that goes below the chin must not hit the shoulders
    radius = head.field.radius(cover.center, cover.directions(share, turns), reach=max_radius)
    median_radius = median_filter(radius, (1, 5), mode="wrap")
    radius = np.minimum(radius, 1.12 * median_radius)  # suppress spikes at holes of the field behind large ears
    radius = np.maximum(radius, blur(radius, 1.2, 2.5))
    if _covers_ears(cover):
        radius = np.maximum(radius, np.minimum(_ear_radius(cover, head), 1.22 * radius))
    cover = replace(cover, head=radius.astype(np.float32))
    return replace(cover, outer=_profile(cover, share, turns).astype(np.float32))


def _ear_radius(cover: Shell, head: Head) -> np.ndarray:
    """Return how far out the ears extend (RINGS, SPOKES); the head's distance field excludes them."""
    points = head.body[head.mask("ears") > 0.4]
    distance, share, turn = cover.polar(points)
    radius = np.zeros((RINGS, SPOKES))
    inside = share < 0.93
    i = np.clip(np.round(share[inside] * (RINGS - 1)).astype(int), 0, RINGS - 1)
    j = np.round(turn[inside] / (2 * np.pi) * SPOKES).astype(int) % SPOKES
    np.maximum.at(radius, (i, j), distance[inside])
    wide = maximum_filter1d(maximum_filter1d(radius, 9, axis=0), 9, axis=1, mode="wrap")
    return blur(wide, 3.0, 3.0)  # cloth spans the hollows around an ear


def _covers_ears(cover: Shell) -> bool:
    """Return whether the cover may extend over the ears."""
    return cover.hat.opening is not None or cover.hat.cuff > 0 or cover.hat.wraps > 0


def _rim_across(hat: Hat, turn: np.ndarray) -> np.ndarray:
    """Return the rim of a cover whose pole is above: a plane, but for what the higher side comes down to be even."""
    higher = np.maximum(-np.sign(hat.tilt) * np.sin(turn), 0)
    return np.pi / 2 + 2 * np.radians(abs(hat.tilt)) * hat.even * higher**4


def _rim_of_opening(hat: Hat, axes: F32, turn: np.ndarray) -> np.ndarray:
    """Return the rim of a cover whose pole is at the back: an oval about the face, and down to the chest."""
    wide, high = np.radians(hat.opening or (0, 0))
    face = np.array([0, -0.06, 1.0])
    angle = np.linspace(0.3, np.pi, 240)[:, None]
    local = np.stack([np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1)
    world = local @ axes
    forward = unit(face)
    x = np.arctan2(world[..., 0], world @ forward)
    y = np.arctan2(world[..., 1] - forward[1] * (world @ forward), world @ forward)
    is_open = (x / wide) ** 2 + (y / high) ** 2 < 1
    is_open |= world[..., 1] < STEEPEST
    limit = np.radians(hat.lowest)
    first = np.where(is_open.any(0), angle[is_open.argmax(0), 0], limit)
    return gaussian_filter(np.minimum(first, limit), 1.5, mode="wrap")


def _profile(shell: Shell, share: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the outer radius of the cover (RINGS, SPOKES)."""
    hat = shell.hat
    min_radius = shell.head + hat.thick * HEAD_HEIGHT
    if hat.opening is not None:
        ridge = 0.6 + 0.4 * smoothstep(1.0, 0.6, share)
        fold = noise(shell.directions(share, turn).reshape(-1, 3), 5.0, 3, 2).reshape(share.shape) - 0.5
        return shell.head + HEAD_HEIGHT * (hat.thick * ridge + hat.folds * fold)
    angle = share * shell.rim
    wide = gaussian_filter(shell.head[-1] + hat.thick * HEAD_HEIGHT, 2, mode="wrap")
    high = shell.head[0].max() + (hat.rise + hat.thick) * HEAD_HEIGHT
    s, c = np.sin(np.minimum(angle, np.pi / 2)), np.maximum(np.cos(angle), 1e-6)  # below, cloth lies close
    spread = wide * (1 + hat.flare * smoothstep(0.0, 0.7, c))
    crown = ((s / spread) ** hat.power + (c / high) ** hat.power) ** (-1 / hat.power)
    across, along = np.sin(turn) * s, np.cos(turn) * s
    crown -= hat.pinch * HEAD_HEIGHT * np.exp(-((across / 0.22) ** 2)) * smoothstep(0.5, 0.95, c)
    if hat.pinch > 0:  # the dents in the front of a fedora
        crown -= (
            0.6
            * hat.pinch
            * HEAD_HEIGHT
            * np.exp(-(((np.abs(across) - 0.3) / 0.16) ** 2) - ((along - 0.45) / 0.2) ** 2)
        )
    out = np.maximum(crown, min_radius) if hat.power < 20 else crown
    if hat.folds:
        wave = np.abs(np.sin(9 * angle + 1.2 * np.sin(turn) + 0.8 * np.sin(2 * turn))) ** 0.7
        out = out + hat.folds * HEAD_HEIGHT * (wave - 0.5) * smoothstep(0.0, 0.25, share)
    return out


def cover_hair(shell: Shell, strands: list[Strands], name: str) -> list[Strands]:
    """Pull hair in below the cover, and drop strands that are entirely hidden."""
    if shell.hat.hides_hair:
        return []
    if isinstance(shell, Mantle):
        return shell.cover_hair(strands)
    visible = []
    for group in strands:
        distance, share, turn = shell.polar(group.points)
        is_covered = share < 1.0
        inner = shell.radius(shell.head, share, turn)
        max_radius = inner + (0.35 * shell.hat.thick + 0.05 * np.maximum(share - 1, 0) * 6) * HEAD_HEIGHT
        if shell.hat.hoop:
            is_covered = np.zeros_like(is_covered)
            max_radius = max_radius + 0.5 * _leave_band(shell, share, name) * HEAD_HEIGHT
        squeeze = np.where(share < 1.35, np.minimum(1.0, max_radius / np.maximum(distance, 1e-6)), 1.0)
        points = shell.center + (group.points - shell.center) * squeeze[..., None]
        is_visible = ~is_covered.all(1)
        if is_visible.any():
            normals = None if group.normals is None else group.normals[is_visible]
            visible.append(
                Strands(
                    points[is_visible].astype(np.float32),
                    group.widths[is_visible],
                    group.albedo[is_visible],
                    group.part[is_visible],
                    group.material[is_visible],
                    normals,
                )
            )
    return visible


def _leave_band(shell: Shell, share: np.ndarray, name: str) -> np.ndarray:
    """Return how far from a band around the head places lie, in shares of the angle to its rim."""
    if name in HOOPS:
        return np.abs(share - 0.92)
    half = 0.5 * shell.hat.band * HEAD_HEIGHT / float(shell.head[-1].mean()) / (np.pi / 2)
    return np.maximum(np.abs(share - 1 + half) - half - 0.02, 0)


def cover_meshes(shell: Shell, meshes: list[Mesh], name: str) -> list[Mesh]:
    """Drop hair buns and bands that would stick out of the hat."""
    if shell.hat.hoop or isinstance(shell, Mantle):
        return meshes
    return [mesh for mesh in meshes if (shell.polar(mesh.vertices)[1] > 1.05).all()]
