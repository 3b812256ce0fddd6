"""Measure how thick a photo's rims of glasses are all along, which colours they have, and give a frame both.

A fitted frame has one colour, but browlines have heavy dark upper rims and fine bright lower ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.worn.glasses_fit import ABOVE, DIM
from portrait360.pipeline.avatar.worn.glasses_photo import ALBEDO, REFLECTS, find_front, is_glasses
from portrait360.synth.scene import Material, Mesh
from portrait360.synth.wear.glasses import RIM_SIDES, trace_rim
from portrait360.utils.array_types import F32, F64
from portrait360.utils.image_ops import look_up

STEP, BESIDE, AROUND = 0.5, (1.5, 5.0), 3.5  # pixels of 512: between samples across a rim; of what lies beside it on
# either side; and within which it is looked for
LEAST, END = 0.12, 0.4  # logarithm by which a rim differs at least, and share of that at which it ends
NEAR, AWAY = 2, 4  # points of rims before and behind whose median counts, and for colours, among highlights
FEWEST = 3  # points that must tell it
ONE_KIND = 0.4  # share by which points are more often darker than what is beside them, or brighter, if a frame is so
TOLD = 0.4  # share of a rim's points that must be told
THIN, WIDE = 0.45, 2.2  # of its usual thickness which a rim has at least and at most
SMOOTH = 1.2  # points along a rim over which it is even
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class FrameLook:
    """What points along the rims of both lenses look like, which are alike."""

    radii: F64  # (k,) half their thickness, canonical
    moves: F64  # (2, k) by which each rim lies further out, canonical
    radiance: F64  # (k, 3) of the photo
    outward: Sequence[F64]  # (k, 3) the directions across each rim

    def move(self, rims: Sequence[F64]) -> list[F64]:
        """Return rims (k, 3) where the middle of the photo's is."""
        return [rim + m[:, None] * out for rim, m, out in zip(rims, self.moves, self.outward, strict=True)]


def measure_look(photo: Photo, rims: Sequence[F64], outward: Sequence[F64], thick: float) -> FrameLook | None:
    """Return what rims (k, 3) look like that lie in a photo, where they are about `thick` pixels of 512 wide.

    `outward` holds the directions (k, 3) across them. None where a photo does not tell.
    """
    found = [_measure_rim(photo, rim, out, thick) for rim, out in zip(rims, outward, strict=True)]
    widths, moves, colours, darker = (np.stack(column) for column in zip(*found, strict=True))
    told, sign = np.isfinite(widths), np.sign(darker)
    if told.any() and abs(sign[told].mean()) > ONE_KIND:  # what few points are is a gleam or a shadow
        other = sign != np.sign(sign[told].mean())
        widths, moves = np.where(other, np.nan, widths), np.where(other, np.nan, moves)
        colours = np.where(other[..., None], np.nan, colours)
    told = np.concatenate([_pool(widths[..., None], NEAR), _pool(np.log(colours + DIM), AWAY)], -1)
    if np.isfinite(told[:, 0]).mean() < TOLD:
        return None
    told = _fill(told)
    usual = float(np.median(told[:, 0]))
    own = np.stack([_fill(_pool(move[None, :, None], NEAR)) for move in moves])[..., 0]
    radii = 0.5 * told[:, 0].clip(THIN * usual, WIDE * usual)
    return FrameLook(radii, np.nan_to_num(own), np.exp(told[:, 1:]) - DIM, outward)


def _measure_rim(photo: Photo, rim: F64, outward: F64, thick: float) -> tuple[F64, F64, F64, F64]:
    """Return how wide a rim is at each point (k,), how far out its middle lies, canonical, and its radiance (k, 3).

    They are not numbers where it is unclear. The last says by how much it is darker than what lies beside it.
    """
    pixel = photo.size / 512
    reach = 0.5 * thick + BESIDE[1]
    offsets = np.arange(-reach, reach + STEP, STEP)
    across, size = _project_across(photo.camera, rim, outward, photo.size)
    uv = photo.camera.project(rim)[0][:, None] * photo.size + offsets[:, None] * pixel * across[:, None]
    places = (uv / photo.size).astype(np.float32)
    light = np.stack([look_up(np.log(np.maximum(c, 0) + DIM), places) for c in _split(photo.radiance)], -1)
    beside = 0.5 * thick + BESIDE[0]
    inner, outer = (np.median(light[:, side], 1) for side in (offsets < -beside, offsets > beside))
    ramp = ((offsets + reach) / (2 * reach))[:, None]
    differs = light - (inner[:, None] * (1 - ramp) + outer[:, None] * ramp)
    strength = np.linalg.norm(differs, axis=-1) * np.exp(-0.5 * (offsets / AROUND) ** 2)
    top = np.take_along_axis(differs, strength.argmax(1)[:, None, None], 1)
    square = np.maximum((top**2).sum(-1), TINY)
    share = np.clip((differs * top).sum(-1) / square, 0, 1)
    share = share * _connect(share > END, strength.argmax(1))
    width, middle = STEP * share.sum(1), (share * offsets).sum(1) / np.maximum(share.sum(1), TINY)
    sure = (share > 0.8)[..., None]
    colour = np.exp((light * sure).sum(1) / np.maximum(sure.sum(1), 1)) - DIM
    clear = (square[:, 0] > 3 * LEAST**2) & (share[:, 0] == 0) & (share[:, -1] == 0)
    scale = pixel * size / photo.size
    lost = np.where(clear, 0.0, np.nan)
    return width * scale + lost, middle * scale + lost, colour + lost[:, None], -top[:, 0].mean(-1)


