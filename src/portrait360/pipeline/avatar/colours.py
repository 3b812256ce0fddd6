"""Give the layers of an avatar the colours of its photo: mean colours first, then vertex by vertex, strand by strand.

What the photo shows of a layer takes the photo's colour divided by the light that the layer receives. The gain that
this needs is carried on to what the photo does not show, over the skin's mesh and from strand to strand, and fades.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import scipy.sparse as sp

from portrait360.pipeline.avatar.clothes.colours import Calm, bake_clothes, calm_edges, paint_clothes_grey
from portrait360.pipeline.avatar.clothes.neck_shade import shade_neck
from portrait360.pipeline.avatar.hair.evening import even_groups
from portrait360.pipeline.avatar.hair.stains import find_clear_hair, find_dense_strands
from portrait360.pipeline.avatar.hair.strand_colours import (
    BAKED_STRANDS,
    DIM,
    SIDE_LIGHT,
    STRAND_LABELS,
    bake_strands,
    read_locks,
    read_shown_hair,
)
from portrait360.pipeline.avatar.hair.trusted import find_trusted_hair
from portrait360.pipeline.avatar.photo.exposure import (
    FEW,
    GAIN,
    QUIET,
    View,
    expose,
    find_seen,
    find_side_light,
    look_up_points,
    shrink,
    smooth_ratio,
    to_albedo,
    trimmed_mean,
)
from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, Photo
from portrait360.pipeline.avatar.skin.colours import (
    BARE,
    HAIRLINE,
    HAT,
    SCALP,
    WHISKERS,
    bake_skin,
    skin_kinds,
)
from portrait360.pipeline.avatar.skin.eye_colours import tint_eyes
from portrait360.pipeline.avatar.skin.mesh import graph_laplacian, skin_sizes, soften
from portrait360.pipeline.avatar.worn.hat_colours import bake_hat, has_one_material
from portrait360.pipeline.avatar.worn.head_cloth import find_two_colours
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.render.bake import DRAFT, PORTRAIT
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Mesh, Part, Scene, Strands
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.parallel.threads import map_in_threads, run_beside
from portrait360.utils.portrait_labels import SKIN_LABELS, Label
from portrait360.utils.sparse import factorise

BROWS = (Label.BROW,)
CALIBRATION = (0.12, 8.0)  # range of the gains of whole layers
GLARING = 3.0  # brightness against that of most hair from which it is a hat, or the background
CLEAR = 0.02  # picture sides
LITTLE = 0.015  # share of the picture that shows too little of the clothes to trust all of it
MANY = 60000  # vertices of a mesh over which carrying gains takes too long
BRIGHT = 0.72  # red albedo of skin from which the light must be brighter
CALM = Calm((0.035, 0.08), 0.05, 0.12)
ONE_BROW = 0.3  # share of the pixels of the grown brows
CLOTH_REACH = 0.10  # canonical distance over which a carried gain fades


# ---- mean colours


def calibrate(scene: Scene, photo: Photo, rounds: int = 2) -> Scene:
    """Scale the albedo of every layer until a render at the photo's camera has the photo's mean colours.

    What skin cannot reflect is the light's.
    """
    for turn in range(rounds):
        view = expose(scene, photo, DRAFT)
        scene = _calibrate_once(scene, view, spread=turn == 0)
    return scene


def _calibrate_once(scene: Scene, view: View, spread: bool) -> Scene:
    skin_gain = _mean_gain(view, view.bare, BARE, trim=(0.1, 0.9))
    skin = next((mesh for mesh in scene.meshes if _kind(mesh) == Label.FACE), None)
    level = 1.0
    if skin is not None and skin_gain is not None:
        level = max(float(np.median(skin.albedo[:, 0])) * float(skin_gain[0]) / BRIGHT, 1.0)
    gains = {
        Label.FACE: skin_gain,
        Label.CLOTHES: _median_gain(view, CLOTHES),
        Label.HAT: _median_gain(view, HAT),
        Label.HAIR: _mean_gain(view, view.whole, HAIR, trim=(0.0, 0.85)),
        Label.BEARD: _mean_gain(view, view.whole, BEARD, trim=(0.0, 0.6)),
        Label.BROW: _brow_gain(view),
    }
    gains = {label: None if gain is None else gain / level for label, gain in gains.items()}
    contrast = {part: _contrast(view, STRAND_LABELS[part]) if spread else 1.0 for part in (Part.HAIR, Part.BEARD)}
    meshes = tuple(_scale_mesh(mesh, gains) for mesh in scene.meshes)
    strands = tuple(_scale_strands(group, gains, contrast) for group in scene.strands)
    lit, brighter = scene.light, np.float32(level)
    light = replace(lit, ambient=lit.ambient * brighter, key_colours=lit.key_colours * brighter)
    return replace(scene, meshes=meshes, strands=strands, light=light)


def _kind(mesh: Mesh) -> Label | None:
    """Return the label by which a mesh is coloured as a whole; None for what keeps its colour."""
    part, label = int(mesh.part[0]), None if mesh.labels is None else int(mesh.labels[0])
    if mesh.material[0] in (Material.METAL, Material.GLASS, Material.EYE, Material.ENAMEL):
        return None
    if label == Label.HAT:
        return Label.HAT
    if part == Part.CLOTHES:
        return Label.CLOTHES
    if part == Part.HAIR or label == Label.HAIR and part != Part.SKIN:
        return Label.HAIR
    return Label.FACE if part == Part.SKIN and len(mesh.vertices) in skin_sizes() else None


def _mean_gain(view: View, film: Film, labels: tuple[Label, ...], trim: tuple[float, float]) -> Floats | None:
    """Return photo / render over the pixels that have these labels in both, or else over those of either.

    `trim` gives the quantiles of brightness between which pixels count.
    """
    in_photo, in_film = shrink(view.photo.shows(*labels)), shrink(np.isin(film.labels, labels) & (film.alpha > 0.9))
    if labels == HAIR and in_photo.any():
        light, in_photo = view.photo.radiance.mean(-1), find_trusted_hair(view.photo)
        in_photo &= light < GLARING * np.median(light[in_photo])
    if min(in_photo.sum(), in_film.sum()) < FEW:
        return None
    both = in_photo & in_film
    if both.sum() > 0.1 * min(in_photo.sum(), in_film.sum()):
        in_photo = in_film = both
    typical = trimmed_mean if labels == BARE else _typical_colour
    photo, drawn = typical(view.photo.radiance[in_photo], trim), typical(film.radiance[in_film], trim)
    return np.clip(photo / np.maximum(drawn, 1e-3), *CALIBRATION)


def _typical_colour(colours: F32, quantiles: tuple[float, float]) -> Floats:
    """Return the mean colour of hair, as dark as most of it: few bright strands weigh too much in a mean."""
    mean = trimmed_mean(colours, quantiles)
    light = LUMINANCE.astype(np.float32)
    usual = np.exp(trimmed_mean(np.log(colours @ light + DIM)[:, None], quantiles)) - DIM
    return mean * np.maximum(usual, 1e-3) / max(float(mean @ light), 1e-4)


def _brow_gain(view: View) -> Floats | None:
    """Return photo / render of the darker pixels of the brows, for between their hairs lies skin."""
    in_photo, in_film = view.photo.shows(*BROWS), np.isin(view.whole.labels, BROWS)
    if min(in_photo.sum(), in_film.sum()) < FEW:
        return None
    photo, drawn = (
        trimmed_mean(a[m], (0.05, 0.4)) for a, m in ((view.photo.radiance, in_photo), (view.whole.radiance, in_film))
    )
    return np.clip(photo / np.maximum(drawn, 1e-3), 0.25, 2.5)


def _median_gain(view: View, labels: tuple[Label, ...]) -> Floats | None:
    """Return photo / render of the median colours, for things whose outlines and patterns differ."""
    in_photo, in_film = shrink(view.photo.shows(*labels)), shrink(np.isin(view.bare.labels, labels))
    if min(in_photo.sum(), in_film.sum()) < FEW:
        return None
    sure = _far_from_skin(view.photo, labels)
    if 0 < sure.sum() < LITTLE * sure.size:  # then it may well be skin; what lies lowest is cloth
        sure[: int(np.median(np.nonzero(sure)[0]))] = False
    in_photo = sure if sure.sum() >= FEW else in_photo
    ratio = np.median(view.photo.radiance[in_photo], 0) / np.maximum(np.median(view.bare.radiance[in_film], 0), 1e-3)
    if labels == HAT and find_two_colours(view.photo.rgb, view.photo.radiance, view.photo.labels) is not None:
        ratio = np.full(3, float(ratio @ LUMINANCE))  # a median of two hues is a third
    return np.clip(ratio, *CALIBRATION)


def _far_from_skin(photo: Photo, labels: tuple[Label, ...]) -> Bools:
    """Return where the photo shows these labels at a distance from skin and hair, with which they are confused."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD)
    clear = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) > CLEAR * photo.size
    return shrink(photo.shows(*labels)) & clear


