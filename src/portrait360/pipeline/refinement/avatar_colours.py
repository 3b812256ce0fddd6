"""Refine the colours of an avatar towards views of it: those of its skin and clothes, and those of its strands.

Portrait Diffusion optimises a triplane over a field; an avatar has surfaces and strands, whose radiance is nearly
proportional to their albedo. So each round multiplies the albedo by what the views show there, against a render.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.exposure import look_up_points, to_albedo
from portrait360.pipeline.views.view_set import View
from portrait360.synth.render.bake import PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.scene import Material, Mesh, Scene, Strands
from portrait360.utils.array_types import F32

ROUNDS = 3
TOLERANCE = 0.012  # canonical depth behind what a view shows from which a point is hidden
LARGEST = 1.2  # logarithm of a round's gain
DARK = 0.004  # radiance that is too dark to tell a gain by
STILL = 0.3  # weight of the albedo as it is, against a view that faces it
# what mirrors the light shows little of its own colour
FIXED = (Material.EYE, Material.ENAMEL, Material.GLASS, Material.METAL)


class Sight(NamedTuple):
    """A view beside the render of the same camera."""

    camera: Camera
    gain: F32  # (s, s, 3) logarithm of what the view shows over what is rendered
    weight: F32  # (s, s)
    depth: F32  # (s, s) of the render


def refine_colours(scene: Scene, views: Sequence[View], rounds: int = ROUNDS) -> Scene:
    """Return the scene with albedos under which its renders are nearer to the views; shapes and light stay."""
    for _ in range(rounds):
        prepared = prepare_scene(scene, quality=PORTRAIT)
        sights = [compare(prepared, view) for view in views]
        meshes = tuple(_recolour_mesh(mesh, sights) for mesh in scene.meshes)
        strands = tuple(_recolour_strands(group, sights) for group in scene.strands)
        scene = replace(scene, meshes=meshes, strands=strands)
    return scene


def compare(prepared: PreparedScene, view: View) -> Sight:
    """Compare a view with a render where both show the head, well inside it."""
    film = render_linear(prepared, view.camera, view.size)
    both = ((film.alpha > 0.95) & (view.alpha > 0.95)).astype(np.uint8)
    inside = cv2.erode(both, np.ones((3, 3), np.uint8)).astype(np.float32)
    shown = srgb_to_radiance(view.rgb.astype(np.float32))
    gain = np.log((shown + DARK) / (film.radiance + DARK)).clip(-LARGEST, LARGEST)
    return Sight(view.camera, gain.astype(np.float32), inside, np.where(film.alpha > 0, film.depth, 0))


def find_gain(points: F32, sights: Sequence[Sight]) -> F32:
    """Return the mean logarithmic gain (n, 3) of points (n, 3) over the views that show them; 0 where none does."""
    total, weight = np.zeros(points.shape, np.float64), np.full((len(points), 1), STILL)
    for camera, gain, inside, depth in sights:
        uv, distance = camera.project(points)
        shown = look_up_points(inside, uv) * (np.abs(distance - look_up_points(depth, uv)) < TOLERANCE)
        shown = (shown * ((uv > 0) & (uv < 1)).all(-1))[:, None]
        total, weight = total + shown * look_up_points(gain, uv), weight + shown
    return (total / weight).astype(np.float32)


def _recolour_mesh(mesh: Mesh, sights: Sequence[Sight]) -> Mesh:
    if mesh.material[0] in FIXED:
        return mesh
    return replace(mesh, albedo=to_albedo(mesh.albedo * np.exp(find_gain(mesh.vertices, sights))))


def _recolour_strands(group: Strands, sights: Sequence[Sight]) -> Strands:
    gain = find_gain(group.points.reshape(-1, 3), sights).reshape(group.points.shape)
    return replace(group, albedo=to_albedo(group.albedo * np.exp(gain)))
