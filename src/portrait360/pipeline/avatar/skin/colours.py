"""Colours of the skin of an avatar, vertex by vertex: what the photo shows, carried on over the head's mesh.

Bare skin and the roots of hair are coloured apart, each over all of the head, and mixed softly at the hairline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.drawing.painted_labels import find_ink
from portrait360.pipeline.avatar.photo.beneath_ears import find_beneath_ears
from portrait360.pipeline.avatar.photo.exposure import (
    FEW,
    GAIN,
    QUIET,
    View,
    blur,
    cosine_to_camera,
    find_seen,
    is_part,
    log_ratio,
    look_up_points,
    smooth_ratio,
    to_albedo,
    trimmed_mean,
)
from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, Photo
from portrait360.pipeline.avatar.photo.stray_hair import find_stray_hair
from portrait360.pipeline.avatar.skin.detail import look_up_detail, make_detail
from portrait360.pipeline.avatar.skin.ear_colours import find_ears, redden_ears, shade_ears
from portrait360.pipeline.avatar.skin.mesh import (
    coarse_count,
    find_features,
    fine_edges,
    graph_laplacian,
    laplacian_within,
    mirror_fine_vertices,
    mirror_vertices,
    plain_laplacian,
    prolong,
    restrict,
    skin_edges,
    soften,
    solve,
)
from portrait360.pipeline.avatar.skin.patches import carry_across, find_shade, keep_own
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32, F64, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE, HAT = (Label.FACE, Label.EAR, Label.SKIN), (Label.HAT,)
SKIN, TOP = (*BARE, Label.LIPS, Label.BROW), (*HAIR, *HAT)
SCALP, WHISKERS, LINING = 1, 2, 3  # kinds of skin, 0 being bare skin
FEATURES = (Label.BROW, Label.EYE, Label.LIPS, Label.MOUTH)
PATCH, BESIDE_FEATURES = 0.03, 0.006  # picture sides around patches of light, and beside features
KEPT = 0.5  # share of weak patches that stays: the photo shows them over the layers
SHADE = 0.05  # picture sides from hair to where its shade on the skin ends
SMEARED = (0.004, 0.020)  # picture sides from hair over which skin outside the features counts fully
STRAY_EDGE = 0.002  # picture sides over which hair ends that was taken for skin
COLLAR = (0.008, 0.035)  # those from cloth, whose shade lies on the neck
LOPSIDED = 0.92  # share taken off what differs broadly between left and right
BROADEST, EVENED = 0.08, 0.65  # canonical width over which skin has one tone; share taken off what differs broadly
USUAL = (0.1, 0.9)  # quantiles of brightness of usual skin
FEWEST = 200  # vertices from whose gains the usual one is known
HAIRLINE, TINTED = 12, 30  # steps of diffusion over which hair roots blend into skin, and over which they may tint it
ROOTS = (0.35, 0.95)  # diffused share of hair roots from which, and up to which, they colour the skin
TINTED_NECK, PALER = (
    0.85,
    0.15,
)  # share of what a neck differs by in hue that is the light's; how much paler it may be
UNLIKE = 0.06  # difference in hue between necks and faces
POORER = (0.2, 0.6)  # by how much better the other side is seen from which a feature is that side's, and surely so
REACH = 0.22  # canonical distance over which a carried gain fades
AROUND, NEAR = 0.04, 0.015  # canonical widths of the neighbourhood of a detail, and of one on a feature
SPOT, DARKER = (0.08, 0.2), (0.05, 0.15)  # largest gains of details outside the features, where hardly and well seen
SURE = (0.75, 1.0)  # how well they must be seen for the latter: a side of the face may lie in shade
WRINKLE, CLEAR = 0.25, (0.5, 0.9)  # that of lines narrower than that, and how well they must be seen
SHADOW = 0.18  # largest gain of the broad shade on features, such as that of an eye's socket
BRIGHT, LIT = 0.6, 0.8  # broad gain from which skin glares, but for a quantile of it: a side that is lit does not
LOSS = 0.7  # largest change of the tone as a whole
FINE = 0.22  # that of pores and freckles
UNUSUAL = 0.12  # gain against its neighbourhood from which a point is doubted
ROUNDS = 3
DARKEST = float(np.log(0.05))  # gain of brows, and of a colour of painted lips
BESIDE = 0.012  # canonical distance between roots that grow together
WET = np.array([0.9, 0.75, 0.75], np.float32)  # lips at the edge of the mouth, of their colour outside
DEEP = np.array([0.6, 0.35, 0.35], np.float32)  # the lining further in, of that
NEIGHBOURS = (0.008, 0.005)  # canonical distance of vertices over which they hold details


@dataclass(frozen=True, eq=False)
class SkinView:
    """What a photo shows of the vertices of bare skin."""

    weight: F32  # (n,) how well it shows each
    source: F32  # (n,) how well it does so in light like that of the rest
    gain: F32  # (n, 3) logarithms, against `base`
    brow: F32  # (n,) 1 at brows, lips and the edges of lids
    base: F32  # (n, 3) logarithm of an albedo without hair roots


def skin_kinds(mesh: Mesh) -> Bytes:
    """Return of every vertex whether it is bare skin (0), SCALP, WHISKERS or the LINING of the mouth."""
    kinds = np.zeros(len(mesh.vertices), np.uint8)
    if mesh.labels is not None:
        for label, kind in ((Label.BEARD, WHISKERS), (Label.HAIR, SCALP), (Label.MOUTH, LINING)):
            kinds[mesh.triangles[mesh.labels == label]] = kind
    return kinds


def bake_skin(mesh: Mesh, view: View, whiskers: F32) -> Mesh:
    """Bake bare skin from what the photo shows of it, scalp and stubble from its hair and beard.

    `whiskers` (w, 3) are the roots of the beard; what lies further from them shows no roots.
    """
    kinds, count = skin_kinds(mesh), len(mesh.vertices)
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    seen = _see_bare_skin(mesh, normals, kinds, view)
    usual = find_usual_gain(seen.gain, np.where(kinds == LINING, 0, seen.source))
    carried = carry_over_skin(seen.source, seen.gain - usual, kinds == LINING) + usual
    out = carried + seen.weight[:, None] * (seen.gain - carried)
    features = find_features(count)
    out = calm_and_even(out, seen.source, kinds == LINING, features, seen.brow)
    neck, face = (find_labelled(mesh, label) for label in (Label.SKIN, Label.FACE))
    out = tint_neck(out, seen.source, neck, face, kinds == LINING)
    out = out + find_loss(seen.gain, out, np.where(kinds == LINING, 0, seen.source))
    out = out + invent_detail(mesh, normals, seen, view.photo)
    bare = np.exp(seen.base + out)
    roots = mesh.albedo * np.exp(_bake_roots(mesh, normals, kinds, view))
    shown = soften(np.where(kinds == LINING, 0, seen.weight), 3)  # there the generator grew hair, the photo has none
    albedo, whiskered = bare, (kinds == WHISKERS) & find_near(mesh.vertices, whiskers)
    for grown, labels in ((kinds == SCALP, HAIR), (whiskered, BEARD)):
        share = (smoothstep(*ROOTS, soften(grown, HAIRLINE)) * (1 - shown))[:, None]
        albedo = albedo + share * (np.minimum(roots, bare * _brightest_roots(labels, view.photo)) - albedo)
    lining = (kinds == LINING)[:, None]
    return replace(mesh, albedo=to_albedo(np.where(lining, colour_lining(bare), albedo)))


def find_near(points: F32, roots: F32) -> Bools:
    """Return which points (n, 3) lie beside a root."""
    if len(roots) == 0:
        return np.zeros(len(points), bool)
    return np.isfinite(KDTree(roots).query(points, distance_upper_bound=BESIDE)[0])


def colour_lining(albedo: F32) -> F32:
    """Return albedos (n, 3) of the inside of the mouth: the lips' at its edge, darker and redder further in."""
    level = 1 if len(albedo) == coarse_count() else 2
    lips, inside = (load_pack().mask(name, level) for name in ("lips", "inside_mouth"))
    edge = np.median(albedo[lips > 0.6], 0) * WET
    deep = np.asarray(smoothstep(0.6, 1.0, inside), np.float32)[:, None]
    return np.asarray(np.exp(np.log(edge) + deep * (np.log(edge * DEEP) - np.log(edge))), np.float32)


