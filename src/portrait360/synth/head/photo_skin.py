"""The unevenness of photographed skin, learnt from textures that fit MakeHuman's UVs.

A texture is divided by its own smooth tone, so that mottling, blood, under-eyes and moles come from the photograph,
while tone, age and make-up stay parameters. Hair, brows and eyes that are painted into a texture are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.skin import beard_area
from portrait360.synth.head_pack import HeadPack, load_pack
from portrait360.synth.noise import smoothstep
from portrait360.synth.render.tone_mapping import srgb_to_linear
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.utils.array_types import F32, I32, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import load_picture

SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")
SMALLEST = 64  # pixels
BLUR = {1: 1 / 600, 2: 1 / 1200}  # of the side of a texture: about half the distance of the vertices of a level
TONE_WIDTH = (0.085, 0.17)  # head heights: what is wider belongs to the tone; of brightness, of hue
LIMIT = 0.45  # of a log ratio
STRENGTH = (0.5, 1.2)
DARK, DARK_ODDS = 0.2, 2.0  # textures darker than this are few, so each is taken so many times as often
AGES = {"young": 0.5, "middleage": 0.74, "old": 0.95}  # first word of a file's name: age as in `Shape`
# what textures have painted hair: the height above which it starts (head heights), by degrees from the front
HAIR_AZIMUTH = (0, 20, 35, 45, 55, 65, 75, 180)
HAIR_HEIGHT = (0.23, 0.22, 0.15, 0.06, -0.08, -0.22, -0.30, -0.34)
BROW = np.array([[0.03, 0.065], [0.10, 0.095], [0.17, 0.105], [0.23, 0.07]])  # on the average head


@dataclass(frozen=True, eq=False)
class SkinTextures:
    names: tuple[str, ...]
    tones: F32  # (k, 3) linear
    detail: dict[int, NDArray[np.float16]]  # subdivision level: (k, m, 3) log ratios to the tone

    def __len__(self) -> int:
        return len(self.names)


def load_skins(folder: Path) -> SkinTextures:
    """Load all textures of a folder; a UserError says what is wrong with it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; give one that contains skin textures.")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder} contains no skin textures ({', '.join(SUFFIXES)}).")
    textures = [_load_texture(file) for file in files]
    tones, details = zip(*textures, strict=True)
    stacks = {level: np.stack([detail[level] for detail in details]).astype(np.float16) for level in BLUR}
    return SkinTextures(tuple(file.stem for file in files), np.stack(tones), stacks)


def sample_detail(skins: SkinTextures, head: Head, parameters: HeadParameters) -> F32:
    """Return the factor on the albedo (m, 3): a random mix of two textures that suit the age and the sex."""
    rng, shape = np.random.default_rng([parameters.seed, 3]), parameters.shape
    picks = rng.choice(len(skins), 2, p=_odds(skins, shape.gender, shape.age))
    share, strength, mirrored = rng.uniform(0, 1), rng.uniform(*STRENGTH), rng.random(2) < 0.5
    detail = np.zeros_like(head.body)
    tone = np.log(np.array(parameters.skin.tone) + 0.005)
    for k, part, mirror in zip(picks, (share, 1 - share), mirrored, strict=True):
        layer = skins.detail[head.level][k].astype(np.float32)
        layer = layer[mirror_rows(head.level)] if mirror else layer
        detail += np.float32(part) * _adapt(layer, float(np.mean(tone - np.log(skins.tones[k] + 0.005))))
    # a mix evens its parts out; divide by how much, so that it is as uneven as either
    detail *= strength / np.hypot(share, 1 - share)
    detail *= np.interp(shape.age, (0.1, 0.45), (0.55, 1.0))
    if shape.gender < 0.5 or shape.age < 0.36:  # the shadow of a shaven beard
        detail *= 1 - 0.6 * beard_area(head.rest)[:, None]
    return np.exp(detail).astype(np.float32)


@lru_cache(maxsize=2)
def mirror_rows(level: int) -> I32:
    """Return the index of each vertex's mirror image on the other side of the average head."""
    rest = load_average_head().fine[level]
    return np.asarray(KDTree(rest).query(rest * np.array([-1, 1, 1], np.float32))[1], np.int32)