def _project_across(camera: Camera, rim: F64, outward: F64, size: int) -> tuple[F64, F64]:
    """Return the unit ways (k, 2) across a rim in a picture, and the canonical length (k,) of a picture side."""
    near, far = (camera.project(rim + s * 1e-3 * outward)[0] for s in (-1, 1))
    long = np.maximum(np.linalg.norm(far - near, axis=-1), TINY)
    return (far - near) / long[:, None], 2e-3 / long


def _split(picture: F32) -> list[F32]:
    return [np.ascontiguousarray(picture[..., i]) for i in range(picture.shape[-1])]


def _connect(inside: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return what of each row (k, o) is joined to its start (k,)."""
    columns = np.arange(inside.shape[1])
    gap = np.where(inside, -1, columns)
    left = np.where(columns <= start[:, None], gap, -1).max(1)
    gap = np.where(inside, inside.shape[1], columns)
    right = np.where(columns >= start[:, None], gap, inside.shape[1]).min(1)
    return (columns > left[:, None]) & (columns < right[:, None])


def _pool(values: F64, reach: int) -> F64:
    """Return medians (k, c) over lenses and near points of a closed line (n, k, c); no numbers where few tell."""
    steps = range(-reach, reach + 1)
    near = np.concatenate([np.roll(values, step, axis=1) for step in steps])
    told = np.isfinite(near[..., 0]).sum(0)
    with np.errstate(all="ignore"):
        median = np.nanmedian(np.where(told[:, None] > 0, near, 0), axis=0)
    return np.where((told >= FEWEST)[:, None], median, np.nan)


def _fill(values: F64) -> F64:
    """Return values (k, c) of a closed line, between their neighbours where there are none, even along it."""
    told = np.isfinite(values[:, 0])
    if not told.any():
        return np.zeros_like(values)
    rows = np.arange(len(values))
    columns = [np.interp(rows, rows[told], column[told], period=len(values)) for column in values.T]
    return even_line(np.stack(columns, -1), SMOOTH)


def even_line(values: F64, sigma: float) -> F64:
    """Return values (k, c) of a closed line that are even over some of its points."""
    return np.asarray(gaussian_filter1d(values, sigma, axis=0, mode="wrap"), np.float64)


def show_look(meshes: Sequence[Mesh], look: FrameLook) -> tuple[Mesh, ...]:
    """Return meshes whose rims of glasses are as thick as the photo's, and whose frame has its colours."""
    front = find_front(meshes)[:2]
    rims = [trace_rim(mesh) for mesh in front]
    nearest = KDTree(np.concatenate(rims))
    colours = np.tile(REFLECTS * look.radiance, (len(rims), 1)).clip(*ALBEDO).astype(np.float32)
    temple = np.median(colours[: len(look.radiance)][ABOVE], 0)
    out = []
    for mesh in meshes:
        if is_glasses(mesh) and mesh.material[0] != Material.GLASS:
            is_temple = np.ptp(mesh.vertices[:, 2]) > np.ptp(mesh.vertices[:, 0])
            own = temple if is_temple else colours[nearest.query(mesh.vertices)[1]]
            for rim, line in zip(front, rims, strict=True):
                mesh = _thicken(mesh, line, look.radii) if mesh is rim else mesh
            mesh = replace(mesh, albedo=np.broadcast_to(own, mesh.albedo.shape).copy())
        out.append(mesh)
    return tuple(out)


def _thicken(mesh: Mesh, line: F64, radii: F64) -> Mesh:
    """Return the closed tube of a rim around a line (k, 3) with other radii (k,)."""
    rings = mesh.vertices.reshape(-1, RIM_SIDES, 3).astype(np.float64)
    middle, wide = (np.concatenate([a, a[:1]]) for a in (line, radii))
    off = rings - middle[:, None]
    off = off * (wide[:, None] / np.maximum(np.linalg.norm(off, axis=-1).mean(1, keepdims=True), TINY))[..., None]
    return replace(mesh, vertices=(middle[:, None] + off).reshape(-1, 3).astype(np.float32))
