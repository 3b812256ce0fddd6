"""Give a hat the photo's colours: each part is of one material, whose usual colour goes on where the photo ends.

Crown, brim and band are of the same one unless the photo shows clearly different colours.
Where the photo shows it, what differs from that, a band or a shade, stays, and fades beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import scipy.sparse as sp

from portrait360.pipeline.avatar.clothes.colours import Calm, calm_edges
from portrait360.pipeline.avatar.photo.exposure import DARKEST, View, find_seen, look_up_points, shrink, smooth_ratio
from portrait360.pipeline.avatar.photo.pixels import BEARD, HAIR, Photo
from portrait360.pipeline.avatar.skin.mesh import graph_laplacian
from portrait360.pipeline.avatar.worn.head_cloth import find_two_colours
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Mesh
from portrait360.synth.wear.shells import RINGS, SPOKES
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.portrait_labels import SKIN_LABELS, Label
from portrait360.utils.sparse import factorise

HAT = (Label.HAT,)
CLEAR = 0.02  # picture sides from skin and hair, which shade a hat and are confused with it
FEWEST = 0.002  # share of the picture from which a hat's colour is told by it
TOLERANCE, SEEN = 0.012, 0.3  # canonical depth behind the first surface; weight from which a vertex is seen
UNEVEN = 0.3  # largest logarithm by which it differs, broadly, from its usual colour: more is light or a fold
REACH = 0.06  # canonical distance over which what differs fades
OTHER_HUE, OTHER_LIGHT = 0.25, 1.0  # logarithms by which a part is of another colour: a brim lies in its own shade
EDGES, WIDE, MOSTLY = 2, 0.25, 0.7  # rings of a crown's inner side; shares of a ring that must be shown, and differ
SHARP = 0.8  # pixels over which colours are calmed at least: what is finer would alias
MIXED = 0.48  # share of a part that is like its median up to which it has no usual colour
TOLD = 60  # seen vertices from which a part tells its colour
PATTERN = 0.5  # exponent of the pattern that the mesh has of itself: the photo's hat may have another
FAIREST = 0.72, 0.85  # greatest luminance and greatest channel of the albedo of cloth or straw
CALM = Calm((0.035, 0.08), 0.05, 0.12)


class Shown(NamedTuple):
    """What the photo shows of a mesh's vertices."""

    colour: F32  # (n, 3) logarithm of the albedo
    weight: F32  # (n,) how well
    sharp: F32  # (n, 3) as `colour`, with its bands
    length: float  # of the edges


def bake_hat(meshes: Sequence[Mesh], view: View) -> list[Mesh]:
    """Return the meshes, those of a hat with the photo's colours."""
    worn = [mesh for mesh in meshes if is_hat(mesh)]
    known = find_sure_hat(view.photo)
    if not worn or known.mean() < FEWEST:
        return list(meshes)
    inside = known.astype(np.float32) * np.isin(view.bare.labels, HAT)
    shown = {id(mesh): measure_hat(mesh, view, inside) for mesh in worn}
    if not any((part.weight > SEEN).any() for part in shown.values()):
        return list(meshes)
    usual = dict(zip(shown, find_usual_colours(list(shown.values())), strict=True))
    return [_colour(mesh, shown[id(mesh)], usual[id(mesh)]) if id(mesh) in shown else mesh for mesh in meshes]


def find_usual_colours(parts: Sequence[Shown]) -> list[F32]:
    """Return the usual colour (3,) of each part of a hat, logarithms: that of all, or its own if that is another.

    What the photo hides is like the part that it shows most of: a median of two colours would be a third.
    """
    seen = [part.colour[part.weight > SEEN] for part in parts]
    clear = [i for i, colours in enumerate(seen) if _is_of_one_colour(colours)] or list(range(len(seen)))
    common = np.median(np.concatenate([seen[i] for i in clear]), 0).astype(np.float32)
    telling = {i for i in clear if len(seen[i]) >= TOLD}

    def find_own() -> list[F32]:
        return [np.median(c, 0).astype(np.float32) if i in telling else common for i, c in enumerate(seen)]

    own = find_own()
    if any(_differ(colour, common) for colour in own):
        common = own[max(clear, key=lambda i: len(seen[i]))]
        own = find_own()
    return [colour if _differ(colour, common) else common for colour in own]


def _is_of_one_colour(colours: F32) -> bool:
    """Return whether enough of a part (n, 3) is like the median: that of badges and braid is of nothing they show."""
    return bool(len(colours)) and float((~_differ(colours, np.median(colours, 0))).mean()) > MIXED


