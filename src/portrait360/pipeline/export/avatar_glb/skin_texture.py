"""The texture of the skin: the avatar's colours, and in front the photo's own detail, with its light divided out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.exposure import View, blur, find_seen, log_ratio, look_up_points
from portrait360.pipeline.avatar.photo import Photo
from portrait360.pipeline.avatar.skin_mesh import skin_sizes
from portrait360.pipeline.export.avatar_glb.light import find_irradiance, show
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.skin_uv import skin_uv, subdivide_uv
from portrait360.synth.head.fitted_head import load_linear_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32, F64, Bools, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SIDE = 2048
SKIN = (Label.FACE, Label.EAR, Label.SKIN, Label.LIPS, Label.BROW)
BROAD = 6.0  # photo pixels of 512: what is broader the avatar's own colours know
FEATURES = (Label.BROW, Label.LIPS)
MOST, MOST_FEATURE = 0.35, 0.8  # logarithm of the gain of a detail, and of one of these
DEPTH, FACING = 0.008, (0.3, 0.7)  # canonical depth behind the first surface, cosine: what the photo shows well
SMEARED = (0.008, 0.035)  # photo sides from hair, glasses and cloth over which detail of the skin fades in
LIDS, BRIGHT_LID, EVEN = (0.08, 0.45), 0.6, 0.75  # of the way of the lids; quantile of their colours, and its share
LINING, DARKEST = (0.6, 1.0), 0.3  # of the mouth, and the share of light that reaches it, for viewers know no shade
BLEED = 24  # texels by which colours continue beyond the charts


@dataclass(frozen=True, eq=False)
class _Texels:
    """What of the skin lies at each texel that a chart covers."""

    where: np.ndarray  # (t,) flat index
    points: F32  # (t, 3)
    normals: F32  # (t, 3)
    colours: F32  # (t, 3) linear
    lids: F32  # (t,) 1 on the lids


def bake_skin_texture(avatar: Avatar, *, unlit: bool = False, side: int = SIDE) -> Bytes:
    """Return the texture (side, side, 3) in sRGB; `unlit` keeps the light of the avatar in it."""
    mesh = find_skin(avatar)
    texels = _find_texels(mesh, find_irradiance(avatar, mesh) if unlit else None, side)
    detail, seen = _read_detail(avatar, texels)
    colours = texels.colours * np.exp(seen[:, None] * detail)
    texture = np.zeros((side * side, 3), np.float32)
    texture[texels.where] = show(colours) if unlit else colours
    return _finish(texture.reshape(side, side, 3), texels.where, unlit)


def _find_texels(mesh: Mesh, light: F32 | None, side: int) -> _Texels:
    pack, level = load_pack(), 1 + skin_sizes().index(len(mesh.vertices))
    uv = subdivide_uv(skin_uv())
    uv = subdivide_uv(uv) if level == 2 else uv
    corners = np.concatenate([uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]).reshape(-1, 2)
    triangles = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    points = np.concatenate([corners * side, np.ones((len(corners), 1))], 1).astype(np.float64)
    depth, ids = np.full((side, side, 1), np.inf, np.float32), np.full((side, side, 1), -1, np.int32)
    rasterizer_kernels.draw(
        points, triangles, np.arange(len(triangles), dtype=np.int32), rasterizer.CENTRE, depth, ids
    )
    barycentrics = np.zeros((side, side, 3), np.float32)
    rasterizer_kernels.weights(points, triangles, ids[..., 0], barycentrics)
    buffers = rasterizer.Buffers(ids[..., 0], barycentrics, depth[..., 0])
    albedo = calm_lids(mesh.albedo, find_lids(level))
    colours = albedo if light is None else albedo * light
    inside = np.asarray(smoothstep(*LINING, pack.mask("inside_mouth", level)), np.float32)
    colours = colours * (1 - (1 - DARKEST) * inside[:, None])
    assert mesh.normals is not None
    lids = find_lids(level)[:, None]
    values = np.concatenate([mesh.vertices, mesh.normals, colours, lids], 1)
    where = np.flatnonzero(ids.ravel() >= 0)
    found = rasterizer.interpolate(buffers, pack.subdivision(level).triangles, values).reshape(-1, 10)[where]
    points, normals, albedo = (np.ascontiguousarray(found[:, k : k + 3]) for k in (0, 3, 6))
    return _Texels(where, points, normals, albedo, found[:, 9])


def find_lids(level: int) -> F32:
    """Return 1 for vertices that closing the eyes moves and stretches, to 0 for those that stay."""
    pack, linear = load_pack(), load_linear_head()
    units = [linear.expression[pack.units.index(f"eyeBlink{side}"), : pack.body] for side in ("Left", "Right")]
    reach = np.maximum(*(np.linalg.norm(unit, axis=1) for unit in units))
    return np.asarray(smoothstep(*LIDS, pack.subdivide(reach / reach.max(), level)), np.float32)


def calm_lids(albedo: F32, lids: F32) -> F32:
    """Return albedos (n, 3) with even lids: closing stretches the folds and lashes that open eyes show there."""
    if not (lids > 0.5).any():
        return albedo
    usual = np.quantile(albedo[lids > 0.5], BRIGHT_LID, axis=0)
    return np.asarray(albedo + EVEN * lids[:, None] * (usual - albedo), np.float32)


def _read_detail(avatar: Avatar, texels: _Texels) -> tuple[F32, Floats]:
    """Return the logarithmic gain (t, 3) of the photo's fine detail, and how far each texel is seen (t,)."""
    photo, scene = avatar.picture, avatar.prepared_scene
    curves = scene.curves._replace(segments=scene.curves.segments[:0], ends=scene.curves.ends[:0])
    rig = scene.rig._replace(colours=np.zeros_like(scene.rig.colours))  # lamps cast shadows that the photo has not
    bare = render_linear(replace(scene, curves=curves, rig=rig), photo.camera, photo.size)
    other = ~np.isin(photo.labels, (*SKIN, Label.EYE, Label.MOUTH))
    apart = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) / photo.size
    inside = photo.mask(SKIN, inset=2) * np.isin(bare.labels, SKIN) * smoothstep(*SMEARED, apart)
    fine = _find_detail(log_ratio(photo.radiance, bare.radiance), inside, photo)
    view = View(photo, bare, bare)
    seen = find_seen(texels.points, texels.normals, view, bare, DEPTH, inside, facing=FACING)
    seen = (seen * (1 - texels.lids)).astype(np.float32)
    detail = np.zeros_like(texels.points)
    rows = np.flatnonzero(seen > 0)
    detail[rows] = look_up_points(fine, photo.camera.project(texels.points[rows])[0])
    return detail, seen


