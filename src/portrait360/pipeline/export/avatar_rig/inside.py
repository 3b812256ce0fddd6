"""Gaussians for what expressions open: eyeballs and folded lids, teeth, tongue, and the inside of lips and mouth.

The photo does not show them, so they take the mesh's colours, in the light of the Gaussians beside them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_rig.binding import MILLIMETRE, Binding, find_seen, find_shown, spread_points
from portrait360.pipeline.export.avatar_rig.lid_colours import Spots, colour_lids, shade_lids
from portrait360.pipeline.export.avatar_rig.moving_mesh import EYES, SKIN, TEETH, TONGUE, MovingMesh
from portrait360.pipeline.export.avatar_splats.choice import paint
from portrait360.pipeline.export.avatar_splats.layers import thin_out
from portrait360.pipeline.export.avatar_splats.shapes import draw_discs
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.render.tone_mapping import linear_to_srgb, srgb_to_linear
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.vectors import measure_length

SPACINGS = {EYES[0]: 0.6, EYES[1]: 0.6, TEETH[0]: 0.9, TEETH[1]: 0.9, TONGUE: 1.4}  # millimetres
FINE, COARSE = 0.8, 1.8  # millimetres on skin: as its triangles, which are large where it is dark
DENSE = 0.9  # of the spacing, by which points of small triangles may lie nearer together
SUNK = 0.4 * MILLIMETRE  # below what the photo shows
AHEAD = np.array([0.0, 0.0, 1.0])  # where teeth and tongue face
FORWARD = 0.2  # cosine from which an eyeball's front is drawn
STRETCH = 2.0  # of an area, beyond which what lies on it gets thin
FOLD = 1.0 * MILLIMETRE  # that lids move when they close, from which they are drawn: the page lets the photo's fade
PLAIN = 0.75  # share of that colour: the rest has the grain of the lid
COVERED = (FOLD, 4 * MILLIMETRE)  # over which a lid's colour becomes that of the skin around the eye
VIEWS = ((0, 0), (-35, 0), (35, 0), (0, -25))
LEAF = 40  # points in a leaf of a tree that is asked for as many
BESIDE, AROUND = 48, 400  # Gaussians from which the light on skin and eyes, and that on a mouth, is taken
ENOUGH = 40  # Gaussians on teeth and tongue that know the light there
OPEN, DARKEST = 8 * MILLIMETRE, 0.06  # behind lips it gets dark as behind a hole of this radius, and no darker
ACROSS = 0.5 * MILLIMETRE  # from the middle, beyond which it is a side
FLESH = np.array([0.2, 0.055, 0.05], np.float32)  # linear; of a mouth, of which no photo shows enough
SOLID = 0.5  # least opacity of Gaussians that know the light


class Opening(NamedTuple):
    """What opens, and the expressions that show it."""

    over: bool  # whether it replaces what the photo shows, such as lashes that would be stretched over a lid

    pose: dict[str, float]  # in which all of it lies unfolded
    others: tuple[dict[str, float], ...]  # that show more of it
    units: tuple[str, ...]  # beginnings of the names of units that move it
    parts: tuple[str, ...]  # that lie in it


CLOSED = {f"eyeBlink{side}": 1.0 for side in ("Left", "Right")}
PARTED = {f"mouth{lip}{side}": 0.35 for lip in ("UpperUp", "LowerDown") for side in ("Left", "Right")}
LIDS = Opening(True, CLOSED, (), ("eyeBlink", "eyeSquint", "eyeWide", "eyeLook"), EYES)
MOUTH = Opening(
    False,
    {"jawOpen": 0.6} | PARTED,
    ({}, {"jawOpen": 1.0}, {"jawOpen": 0.5, "tongueOut": 1.0}, {"mouthFunnel": 1.0, "jawOpen": 0.3}),
    ("jaw", "mouth", "tongue"),
    (*TEETH, TONGUE),
)
OPENINGS = (LIDS, MOUTH)


class Inside(NamedTuple):
    """Gaussians that are hidden in the photo's expression, in one that shows them."""

    splats: GaussianSplats
    binding: Binding
    weights: dict[str, float]  # of that expression
    opening: Opening


