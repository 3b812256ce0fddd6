"""Write pieces as binary glTF 2.0: nodes, a skin with two joints, morph targets, materials and textures."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.glb import ARRAY_BUFFER, FLOAT, TYPES, UINT, Builder
from portrait360.pipeline.export.units import METRES
from portrait360.synth.scene import Light
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.parallel.threads import map_in_threads, start_beside
from portrait360.utils.version import __version__

LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071
TRIANGLES, UBYTE, USHORT = 4, 5121, 5123
SHOULDERS, HEAD = 0, 1  # joints
STILL, UNTURNED = 1e-5, 1e-2  # metres, and lengths of changes of normals: below these are none
QUALITY, PACKING = 90, 4  # of JPEG textures, and effort of packing others


@dataclass
class _Tree:
    builder: Builder = field(default_factory=lambda: Builder(bytearray(), [], []))
    nodes: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    extensions: set[str] = field(default_factory=set)


def pack_pieces(
    pieces: list[Piece],
    images: dict[str, Bytes],
    pivot: F32,
    weights: dict[str, float],
    *,
    light: Light | None = None,
    unlit: bool = False,
) -> bytes:
    """Return the bytes of a file.

    Args:
        pieces: The parts, in the avatar's frame.
        images: Textures by name; those with an alpha channel become PNG, the others JPEG.
        pivot: The neck's joint (3,).
        weights: How far each expression unit is on when the file is opened.
        light: The photo's, which viewers that know of it may use.
        unlit: Whether colours hold their light.
    """
    tree, names = _Tree(), list(images)
    builder = tree.builder
    place = pivot.astype(np.float64) * METRES
    tree.nodes += [
        {"name": "shoulders", "children": [1]},
        {"name": "head", "translation": place.tolist(), "children": []},
    ]
    looks = {piece.look.name: piece.look for piece in pieces}
    tree.materials += [_describe_look(tree, look, names, unlit) for look in looks.values()]
    order, roots = list(looks), [0]
    with start_beside(lambda: list(map_in_threads(encode_image, images.values(), lone_first=False))) as encoded:
        for piece in pieces:
            _add_piece(tree, piece, order.index(piece.look.name), place, weights, roots)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"portrait360 {__version__}"},
        "scene": 0,
        "scenes": [{"name": "avatar", "nodes": roots}],
        "nodes": tree.nodes,
        "meshes": tree.meshes,
        "materials": tree.materials,
        "skins": [_describe_skin(builder, place)],
    }
    if light is not None:
        document["scenes"][0]["extras"] = {"light": _describe_light(light)}
    if images:
        document |= _add_images(builder, dict(zip(images, encoded(), strict=True)))
    if tree.extensions:
        document["extensionsUsed"] = sorted(tree.extensions)
    return builder.pack(document)


def _describe_light(light: Light) -> dict[str, Any]:
    """Return the light around, as harmonics of what a white surface sends back, and the lamps."""
    lamps = zip(light.key_directions.tolist(), light.key_colours.tolist(), strict=True)
    rounded = [{"direction": _round(way), "colour": _round(colour)} for way, colour in lamps]
    return {"ambient": [_round(row) for row in light.ambient.tolist()], "lamps": rounded}


def _round(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _describe_skin(builder: Builder, pivot: np.ndarray) -> dict[str, Any]:
    """Return the two joints on which skin, clothes and hair hang."""
    inverse = np.tile(np.eye(4), (2, 1, 1))
    inverse[HEAD, 3, :3] = -pivot  # columns first
    view = builder.add_view(inverse.astype("<f4").tobytes())
    builder.accessors.append({"bufferView": view, "componentType": FLOAT, "count": 2, "type": "MAT4"})
    return {"name": "neck", "joints": [0, 1], "skeleton": 0, "inverseBindMatrices": len(builder.accessors) - 1}


def _add_images(builder: Builder, images: dict[str, tuple[str, bytes]]) -> dict[str, Any]:
    entries = []
    for name, (kind, data) in images.items():
        entries.append({"name": name, "bufferView": builder.add_view(data), "mimeType": f"image/{kind}"})
    sampler = {"magFilter": LINEAR, "minFilter": MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP}
    textures = [{"source": i, "sampler": 0} for i in range(len(images))]
    return {"images": entries, "textures": textures, "samplers": [sampler]}


def encode_image(pixels: Bytes) -> tuple[str, bytes]:
    """Return the kind and the bytes of a texture: PNG where it has alpha, else JPEG."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if pixels.shape[2] == 4:
        image.save(file, format="png", compress_level=PACKING)
        return "png", file.getvalue()
    image.save(file, format="jpeg", quality=QUALITY, subsampling=0)
    return "jpeg", file.getvalue()


def _describe_look(tree: _Tree, look: Look, images: list[str], unlit: bool) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": look.metallic, "roughnessFactor": look.roughness}
    if look.texture is not None:
        surface["baseColorTexture"] = {"index": images.index(look.texture)}
    out: dict[str, Any] = {"name": look.name, "pbrMetallicRoughness": surface}
    if look.blend:
        out["alphaMode"] = "BLEND"
    elif look.cutoff is not None:
        out |= {"alphaMode": "MASK", "alphaCutoff": look.cutoff}
    if look.double:
        out["doubleSided"] = True
    extensions: dict[str, Any] = {}
    if unlit:
        extensions["KHR_materials_unlit"] = {}
    elif look.specular != 1:
        extensions["KHR_materials_specular"] = {"specularFactor": look.specular}
    if extensions:
        out["extensions"] = extensions
        tree.extensions.update(extensions)
    return out


