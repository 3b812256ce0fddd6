"""Bring the skin's outline to where the photo shows it: ears, jaw, neck, a bald skull, and shoulders under cloth.

Vertices at the outline move in the picture's plane to the edge of the matte, where the photo's labels say that skin
or cloth ends there; a Laplacian spreads their moves over the rest.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import scipy.sparse as sp

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.geometry.surfaces.subdivision import mesh_laplacian
from portrait360.pipeline.avatar.photo.pixels import CLOTHES, SKIN, Photo
from portrait360.pipeline.avatar.skin.fit import SkinFit
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.utils.array_types import F64, Bools, Bytes, Floats
from portrait360.utils.image_ops import look_up
from portrait360.utils.sparse import factorise

ROUNDS = 4
SIZE = 512  # pixels in which the outline is drawn
RIM = 2.5  # pixels from the drawn outline at which a vertex belongs to it
REACH = (0.035, 0.25)  # crop sides that the head, and the shoulders, may move: those of who leans forward are high
STEPS = 121  # samples along the way to the matte's edge
INSIDE = 0.008  # crop sides within the edge at which its label is read
NECK = -0.30  # canonical height below which cloth may lie on the skin
CLOTH = 0.012  # canonical thickness of cloth
SMOOTH, HOLD, STIFF = 3.0, 0.6, 1e-3  # weights of the Laplacian, an outline vertex, and the move itself
KEPT = 0.4  # weight with which vertices of the face keep what the landmarks say
FACE_DEPTH = 0.06  # canonical depth before which skin belongs to the face


def fit_outline(fit: SkinFit, photo: Photo) -> SkinFit:
    """Return the fit with an offset that also meets the photo's outline."""
    model = load_morphable()
    base = model.skin.at(fit.shape, fit.expression)
    triangles = np.concatenate([model.quads[:, [0, 1, 2]], model.quads[:, [0, 2, 3]]]).astype(np.int32)
    laplacian = mesh_laplacian(model.quads, len(base))
    smooth = SMOOTH * (laplacian.T @ laplacian) + STIFF * sp.eye(len(base))
    low = (base + fit.offset)[:, 1] < NECK
    face = KEPT * ((base[:, 2] > FACE_DEPTH) & (base[:, 1] > NECK)).astype(np.float64)
    moved = np.zeros_like(base)
    for _ in range(ROUNDS):
        rows, wanted = find_outline_moves((base + fit.offset + moved).astype(np.float64), triangles, photo, low)
        weight = np.zeros(len(base))
        weight[rows] = HOLD
        target = np.zeros_like(base)
        target[rows] = moved[rows] + wanted
        moved = factorise(smooth + sp.diags(weight + face)).solve(weight[:, None] * target)
    return replace(fit, offset=(fit.offset + moved).astype(np.float32))


def find_outline_moves(vertices: F64, triangles: np.ndarray, photo: Photo, low: Bools) -> tuple[np.ndarray, F64]:
    """Return the vertices at the outline whose place the photo shows, and the moves (k, 3) that take them there.

    Cloth may lie on those that are `low` (n,), however far they have been moved up.
    """
    camera = photo.camera
    uv, depth = camera.project(vertices)
    normals = _image_normals(vertices, triangles, camera)
    rows = np.flatnonzero(_at_rim(vertices, triangles, uv, camera) & (np.linalg.norm(normals, axis=1) > 0.7))
    direction = normals[rows] / np.linalg.norm(normals[rows], axis=1, keepdims=True)
    distance, found = find_distance_to_edge(photo, uv[rows], direction, np.where(low[rows], REACH[1], REACH[0]))
    edge = uv[rows] + direction * (distance - INSIDE)[:, None]
    label = find_label_at(photo, edge)
    cloth = np.isin(label, CLOTHES) & low[rows]
    keep = found & (cloth | np.isin(label, SKIN))
    step = direction * distance[:, None] * (depth[rows] / camera.focal)[:, None]
    step -= direction * (CLOTH * cloth)[:, None]
    axes = camera.cam2world[:3, :2]
    return rows[keep], (step @ axes.T)[keep]


def _image_normals(vertices: F64, triangles: np.ndarray, camera: Camera) -> F64:
    """Return the part of each vertex normal that lies in the picture's plane (n, 2): x right, y down."""
    normals = rasterizer.vertex_normals(vertices, triangles)
    return (normals @ camera.cam2world[:3, :2]).astype(np.float64)


def _at_rim(vertices: F64, triangles: np.ndarray, uv: Floats, camera: Camera) -> Bools:
    """Return which vertices appear at the outline of the drawn skin."""
    drawn = (rasterizer.rasterise(vertices, triangles, camera, SIZE).ids >= 0).astype(np.uint8)
    padded = cv2.copyMakeBorder(drawn, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inner = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    inside = ((uv > 0) & (uv < 1)).all(1)
    x, y = (np.clip((uv[:, i] * SIZE).astype(int), 0, SIZE - 1) for i in (0, 1))
    return inside & (inner[y, x] <= RIM)


def find_distance_to_edge(photo: Photo, uv: Floats, direction: F64, reach: F64) -> tuple[F64, Bools]:
    """Return how far the matte's edge lies outwards (inwards: negative), and whether there is one in reach."""
    steps = np.linspace(-1, 1, STEPS)[None] * reach[:, None]
    places = uv[:, None] + direction[:, None] * steps[..., None]
    inside = look_up(photo.alpha, places) > 0.5
    known = (look_up(photo.known, places) > 0.5) & ((places > 0) & (places < 1)).all(-1)

    leaves = inside[:, :-1] & ~inside[:, 1:] & known[:, :-1] & known[:, 1:]
    middle = (steps[:, :-1] + steps[:, 1:]) / 2
    nearest = np.where(leaves, np.abs(middle), np.inf).argmin(1)
    return np.take_along_axis(middle, nearest[:, None], 1)[:, 0], np.asarray(leaves.any(1))


def find_label_at(photo: Photo, uv: Floats) -> Bytes:
    x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    return photo.labels[y, x]