def find_loss(gain: F32, calmed: F32, weight: Floats) -> F32:
    """Return by how much (3,) the mean light of what the photo shows has fallen in calming it."""
    if (weight > 0.5).sum() <= FEWEST:
        return np.zeros(3, np.float32)
    before, after = (np.log(np.average(np.exp(g), axis=0, weights=weight)) for g in (gain, calmed))
    return np.asarray(np.clip(before - after, -LOSS, LOSS), np.float32)


def find_usual_gain(gain: F32, weight: Floats) -> F32:
    """Return the gain (3,) of the mean light of what the photo shows; skin far from all of it has the same tone.

    In a face lit from the side the mean of logarithms, and the median, would take half of the shade for the skin's.
    """
    rows = weight > 0.5
    if rows.sum() <= FEWEST:
        return np.zeros(3, np.float32)
    return np.asarray(np.log(trimmed_mean(np.exp(gain[rows]), USUAL)), np.float32)


def clean_base(mesh: Mesh, kinds: Bytes) -> F32:
    """Return the logarithm of the albedo of the skin (n, 3) without hair roots, its ears as red as ears are."""
    count = len(mesh.vertices)
    base = np.log(np.maximum(mesh.albedo, 1e-4)).astype(np.float64)
    tinted = soften((kinds == SCALP) | (kinds == WHISKERS), TINTED)
    if (tinted < 0.02).any() and (tinted > 0.02).any():
        share = smoothstep(0.0, 0.06, tinted)
        trust = np.where(kinds == LINING, 0, 1 - share)[: coarse_count()] + 1e-4
        filled = solve(sp.diags(trust) + plain_laplacian(), trust[:, None] * base[: coarse_count()])
        base = base + share[:, None] * (prolong(filled, count) - base)
    ears = load_pack().mask("ears", 1 if count == coarse_count() else 2)
    face = (ears < 0.05) & (tinted < 0.02) & (kinds == 0)
    if face.any():
        apart = np.average(base, axis=0, weights=ears + 1e-9) - np.median(base[face], 0)
        base = base - smoothstep(0.0, 0.5, ears)[:, None] * apart
    if mesh.material[0] == Material.SKIN:
        base = base + redden_ears(count) + shade_ears(mesh)
    return np.asarray(base, np.float32)


