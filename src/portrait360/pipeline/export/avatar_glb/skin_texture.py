"""The texture of the skin: the avatar's colours, and in front the photo's own detail, with its light divided out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from portrait360.geometry.rasterizer import interpolate
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.skin.mesh import skin_sizes
from portrait360.pipeline.export.avatar_glb.light import find_irradiance, find_openness, show
from portrait360.pipeline.export.avatar_glb.photo_detail import PhotoDetail
from portrait360.pipeline.export.avatar_glb.shown_colours import ShownColours, find_light
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.skin_uv import skin_uv, subdivide_uv
from portrait360.pipeline.export.avatar_glb.texture import cover_texels, fill_texture
from portrait360.synth.head.fitted_head import load_linear_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32, Bools, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import map_in_threads

SIDE = 2048
LITTLE = 0.01  # share of a texel that views do not show, from which hair above it counts
CHUNK = 1 << 18  # texels that are coloured at a time: all at once would take a gigabyte
SHADED = 0.7  # power of the openness of skin: viewers' own light darkens what lies below once more
LIDS, OUTER = (0.3, 0.7), 0.5  # of the way of the lids; up to where they show beside open eyes
BRIGHT_LID, OPEN_LID, EVEN = 0.5, 0.9, 0.75  # quantiles of colours and light there, and their share
SCALP = 0.7  # light of skin below hair against that of the hair
LINING, DARKEST = (0.75, 1.0), 0.45  # of the mouth, and the share of light that reaches it, for viewers know no shade


@dataclass(frozen=True, eq=False)
class _Texels:
    """What of the skin lies at each texel that a chart covers."""

    where: np.ndarray  # (t,) flat index
    points: F32  # (t, 3)
    normals: F32  # (t, 3)
    colours: F32  # (t, 3) linear
    light: F32  # (t, 3) of the avatar, by which what its views show is divided
    lids: F32  # (t,) 1 on the lids
    inside: F32  # (t,) 1 in the mouth

    def take(self, part: slice) -> _Texels:
        return _Texels(*(getattr(self, field.name)[part] for field in fields(self)))


def bake_skin_texture(
    avatar: Avatar,
    detail: PhotoDetail,
    shown: ShownColours,
    hair: ShownColours,
    *,
    unlit: bool = False,
    side: int = SIDE,
) -> Bytes:
    """Return the texture (side, side, 3) in sRGB; `unlit` keeps the light of the avatar in it.

    It has the colours that the avatar's views show of it, and below hair those of the `hair`; lids and the inside of
    the mouth move, and have their own.
    """
    mesh = find_skin(avatar)
    # viewers know no shade of hair, sockets and nostrils
    shade = find_irradiance(avatar, mesh) if unlit else find_openness(avatar, mesh) ** SHADED
    assert mesh.normals is not None
    light = np.ones_like(mesh.normals) if unlit else find_light(avatar, mesh.normals)
    texels = _find_texels(mesh, shade, light, side)
    texture = np.zeros((side * side, 3), np.float32)

    def paint(first: int) -> None:
        part = texels.take(slice(first, first + CHUNK))
        colours = colour_texels(part, detail, shown, hair)
        texture[part.where] = show(colours) if unlit else colours

    for _ in map_in_threads(paint, range(0, len(texels.where), CHUNK)):
        pass
    return fill_texture(texture.reshape(side, side, 3), texels.where, shown=unlit)


def colour_texels(texels: _Texels, detail: PhotoDetail, shown: ShownColours, hair: ShownColours) -> F32:
    """Return the linear colours (t, 3) of texels, see `bake_skin_texture`."""
    gain, seen = detail.on_skin(texels.points, texels.normals)
    seen = seen * (1 - texels.lids)
    colours = texels.colours * np.exp(seen[:, None] * gain)
    radiance, trust = shown.find(texels.points, texels.normals)
    trust = trust * (1 - texels.lids) * (1 - texels.inside)  # lids would show lashes and folds when they close
    left = (1 - trust) * (1 - texels.lids) * (1 - texels.inside)
    rows = np.flatnonzero(left > LITTLE)
    above, hidden = hair.find(texels.points[rows], texels.normals[rows])  # gaps between cards show skin below hair
    found = SCALP * above / texels.light[rows] - colours[rows]
    colours[rows] += (hidden * left[rows])[:, None] * found
    return np.asarray(colours + trust[:, None] * (radiance / texels.light - colours), np.float32)


def _find_texels(mesh: Mesh, shade: F32, light: F32, side: int) -> _Texels:
    pack, level = load_pack(), 1 + skin_sizes().index(len(mesh.vertices))
    uv = subdivide_uv(skin_uv())
    uv = subdivide_uv(uv) if level == 2 else uv
    corners = np.concatenate([uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]).reshape(-1, 2)
    triangles = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    lids = find_lids(level)
    left = mesh.vertices[:, 0] > 0
    colours = calm_lids(mesh.albedo, lids, left) * calm_lids(shade, lids, left, bright=OPEN_LID)
    inside = np.asarray(smoothstep(*LINING, pack.mask("inside_mouth", level)), np.float32)
    colours = colours * (1 - (1 - DARKEST) * inside[:, None])
    assert mesh.normals is not None
    where, texels = cover_texels(corners, triangles, side)
    values = (mesh.vertices, mesh.normals, colours, light, lids[:, None], inside[:, None])
    faces = pack.subdivision(level).triangles
    # one after the other: all of them at once would have to be copied
    points, normals, albedo, lit, lid, inner = (
        interpolate(texels, faces, np.ascontiguousarray(value, np.float32))[0] for value in values
    )
    return _Texels(where, points, normals, albedo, lit, lid[:, 0], inner[:, 0])


def find_lids(level: int) -> F32:
    """Return 1 for vertices that closing the eyes moves and stretches, to 0 for those that stay."""
    pack, linear = load_pack(), load_linear_head()
    units = [linear.expression[pack.units.index(f"eyeBlink{side}"), : pack.body] for side in ("Left", "Right")]
    reach = np.maximum(*(np.linalg.norm(unit, axis=1) for unit in units))
    return np.asarray(smoothstep(*LIDS, pack.subdivide(reach / reach.max(), level)), np.float32)


def calm_lids(colours: F32, lids: F32, left: Bools, even: float = EVEN, *, bright: float = BRIGHT_LID) -> F32:
    """Return colours (n, 3) with more even lids: closing stretches the folds and lashes that open eyes show there.

    On each side, `left` or not, lids take the colour of their outer halves: lashes and folds darken the edges.
    """
    out = colours.copy()
    for side in (left, ~left):
        rows, outer = side & (lids > 0), side & (lids > 0) & (lids < OUTER)
        if outer.any():
            usual = np.quantile(colours[outer], bright, axis=0)
            out[rows] += even * lids[rows, None] * (usual - colours[rows])
    return out