def _find_detail(ratio: F32, inside: Floats, photo: Photo) -> F32:
    """Return what of a logarithmic ratio (s, s, 3) is no change of light: brows, lips, and what is fine."""
    width = BROAD * photo.size / 512
    ratio = ratio - np.median(ratio[inside > 0.5], 0) if (inside > 0.5).any() else ratio
    feature = photo.mask(FEATURES, inset=0, blur=width / 2)[..., None]
    usual = blur(ratio, inside * (1 - 0.98 * feature[..., 0]), width)
    held = MOST + (MOST_FEATURE - MOST) * feature
    return np.asarray(np.clip(ratio - usual, -held, held), np.float32)


def _finish(texture: F32, where: np.ndarray, unlit: bool) -> Bytes:
    """Continue the colours around the charts, and encode them."""
    side = len(texture)
    empty = np.ones(side * side, bool)
    empty[where] = False
    empty = empty.reshape(side, side)
    distance, nearest = _find_nearest(empty)
    near = empty & (distance <= BLEED)
    mean = texture[~empty].mean(0)
    rows, columns = (index[near] for index in nearest)
    texture[near] = texture[rows, columns]
    texture[empty & ~near] = mean
    encoded = texture if unlit else encode(texture)
    return np.asarray(np.rint(np.clip(encoded, 0, 1) * 255), np.uint8)


def _find_nearest(empty: Bools) -> tuple[F64, NDArray[np.integer]]:
    """Return for each texel the distance and the place (2, side, side) of the nearest that is not empty."""
    found = distance_transform_edt(empty, return_indices=True)
    assert isinstance(found, tuple)
    return np.asarray(found[0]), np.asarray(found[1])


def encode(linear: F32) -> F32:
    """Return linear colours as sRGB."""
    value = np.clip(linear, 0, 1).astype(np.float32)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * cv2.pow(np.maximum(value, 1e-6), 1 / 2.4) - 0.055)