def _see_bare_skin(mesh: Mesh, normals: F32, kinds: Bytes, view: View) -> SkinView:
    """Return how the photo shows each vertex as bare skin."""
    points, photo, base = mesh.vertices, view.photo, clean_base(mesh, kinds)
    uv, _ = photo.camera.project(points)
    stray = find_stray_hair(photo)
    inside = _bare_mask(photo) * (1 - soften_edge(stray)) * is_part(view.bare, Part.SKIN)
    brow = look_up_points(photo.mask((Label.BROW,), inset=0, blur=2.0), uv)
    ratio = level_patches(log_ratio(photo.radiance, view.bare.radiance), inside, photo)
    gain = look_up_points(_hold_back_gloss(ratio, inside), uv)
    lids, lips = (load_pack().mask(name, 1 if len(points) == coarse_count() else 2) for name in ("eyelids", "lips"))
    lowest = GAIN[0] + smoothstep(0.0, 0.5, np.maximum(brow, lips)) * (DARKEST - GAIN[0])
    gain = np.clip(gain, np.asarray(lowest)[:, None], GAIN[1])
    gain = gain + np.log(np.maximum(mesh.albedo, 1e-4)) - base  # the render had the roots' tint
    weight = find_seen(points, normals, view, view.bare, 0.008, inside, facing=(0.22, 0.6))
    smears = ((TOP, SMEARED), ((*BEARD, *TOP), SMEARED), (CLOTHES, COLLAR))
    clear, smeared, apart = (look_up_points(_out_of_smears(photo, stray, *smear), uv) for smear in smears)
    features = np.maximum(np.maximum(brow, lids), clear * find_features(len(points)))  # no strands on a forehead
    weight = np.where(kinds == LINING, 0, weight * apart * (smeared + 0.4 * features * (1 - smeared)))
    facing = smoothstep(0.3, 0.7, cosine_to_camera(points, normals, view))
    weight = weight * (1 - find_poorer_side(facing, weight) * find_features(len(points)))
    source = weight * facing * look_up_points(_out_of_shade(photo, stray), uv)
    source = np.where(kinds == LINING, 1, source)
    brow = take_from_better_side(brow, weight)
    brow = np.maximum(smoothstep(0.0, 0.5, brow), smoothstep(0.1, 0.5, np.maximum(lids, lips))).astype(np.float32)
    gain = np.where((kinds == LINING)[:, None], 0, gain)
    return SkinView(weight.astype(np.float32), source.astype(np.float32), gain.astype(np.float32), brow, base)


