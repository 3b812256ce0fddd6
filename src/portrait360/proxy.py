"""The proxy: a coarse but whole 3D head with the photo's own texture, seen from any camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from portrait360.cameras import Camera
from portrait360.geometry import raster, raster_numba
from portrait360.geometry.completion import (
    complete,
    foreground,
    look_up,
    photographed,
    smoothstep,
)
from portrait360.geometry.head_map import HeadMap
from portrait360.geometry.morphable import load_morphable
from portrait360.geometry.shell import carve, fit_thickness, load_hair_model, outline, resampled, spread
from portrait360.portrait import Portrait

Floats = NDArray[np.floating]

LAYOUT = HeadMap()
MIDDLE = HeadMap(columns=128, rows=88)  # where the shell is smoothed towards the outline
SAMPLES = np.array([[8, 8], [6, 2], [14, 6], [2, 10], [10, 14]]) / 16.0  # the centre, then four that count cover
COARSER, AS_FINE = 0.2, 0.6  # photo pixels a rendered pixel: between them the photo gains over the map


@dataclass(frozen=True, eq=False)
class ProxyView:
    """The proxy seen by a camera."""

    rgb: Floats  # (s, s, 3)
    visibility: Floats  # (s, s) 1 where the colour comes from the photo
    mask: Floats  # (s, s) cover
    depth: Floats  # (s, s) along the optical axis, 0 where empty
    normals: Floats  # (s, s, 3) unit, in the world


@dataclass(frozen=True, eq=False)
class Proxy:
    layout: HeadMap
    radius: Floats  # (rows, columns)
    colours: Floats  # (rows, columns, 3) of the whole head
    visible: Floats  # (rows, columns) 1 where the photo shows it
    photo: Floats  # (s, s, 3) the crop, its subject's colours carried outwards
    alpha: Floats  # (s, s)
    camera: Camera  # of the photo

    def __post_init__(self) -> None:
        vertices, triangles = self.layout.mesh(self.radius)
        normals = raster.vertex_normals(vertices, triangles)
        crown = self.colours[0].mean(0), [self.visible[0].mean()]
        values = np.concatenate([self.colours, self.visible[..., None]], -1).reshape(-1, 4)
        values = np.concatenate([values, np.concatenate(crown)[None]])
        object.__setattr__(self, "_mesh", (vertices, triangles))
        object.__setattr__(self, "_values", np.concatenate([values, normals], 1).astype(np.float32))

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        vertices, triangles = self._mesh  # type: ignore[attr-defined]
        points = raster.homogeneous(vertices, camera, size, size)
        depth = np.full((size, size, len(SAMPLES)), np.inf, np.float32)
        ids = np.full(depth.shape, -1, np.int32)
        raster_numba.draw(points, triangles, np.arange(len(triangles), dtype=np.int32), SAMPLES, depth, ids)
        cover = (ids[..., 1:] >= 0).mean(-1)
        front = np.where(ids[..., 0] >= 0, ids[..., 0], ids.max(-1))
        barycentrics = np.zeros((size, size, 3), np.float32)
        raster_numba.weights(points, triangles, front, barycentrics)
        buffers = raster.Buffers(front, barycentrics, depth.min(-1))
        values = raster.interpolate(buffers, triangles, self._values)  # type: ignore[attr-defined]
        found = front >= 0
        z = np.where(found, depth.min(-1), 0)
        places = camera.unproject(_grid(size), np.where(found, z, camera.radius))
        normals = values[..., 4:7] / np.maximum(np.linalg.norm(values[..., 4:7], axis=-1, keepdims=True), 1e-9)
        uv, _ = self.camera.project(places)
        share = found * values[..., 3] * smoothstep(COARSER, AS_FINE, self._fineness(places, normals, camera))
        photo = look_up(_reduced(self.photo, size), uv)
        rgb = values[..., :3] + share[..., None] * (photo - values[..., :3])
        mask = np.where(found, np.maximum(cover, 0.25), 0) * (1 - share * (1 - look_up(self.alpha, uv)))
        shown = (mask > 0)[..., None]
        return ProxyView(rgb * shown, share, mask, z, normals * shown)

    def _fineness(self, places: Floats, normals: Floats, camera: Camera) -> Floats:
        """How many pixels of the photo, of the camera's own size, a pixel of the camera has for a place."""
        out = []
        for eye in (self.camera, camera):
            towards = eye.position - places
            distance = np.linalg.norm(towards, axis=-1)
            cosine = (normals * towards).sum(-1) / distance
            out.append(np.maximum(cosine, 0.02) * (eye.focal / distance) ** 2)
        return out[0] / out[1]


def _grid(size: int) -> Floats:
    at = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(at, at), -1)


def _reduced(photo: Floats, size: int) -> Floats:
    return photo if size >= photo.shape[0] else cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)


def skin_radius(portrait: Portrait, layout: HeadMap) -> Floats:
    """Radius (rows, columns) of the fitted skin; where rays meet only hollows, as around them."""
    model = load_morphable()
    vertices = model.vertices(portrait.shape, portrait.expression) / portrait.growth
    radius, _, _ = layout.unwrap(vertices, model.triangles)
    return _filled(radius)


def _filled(radius: Floats) -> Floats:
    """Holes (0) closed smoothly from their rims."""
    holes = radius <= 0
    if not holes.any():
        return radius
    weight, out = (~holes).astype(np.float64), radius.copy()
    for sigma in (1, 2, 4, 8, 16, 32):
        mode = ("nearest", "wrap")
        total = gaussian_filter(weight, sigma, mode=mode)
        value = gaussian_filter(radius * weight, sigma, mode=mode) / np.maximum(total, 1e-9)
        now = holes & (total > 0.05)
        out[now], holes = value[now], holes & ~now
    return out


def make_proxy(portrait: Portrait) -> Proxy:
    """Skin from the fit, hair and clothes grown to the matte, colours from the photo completed all around."""
    hair = load_hair_model()
    goal = outline(portrait.alpha, portrait.known)
    bare = (hair.share[0] > 0.8) & (portrait.source == "face")
    thick = fit_thickness(hair, skin_radius(portrait, hair.layout), portrait.camera, goal, bare)
    middle = skin_radius(portrait, MIDDLE) + resampled(thick, hair.layout, MIDDLE)
    held = resampled(bare.astype(np.float64), hair.layout, MIDDLE) > 0.5
    middle = spread(MIDDLE, middle, portrait.camera, goal, held)
    extra = middle - skin_radius(portrait, MIDDLE)
    radius = skin_radius(portrait, LAYOUT) + resampled(extra, MIDDLE, LAYOUT)
    held = resampled(bare.astype(np.float64), hair.layout, LAYOUT) > 0.5
    radius = spread(LAYOUT, radius, portrait.camera, goal, held, steps=1)
    radius = carve(LAYOUT, radius, portrait.camera, goal)
    return texture(portrait, radius, resampled_all(hair.kinds(thick), hair.layout))


def resampled_all(belief: Floats, source: HeadMap) -> Floats:
    return np.stack([resampled(one, source, LAYOUT) for one in belief])


def texture(portrait: Portrait, radius: Floats, belief: Floats) -> Proxy:
    clean = foreground(portrait.rgb, portrait.alpha)
    seen = photographed(LAYOUT, radius, portrait.camera, clean, portrait.alpha, portrait.known)
    colours = complete(LAYOUT, seen, belief)
    return Proxy(LAYOUT, radius, colours, seen.visible, clean, portrait.alpha, portrait.camera)
