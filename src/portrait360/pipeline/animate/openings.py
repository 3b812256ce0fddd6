"""Eyes and mouth: where an expression shows what the photo does not, and the light that reaches it then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.pipeline.animate.moving_parts import MovingParts, Shift, find_first
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.mouth import find_rim, find_rim_rows, is_teeth, lies_above, light_teeth
from portrait360.pipeline.export.avatar_glb.face import name_mouth_parts, shade_mouth
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.skin_texture import calm_lids, find_lids
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.bake import BakeQuality, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.mesh_buffers import AMBIENT
from portrait360.synth.scene import Mesh, Scene
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

QUALITY = BakeQuality(sky=16, key_map=64)
REACH = (0.02, 0.3)  # of a mask over which its light fades in
OPENED = (1.5e-3, 4e-3)  # canonical changes of a gap over which the photo no longer shows what is in it
WIDER = 0.5  # of these changes for eyes that open wider: lids of the photo follow
STARE = (1.5e-3, 4e-3)  # canonical growth of a gap between lids over which the photo knows too little of an eyeball
TURNED = (5e-4, 2e-3)  # canonical moves of an eyeball's front
OUT = (4e-3, 0.012)  # canonical moves of a tongue to the front over which it comes between the lips
CORNERS, BACK = (0.45, 1.0), 0.014  # half-widths of the mouth over which teeth go back, and how far, canonical
DARK, PARTED_LIPS = 0.9, (0.002, 0.008)  # how dark teeth are behind closed lips, and gaps at which light reaches them
LIP_LIGHT = np.array([0.65, 1.0, 1.0], np.float32)  # powers of that shade: lips let red light through
SCATTERED = 0.16  # least share of the ambient light that reaches what is in an open mouth
MIDDLE = 0.7  # share of the mouth's width over which its gap is measured
OPEN_JAW = 0.45  # weight from which a mouth is open
PALE, LINING = (1.1, 1.4), 0.6  # green of albedo against that of the lips, and that of the lining against it
WHITEST, FEW = 1.8, 80  # largest gain of teeth, and pixels of them in the photo that say too little
TEETH = 0.75  # quantile of brightness in a mouth that is of teeth: not of their gloss, nor of what lies behind them
INSIDE, LOWERED = 0.3, 2e-3  # of the mask of lids, and canonical way down of what is an upper lid
LINE, LASHES = 2.6e-3, 0.85  # canonical width of a line of lashes, and how dark it is
CLOSED_EYES = ("eyeBlinkLeft", "eyeBlinkRight")
PARTED = {"jawOpen": OPEN_JAW, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3, "mouthLowerDownLeft": 0.3,
          "mouthLowerDownRight": 0.3}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Openings:
    """Both eyes and the mouth."""

    masks: F32  # (3, n) of the surface: lids, and lips with what is inside
    change: F32  # (n, 3) of the ambient light between the photo's expression and open mouth and closed eyes
    units: tuple[int, ...]  # whose weights tell how far they are closed or open
    lids: F32  # (2, n, 3) change of albedo of closed lids: closing stretches the folds and lashes that open ones show
    lips: F32  # (n, 3) change of albedo where lips have taken the colour of teeth in the photo, or teeth their shade
    teeth: F32  # (n,) 1 for teeth and tongue
    gap: F32  # (k,) between the lips, in the photo
    retreat: F32  # (n, 3) how far back teeth beside the corners of the mouth go, which else pierce moved lips
    start: F32  # (3,) those weights in the photo
    gaps: tuple[NDArray[np.integer], ...]  # (2, k) upper and lower vertices of each opening's edge
    eyes: tuple[slice, ...]  # eyeballs of the surface, left and right
    tongue: slice  # of the surface

    def measure_change(self, shift: Shift) -> F32:
        """Return for each opening 1 where lids or lips show something else than in the photo, 0 where they rest."""
        moves = shift.surface
        gaps = [moves[upper] - moves[lower] for upper, lower in self.gaps]
        wider = np.array([np.median(gap[:, 1]) > 0 for gap in gaps]) & np.array([True, True, False])
        most = np.array([np.abs(gap).max(initial=0) for gap in gaps]) * np.where(wider, WIDER, 1.0)
        change = np.asarray(smoothstep(*OPENED, most), np.float32)
        change[2] = max(change[2], smoothstep(*OUT, moves[self.tongue, 2].max(initial=0)))
        return change

    def measure_turn(self, shift: Shift) -> F32:
        """Return for each eye 1 where it looks elsewhere than in the photo, and 0 for the mouth (3,)."""
        turns = [smoothstep(*TURNED, np.abs(shift.surface[rows]).max(initial=0)) for rows in self.eyes]
        return np.array([*turns, *[0.0] * (3 - len(turns))], np.float32)

    def measure_stare(self, shift: Shift) -> F32:
        """Return for each eye 1 where it is open much wider than in the photo, and 0 for the mouth (3,)."""
        wider = [shift.surface[upper, 1] - shift.surface[lower, 1] for upper, lower in self.gaps[:2]]
        return np.array([*(smoothstep(*STARE, np.asarray(gap.mean(), np.float32)) for gap in wider), 0.0], np.float32)

    def dim_teeth(self, shift: Shift, opened: float) -> F32:
        """Return factors (n, 3) of albedo: behind lips that have closed it is dark, and as red as their light."""
        upper, lower = self.gaps[2]
        if len(upper) == 0:
            return np.ones((len(self.teeth), 3), np.float32)
        gap = np.array(np.median(self.gap + shift.surface[upper, 1] - shift.surface[lower, 1]))
        dark = opened * DARK * float(1 - smoothstep(*PARTED_LIPS, gap))
        return ((1 - dark * self.teeth)[:, None] ** LIP_LIGHT).astype(np.float32)

    def calm_lids(self, weights: Floats) -> F32:
        """Return what closing the eyes adds to the albedo (n, 3) with an expression (52,)."""
        closed = self._measure_way(weights)[:2].clip(0, 1)
        return np.asarray((closed[:, None, None] * self.lids).sum(0), np.float32)

    def _measure_way(self, weights: Floats) -> Floats:
        """Return how far (3,) from the photo's expression eyes are closed and the mouth is open."""
        room = np.array([1.0, 1.0, OPEN_JAW]) - self.start
        return np.clip((np.asarray(weights)[list(self.units)] - self.start) / np.maximum(room, 1e-3), -0.5, 1)

    def light(self, ambient: F32, weights: Floats, opened: float) -> F32:
        """Return the shares (n, 3) of the ambient light on the surface with an expression (52,).

        Light that flesh scatters reaches the corners of a mouth that has `opened`, too.
        """
        way, reached = self._measure_way(weights), np.asarray(smoothstep(*REACH, self.masks))
        light = np.clip(ambient + ((way[:, None] * reached).sum(0))[:, None] * self.change, 0, 1)
        return np.maximum(light, (opened * SCATTERED * reached[2])[:, None]).astype(np.float32)


