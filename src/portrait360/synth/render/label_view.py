"""What a camera sees of solid meshes and strands by label alone, without light and colours.

Searches that try many hairstyles on one head draw the head once, as a backdrop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer_kernels
from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import njit_fast, njit_fast_inline
from portrait360.synth.render.compositing import HAIR_LABEL, HIDDEN, LABELS, attenuate, unblocked_share
from portrait360.synth.render.fragments import draw_transparent
from portrait360.synth.render.mesh_buffers import OPAQUE
from portrait360.synth.render.numba_borrow import borrow
from portrait360.synth.render.pixel_shading import group_samples
from portrait360.synth.render.projection import project_strands, to_homogeneous
from portrait360.synth.render.renderer import SAMPLES, begin_fragments, draw_hair
from portrait360.synth.render.strand_buffers import flatten_paths
from portrait360.synth.scene import LABEL_OF_PART, Mesh, Strands
from portrait360.utils.array_types import F32, F64, I32, Bytes


class LabelView(NamedTuple):
    """The labels that a camera sees."""

    labels: Bytes  # (s, s) Label
    alpha: F32  # (s, s)
    flow: F32  # (s, s, 2) direction of the hair, see Rendering


class Faces(NamedTuple):
    """The triangles of all meshes."""

    points: F64  # (n, 3) homogeneous pixel coordinates
    opacity: F32  # (n,)
    triangles: I32  # (m, 3)
    material: Bytes  # (m,)
    part: Bytes  # (m,)
    labels: Bytes  # (m,)


@dataclass(frozen=True, eq=False)
class Backdrop:
    """Meshes as a camera sees them."""

    camera: Camera
    size: int
    faces: Faces
    clear: I32  # transparent triangles
    depth: F32  # (s, s, samples) of the solid ones
    ids: I32  # (s, s, samples) triangle, -1 for none

    def add(self, meshes: Sequence[Mesh]) -> Backdrop:
        """Return the backdrop with further meshes."""
        if not meshes:
            return self
        depth, ids, first = self.depth.copy(), self.ids.copy(), len(self.faces.triangles)
        faces = self.faces
        for mesh in meshes:
            faces = _join_faces(faces, mesh, self.camera, self.size)
        added = np.arange(first, len(faces.triangles), dtype=np.int32)
        is_clear = (faces.opacity[faces.triangles[first:]] < OPAQUE).any(1)
        rasterizer_kernels.draw(faces.points, faces.triangles, added[~is_clear], SAMPLES, depth, ids)
        return replace(self, faces=faces, clear=np.concatenate([self.clear, added[is_clear]]), depth=depth, ids=ids)

    def relabel(self, labels: Bytes) -> Backdrop:
        """Return the backdrop with other labels of its first triangles."""
        changed = np.concatenate([labels, self.faces.labels[len(labels) :]]).astype(np.uint8)
        return replace(self, faces=self.faces._replace(labels=changed))


def draw_backdrop(meshes: Sequence[Mesh], camera: Camera, size: int) -> Backdrop:
    """Draw meshes at `size` pixels, to see strands before them again and again."""
    shape = (size, size, len(SAMPLES))
    depth, ids = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32)
    none = np.zeros(0, np.uint8)
    faces = Faces(np.zeros((0, 3)), np.zeros(0, np.float32), np.zeros((0, 3), np.int32), none, none, none)
    return Backdrop(camera, size, faces, np.zeros(0, np.int32), depth, ids).add(meshes)


def _join_faces(faces: Faces, mesh: Mesh, camera: Camera, size: int) -> Faces:
    labels = LABEL_OF_PART[mesh.part] if mesh.labels is None else mesh.labels
    return Faces(
        np.concatenate([faces.points, to_homogeneous(mesh.vertices, camera, size)]),
        np.concatenate([faces.opacity, mesh.opacity]),
        np.concatenate([faces.triangles, mesh.triangles + np.int32(len(faces.points))]),
        np.concatenate([faces.material, mesh.material]),
        np.concatenate([faces.part, mesh.part]),
        np.concatenate([faces.labels, labels]),
    )


def see_labels(backdrop: Backdrop, strands: Sequence[Strands]) -> LabelView:
    """Return the labels that are seen of strands before and behind a backdrop, blended as `render_linear` does."""
    paths, size, faces = flatten_paths(tuple(strands)), backdrop.size, backdrop.faces
    positions, halves = project_strands(paths.points, paths.widths, backdrop.camera, size)
    f, far, blocks = begin_fragments(backdrop.depth)
    draw_transparent(faces.points, faces.triangles, backdrop.clear, faces.opacity, SAMPLES, far, f)
    directions = draw_hair(positions, halves, paths.segments, paths.ends, far, blocks, f)
    film = LabelView(
        np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32), np.zeros((size, size, 2), np.float32)
    )
    labels = paths.labels[paths.segments]
    resolve_labels(faces, labels, directions, backdrop.ids, backdrop.depth, f, film)
    return film


class Share(NamedTuple):
    """The working memory for one pixel."""

    groups: NDArray[np.int32]  # (s,) surface index of each sample, -1 for none
    clear: NDArray[np.float64]  # (s,) remaining transmittance of each sample, times its share of the pixel


@njit_fast_inline
def add_surface(labels, ids, p, g, weights):
    """Add what is left clear before one surface of a pixel to its label: that of the last of its triangles."""
    weight, last = 0.0, 0
    for s in range(ids.shape[0]):
        if p.groups[s] != g:
            continue
        weight += p.clear[s]
        is_first = True
        for q in range(s):
            if p.groups[q] == g and ids[q] == ids[s]:
                is_first = False
        if is_first:
            last = ids[s]
    weights[labels[last]] += weight


@njit_fast
def resolve_labels(faces, strand_labels, directions, ids, depth, f, film):
    """Fill the film from the solid samples ids, depth (h, w, s) and the fragments, as `compositing.resolve` does.

    `strand_labels` and `directions` are those of the segments.
    """
    height, width, count = ids.shape
    groups, clear, weights = np.empty(count, np.int32), np.empty(count), np.empty(LABELS)
    p = Share(borrow(groups), borrow(clear))
    faces, f, film, ids, depth = borrow(faces), borrow(f), borrow(film), borrow(ids), borrow(depth)
    for y in range(height):
        for x in range(width):
            surfaces, filled = group_samples(faces, ids[y, x], depth[y, x], p.groups), f.filled[y, x]
            if surfaces == 0 and filled == 0:
                continue
            p.clear[:] = 1.0 / count
            weights[:] = 0.0
            flow_x, flow_y, label = 0.0, 0.0, -1
            for n in range(filled):
                z, bits = f.depth[y, x, n], f.samples[y, x, n]
                share = unblocked_share(p, bits, z, depth[y, x])
                if share < HIDDEN:
                    continue
                source, cover = f.source[y, x, n], f.cover[y, x, n]
                label = strand_labels[source] if source >= 0 else faces.labels[-1 - source]
                weights[label] += share * cover
                if source >= 0 and label == HAIR_LABEL:
                    flow_x += share * cover * directions[source, 0]
                    flow_y += share * cover * directions[source, 1]
                attenuate(p, bits, z, depth[y, x], cover)
            dropped = 1.0 - f.behind[y, x]
            if label >= 0 and dropped > 0.0:  # they look like the last one
                z = f.depth[y, x, filled - 1]
                weights[label] += unblocked_share(p, 255, z, depth[y, x]) * dropped
                attenuate(p, 255, z, depth[y, x], dropped)
            for g in range(surfaces):
                add_surface(faces.labels, ids[y, x], p, g, weights)
            alpha = weights.sum()
            weights[0] = 1.0 - alpha
            film.alpha[y, x], film.labels[y, x] = min(alpha, 1.0), np.argmax(weights)
            strength = (flow_x * flow_x + flow_y * flow_y) ** 0.5
            if strength > 1e-6:
                film.flow[y, x, 0], film.flow[y, x, 1] = flow_x / strength, flow_y / strength
    groups[0], clear[0] = 0, 0.0  # as in `resolve`: what is only borrowed any more would be freed before the loops