def _odds(skins: SkinTextures, gender: float, age: float) -> Floats:
    """Return how often each texture is taken; a name that tells no age or sex suits everyone half."""
    odds = np.full(len(skins), 0.02)
    for i, name in enumerate(skins.names):
        words = name.lower().split("_")
        years = AGES.get(words[0])
        suits = 0.5 if years is None else np.exp(-(((np.clip(age, 0.5, 0.95) - years) / 0.22) ** 2))
        sex = 1.0 if "female" in words else 0.0 if "male" in words else None
        odds[i] += suits * (0.65 if sex is None else 1 if (sex == 1) == (gender < 0.5) else 0.3)
    odds *= np.where(skins.tones.mean(1) < DARK, DARK_ODDS, 1.0)
    return odds / odds.sum()


def _adapt(detail: F32, lighter: float) -> F32:
    """Carry log ratios to a skin that is lighter (logarithm of the factor) than the one photographed.

    Blood shows less through melanin, and the hues of dark skin are too strong for light one; a shine on dark skin
    counts for more than the same change of light skin.
    """
    grey = detail.mean(1, keepdims=True)
    chroma = np.exp(-0.45 * min(abs(lighter), 2.4))
    contrast = np.exp(-(0.22 if lighter < 0 else 0.4) * np.clip(lighter, -2.0, 2.5))
    return grey * np.float32(contrast) + (detail - grey) * np.float32(chroma)


def _load_texture(file: Path) -> tuple[F32, dict[int, F32]]:
    """Return the tone (3,) and, for each level, the log ratios (m, 3)."""
    rgb = load_picture(file).rgb
    height, width = rgb.shape[:2]
    if height != width or width < SMALLEST:
        raise UserError(
            f"{file} is {width} x {height} pixels; a skin texture must be a square of at least {SMALLEST}."
        )
    logs = {level: _sample_logs(rgb, level) for level in BLUR}
    region = _regions()
    weight = region.weight * region.area
    tone = np.exp(weight @ logs[1] / weight.sum())
    smooth = _smooth_tone(logs[1])
    fine = {1: smooth, 2: load_pack().subdivision(2)(smooth)}
    return tone.astype(np.float32), {level: _cut(logs[level] - fine[level], level) for level in BLUR}


def _sample_logs(rgb: Floats, level: int) -> F32:
    """Return the logarithm of the linear colour at every vertex; at a seam the mean of its sides."""
    soft = cv2.GaussianBlur(np.ascontiguousarray(rgb, np.float32), (0, 0), max(BLUR[level] * len(rgb), 0.3))
    rows, uv = _corners(level)
    x, y = uv[:, 0] * len(rgb) - 0.5, (1 - uv[:, 1]) * len(rgb) - 0.5
    pad = -len(x) % 128  # cv2.remap takes at most 32767 points a side
    x, y = (np.pad(v, (0, pad)).reshape(-1, 128).astype(np.float32) for v in (x, y))
    values = cv2.remap(soft, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 3)[: len(rows)]
    values = np.log(srgb_to_linear(values) + np.float32(0.004))
    count = np.bincount(rows)
    total = np.stack([np.bincount(rows, channel) for channel in values.T], 1)
    return (total / np.maximum(count, 1)[:, None]).astype(np.float32)


@lru_cache(maxsize=2)
def _corners(level: int) -> tuple[I32, F32]:
    """Return the vertex and the UV of every corner of every quad of a level."""
    pack = load_pack()
    uv: Floats = pack.uv
    for _ in range(level):
        edge = (uv + np.roll(uv, -1, axis=1)) / 2
        middle = np.broadcast_to(uv.mean(1, keepdims=True), uv.shape)
        uv = np.stack([uv, edge, middle, np.roll(edge, 1, axis=1)], 2).reshape(-1, 4, 2)
    return pack.subdivision(level).quads.ravel(), uv.reshape(-1, 2).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Regions:
    """Where textures show skin (m,), at level 1, with the kernels of the smooth tone."""

    weight: F32
    area: F32
    kernels: tuple[F32, ...]  # (m, a) each, from anchors to vertices