def find_openings(avatar: Avatar, parts: MovingParts) -> Openings:
    """Find lids, lips and what is behind them, and bake their light with open mouth and closed eyes."""
    names = parts.rig.names
    masks = _find_masks(avatar, parts)
    weights = parts.rig.weights.copy()
    for name, value in PARTED.items() | {(name, 1.0) for name in CLOSED_EYES}:
        weights[names.index(name)] = max(value, weights[names.index(name)])
    moved = parts.move(weights).surface
    rest, other = (_bake(avatar.scene, shift) for shift in (np.zeros_like(moved), moved))
    units = tuple(names.index(name) for name in (*CLOSED_EYES, "jawOpen"))
    ordered = sorted(parts.eyes, key=lambda eye: -float(eye.middle[0]))[:2]
    eyes = tuple(eye.rows for eye in ordered)
    change = (other - rest) * _shade_teeth(avatar, len(rest))
    lids, lips = _even_lids(avatar, moved), _recolour_lips(avatar, len(rest)) + _light_teeth(avatar, len(rest))
    retreat, gaps = _push_back_teeth(avatar, len(rest)), _find_gaps(avatar, parts)
    heights = np.concatenate([mesh.vertices[:, 1] for mesh in avatar.scene.meshes])
    gap, teeth = heights[gaps[2][0]] - heights[gaps[2][1]], _find_teeth(avatar, len(rest))
    start, tongue = parts.rig.weights[list(units)], _find_tongue(avatar)
    return Openings(masks, change, units, lids, lips, teeth, gap, retreat, start, gaps, eyes, tongue)