def _add_piece(
    tree: _Tree, piece: Piece, material: int, pivot: np.ndarray, weights: dict[str, float], roots: list[int]
) -> None:
    """Add the node of a piece: on the head's joint, or on the skin with two joints."""
    origin, number = np.zeros(3), len(tree.nodes)
    node: dict[str, Any] = {"name": piece.name, "mesh": len(tree.meshes)}
    if piece.head is not None:
        node["skin"] = 0
        roots.append(number)
    else:
        origin = pivot if piece.pivot is None else piece.pivot.astype(np.float64) * METRES
        if piece.pivot is not None:
            node["translation"] = (origin - pivot).tolist()
        if piece.sight is not None:
            node["extras"] = {"sight": [round(float(value), 4) for value in piece.sight]}
        tree.nodes[1]["children"].append(number)
    tree.nodes.append(node)
    tree.meshes.append(_describe_mesh(tree.builder, piece, material, origin, weights))


def _describe_mesh(
    builder: Builder, piece: Piece, material: int, origin: np.ndarray, weights: dict[str, float]
) -> dict[str, Any]:
    points = (piece.vertices.astype(np.float64) * METRES - origin).astype(np.float32)
    attributes = {
        "POSITION": builder.add_array(points, FLOAT, min=points.min(0).tolist(), max=points.max(0).tolist()),
        "NORMAL": builder.add_array(_to_unit(piece.normals), FLOAT),
    }
    if piece.uv is not None:
        attributes["TEXCOORD_0"] = builder.add_array(piece.uv, FLOAT)
    if piece.colours is not None:
        attributes["COLOR_0"] = _add_colours(builder, piece.colours)
    if piece.head is not None:
        attributes |= _add_joints(builder, piece.head)
    indices = builder.add_array(piece.triangles.astype(np.uint32).ravel(), USHORT if len(points) < 65535 else UINT)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": indices,
        "material": material,
        "mode": TRIANGLES,
    }
    mesh: dict[str, Any] = {"name": piece.name, "primitives": [primitive]}
    if piece.moves:
        primitive["targets"] = [_add_target(builder, piece, name) for name in piece.moves]
        mesh |= {
            "weights": [round(float(weights.get(name, 0.0)), 6) for name in piece.moves],
            "extras": {"targetNames": list(piece.moves)},
        }
    return mesh


def _to_unit(normals: F32) -> F32:
    """Return normals of length 1, which glTF demands."""
    wide = normals.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, wide / np.maximum(lengths, 1e-12), [0, 1, 0]).astype(np.float32)


def _add_rows(builder: Builder, values: np.ndarray, component: int, kind: str, **entries: Any) -> int:
    """Append an accessor of small integers, whose rows begin at multiples of four bytes."""
    view = builder.add_view(np.ascontiguousarray(values, TYPES[component]).tobytes(), target=ARRAY_BUFFER)
    entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
    builder.accessors.append(entry | entries)
    return len(builder.accessors) - 1


def _add_colours(builder: Builder, colours: F32) -> int:
    alpha = colours[:, 3:] if colours.shape[1] == 4 else np.ones((len(colours), 1))
    values = np.rint(np.clip(np.concatenate([colours[:, :3], alpha], 1), 0, 1) * 65535)
    return _add_rows(builder, values, USHORT, "VEC4", normalized=True)


def _add_joints(builder: Builder, head: F32) -> dict[str, int]:
    share = np.rint(np.clip(head, 0, 1) * 255).astype(np.int64)
    weights = np.zeros((len(head), 4), np.int64)
    weights[:, SHOULDERS], weights[:, HEAD] = 255 - share, share
    joints = np.zeros_like(weights)
    joints[:, HEAD] = np.where(share > 0, 1, 0)
    return {
        "JOINTS_0": _add_rows(builder, joints, UBYTE, "VEC4"),
        "WEIGHTS_0": _add_rows(builder, weights, UBYTE, "VEC4", normalized=True),
    }


def _add_target(builder: Builder, piece: Piece, name: str) -> dict[str, int]:
    target = {"POSITION": _add_sparse(builder, piece.moves[name].astype(np.float64) * METRES, STILL)}
    if name in piece.turns:
        target["NORMAL"] = _add_sparse(builder, piece.turns[name], UNTURNED)
    return target


def _add_sparse(builder: Builder, values: np.ndarray, least: float) -> int:
    """Append an accessor (n, 3) that holds only rows that are not nothing."""
    rows = np.flatnonzero(np.abs(values).max(1) > least)
    entry: dict[str, Any] = {"componentType": FLOAT, "count": len(values), "type": "VEC3"}
    kept = values[rows].astype(np.float32)
    low, high = (np.zeros(3), np.zeros(3))
    if len(rows):
        low, high = kept.min(0), kept.max(0)
        if len(rows) < len(values):
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        kind = USHORT if len(values) < 65536 else UINT
        entry["sparse"] = {
            "count": len(rows),
            "indices": {"bufferView": builder.add_view(rows.astype(TYPES[kind]).tobytes()), "componentType": kind},
            "values": {"bufferView": builder.add_view(kept.tobytes())},
        }
    entry |= {"min": low.tolist(), "max": high.tolist()}
    builder.accessors.append(entry)
    return len(builder.accessors) - 1