@lru_cache(maxsize=1)
def _regions() -> _Regions:
    pack, rest = load_pack(), load_average_head().fine[1]
    triangles = rest[pack.subdivision(1).triangles]
    doubled = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    area = np.bincount(pack.subdivision(1).triangles.ravel(), np.repeat(doubled, 3), len(rest))
    weight = _skin_weight(pack, 1) * (1 - smoothstep(0.2, 0.6, pack.mask("lips")))
    cells = np.round(rest[weight > 0.3] / 0.055).astype(np.int32)
    anchors = np.unique(cells, axis=0).astype(np.float32) * np.float32(0.055)
    squared = ((rest[:, None] - anchors[None]) ** 2).sum(-1)
    kernels = tuple(np.exp(-squared / (width**2)).astype(np.float32) for width in TONE_WIDTH)
    return _Regions(weight.astype(np.float32), area.astype(np.float32), kernels)


def _smooth_tone(logs: F32) -> F32:
    """Return the wide changes of a texture (m, 3), less wide for brightness, which has light painted in."""
    region = _regions()
    weight = (region.weight * region.area)[:, None]
    grey = logs.mean(1, keepdims=True)
    parts = []
    for values, kernel in zip((grey, logs - grey), region.kernels, strict=True):
        anchors = (kernel.T @ (weight * values)) / (kernel.T @ weight + 1e-12)
        parts.append((kernel @ anchors) / (kernel.sum(1, keepdims=True) + 1e-12))
    return (parts[0] + parts[1]).astype(np.float32)


def _cut(ratio: F32, level: int) -> F32:
    """Leave out what is not skin, centre the lips on themselves, and bound the rest."""
    pack = load_pack()
    lips = smoothstep(0.3, 0.75, pack.mask("lips", level))
    ratio = ratio - lips[:, None] * ((lips @ ratio) / (lips.sum() + 1e-6))
    weight = _skin_weight(pack, level) * smoothstep(0.95, 0.5, np.abs(ratio.mean(1)))
    return (LIMIT * np.tanh(ratio / LIMIT) * weight[:, None]).astype(np.float32)


@lru_cache(maxsize=2)
def _skin_weight(pack: HeadPack, level: int) -> F32:
    """Return where a texture's unevenness is that of skin (m,): not on hair, brows, eyes, ears, body or seams."""
    rest = load_average_head().fine[level]
    around = np.degrees(np.arctan2(np.abs(rest[:, 0]), rest[:, 2] + 0.02))
    hair = np.interp(around, HAIR_AZIMUTH, HAIR_HEIGHT)
    weight = smoothstep(0.0, -0.10, rest[:, 1] - hair) * smoothstep(-0.75, -0.55, rest[:, 1])
    weight = weight * smoothstep(0.0, 0.05, _seam_distance(rest))
    for name, share in (("ears", 0.8), ("eyelids", 0.7), ("inside_mouth", 1.0)):
        weight = weight * (1 - share * smoothstep(0.15, 0.6, pack.mask(name, level)))
    return (weight * (1 - 0.9 * _brow_area(rest))).astype(np.float32)


def _brow_area(rest: F32) -> F32:
    point, distance = np.abs(rest[:, :1]), np.full(len(rest), np.inf)
    point = np.concatenate([point, rest[:, 1:2]], 1)
    for a, b in zip(BROW[:-1], BROW[1:], strict=True):
        t = np.clip(((point - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(point - (a + t[:, None] * (b - a)), axis=1))
    return smoothstep(0.045, 0.02, distance) * (rest[:, 2] > 0.1)


def _seam_distance(rest: F32) -> F32:
    """Return the distance to the seam between head and body, where the sides of a texture differ, in head heights."""
    rows, uv = _corners(1)
    low, high = np.full((2, rows.max() + 1, 2), [[[9.0]], [[-9.0]]])
    np.minimum.at(low, rows, uv)
    np.maximum.at(high, rows, uv)
    average = load_average_head().fine[1]
    seam = ((high - low).max(1) > 0.01) & (average[:, 1] < -0.33) & ((average[:, 2] < 0.3) | (average[:, 1] < -0.45))
    return np.asarray(KDTree(average[seam]).query(rest)[0], np.float32)
