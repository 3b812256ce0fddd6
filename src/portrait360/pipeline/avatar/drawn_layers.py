"""The layers of a flat drawing: one skin on which all is painted, and hair of few large locks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.painted_labels import FEATURES
from portrait360.synth.build import HeadGeometry
from portrait360.synth.sampling.parameters import Colour
from portrait360.synth.scene import Part, Scene, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label

SUNK = np.array([0.0, 0.0, 0.05], np.float32)  # canonical units by which eyes and teeth lie behind a painted face
LOCKS = 160  # of a head of hair
ANCHORS = 4  # points of a strand by which its lock is found
SEED = 23


def hide_features(geometry: HeadGeometry, tone: Colour) -> HeadGeometry:
    """Return a head of one skin of this tone, its eyes, lashes and teeth behind it, without brows of its own."""
    meshes = []
    for mesh in geometry.meshes:
        if mesh.part[0] == Part.EYES or mesh.labels is not None and (mesh.labels == Label.MOUTH).all():
            mesh = replace(mesh, vertices=mesh.vertices - SUNK)
        elif mesh.part[0] == Part.SKIN and mesh.labels is not None:
            of_face = np.isin(mesh.labels, (*FEATURES, Label.FACE))
            albedo = mesh.albedo.copy()
            albedo[mesh.triangles[of_face]] = tone
            mesh = replace(mesh, albedo=albedo, labels=np.where(of_face, np.uint8(Label.FACE), mesh.labels))
        meshes.append(mesh)
    strands = [s for s in geometry.strands if len(s.part) and s.part[0] not in (Part.EYES, Part.BROWS)]
    return replace(geometry, meshes=meshes, strands=strands)


def draw_locks(scene: Scene) -> Scene:
    """Return a scene whose hair has one colour across each lock, as brushes and pens leave it."""
    strands = (_draw_locks(group) if group.part[0] == Part.HAIR else group for group in scene.strands)
    return replace(scene, strands=tuple(strands))


def _draw_locks(group: Strands) -> Strands:
    count, k, _ = group.points.shape
    locks = min(LOCKS, count)
    at = np.linspace(0, k - 1, ANCHORS).round().astype(int)
    places = group.points[:, at].reshape(count, -1)
    middles = np.random.default_rng(SEED).choice(count, locks, replace=False)
    lock = KDTree(places[middles]).query(places)[1]
    return replace(group, albedo=_average(group.albedo, np.asarray(lock, np.intp), locks))


def _average(values: F32, lock: np.ndarray, locks: int) -> F32:
    """Return the mean of values (n, k, 3) over each lock."""
    total = np.zeros((locks, *values.shape[1:]))
    np.add.at(total, lock, values)
    return np.asarray(total / np.bincount(lock, minlength=locks)[:, None, None], np.float32)[lock]
