"""A built head seen by a camera: colour, alpha, depth, normals and part labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.cameras import Camera
from portrait360.geometry import raster, raster_numba
from portrait360.synth import fragments, ink, tone
from portrait360.synth.composite import Film, resolve
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.scene import F32, U8, Scene
from portrait360.synth.seen import Eye
from portrait360.synth.surface import DEPTH, OPACITY, PLACE

# eight places in a pixel, no two in the same row or column, so that edges of every slope get eight levels
SAMPLES = (np.array([[9, 5], [7, 11], [13, 9], [5, 3], [3, 13], [1, 7], [11, 15], [15, 1]]) / 16.0).astype(np.float64)


@dataclass(frozen=True)
class Rendering:
    """One view; colours are straight (not premultiplied), empty pixels are 0 everywhere."""

    rgb: F32  # (size, size, 3) sRGB-encoded in [0, 1]
    alpha: F32  # (size, size)
    depth: F32  # (size, size) along the optical axis
    normals: F32  # (size, size, 3) unit, in the world
    parts: U8  # (size, size) Part


def render(scene: Scene | Prepared, camera: Camera, size: int) -> Rendering:
    """The view of a scene; prepare it once where many views of it are wanted."""
    film = expose(scene if isinstance(scene, Prepared) else prepare(scene), camera, size)
    rgb = np.zeros_like(film.radiance)
    tone.develop(film.radiance, rgb)
    return Rendering(rgb, film.alpha, film.depth, film.normals, film.parts)


def expose(prepared: Prepared, camera: Camera, size: int) -> Film:
    """The view in linear light, before it is developed into a picture."""
    values = prepared.surface.values.copy()  # two threads may render the same head
    if prepared.outline > 0:
        ink.push_hull(values, camera, prepared.outline)
    points = raster.homogeneous(values[:, PLACE], camera, size, size)
    values[:, DEPTH] = points[:, 2]
    surface = prepared.surface._replace(values=values)
    depth = np.full((size, size, len(SAMPLES)), np.inf, np.float32)
    ids = np.full((size, size, len(SAMPLES)), -1, np.int32)
    raster_numba.draw(points, surface.triangles, prepared.solid, SAMPLES, depth, ids)
    if prepared.outline > 0:
        hull = prepared.solid + np.int32(len(surface.triangles) // 2)
        hull = ink.turned_away(values, surface.triangles, hull, camera.position)
        raster_numba.draw(points, surface.triangles, hull, SAMPLES, depth, ids)
    f = _partial_cover(prepared, points, depth, camera, size)
    film = _empty_film(size)
    eye = Eye(camera.position, 1.0 / (camera.focal * size))
    rig, shadows = prepared.rig, prepared.shadows
    resolve(surface, points, prepared.curves, rig, shadows, eye, SAMPLES, ids, depth, f, film)
    return film


def _partial_cover(
    prepared: Prepared, points: raster.F64, depth: F32, camera: Camera, size: int
) -> fragments.Fragments:
    """Strands and clear triangles that are not hidden by what is solid."""
    surface, curves = prepared.surface, prepared.curves
    f = fragments.empty_fragments(size, size)
    blocks = -(-size // fragments.BLOCK)
    far, coarse = np.empty((size, size), np.float32), np.empty((blocks, blocks), np.float32)
    fragments.farthest(depth, far, coarse)
    fragments.draw_clear(points, surface.triangles, prepared.clear, surface.values[:, OPACITY], SAMPLES, far, f)
    places = raster.homogeneous(curves.points, camera, size, size)
    z = np.maximum(places[:, 2:], raster_numba.NEAR)
    places[:, :2] /= z
    halves = curves.widths * (0.5 * camera.focal * size) / z[:, 0]
    if prepared.outline > 0:
        ink.draw_hair_ink(places, halves, curves.segments, prepared.outline * size, far, coarse, f)
    order = np.argsort(z[curves.segments, 0].astype(np.float32))
    fragments.draw_strands(places, halves, curves.segments, curves.ends, order, far, coarse, f)
    return f


def _empty_film(size: int) -> Film:
    return Film(
        np.zeros((size, size, 3), np.float32),
        np.zeros((size, size), np.float32),
        np.zeros((size, size), np.float32),
        np.zeros((size, size, 3), np.float32),
        np.zeros((size, size), np.uint8),
    )