def draw_inside(splats: GaussianSplats, binding: Binding, mesh: MovingMesh, opening: Opening) -> Inside:
    """Return the Gaussians of what opens; `splats` are those of the head and `binding` says what they hang on."""
    weights = {name: 0.0 if name.startswith(opening.units) else weight for name, weight in mesh.weights.items()}
    weights |= {name: weight for name, weight in opening.pose.items() if name in mesh.moves}
    rest, points = mesh.pose(mesh.weights), mesh.pose(weights)
    seen = find_shown(mesh)
    rows = np.flatnonzero(find_opened(mesh, seen, points, opening))
    corners = points[mesh.triangles[rows]].astype(np.float64)
    spacing = find_spacing(points, mesh)
    triangles, places = spread_points(corners, spacing[rows].min(initial=1.0))
    kept = thin_out((corners[triangles] * places[..., None]).sum(1), DENSE * spacing[rows][triangles])
    triangles, places = triangles[kept], places[kept]
    spots = (corners[triangles] * places[..., None]).sum(1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[triangles]
    normals /= np.maximum(measure_length(normals)[:, None], 1e-12)
    triangles = rows[triangles]
    normals = np.where(mesh.mark((*TEETH, TONGUE))[triangles, None], AHEAD, normals)
    discs = draw_discs(spots - SUNK * normals, normals, spacing[triangles], np.ones(len(spots)))
    own = Binding(triangles, places.astype(np.float32), np.ones(len(spots), np.float32))
    before = (rest[mesh.triangles[triangles]] * places[..., None]).sum(1)
    folded = measure_moves(mesh, rest, points) > FOLD if opening.over else np.zeros(len(mesh.triangles), bool)
    light = Light(splats, binding, mesh, folded)
    plain, hidden = mesh.find_colours(triangles, places), ~seen[triangles] & mesh.mark((SKIN,))[triangles]
    if opening is MOUTH:
        plain = np.where(hidden[:, None], np.maximum(plain, FLESH), plain)
        inner = hidden | mesh.mark(opening.parts)[triangles]
        gain = np.where(inner[:, None], light.find_inner(before), light.find(before, own, mesh))
    else:
        gain = light.find(before, own, mesh)
    colours = plain * gain
    if opening.over:
        share = smoothstep(*COVERED, measure_moves(mesh, rest, points)[triangles]) * mesh.mark((SKIN,))[triangles]
        colours = light.colour_lids(colours, Spots(spots, find_normals(mesh, points, own)), share, mesh, rest)
        lowered = np.maximum(before[:, 1] - spots[:, 1], 0)
        edge = KDTree(find_lower_lids(mesh, rest, points)).query(spots)[0]
        colours = colours * shade_lids(lowered, edge)
    return Inside(paint(discs, linear_to_srgb(colours)), own, weights, opening)


def find_lower_lids(mesh: MovingMesh, rest: F32, closed: F32) -> F32:
    """Return middles (n, 3) of the skin's triangles that are seen below closed upper lids."""
    seen = find_seen(mesh, closed, VIEWS[:1]) & mesh.mark((SKIN,))
    before, after = (points[mesh.triangles].mean(1) for points in (rest, closed))
    height = np.mean([rest[part.vertices, 1].mean() for part in mesh.parts if part.name in EYES])
    return after[seen & (before[:, 1] < height) & (before[:, 1] - after[:, 1] < FOLD)]


def find_normals(mesh: MovingMesh, points: F32, binding: Binding) -> F64:
    """Return where the mesh faces (n, 3), with its vertices at these points."""
    corners = vertex_normals(points, mesh.triangles)[mesh.triangles[binding.triangles]]
    normals = (corners * binding.places[..., None]).sum(1).astype(np.float64)
    return normals / np.maximum(measure_length(normals)[:, None], 1e-12)


def find_spacing(points: F32, mesh: MovingMesh) -> F64:
    """Return how far Gaussians shall lie apart on each triangle (m,)."""
    out = np.sqrt(measure_areas(points, mesh)).clip(FINE * MILLIMETRE, COARSE * MILLIMETRE)
    for part in mesh.parts:
        if part.name in SPACINGS:
            out[part.triangles] = SPACINGS[part.name] * MILLIMETRE
    return out


def find_opened(mesh: MovingMesh, seen: Bools, points: F32, opening: Opening) -> Bools:
    """Return which triangles (m,) come into sight or are stretched, and those beside them.

    `seen` (m,) is what the photo's expression shows, and `points` are the vertices when all is open.
    """
    moved = np.zeros(len(mesh.neutral), bool)
    for name, (vertices, _) in mesh.moves.items():
        if name.startswith(opening.units):
            moved[vertices] = True
    shown = find_seen(mesh, points, VIEWS)
    for pose in opening.others:
        shown |= find_seen(mesh, mesh.pose(pose), VIEWS)
    moved = mesh.mark((SKIN,)) & moved[mesh.triangles].any(1)
    if opening.over:
        rest = mesh.pose(mesh.weights)
        stretched = measure_areas(points, mesh) > STRETCH * measure_areas(rest, mesh)
        folded = measure_moves(mesh, rest, points) > FOLD
        return (moved & shown & (~seen | stretched | folded)) | _find_fronts(mesh, points)
    # triangles too small to be seen lie among those that are
    found = _widen(_widen(mesh.mark((SKIN,)) & shown & ~_widen(seen, mesh), mesh), mesh)
    return _drop_nostrils(found, mesh) | (shown & mesh.mark(opening.parts))


def _drop_nostrils(chosen: Bools, mesh: MovingMesh) -> Bools:
    """Return these triangles (m,) without connected pieces that lie on one side and reach higher than the teeth."""
    rows = np.flatnonzero(chosen)
    corners, teeth = mesh.triangles[rows], mesh.neutral[mesh.triangles[mesh.mark(TEETH)], 1]
    ends = np.concatenate([corners[:, :2], corners[:, 1:]])
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(mesh.neutral),) * 2)
    pieces = connected_components(graph, directed=False)[1][corners]
    x, y = mesh.neutral[corners, 0], mesh.neutral[corners, 1]
    left, right, high = (pieces[found] for found in (x > ACROSS, x < -ACROSS, y > teeth.max(initial=-np.inf)))
    nostril = np.isin(pieces[:, 0], high) & ~(np.isin(pieces[:, 0], left) & np.isin(pieces[:, 0], right))
    out = chosen.copy()
    out[rows[nostril]] = False
    return out


