"""Fit the light on a face, and its skin tone, to the bare skin that a photo shows.

The light is an environment of spherical harmonics of order 0 to 2. One photo tells little about the light that falls
on what it does not show: there the fit returns to the mean of the light that it sees. Neither can it tell a bright
light on dark skin from a dim light on fair skin: a white surface that faces the camera is assumed to reflect about 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh, unit, vertex_normals
from portrait360.synth.render.bake import BakeQuality, prepare_scene
from portrait360.synth.render.lights import (
    LUMINANCE,
    basis,
    reflected_light,
    sphere_directions,
    uniform_environment,
)
from portrait360.synth.render.mesh_buffers import AMBIENT
from portrait360.synth.sampling.parameters import Colour, Skin
from portrait360.synth.scene import Light, Material, Part, Scene
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.portrait_labels import Label

SIDE = 160  # pixels of the picture that is fitted
INSET = 4  # pixels of the photo within the outline of the skin
FEWEST = 150  # samples
OPENNESS = BakeQuality(24, 96, 16)
ORDER_1, ORDER_2 = (
    0.004,
    0.06,
)  # weight of the squares of the coefficients, against a mean weight of 1 for the samples
UNSEEN = 0.12  # weight of the mean light in the directions that nothing seen faces
FLOOR = 0.55  # least light anywhere, in means
SIDEWAYS = (3, 4, 7)  # terms of the light that differ between left and right
EVEN = 0.35  # share of them that stays: the sides of a head in hard light would be black and white
TONE_LIMIT = 0.62  # fairest skin: what is brighter owes it to the light
DARK, DIMMEST = 0.32, 0.6  # tone below which the light is dimmer, too, and how dim it may be
COLOURED = 0.22  # strength of a coloured gradient that may as well be blood, make-up or shade
CHROMA = 0.05  # as ORDER_1, for the colours of the light
ROUNDS = 6
SPREAD = 0.15  # of the samples around the fitted light, in means, that is always believed
GLOSS = 1.4  # how much sooner a sample is doubted that is too bright than one that is too dark


@dataclass(frozen=True, eq=False)
class SkinSamples:
    """What a photo shows of bare skin."""

    normals: F32  # (n, 3)
    openness: F32  # (n,) unoccluded share of the environment
    radiance: F32  # (n, 3)
    weight: F32  # (n,) of mean 1


def fit_light(head: Head, photo: Photo) -> tuple[Light, Colour]:
    """Return the light on the head and the mean tone of its skin, linear RGB."""
    samples = sample_skin(head, photo)
    if len(samples.weight) < FEWEST:
        return _environment(uniform_environment((1.0, 1.0, 1.0))), Skin().tone
    brightness = samples.radiance @ LUMINANCE.astype(np.float32)
    level = float(np.median(brightness))
    grey, trust = _fit_brightness(samples, brightness / level)
    grey = raise_floor(grey)
    grey /= float(reflected_light(grey[:, None], _towards(photo, head))[0, 0])
    shade = samples.openness * reflected_light(grey[:, None], samples.normals)[:, 0]
    tone = np.array([_weighted_median(c / shade, trust) for c in samples.radiance.T])
    ambient = raise_floor(grey[:, None] + _fit_colours(samples, grey, samples.radiance / tone, trust))
    ambient[list(SIDEWAYS)] *= EVEN
    brightest = float(tone.max())
    gain = max(brightest / TONE_LIMIT, 1.0) * min(max(np.sqrt(brightest / DARK), DIMMEST), 1.0)
    red, green, blue = (float(value) for value in np.clip(tone / gain, 0.004, TONE_LIMIT))
    return _environment(ambient * gain), (red, green, blue)


def sample_skin(head: Head, photo: Photo) -> SkinSamples:
    """Return the normals of the fitted head and the photo's radiance where it shows bare skin."""
    first = head.pack.subdivision(1)
    count = len(first.corner)
    body, triangles = head.body[:count], first.triangles
    normals = vertex_normals(body, triangles)
    covered = np.max([head.mask(name)[:count] for name in ("eyelids", "lips", "inside_mouth")], 0)
    values = np.column_stack([normals, _openness(body, triangles, normals), covered, body])
    buffers = rasterizer.rasterise(body, triangles, photo.camera, SIDE)
    seen = rasterizer.interpolate(buffers, triangles, values)
    direction, towards = unit(seen[..., :3]), unit(photo.camera.position - seen[..., 5:])
    facing = (direction * towards).sum(-1)
    skin = photo.shows(Label.FACE, Label.EAR, Label.SKIN).astype(np.uint8)
    inside = cv2.erode(skin, np.ones((2 * INSET + 1, 2 * INSET + 1), np.uint8)).astype(np.float32) * photo.known
    bare = (_shrink(inside) > 0.98) & (buffers.ids >= 0) & (seen[..., 4] < 0.1) & (facing > 0.25)
    neck = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) == Label.SKIN
    weight = np.where(neck, 0.3, 1.0)[bare]  # neck and shoulders lie in the shade of head and hair
    directions = direction[bare]
    nearest = (directions @ sphere_directions(256).T).argmax(1) if len(directions) else np.zeros(0, int)
    weight = weight / np.sqrt(
        np.bincount(nearest, minlength=1)[nearest]
    )  # all directions count, not only the broad ones
    weight = weight / max(weight.mean(), 1e-9) if len(weight) else weight
    radiance = _shrink(photo.radiance)[bare]
    return SkinSamples(directions.astype(np.float32), seen[..., 3][bare], radiance, weight.astype(np.float32))


