"""The parts of an avatar's .glb file that expressions move, as one mesh in the canonical frame."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from portrait360.pipeline.export.avatar_glb.document import HEAD
from portrait360.pipeline.export.glb import TYPES, WIDTHS, Document, read_tree
from portrait360.pipeline.export.units import METRES
from portrait360.synth.render.tone_mapping import srgb_to_linear
from portrait360.utils.array_types import F32, I32, Bools, Floats
from portrait360.utils.image_ops import look_up

SKIN, EYES, TEETH, TONGUE = "skin", ("eye_left", "eye_right"), ("upper_teeth", "lower_teeth"), "tongue"
FRINGE = ("lashes", "beard")  # they stand out from the skin
ROW = 1024  # points that are looked up side by side
LINEAR = srgb_to_linear(np.arange(256) / 255)  # of bytes in sRGB
PARTS = (SKIN, *EYES, *TEETH, TONGUE, *FRINGE)


@dataclass(frozen=True, eq=False)
class Part:
    """One of the file's meshes."""

    name: str
    vertices: slice  # of the moving mesh
    triangles: slice
    uv: F32 | None  # (n, 2)
    image: F32 | None  # (h, w, 3) linear
    colours: F32 | None  # (n, 3) linear


@dataclass(frozen=True, eq=False)
class MovingMesh:
    """All moving parts. Vertices and triangles are numbered through them, in the order of PARTS."""

    parts: list[Part]
    weights: dict[str, float]  # of the photo's expression
    neutral: F32  # (n, 3)
    triangles: I32  # (m, 3)
    moves: dict[str, tuple[I32, F32]]  # expression unit -> vertices that it moves, and how far (k, 3)

    def pose(self, weights: dict[str, float]) -> F32:
        """Return the vertices (n, 3) with these weights; 0 for units that are not given."""
        out = self.neutral.astype(np.float64)
        for name, (rows, move) in self.moves.items():
            out[rows] += weights.get(name, 0.0) * move
        return out.astype(np.float32)

    def find_reach(self) -> F32:
        """Return how far each vertex moves (n,) with the unit that moves it most."""
        out = np.zeros(len(self.neutral), np.float32)
        for rows, move in self.moves.values():
            out[rows] = np.maximum(out[rows], np.linalg.norm(move, axis=1))
        return out

    def mark(self, names: tuple[str, ...]) -> Bools:
        """Return which triangles (m,) belong to these parts."""
        out = np.zeros(len(self.triangles), bool)
        for part in self.parts:
            out[part.triangles] = part.name in names
        return out

    def find_colours(self, triangles: np.ndarray, places: Floats) -> F32:
        """Return linear colours (k, 3) without light, at barycentric coordinates (k, 3) of these triangles."""
        out = np.zeros((len(triangles), 3), np.float32)
        for part in self.parts:
            rows = np.flatnonzero((triangles >= part.triangles.start) & (triangles < part.triangles.stop))
            corners = self.triangles[triangles[rows]] - part.vertices.start
            share = np.asarray(places[rows], np.float32)[..., None]
            if part.image is not None and part.uv is not None:
                out[rows] = _look_up(part.image, (part.uv[corners] * share).sum(1))
            elif part.colours is not None:
                out[rows] = (part.colours[corners] * share).sum(1)
        return out


def read_moving_mesh(glb: bytes) -> MovingMesh | None:
    """Return what moves in a file that `pack_pieces` wrote; None where no skin with expression units is in it."""
    document = _open(glb)
    nodes, meshes = document.tree.get("nodes", []), document.tree.get("meshes", [])
    found = {node["name"]: node for node in nodes if "mesh" in node and node.get("name") in PARTS}
    if SKIN not in found or "targets" not in meshes[found[SKIN]["mesh"]]["primitives"][0]:
        return None
    parts: list[Part] = []
    points, triangles, weights, vertex, triangle = [], [], {}, 0, 0
    moves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name in (name for name in PARTS if name in found):
        mesh = meshes[found[name]["mesh"]]
        primitive, names = mesh["primitives"][0], mesh.get("extras", {}).get("targetNames", [])
        points.append(_read_points(document, found[name]))
        triangles.append(document.read_array(primitive["indices"]).reshape(-1, 3).astype(np.int32) + vertex)
        for unit, target in zip(names, primitive.get("targets", []), strict=True):
            rows, move = _read_sparse(document, target["POSITION"])
            moves.setdefault(unit, []).append((rows + vertex, move / METRES))
        for unit, weight in zip(names, mesh.get("weights", [0.0] * len(names)), strict=True):
            weights[unit] = max(weight, weights.get(unit, 0.0))
        ends = vertex + len(points[-1]), triangle + len(triangles[-1])
        parts.append(Part(name, slice(vertex, ends[0]), slice(triangle, ends[1]), *_read_look(document, primitive)))
        vertex, triangle = ends
    joined = {unit: (np.concatenate(rows), np.concatenate(move)) for unit, (rows, move) in _turn(moves).items()}
    return MovingMesh(parts, weights, np.concatenate(points), np.concatenate(triangles), joined)


