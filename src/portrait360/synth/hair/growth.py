"""Grow strands along a combed direction field under gravity, outside the head, ears and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.geometry.numba_jit import njit_helper
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.distance_field import LOW, STEP, sample_field
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.vectors import measure_length

COMB = ("radial", "side", "forward", "back", "up", "down", "inward", "vertical")
CROWN = np.array([0.012, 0.21, -0.06], np.float32)  # the hair whorl
NOWHERE = -9.0  # a cut height below all hair
OVER_EARS = 0.03  # canonical; shorter hair ignores the ears, hair from twice this length on goes round them
POINTED_EAR = 0.035  # canonical; an ear is pointed if its upper rim stands out this much further than its lobe
POINTS_PER_TURN, MAX_POINTS = 4.5, 34  # points on a curl: per turn, and at most per strand


@dataclass(frozen=True, eq=False)
class Growth:
    """Growth parameters of each of s strands."""

    length: F32  # (s,)
    comb: F32  # (s, len(COMB))
    lift: F32  # (s,)
    gravity: F32  # (s,)
    stiff: F32  # (s,)
    offset: F32  # (s,)
    cut: F32  # (s,) height below which a strand is cut off
    avoid_face: F32  # (s,) 1: the strand keeps off the face
    side: F32  # (s,) -1 or 1, the side of the parting
    jitter: F32  # (s, 3) added to the first direction
    tuck: F32 | None = None  # (s,) 1: goes behind the left ear, -1: behind the right one, 0: falls as it likes


def grow(head: Head, roots: ArrayLike, normals: ArrayLike, growth: Growth, steps: int) -> F32:
    """Grow strands (s, steps + 1, 3); a cut strand keeps its number of points, closer together."""
    ears = np.array([_ear_ellipsoid(head, "left"), _ear_ellipsoid(head, "right")], np.float32)
    return _grow(
        np.ascontiguousarray(roots, np.float32),
        np.ascontiguousarray(normals, np.float32),
        growth.length,
        growth.comb,
        growth.lift,
        growth.gravity,
        growth.stiff,
        growth.offset,
        growth.cut,
        growth.avoid_face,
        growth.side,
        growth.jitter,
        np.zeros(len(growth.length), np.float32) if growth.tuck is None else growth.tuck,
        head.field.values,
        LOW,
        np.float32(STEP),
        ears,
        np.array([_behind_ear(head, "left"), _behind_ear(head, "right")], np.float32),
        CROWN,
        steps,
    )


def _behind_ear(head: Head, side: str) -> np.ndarray:
    """Return the point over the ear's root by which hair is tucked, then the height of the lobe."""
    lobe, top = head.landmarks[f"{side}_ear_lobe"], head.landmarks[f"{side}_ear_top"]
    height = min(top[1], lobe[1] + 0.105) + 0.012  # a pointed ear has its root no higher
    return np.array([np.sign(lobe[0]) * (abs(lobe[0]) - 0.008), height, lobe[2] - 0.056, lobe[1]])


def _ear_ellipsoid(head: Head, side: str) -> np.ndarray:
    """Return centre and radii of an ellipsoid about an ear, then 1 where hair is tucked behind it, else 0."""
    # measured from the lobe, because the upper rim may be stretched to a point
    lobe, top = head.landmarks[f"{side}_ear_lobe"], head.landmarks[f"{side}_ear_top"]
    if abs(top[0]) - abs(lobe[0]) < POINTED_EAR:
        return np.concatenate([lobe + np.array([0, 0.048, 0], np.float32), [0.022, 0.065, 0.036, 0.0]])
    return np.concatenate([0.55 * lobe + 0.45 * top + np.array([0, 0, 0.022]), [0.070, 0.075, 0.055, 1.0]])


