"""Eyeballs: each with a texture of its own and a pivot in its middle."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.export.avatar_glb.expression import Rig
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_glb.texture import encode
from portrait360.synth.head.eyes import RINGS, SPOKES
from portrait360.synth.meshes import grid, unit, vertex_normals
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.image_ops import look_up

SIDE = 256  # of the texture
KEEP_RINGS = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23, 26, 29])
STEP = 2  # of the spokes
GLOSS = 0.08  # roughness of the cornea


def is_eye(mesh: Mesh) -> bool:
    return bool(mesh.part[0] == Part.EYES) and len(mesh.vertices) == RINGS * SPOKES


def make_eye(mesh: Mesh, name: str, moves: dict[str, F32]) -> Piece:
    """Return an eyeball with fewer triangles than it has; its colours are in the texture of its name."""
    rows = (KEEP_RINGS[:, None] * SPOKES + np.arange(0, SPOKES, STEP)).ravel()
    columns = SPOKES // STEP
    triangles = grid(len(KEEP_RINGS), columns, closed=True)
    vertices = mesh.vertices[rows]
    triangles = triangles[(triangles < columns).sum(1) < 2][:, ::-1]  # the first ring is one point
    normals = -vertex_normals(mesh.vertices, mesh.triangles)  # eyeballs of the generator face inward
    normals[:SPOKES] = unit(normals[SPOKES : 2 * SPOKES].mean(0))
    ring, spoke = np.divmod(rows, SPOKES)
    radius, turn = 0.49 * ring / (RINGS - 1), 2 * np.pi * spoke / SPOKES
    uv = np.stack([0.5 + radius * np.cos(turn), 0.5 - radius * np.sin(turn)], 1).astype(np.float32)
    return Piece(
        name, Look(name, GLOSS, texture=name), vertices, normals[rows].astype(np.float32), triangles, uv,
        moves=moves, pivot=find_middle(mesh), sight=find_sight(mesh),
    )  # fmt: skip


def find_middle(mesh: Mesh) -> F32:
    """Return the middle (3,) of the sphere through an eyeball's back, where no cornea bulges."""
    points = mesh.vertices[RINGS // 2 * SPOKES :].astype(np.float64)
    rows = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    return np.linalg.lstsq(rows, (points**2).sum(1), rcond=None)[0][:3].astype(np.float32)


def find_sight(mesh: Mesh) -> F32:
    """Return the direction (3,) from the middle of an eyeball to its pupil."""
    return unit(mesh.vertices[:SPOKES].mean(0) - find_middle(mesh)).astype(np.float32)


def turn_eye(vertices: F32, middle: F32, rig: Rig, eye: str, name: str) -> F32:
    """Return how an eyeball's vertices (n, 3) move with the unit that turns it."""
    vector = find_turn(middle, rig, eye, name)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-6:
        return np.zeros_like(vertices)
    axis, arm = vector / angle, vertices - middle
    turned = arm * np.cos(angle) + np.cross(axis, arm) * np.sin(angle)
    turned += np.outer(arm @ axis, axis) * (1 - np.cos(angle))
    return (turned - arm).astype(np.float32)


def find_turn(middle: F32, rig: Rig, eye: str, name: str) -> F32:
    """Return the rotation vector (3,) by which a unit turns an eyeball about its middle, by least squares."""
    part, scale = rig.part(eye), rig.scale * HEAD_HEIGHT
    arms, moves = rig.fitted[part] - middle, rig.moves[rig.names.index(name), part]
    return np.cross(arms, moves).sum(0) / max(float((arms**2).sum()) * 2 / 3, 1e-9 * scale)


def draw_eye(colours: F32, *, linear: bool = True) -> Bytes:
    """Return the texture (SIDE, SIDE, 3) of an eyeball with these colours (RINGS * SPOKES, 3)."""
    y, x = (np.indices((SIDE, SIDE)) + 0.5) / SIDE - 0.5
    ring = np.clip(np.hypot(x, y) / 0.49, 0, 1) * (RINGS - 1)
    spoke = (np.arctan2(-y, x) / (2 * np.pi) % 1) * SPOKES
    polar = colours.reshape(RINGS, SPOKES, 3)
    polar = np.concatenate([polar[:, -1:], polar, polar[:, :1]], 1)
    square = np.zeros((SPOKES + 2, SPOKES + 2, 3), np.float32)
    square[:RINGS] = polar
    square[RINGS:] = polar[-1:]
    place = np.stack([spoke + 1.5, ring + 0.5], -1) / (SPOKES + 2)
    values = look_up(square, place)
    return np.rint(np.clip(encode(values) if linear else values, 0, 1) * 255).astype(np.uint8)