def find_bands(shown: Shown, usual: F32) -> F32:
    """Return the usual colour of every vertex of a hat's part: a ring that is shown in another goes all around.

    It must be shown so at most of its places; parts that are not made of rings have none.
    """
    colours = np.broadcast_to(usual, shown.colour.shape).astype(np.float32)
    if len(colours) != (RINGS + EDGES) * SPOKES:
        return colours
    rings = colours.reshape(-1, SPOKES, 3).copy()
    seen_at, shown_at = shown.weight.reshape(-1, SPOKES) > SEEN, shown.sharp.reshape(rings.shape)
    band = None
    for ring, colour, seen in zip(rings, shown_at, seen_at, strict=True):
        if seen.sum() >= WIDE * SPOKES:
            found = np.median(colour[seen], 0)
            is_band = _differ(found, usual) and _differ(colour[seen], usual).mean() > MOSTLY
            band = found if is_band else None
        if band is not None:  # also below it, up to the hat's edge, where skin and hair are too near
            ring[:] = band
    return rings.reshape(-1, 3)


def _differ(colour: F32, other: F32) -> Bools:
    """Return where colours (.., 3) are not another in other light."""
    off = colour - other
    light = off.mean(-1)
    return (np.abs(off - light[..., None]).max(-1) > OTHER_HUE) | (np.abs(light) > OTHER_LIGHT)


def is_hat(mesh: Mesh) -> bool:
    """Return whether a mesh is of a hat's cloth: metal keeps its colour."""
    shines = mesh.material[0] in (Material.METAL, Material.GLASS)
    return mesh.labels is not None and int(mesh.labels[0]) == Label.HAT and not shines


def has_one_material(photo: Photo) -> bool:
    """Return whether the photo's hat is not of two cloths."""
    return find_two_colours(photo.rgb, photo.radiance, photo.labels) is None


def find_sure_hat(photo: Photo) -> Bools:
    """Return where the photo surely shows a hat, away from skin and hair."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD)
    clear = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) > CLEAR * photo.size
    return shrink(photo.shows(*HAT), 3) & clear


def measure_hat(mesh: Mesh, view: View, inside: F32) -> Shown:
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    weight = find_seen(mesh.vertices, normals, view, view.bare, TOLERANCE, inside)
    edges, camera = mesh.vertices[mesh.triangles[:, [0, 1]]], view.photo.camera
    length = float(np.linalg.norm(np.diff(edges, axis=1), axis=-1).mean())
    pixels = length * camera.focal / camera.radius * view.photo.size  # what is finer would alias
    at, own = camera.project(mesh.vertices)[0], np.log(np.maximum(mesh.albedo, DARKEST))
    sharp, ratio = (
        smooth_ratio(view.photo.radiance, view.bare.radiance, inside, width)
        for width in (SHARP, max(0.5 * pixels, SHARP))
    )
    ratio = calm_edges(ratio, inside, view.photo, CALM)
    return Shown(own + look_up_points(ratio, at), weight, own + look_up_points(sharp, at), length)


def _colour(mesh: Mesh, shown: Shown, usual: F32) -> Mesh:
    own = np.log(np.maximum(mesh.albedo, DARKEST))
    pattern = ((own - np.median(own, 0)) @ LUMINANCE)[:, None] * PATTERN
    usual = find_bands(shown, usual)
    off = UNEVEN * np.tanh((shown.colour - usual) / UNEVEN)
    edges = np.unique(np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    weight = shown.weight.astype(np.float64)
    fade = (shown.length / REACH) ** 2
    system = sp.diags(0.3 * weight + fade) + graph_laplacian(edges, np.ones(len(edges)), len(weight))
    carried = factorise(system).solve((0.3 * weight)[:, None] * off.astype(np.float64))
    albedo = np.exp(usual + carried + (1 - np.minimum(weight, 1))[:, None] * pattern)
    return replace(mesh, albedo=limit_fairness(albedo))


def limit_fairness(albedo: np.ndarray) -> F32:
    """Return albedo (n, 3) that is no fairer than cloth can be, of the same hue: clipped channels would be white."""
    most = np.maximum(albedo @ LUMINANCE / FAIREST[0], albedo.max(-1) / FAIREST[1])
    return np.maximum(albedo / np.maximum(most, 1.0)[:, None], DARKEST).astype(np.float32)
