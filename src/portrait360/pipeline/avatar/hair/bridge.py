"""Let hair grow between the hairline of a style and that of the photo, at the temples, where neither is seen from it.

The photo shows hair beside the forehead, but not the skin behind that hair; a style may begin further back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

TRIED = 24000  # places on the skin
LOW, FRONT = 0.06, 0.01  # canonical: height and z above and before which temples lie
GAP = (1.6, 0.06)  # distances from the next root, in those between roots and canonical, that make a gap
FACING = 0.6  # cosine to the camera of skin that the photo does not see well: what it sees is covered as it shows
EARS = 0.05  # share of an ear
JOINED = 0.6  # share of its length after which a strand runs with the one that it takes after
FINE = 0.25  # share of its width that a strand has at its root: hair is finest at the hairline
HEIGHT = 0.003  # canonical; least height over the skin


def bridge_gap(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return strands for the skin at the temples that the photo's hair covers, and that no roots are near."""
    groups = [group for group in groups if len(group.points)]
    if not groups:
        return []
    group = max(groups, key=lambda each: len(each.points))
    tree = KDTree(group.points[:, 0])
    apart = float(np.median(tree.query(group.points[:, 0], k=2)[0][:, 1]))
    places = _find_covered(head, photo)
    away, nearest = tree.query(places)
    rows = np.flatnonzero((away > GAP[0] * apart) & (away < GAP[1]))
    _, first = np.unique(np.floor(places[rows] / (2 * apart)).astype(int), axis=0, return_index=True)
    rows = rows[first]
    if len(rows) == 0:
        return []
    donors = np.asarray(nearest)[rows]
    t = np.linspace(0, 1, group.points.shape[1])
    offset = places[rows] - group.points[donors, 0]
    points = group.points[donors] + (1 - smoothstep(0.0, JOINED, t))[None, :, None] * offset[:, None]
    points = np.asarray(head.field.push_out(points, np.full(points.shape[:2], HEIGHT)), np.float32)
    bridge = take_strands(group, donors, points)
    return [replace(bridge, widths=np.asarray(bridge.widths * np.minimum(FINE + 3 * t, 1), np.float32))]


def _find_covered(head: Head, photo: Photo) -> F32:
    """Return places on the skin of the temples (n, 3) that lie where the photo shows hair."""
    rng = np.random.default_rng(59)
    a, b, c = (head.body[column] for column in head.triangles.T)
    ears = head.mask("ears")[head.triangles].max(1)
    is_temple = (np.minimum(np.minimum(a[:, 1], b[:, 1]), c[:, 1]) > LOW) & (a[:, 2] > FRONT) & (ears < EARS)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * is_temple
    rows = rng.choice(len(area), TRIED, p=area / area.sum())
    share = rng.dirichlet([1.0, 1.0, 1.0], TRIED)
    places = share[:, :1] * a[rows] + share[:, 1:2] * b[rows] + share[:, 2:] * c[rows]
    facing = (head.field.gradient(places) * unit(photo.camera.position - places)).sum(-1)
    places = places[facing < FACING]
    uv = photo.camera.project(places)[0]
    x, y = np.clip((uv * photo.size).astype(int), 0, photo.size - 1).T
    return np.asarray(places[photo.shows(*HAIR)[y, x]], np.float32)