def _contrast(view: View, labels: tuple[Label, ...]) -> float:
    """Return how much more the strands of the photo differ in brightness than those of the render."""
    spreads = []
    for picture, found in ((view.photo.radiance, view.photo.labels), (view.whole.radiance, view.whole.labels)):
        light = np.log(cv2.GaussianBlur(picture, (0, 0), 0.8).mean(-1) + QUIET)
        fine = (light - cv2.GaussianBlur(light, (0, 0), 8.0))[shrink(np.isin(found, labels), 3)]
        if len(fine) < FEW:
            return 1.0
        spreads.append(float(np.diff(np.quantile(fine, (0.15, 0.75)))[0]))
    return float(np.clip(spreads[0] / max(spreads[1], 1e-3), 0.5, 1.6))


def _scale_mesh(mesh: Mesh, gains: dict[Label, Floats | None]) -> Mesh:
    kind = _kind(mesh)
    gain = None if kind is None else gains[kind]
    if gain is None:
        return mesh
    factor = np.broadcast_to(gain, mesh.albedo.shape)
    if kind == Label.FACE:  # hair roots in the skin have the hair's colour
        kinds = skin_kinds(mesh)
        for which, label in ((SCALP, Label.HAIR), (WHISKERS, Label.BEARD)):
            other = gains[label]
            if other is not None and (kinds == which).any():
                share = soften(kinds == which, HAIRLINE)[:, None]
                factor = factor ** (1 - share) * other**share
    return replace(mesh, albedo=to_albedo(mesh.albedo * factor))