@numba.njit(cache=True, nogil=True)
def _grow(
    roots, normals, length, comb, lift, gravity, stiff, offset, cut, avoid, side, jitter,
    tuck, values, low, step, ears, behind, crown, steps,
):  # fmt: skip
    count = len(roots)
    out = np.empty((count, steps + 1, 3), np.float32)
    p, d, f, n = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for s in range(count):
        for a in range(3):
            p[a] = roots[s, a]
            n[a] = normals[s, a]
            out[s, 0, a] = p[a]
        _comb_heading(p, n, comb[s], side[s], crown, f)
        for a in range(3):
            d[a] = f[a] + lift[s] * n[a] + jitter[s, a]
        _normalise(d)
        stride = length[s] / steps
        last = steps
        ear, to_ear = 0 if tuck[s] > 0 else 1, tuck[s] != 0
        aside = min(max(length[s] / OVER_EARS - 1.0, 0.0), 1.0)
        for j in range(1, steps + 1):
            t = j / steps
            distance, gx, gy, gz = sample_field(values, low, step, p[0], p[1], p[2])
            n[0], n[1], n[2] = gx, gy, gz
            _normalise(n)
            _comb_heading(p, n, comb[s], side[s], crown, f)
            weigh = gravity[s] * min(1.0, (j * stride) / 0.10)
            to_ear = to_ear and p[2] > behind[ear, 2] + 0.004  # once past, hair may come forward over the shoulder
            if to_ear:
                _head_for(p, n, behind[ear], 0.35 + 8 * max(distance - 0.02, 0.0), f)
                weigh = 0.0
            for a in range(3):
                goal = f[a] * (1 - weigh) - (weigh if a == 1 else 0.0)
                d[a] = d[a] * stiff[s] + goal * (1 - stiff[s])
            _normalise(d)
            if avoid[s] > 0 and not to_ear:
                _leave_face(p, d)
            for a in range(3):
                n[a] = p[a] + d[a] * stride
            away = offset[s] * min(1.0, 0.15 + 2.5 * t)
            if tuck[s] != 0:
                away = _hold_behind(n, behind[ear], to_ear, away)
            _keep_out(n, away, values, low, step, ears, aside)
            for a in range(3):
                d[a] = n[a] - p[a]
                p[a] = n[a]
            _normalise(d)
            for a in range(3):
                out[s, j, a] = p[a]
            if p[1] < cut[s]:
                last = j
                break
        if last < steps or p[1] < cut[s]:
            _shorten(out[s], last, cut[s])
    return out


@njit_helper
def _normalise(v):
    length = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) ** 0.5 + 1e-9
    v[0] /= length
    v[1] /= length
    v[2] /= length


@njit_helper
def _comb_heading(p, n, comb, side, crown, f):
    """Write the combed growth direction at p, over a surface with normal n, into f."""
    rx, ry, rz = p[0] - crown[0], p[1] - crown[1], p[2] - crown[2]
    length = (rx * rx + ry * ry + rz * rz) ** 0.5 + 1e-6
    f[0] = comb[0] * rx / length + comb[1] * side - comb[6] * p[0] * 12
    f[1] = comb[0] * ry / length - 0.25 * comb[1] - comb[5]
    f[2] = comb[0] * rz / length + comb[2] - comb[3] - 0.3 * comb[1] * (1 if p[2] < 0.04 else 0)
    along = f[0] * n[0] + f[1] * n[1] + f[2] * n[2]
    for a in range(3):
        f[a] += (comb[4] - along) * n[a]
    f[1] += comb[7]
    _normalise(f)


@njit_helper
def _head_for(p, n, goal, cling, f):
    """Write the direction from p to the goal over a surface with normal n, and by `cling` towards it, into f."""
    for a in range(3):
        f[a] = goal[a] - p[a]
    _normalise(f)
    along = f[0] * n[0] + f[1] * n[1] + f[2] * n[2]
    for a in range(3):
        f[a] -= along * n[a]
    _normalise(f)
    for a in range(3):
        f[a] -= cling * n[a]


@njit_helper
def _hold_behind(q, behind, on_its_way, offset):
    """Keep q over the ear on its way there and behind it from then on; return its distance from the skin."""
    height = behind[1] - q[1]
    if on_its_way:
        if height > 0 and abs(q[0]) > 0.6 * abs(behind[0]):
            q[1] += height
    elif behind[3] - 0.09 < q[1] < behind[1] + 0.02 and q[0] * behind[0] > 0 and q[2] > behind[2]:
        q[2] = behind[2]
    near = min(max(1.0 - abs(height) / 0.08, 0.0), 1.0)
    return offset * (1 - 0.7 * near)


@njit_helper
def _leave_face(p, d):
    """Turn the direction d aside before the face: outwards, back and down."""
    inside = 1.0 - (p[0] / 0.112) ** 2 - ((p[1] + 0.05) / 0.19) ** 2
    if p[2] > 0.04 and inside > 0:
        away = 1.0 if p[0] >= 0 else -1.0
        d[0] += away * (0.5 + inside)
        d[1] -= 0.25
        d[2] -= 0.35
        _normalise(d)


