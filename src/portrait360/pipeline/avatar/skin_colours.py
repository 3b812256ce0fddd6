"""Colours of the skin of an avatar, vertex by vertex: what the photo shows, carried on over the head's mesh."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.exposure import (
    GAIN,
    View,
    blur,
    cosine_to_camera,
    find_seen,
    find_side_light,
    is_part,
    log_ratio,
    look_up_points,
    smooth_ratio,
    to_albedo,
)
from portrait360.pipeline.avatar.photo import BEARD, CLOTHES, HAIR, Photo
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE, HAT = (Label.FACE, Label.EAR, Label.SKIN), (Label.HAT,)
SKIN = (*BARE, Label.LIPS)
SCALP, WHISKERS, LINING = 1, 2, 3  # kinds of skin, 0 being bare skin
OVERDUE = float(np.log(12.0))  # largest gain of bare skin where the generator has tinted it with hair roots
SHADE = 0.05  # picture sides from hair to where its shade on the skin ends
SMEARED = (0.004, 0.020)  # picture sides from hair and cloth over which skin outside the central face counts fully
LOPSIDED = 0.92  # share taken off what differs broadly between left and right
WIDE, NARROW = 0.05, 0.015  # canonical width of broad, on the central face and elsewhere
FEWEST = 200  # vertices from whose gains the usual one is known
SOFT_EDGE = 12  # steps of diffusion over which the colours of hairlines blend
REACH = 0.22  # canonical distance over which a carried gain fades
CENTRE, HALF_WIDTH, HALF_HEIGHT = -0.07, 0.115, 0.13  # of the central face on the average head, canonical
AROUND = 0.04  # canonical width of the neighbourhood of a detail
DETAIL = 0.11  # largest gain of a detail outside the central face, against its neighbourhood
UNUSUAL = 0.12  # gain against its neighbourhood from which a point is doubted
ROUNDS = 3


@lru_cache(maxsize=1)
def mirror_vertices() -> np.ndarray:
    """Return the vertex on the other side of the head of each vertex of the first subdivision."""
    rest = load_average_head().fine[1]
    return np.asarray(KDTree(rest).query(rest * np.array([-1, 1, 1]))[1])


@lru_cache(maxsize=1)
def skin_edges() -> tuple[np.ndarray, float]:
    """Return the edges (e, 2) of the first subdivision and their mean length, canonical."""
    average, quads = load_average_head(), load_pack().subdivision(1).quads
    edges = np.unique(np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1), axis=0)
    rest = average.fine[1]
    return edges, float(np.linalg.norm(rest[edges[:, 0]] - rest[edges[:, 1]], axis=1).mean()) * HEAD_HEIGHT


@lru_cache(maxsize=1)
def skin_sizes() -> tuple[int, ...]:
    return tuple(len(load_pack().subdivision(level).corner) for level in (1, 2))


def graph_laplacian(edges: np.ndarray, weight: np.ndarray, count: int) -> sp.csr_matrix:
    """Return the matrix of the sum of weight * (difference over an edge)^2 / 2."""
    ends = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]]
    links = sp.csr_matrix((np.r_[weight, weight], ends), shape=(count, count))
    return sp.csr_matrix(sp.diags(links @ np.ones(count)) - links)


def skin_kinds(mesh: Mesh) -> np.ndarray:
    """Return of every vertex whether it is bare skin (0), SCALP, WHISKERS or the LINING of the mouth."""
    kinds = np.zeros(len(mesh.vertices), np.uint8)
    if mesh.labels is not None:
        for label, kind in ((Label.BEARD, WHISKERS), (Label.HAIR, SCALP), (Label.MOUTH, LINING)):
            kinds[mesh.triangles[mesh.labels == label]] = kind
    return kinds


def soften(share: F32) -> F32:
    """Blur a share (n,) of the skin's vertices over its mesh."""
    average = load_average_head()
    count = len(average.fine[1])
    edges, _ = skin_edges()
    matrix = graph_laplacian(edges, np.ones(len(edges)), count)
    coarse = share[:count].astype(np.float64)
    for _ in range(SOFT_EDGE):
        coarse = coarse - 0.12 * (matrix @ coarse)
    fine = coarse if len(share) == count else load_pack().subdivision(2).matrix @ coarse
    return np.clip(fine, 0, 1).astype(np.float32)


