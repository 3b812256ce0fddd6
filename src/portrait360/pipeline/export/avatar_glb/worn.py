"""What is worn: clothes, hats, glasses and jewellery, each a node of its own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.surfaces.simplification import simplify
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_glb.bust import Neck, cut_at_floor
from portrait360.pipeline.export.avatar_glb.cloth_texture import (
    bake_cloth,
    looks_back,
    make_charts,
    split_charts,
)
from portrait360.pipeline.export.avatar_glb.eyes import is_eye
from portrait360.pipeline.export.avatar_glb.light import find_irradiance, show_linear
from portrait360.pipeline.export.avatar_glb.photo_detail import PhotoDetail
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.texture import encode
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32, I32
from portrait360.utils.portrait_labels import Label

BUDGETS = {"clothes": 6000, "hat": 4500, "glasses": 2500, "jewellery": 2000, "hair_pieces": 4000, "others": 2000}
CARVED = 22_000  # triangles of hair of stone, beside which there are no strands
RIGID = 0.97  # share of the head's turn from which a thing is fixed to it
SOLID = 0.999  # opacity
PRINTED = {"clothes": (Label.CLOTHES,), "hat": (Label.HAT,)}  # things with textures
FABRIC = Look("cloth", 0.85, double=True, specular=0.4)
LOOKS = {
    Material.CLOTH: FABRIC,
    Material.FUR: Look("fur", 0.95, double=True, specular=0.2),
    Material.METAL: Look("metal", 0.3, metallic=1.0, double=True),
    Material.PLASTIC: Look("plastic", 0.35, double=True),
    Material.STONE: Look("stone", 0.9, double=True),
    Material.HAIR: Look("carved_hair", 0.7, double=True, specular=0.4),
    Material.SKIN: Look("plain", 0.6, double=True),
    Material.EYE: Look("gem", 0.15, double=True),
    Material.GLASS: Look("glass", 0.05, blend=True, double=True),
}


@dataclass(frozen=True, eq=False)
class Worn:
    """A thing that is worn, and of what it gets a texture by the photo."""

    piece: Piece  # with colours of vertices
    values: F32  # (n, 10) points, normals, linear colours and opacities of all its vertices
    triangles: I32  # of these
    labels: tuple[Label, ...] | None  # what the photo calls it; None where it keeps its colours

    def print(self, photo: PhotoDetail, *, unlit: bool) -> Piece:
        """Return its piece, with a texture of what the photo shows of it."""
        if self.labels is None:
            return self.piece
        return _print(self.piece, self.values, self.triangles, self.labels, photo, unlit=unlit)


def make_worn(avatar: Avatar, neck: Neck, detail: float, *, unlit: bool) -> list[Worn]:
    """Return a node for each kind of thing and material."""
    groups: dict[tuple[str, Material, bool], list[Mesh]] = defaultdict(list)
    for mesh in avatar.scene.meshes:
        kind = name_thing(mesh)
        if kind is not None and mesh is not find_skin(avatar) and len(mesh.triangles):
            groups[kind, Material(int(mesh.material[0])), bool(mesh.opacity.min() < SOLID)].append(mesh)
    total: dict[str, int] = defaultdict(int)
    for (kind, _, _), meshes in groups.items():
        total[kind] += sum(len(mesh.triangles) for mesh in meshes)
    first: set[str] = set()
    out, budgets = [], BUDGETS | ({} if avatar.scene.strands else {"hair_pieces": CARVED})
    for (kind, material, clear), meshes in groups.items():
        share = sum(len(mesh.triangles) for mesh in meshes) / total[kind]
        name = kind if kind not in first else f"{kind}_{material.name.lower()}{'_clear' if clear else ''}"
        first.add(kind)
        budget, printed = round(budgets[kind] * share * detail), PRINTED.get(kind) if not clear else None
        merged = _merge(avatar, meshes, unlit=unlit)
        if merged is not None:
            piece = _make_piece(*merged, neck, name, LOOKS[material], budget, clear=clear)
            out.append(Worn(piece, *merged, printed))
    return out


def name_thing(mesh: Mesh) -> str | None:
    """Return the kind of a thing that is worn; None for parts of the head."""
    label, part = None if mesh.labels is None else int(mesh.labels[0]), int(mesh.part[0])
    if is_eye(mesh) or label == Label.MOUTH:
        return None
    if label == Label.GLASSES:
        return "glasses"
    if label == Label.HAT:
        return "hat"
    if part == Part.CLOTHES:
        return "clothes"
    if part in (Part.HAIR, Part.BEARD) or label == Label.HAIR:
        return "hair_pieces"
    return "jewellery" if part == Part.ACCESSORY else "others"


def _merge(avatar: Avatar, meshes: list[Mesh], *, unlit: bool) -> tuple[F32, I32] | None:
    """Return points, normals, linear colours and opacities (n, 10) above the bust's floor, and triangles."""
    parts, faces, first = [], [], 0
    for mesh in meshes:
        normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
        colours = mesh.albedo
        if unlit:
            colours = show_linear(colours * find_irradiance(avatar, mesh))
        values = np.concatenate([mesh.vertices, normals, colours, mesh.opacity[:, None]], 1)
        values, triangles = cut_at_floor(values, mesh.triangles)
        if len(triangles):
            parts.append(values)
            faces.append(triangles + first)
            first += len(values)
    return (np.concatenate(parts), np.concatenate(faces).astype(np.int32)) if parts else None


def _make_piece(values: F32, triangles: I32, neck: Neck, name: str, look: Look, budget: int, *, clear: bool) -> Piece:
    """Return a piece of about `budget` triangles, with colours of vertices."""
    rows, compact = np.unique(simplify(values[:, :3], triangles, budget), return_inverse=True)
    values = values[rows]
    share = neck.head_share(values[:, :3])
    colours = values[:, 6:10] if clear else values[:, 6:9]
    if clear and not look.blend:
        look = Look(f"{look.name}_clear", look.roughness, look.metallic, blend=True, double=True)
    return Piece(
        name, look, np.ascontiguousarray(values[:, :3]), np.asarray(unit(values[:, 3:6]), np.float32),
        compact.reshape(-1, 3).astype(np.int32), colours=np.clip(colours, 0, 1).astype(np.float32),
        head=None if share.min() > RIGID else share,
    )  # fmt: skip


def _print(
    piece: Piece, values: F32, triangles: I32, labels: tuple[Label, ...], photo: PhotoDetail, *, unlit: bool
) -> Piece:
    """Return a piece with a texture instead of colours, which has what the photo shows of it."""
    values = values[:, :9]
    if unlit:
        values = np.concatenate([values[:, :6], encode(values[:, 6:9])], 1)
    charts = make_charts(values[:, :3])
    image = bake_cloth(charts, values, triangles, labels, photo, shown=unlit)
    split, back, rows = split_charts(piece.triangles, looks_back(piece.normals, piece.triangles))
    return replace(
        piece,
        look=replace(piece.look, name=piece.name, texture=piece.name),
        vertices=piece.vertices[rows],
        normals=piece.normals[rows],
        triangles=split,
        uv=charts.place(piece.vertices[rows], back),
        colours=None,
        head=None if piece.head is None else piece.head[rows],
        image=image,
    )