def find_whiteness(photo: Photo, film: Film) -> float:
    """Return by what to multiply the layers' teeth for those of the photo, of which `film` is a render of its size.

    Lips shade them less there than the layers' do.
    """
    shown = (film.labels == Label.MOUTH) & photo.shows(Label.MOUTH, Label.LIPS)  # readers take teeth for lips
    if shown.sum() < FEW:
        return 1.0
    seen, drawn = (np.quantile(picture.radiance[shown].mean(-1), TEETH) for picture in (photo, film))
    return float(np.clip(seen / max(float(drawn), 1e-3), 1.0, WHITEST))


def _find_tongue(avatar: Avatar) -> slice:
    names = name_mouth_parts(avatar)
    return next((rows for rows, mesh in _walk_mouth(avatar) if names[id(mesh)] == "tongue"), slice(0, 0))


def _find_teeth(avatar: Avatar, count: int) -> F32:
    out = np.zeros(count, np.float32)
    for rows, _ in _walk_mouth(avatar):
        out[rows] = 1
    return out


def _walk_mouth(avatar: Avatar) -> Iterator[tuple[slice, Mesh]]:
    """Yield the meshes of teeth and tongue with their rows in the surface."""
    for mesh in avatar.scene.meshes:
        if mesh.labels is not None and (mesh.labels == Label.MOUTH).all():
            first = find_first(avatar, mesh)
            yield slice(first, first + len(mesh.vertices)), mesh


def _push_back_teeth(avatar: Avatar, count: int) -> F32:
    skin, out = find_skin(avatar), np.zeros((count, 3), np.float32)
    rim = find_rim(skin)
    if len(rim) == 0:
        return out
    middle, half = (rim[:, 0].max() + rim[:, 0].min()) / 2, np.ptp(rim[:, 0]) / 2
    for rows, mesh in _walk_mouth(avatar):
        out[rows, 2] = -BACK * smoothstep(*CORNERS, np.abs(mesh.vertices[:, 0] - middle) / half)
    return out


def _even_lids(avatar: Avatar, moved: F32) -> F32:
    """Return what is added to the albedo (2, n, 3) of left and right lids when they have `moved` and closed."""
    skin, out = find_skin(avatar), np.zeros((2, *moved.shape), np.float32)
    level = 1 if len(skin.vertices) == len(load_pack().mask("eyelids")) else 2
    left = skin.vertices[:, 0] > 0
    first = find_first(avatar, skin)
    line = _draw_lash_line(
        skin.vertices, moved[first : first + len(left)], load_pack().mask("eyelids", level) > INSIDE
    )
    change = calm_lids(skin.albedo, find_lids(level), left, 1.0) * line - skin.albedo
    left = left[:, None]
    out[:, first : first + len(change)] = change * left, change * ~left
    return out


def _draw_lash_line(points: F32, moves: F32, lids: Bools) -> F32:
    """Return by what to multiply the albedo (n, 1) of skin: roots of lashes are one dark line where lids have met."""
    lowered, out = -moves[:, 1], np.ones((len(points), 1), np.float32)
    upper, lower = lids & (lowered > LOWERED), lids & (lowered < LOWERED)
    if upper.any() and lower.any():
        now = points + moves
        for own, other in ((upper, lower), (lower, upper)):
            edge = KDTree(now[other]).query(now[own])[0]
            out[own, 0] = 1 - LASHES * np.exp(-((edge / LINE) ** 2))
    return out