def bake_skin(mesh: Mesh, view: View) -> Mesh:
    """Bake bare skin from what the photo shows of it, scalp and stubble from its hair and beard."""
    kinds, points = skin_kinds(mesh), mesh.vertices
    normals = vertex_normals(points, mesh.triangles) if mesh.normals is None else mesh.normals
    uv, _ = view.photo.camera.project(points)
    central = find_central_face(len(points))
    bare, bare_gain = _see_bare_skin(points, normals, uv, view)
    smeared = look_up_points(_out_of_smears(view.photo), uv)
    own = kinds == 0
    weight = np.where(own, bare * (smeared + 0.4 * central * (1 - smeared)), 0).astype(np.float32)
    gain = np.where(own[:, None], np.clip(bare_gain, *GAIN), 0).astype(np.float32)
    for which, labels in ((SCALP, HAIR), (WHISKERS, BEARD)):
        rows = kinds == which
        if rows.any():
            inside = view.photo.mask(labels, inset=2) * np.isin(view.whole.labels, labels)
            weight[rows] = find_seen(points[rows], normals[rows], view, view.whole, 0.008, inside)
            smooth = smooth_ratio(view.photo.radiance, view.whole.radiance, inside, 2.0)
            gain[rows] = np.clip(look_up_points(smooth, uv[rows]), *GAIN)
    weight[kinds == LINING] = 1
    source = weight * smoothstep(0.3, 0.7, cosine_to_camera(points, normals, view))
    source = source * np.where(own, look_up_points(_out_of_shade(view.photo), uv), 1)
    source = np.where(kinds == LINING, 1, source).astype(np.float32)
    usual = own[:, None] * find_usual_gain(gain, source * own)
    carried = carry_over_skin(source, gain - usual, kinds) + usual
    out = carried + weight[:, None] * (gain - carried)
    out = out - LOPSIDED * find_lopsided(carried, kinds, central)
    out = calm_details(out, source, kinds, central)
    odd = (kinds == SCALP) | (kinds == WHISKERS)  # the photo shows bare skin where the generator grew hair
    side_light = find_side_light(points, np.clip(bare_gain, *GAIN).mean(1), bare)
    bare_gain = bare_gain - LOPSIDED * side_light[:, None]
    share = (bare * odd)[:, None]
    out = out + share * (np.clip(bare_gain, GAIN[0], OVERDUE) - out)
    return replace(mesh, albedo=to_albedo(mesh.albedo * np.exp(out)))


def find_usual_gain(gain: F32, weight: Floats) -> F32:
    """Return the median gain (3,) of what the photo shows of the skin; skin far from all of it has the same tone."""
    rows = weight > 0.5
    return np.asarray(np.median(gain[rows], 0) if rows.sum() > FEWEST else np.zeros(3), np.float32)


def _see_bare_skin(points: F32, normals: F32, uv: Floats, view: View) -> tuple[F32, F32]:
    """Return how well the photo shows each point (n,) as bare skin, and its gain there (n, 3)."""
    inside = _bare_mask(view.photo) * is_part(view.bare, Part.SKIN)
    gains = _hold_back_gloss(log_ratio(view.photo.radiance, view.bare.radiance), inside)
    return find_seen(points, normals, view, view.bare, 0.008, inside, facing=(0.22, 0.6)), look_up_points(gains, uv)


@lru_cache(maxsize=2)
def find_central_face(count: int) -> F32:
    """Return 1 for the vertices of eyes, brows, nose and mouth, whose details matter, to 0 for those around them."""
    rest = load_average_head().fine[1] * HEAD_HEIGHT
    x, y, z = (rest if count == len(rest) else load_pack().subdivision(2).matrix @ rest).T
    distance = ((x / HALF_WIDTH) ** 4 + ((y - CENTRE) / HALF_HEIGHT) ** 4) ** 0.25
    return np.asarray((1 - smoothstep(1.0, 1.25, distance)) * smoothstep(0.06, 0.10, z), np.float32)


def calm_details(gain: Floats, source: F32, kinds: np.ndarray, central: F32) -> F32:
    """Bring the gains (n, 3) of bare skin near those around it, outside the central face: the rest is dirt.

    What is around a vertex is an average in which unusual gains count little.
    """
    edges, length = skin_edges()
    coarse, kind = len(load_average_head().fine[1]), kinds[: len(load_average_head().fine[1])]
    passes = np.where(kind[edges[:, 0]] == kind[edges[:, 1]], 1.0, 0.003)
    stiff = (AROUND / length) ** 2 * graph_laplacian(edges, passes, coarse)
    values, trust = gain[:coarse].astype(np.float64), 0.05 + source[:coarse].astype(np.float64)
    weight, usual = trust, values
    for _ in range(ROUNDS):
        usual = splu(sp.csc_matrix(sp.diags(weight) + stiff)).solve(weight[:, None] * values)
        weight = trust / (1 + (np.abs(values - usual).max(1) / UNUSUAL) ** 2)
    fine = usual if len(gain) == coarse else load_pack().subdivision(2).matrix @ usual
    off = gain - fine
    free = np.where(kinds == 0, central, 1)[:, None]
    return np.asarray(fine + free * off + (1 - free) * DETAIL * np.tanh(off / DETAIL), np.float32)


