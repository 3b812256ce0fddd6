"""Complete the texture of an unwrapped head from one photo: by mirroring, and by diffusing visible colours.

What the photo shows stays. The other half of the face is the mirror image of the visible half, adapted to the light
on its side; the rest is hair, skin and cloth in the colours of this person, with hair grain added. Seams are blended
in the gradient domain (Pérez et al. 2003, eq. 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import scipy.sparse as sp
from scipy.ndimage import binary_erosion, gaussian_filter, gaussian_filter1d

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.sparse import factorise

SKIN, HAIR, CLOTH = 0, 1, 2
MAP_MODES: Any = ("nearest", "wrap")  # boundary modes of rows and columns
BACK_DARKENING = 0.12  # how much darker surfaces facing away from the camera are, averaged over lights
GRAZING, FACING = 0.1, 0.5  # cosines between which a photo's colours gain trust
MIRROR_TRUST = 0.6
MIRROR_MAX_AZIMUTH = 112.0  # degrees: no mirror image of the face beyond this
BACK_RANGE = (60.0, 90.0)  # degrees from the front: smoothing of the class probabilities fades in between
# sigma in rows, sigma in columns, and weight of the Gaussians that diffuse colours
KERNELS = ((3, 6, 1.0), (3, 60, 0.1), (8, 120, 1e-2), (40, 400, 1e-4))


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """The samples of a photo at each cell of a map."""

    rgb: Floats  # (rows, columns, 3)
    visible: Floats  # (rows, columns) 0..1: inside the matte and the photo, not hidden
    trust: Floats  # (rows, columns) 0..1: `visible`, reduced at grazing angles


def sample_photo(
    layout: HeadMap, radius: Floats, camera: Camera, clean: Floats, alpha: Floats, known: Floats
) -> SurfaceSamples:
    """Sample the photo's colours on the surface; `clean` is the foreground."""
    vertices, triangles = layout.mesh(radius)
    depth = rasterizer.rasterise(vertices, triangles, camera, clean.shape[0]).depth
    points = vertices[:-1]
    uv = camera.project(points)[0].reshape(layout.rows, layout.columns, 2)
    normals = rasterizer.vertex_normals(vertices, triangles)[:-1]
    towards = camera.position - points
    cosine = (normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
    shape = (layout.rows, layout.columns)
    visible = rasterizer.visible(points, depth, camera, tolerance=0.006).reshape(shape) & (cosine > 0).reshape(shape)
    visible = cv2.morphologyEx(visible.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inside = look_up(known, uv) * smoothstep(0.2, 0.7, look_up(alpha, uv)) * (np.abs(uv - 0.5) < 0.499).all(-1)
    visibility = visible * inside
    return SurfaceSamples(
        look_up(clean, uv), visibility, visibility * smoothstep(GRAZING, FACING, cosine.reshape(shape))
    )


def complete_texture(layout: HeadMap, samples: SurfaceSamples, class_probs: Floats, azimuth: float) -> Floats:
    """Complete the colours (rows, columns, 3) of all cells, for a photo from this azimuth.

    class_probs (3, rows, columns): prior probabilities of skin, hair and cloth.
    """
    mirrored = SurfaceSamples(samples.rgb[:, ::-1], samples.visible[:, ::-1], samples.trust[:, ::-1])
    columns = (np.arange(layout.columns) + 0.5) * (360 / layout.columns)
    from_front, from_camera = np.abs(azimuth_between(0, columns)), np.abs(azimuth_between(azimuth, columns))
    share = mirrored.trust * MIRROR_TRUST * smoothstep(MIRROR_MAX_AZIMUTH, MIRROR_MAX_AZIMUTH - 25, from_front)
    class_probs = clean_class_probs(class_probs)
    posterior = class_posterior(samples, class_probs**2 / (class_probs**2).sum(0))
    colours = np.stack([diffuse_colours(samples, posterior[k]) for k in range(3)])
    fill = (posterior[..., None] * colours).sum(0)
    strands = np.exp(hair_grain(samples, posterior[HAIR]) * posterior[HAIR])[..., None]
    fill = (fill + 0.03) * strands - 0.03
    fill = fill * (1 - BACK_DARKENING * smoothstep(50, 130, from_camera))[None, :, None]
    return np.clip(poisson_blend(samples, mirrored.rgb, share, fill), 0, 1)


def clean_class_probs(class_probs: Floats) -> Floats:
    """Correct and smooth the prior behind the face, where the photo shows nothing.

    Hair that reappears below its end becomes cloth: the hair model mistakes a collar that stands off for hair, with
    ragged borders.
    """
    columns = (np.arange(class_probs.shape[2]) + 0.5) * (360 / class_probs.shape[2])
    back = smoothstep(*BACK_RANGE, np.abs(azimuth_between(0, columns)))
    out, hair = class_probs.copy(), class_probs[HAIR]
    below_hair = np.maximum.accumulate(np.maximum.accumulate(hair >= 0.5, 0) & (hair < 0.35), 0)
    false_hair = hair * below_hair * (back > 0)
    out[HAIR] -= false_hair
    out[CLOTH] += false_hair
    smooth = np.stack([map_gaussian(probs, 1, 4) for probs in out])
    return out + back * (smooth - out)


def class_posterior(samples: SurfaceSamples, class_probs: Floats) -> Floats:
    """Update the probabilities of skin, hair and cloth by the visible colours."""
    likelihood = np.ones_like(class_probs)
    for kind in (SKIN, HAIR):
        weight = samples.trust * (class_probs[kind] > 0.75) * class_probs[kind]
        if weight.sum() < 20:
            continue
        mean = np.average(samples.rgb.reshape(-1, 3), axis=0, weights=weight.ravel())
        deviation = samples.rgb - mean
        covariance = np.einsum("rc,rci,rcj->ij", weight, deviation, deviation) / weight.sum() + 0.04**2 * np.eye(3)
        distance = np.einsum("rci,ij,rcj->rc", deviation, np.linalg.inv(covariance), deviation)
        density = np.exp(-0.5 * distance.clip(0, 40)) / np.sqrt(np.linalg.det(covariance))
        likelihood[kind] = density
    likelihood[CLOTH] = np.maximum(1.0, 0.2 * likelihood[:CLOTH].max(0))
    posterior = class_probs * likelihood
    posterior = posterior / posterior.sum(0)
    return class_probs + samples.trust * (posterior - class_probs)


def diffuse_colours(samples: SurfaceSamples, class_prob: Floats) -> Floats:
    """Diffuse the visible colours of one class to all cells; near ones count most."""
    weight = (samples.trust * (class_prob**2 + 1e-4)).astype(np.float64)
    total, out = np.full(weight.shape, 1e-12), np.zeros_like(samples.rgb, dtype=np.float64)
    for rows, columns, share in KERNELS:
        total += share * map_gaussian(weight, rows, columns)
        for channel in range(3):
            out[..., channel] += share * map_gaussian(weight * samples.rgb[..., channel], rows, columns)
    return out / total[..., None]


def map_gaussian(values: Floats, rows: float, columns: float) -> Floats:
    """Filter a map, which is circular in its columns, with a Gaussian; sigmas are in cells."""
    options = zip(values.shape, (rows, columns), MAP_MODES, strict=True)
    row_matrix, column_matrix = (_gaussian_matrix(cells, sigma, mode) for cells, sigma, mode in options)
    return row_matrix @ values @ column_matrix.T


@lru_cache(maxsize=64)
def _gaussian_matrix(cells: int, sigma: float, mode: Any) -> Floats:
    """Build a Gaussian filter as a matrix: most are wider than the map, and wrap around it several times."""
    return gaussian_filter1d(np.eye(cells), sigma, axis=0, mode=mode, truncate=3.0)


def hair_grain(samples: SurfaceSamples, hair: Floats, seed: int = 0) -> Floats:
    """Synthesise log brightness (rows, columns) around 0 with the strength and correlation of the visible hair."""
    mask: Bools = np.asarray(binary_erosion((samples.trust > 0.3) & (hair > 0.6), iterations=2), bool)
    if mask.sum() < 60:
        return np.zeros(mask.shape)
    grey = np.log(samples.rgb.mean(-1) + 0.03)
    fine = grey - map_gaussian(grey * mask, 5, 5) / np.maximum(map_gaussian(mask.astype(np.float64), 5, 5), 1e-6)
    strength = 1.48 * float(np.median(np.abs(fine[mask])))  # robust against edges of highlights and bands of hats
    fine = np.clip(fine, -2.5 * strength, 2.5 * strength)
    length, width = (_grain_sigma(fine, mask, axis) for axis in (0, 1))
    # inclined strands appear too short along the rows; locks that are wider than strands are not grain
    length, width = float(np.clip(length * max(length / width, 1) ** 3, 3.0, 9.0)), min(width, 0.6)
    noise = np.random.default_rng(seed).normal(size=mask.shape)
    strands = gaussian_filter(noise, (length, width), mode=MAP_MODES)
    return strands / strands.std() * min(strength, 0.15)


def _grain_sigma(grey: Floats, mask: Bools, axis: int) -> float:
    """Return the sigma, in cells, of the Gaussian whose filtered noise correlates over one cell as `grey` does."""
    neighbour = np.roll(grey, -1, axis)
    pairs = mask & np.roll(mask, -1, axis)
    correlation = float((pairs * grey * neighbour).sum() / max((pairs * (grey**2 + neighbour**2) / 2).sum(), 1e-12))
    # noise filtered with a Gaussian of deviation s correlates as exp(-1 / (4 s^2)) over one cell
    return float(np.clip(0.5 / np.sqrt(-np.log(np.clip(correlation, 0.02, 0.995))), 0.5, 9))


def poisson_blend(samples: SurfaceSamples, mirrored: Floats, share: Floats, fill: Floats) -> Floats:
    """Solve for colours with the gradients of photo, mirror image and fill that match the visible photo."""
    rows, columns = samples.trust.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(index, np.roll(index, -1, 1)), (index[:-1], index[1:])]
    first = np.concatenate([a.ravel() for a, _ in pairs])
    second = np.concatenate([b.ravel() for _, b in pairs])
    direct, mirror = (np.minimum(w.ravel()[first], w.ravel()[second]) for w in (samples.trust, share))
    mirror = mirror * (1 - direct)
    fill_weight = np.maximum(1 - direct - mirror, 0)
    weights = (direct, mirror, fill_weight)
    values = [v.reshape(-1, 3) for v in (samples.rgb, mirrored, fill)]
    slopes = sum(w[:, None] * (v[second] - v[first]) for w, v in zip(weights, values, strict=True))
    ones = np.ones(len(first))
    size = rows * columns
    edge = np.arange(len(first))
    gradient = sp.csr_matrix(
        (np.r_[-ones, ones], (np.r_[edge, edge], np.r_[first, second])), shape=(len(first), size)
    )
    to_photo = 20 * samples.trust.ravel() ** 2
    to_fill = 0.05 * np.maximum(1 - samples.trust - share, 0.02).ravel()
    system = gradient.T @ gradient + sp.diags(to_photo + to_fill)
    right = gradient.T @ slopes + to_photo[:, None] * values[0] + to_fill[:, None] * values[2]
    return factorise(system).solve(right).reshape(rows, columns, 3)
