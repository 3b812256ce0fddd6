"""Shapes of real heads: what light-stage scans say about the modes of the face model, and about what they lack.

`python -m portrait360.training.linear_models.scan_shapes DATA_DIR -o FILE` learns the packaged statistics. The
coefficients are those of the 60 modes of the face model, then of the extra modes. The scans carry no labels: a sample
knows neither gender nor age nor origin, and `make_head` adds it to the softened macro shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import KDTree

from portrait360.assets import FACE_MODEL, SCAN_SHAPES
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import HeadPack, load_pack
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Shape
from portrait360.utils.array_types import F32, F64, Bools

SOFTENING = 0.5  # share of the macro differences of gender and origin that stays: heads then vary as with morphs
AGES, STRENGTHS = (0.0, 0.1875, 0.5), (0.3, 0.45, 1.0)  # the scans are of adults: children take part of an offset
KEEP = ("ears/", "neck/")  # morphs of what the scans hardly know
DECIMALS = 4
SHOULDERS, THROAT = -1.15, -0.7  # y in head heights: below the first nothing moves, above the second everything
OVERLAP, LIP_REACH = 0.0025, 0.035  # head heights: how far closed lips press, and how far skin moves to close them
LIDS, SOCKET = 1.2, 1.9  # eyeball radii: skin that keeps its clearance, and skin that is free to move


@dataclass(frozen=True, eq=False)
class ScanShapes:
    mean: F64  # (c,) of the coefficients
    factor: F64  # (c, c) lower triangular: their covariance is factor @ factor.T
    rest: F32  # (n, 3) what the coefficients cannot say: offsets of the body, head heights
    modes: F32  # (c, n, 3) offsets of the body, head heights


@dataclass(frozen=True, eq=False)
class LipLine:
    """Where the lips meet on the average head."""

    columns: F32  # (k,) x, nearly from corner to corner
    upper: NDArray[np.intp]  # (k,) the lowest vertex of the upper lip in each column
    lower: NDArray[np.intp]  # (k,) the highest of the lower lip
    pull: F32  # (n,) how far each vertex follows: below 0 above the line, above 0 below it


@dataclass(frozen=True, eq=False)
class Ties:
    """What moves with the skin: body vertices around each eye, inside the mouth, and beside each lash."""

    lids: tuple[Bools, Bools]
    mouth: Bools
    inner: F32  # (n,) 1 inside the mouth: skin that follows the outer skin before it, so that it never pierces it
    outer: tuple[NDArray[np.intp], F32]  # body vertices' neighbours on the outer skin (n, 12) and their shares
    lashes: dict[str, tuple[NDArray[np.intp], F32]]  # part -> its vertices' neighbours (v, 3) and their shares (v, 3)


@lru_cache(maxsize=1)
def load_scan_shapes() -> ScanShapes:
    """Load the packaged statistics and the modes they belong to."""
    with np.load(FACE_MODEL) as data:
        base = (data["mean"] / HEAD_HEIGHT).astype(np.float32)
        shape = data["shape"].astype(np.float32) / np.float32(HEAD_HEIGHT)
    with np.load(SCAN_SHAPES) as data:
        extra = data["modes"].astype(np.float32) * data["units"][:, None, None]
        rest = data["rest"].astype(np.float32) + base - load_average_head().base[: len(base)]
        mean, factor = data["mean"].astype(np.float64), data["factor"].astype(np.float64)
    above = smoothstep(SHOULDERS, THROAT, load_average_head().base[: len(base), 1])[:, None]
    modes = np.concatenate([shape, extra]) * above
    return ScanShapes(mean, factor, (rest * above).astype(np.float32), modes.astype(np.float32))


def sample_scan_shape(rng: np.random.Generator) -> tuple[float, ...]:
    """Sample the coefficients of a face as scans have them; they depend on nothing else."""
    shapes = load_scan_shapes()
    values = shapes.mean + shapes.factor @ rng.normal(size=len(shapes.mean))
    return tuple(round(float(v), DECIMALS) for v in values)


def replace_morphs(shape: Shape, scan: tuple[float, ...]) -> Shape:
    """Return the shape with the scan in place of the morphs of the face; those of ears and neck stay."""
    return replace(shape, scan=scan, morphs={k: v for k, v in shape.morphs.items() if k.startswith(KEEP)})


def soften_macros(shape: Shape) -> Shape:
    """Return the shape with gender and origin closer to the average, where a scan brings differences of its own."""
    if not shape.scan:
        return shape
    gender = 0.5 + SOFTENING * (shape.gender - 0.5)
    origin = np.array(shape.origin) / sum(shape.origin)
    african, asian, european = (SOFTENING * origin + (1 - SOFTENING) / 3).tolist()
    return replace(shape, gender=gender, origin=(african, asian, european))


def scan_offset(scan: tuple[float, ...], neutral: F32, age: float = 0.5) -> F32:
    """Return how a scan moves all vertices (n, 3) of the pack; `neutral` is the head without it, in head heights."""
    shapes, pack, ties = load_scan_shapes(), load_pack(), tie_parts()
    if len(scan) != len(shapes.mean):
        raise ValueError(f"a scan has {len(shapes.mean)} coefficients, not {len(scan)}")
    strength = np.float32(np.interp(age, AGES, STRENGTHS))
    skin = strength * (shapes.rest + np.tensordot(np.asarray(scan, np.float32), shapes.modes, 1))
    near, share = ties.outer
    skin += ties.inner[:, None] * ((skin[near] * share[..., None]).sum(1) - skin)
    moved = neutral.copy()
    body = neutral[: pack.body]
    moved[: pack.body] += skin
    for name, lids in zip(("left_eye", "right_eye"), ties.lids, strict=True):
        scale, old, new = _fit_similarity(body[lids], moved[: pack.body][lids])
        part = pack.parts[name]
        moved[part] = scale * (neutral[part] - old) + new
        moved[: pack.body] = clear_eye(
            body, moved[: pack.body], *(find_ball(pack, v, name) for v in (neutral, moved))
        )
    moved[: pack.body] = close_mouth(pack, moved[: pack.body])
    scale, old, new = _fit_similarity(body[ties.mouth], moved[: pack.body][ties.mouth])
    for name in ("upper_teeth", "lower_teeth", "tongue"):
        part = pack.parts[name]
        moved[part] = scale * (neutral[part] - old) + new
    offset = (moved - neutral).astype(np.float32)
    for name, (near, share) in ties.lashes.items():
        offset[pack.parts[name]] = (offset[near] * share[..., None]).sum(1)
    return offset


def _fit_similarity(source: F32, target: F32) -> tuple[np.float32, F32, F32]:
    """Return scale, old and new middle of the points' best similarity without rotation."""
    old, new = source.mean(0), target.mean(0)
    scale = ((source - old) * (target - new)).sum() / ((source - old) ** 2).sum()
    return np.float32(scale), old, new


