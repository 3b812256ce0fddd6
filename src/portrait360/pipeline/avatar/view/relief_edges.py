"""Edges of the photo's relief: smooth lines without the steps of its cells, and no cracks between its parts."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, F64, I32, Bools, Floats

ROUNDS = 4  # times that each vertex of an edge moves halfway to its two neighbours along it
CRACK = 0.005  # picture sides: half the width of gaps that are the relief's, not what comes into sight behind it
ALIKE = 0.995  # share of the depth of what lies deepest from which something lies as deep


def smooth_edges(values: Floats, triangles: I32, free: Bools) -> F64:
    """Return what belongs to the vertices (n, k) of a mesh, evened along its edges: cells would be seen as steps.

    Only where they are `free` (n,): what goes on under something else must not come out from there.
    """
    out, count = np.array(values, np.float64), len(values)
    sides = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
    codes, times = np.unique(sides[:, 0] * count + sides[:, 1], return_counts=True)
    first, second = np.divmod(codes[times == 1], count)
    ends, others = np.concatenate([first, second]), np.concatenate([second, first])
    number = np.bincount(ends, minlength=count)
    edge = (number > 0) & free
    for _ in range(ROUNDS):
        for column in out.T:
            around = np.bincount(ends, column[others], count)[edge] / number[edge]
            column[edge] += (around - column[edge]) / 2
    return out


def close_cracks(depth: F32, values: F32) -> tuple[F32, F32]:
    """Return depth (s, s), 0 beside the relief, and values (s, s, k), with what lies deepest in narrow gaps."""
    drawn = depth > 0
    cracks = find_cracks(drawn)
    if not cracks.any():
        return depth, values
    width = 2 * (2 * round(CRACK * len(depth)) + 1) + 1  # both sides of a gap see each other
    beside = drawn & (cv2.dilate(cracks.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    around = cv2.dilate(np.where(beside, depth, 0).astype(np.float32), np.ones((width, width), np.uint8))
    deepest = beside & (depth >= ALIKE * around)
    _, names = cv2.distanceTransformWithLabels(
        (~deepest).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros(int(names.max()) + 1, np.int64)
    places[np.asarray(names, np.int64)[deepest]] = np.flatnonzero(deepest)
    nearest = places[np.asarray(names, np.int64)[cracks]]
    depth, values = depth.copy(), values.copy()
    depth[cracks] = depth.ravel()[nearest]
    values[cracks] = values.reshape(-1, values.shape[-1])[nearest]
    return depth, values


def find_cracks(drawn: Bools) -> Bools:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(CRACK * len(drawn)) + 1,) * 2)
    return (cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0) & ~drawn