def find_poorer_side(facing: Floats, weight: Floats) -> F32:
    """Return 1 for vertices (n,) seen more aslant than their mirror image, if the photo shows that (`weight`)."""
    mirror = mirror_vertices() if len(facing) == coarse_count() else mirror_fine_vertices()
    return np.asarray(smoothstep(*POORER, facing[mirror] - facing) * weight[mirror], np.float32)


def take_from_better_side(values: F32, weight: Floats) -> F32:
    """Return values (n,) of the other side of the face where that is seen better: a brow seen aslant is no shade."""
    mirror = mirror_vertices() if len(values) == coarse_count() else mirror_fine_vertices()
    return np.asarray(values + (1 - weight) * weight[mirror] * (values[mirror] - values), np.float32)


def _bake_roots(mesh: Mesh, normals: F32, kinds: Bytes, view: View) -> F32:
    """Return the gains (n, 3) of the roots of hair and beard, carried over where the photo does not show them."""
    count, photo = len(kinds), view.photo
    uv, _ = photo.camera.project(mesh.vertices)
    weight, gain = np.zeros(count, np.float32), np.zeros((count, 3), np.float32)
    usual = np.zeros((count, 3), np.float32)
    for which, labels in ((SCALP, HAIR), (WHISKERS, BEARD)):
        rows = kinds == which
        if rows.any():
            inside = photo.mask(labels, inset=2) * np.isin(view.whole.labels, labels)
            weight[rows] = find_seen(mesh.vertices[rows], normals[rows], view, view.whole, 0.008, inside)
            smooth = smooth_ratio(photo.radiance, view.whole.radiance, inside, 2.0)
            gain[rows] = np.clip(look_up_points(smooth, uv[rows]), *GAIN)
            usual[rows] = find_usual_gain(gain[rows], weight[rows])
    if not weight.any():
        return gain
    edges, length = skin_edges()
    seen = np.clip(restrict(weight, count), 0, 1)
    system = sp.diags(0.3 * seen + (length / REACH) ** 2) + laplacian_within(kinds[: coarse_count()])
    carried = solve(system, (0.3 * seen)[:, None] * restrict(gain - usual, count, weight))
    out = usual + prolong(carried, count)
    return np.asarray(out + weight[:, None] * (gain - out), np.float32)