def find_ball(pack: HeadPack, vertices: F32, name: str) -> tuple[F32, np.float32]:
    """Return the middle and the radius of an eyeball."""
    points = vertices[pack.parts[name]][np.unique(pack.part_quads[name])]
    low, high = points.min(0), points.max(0)
    radius = (high[1] - low[1]) / 2
    return np.array([*(low + high)[:2] / 2, high[2] - 1.06 * radius], np.float32), radius


def clear_eye(body: F32, moved: F32, before: tuple[F32, np.float32], after: tuple[F32, np.float32]) -> F32:
    """Keep the lids as far from the eyeball as they were, in its radii, and let the socket behind it follow it."""
    (old, old_radius), (new, new_radius) = before, after
    arm = (body - old) / old_radius
    clearance = np.linalg.norm(arm, axis=1)
    follow = new + new_radius * arm
    direction = moved - new
    distance = np.maximum(np.linalg.norm(direction, axis=1), 1e-6)
    lids = new + direction * (new_radius * clearance / distance)[:, None]
    behind = smoothstep(0.35, 0.0, arm[:, 2])[:, None]
    near = smoothstep(SOCKET, LIDS, clearance)[:, None]
    return (moved + near * (lids + behind * (follow - lids) - moved)).astype(np.float32)


def close_mouth(pack: HeadPack, moved: F32) -> F32:
    """Bring the lips together, as they are on the scans: modes of parted lips cannot say so themselves."""
    line, smooth = find_lip_line(), pack.subdivision(1).matrix
    x = load_average_head().base[: pack.body, 0]
    upper, lower = smooth[line.upper], smooth[line.lower]
    corner = np.float32(1.1) * line.columns[-1]
    columns = np.concatenate([[-corner], line.columns, [corner]])  # at the corners the lips are joined
    closed = moved.copy()
    for _ in range(2):  # lips that follow only in part need another pull
        gap = np.pad(np.maximum((upper @ closed - lower @ closed)[:, 1] + OVERLAP, 0), 1)
        closed[:, 1] += line.pull * np.interp(x, columns, gap) / 2
    return closed


