"""Give clothes the photo's cloth: where it shows them, and carried on from there to sides and back.

A garment is unwrapped about the neck, into azimuth and the way down from its upper edge. What the photo does not show
has the colours of the outer garment at the same way down, so that yokes and rings go on all around; patterns are laid
over it pixel by pixel, see clothes/pattern.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.clothes.folds import USUAL, measure_folds, shade_folds
from portrait360.pipeline.avatar.clothes.patches import carry_patches
from portrait360.pipeline.avatar.clothes.pattern import find_skin_colours
from portrait360.pipeline.avatar.hair.strand_colours import SIDE_LIGHT
from portrait360.pipeline.avatar.photo.exposure import (
    FAIREST,
    View,
    blur,
    find_seen,
    find_side_light,
    look_up_points,
    shrink,
    to_albedo,
)
from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, Photo
from portrait360.pipeline.avatar.photo.skin_tone import log_density
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.scene import Material, Mesh, Part, Scene
from portrait360.synth.wear.necklines import neck_azimuth
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS

GREY = 0.25  # albedo with which clothes are lit to learn their colours: dark cloth would show but its gloss
QUIET = 0.002  # radiance below which colours are not compared
CLEAR = 0.006  # picture sides from skin and hair at which pixels of cloth are sure
FACING = (0.2, 0.55)  # cosines to the photo between which cloth is shown finely enough
SURE = 0.6  # weight from which a vertex is shown well enough to be repeated elsewhere
LIKE_SKIN = 0.4  # share of cloth with colours of skin from which that is its own colour
LITTLE = 0.012  # share of a garment's vertices shown from which on its cloth is repeated, not its usual colour
FEWEST = 300  # such vertices from which cloth is carried on
RARE = 0.08  # share of the shown cloth whose colours are too rare to be repeated
CENTRE, OUTER = 20.0, 0.4  # degrees beside the front, with buttons, ties and what is worn beneath; share of the shown
ENOUGH = 0.07  # share of a collar's vertices that are shown from which it has its own colours
BIN, BINS, FEW = 0.02, 100, 4  # head heights of a row of colours, rows, and vertices of one that counts
EDGE = 0.012  # head heights: half the width of a band's edge
HUE, LIGHT = 1.0, 0.25  # weights of differences of hue and of brightness, which varies with the light, too
STEP, NARROWEST = 1.2, 3  # cost of a further band, and the rows that it has at least
CELLS, GRID = (5.0, 0.04), (72, 40)  # degrees and head heights of cells of light, and their numbers
REACH, FADE, MOST = 2.5, 0.2, 0.6  # cells over which light is carried; share of a full cell that holds it back; most
AROUND, SETTLED = 12, (0.4, 1.0)  # vertices of a collar around each, and how many must be shown for it to be
RANGE = (0.02, 0.98)  # quantiles of the shown colours between which those of patches lie
THICK = 0.02  # canonical depth of collars and bands, which hide nothing by that
CONTRAST = 0.4  # logarithm of a colour by which a collar differs from the cloth below it, not in its light alone
ALIKE = 0.8  # logarithm of a colour up to which both sides of a collar are alike
OWN = 0.3  # share of a collar's shown vertices that must differ so for it to be of another cloth
NAPE, NAPE_DOWN = 120.0, 0.5  # degrees from the front behind which clothes are seen from behind; their upper part
HEM, BESIDE = 0.9, 25  # of the brightness of the cloth beside it, and how many of its vertices count
NEAR = (0.52, -0.5)  # canonical distance from the axis, and height, of what views show: there meshes are refined


class Calm(NamedTuple):
    """How the colours of cloth are calmed along skin and hair."""

    edge: tuple[float, float]  # picture sides from there over which
    around: float  # picture sides: what is around them
    most: float  # largest difference from that


CALM = Calm((0.01, 0.03), 0.03, 0.25)


class Unwrapped(NamedTuple):
    """Places of points of a garment: azimuth in degrees, and the way down from the upper edge in head heights."""

    azimuth: F32
    down: F32


def refine_clothes(meshes: Sequence[Mesh]) -> list[Mesh]:
    """Return the meshes; of the garment, each triangle that views show is split in four."""
    garment = find_garment(meshes)
    return [split_near(mesh) if mesh is garment else mesh for mesh in meshes]


def find_garment(meshes: Sequence[Mesh]) -> Mesh | None:
    """Return the largest mesh of the clothes, on which hems and collars lie."""
    clothes = [mesh for mesh in meshes if mesh.part[0] == Part.CLOTHES]
    return max(clothes, key=lambda mesh: len(mesh.vertices), default=None)


def split_near(mesh: Mesh) -> Mesh:
    """Return a mesh with each triangle near the head in four."""
    middle = mesh.vertices[mesh.triangles].mean(1)
    near = (np.hypot(middle[:, 0], middle[:, 2]) < NEAR[0]) & (middle[:, 1] > NEAR[1])
    corners = mesh.triangles[near]
    ends = np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    edges, index = np.unique(ends, axis=0, return_inverse=True)
    (a, b, c), (d, e, f) = corners.T, (len(mesh.vertices) + index.reshape(-1, 3)).T
    fine = [np.stack(triangle, 1) for triangle in ((a, d, f), (d, b, e), (f, e, c), (d, e, f))]
    triangles = np.concatenate([mesh.triangles[~near], *fine]).astype(np.int32)
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    values = np.concatenate([mesh.vertices, mesh.albedo, mesh.rest, normals, mesh.opacity[:, None]], 1)
    values = np.concatenate([values, values[edges].mean(1)]).astype(np.float32)
    return replace(
        mesh,
        vertices=values[:, :3],
        triangles=triangles,
        albedo=values[:, 3:6],
        material=np.full(len(triangles), mesh.material[0]),
        part=np.full(len(triangles), mesh.part[0]),
        opacity=values[:, 12],
        rest=values[:, 6:9],
        normals=unit(values[:, 9:12]).astype(np.float32),
    )


def paint_clothes_grey(scene: Scene) -> Scene:
    """Return the scene with clothes of one grey, from which the photo's light on them can be told."""
    meshes = [
        replace(mesh, albedo=np.full_like(mesh.albedo, GREY)) if mesh.part[0] == Part.CLOTHES else mesh
        for mesh in scene.meshes
    ]
    return replace(scene, meshes=tuple(meshes))