def _widen(chosen: Bools, mesh: MovingMesh) -> Bools:
    """Return these triangles of the skin (m,), and those that share a corner with them."""
    corners = np.zeros(len(mesh.neutral), bool)
    corners[mesh.triangles[chosen]] = True
    return mesh.mark((SKIN,)) & corners[mesh.triangles].any(1)


def measure_areas(points: F32, mesh: MovingMesh) -> F64:
    a, b, c = (points[mesh.triangles[:, i]].astype(np.float64) for i in range(3))
    return measure_length(np.cross(b - a, c - a)) / 2


def measure_moves(mesh: MovingMesh, before: F32, after: F32) -> F64:
    """Return how far the corner of each triangle (m,) moves that moves most."""
    return measure_length((after - before).astype(np.float64))[mesh.triangles].max(1)


def _find_fronts(mesh: MovingMesh, points: F32) -> Bools:
    """Return the triangles (m,) of eyeballs that face forward."""
    out = np.zeros(len(mesh.triangles), bool)
    for part in mesh.parts:
        if part.name not in EYES:
            continue
        middle = points[part.vertices].mean(0)
        arms = points[mesh.triangles[part.triangles]].mean(1) - middle
        out[part.triangles] = arms[:, 2] > FORWARD * measure_length(arms)
    return out


