"""Show an avatar in another light than its photo's: a lamp, or the light of a panorama.

Layers are rendered in both lights; the ratio is what the view changes by, so that the photo's pixels change, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.animate.pose import PosedAvatar
from portrait360.pipeline.animate.request import read_light
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.render.bake import PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import (
    LUMINANCE,
    project_environment,
    reflected_light,
    sphere_directions,
    uniform_environment,
)
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.render.tone_mapping import srgb_to_radiance, tone_map
from portrait360.synth.scene import Light
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.resume import cache_key

MAX_BYTES, MAX_PIXELS = 512 << 20, 64_000_000  # of a panorama
COOL, WHITE, WARM = np.array([0.62, 0.80, 1.0]), np.array([1.0, 0.97, 0.93]), np.array([1.0, 0.76, 0.50])
FILL, FILL_SKY = 0.38, 0.25  # share of the light that comes from all sides, and how much more of it from above
SOFT = 0.14  # radians
DIRECTIONS = 8192  # over the sphere, at which a panorama is sampled
SUN, SUN_SIZE = 6.0, math.radians(12)  # brightness against the mean from which light is a lamp; radius around it
FLOOR = 0.015  # radiance below which a ratio says nothing
GAINS = (0.05, 8.0)
BLUR = 0.003  # picture sides by which the ratio is blurred: layers never lie quite as the photo does


@dataclass(frozen=True, eq=False)
class Studio:
    """A light, and an avatar's layers in it."""

    rest: PreparedScene
    key: str  # tells lights apart

    def light(self, avatar: Avatar | PosedAvatar) -> LitAvatar:
        """Return an avatar in this light."""
        return LitAvatar(avatar, self.rest)


def make_studio(avatar: Avatar, light: Light) -> Studio:
    """Bake an avatar's layers in a light, as bright as the photo's; this takes a few seconds."""
    gain = _brightness(avatar.scene.light) / max(_brightness(light), 1e-6)
    ambient, colours = (np.asarray(a * gain, np.float32) for a in (light.ambient, light.key_colours))
    light = replace(light, ambient=ambient, key_colours=colours)
    key = cache_key([np.round(a, 5).tolist() for a in (ambient, light.key_directions, colours, light.key_softness)])
    return Studio(prepare_scene(replace(avatar.scene, light=light), quality=PORTRAIT), key)


def _brightness(light: Light) -> float:
    """Return the luminance of a white sphere, on average over what faces the front."""
    directions = sphere_directions(512)
    directions = directions[directions[:, 2] > 0]
    keys = np.maximum(directions @ light.key_directions.reshape(-1, 3).T, 0) @ light.key_colours.reshape(-1, 3)
    return float(((np.maximum(reflected_light(light.ambient, directions), 0) + keys) @ LUMINANCE).mean())


@dataclass(frozen=True, eq=False)
class LitAvatar:
    """An avatar in another light; it renders as an avatar does."""

    avatar: Avatar | PosedAvatar
    rest: PreparedScene  # the layers in that light, as the photo shows them

    def render(self, camera: Camera, size: int = 256) -> ProxyView:
        """Render a view."""
        view = self.avatar.render(camera, size)
        if isinstance(self.avatar, PosedAvatar):
            seen, before, after = (
                self.avatar.turn.to_head(camera),
                self.avatar.scene,
                self.avatar.move_scene(self.rest),
            )
        else:
            seen, before, after = camera, self.avatar.prepared_scene, self.rest
        old, new = (render_linear(scene, seen, size) for scene in (before, after))
        radiance = srgb_to_radiance(view.rgb) * find_gain(old, new)
        rgb = np.zeros_like(radiance)
        tone_map(np.ascontiguousarray(radiance, np.float32), rgb)
        return replace(view, rgb=rgb * (view.mask > 0)[..., None])


def find_gain(old: Film, new: Film) -> F32:
    """Return by what a view is multiplied to go from one light to another (s, s, 3), linear; it goes on beside."""
    size, sigma = len(old.alpha), max(BLUR * len(old.alpha), 0.6)
    weight = np.minimum(old.alpha, new.alpha)[..., None]
    dark, bright = (cv2.GaussianBlur(film.radiance * weight, (0, 0), sigma) for film in (old, new))
    total = cv2.GaussianBlur(weight[..., 0], (0, 0), sigma)[..., None]
    gain = np.clip((bright + FLOOR * total) / np.maximum(dark + FLOOR * total, 1e-6), *GAINS)
    inside = np.clip(4 * total, 0, 1)
    around = cv2.GaussianBlur(gain * inside, (0, 0), 0.02 * size)
    around = around / np.maximum(cv2.GaussianBlur(inside[..., 0], (0, 0), 0.02 * size)[..., None], 1e-4)
    return np.asarray(
        np.where(total > 1e-3, inside * gain + (1 - inside) * around, np.clip(around, *GAINS)), np.float32
    )