def bake_clothes(meshes: Sequence[Mesh], view: View, *, carry: bool = True) -> list[Mesh]:
    """Return the meshes, the clothes among them with the photo's colours; `view` shows them grey.

    Without `carry`, only what the photo shows is coloured.
    """
    garment = find_garment(meshes)
    if garment is None:
        return list(meshes)
    known = find_sure_cloth(view.photo) * np.isin(view.bare.labels, CLOTHES)
    baked = bake_garment(garment, view, known, carry)
    if baked is None:
        baked = fold_cloth(garment, unwrap(garment), 1.0, USUAL) if carry and not view.photo.painted else garment
        return [baked if mesh is garment else mesh for mesh in meshes]
    tree, outer = KDTree(garment.vertices), find_outer_colour(baked)

    def bake(mesh: Mesh) -> Mesh:
        if mesh is garment:
            return baked
        if mesh.part[0] != Part.CLOTHES:
            return mesh
        colours, weight = measure_cloth(mesh, view, known)
        sure = weight > SURE
        around = weight[KDTree(mesh.vertices).query(mesh.vertices, k=min(AROUND, len(weight)))[1]].mean(1)
        weight = np.minimum(weight, smoothstep(*SETTLED, around))  # single points at its edge would be teeth
        beside = np.log(HEM * np.median(baked.albedo[tree.query(mesh.vertices, k=BESIDE)[1]], 1))
        if sure.mean() <= ENOUGH:
            return replace(mesh, albedo=to_albedo(np.exp(beside)))
        azimuth = place_around(mesh)
        own, other = find_own_colour(colours, sure, azimuth, outer)
        if own is not None:
            beside = own
            weight = np.where(sure & ~other & (np.abs(azimuth) > CENTRE), 0, weight)  # the outer cloth lies before it
        return replace(mesh, albedo=to_albedo(np.exp(beside + weight[:, None] * (colours - beside))))

    return [bake(mesh) for mesh in meshes]


