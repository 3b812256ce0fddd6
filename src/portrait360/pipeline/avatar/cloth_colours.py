"""Give clothes the photo's cloth: where it shows them, and carried on from there to sides and back.

A garment is unwrapped about the neck, into azimuth and the way down from its upper edge. What the photo does not show
is folded back onto what it shows at the same way down, so that patterns, folds, yokes and rings go on all around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.exposure import (
    FAIREST,
    View,
    blur,
    find_seen,
    find_side_light,
    look_up_points,
    shrink,
    to_albedo,
)
from portrait360.pipeline.avatar.photo import BEARD, CLOTHES, HAIR, Photo, log_density
from portrait360.pipeline.avatar.strand_colours import SIDE_LIGHT
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.noise import noise
from portrait360.synth.scene import Mesh, Part, Scene
from portrait360.synth.wear.necklines import neck_azimuth
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS

GREY = 0.25  # albedo with which clothes are lit to learn their colours: dark cloth would show but its gloss
QUIET = 0.002  # radiance below which colours are not compared
CLEAR = 0.006  # picture sides from skin and hair at which pixels of cloth are sure
FACING = (0.2, 0.55)  # cosines to the photo between which cloth is shown finely enough
SURE = 0.6  # weight from which a vertex is shown well enough to be repeated elsewhere
LITTLE = 0.012  # share of a garment's vertices shown from which on its cloth is repeated, not its usual colour
FEWEST = 300  # such vertices from which cloth is carried on
RARE = 0.08  # share of the shown cloth whose colours are too rare to be repeated
CENTRE, NARROW = 20.0, 14.0  # degrees beside the front, with its buttons and ties; least range that is repeated
ENOUGH = 0.4  # vertices at an azimuth that are shown, per those at the best, for its cloth to be repeated
BACK = 35.0  # degrees over which the cloth of both sides blends at the back
AROUND = 0.6  # weight of a difference in azimuth against one in height where cloth is looked up
WARP, WARPED = np.array([24.0, 0.1]), 20.0  # degrees, head heights: how far places stray beyond; from where on
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
    if baked is garment:
        return list(meshes)
    tree = KDTree(garment.vertices)

    def bake(mesh: Mesh) -> Mesh:
        if mesh is garment:
            return baked
        if mesh.part[0] != Part.CLOTHES:
            return mesh
        colours, weight = measure_cloth(mesh, view, known)
        beside = np.log(HEM * np.median(baked.albedo[tree.query(mesh.vertices, k=BESIDE)[1]], 1))
        shown = (weight > SURE).mean() > ENOUGH / 4
        return replace(mesh, albedo=to_albedo(np.exp(beside + weight[:, None] * (colours - beside) * shown)))

    return [bake(mesh) for mesh in meshes]


def bake_garment(mesh: Mesh, view: View, known: F32, carry: bool) -> Mesh:
    """Return the garment with the photo's colours where it is shown, and its cloth carried on to elsewhere."""
    colours, weight = measure_cloth(mesh, view, known)
    elsewhere = np.log(mesh.albedo)
    if carry:
        colours = colours - SIDE_LIGHT * find_side_light(mesh.vertices, colours.mean(-1), weight)[:, None]
        elsewhere = carry_cloth(unwrap(mesh), colours.astype(np.float32), weight)
    if elsewhere is None or weight.max(initial=0) < SURE:
        return mesh
    return replace(mesh, albedo=to_albedo(np.exp(elsewhere + weight[:, None] * (colours - elsewhere))))