def raise_floor(ambient: F64) -> F64:
    """Flatten an environment (9, ...) until it reflects at least FLOOR of its mean in every direction."""
    columns = ambient.reshape(9, -1)
    mean = 0.28209479 * columns[0]
    lowest = (basis(sphere_directions(400)).astype(np.float64) @ columns).min(0)
    share = np.minimum((1 - FLOOR) * mean / np.maximum(mean - lowest, 1e-9), 1).min()
    flat = columns * share
    flat[0] = columns[0]
    return flat.reshape(ambient.shape)


def _fit_brightness(samples: SkinSamples, brightness: F32) -> tuple[F64, F64]:
    """Return the coefficients (9,) of a white light, and how far each sample follows it (n,), less for highlights."""
    directions = sphere_directions(128)
    near = (directions @ samples.normals.T).max(1)
    unseen = np.clip((0.97 - near) / 0.12, 0, 1)
    unseen *= UNSEEN * len(brightness) / max(unseen.sum(), 1)
    rows = basis(samples.normals).astype(np.float64) * samples.openness[:, None]
    empty = basis(directions).astype(np.float64)
    ridge = np.diag(np.repeat([1e-6, ORDER_1, ORDER_2], [1, 3, 5]) * len(brightness))
    weight, mean = samples.weight.astype(np.float64), 1.0
    light = np.zeros(9)
    for _ in range(ROUNDS):
        system = (rows * weight[:, None]).T @ rows + (empty * unseen[:, None]).T @ empty + ridge
        light = np.linalg.solve(system, rows.T @ (weight * brightness) + empty.T @ unseen * mean)
        off = brightness - rows @ light
        spread = max(1.48 * float(np.median(np.abs(off))), SPREAD)
        off = np.where(off > 0, GLOSS, 1.0) * off / (2 * spread)
        weight = samples.weight / (1 + off**2)
        mean = float(np.average(rows @ light / samples.openness, weights=weight))
    return light, weight


def _fit_colours(samples: SkinSamples, grey: F64, radiance: Floats, trust: F64) -> F64:
    """Return what to add to a white light (9, 3): a gradient of colour, where it is stronger than skin's own."""
    rows = basis(samples.normals)[:, :4].astype(np.float64) * samples.openness[:, None]
    off = radiance - (samples.openness * reflected_light(grey[:, None], samples.normals)[:, 0])[:, None]
    off = off - off.mean(1, keepdims=True)
    system = (rows * trust[:, None]).T @ rows + np.diag([1e-6, CHROMA, CHROMA, CHROMA]) * trust.sum()
    gradient = np.linalg.solve(system, rows.T @ (trust[:, None] * off))
    gradient[0] = 0  # its mean colour is the skin's
    strength = float(np.linalg.norm(gradient)) / max(float(grey[0]), 1e-6)
    out = np.zeros((9, 3))
    out[:4] = gradient * max(0.0, 1 - COLOURED / max(strength, 1e-9))
    return out


def _openness(body: F32, triangles: np.ndarray, normals: F32) -> F32:
    """Return the share of the environment that each vertex sees past the head itself."""
    mesh = make_mesh(body, triangles, 1.0, Material.SKIN, Part.SKIN, normals=normals)
    scene = Scene((mesh,), (), _environment(uniform_environment((1.0, 1.0, 1.0))))
    shares = prepare_scene(scene, quality=OPENNESS).surface.values[:, AMBIENT].mean(1)
    return np.clip(shares, 0.15, 1).astype(np.float32)


def _environment(ambient: np.ndarray) -> Light:
    nothing = np.zeros((0, 3), np.float32)
    return Light(np.asarray(ambient, np.float32), nothing, nothing, np.zeros(0, np.float32))


def _towards(photo: Photo, head: Head) -> F32:
    return unit(photo.camera.position - head.body.mean(0))[None].astype(np.float32)


def _shrink(picture: F32) -> F32:
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