def _bare_mask(photo: Photo) -> F32:
    """Return where the photo surely shows bare skin; the edges of neck and chest are less sure than the face's."""
    neck = photo.mask((Label.SKIN,), inset=6)
    return np.clip(photo.mask(SKIN, inset=3) * np.where(photo.shows(Label.SKIN), neck, 1), 0, 1).astype(np.float32)


def _out_of_shade(photo: Photo) -> F32:
    """Return 0 beside hair, which shades the skin, to 1 where its shade ends."""
    free = (~photo.shows(*HAIR, *BEARD, *HAT)).astype(np.uint8)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 3) / photo.size
    return (0.1 + 0.9 * smoothstep(0.01, SHADE, distance)).astype(np.float32)


def _out_of_smears(photo: Photo) -> F32:
    """Return 0 at the edges of hair and cloth, with which skin is confused, to 1 where it is surely skin."""
    free = (~photo.shows(*HAIR, *BEARD, *HAT, *CLOTHES)).astype(np.uint8)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 3) / photo.size
    return np.asarray(smoothstep(*SMEARED, distance), np.float32)


def _hold_back_gloss(ratio: F32, inside: Floats) -> F32:
    """Weaken what is brighter than its surroundings in a picture of gains: highlights are not the skin's colour."""
    light = ratio.mean(-1)
    broad = blur(light, inside, 20.0)
    over = 0.6 * np.maximum(light - broad - 0.15, 0) + 0.5 * np.maximum(broad - 0.6, 0)
    return ratio - over[..., None]


def find_lopsided(gain: F32, kinds: np.ndarray, central: F32) -> F32:
    """Return the broad part of gains (n, 3) of the skin by which its two sides differ: light, since skin is even."""
    edges, length = skin_edges()
    count, mirror = len(load_average_head().fine[1]), mirror_vertices()
    same = (kinds[:count] == kinds[:count][mirror])[:, None]
    uneven = (same * (gain[:count] - gain[:count][mirror]) / 2).astype(np.float64)
    matrix = graph_laplacian(edges, np.ones(len(edges)), count)
    wide, narrow = (
        splu(sp.csc_matrix(sp.identity(count) + (width / length) ** 2 * matrix)).solve(uneven)
        for width in (WIDE, NARROW)
    )
    broad = narrow + central[:count, None] * (wide - narrow)
    return np.asarray(broad if len(gain) == count else load_pack().subdivision(2).matrix @ broad, np.float32)


def carry_over_skin(weight: F32, gain: F32, kinds: np.ndarray) -> F32:
    """Return smooth gains (n, 3) of the skin: as seen, else as on the other side of the face, else fading to 0.

    They are solved for on the first subdivision: near the gains that are seen, and with the gradient of their mirror
    image where that is seen and they are not; gains do not pass between bare skin, scalp and beard.
    """
    count = len(load_average_head().fine[1])
    spread = sp.identity(count) if len(weight) == count else load_pack().subdivision(2).matrix
    total = np.asarray(spread.T @ weight)
    known = np.asarray(spread.T @ (weight[:, None] * gain)) / np.maximum(total, 1e-6)[:, None]
    seen = np.clip(total / np.maximum(np.asarray(spread.sum(0)).ravel(), 1e-6), 0, 1)
    kind, mirror = kinds[:count], mirror_vertices()
    same = kind[mirror] == kind
    there, reflected = seen[mirror] * same, known[mirror]
    edges, length = skin_edges()
    passes = np.where(kind[edges[:, 0]] == kind[edges[:, 1]], 1.0, 0.003)
    guided = passes * np.sqrt(there[edges].prod(1)) * (1 - np.sqrt(seen[edges].prod(1)))
    fade = (length / REACH) ** 2
    system = sp.diags(0.3 * seen + fade) + graph_laplacian(edges, passes, count)
    wanted = (0.3 * seen)[:, None] * known + (fade * there)[:, None] * reflected
    wanted = wanted + graph_laplacian(edges, guided, count) @ reflected
    return np.asarray(spread @ splu(sp.csc_matrix(system)).solve(wanted), np.float32)