def _brightest_roots(labels: tuple[Label, ...], photo: Photo) -> F32:
    """Return the most that roots of hair reflect (3,), in skins: what the photo shows of this hair, of skin."""
    hair, skin = photo.shows(*labels), photo.shows(*BARE)
    if min(hair.sum(), skin.sum()) <= FEW:
        return np.full(3, np.inf, np.float32)
    dark, bright = (np.median(photo.radiance[mask], 0) + QUIET for mask in (hair, skin))
    return np.asarray(dark / bright, np.float32)


def calm_and_even(gain: Floats, source: F32, lining: Bools, features: F32, brow: F32) -> F32:
    """Bring the gains (n, 3) of bare skin near the usual ones around it, and those near the other side's.

    What differs from the usual is the features', and else dirt and shade, which are held back. By how much the usual
    differs between left and right, and very broadly, is light, since skin is even. What is finer than the first
    subdivision, pores and freckles, stays.
    """
    count, coarse, mirror = len(gain), coarse_count(), mirror_vertices()
    inner = lining[:coarse]
    free = np.where(inner, 1, features[:coarse])[:, None]
    same = (~inner & ~inner[mirror])[:, None]
    values, trust = restrict(gain, count), 0.05 + source[:coarse].astype(np.float64)
    usual = find_usual(values, trust, inner, AROUND, UNUSUAL)
    spot = values - usual
    usual = usual - EVENED * (1 - inner)[:, None] * find_uneven(usual, trust * (1 - inner), inner)
    near = find_usual(spot, trust * (1 - 0.99 * brow[:coarse]), inner, NEAR, UNUSUAL)
    spot = spot - free * LOPSIDED * same * (near - near[mirror]) / 2
    near = ((near + near[mirror]) / 2).mean(1, keepdims=True)
    shade = (1 - brow)[:coarse, None] * (near - SHADOW * np.tanh(near / SHADOW))
    spot = spot - free * same * shade
    sure = smoothstep(*SURE, np.maximum(source[:coarse], source[mirror]))[:, None]  # else it shows the other side's
    sure = sure * (1 - free)  # the gloss of features is stronger than that of cheeks
    light, dark = (least + sure * (most - least) for least, most in (SPOT, DARKER))
    bright = spot.mean(1, keepdims=True)
    dull = light * np.tanh(spot / light)  # there is gloss on features, too, but lips and lids have their own hue
    dull = dull + brow[:coarse, None] * (spot - bright + light * np.tanh(bright / light) - dull)
    spot = np.where(bright > 0, dull, spot)
    broad = find_usual(spot, trust, inner, NEAR, np.inf)
    lines = WRINKLE * np.tanh((spot - broad) / WRINKLE) * smoothstep(*CLEAR, source[:coarse, None])
    held = lines + np.where(spot.mean(1, keepdims=True) < 0, dark * np.tanh((spot - lines) / dark), spot - lines)
    broad_only = (1 - find_ears(count))[:, None]  # folds never lie quite as the photo's: they would be lit twice
    spot = (held + free * (spot - held)) * broad_only[:coarse]
    calm = usual + LOPSIDED * same * (average_sides(usual, mirror) - usual) + spot
    sides = np.maximum(brow[:coarse, None], free) * same
    calm = calm + sides * (share_hue(calm, source[:coarse] * np.exp(2 * values.mean(1)), mirror) - calm)
    fine, free = gain - prolong(values, count), np.where(lining, 1, features)[:, None]
    limit = FINE * (0.15 + 0.85 * source[:, None])  # beside hair these are its strands
    held = limit * np.tanh(fine / limit)
    return np.asarray(prolong(calm, count) + (held + free * (fine - held)) * broad_only, np.float32)


def find_labelled(mesh: Mesh, label: Label) -> Bools:
    """Return the vertices of a mesh (n,) that its triangles of a label share."""
    found = np.zeros(len(mesh.vertices), bool)
    if mesh.labels is not None:
        found[mesh.triangles[mesh.labels == label]] = True
    return found