def _scale_strands(group: Strands, gains: dict[Label, Floats | None], contrast: dict[Part, float]) -> Strands:
    part = Part(int(group.part[0]))
    labels = STRAND_LABELS.get(part)
    gain = None if labels is None else gains[labels[0]]
    if gain is None:
        return group
    mean = group.albedo.mean(0)
    varied = mean * np.exp(contrast.get(part, 1.0) * np.log(group.albedo / mean))
    return replace(group, albedo=to_albedo(varied * gain))


# ---- colours of every point


def bake_photo(scene: Scene, photo: Photo, *, alone: bool = True) -> Scene:
    """Give every point of skin, cloth and strands the colour that the photo shows there, and carry on the rest.

    Clothes go on all around as the photo shows them if it is the head's only one, `alone`.
    """
    view = expose(paint_clothes_grey(scene), photo, PORTRAIT)
    meshes, strands = run_beside(lambda: _bake_meshes(scene, view, alone=alone), lambda: _bake_strands(scene, view))
    if shows_brows(view):
        strands = [_shave(group) if group.part[0] == Part.BROWS else group for group in strands]
        meshes = [_call_brows_face(mesh) for mesh in meshes]
    return replace(scene, meshes=tuple(shade_neck(meshes)), strands=tuple(strands))


def _bake_meshes(scene: Scene, view: View, *, alone: bool) -> list[Mesh]:
    beards = [group.points[:, 0] for group in scene.strands if group.part[0] == Part.BEARD]
    beards += [mesh.vertices for mesh in scene.meshes if mesh.part[0] == Part.BEARD]  # carved
    whiskers = np.concatenate([np.zeros((0, 3), np.float32), *beards])
    meshes = [_bake_mesh(mesh, view, whiskers) for mesh in scene.meshes]
    meshes = bake_hat(meshes, view) if has_one_material(view.photo) else meshes
    return bake_clothes(tint_eyes(meshes, view), view, carry=alone)


