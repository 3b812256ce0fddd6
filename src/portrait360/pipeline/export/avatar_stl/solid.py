"""The solid of an avatar: skin, eyes, teeth and what is worn, and hair as a mass, in one closed surface."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from portrait360.geometry.surfaces.surface_nets import surface_nets
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_glb.bust import FLOOR
from portrait360.pipeline.export.avatar_stl.carving import BAND, carve, make_block
from portrait360.pipeline.export.avatar_stl.hair_mass import fill_hair
from portrait360.pipeline.export.units import METRES
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Part
from portrait360.utils.array_types import F32, F64, I32

CELL = 1.5e-3  # metres
SEEN_THROUGH = 0.9  # opacity below which a thing is not printed
SLAB = 0.02  # canonical height over the floor within which the outline of the base is found
THICK = 0.005  # canonical; of cloth, which as a sheet would be carved away from both sides
SMOOTH = 0.7  # cells: takes the steps of pixels away, and no eyelid
APART = 0.96  # share of the way to the side of its cell that a vertex goes at most, lest two of them coincide
TAUBIN, PASSES = (0.5, -0.52), 5  # of smoothing: shares by which vertices move, and how often
ON_BASE = 0.7  # cells above the base up to which a vertex belongs to it
ROUNDS = 40  # of filling cells that only touch at an edge
HAIR = (Part.HAIR, Part.BEARD)


def make_solid(avatar: Avatar, *, detail: float = 1.0) -> tuple[F32, I32]:
    """Return vertices (n, 3) in metres and triangles of a closed surface, which stands on the plane y = 0.

    `detail` is the number of triangles, against the usual one.
    """
    vertices, triangles = merge_meshes(avatar)
    groups = [g for g in avatar.scene.strands if g.part[0] in HAIR and len(g.points) and g.widths.max() > 0]
    tips = [g.points.reshape(-1, 3) for g in groups]
    every = np.concatenate([vertices[np.unique(triangles)], *tips])
    low, high = every.min(0), every.max(0)
    low[1] = FLOOR
    block = make_block(low, high, CELL / METRES / detail**0.5)
    values = carve(vertices, triangles, block)
    hair = fill_hair(groups, block)
    if hair is not None:
        np.minimum(values, hair, out=values)
    values = np.asarray(gaussian_filter(values, SMOOTH), np.float32)
    height = (FLOOR - block.points(1)) / block.cell + 0.5
    np.maximum(values, np.clip(height, -BAND, BAND)[None, :, None], out=values)
    fill_edges(values)
    corners, faces = surface_nets(values)
    middle = np.floor(corners) + 0.5
    corners = middle + APART * (corners - middle)
    faces = keep_largest(faces, len(corners))
    used, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3).astype(np.int32)
    places = (block.low + corners[used] * block.cell) * METRES
    return even_out(places - [0, places[:, 1].min(), 0], faces), faces


def even_out(vertices: F64, faces: I32) -> F32:
    """Return vertices (n, 3) without the traces of the grid (Taubin 1995), still on or above the plane y = 0."""
    ends = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    graph = sp.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (len(vertices),) * 2)
    mean = sp.diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph
    low = vertices[:, 1] < ON_BASE * CELL
    out = vertices
    for share in TAUBIN * PASSES:
        out = out + share * (mean @ out - out)
    out[low, 1] = vertices[low, 1]
    return np.maximum(out, [-np.inf, 0, -np.inf]).astype(np.float32)


def merge_meshes(avatar: Avatar) -> tuple[F32, I32]:
    """Return all meshes of an avatar as one that is closed below."""
    vertices, triangles, first = [], [], 0
    for mesh in avatar.scene.meshes:
        if len(mesh.triangles) and mesh.opacity.min() > SEEN_THROUGH:
            sheets = [mesh.vertices]
            if mesh.part[0] == Part.CLOTHES:
                sheets.append(mesh.vertices - np.float32(THICK) * vertex_normals(mesh.vertices, mesh.triangles))
            for sheet in sheets:
                vertices.append(sheet)
                triangles.append(mesh.triangles + first)
                first += len(sheet)
    points = np.concatenate(vertices)
    shown = points[np.unique(np.concatenate(triangles))]
    rim = shown[np.abs(shown[:, 1] - FLOOR) < SLAB][:, [0, 2]]
    rim = shown[:, [0, 2]] if len(rim) < 8 else rim
    outline = rim[ConvexHull(rim).vertices]
    disc = np.stack([outline[:, 0], np.full(len(outline), FLOOR), outline[:, 1]], 1)
    fan = np.stack([np.zeros(len(disc) - 2), np.arange(1, len(disc) - 1), np.arange(2, len(disc))], 1) + first
    return np.concatenate([points, disc]).astype(np.float32), np.concatenate([*triangles, fan]).astype(np.int32)


def fill_edges(values: F32) -> None:
    """Fill where cells touch only at an edge, in place: four sides of the surface would meet there."""
    inside = values < 0
    for _ in range(ROUNDS):
        before = int(inside.sum())
        for axis in range(3):
            _fill_edges(np.moveaxis(inside, axis, 0))
        if int(inside.sum()) == before:
            break
    values[inside & (values >= 0)] = -0.05


def _fill_edges(inside: np.ndarray) -> None:
    """Fill squares (n, b, c), of which two corners that face each other are inside, in place."""
    corners = (inside[:, :-1, :-1], inside[:, :-1, 1:], inside[:, 1:, :-1], inside[:, 1:, 1:])
    a, b, c, d = corners
    crossed = (a == d) & (b == c) & (a != b)
    if crossed.any():
        for corner in corners:
            corner |= crossed


def keep_largest(faces: I32, count: int) -> I32:
    """Return the triangles of the largest piece, of `count` vertices: the others are crumbs, or hollows in it."""
    ends = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = sp.csr_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), (count, count))
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    return np.ascontiguousarray(faces[piece == np.bincount(piece).argmax()])