def tint_neck(gain: F32, source: F32, neck: Bools, face: Bools, lining: Bools) -> F32:
    """Return gains (n, 3) of skin in which neck and chest have one hue near the face's, and nearly its lightness.

    A neck lies in another light than the face, whose colours it would carry on to the nape; but it seldom blushes.
    """
    seen = [part & (source > 0.5) for part in (face, neck)]
    if min(part.sum() for part in seen) <= FEWEST:
        return gain
    face_tone, own = (np.log(np.average(np.exp(gain[part]), axis=0, weights=source[part])) for part in seen)
    own = own - face_tone
    off = gain - face_tone - UNLIKE * np.tanh((own - own.mean()) / UNLIKE)
    light = off.mean(1, keepdims=True)
    broad = find_usual(restrict(light, len(gain)), np.ones(coarse_count()), lining[: coarse_count()], AROUND, np.inf)
    over = broad - PALER * np.tanh(broad / PALER)
    taken = TINTED_NECK * (off - light) + prolong(over, len(gain))
    return np.asarray(gain - soften(neck.astype(np.float32), HAIRLINE)[:, None] * taken, np.float32)


def share_hue(gain: Floats, weight: Floats, mirror: np.ndarray) -> F64:
    """Return gains (c, 3) whose hue is that of both sides, by the weight of each: no brow in shade is ochre."""
    hue, weight = gain - gain.mean(1, keepdims=True), (weight + 1e-4)[:, None]
    shared = (weight * hue + weight[mirror] * hue[mirror]) / (weight + weight[mirror])
    return np.asarray(gain + shared - hue, np.float64)


def find_uneven(usual: Floats, trust: Floats, lining: Bools) -> Floats:
    """Return by how much gains (c, 3) differ broadly from their mean: brow, jaw and neck lie in another light."""
    broad = find_usual(usual, trust + 1e-4, lining, BROADEST, np.inf)
    return broad - np.average(broad, axis=0, weights=trust + 1e-9)


def average_sides(gain: Floats, mirror: np.ndarray) -> F64:
    """Return the gains (c, 3) of the mean light of both sides: what is in shade is not as dark itself."""
    return np.logaddexp(gain, gain[mirror]) - np.log(2)


def find_usual(values: Floats, trust: Floats, lining: Bools, width: float, unusual: float) -> Floats:
    """Return means of values (c, 3) on the first subdivision, `width` wide, in which unusual ones count little."""
    _, length = skin_edges()
    stiff = (width / length) ** 2 * laplacian_within(lining.astype(np.uint8))
    weight, usual = trust, values
    for _ in range(ROUNDS if np.isfinite(unusual) else 1):  # without unusual values the first round is the last
        usual = solve(sp.diags(weight) + stiff, weight[:, None] * values)
        weight = trust / (1 + (np.abs(values - usual).max(1) / unusual) ** 2)
    return usual


def invent_detail(mesh: Mesh, normals: F32, seen: SkinView, photo: Photo) -> F32:
    """Return the detail (n, 3) of skin that the photo does not show: the other side's, or like that of the face.

    Brows and the edges of lids are as dark as on the other side; elsewhere so strong a detail would be dirt.
    """
    count = len(mesh.vertices)
    detail = make_detail(photo)
    if detail is None or count == coarse_count():
        return np.zeros((count, 3), np.float32)
    held, mirror = seen.source[:, None] * (1 - seen.brow[:, None]), mirror_fine_vertices()
    fine = seen.gain - prolong(restrict(seen.gain, count), count)
    drawn, fine = fine[mirror], FINE * np.tanh(fine / FINE)
    like = look_up_detail(detail.coarse, detail.pixel, mesh.vertices, normals)
    near = smoothstep(*NEIGHBOURS, fine_edges())[:, None]
    invented = like * near + held[mirror] * (fine[mirror] - like * near)
    invented = invented + (seen.brow * seen.weight[mirror])[:, None] * (drawn - invented)
    return np.asarray((1 - np.minimum(seen.weight, seen.source))[:, None] * invented, np.float32)