def _bake_strands(scene: Scene, view: View) -> list[Strands]:
    unstained = find_clear_hair(view.photo)
    clear = unstained * find_dense_strands(scene.strands, view)
    parts = {Part(int(group.part[0])) for group in scene.strands}
    locks = {Part.HAIR: read_locks(view, unstained)}
    if Part.BEARD in parts:
        locks[Part.BEARD] = read_locks(view, np.ones_like(clear), BEARD)
    shown = {part: read_shown_hair(part, view, locks[part], clear) for part in BAKED_STRANDS if part in parts}

    def bake(group: Strands) -> Strands:
        return bake_strands(group, view, shown.get(Part(int(group.part[0]))))

    return even_groups(list(map_in_threads(bake, scene.strands, lone_first=False)))


def shows_brows(view: View) -> bool:
    """Return whether the photo shows so much of a brow that the skin's own colours hold it, without grown hairs."""
    shown = (view.photo.shows(*BROWS) & (view.bare.parts == Part.SKIN)).sum()
    return bool(shown > max(FEW, ONE_BROW * np.isin(view.whole.labels, BROWS).sum()))


def _shave(group: Strands) -> Strands:
    """Return strands too thin to be seen, one for each."""
    return replace(group, widths=np.zeros_like(group.widths))


def _call_brows_face(mesh: Mesh) -> Mesh:
    if mesh.labels is None or mesh.part[0] != Part.SKIN:
        return mesh
    return replace(mesh, labels=np.where(mesh.labels == Label.BROW, np.uint8(Label.FACE), mesh.labels))


def _bake_mesh(mesh: Mesh, view: View, whiskers: F32) -> Mesh:
    kind = _kind(mesh)
    if kind == Label.FACE:
        return bake_skin(mesh, view, whiskers)
    if kind == Label.HAT and has_one_material(view.photo):
        return mesh
    if kind is not None and kind != Label.CLOTHES and len(mesh.vertices) < MANY:
        return _bake_cloth(mesh, view, (kind,))
    return mesh


def _bake_cloth(mesh: Mesh, view: View, labels: tuple[Label, ...]) -> Mesh:
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    shown = shrink(view.photo.shows(*labels), 3) if labels == HAIR else _far_from_skin(view.photo, labels)
    if shown.sum() < LITTLE * shown.size:
        return mesh
    inside = shown.astype(np.float32) * np.isin(view.bare.labels, labels)
    weight = find_seen(mesh.vertices, normals, view, view.bare, 0.012, inside)
    if weight.max(initial=0) < 0.1:
        return mesh
    edges = np.unique(np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    length = np.linalg.norm(np.diff(mesh.vertices[edges], axis=1), axis=-1).mean()
    camera = view.photo.camera
    pixels = float(length) * camera.focal / camera.radius * view.photo.size  # of an edge: what is finer would alias
    ratio = smooth_ratio(view.photo.radiance, view.bare.radiance, inside, max(0.5 * pixels, 0.8))
    if labels != HAIR:
        ratio = calm_edges(ratio, inside, view.photo, CALM)
    gain = np.clip(look_up_points(ratio, camera.project(mesh.vertices)[0]), *GAIN)
    side_light = find_side_light(mesh.vertices, gain.mean(-1), weight)
    gain = gain - SIDE_LIGHT * side_light[:, None]
    fade = float(length / CLOTH_REACH) ** 2
    system = sp.diags(0.3 * weight + fade) + graph_laplacian(edges, np.ones(len(edges)), len(weight))
    carried = factorise(system).solve(((0.3 * weight)[:, None] * gain).astype(np.float64))
    out = carried + weight[:, None] * (gain - carried)
    return replace(mesh, albedo=to_albedo(mesh.albedo * np.exp(out)))