@njit_helper
def _keep_out(q, offset, values, low, step, ears, aside):
    """Move q out of the head to at least `offset`, and off the ears."""
    distance, gx, gy, gz = sample_field(values, low, step, q[0], q[1], q[2])
    if distance < offset:
        length = (gx * gx + gy * gy + gz * gz) ** 0.5 + 1e-9
        lack = (offset - distance) / length
        q[0] += gx * lack
        q[1] += gy * lack
        q[2] += gz * lack
    for e in range(len(ears)):
        x, y, z = q[0] - ears[e, 0], q[1] - ears[e, 1], q[2] - ears[e, 2]
        inside = (x / ears[e, 3]) ** 2 + (y / ears[e, 4]) ** 2 + (z / ears[e, 5]) ** 2
        if inside < 1 and ears[e, 6] > 0:
            q[2] -= ears[e, 5] * (1 - inside) * 0.5 * aside
        elif inside < 1:
            q[0] += (1 if ears[e, 0] > 0 else -1) * ears[e, 3] * (1 - inside) * 0.9 * aside


@njit_helper
def _shorten(strand, last, cut):
    """Redistribute the points of a strand over its part above the cut."""
    above = strand[last - 1, 1] - cut
    span = strand[last - 1, 1] - strand[last, 1]
    end = last - 1 + min(max(above / max(span, 1e-6), 0.05), 1.0)
    steps = len(strand) - 1
    copy = strand.copy()
    for j in range(steps + 1):
        position = end * j / steps
        i = min(int(position), last - 1)
        for a in range(3):
            strand[j, a] = copy[i, a] * (1 - (position - i)) + copy[i + 1, a] * (position - i)


def strand_frames(strands: F32) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors across every point of every strand."""
    tangent = unit(np.gradient(strands, axis=1))
    across = unit(np.cross(tangent, np.array([0.13, 0.31, 1.0])))
    return across, np.cross(tangent, across)


def clump(
    strands: F32, amount: float, rng: np.random.Generator, size: int = 16, reach: float | None = None
) -> tuple[F32, np.ndarray]:
    """Pull strands together towards their tips; also return the index of each strand's clump (s,).

    With `reach`, strands whose tips lie much further apart than this stay apart.
    """
    count = len(strands)
    guides = rng.choice(count, max(count // size, 1), replace=False)
    clump_index = np.asarray(KDTree(strands[guides, 0]).query(strands[:, 0], workers=count_threads())[1])
    pull = (amount * np.linspace(0, 1, strands.shape[1]) ** 0.8)[None, :, None]
    guide_points = strands[guides][clump_index]
    lengths = measure_length(np.diff(strands, axis=1)).sum(1)
    ratio = np.minimum(lengths, lengths[guides][clump_index]) / np.maximum(lengths, lengths[guides][clump_index])
    if reach is not None:
        ratio = ratio * np.exp(-(((guide_points - strands) ** 2).sum(2).max(1) / reach**2))
    strands = (strands + (guide_points - strands) * pull * ratio[:, None, None] ** 2).astype(np.float32)
    return strands, clump_index


def curl(strands: F32, radius: float, turns: float, clump_index: np.ndarray, rng: np.random.Generator) -> F32:
    """Wind strands into helices that share a phase within a clump; `turns` are per head height of length."""
    strands = _resample_for_curls(strands, turns)
    steps = measure_length(np.diff(strands, axis=1))
    along = np.concatenate([np.zeros((len(strands), 1)), np.cumsum(steps, 1)], 1) / HEAD_HEIGHT
    clump_count = int(clump_index.max()) + 1 if len(clump_index) else 1
    phase = rng.uniform(0, 2 * np.pi, clump_count)[clump_index] + rng.normal(0, 0.35, len(clump_index))
    turn_factor = np.exp(rng.normal(0, 0.12, clump_count))[clump_index]
    angle = phase[:, None] + 2 * np.pi * turns * turn_factor[:, None] * along
    amplitude = radius * HEAD_HEIGHT * np.minimum(along * 6, 1)
    across, over = strand_frames(strands)
    return (
        strands + amplitude[..., None] * (np.cos(angle)[..., None] * across + np.sin(angle)[..., None] * over)
    ).astype(np.float32)


def _resample_for_curls(strands: F32, turns: float) -> F32:
    """Add points where a turn would have too few to look round."""
    count = strands.shape[1]
    length = measure_length(np.diff(strands, axis=1)).sum(1) / HEAD_HEIGHT
    target = min(int(POINTS_PER_TURN * turns * np.quantile(length, 0.75)) + 2, MAX_POINTS)
    if target <= count:
        return strands
    position = np.linspace(0, count - 1, target)
    i = np.minimum(position.astype(int), count - 2)
    f = (position - i)[None, :, None].astype(np.float32)
    return strands[:, i] * (1 - f) + strands[:, i + 1] * f
