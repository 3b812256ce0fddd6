"""Closed-form matting: the smoothest alpha that is locally linear in the colours (Levin et al. 2008, eq. 12)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from portrait360.utils.array_types import F32, Bools

EPSILON = 1e-5  # sRGB squared: variance of a window's colours that counts as noise
WINDOW = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
REACH = 5  # pixels along a side of the square that all windows with one pixel span
TOLERANCE, ROUNDS = 3e-4, 150  # of the conjugate gradients


def solve_alpha(rgb: F32, alpha: F32, free: Bools, guess: F32, weight: F32) -> F32:
    """Return the alpha (s, s): closed-form matting where it is free, what is given elsewhere.

    Args:
        rgb: The picture (s, s, 3).
        alpha: What is known, and a first estimate where it is not.
        free: Where it is not known.
        guess: What the colour of a pixel says by itself.
        weight: How much that counts; the windows with a pixel count 9.
    """
    free = free.copy()
    free[[0, -1]] = free[:, [0, -1]] = False
    free[[1, -2]] = free[:, [1, -2]] = False
    if not free.any():
        return alpha
    table = build_laplacian(rgb, free)
    rows, pixels = np.full(free.size, -1), np.flatnonzero(free)
    rows[pixels] = np.arange(len(pixels))
    steps = np.arange(REACH) - REACH // 2
    near = pixels[:, None] + (steps[:, None] * len(free) + steps).ravel()
    beside = rows[near]
    own, pull = np.where(beside < 0, 0, table), weight.ravel()[pixels]
    own[:, REACH * REACH // 2] += pull
    ends = np.arange(len(pixels) + 1) * REACH * REACH
    matrix = sparse.csr_array((own.ravel(), np.maximum(beside, 0).ravel(), ends), shape=(len(pixels),) * 2)
    right = pull * guess.ravel()[pixels] - (np.where(beside < 0, table, 0) * alpha.ravel()[near]).sum(1)
    scale = sparse.diags_array(1 / own[:, REACH * REACH // 2])
    first = alpha.ravel()[pixels]
    found, _ = cg(matrix, right, x0=first, rtol=TOLERANCE, maxiter=ROUNDS, M=scale)
    out = alpha.copy()
    out[free] = np.clip(found, 0, 1)
    return out


def build_laplacian(rgb: F32, free: Bools) -> F32:
    """Return the rows of the matting Laplacian for free pixels (n, 25): a row holds the square around its pixel."""
    centres = np.flatnonzero(cv2.dilate(free.astype(np.uint8), np.ones((3, 3), np.uint8)))
    members = centres[:, None] + np.array([y * len(free) + x for y, x in WINDOW])
    colours = rgb.reshape(-1, 3)[members].astype(np.float64)
    colours -= colours.mean(1, keepdims=True)
    spread = colours.transpose(0, 2, 1) @ colours / len(WINDOW) + EPSILON / len(WINDOW) * np.eye(3)
    alike = (1 + colours @ np.linalg.inv(spread) @ colours.transpose(0, 2, 1)) / len(WINDOW)
    rows = np.full(free.size, -1)
    rows[free.ravel()] = np.arange(free.sum())
    table = np.zeros((int(free.sum()) + 1, REACH * REACH), np.float32)  # the last row takes what is not free
    middle = REACH // 2
    for i, (y, x) in enumerate(WINDOW):
        row = rows[members[:, i]]
        table[row, REACH * middle + middle] += 1
        for j, (below, right) in enumerate(WINDOW):
            table[row, (below - y + middle) * REACH + right - x + middle] -= alike[:, i, j]
    return table[:-1]
