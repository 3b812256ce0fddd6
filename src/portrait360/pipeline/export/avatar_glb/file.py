"""Write the animatable .glb of an avatar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_glb.bust import FLOOR, Neck, make_base, make_neck
from portrait360.pipeline.export.avatar_glb.document import pack_pieces
from portrait360.pipeline.export.avatar_glb.expression import Rig, make_rig
from portrait360.pipeline.export.avatar_glb.face import make_eyes, make_face_hair, make_mouth, make_skin_piece
from portrait360.pipeline.export.avatar_glb.hair import make_hair
from portrait360.pipeline.export.avatar_glb.light import find_irradiance, show_linear
from portrait360.pipeline.export.avatar_glb.photo_detail import find_photo_detail
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_glb.shown_colours import ShownColours, show_colours
from portrait360.pipeline.export.avatar_glb.skin_texture import bake_skin_texture
from portrait360.pipeline.export.avatar_glb.worn import Worn, make_worn
from portrait360.synth.render.tone_mapping import srgb_to_linear
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.parallel.threads import map_in_threads, run_beside, start_beside

TRIANGLES = 60_000  # of the whole file at detail 1
DETAILS = (0.25, 8.0)  # least and greatest
RIM = 1e-4  # canonical height over the floor up to which a vertex ends there


def write_avatar_glb(path: Path, avatar: Avatar, *, detail: float = 1.0, unlit: bool = False) -> None:
    """Write an avatar as .glb, atomically.

    Args:
        path: The file.
        avatar: The head.
        detail: Triangles, against 60,000.
        unlit: Whether colours keep the light of the photo, for viewers that have no lighting.
    """
    data = pack_avatar_glb(avatar, detail=detail, unlit=unlit)
    with translate_write_errors(path), atomic_write(path) as temporary:
        temporary.write_bytes(data)


def pack_avatar_glb(avatar: Avatar, *, detail: float = 1.0, unlit: bool = False) -> bytes:
    """Return the bytes of the .glb file of an avatar."""
    parts = make_parts(avatar, detail=detail, unlit=unlit)
    light = None if unlit else avatar.scene.light
    return pack_pieces(parts.pieces, parts.images, parts.pivot, parts.weights, light=light, unlit=unlit)


@dataclass(frozen=True, eq=False)
class Parts:
    """An avatar as meshes with materials and textures."""

    pieces: list[Piece]
    images: dict[str, Bytes]  # textures by name, sRGB
    pivot: F32  # (3,) of the neck
    weights: dict[str, float]  # how far each expression unit is on in the photo


def make_parts(avatar: Avatar, *, detail: float = 1.0, unlit: bool = False) -> Parts:
    if not DETAILS[0] <= detail <= DETAILS[1]:
        raise UserError(f"The detail of a mesh must lie between {DETAILS[0]:g} and {DETAILS[1]:g}, not {detail:g}.")
    rig = make_rig(avatar)
    neck = make_neck(rig)
    with (
        start_beside(lambda: show_colours(avatar)) as shown,
        start_beside(lambda: make_worn(avatar, neck, detail, unlit=unlit)) as worn,
    ):
        shapes, (skin, printed) = run_beside(
            lambda: make_shapes(avatar, rig, neck, worn, lambda: shown()[0], detail, unlit=unlit),
            lambda: paint(avatar, shown, worn, unlit=unlit),
        )
    pieces, images = shapes.face + printed, {"skin": skin, **shapes.eyes}
    pieces = pieces + close_bust(avatar, pieces, unlit=unlit) + shapes.hair
    images |= {piece.look.texture: piece.image for piece in pieces if piece.look.texture and piece.image is not None}
    return Parts(pieces, images, neck.pivot, dict(zip(rig.names, rig.weights.tolist(), strict=True)))


def paint(
    avatar: Avatar,
    shown: Callable[[], tuple[ShownColours, ShownColours]],
    worn: Callable[[], list[Worn]],
    *,
    unlit: bool,
) -> tuple[Bytes, list[Piece]]:
    """Return the texture of the skin and the things that are worn, with what the photo shows of them."""
    photo = find_photo_detail(avatar)
    hair, body = shown()
    skin = bake_skin_texture(avatar, photo, body, hair, unlit=unlit)
    return skin, list(map_in_threads(lambda thing: thing.print(photo, unlit=unlit), worn(), lone_first=False))


@dataclass(frozen=True, eq=False)
class Shapes:
    """All that can be made before it is known what the photo shows."""

    face: list[Piece]  # what expressions move
    eyes: dict[str, Bytes]  # their textures by name
    hair: list[Piece]


def make_shapes(
    avatar: Avatar,
    rig: Rig,
    neck: Neck,
    worn: Callable[[], list[Worn]],
    shown: Callable[[], ShownColours],
    detail: float,
    *,
    unlit: bool,
) -> Shapes:
    """Make them; `shown` waits for what the avatar's views show of its hair, so it is asked as late as possible."""
    face, eyes = make_face(avatar, rig, neck, shown, detail, unlit=unlit)
    plain = face + [thing.piece for thing in worn()]
    closed = plain + close_bust(avatar, plain, unlit=unlit)  # of the base here only its triangles count
    left = round(TRIANGLES * detail) - sum(len(piece.triangles) for piece in closed)
    return Shapes(face, eyes, make_hair(avatar, neck, left, shown(), unlit=unlit))


def make_face(
    avatar: Avatar, rig: Rig, neck: Neck, shown: Callable[[], ShownColours], detail: float, *, unlit: bool
) -> tuple[list[Piece], dict[str, Bytes]]:
    """Return what expressions move, and the textures of the eyes by name."""
    images: dict[str, Bytes] = {}
    pieces = [make_skin_piece(avatar, rig, detail)]
    pieces += make_eyes(avatar, rig, images, unlit=unlit)
    pieces += make_mouth(avatar, rig, unlit=unlit)
    pieces += make_face_hair(avatar, rig, neck, shown(), detail, unlit=unlit)
    return pieces, images


def close_bust(avatar: Avatar, pieces: list[Piece], *, unlit: bool) -> list[Piece]:
    """Return what closes skin and clothes below; nothing where nothing ends there."""
    skin = next(mesh for mesh in avatar.scene.meshes if len(mesh.vertices) and mesh.labels is not None)
    tone = np.median(skin.albedo, 0)
    tone = show_linear((tone * np.median(find_irradiance(avatar, skin), 0))[None])[0] if unlit else tone
    rims, colours = [], []
    for piece in pieces:
        rows = piece.vertices[:, 1] < FLOOR + RIM
        rims.append(piece.vertices[rows])
        colours.append(_find_colours(piece, tone)[rows].astype(np.float32))
    if sum(map(len, rims)) == 0:
        return []
    vertices, normals, shades, triangles = make_base(rims, colours)
    return [Piece("base", Look("base", 0.9), vertices, normals, triangles, colours=shades, head=0 * vertices[:, 0])]


def _find_colours(piece: Piece, plain: F32) -> F32:
    """Return the linear colours (n, 3) of a piece's vertices; `plain` where its texture is no part of it."""
    if piece.colours is not None:
        return piece.colours[:, :3]
    if piece.image is None or piece.uv is None:
        return np.broadcast_to(plain, (len(piece.vertices), 3))
    size = np.array(piece.image.shape[1::-1])
    column, row = np.clip((piece.uv * size).astype(int), 0, size - 1).T
    return srgb_to_linear(piece.image[row, column, :3].astype(np.float32) / 255)