class Light:
    """By how much the Gaussians on a mesh are brighter than its own colours."""

    def __init__(self, splats: GaussianSplats, binding: Binding, mesh: MovingMesh, folded: Bools) -> None:
        """`folded` are triangles (m,) whose colours are those of lashes and of the shade in folds."""
        rows = np.flatnonzero((binding.weights > SOLID) & (splats.opacities > SOLID))
        triangles = binding.triangles[rows]
        self._points = splats.means[rows]
        self._binding = binding.select(rows)
        self._shown = srgb_to_linear(splats.colours[rows])
        self._plain = mesh.find_colours(triangles, binding.places[rows])
        self._skin = (mesh.mark((SKIN,)) & ~folded)[triangles]
        self._eyes, self._inner = (mesh.mark(names)[triangles] for names in (EYES, (*TEETH, TONGUE)))

    def find(self, points: Floats, binding: Binding, mesh: MovingMesh) -> F32:
        """Return the light (n, 3) at points on skin and eyes that hang on the mesh."""
        eyes = mesh.mark(EYES)[binding.triangles]
        out = np.ones((len(points), 3), np.float32)
        out[~eyes] = self._compare(points[~eyes], self._skin, BESIDE)
        out[eyes] = self._compare(points[eyes], self._eyes, BESIDE)
        return out

    def colour_lids(self, colours: F32, lids: Spots, share: F32, mesh: MovingMesh, rest: F32) -> F32:
        """Return the colours (n, 3), as far (n,) as they are lids' those of the skin around the eye.

        `lids` are closed, and `rest` are the vertices in the photo's expression.
        """
        out, skin = colours.copy(), self._skin
        around = Spots(self._points[skin], find_normals(mesh, rest, self._binding.select(np.flatnonzero(skin))))
        for part in mesh.parts:
            if part.name not in EYES:
                continue
            sign = np.sign(rest[part.vertices, 0].mean())
            rows = (share > 0) & (sign * lids.points[:, 0] > 0)
            found = colour_lids(lids.select(rows), around, self._shown[skin]) if rows.any() else None
            if found is not None:
                out[rows] += PLAIN * share[rows, None] * (found - out[rows])
        return out

    def find_inner(self, points: Floats) -> F32:
        """Return the grey light (n, 1) at points in the mouth: that of what the photo shows of it, or of the lips."""
        if self._inner.sum() >= ENOUGH:
            return self._compare(points, self._inner, BESIDE).mean(1, keepdims=True)
        if not self._skin.any() or not len(points):
            return np.ones((len(points), 1), np.float32)
        lips = points[points[:, 2] >= np.quantile(points[:, 2], 0.9)].mean(0, keepdims=True)
        near = self._find_near(lips, self._skin, AROUND)[0]
        front = float(np.quantile(self._points[near, 2], 0.9))
        depth = np.maximum(front - points[:, 2], 0)
        shade = np.maximum(1 / (1 + (depth / OPEN) ** 2), DARKEST)
        light = self._shown[near].mean() / max(float(self._plain[near].mean()), 1e-3)
        return (light * shade)[:, None].astype(np.float32)

    def _compare(self, points: Floats, known: Bools, count: int) -> F32:
        if not known.any() or not len(points):
            return np.ones((len(points), 3), np.float32)
        near = self._find_near(points, known, count)
        return self._shown[near].sum(1) / np.maximum(self._plain[near].sum(1), 1e-3)

    def _find_near(self, points: Floats, known: Bools, count: int) -> np.ndarray:
        rows = np.flatnonzero(known)
        near = KDTree(self._points[rows], LEAF).query(points, k=min(count, len(rows)), workers=count_threads())[1]
        return rows[np.asarray(near).reshape(len(points), -1)]