def _recolour_lips(avatar: Avatar, count: int) -> F32:
    """Return what is added to the albedo (n, 3) of lips and lining that are paler than most of the lips."""
    skin, out = find_skin(avatar), np.zeros((count, 3), np.float32)
    if skin.labels is None or not (skin.labels == Label.LIPS).any():
        return out
    first, change = find_first(avatar, skin), np.zeros_like(skin.albedo)
    usual = np.median(skin.albedo[np.unique(skin.triangles[skin.labels == Label.LIPS])], 0)
    for label, shade in ((Label.LIPS, 1.0), (Label.MOUTH, LINING)):
        rows = np.unique(skin.triangles[skin.labels == label])
        pale = smoothstep(*PALE, skin.albedo[rows, 1] / max(float(shade * usual[1]), 1e-4))
        change[rows] = pale[:, None] * (shade * usual - skin.albedo[rows])
    out[first : first + len(change)] = change
    return out


def _light_teeth(avatar: Avatar, count: int) -> F32:
    """Return what is added to the albedo (n, 3) of teeth that barely parted lips leave dark in the photo."""
    out = np.zeros((count, 3), np.float32)
    for rows, mesh in _walk_mouth(avatar):
        if is_teeth(mesh):  # and no tongue
            out[rows] = light_teeth(mesh.albedo) - mesh.albedo
    return out


def _find_gaps(avatar: Avatar, parts: MovingParts) -> tuple[NDArray[np.integer], ...]:
    """Return pairs of vertices of the surface (2, k) that face each other: of lids left and right, and of lips."""
    skin, points = find_skin(avatar), parts.rig.pack.landmarks
    first = find_first(avatar, skin)
    gaps = [np.array([[points[f"{side}_eye_top"]], [points[f"{side}_eye_bottom"]]]) for side in ("left", "right")]
    rows = find_rim_rows(skin)
    if len(rows) == 0:  # a painted mouth is no opening
        return tuple(gap + first for gap in (*gaps, np.array([[points["lip_top"]], [points["lip_bottom"]]])))
    rim = skin.vertices[rows]
    across = rim[:, 0] - np.median(rim[:, 0])
    above = lies_above(rim)
    upper = np.flatnonzero(above & (np.abs(across) < MIDDLE * np.ptp(rim[:, 0]) / 2))
    lower = np.flatnonzero(~above)
    facing = lower[np.abs(across[upper, None] - across[lower]).argmin(1)]
    return tuple(gap + first for gap in (*gaps, np.stack([rows[upper], rows[facing]])))


def _shade_teeth(avatar: Avatar, count: int) -> F32:
    """Return how much light reaches the vertices (n, 1) of the surface when the mouth is open: lips shade teeth."""
    out = np.ones((count, 1), np.float32)
    for rows, mesh in _walk_mouth(avatar):
        out[rows] = shade_mouth(mesh.vertices)
    return out


def _find_masks(avatar: Avatar, parts: MovingParts) -> F32:
    pack, skin, masks = parts.rig.pack, find_skin(avatar), []
    for mesh in avatar.scene.meshes:
        mask = np.zeros((3, len(mesh.vertices)), np.float32)
        if mesh is skin:
            level = 1 if len(mesh.vertices) == len(pack.mask("lips")) else 2
            lids, left = pack.mask("eyelids", level), mesh.vertices[:, 0] > 0
            lips = np.maximum(pack.mask("lips", level), pack.mask("inside_mouth", level))
            mask = np.stack([lids * left, lids * ~left, lips])
        elif mesh.labels is not None and (mesh.labels == Label.MOUTH).all():
            mask[2] = 1
        masks.append(mask.astype(np.float32))
    return np.concatenate(masks * (2 if avatar.scene.outline > 0 else 1), 1)


def _bake(scene: Scene, shift: NDArray[np.float32]) -> F32:
    """Return the shares (n, 3) of the ambient light on the moved meshes of a scene, without hair."""
    meshes, first = [], 0
    for mesh in scene.meshes:
        rows = slice(first, first + len(mesh.vertices))
        meshes.append(replace(mesh, vertices=mesh.vertices + shift[rows], normals=None))
        first = rows.stop
    prepared = prepare_scene(replace(scene, meshes=tuple(meshes), strands=()), quality=QUALITY)
    return prepared.surface.values[:, AMBIENT].copy()