@lru_cache(maxsize=1)
def find_lip_line() -> LipLine:
    """Find the line on which the closed lips of the average head meet."""
    pack, reference = load_pack(), load_average_head()
    x, y, z = reference.fine[1][: pack.body].T
    a, b = pack.quads.ravel(), np.roll(pack.quads, -1, axis=1).ravel()
    length = np.linalg.norm(reference.base[a] - reference.base[b], axis=1)
    edges = sp.csr_matrix((length, (a, b)), (pack.body, pack.body)).maximum(
        sp.csr_matrix((length, (b, a)), (pack.body, pack.body))
    )
    ends = [pack.landmarks["lip_top"], pack.landmarks["lip_bottom"]]
    top, bottom = dijkstra(edges, indices=ends)
    lips = pack.mask("lips")[: pack.body] > 0.9
    corner = x[pack.landmarks["left_mouth"]]
    columns = np.linspace(-0.93 * corner, 0.93 * corner, 11)
    column = lips & (z > z[pack.landmarks["left_mouth"]]) & (np.abs(x - columns[:, None]) < corner / 9)
    upper = np.argmin(np.where(column & (top < bottom), y, np.inf), 1)
    lower = np.argmax(np.where(column & (top >= bottom), y, -np.inf), 1)
    middle = np.interp(x, columns, (y[upper] + y[lower]) / 2)
    near = np.exp(-(((y - middle) / LIP_REACH) ** 2)) * smoothstep(0.2, 0.3, z)
    pull = np.where(top < bottom, -near, near)
    return LipLine(columns.astype(np.float32), upper, lower, pull.astype(np.float32))


@lru_cache(maxsize=1)
def tie_parts() -> Ties:
    """Find on the average head what moves with which skin."""
    pack, base = load_pack(), load_average_head().base
    body = base[: pack.body]
    lids = []
    for name in ("left_eye", "right_eye"):
        middle, radius = find_ball(pack, base, name)
        arm = (body - middle) / radius
        lids.append((np.linalg.norm(arm, axis=1) < 1.3) & (arm[:, 2] > 0.3))
    inside = pack.mask("inside_mouth")[: pack.body]
    lashes = {part: _find_neighbours(base[pack.parts[part]], body, 3) for part in ("left_lashes", "right_lashes")}
    outer = np.where(inside < 0.1)[0]
    near, share = _find_neighbours(body, body[outer], 12)
    return Ties((lids[0], lids[1]), inside > 0.5, smoothstep(0.2, 0.8, inside), (outer[near], share), lashes)


def _find_neighbours(points: F32, vertices: F32, count: int) -> tuple[NDArray[np.intp], F32]:
    """Return the nearest vertices of each point (p, count) and their shares, by inverse distance."""
    found = KDTree(vertices).query(points, k=count)
    distance, near = np.asarray(found[0]), np.asarray(found[1], np.intp)
    share = 1 / np.maximum(distance, 1e-5)
    return near, (share / share.sum(1, keepdims=True)).astype(np.float32)
