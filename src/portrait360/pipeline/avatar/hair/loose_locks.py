"""Grow the loose hair that a photo shows: wisps beside the outline, and locks that hang from it, seen from all sides.

Where the photo shows them, strands run along its own. Their likes grow all around: the outline of the hair is as
uneven from behind as the photo's, for each of its wisps stands for those that point towards the camera and away.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d, uniform_filter
from scipy.spatial import KDTree

from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair.loose_paths import POINTS, LoosePaths, find_mass, follow_loose_hair, has_company
from portrait360.pipeline.avatar.hair.outline import Frame, make_frame, trim_strands
from portrait360.pipeline.avatar.hair.undercoat import copy_look
from portrait360.pipeline.avatar.photo.pixels import Photo, open_hair
from portrait360.synth.hair.face_guard import covers_face
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32, F64, Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label
from portrait360.utils.vectors import measure_paths

FAINT = 0.05  # alpha of hair that the labels do not name
GRID, DENSE, BARE = 256, 0.5, 0.25
"""Cells of the picture a side, points in one from which hair covers it, and share of a path that no hair covers."""
BORDER = 0.03  # picture sides from the photo's edge, which cuts hair off
CELLS = 96  # of the picture, in which the depth of hair is read
DEPTHS = (0.1, 0.6)  # share of the way from its first strand to its last at which loose hair leaves it
HANGING = (0.07, 0.12)  # picture sides below its root from which hair hangs: before the ears, beside the face
LOWER = (0.0, 0.03)  # picture sides below the middle of the ears that it reaches: else it is combed aside, or short
FALLS = -0.2  # height below which hair falls: its few wisps would be horns beside long locks
SIDEBURN = (0.01, 0.15)  # picture sides: how near a beard its end comes, and how long it is
EAR, BESIDE_EAR = 0.35, 0.05
"""Share of ears in the skin's mask; picture sides from their middle within which what does not hang is no wisp."""
DEEP, TUFTS = 26.0, 28.0  # tufts per picture side that share a depth, and per canonical unit that are copied as one
LONGEST, LONGER = 0.98, 1.4  # quantile of the lengths of hair, and how much longer loose hair is at most
SPREAD = 0.006  # canonical: how far strands of a tuft lie apart in depth
BENDS, DEEPER = 7.0, 0.7  # points of a path over which its bends are taken off; share of these in depth
LEAN, OWN_LEAN, LEANING, HOOK = 1.0, 0.25, 0.06, 2.4
"""How far the tip of a wisp comes to lie before or behind its root, as a share of its length: with its tuft at most,
and by itself; canonical length that counts; how far it turns back, radians. A picture shows how far wisps rise, and
not that they lean."""
UPRIGHT = (0.02, 0.10)  # heights of roots from which they lean, and lean fully: lower ones would lie on the cheek
ON_TOP = (0.0, 0.6)  # how far up the way out of the hair is at their roots, from which they do: the sides lie close
CLEAR, OVER, BESIDE = 0.005, 0.025, 0.06  # canonical distances before skin that is less than the last from it
WIDTH = (0.0012, 0.0020)  # canonical, of wisps, which are not as dense as the photo's locks, and of what hangs
BEGIN, TIP = 0.3, 0.3  # shares of it at root and tip
ROOT, ROOTED = 4, 0.02  # first points of a strand, of which one at least lies as near to hair, canonical
COPIES, SHORT = 1, 0.06  # of each tuft all around; canonical length up to which it has any: longer ones stand off
HULL, AROUND, OUTER = 6000, 40, 0.42  # points of hair, points around one, and how far off these its hull lies
HIDDEN = -0.2  # cosine to the camera of places that it does not see: elsewhere it shows all loose hair that there is
ALIKE, MOST = (0.05, 0.3), 1.5  # canonical heights, and cosines, over which places on the hull are unlike; their sum