def find_own_colour(colours: F32, sure: Bools, azimuth: F32, outer: F32) -> tuple[F32 | None, Bools]:
    """Return the colour (3,) of a collar that is of another cloth than the outer one, and the vertices that show it.

    What is only darker than the outer cloth lies in its shade, and what is seen on one side alone lies in its light.
    """
    off = colours - outer
    light = off.mean(-1)
    apart = np.maximum(light, np.abs(off - light[:, None]).max(-1))
    other = sure & (apart > CONTRAST)
    if other.sum() <= OWN * sure.sum():
        return None, other
    own = other & (apart >= np.median(apart[other]))  # others are mixed with the outer cloth
    sides = [own & (azimuth < 0), own & (azimuth > 0)]
    if not all(side.any() for side in sides):
        return None, other
    left, right = (np.median(colours[side], 0) for side in sides)
    same = np.abs(left - right).max() < ALIKE
    return (np.median(colours[own], 0) if same else None), other


def place_around(mesh: Mesh) -> F32:
    """Return the azimuths of the vertices of a collar (n,), degrees from the front."""
    return np.degrees(np.arctan2(mesh.vertices[:, 0], mesh.vertices[:, 2] - np.median(mesh.vertices[:, 2])))


def find_outer_colour(garment: Mesh) -> F32:
    """Return the colour (3,), logarithms, of a baked garment below the nape: that of what is worn over all else."""
    places = unwrap(garment)
    nape = (np.abs(places.azimuth) > NAPE) & (places.down < np.quantile(places.down, NAPE_DOWN))
    return np.log(np.median(garment.albedo[nape] if nape.any() else garment.albedo, 0)).astype(np.float32)


def bake_garment(mesh: Mesh, view: View, known: F32, carry: bool) -> Mesh | None:
    """Return the garment with the photo's colours where it is shown, and carried on elsewhere; None if unseen.

    What is carried on has folds, but not in drawings.
    """
    colours, weight = measure_cloth(mesh, view, known)
    elsewhere, places = np.log(mesh.albedo), unwrap(mesh)
    if carry:
        colours = colours - SIDE_LIGHT * find_side_light(mesh.vertices, colours.mean(-1), weight)[:, None]
        colours = colours.astype(np.float32)
        elsewhere = carry_cloth(places, colours, weight * (1 - find_skin_on(mesh, view, known)))
        elsewhere = carry_cloth(places, colours, weight) if elsewhere is None else elsewhere
    if elsewhere is None or weight.max(initial=0) < SURE:
        return None
    if view.photo.painted:
        weight = leave_out_rare(mesh.vertices, colours.astype(np.float32), weight)
    baked = replace(mesh, albedo=to_albedo(np.exp(elsewhere + weight[:, None] * (colours - elsewhere))))
    if not carry or view.photo.painted:
        return baked
    return fold_cloth(baked, places, 1 - weight, measure_folds(colours - elsewhere, weight > SURE))


def fold_cloth(mesh: Mesh, places: Unwrapped, share: F32 | float, strength: float) -> Mesh:
    """Return a garment with the shade of folds, of this strength; metal has none."""
    if mesh.material[0] != Material.CLOTH:
        return mesh
    gain = np.exp(strength * share * shade_folds(mesh, places.down))
    return replace(mesh, albedo=to_albedo(mesh.albedo * gain[:, None]))


def find_skin_on(mesh: Mesh, view: View, known: F32) -> F32:
    """Return where the photo shows a hand or a gap at the vertices of a garment (n,), unless it is all like skin."""
    skin = find_skin_colours(view.photo, known > 0)
    if skin.sum() > LIKE_SKIN * known.sum():
        return np.zeros(len(mesh.vertices), np.float32)
    return look_up_points(skin.astype(np.float32), view.photo.camera.project(mesh.vertices)[0])


def leave_out_rare(points: F32, colours: F32, weight: F32) -> F32:
    """Return the weights (n,) without colours that a flat drawing shows little of: its shade and trims are stains."""
    usual = find_usual(colours, weight > SURE)
    around = usual[KDTree(points).query(points, k=min(AROUND, len(points)))[1]].mean(1)
    return np.asarray(weight * smoothstep(*SETTLED, around), np.float32)


