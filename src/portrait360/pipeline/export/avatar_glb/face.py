"""The parts of the face that expressions move: skin, eyes, teeth, tongue, lashes, brows and beard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.surfaces.simplification import simplify
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.skin.mouth import is_teeth, light_teeth
from portrait360.pipeline.export.avatar_glb.bust import FLOOR, Neck
from portrait360.pipeline.export.avatar_glb.card_texture import finish_texture
from portrait360.pipeline.export.avatar_glb.expression import Rig, follow, select_units
from portrait360.pipeline.export.avatar_glb.eyes import draw_eye, find_middle, is_eye, make_eye, turn_eye
from portrait360.pipeline.export.avatar_glb.hair import HAIR_LOOK, colour_by_views, find_gain, show_hair
from portrait360.pipeline.export.avatar_glb.hair_cards import Cards, make_cards, make_ribbons
from portrait360.pipeline.export.avatar_glb.light import HairLight, find_irradiance, find_openness, show, show_linear
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_glb.shown_colours import ShownColours
from portrait360.pipeline.export.avatar_glb.skin import make_skin
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import head_share
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SKIN_LOOK = Look("skin", 0.6, texture="skin", specular=0.45)
TEETH, TONGUE = Look("teeth", 0.25, double=True), Look("tongue", 0.45, double=True)
TEETH_TRIANGLES, BEARD_TRIANGLES, BROW_TRIANGLES = 1000, 7000, 1500  # at detail 1
MOUTH_MOVE = 5e-4  # canonical: teeth do not follow units that move them less
LIP_REACH, LIP_DEPTH = 0.005, 0.006  # canonical distance, as seen, at which lips cover teeth, and their depth
FEW_TEETH, FOREMOST = 10, 0.98  # covered vertices that say nothing, and quantile of their depths that says how far
DEEP, DARKEST = (0.2, 0.9), 0.3  # shares of the depth of teeth and tongue over which they darken, and how far
LIDDED = 1.1  # power of the openness of eyes between their lids
FORWARD = np.array([0.0, 0.5, 0.866], np.float32)  # where lashes face


def make_skin_piece(avatar: Avatar, rig: Rig, detail: float) -> Piece:
    """Return the skin with all 52 units."""
    skin = make_skin(avatar, rig, FLOOR, detail)
    share = head_share(load_average_head().fine[1][skin.rows]).astype(np.float32)
    moves = dict(zip(rig.names, skin.moves, strict=True))
    turns = dict(zip(rig.names, skin.turns, strict=True))
    return Piece(
        "skin", SKIN_LOOK, skin.neutral, skin.neutral_normals, skin.triangles, uv=skin.uv, moves=moves, turns=turns,
        head=share,
    )  # fmt: skip


def make_eyes(avatar: Avatar, rig: Rig, images: dict[str, Bytes], *, unlit: bool) -> list[Piece]:
    """Return both eyeballs, and add their textures to `images`."""
    pieces = []
    for mesh in avatar.scene.meshes:
        if not is_eye(mesh):
            continue
        side = "left" if mesh.vertices[:, 0].mean() > 0 else "right"
        name, middle = f"eye_{side}", find_middle(mesh)
        if unlit:
            colours = show(mesh.albedo * find_irradiance(avatar, mesh))
        else:  # viewers know no shade of lids and lashes
            colours = np.asarray(mesh.albedo * find_openness(avatar, mesh) ** LIDDED, np.float32)
        images[name] = draw_eye(colours, linear=not unlit)
        plain = make_eye(mesh, name, {})
        units = [unit for unit in rig.names if unit.startswith("eyeLook") and unit.endswith(side.capitalize())]
        moves = {unit: turn_eye(plain.vertices, middle, rig, f"{side}_eye", unit) for unit in units}
        pieces.append(make_eye(mesh, name, moves))
    return pieces


def make_mouth(avatar: Avatar, rig: Rig, *, unlit: bool) -> list[Piece]:
    """Return teeth and tongue."""
    names, pieces = name_mouth_parts(avatar), []
    for mesh in avatar.scene.meshes:
        name = names.get(id(mesh))
        if name is None:
            continue
        triangles = simplify(mesh.vertices, mesh.triangles, TEETH_TRIANGLES)
        rows, compact = np.unique(triangles, return_inverse=True)
        vertices, part = mesh.vertices[rows], rig.part(name)
        moves = follow(vertices, rig.fitted[part], rig.moves[:, part])
        moves[np.abs(moves).max((1, 2)) < MOUTH_MOVE] = 0
        if name != "tongue":
            moves = keep_behind_lips(vertices, moves, rig)
        normals = vertex_normals(mesh.vertices, mesh.triangles)[rows]
        behind = vertices.mean(0) * np.array([1, 1, 0]) + np.array([0, 0, vertices[:, 2].min()])
        if ((vertices - behind) * normals).sum() < 0:
            normals, compact = -normals, compact.reshape(-1, 3)[:, ::-1]
        white = is_teeth(mesh)  # not a statue's
        colours = (light_teeth(mesh.albedo) if white else mesh.albedo)[rows]
        if unlit:
            colours = show_linear(colours * find_irradiance(avatar, mesh)[rows])
        colours = colours * shade_mouth(vertices)
        neutral = vertices - np.tensordot(rig.weights, moves, 1).astype(np.float32)
        faces, units = compact.reshape(-1, 3).astype(np.int32), select_units(rig.names, moves)
        look = TEETH if white else TONGUE
        pieces.append(Piece(name, look, neutral, normals, faces, colours=colours, moves=units))
    return pieces


def keep_behind_lips(teeth: F32, moves: F32, rig: Rig) -> F32:
    """Return the moves (52, n, 3) of teeth (n, 3) in which no unit alone brings them through the lips.

    The face model's jaw carries its teeth farther than its lips, which are other people's.
    """
    pack = rig.pack
    lips = (pack.mask("lips")[: pack.body] > 0.5) & (pack.mask("inside_mouth")[: pack.body] < 0.5)
    rows = np.flatnonzero(lips)
    still = rig.fitted[rows] - np.tensordot(rig.weights, rig.moves[:, rows], 1)
    neutral = teeth - np.tensordot(rig.weights, moves, 1)
    before = max(find_excess(neutral, still, rig.scale), 0.0)
    out = moves.copy()
    for unit in np.flatnonzero(np.abs(moves).max((1, 2)) > 0):
        excess = find_excess(neutral + moves[unit], still + rig.moves[unit, rows], rig.scale)
        out[unit, :, 2] -= max(excess - before, 0.0)
    return out


def find_excess(teeth: F32, lips: F32, scale: float) -> float:
    """Return how far teeth (n, 3) reach before the lips (m, 3) in front of them; -inf where hardly any are there."""
    if len(lips) < 2:
        return -np.inf
    distance, near = KDTree(lips[:, :2]).query(teeth[:, :2], k=2)
    covered = distance[:, 1] < LIP_REACH * scale  # elsewhere the mouth is open
    if covered.sum() < FEW_TEETH:
        return -np.inf
    return float(np.quantile((teeth[:, 2] - lips[near, 2].mean(1))[covered], FOREMOST)) + LIP_DEPTH * scale


def name_mouth_parts(avatar: Avatar) -> dict[int, str]:
    """Return which part of the head pack the meshes of teeth and tongue are, by the id of the mesh."""
    parts = [m for m in avatar.scene.meshes if m.labels is not None and (m.labels == Label.MOUTH).all()]
    tongue = load_pack().parts["tongue"]  # the material tells them apart but for heads of stone
    teeth = (mesh for mesh in parts if len(mesh.vertices) != tongue.stop - tongue.start)
    rows = sorted(teeth, key=lambda mesh: -float(mesh.vertices[:, 1].mean()))
    names = {id(mesh): "tongue" for mesh in parts}
    return names | {id(mesh): "upper_teeth" if mesh is rows[0] else "lower_teeth" for mesh in rows}


def shade_mouth(points: F32) -> F32:
    """Return how much light reaches teeth or tongue (n, 1): viewers know nothing of the lips before them."""
    depth = (points[:, 2].max() - points[:, 2]) / max(float(np.ptp(points[:, 2])), 1e-6)
    return np.asarray(1 - (1 - DARKEST) * smoothstep(*DEEP, depth), np.float32)[:, None]


def make_face_hair(
    avatar: Avatar, rig: Rig, neck: Neck, shown: ShownColours, detail: float, *, unlit: bool
) -> list[Piece]:
    """Return lashes, brows and beard, each with the units that move it."""
    skin, pieces = rig.fitted[: rig.pack.body], []
    moves = rig.moves[:, : rig.pack.body]
    lash = np.r_[rig.part("left_lashes"), rig.part("right_lashes")]
    outward = SkinDirections(rig)
    lashes = make_ribbons(_strands(avatar, Part.EYES), lambda points: np.broadcast_to(FORWARD, points.shape))
    if lashes is not None:
        followed = follow(lashes.vertices, rig.fitted[lash], rig.moves[:, lash])
        look = Look("lashes", 0.7, double=True)
        pieces.append(_hair_piece("lashes", look, lashes, followed, avatar, rig, None, Part.EYES, None, unlit))
    for name, part, count in (("brows", Part.BROWS, BROW_TRIANGLES), ("beard", Part.BEARD, BEARD_TRIANGLES)):
        cards = make_cards(_strands(avatar, part), outward, HairLight(avatar, part).openness, round(count * detail))
        if cards is not None:
            followed = follow(cards.roots, skin, moves)
            share = None if name == "brows" else neck.head_share(cards.vertices)
            look = replace(HAIR_LOOK, name=name, texture=name)
            pieces.append(_hair_piece(name, look, cards, followed, avatar, rig, share, part, shown, unlit))
    return pieces


class SkinDirections:
    """The direction outward of the skin beside points."""

    def __init__(self, rig: Rig) -> None:
        body = rig.pack.subdivide(rig.fitted[: rig.pack.body])
        self._normals = vertex_normals(body, rig.pack.subdivision(1).triangles)
        self._tree = KDTree(body)

    def __call__(self, points: F32) -> F32:
        _, near = self._tree.query(points, k=4)
        mean = self._normals[np.asarray(near)].mean(1)
        return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9), np.float32)


def _strands(avatar: Avatar, part: Part) -> list[Strands]:
    return [group for group in avatar.scene.strands if group.part[0] == part]


def _hair_piece(
    name: str,
    look: Look,
    cards: Cards,
    moves: F32,
    avatar: Avatar,
    rig: Rig,
    share: F32 | None,
    part: Part,
    shown: ShownColours | None,
    unlit: bool,
) -> Piece:
    light = HairLight(avatar, part)
    sky = light.sky
    colours = show_linear(cards.colours * sky) if unlit else cards.colours
    image = None
    if cards.texture is not None and shown is not None:
        gain = find_gain(avatar, show_hair(avatar), light, part) if part == Part.BEARD else np.ones(3)
        texture = cards.texture * np.append(gain * sky, 1).astype(np.float32)
        image = finish_texture(colour_by_views(avatar, cards, texture, shown, unlit=unlit), shown=unlit)
    neutral = cards.vertices - np.tensordot(rig.weights, moves, 1).astype(np.float32)
    return Piece(
        name, look, neutral, cards.normals, cards.triangles, uv=None if image is None else cards.uv,
        colours=colours if image is None else None, moves=select_units(rig.names, moves), head=share, image=image,
    )  # fmt: skip
