"""The avatar's own light on its points, for files without lights, and how much of it hair keeps off."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.synth.render.hair_shading import ambient_light
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.render.mesh_buffers import AMBIENT, NORMAL
from portrait360.synth.render.tone_mapping import srgb_to_linear, tone_map
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32
from portrait360.utils.parallel.threads import count_threads

NEIGHBOURS = 12
BRIGHTEST, DARKEST = 0.9, 0.5  # quantile of light that counts as open, and the least share of it
MILD = 0.5  # power of that share: viewers' own lights darken what lies deep or below once more
DIMMEST, BRIGHT = 0.1, 1.5  # the range of that share where viewers add no light of their own


def find_irradiance(avatar: Avatar, mesh: Mesh) -> F32:
    """Return the light (n, 3) that a white surface would send back at the vertices of one of the avatar's meshes."""
    values = _find_surface(avatar, mesh)
    sky = np.zeros((len(values), 3), np.float32)
    ambient_light(avatar.prepared_scene.rig.sh, np.ascontiguousarray(values[:, NORMAL]), sky)
    return sky * values[:, AMBIENT] + _key_light(avatar, values[:, NORMAL])


def find_openness(avatar: Avatar, mesh: Mesh) -> F32:
    """Return the share (n, 1) of the sky that reaches the vertices of one of the avatar's meshes."""
    return _find_surface(avatar, mesh)[:, AMBIENT].mean(1, keepdims=True)


def _find_surface(avatar: Avatar, mesh: Mesh) -> F32:
    first = 0
    for other in avatar.scene.meshes:
        if other is mesh:
            return avatar.prepared_scene.surface.values[first : first + len(mesh.vertices)]
        first += len(other.vertices)
    raise ValueError("a mesh of another scene")


def _key_light(avatar: Avatar, normals: F32) -> F32:
    """Return the light (n, 3) of the lamps on these normals, without shadows."""
    rig = avatar.prepared_scene.rig
    return np.asarray(np.maximum(normals @ rig.directions.T, 0) @ rig.colours, np.float32)


class HairLight:
    """Light and colours among the avatar's strands of one part of the head.

    `shown` says that a viewer shows them as they are, and adds no light of its own.
    """

    def __init__(self, avatar: Avatar, part: Part, *, shown: bool = False) -> None:
        self._range, self._power = ((DIMMEST, BRIGHT), 1.0) if shown else ((DARKEST, 1.0), MILD)
        curves = avatar.prepared_scene.curves
        rows = (curves.part == part) & (curves.widths > 0)
        self._albedo = curves.albedo[rows]
        self._light = curves.diffuse[rows] / np.maximum(self._albedo, np.float32(1e-4)).astype(np.float32)
        self._tree = None  # made fast: there are many strands, and not many questions
        if rows.any():
            self._tree = KDTree(curves.points[rows], balanced_tree=False, compact_nodes=False)
        level = self._light @ LUMINANCE.astype(np.float32)
        self._open = float(np.quantile(level, BRIGHTEST)) if len(level) else 1.0

    def light_at(self, points: F32) -> F32:
        """Return the light (n, 3) at points beside strands."""
        return self._mean(self._light, points)

    def colour_at(self, points: F32) -> F32:
        """Return the albedo (n, 3) of the strands beside points."""
        return self._mean(self._albedo, points)

    @property
    def sky(self) -> F32:
        """The light (3,) of the open sky."""
        level = self._light @ LUMINANCE.astype(np.float32)
        return self._light[level >= self._open].mean(0) if len(level) else np.ones(3, np.float32)

    def openness(self, points: F32) -> F32:
        """Return the share (n, 1) of the open sky's light at points beside strands."""
        if self._tree is None:
            return np.ones((len(points), 1), np.float32)
        nearest = self._tree.query(points, workers=count_threads())[1]
        level = self._light[nearest] @ LUMINANCE.astype(np.float32)
        return (np.clip(level / max(self._open, 1e-6), *self._range) ** self._power).astype(np.float32)[:, None]

    def _mean(self, values: F32, points: F32) -> F32:
        """Return means (n, 3) of the strands beside points; of what lies among them the most open is seen."""
        if self._tree is None:
            return np.ones_like(points)
        found = self._tree.query(points, k=min(NEIGHBOURS, self._tree.n), workers=count_threads())[1]
        near = np.asarray(found).reshape(len(points), -1)
        weight = (self._light[near] @ LUMINANCE.astype(np.float32))[..., None] + np.float32(1e-6)
        return (values[near] * weight).sum(1) / weight.sum(1)


def show(radiance: F32) -> F32:
    """Return radiance (n, 3) as the sRGB colours that the avatar's renders have."""
    out = np.zeros((len(radiance), 1, 3), np.float32)
    tone_map(np.ascontiguousarray(radiance[:, None], np.float32), out)
    return out[:, 0]


def show_linear(radiance: F32) -> F32:
    """Return radiance (n, 3) as the linear colours that are shown for it."""
    return srgb_to_linear(show(radiance))
