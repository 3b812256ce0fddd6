"""Gaussians as the page stores them: in steps too fine to be seen, 17 or 26 bytes each before compression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.utils.images import to_uint8

MIN_SCALE = 1e-5  # of a splat: far below a pixel at any zoom, so smaller scales need no steps of the logarithm


def pack_splats(splats: GaussianSplats) -> tuple[dict[str, Any], bytes]:
    """Return ranges and data for unpack_splats.js: rotations, positions, colours, opacities, log scales, slopes."""
    arrays = splats.means, splats.scales, splats.rotations, splats.opacities, splats.colours, splats.slopes
    if not all(len(values) and np.isfinite(values).all() for values in arrays):
        raise ValueError("arrays must be finite and not empty")
    steps, low, high = _quantise(splats.means)
    logs = np.log(np.maximum(splats.scales.astype(np.float64), MIN_SCALE))
    min_log, max_log = float(logs.min()), float(logs.max())
    scales = np.round((logs - min_log) / max(max_log - min_log, 1e-9) * 255).astype(np.uint8)
    rgba = to_uint8(np.concatenate([splats.colours, splats.opacities[:, None]], 1))
    parts = [_pack_smallest_three(splats.rotations), steps, rgba, scales]
    ranges: dict[str, Any] = {"count": len(splats), "low": low, "high": high, "logs": [min_log, max_log]}
    if splats.degree:
        ranges["steepest"] = float(np.abs(splats.slopes).max())
        parts.append(np.round(splats.slopes / ranges["steepest"] * 127).astype(np.int8))
    return ranges, b"".join(values.tobytes() for values in parts)


def _quantise(points: ArrayLike) -> tuple[NDArray[np.uint16], list[float], list[float]]:
    """Return points in 16-bit steps within their bounding box, and its corners."""
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    steps = np.round((points - low) / np.maximum(high - low, 1e-9) * 65535)
    return steps.astype("<u2"), low.tolist(), high.tolist()


def _pack_smallest_three(rotations: ArrayLike) -> NDArray[np.uint32]:
    """Pack unit quaternions (n, 4) in 32 bits: the index of the largest component, and 10 bits for each other one."""
    quaternions = np.asarray(rotations, np.float64)
    quaternions = quaternions / np.maximum(np.linalg.norm(quaternions, axis=1, keepdims=True), 1e-12)
    largest = np.abs(quaternions).argmax(1)
    sign = np.where(np.take_along_axis(quaternions, largest[:, None], 1) < 0, -1, 1)
    quaternions = quaternions * sign  # q and -q are the same rotation
    indices = np.arange(3) + (np.arange(3) >= largest[:, None])
    others = np.take_along_axis(quaternions, indices, 1)  # within 1 / sqrt(2), because the largest is not smaller
    steps = np.round((others * 2**0.5 + 1) / 2 * 1023).clip(0, 1023).astype(np.uint32)
    packed = largest.astype(np.uint32) << 30 | steps[:, 0] << 20 | steps[:, 1] << 10 | steps[:, 2]
    return packed.astype("<u4")
