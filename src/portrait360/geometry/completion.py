"""Colour for the whole of an unwrapped head from one photo: seen, mirrored, or made up from what is seen around.

What the photo shows stays. The other half of the face is the mirror image of the seen half, brought to the light of
its side; the rest is hair, skin and cloth in the colours of this person, with hair drawn in. Seams are blended in the
gradient domain (Pérez et al. 2003, eq. 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, gaussian_filter1d
from scipy.sparse.linalg import splu

from portrait360.cameras import Camera, azimuth_between
from portrait360.geometry import raster
from portrait360.geometry.head_map import HeadMap

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

SKIN, HAIR, CLOTH = 0, 1, 2
MAP_ENDS: Any = ("nearest", "wrap")  # of rows and columns
DIMMED = 0.12  # what faces away from the camera is, on average over lights, so much darker
GRAZING, FACING = 0.1, 0.5  # cosines between which a photo's colours gain trust
MIRROR_TRUST = 0.6
MIRROR_END = 112.0  # degrees: a mirror image of the face has no place further back
BEHIND = (60.0, 90.0)  # degrees from the front, between which what the model believes of kinds is smoothed
KERNELS = ((3, 6, 1.0), (3, 60, 0.1), (8, 120, 1e-2), (40, 400, 1e-4))  # rows, columns, weight of a colour's reach


@dataclass(frozen=True, eq=False)
class Seen:
    """What a photo shows of each cell."""

    rgb: Floats  # (rows, columns, 3)
    visible: Floats  # (rows, columns) 0..1: inside of matte and photo, not hidden
    trust: Floats  # (rows, columns) 0..1: the same, less where the surface is turned away


def foreground(rgb: Floats, alpha: Floats) -> Floats:
    """The picture with the colours of the subject carried outwards over its soft edge and the background."""
    weight = np.clip((alpha - 0.9) / 0.1, 0, 1).astype(np.float32)
    filled, known = rgb * weight[..., None], weight
    out, missing = filled.copy(), 1 - known
    for sigma in (1.5, 4, 12, 40, 120):
        total = cv2.GaussianBlur(known, (0, 0), sigma)
        colour = cv2.GaussianBlur(filled, (0, 0), sigma) / np.maximum(total, 1e-6)[..., None]
        share = missing * np.clip(total / 0.05, 0, 1)
        out, missing = out + share[..., None] * colour, missing - share
    return (out + missing[..., None] * rgb).astype(np.float32)


def look_up(picture: Floats, uv: Floats) -> Floats:
    """Bilinear values of a picture at places (..., 2) in image sides, held at its borders."""
    side = picture.shape[0]
    x, y = np.moveaxis(np.asarray(uv, np.float32) * side - 0.5, -1, 0)
    values = cv2.remap(np.asarray(picture, np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32)


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def photographed(
    layout: HeadMap, radius: Floats, camera: Camera, clean: Floats, alpha: Floats, known: Floats
) -> Seen:
    """The photo's colours on the surface; `clean` is the foreground."""
    vertices, triangles = layout.mesh(radius)
    depth = raster.rasterise(vertices, triangles, camera, clean.shape[0]).depth
    points = vertices[:-1]
    uv = camera.project(points)[0].reshape(layout.rows, layout.columns, 2)
    normals = raster.vertex_normals(vertices, triangles)[:-1]
    towards = camera.position - points
    cosine = (normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
    shape = (layout.rows, layout.columns)
    visible = raster.visible(points, depth, camera, tolerance=0.006).reshape(shape) & (cosine > 0).reshape(shape)
    visible = cv2.morphologyEx(visible.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inside = look_up(known, uv) * smoothstep(0.2, 0.7, look_up(alpha, uv)) * (np.abs(uv - 0.5) < 0.499).all(-1)
    seen = visible * inside
    return Seen(look_up(clean, uv), seen, seen * smoothstep(GRAZING, FACING, cosine.reshape(shape)))


def complete(layout: HeadMap, seen: Seen, belief: Floats, azimuth: float) -> Floats:
    """Colours (rows, columns, 3) of all cells, for a photo from this azimuth.

    belief (3, rows, columns): in skin, hair and cloth.
    """
    mirrored = Seen(seen.rgb[:, ::-1], seen.visible[:, ::-1], seen.trust[:, ::-1])
    columns = (np.arange(layout.columns) + 0.5) * (360 / layout.columns)
    behind, away = np.abs(azimuth_between(0, columns)), np.abs(azimuth_between(azimuth, columns))
    share = mirrored.trust * MIRROR_TRUST * smoothstep(MIRROR_END, MIRROR_END - 25, behind)
    belief = tidied(belief)
    posterior = recognise(seen, belief**2 / (belief**2).sum(0))
    colours = np.stack([carried(seen, posterior[k]) for k in range(3)])
    fill = (posterior[..., None] * colours).sum(0)
    strands = np.exp(grain(seen, posterior[HAIR]) * posterior[HAIR])[..., None]
    fill = (fill + 0.03) * strands - 0.03
    fill = fill * (1 - DIMMED * smoothstep(50, 130, away))[None, :, None]
    return np.clip(blend(seen, mirrored.rgb, share, fill), 0, 1)


def tidied(belief: Floats) -> Floats:
    """Behind the face, where no photo corrects it: hair that begins again below its end is cloth, and the borders are
    soft. A collar that stands off looks to the model like hair on it, and its borders are ragged."""
    columns = (np.arange(belief.shape[2]) + 0.5) * (360 / belief.shape[2])
    behind = smoothstep(*BEHIND, np.abs(azimuth_between(0, columns)))
    out, hair = belief.copy(), belief[HAIR]
    ended = np.maximum.accumulate(np.maximum.accumulate(hair >= 0.5, 0) & (hair < 0.35), 0)
    again = hair * ended * (behind > 0)
    out[HAIR] -= again
    out[CLOTH] += again
    soft = np.stack([around(kind, 1, 4) for kind in out])
    return out + behind * (soft - out)


def recognise(seen: Seen, belief: Floats) -> Floats:
    """Belief in skin, hair and cloth once the colours are looked at, where there are any."""
    likely = np.ones_like(belief)
    for kind in (SKIN, HAIR):
        weight = seen.trust * (belief[kind] > 0.75) * belief[kind]
        if weight.sum() < 20:
            continue
        mean = np.average(seen.rgb.reshape(-1, 3), axis=0, weights=weight.ravel())
        off = seen.rgb - mean
        covariance = np.einsum("rc,rci,rcj->ij", weight, off, off) / weight.sum() + 0.04**2 * np.eye(3)
        distance = np.einsum("rci,ij,rcj->rc", off, np.linalg.inv(covariance), off)
        density = np.exp(-0.5 * distance.clip(0, 40)) / np.sqrt(np.linalg.det(covariance))
        likely[kind] = density
    likely[CLOTH] = np.maximum(1.0, 0.2 * likely[:CLOTH].max(0))
    posterior = belief * likely
    posterior = posterior / posterior.sum(0)
    return belief + seen.trust * (posterior - belief)


def carried(seen: Seen, belief: Floats) -> Floats:
    """The colours of one kind carried from where they are seen to everywhere, near ones first."""
    weight = (seen.trust * (belief**2 + 1e-4)).astype(np.float64)
    total, out = np.full(weight.shape, 1e-12), np.zeros_like(seen.rgb, dtype=np.float64)
    for rows, columns, share in KERNELS:
        total += share * around(weight, rows, columns)
        for channel in range(3):
            out[..., channel] += share * around(weight * seen.rgb[..., channel], rows, columns)
    return out / total[..., None]


def around(values: Floats, rows: float, columns: float) -> Floats:
    """Gaussian mean over a map, which is circular in its columns."""
    down, across = (_filter(n, *how) for n, *how in zip(values.shape, (rows, columns), MAP_ENDS, strict=True))
    return down @ values @ across.T


@lru_cache(maxsize=64)
def _filter(cells: int, sigma: float, ends: Any) -> Floats:
    """As a matrix: most are wider than the map, which it runs around several times."""
    return gaussian_filter1d(np.eye(cells), sigma, axis=0, mode=ends, truncate=3.0)


def grain(seen: Seen, hair: Floats, seed: int = 0) -> Floats:
    """Light and dark (rows, columns), relative to 0, as strong and as long and wide as the visible hair's strands."""
    own: Bools = np.asarray(binary_erosion((seen.trust > 0.3) & (hair > 0.6), iterations=2), bool)
    if own.sum() < 60:
        return np.zeros(own.shape)
    grey = np.log(seen.rgb.mean(-1) + 0.03)
    fine = grey - around(grey * own, 5, 5) / np.maximum(around(own.astype(np.float64), 5, 5), 1e-6)
    size = 1.48 * float(np.median(np.abs(fine[own])))  # neither a highlight's edge nor a hat's band counts as strands
    fine = np.clip(fine, -2.5 * size, 2.5 * size)
    down, across = (_run(fine, own, axis) for axis in (0, 1))
    # strands that lean are shorter along the map than they are; locks that are wider than strands are no grain
    down, across = float(np.clip(down * max(down / across, 1) ** 3, 3.0, 9.0)), min(across, 0.6)
    noise = np.random.default_rng(seed).normal(size=own.shape)
    strands = gaussian_filter(noise, (down, across), mode=MAP_ENDS)
    return strands / strands.std() * min(size, 0.15)


def _run(grey: Floats, weight: Bools, axis: int) -> float:
    """Standard deviation, in cells, of the Gaussian whose noise resembles itself over one cell as `grey` does."""
    near = np.roll(grey, -1, axis)
    both = weight & np.roll(weight, -1, axis)
    alike = float((both * grey * near).sum() / max((both * (grey**2 + near**2) / 2).sum(), 1e-12))
    # noise filtered with a Gaussian of deviation s correlates as exp(-1 / (4 s^2)) over one cell
    return float(np.clip(0.5 / np.sqrt(-np.log(np.clip(alike, 0.02, 0.995))), 0.5, 9))


def blend(seen: Seen, mirrored: Floats, share: Floats, fill: Floats) -> Floats:
    """The colours whose gradients are those of photo, mirror image and fill, and which meet the photo's colours."""
    rows, columns = seen.trust.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(index, np.roll(index, -1, 1)), (index[:-1], index[1:])]
    first = np.concatenate([a.ravel() for a, _ in pairs])
    second = np.concatenate([b.ravel() for _, b in pairs])
    direct, mirror = (np.minimum(w.ravel()[first], w.ravel()[second]) for w in (seen.trust, share))
    mirror = mirror * (1 - direct)
    rest = np.maximum(1 - direct - mirror, 0)
    values = [v.reshape(-1, 3) for v in (seen.rgb, mirrored, fill)]
    slopes = sum(w[:, None] * (v[second] - v[first]) for w, v in zip((direct, mirror, rest), values, strict=True))
    ones = np.ones(len(first))
    size = rows * columns
    edge = np.arange(len(first))
    gradient = sp.csr_matrix(
        (np.r_[-ones, ones], (np.r_[edge, edge], np.r_[first, second])), shape=(len(first), size)
    )
    held = 20 * seen.trust.ravel() ** 2
    drawn = 0.05 * np.maximum(1 - seen.trust - share, 0.02).ravel()
    system = gradient.T @ gradient + sp.diags(held + drawn)
    right = gradient.T @ slopes + held[:, None] * values[0] + drawn[:, None] * values[2]
    return splu(sp.csc_matrix(system)).solve(right).reshape(rows, columns, 3)