def _bare_mask(photo: Photo) -> F32:
    """Return where the photo surely shows bare skin; the edges of neck and chest are less sure than the face's."""
    neck = photo.mask((Label.SKIN,), inset=6)
    sure = photo.mask(SKIN, inset=3) * np.where(photo.shows(Label.SKIN), neck, 1) * (1 - find_ink(photo))
    sure = sure * (1 - find_beneath_ears(photo))
    return np.clip(sure, 0, 1).astype(np.float32)


def soften_edge(mask: Bools) -> F32:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), STRAY_EDGE * len(mask)), np.float32)


def _out_of_shade(photo: Photo, stray: Bools) -> F32:
    """Return 0 beside hair, which shades the skin, to 1 where its shade ends."""
    free = (~(photo.shows(*HAIR, *BEARD, *HAT) | stray)).astype(np.uint8)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 3) / photo.size
    return (0.1 + 0.9 * smoothstep(0.01, SHADE, distance)).astype(np.float32)


def _out_of_smears(photo: Photo, stray: Bools, labels: tuple[Label, ...], reach: tuple[float, float]) -> F32:
    """Return 0 at the edges of these labels, with which skin is confused, to 1 where it is surely skin."""
    free = (~(photo.shows(*labels) | stray & (Label.HAIR in labels))).astype(np.uint8)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 3) / photo.size
    return np.asarray(smoothstep(*reach, distance), np.float32)


def level_patches(ratio: F32, inside: Floats, photo: Photo) -> F32:
    """Return a picture of gains in which skin has neither shadows with edges nor over-exposed patches."""
    broad = blur(ratio, inside, PATCH * photo.size)
    over = (ratio - broad) * np.asarray(inside, np.float32)[..., None]
    taken = over - keep_own(over, find_shade(broad.mean(-1), inside), KEPT)
    return ratio - carry_across(taken, photo.shows(*FEATURES), BESIDE_FEATURES, inside)


def _hold_back_gloss(ratio: F32, inside: Floats) -> F32:
    """Weaken what is brighter than its surroundings in a picture of gains: highlights are not the skin's colour."""
    light = ratio.mean(-1)
    broad = blur(light, inside, 20.0)
    lit = max(BRIGHT, float(np.quantile(broad[inside > 0.5], LIT))) if (inside > 0.5).any() else BRIGHT
    over = 0.6 * np.maximum(light - broad - 0.15, 0) + 0.5 * np.maximum(broad - lit, 0)
    return ratio - over[..., None]


def carry_over_skin(weight: F32, gain: F32, lining: Bools) -> F32:
    """Return smooth gains (n, 3) of bare skin: as seen, else as on the other side of the face, else fading to 0.

    They are solved for on the first subdivision: near the gains that are seen, and with the gradient of their mirror
    image where that is seen and they are not; gains do not pass between the skin and the lining of the mouth.
    """
    count, total = coarse_count(), len(weight)
    known, seen = restrict(gain, total, weight), np.clip(restrict(weight, total), 0, 1)
    kind, mirror = lining[:count], mirror_vertices()
    there, reflected = seen[mirror] * (kind[mirror] == kind), known[mirror]
    edges, length = skin_edges()
    passes = np.where(kind[edges[:, 0]] == kind[edges[:, 1]], 1.0, 0.003)
    guided = passes * np.sqrt(there[edges].prod(1)) * (1 - np.sqrt(seen[edges].prod(1)))
    fade = (length / REACH) ** 2
    system = sp.diags(0.3 * seen + fade) + graph_laplacian(edges, passes, count)
    wanted = (0.3 * seen)[:, None] * known + (fade * there)[:, None] * reflected
    wanted = wanted + graph_laplacian(edges, guided, count) @ reflected
    return np.asarray(prolong(solve(system, wanted), total), np.float32)