def find_sure_cloth(photo: Photo) -> F32:
    """Return 1 where the photo surely shows cloth, not skin or hair at its edge."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD)
    clear = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) > CLEAR * photo.size
    return (shrink(photo.shows(*CLOTHES), 3) & clear).astype(np.float32)


def measure_cloth(mesh: Mesh, view: View, known: F32) -> tuple[F32, F32]:
    """Return the logarithm of the albedo that the photo shows of each vertex (n, 3), and how well it shows it."""
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    weight = find_seen(mesh.vertices, normals, view, view.bare, 0.012, known, FACING)
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
    """Return the colours of the cloth of every vertex as if the photo showed none of it; None if it shows little."""
    sure = weight > SURE
    if sure.sum() < FEWEST or sure.mean() < LITTLE:
        return None
    found = [(find_range(places, sure, side), side) for side in (-1, 1)]
    sources = [(span, side) for span, side in found if span is not None]
    if not sources:
        return None
    usual = sure & find_usual(colours, sure)
    tree = KDTree(_to_plane(places.azimuth[usual], places.down[usual]))
    deepest = float(np.quantile(places.down[sure], 0.95))
    down = deepest - np.abs(deepest - places.down)  # what lies lower is folded, too
    sides = []
    for side, (span, source) in zip((-1, 1), (sources[0], sources[-1]), strict=True):
        beyond = ((side * places.azimuth + 90) % 360 - 90).astype(np.float32)  # over the back, too
        stray = smoothstep(0, WARPED, beyond - span[1])[:, None] * (noise_pair(places, side) - 0.5) * WARP
        azimuth = fold((beyond + stray[:, 0]).astype(np.float32), *span) * source
        distance, rows = tree.query(_to_plane(azimuth, np.maximum(down + stray[:, 1], 0)), k=3)
        near = 1 / (distance + 1e-3)
        sides.append((colours[usual][rows] * near[..., None]).sum(1) / near.sum(1)[:, None])
    # both sides meet in the middle of the back, and of the front
    turn = np.where(np.abs(places.azimuth) > 90, 180 - places.azimuth % 360, places.azimuth) / BACK
    share = smoothstep(-1.0, 1.0, turn)[:, None]
    return np.asarray(sides[0] + share * (sides[1] - sides[0]), np.float32)


def find_usual(colours: F32, sure: Bools) -> Bools:
    """Return which colours (logarithms of albedo) are not rare among the sure: a brooch is worn once."""
    low, high = np.quantile(colours[sure], (0.005, 0.995))
    scaled = np.clip((colours - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)[None]
    density = log_density(scaled, scaled[0, sure])[0]
    return density >= np.quantile(density[sure], RARE)


def noise_pair(places: Unwrapped, seed: int) -> F32:
    """Return two smooth random numbers 0 .. 1 for each place (n, 2): what is folded must not look folded."""
    around = np.radians(places.azimuth)
    points = np.stack([np.sin(around) * (0.3 + places.down), places.down, np.cos(around) * (0.3 + places.down)], -1)
    return np.stack([noise(points, 3.0, 70 + 2 * seed + i, 2) for i in (0, 1)], -1)


def _to_plane(azimuth: Floats, down: Floats) -> Floats:
    return np.stack([AROUND * np.radians(azimuth) * (0.3 + down), down], 1)


def find_range(places: Unwrapped, sure: Bools, side: int) -> tuple[float, float] | None:
    """Return the azimuths between which the photo shows the cloth of one side, beside the front."""
    counts = np.bincount(np.clip(side * places.azimuth[sure], 0, 179).astype(int) // 4, minlength=45)
    counts = np.convolve(counts, np.ones(3) / 3, "same") * (np.arange(45) * 4 >= CENTRE)
    shown = 4 * np.flatnonzero(counts > ENOUGH * counts.max())
    if counts.max() < FEWEST / 45 or len(shown) < 2 or shown[-1] - shown[0] < NARROW:
        return None
    return float(shown[0]), float(shown[-1] + 2)


def fold(azimuth: F32, first: float, last: float) -> F32:
    """Return azimuths folded to and fro into a range, beyond its end; those before its end stay."""
    span = last - first
    return np.where(azimuth > last, first + np.abs((azimuth - last) % (2 * span) - span), azimuth).astype(np.float32)