def parse_light(text: str) -> Light:
    """Return the light that `azimuth,elevation,warmth` names: degrees, and -1 (cool) to 1 (warm)."""
    return make_lamp(*read_light(text))


def make_lamp(azimuth: float, elevation: float, warmth: float) -> Light:
    """Return a lamp at these angles, as cameras have them, with some light from all around."""
    around, up = math.radians(azimuth), math.radians(elevation)
    direction = [math.sin(around) * math.cos(up), math.sin(up), math.cos(around) * math.cos(up)]
    colour = WHITE + abs(warmth) * ((WARM if warmth > 0 else COOL) - WHITE)
    colour = colour / float(colour @ LUMINANCE)
    # light from all around is as much of the other colour as makes it look neutral beside the lamp
    sky = WHITE + 0.5 * abs(warmth) * ((COOL if warmth > 0 else WARM) - WHITE)
    ambient = uniform_environment(FILL * sky / float(sky @ LUMINANCE))
    ambient[1] = FILL_SKY * ambient[0]
    keys = (1 - FILL) * 2.2 * colour
    lamp = np.array([direction], np.float32), np.array([keys], np.float32)
    return Light(ambient, lamp[0], lamp[1], np.array([SOFT], np.float32))


def read_environment(path: Path) -> Light:
    """Return the light of an equirectangular panorama in Radiance's format (.hdr).

    Its middle is before the face, where the photo's camera stood; its upper edge is above.
    """
    panorama = _load_panorama(path)
    directions = sphere_directions(DIRECTIONS)
    values = sample_panorama(panorama, directions)
    light = values @ LUMINANCE.astype(np.float32)
    mean = float(light.mean())
    if not np.isfinite(values).all() or mean <= 0:
        raise UserError(f"{path} contains no light; use a panorama in Radiance's format (.hdr).")
    brightest = directions[np.argmax(_spread(light, directions))]
    lamp = (directions @ brightest > math.cos(SUN_SIZE)) & (light > SUN * mean)
    excess = np.where(lamp[:, None], values * (1 - SUN * mean / np.maximum(light, 1e-9))[:, None], 0)
    ambient = project_environment(values - excess, directions)
    key = excess.sum(0) * 4 / DIRECTIONS  # what a white Lambertian surface that faces it sends back
    count = 1 if lamp.any() else 0
    middle = (excess @ LUMINANCE.astype(np.float32)) @ directions
    middle = middle / max(float(np.linalg.norm(middle)), 1e-9)
    softness = np.full(count, SUN_SIZE / 2, np.float32)
    return Light(
        _keep_positive(ambient),
        middle[None][:count].astype(np.float32),
        key[None][:count].astype(np.float32),
        softness,
    )


def _keep_positive(ambient: F32) -> F32:
    """Return coefficients whose light is nowhere negative: with less of what depends on direction."""
    directions = sphere_directions(256)
    for _ in range(8):
        if reflected_light(ambient, directions).min() >= 0:
            break
        ambient = np.concatenate([ambient[:1], 0.8 * ambient[1:]])
    return ambient.astype(np.float32)


def _spread(light: F32, directions: F32) -> F32:
    """Return how much light comes from around each direction (n,); those far below the brightest are left out."""
    out = np.zeros_like(light)
    rows = np.argsort(-light)[:256]
    near = directions[rows] @ directions.T > math.cos(SUN_SIZE)
    out[rows] = near @ light
    return out


def sample_panorama(panorama: F32, directions: Floats) -> F32:
    """Return the radiance (n, 3) of a panorama (h, w, 3) in directions (n, 3)."""
    height, width = panorama.shape[:2]
    x, y, z = np.asarray(directions, np.float64).T
    column = (np.arctan2(-x, z) / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - np.arcsin(np.clip(y, -1, 1)) / np.pi) * height - 0.5
    at = (np.rint(row).astype(int).clip(0, height - 1), np.rint(column).astype(int) % width)
    return panorama[at]


def _load_panorama(path: Path) -> F32:
    data = read_limited(path, MAX_BYTES)
    size = _read_size(data)
    if size is None:
        raise UserError(f"{path} is not a panorama in Radiance's format; use an .hdr file.")
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"{path} has {size[1]} x {size[0]} pixels; use a panorama of at most 64 million.")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if pixels is None or pixels.dtype != np.float32 or pixels.shape[:2] != size:
        raise UserError(f"{path} is damaged or cut off; use another .hdr file.")
    small = cv2.resize(pixels, (512, 256), interpolation=cv2.INTER_AREA) if size[0] > 256 else pixels
    return np.ascontiguousarray(small[..., ::-1], np.float32)


def _read_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width as the header says; None for other files."""
    if not data.startswith((b"#?RADIANCE", b"#?RGBE")):
        return None
    for line in data[:4096].split(b"\n"):
        parts = line.split()
        if len(parts) == 4 and parts[0] == b"-Y" and parts[2] == b"+X" and parts[1].isdigit() and parts[3].isdigit():
            return int(parts[1]), int(parts[3])
    return None