def read_head_share(glb: bytes) -> tuple[F32, F32]:
    """Return all vertices (n, 3) of an avatar's file, and how far each follows the head (n,)."""
    document = _open(glb)
    points, shares = [], []
    for node in document.tree.get("nodes", []):
        if "mesh" not in node:
            continue
        points.append(_read_points(document, node))
        attributes = document.tree["meshes"][node["mesh"]]["primitives"][0]["attributes"]
        share = np.ones(len(points[-1]))
        if "skin" in node:
            share = document.read_array(attributes["WEIGHTS_0"])[:, HEAD]
        shares.append(share)
    return np.concatenate(points), np.concatenate(shares).astype(np.float32)


def _open(glb: bytes) -> Document:
    length = struct.unpack_from("<I", glb, 12)[0]
    return Document(read_tree(glb), memoryview(glb)[28 + length :])


def _turn(moves: dict[str, list[tuple[Any, Any]]]) -> dict[str, tuple[Any, ...]]:
    return {unit: tuple(zip(*found, strict=True)) for unit, found in moves.items()}


def _read_points(document: Document, node: dict[str, Any]) -> F32:
    """Return the vertices (n, 3) of a node without expression, in the canonical frame.

    Nodes hang on the head's joint, or on the skin, whose points are in the world.
    """
    nodes, origin = document.tree["nodes"], np.zeros(3)
    at = None if "skin" in node else node
    while at is not None:
        origin += at.get("translation", [0, 0, 0])
        number = next(i for i, other in enumerate(nodes) if other is at)
        at = next((other for other in nodes if number in other.get("children", [])), None)
    mesh = document.tree["meshes"][node["mesh"]]
    points = document.read_array(mesh["primitives"][0]["attributes"]["POSITION"])
    return np.asarray((points + origin) / METRES, np.float32)


def _read_sparse(document: Document, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (k,) of a morph target that are not nothing, and their values (k, 3)."""
    entry = document.tree["accessors"][index]
    if "sparse" not in entry:
        return np.zeros(0, np.int32), np.zeros((0, 3))
    indices, values = entry["sparse"]["indices"], entry["sparse"]["values"]
    rows = np.frombuffer(document.read_view(indices["bufferView"])[0], TYPES[indices["componentType"]])
    data = np.frombuffer(document.read_view(values["bufferView"])[0], TYPES[entry["componentType"]])
    return rows.astype(np.int32), data.reshape(-1, WIDTHS[entry["type"]]).astype(np.float64)


def _read_look(document: Document, primitive: dict[str, Any]) -> tuple[F32 | None, F32 | None, F32 | None]:
    """Return texture coordinates, texture, and colours of vertices."""
    attributes = primitive["attributes"]
    surface = document.tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    uv = image = colours = None
    if "baseColorTexture" in surface and "TEXCOORD_0" in attributes:
        uv = np.asarray(document.read_array(attributes["TEXCOORD_0"]), np.float32)
        image = LINEAR[document.read_image(surface["baseColorTexture"]["index"])]
    if "COLOR_0" in attributes:
        colours = np.asarray(document.read_array(attributes["COLOR_0"])[:, :3], np.float32)
    return uv, image, colours


def _look_up(image: F32, uv: F32) -> F32:
    """Return the colours (n, 3) of a square texture at uv (n, 2)."""
    rows = -(-len(uv) // ROW)
    return look_up(image, np.resize(uv, (rows, ROW, 2))).reshape(-1, 3)[: len(uv)] if rows else np.zeros((0, 3))
