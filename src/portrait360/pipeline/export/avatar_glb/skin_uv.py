"""Where the skin lies in its texture: the charts of the head pack, packed anew so that the face is largest."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from portrait360.synth.head_pack import load_pack
from portrait360.utils.array_types import F32

MARGIN = 0.004  # texture sides around every chart
HEAD = (0.0, 0.0, 1.0, 0.86)  # left, top, right and bottom of the chart of the head
OTHERS = ((0.0, 0.86, 0.52, 1.0), (0.52, 0.86, 0.72, 1.0), (0.72, 0.86, 0.86, 1.0), (0.86, 0.86, 1.0, 1.0))
"""Those of the bust, the lining of the mouth, and of both eye sockets."""
ACROSS = ((0.0, 0.25, 0.335, 0.665, 0.75, 1.0), (0.0, 0.10, 0.17, 0.83, 0.90, 1.0))
DOWN = ((0.0, 0.20, 0.30, 1.0), (0.0, 0.07, 0.12, 1.0))
"""Places in the pack's chart of the head, and in the new one: ears and face get room, scalp and neck lose it."""


@lru_cache(maxsize=1)
def skin_uv() -> F32:
    """Return the texture coordinates (q, 4, 2) of the corners of the pack's quads; v points down."""
    pack = load_pack()
    charts = find_charts()
    out = np.zeros_like(pack.uv)
    nose = np.flatnonzero((pack.quads == pack.landmarks["nose_tip"]).any(1))[0]
    head = charts == charts[nose]
    upright = np.stack([pack.uv[head][..., 1], pack.uv[head][..., 0]], -1)  # the pack's head lies on its side
    placed = _fill((0.0, 0.0, 1.0, 1.0), upright)
    warped = [np.interp(placed[..., i], *knots).astype(np.float32) for i, knots in enumerate((ACROSS, DOWN))]
    out[head] = _fill(HEAD, np.stack(warped, -1))
    rest = sorted(set(charts.tolist()) - {int(charts[nose])}, key=lambda chart: -int((charts == chart).sum()))
    for chart, place in zip(rest, OTHERS, strict=True):
        out[charts == chart] = _fill(place, np.asarray(pack.uv[charts == chart] * [1, -1], np.float32))
    return out.astype(np.float32)


def find_charts() -> NDArray[np.integer]:
    """Return the chart of each quad of the pack."""
    pack = load_pack()
    corners = np.concatenate([pack.quads.reshape(-1, 1), np.round(pack.uv.reshape(-1, 2) * 8192)], 1)
    node = np.unique(corners, axis=0, return_inverse=True)[1].reshape(-1, 4)
    quads = len(node)
    rows, columns = np.repeat(np.arange(quads), 4), quads + node.ravel()
    count = quads + int(node.max()) + 1
    graph = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    return connected_components(graph, directed=False)[1][:quads]


def _fill(place: tuple[float, float, float, float], uv: F32) -> F32:
    """Stretch coordinates over a rectangle, within a margin."""
    low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
    margin = MARGIN if place != (0.0, 0.0, 1.0, 1.0) else 0.0
    start, end = np.array(place[:2]) + margin, np.array(place[2:]) - margin
    return np.asarray(start + (uv - low) / (high - low) * (end - start), np.float32)


def subdivide_uv(uv: F32) -> F32:
    """Return the corners (4 q, 4, 2) of the quads that subdivision makes of quads (q, 4, 2), in its order."""
    middle, centre = (uv + np.roll(uv, -1, 1)) / np.float32(2), uv.mean(1)
    parts = [np.stack([uv[:, k], middle[:, k], centre, middle[:, k - 1]], 1) for k in range(4)]
    return np.asarray(np.stack(parts, 1).reshape(-1, 4, 2), np.float32)