def find_sure_cloth(photo: Photo) -> F32:
    """Return 1 where the photo surely shows cloth, not skin or hair at its edge."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD)
    clear = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) > CLEAR * photo.size
    return (shrink(photo.shows(*CLOTHES), 3) & clear).astype(np.float32)


def measure_cloth(mesh: Mesh, view: View, known: F32) -> tuple[F32, F32]:
    """Return the logarithm of the albedo that the photo shows of each vertex (n, 3), and how well it shows it."""
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    weight = find_seen(mesh.vertices, normals, view, view.bare, THICK, known, FACING)
    edges = mesh.vertices[mesh.triangles[:, [0, 1]]]
    camera, photo = view.photo.camera, np.maximum(view.photo.radiance, 0)
    near = edges[np.linalg.norm(edges[:, 0], axis=-1) < 2 * NEAR[0]]
    length = float(np.median(np.linalg.norm(np.diff(near if len(near) else edges, axis=1), axis=-1)))
    pixels = length * camera.focal / camera.radius * view.photo.size
    shade = blur(np.maximum(view.bare.radiance, 0), known, max(pixels, 1.5))
    ratio = np.log((photo + QUIET) / (shade + QUIET)).astype(np.float32)
    ratio = calm_edges(blur(ratio, known, max(0.4 * pixels, 0.6)), known, view.photo, CALM)
    found = look_up_points(ratio, camera.project(mesh.vertices)[0]) + np.log(GREY)
    return np.minimum(found, np.log(FAIREST)).astype(np.float32), weight


def calm_edges(ratio: F32, known: F32, photo: Photo, calm: Calm) -> F32:
    """Bring the colours of cloth at skin and hair closer to those further in: there photo and layers differ."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD).astype(np.uint8)
    distance = cv2.distanceTransform(1 - other, cv2.DIST_L2, 3) / photo.size
    edge = (1 - smoothstep(*calm.edge, distance))[..., None]
    usual = blur(ratio, known * np.asarray(1 - 0.97 * edge[..., 0], np.float32), calm.around * photo.size)
    off = ratio - usual
    return np.asarray(usual + (1 - edge) * off + edge * calm.most * np.tanh(off / calm.most), np.float32)


def unwrap(mesh: Mesh) -> Unwrapped:
    """Return the places of a garment's vertices about the neck."""
    azimuth = np.degrees(neck_azimuth(mesh.rest))
    radius, height = np.hypot(mesh.rest[:, 0], mesh.rest[:, 2] + 0.10), mesh.rest[:, 1]
    column = np.floor(azimuth / 3).astype(int) % 120
    order = np.lexsort((-height, column))
    columns, first = np.unique(column[order], return_index=True)
    top = order[first]  # the highest vertex at each azimuth
    place = azimuth / 3 - 0.5
    edge_height, edge_radius = (np.interp(place, columns, values[top], period=120) for values in (height, radius))
    return Unwrapped(azimuth, np.hypot(radius - edge_radius, edge_height - height).astype(np.float32))


def carry_cloth(places: Unwrapped, colours: F32, weight: F32) -> F32 | None:
    """Return the colours of the cloth of every vertex as if the photo showed none of it; None if it shows little.

    They are those of the outer garment at the same way down, in bands that go all around, and the photo's light
    beside what it shows. Its pattern is laid over them pixel by pixel.
    """
    sure = weight > SURE
    if sure.sum() < FEWEST or sure.mean() < LITTLE:
        return None
    usual = sure & find_usual(colours, sure)
    aside = np.abs(places.azimuth)
    outer = usual & (aside >= max(CENTRE, float(np.quantile(aside[usual], OUTER))))
    outer = outer if outer.sum() >= FEWEST else usual
    bands = lay_bands(places.down, places.down[outer], colours[outer])
    base = bands + carry_light(places, (colours - bands)[usual], usual)
    patched = base + carry_patches(places.azimuth, places.down, (colours - base)[outer], outer)
    low, high = np.quantile(colours[outer], RANGE, axis=0)
    # on a band of its own colour a patch would have a third one
    return np.clip(patched, np.minimum(bands, low), np.maximum(bands, high)).astype(np.float32)