def grow_loose_locks(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return the loose hair of a photo over these groups, with their looks. Carved and drawn hair has none."""
    groups = [group for group in groups if len(group.points) and int(group.material[0]) == Material.HAIR]
    if not groups or photo.painted:
        return []
    shown = open_hair(photo)
    hair = leave_sideburns(find_faint_hair(shown), shown)
    cloud = np.concatenate([group.points.reshape(-1, 3) for group in groups])
    paths = leave_covered(follow_loose_hair(shown.alpha, shown.rgb.mean(-1), hair), cloud, photo)
    ears, skin = _find_ears(head, photo), _read_skin(paths, head, photo)
    hangs = _measure_hang(paths, ears)
    keep = hangs > 0.5
    if cloud[:, 1].min() >= FALLS:
        keep |= find_beside(paths, skin, ears)
    if not keep.any():
        return []
    paths, skin, hangs = paths.select(keep), skin[keep], hangs[keep]
    own = place_paths(paths, hangs, cloud, head, photo, skin)
    tree = KDTree(cloud, balanced_tree=False, compact_nodes=False)  # made fast: it gets few questions
    away = np.asarray(tree.query(own[:, :ROOT].reshape(-1, 3))[0]).reshape(len(own), ROOT)
    longest = np.quantile(np.concatenate([measure_paths(group.points) for group in groups]), LONGEST)
    rooted = (away.min(1) < ROOTED) & (measure_paths(own) < LONGER * longest)  # no lock hangs from short hair
    paths, own, hangs = paths.select(rooted), own[rooted], hangs[rooted]
    more = copy_around(own, paths, cloud, head, make_frame(photo.camera))
    kept = has_company(own)
    first = _dress(own[kept], hangs[kept], groups, head)
    more = more[has_company(more)]
    second = trim_strands([_dress(more, np.zeros(len(more)), groups, head)], head, photo)
    return [group for group in (first, *second) if len(group.points)]


def find_faint_hair(shown: Photo) -> Bools:
    """Return where a photo shows hair, also faintly beside it (s, s); the soft edge of a face is none."""
    named = shown.labels != Label.BACKGROUND
    rows, columns = np.asarray(distance_transform_edt(~named, return_distances=False, return_indices=True))
    return (shown.labels[rows, columns] == Label.HAIR) & (named | (shown.alpha > FAINT))


def leave_sideburns(hair: Bools, shown: Photo) -> Bools:
    """Return hair (s, s) without what runs into a beard: it is thin, too, and hangs, but grows on the cheek."""
    beard = shown.labels == Label.BEARD
    if not beard.any():
        return hair
    thin = hair & ~find_mass(hair & (shown.alpha > 0.5))
    parts = cv2.connectedComponents(thin.astype(np.uint8))[1]
    off = np.asarray(distance_transform_edt(~beard)) / len(hair)
    whiskers = np.isin(parts, parts[thin & (off < SIDEBURN[0])])
    return hair & ~(thin & whiskers & (off < SIDEBURN[1]))


def leave_covered(paths: LoosePaths, cloud: F32, photo: Photo) -> LoosePaths:
    """Return whole paths that leave the hair, points (m, 3), in the picture: thin hair may be its side alone."""
    uv = photo.camera.project(cloud)[0]
    at = np.floor(uv[((uv > 0) & (uv < 1)).all(1)] * GRID).astype(int)
    count = np.bincount(at @ np.array([1, GRID]), minlength=GRID * GRID).reshape(GRID, GRID)
    dense = uniform_filter(count.astype(np.float32), 3) > DENSE
    x, y = np.moveaxis(np.clip((paths.uv * GRID).astype(int), 0, GRID - 1), -1, 0)
    inside = np.abs(paths.uv - 0.5).max((1, 2)) < 0.5 - BORDER
    return paths.select(inside & ((~dense[y, x]).mean(1) > BARE))


def _read_skin(paths: LoosePaths, head: Head, photo: Photo) -> F64:
    """Return the depth of the skin at each point of paths (n, k); infinite beside it."""
    buffers = rasterise(head.body, head.triangles, photo.camera, photo.size)
    x, y = np.moveaxis(np.clip((paths.uv * photo.size).astype(int), 0, photo.size - 1), -1, 0)
    return np.where(buffers.ids >= 0, buffers.depth, np.inf)[y, x]


def find_beside(paths: LoosePaths, skin: F64, ears: F64) -> Bools:
    """Return which paths (n,) lie beside the head and its ears."""
    away = np.linalg.norm(paths.uv[:, :, None] - ears, axis=-1).min((1, 2), initial=1)
    return (np.isfinite(skin).mean(1) < 0.5) & (away > BESIDE_EAR)


def _find_ears(head: Head, photo: Photo) -> F64:
    """Return where the middle of each ear appears (2, 2)."""
    ears = head.mask("ears") > EAR
    middles = [np.median(head.body[ears & (head.rest[:, 0] * side > 0)], 0) for side in (1, -1)]
    return photo.camera.project(np.stack(middles))[0]


def _measure_hang(paths: LoosePaths, ears: F64) -> F64:
    """Return how far paths (n,) hang, 0 to 1: below their roots, and lower than the ears (2, 2)."""
    lowest = paths.uv[..., 1].max(1, initial=0)
    return smoothstep(*HANGING, lowest - paths.uv[:, 0, 1]) * smoothstep(*LOWER, lowest - ears[:, 1].mean())


def place_paths(paths: LoosePaths, hangs: F64, cloud: F32, head: Head, photo: Photo, skin: F64) -> F32:
    """Return paths, some of which hang (n,), as strands (n, k, 3): they leave the hair, points (m, 3), at its depth.

    They run before `skin`, whose depth is given at each point (n, k).
    """
    rng, camera, root = np.random.default_rng(73), photo.camera, paths.uv[:, 0]
    x, y = np.clip((root * CELLS).astype(int), 0, CELLS - 1).T
    near, far = (depth[y, x] for depth in _read_depths(cloud, photo))
    tuft = noise(np.column_stack([root, np.zeros(len(root))]), DEEP, 79)
    share = (DEPTHS[0] + (DEPTHS[1] - DEPTHS[0]) * smoothstep(0.2, 0.8, tuft)) * (1 - hangs)
    depth = near + share * (far - near) + SPREAD * rng.normal(0, 1, len(root)).clip(-2, 2)
    depth = np.repeat(depth[:, None], paths.uv.shape[1], 1)
    depth = depth + _bend_in_depth(camera.unproject(paths.uv, depth))
    depth = depth + _lean_in_depth(camera.unproject(paths.uv, depth), paths) * (1 - hangs)[:, None]
    before = skin - depth
    move = np.where(np.abs(before) < BESIDE, before - np.clip(before, CLEAR, OVER), 0)
    depth = depth + gaussian_filter1d(move, 1.5, axis=1, mode="nearest")
    return np.asarray(head.field.push_out(camera.unproject(paths.uv, depth), CLEAR), np.float32)


def _read_depths(cloud: F32, photo: Photo) -> tuple[F64, F64]:
    """Return the depth of the first and the last hair in each cell of the picture (c, c), or else of those around."""
    uv, depth = photo.camera.project(cloud)
    at = np.floor(uv * CELLS).astype(int)
    inside = ((at >= 0) & (at < CELLS)).all(-1)
    cell, depth = at[inside] @ np.array([1, CELLS]), depth[inside]
    near, far = np.full(CELLS * CELLS, np.inf), np.full(CELLS * CELLS, -np.inf)
    np.minimum.at(near, cell, depth)
    np.maximum.at(far, cell, depth)
    known = np.isfinite(near)
    places = np.stack(np.divmod(np.arange(CELLS * CELLS), CELLS), -1)
    nearest = KDTree(places[known]).query(places)[1]
    near, far = (gaussian_filter(a[known][nearest].reshape(CELLS, CELLS), 1.0) for a in (near, far))
    return near, far


def _bend_in_depth(points: F64) -> F64:
    """Return how far strands wind in depth (s, k): most of what they do in the picture, a quarter of a turn later."""
    off = points - gaussian_filter1d(points, BENDS, axis=1, mode="nearest")
    steepness = np.gradient(off, axis=1)
    size, steep = (np.sqrt((a**2).sum(-1).mean(1)) for a in (off, steepness))
    lean = steepness[..., 0] * np.sign(points[:, -1:, 0] - points[:, :1, 0]) + steepness[..., 1]
    along = np.linspace(0, 1, points.shape[1])
    return DEEPER * lean * (size / np.maximum(steep, 1e-9))[:, None] * smoothstep(0.0, 0.2, along)


def _lean_in_depth(points: F64, paths: LoosePaths) -> F64:
    """Return how far wisps (s, k, 3) along the paths of a picture lean in depth (s, k), if they stand on top.

    Upright as the picture shows them, they would be a comb from the side.
    """
    rng, root = np.random.default_rng(101), paths.uv[:, 0]
    tuft = smoothstep(0.2, 0.8, noise(np.column_stack([root, np.zeros(len(root))]), DEEP, 97))
    lean = smoothstep(*UPRIGHT, points[:, 0, 1]) * smoothstep(*ON_TOP, -paths.outward[:, 1])
    lean = lean * (LEAN * (2 * tuft - 1) + OWN_LEAN * rng.normal(0, 1, len(root)).clip(-2, 2))
    length = np.minimum(np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1), LEANING)
    t = np.linspace(0, 1, points.shape[1])
    return (lean * length)[:, None] * t * np.sin(HOOK * t)


def copy_around(own: F32, paths: LoosePaths, cloud: F32, head: Head, frame: Frame) -> F32:
    """Return copies (m, k, 3) of short tufts, at hidden places as high, whose hull faces as far up."""
    length = np.linalg.norm(np.diff(own, axis=1), axis=2).sum(1)
    rows = np.flatnonzero(length < SHORT)
    places, normals = _find_hull(cloud)
    hidden = normals @ frame.axes[2] < HIDDEN
    places, normals = places[hidden], normals[hidden]
    if len(rows) == 0 or len(places) == 0:
        return np.zeros((0, POINTS, 3), np.float32)
    rng = np.random.default_rng(83)
    across = unit(paths.outward @ (frame.axes[:2] * np.array([[1.0], [-1.0]])))[rows]
    cells = np.floor(own[rows, 0] * TUFTS).astype(int)
    _, first, tuft = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    tuft = tuft.ravel()
    root, out = own[rows[first], 0].astype(np.float64), across[first]
    unlike = np.abs(root[:, None, 1] - places[None, :, 1]) / ALIKE[0]
    unlike = np.hypot(unlike, (out[:, None, 1] - normals[None, :, 1]) / ALIKE[1])
    score = -(unlike**2) + rng.gumbel(0, 1, unlike.shape)
    chosen = np.argsort(-score, axis=1)[:, :COPIES]
    fits = np.take_along_axis(unlike, chosen, 1) < MOST
    axes, goal = _make_axes(out), _make_axes(normals)
    copies = []
    for i in range(COPIES):
        at = chosen[tuft, i]
        local = np.einsum("skc,sdc->skd", own[rows] - root[tuft][:, None], axes[tuft])
        local[..., 2] *= rng.choice([-1.0, 1.0], len(root))[tuft][:, None]
        moved = places[at][:, None] + np.einsum("skd,sdc->skc", local, goal[at])
        copies.append(moved[fits[tuft, i]])
    points = np.asarray(head.field.push_out(np.concatenate(copies), CLEAR), np.float32)
    return points[~covers_face(head, points)]


def _find_hull(cloud: F32) -> tuple[F64, F64]:
    """Return points of hair that lie at its outside, and the way out of it there."""
    rng = np.random.default_rng(89)
    some = cloud[rng.choice(len(cloud), min(HULL, len(cloud)), replace=False)].astype(np.float64)
    away, nearest = (np.asarray(a) for a in KDTree(some).query(some, k=min(AROUND, len(some))))
    off = some - some[nearest].mean(1)
    beside = np.linalg.norm(off, axis=1) / np.maximum(away.mean(1), 1e-6)
    out = unit(off[nearest[:, : AROUND // 2]].mean(1))
    outside = (beside > OUTER) & ((out * some).sum(1) > 0)
    return some[outside], out[outside]


def _make_axes(out: F64) -> F64:
    """Return axes (n, 3, 3) at places whose way out is given: out, upwards, and the third."""
    up = np.array([0.0, 1.0, -0.3])
    upward = unit(up - (out @ up)[:, None] * out)
    return np.stack([out, upward, np.cross(out, upward)], 1)


def _dress(points: F32, hangs: F64, groups: Sequence[Strands], head: Head) -> Strands:
    """Return loose strands along points (s, k, 3), some of which hang (s,), with the looks of the nearest strands."""
    largest = max(groups, key=lambda group: len(group.points))
    rows = KDTree(largest.points[:, 1]).query(points[:, 1])[1] if len(points) else np.zeros(0, int)
    t = np.linspace(0, 1, points.shape[1])
    widest = WIDTH[0] + (WIDTH[1] - WIDTH[0]) * hangs
    width = widest[:, None] * np.minimum(BEGIN + 3 * t, 1) * (1 - (1 - TIP) * t**2)
    normals = head.field.gradient(points[:, 0]).astype(np.float32)
    return copy_look(largest, np.asarray(rows), points, width, 1.0 + np.zeros((len(points), 1, 1)), normals)
