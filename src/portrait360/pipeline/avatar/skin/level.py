"""Make the skin that a photo does not show as light as that which it shows.

In profile a face turns away from the light that the photo was taken in. As with hair, it is rendered from both sides
and compared with the photo's: a fair face has no sallow cheeks. What lies in the light is compared, for there one
sees how fair somebody is: by the mean, a face half in the shade would become dull, and of the shade's hue.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.exposure import FEW, shrink, to_albedo, trimmed_mean
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.mesh import skin_sizes
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Mesh, Part, Scene
from portrait360.utils.array_types import F32, F64, Bools
from portrait360.utils.portrait_labels import Label

SIZE = 160  # pixels of a render
TURNS = (-75.0, 75.0)  # degrees from the front
LIT = (0.4, 0.9)  # quantiles of brightness of skin in the light, without gloss
RANGE, HUE = (-0.15, 0.45), 0.12  # limits in brightness, and in one channel against it, logarithms
FAIREST = 0.65  # radiance of the fairest skin in the light: what is brighter is over-exposed, and features fade on it
QUIET = 0.004


def level_skin(scene: Scene, photo: Photo) -> Scene:
    """Return a scene whose face has about the photo's brightness and hue in profile."""
    shown = _mean_light(photo.radiance, shrink(photo.shows(Label.FACE)))
    skin = tuple(mesh for mesh in scene.meshes if _is_skin(mesh))
    if shown is None or not skin:
        return scene
    shown = shown + min(float(np.log(FAIREST / (np.exp(shown) @ LUMINANCE))), 0.0)
    prepared, camera, lacks = prepare_scene(replace(scene, meshes=skin, strands=()), quality=DRAFT), photo.camera, []
    for turn in TURNS:
        film = render_linear(prepared, Camera(look_at(turn, 0.0, radius=camera.radius), camera.focal), SIZE)
        found = _mean_light(film.radiance, shrink((film.labels == Label.FACE) & (film.alpha > 0.9), 1))
        if found is not None:
            lacks.append(shown - found)
    if not lacks:
        return scene
    lack = min(lacks, key=np.mean)  # in light from one side that side tells how fair somebody is
    gain = np.exp(np.clip(lack.mean(), *RANGE) + np.clip(lack - lack.mean(), -HUE, HUE))
    meshes = (replace(m, albedo=to_albedo(m.albedo * gain)) if _is_skin(m) else m for m in scene.meshes)
    return replace(scene, meshes=tuple(meshes))


def _is_skin(mesh: Mesh) -> bool:
    return int(mesh.part[0]) == Part.SKIN and len(mesh.vertices) in skin_sizes()


def _mean_light(radiance: F32, mask: Bools) -> F64 | None:
    """Return the logarithm of the mean light (3,) of pixels in the light; None of too few."""
    if mask.sum() < FEW:
        return None
    return np.log(np.asarray(trimmed_mean(np.maximum(radiance[mask], 0), LIT), np.float64) + QUIET)