def lay_bands(down: F32, shown: F32, colours: F32) -> F32:
    """Return colours (n, 3) for ways down: those of as few bands as the shown colours (m, 3) need."""
    number = np.minimum((shown / BIN).astype(int), BINS - 1)
    order = np.argsort(number, kind="stable")
    rows, first, counts = np.unique(number[order], return_index=True, return_counts=True)
    kept = counts >= min(max(0.1 * np.median(counts), FEW), counts.max())
    medians = np.stack([np.median(part, 0) for part in np.split(colours[order], first[1:])])[kept]
    rows = rows[kept]
    light = medians.mean(-1, keepdims=True)
    starts = find_steps((medians - light) * HUE + light * LIGHT)
    out = np.zeros((len(down), 3), np.float32) + np.median(medians[: starts[1]] if len(starts) > 1 else medians, 0)
    for start, end in zip(starts[1:], [*starts, len(rows)][2:], strict=True):
        edge = BIN * 0.5 * (rows[start - 1] + rows[start] + 1)
        share = smoothstep(edge - EDGE, edge + EDGE, down)[:, None]
        out = out + share * (np.median(medians[start:end], 0) - out)
    return out.astype(np.float32)


def find_steps(values: Floats) -> list[int]:
    """Return the rows at which the constant pieces begin that lie nearest to values (n, k): optimal partition."""
    count = len(values)
    sums = np.pad(np.cumsum(values, 0), ((1, 0), (0, 0)))
    squares = np.pad(np.cumsum((values**2).sum(-1)), (1, 0))
    cost, came = np.full(count + 1, np.inf), np.zeros(count + 1, int)
    cost[0] = 0
    for end in range(1, count + 1):
        start = np.arange(max(end - NARROWEST + 1, 1)) if end > NARROWEST else np.array([0])
        within = squares[end] - squares[start] - ((sums[end] - sums[start]) ** 2).sum(-1) / (end - start)
        total = cost[start] + within + STEP
        came[end] = start[total.argmin()]
        cost[end] = total.min()
    steps = [int(came[count])]
    while steps[-1] > 0:
        steps.append(int(came[steps[-1]]))
    return steps[::-1]


def carry_light(places: Unwrapped, left: F32, shown: Bools) -> F32:
    """Return for every vertex the broad part of what is `left` (m, 3) of shown colours near it, fading aside."""
    row = np.clip(places.down / CELLS[1], 0, GRID[1] - 1)
    column = places.azimuth / CELLS[0] % GRID[0]
    cell = row[shown].astype(int) * GRID[0] + column[shown].astype(int) % GRID[0]
    sums = [np.bincount(cell, np.clip(left[:, i], -MOST, MOST), GRID[0] * GRID[1]) for i in range(3)]
    table = np.stack([*sums, np.bincount(cell, minlength=GRID[0] * GRID[1])], -1).reshape(GRID[1], GRID[0], 4)
    usual = max(float(np.median(table[..., 3][table[..., 3] > 0])), 1.0)
    for axis, mode in ((0, "nearest"), (1, "wrap")):
        table = gaussian_filter1d(table, REACH, axis=axis, mode=mode)
    found = table[..., :3] / (table[..., 3:] + FADE * usual)
    at = np.stack([row - 0.5, column - 0.5])
    padded = np.pad(found, ((0, 0), (1, 1), (0, 0)), mode="wrap")
    out = [map_coordinates(padded[..., i], [at[0], at[1] + 1], order=1, mode="nearest") for i in range(3)]
    return np.stack(out, -1).astype(np.float32)


def find_usual(colours: F32, sure: Bools) -> Bools:
    """Return which colours (logarithms of albedo) are not rare among the sure: a brooch is worn once."""
    low, high = np.quantile(colours[sure], (0.005, 0.995))
    scaled = np.clip((colours - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)[None]
    density = log_density(scaled, scaled[0, sure])[0]
    return density >= np.quantile(density[sure], RARE)
