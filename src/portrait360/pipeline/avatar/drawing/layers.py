"""The layers of a flat drawing: one skin on which all is painted, and hair of few large locks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.drawing.painted_labels import FEATURES
from portrait360.pipeline.avatar.photo.exposure import FEW, HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.build import HeadGeometry
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.sampling.parameters import Colour
from portrait360.synth.scene import Part, Scene, Strands
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SUNK = np.array([0.0, 0.0, 0.05], np.float32)  # canonical units by which eyes and teeth lie behind a painted face
LOCKS = 160  # of a head of hair
TONE = 0.12  # standard deviation of their brightness, logarithm
LINE, INK = 0.22, 0.45  # share of a lock, from its edge, that is a drawn line, and how dark that is, logarithm
BROADER = 1.3  # strands, so that a lock is one surface
RING, RAGGED = (
    (46.0, 7.0),
    4.0,
)  # degrees of the ring of gloss above the horizon and of half its width, and of its teeth
GLOSSY, MOST = 0.93, 0.9  # quantile of the hair's brightness that is gloss, and how light that is at most, logarithm
DIM = 0.01  # radiance below which hair is black
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


def draw_locks(scene: Scene, gloss: float = 0.0) -> Scene:
    """Return a scene whose hair has one colour across each lock, as brushes and pens leave it.

    Locks differ a little in tone, dark lines part them, and a ring of `gloss` (logarithm) goes round the crown.
    """
    strands = (_draw_locks(group, gloss) if group.part[0] == Part.HAIR else group for group in scene.strands)
    return replace(scene, strands=tuple(strands))


def measure_gloss(photo: Photo) -> float:
    """Return by how much the gloss on drawn hair is lighter than the hair, logarithm."""
    light = photo.radiance[photo.shows(*HAIR)] @ LUMINANCE
    if len(light) < FEW:
        return 0.0
    usual, bright = np.quantile(np.log(np.maximum(light, 0) + DIM), (0.5, GLOSSY))
    return float(np.clip(bright - usual, 0, MOST))


def _draw_locks(group: Strands, gloss: float) -> Strands:
    count, k, _ = group.points.shape
    locks, rng = min(LOCKS, count), np.random.default_rng(SEED)
    at = np.linspace(0, k - 1, ANCHORS).round().astype(int)
    places = group.points[:, at].reshape(count, -1)
    middles = rng.choice(count, locks, replace=False)
    found = KDTree(places[middles]).query(places, k=min(2, locks))
    away, near = (np.asarray(values).reshape(count, -1) for values in found)
    lock, inner = near[:, 0].astype(np.intp), (away[:, -1] - away[:, 0]) / np.maximum(away.sum(1), 1e-6)
    line = INK * (1 - smoothstep(0.0, LINE, inner)) * (locks > 1)
    tone = rng.normal(0, TONE, locks)[lock] - line
    ring = tone[:, None] + gloss * _find_ring(group.points, rng.normal(0, 1, locks)[lock])
    albedo = _average(group.albedo, lock, locks)
    drawn = albedo * np.exp(ring)[..., None]
    drawn *= albedo.mean((0, 1)) / np.maximum(drawn.mean((0, 1)), 1e-6)
    return replace(group, albedo=drawn.astype(np.float32), widths=BROADER * group.widths)


def _find_ring(points: F32, shift: Floats) -> F32:
    """Return 1 on the ring of gloss about the crown (s, k), which the `shift` of each lock (s,) makes ragged."""
    off = points - HEAD_CENTRE
    height = np.degrees(np.arctan2(off[..., 1], np.hypot(off[..., 0], off[..., 2])))
    apart = np.abs(height - RING[0] - RAGGED * shift[:, None])
    return np.asarray(1 - smoothstep(0.5 * RING[1], RING[1], apart), np.float32)


def _average(values: F32, lock: np.ndarray, locks: int) -> F32:
    """Return the mean of values (n, k, 3) over each lock."""
    total = np.zeros((locks, *values.shape[1:]))
    np.add.at(total, lock, values)
    return np.asarray(total / np.bincount(lock, minlength=locks)[:, None, None], np.float32)[lock]
