"""The textured head as head.glb (glTF 2.0) or as OBJ, MTL and PNG; and .glb files of any program read back.

The texture holds the light of the photo, so the material is unlit; programs that do not know unlit materials see a
rough one.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from portrait360.cameras import Array
from portrait360.errors import UserError
from portrait360.export.glb import FLOAT, UINT, Broken, Builder, Document, open_glb
from portrait360.export.units import METRES
from portrait360.files import whole, writing_to
from portrait360.geometry import raster
from portrait360.geometry.textured import TexturedMesh

LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071
TRIANGLES = 4


def write_glb(path: Path, mesh: TexturedMesh, texture: Literal["png", "jpeg"] = "png") -> None:
    with whole(path) as temporary:
        temporary.write_bytes(packed_glb(mesh, texture))


def packed_glb(mesh: TexturedMesh, texture: Literal["png", "jpeg"] = "png") -> bytes:
    """One file with everything; a JPEG texture is several times smaller and slightly blurred."""
    encoded = io.BytesIO()
    Image.fromarray(mesh.texture).save(encoded, format=texture, quality=95, subsampling=0)  # PNG has neither
    builder = Builder(bytearray(), [], [])
    places = (mesh.vertices * np.float32(METRES)).astype(np.float32)
    lengths = np.linalg.norm(mesh.normals.astype(np.float64), axis=1, keepdims=True)
    normals = np.where(lengths > 1e-12, mesh.normals / np.maximum(lengths, 1e-12), [0, 0, 1])  # none may be 0
    attributes = {
        "POSITION": builder.array(places, FLOAT, min=places.min(0).tolist(), max=places.max(0).tolist()),
        "NORMAL": builder.array(normals, FLOAT),
        "TEXCOORD_0": builder.array(mesh.uv, FLOAT),
    }
    indices = builder.array(mesh.triangles.ravel(), UINT)
    image = builder.view(encoded.getvalue())
    material = {
        "name": "head",
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0},
        "extensions": {"KHR_materials_unlit": {}},
    }
    primitive = {"attributes": attributes, "indices": indices, "material": 0, "mode": TRIANGLES}
    tree = {
        "asset": {"version": "2.0", "generator": "portrait360"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [{"name": "head", "primitives": [primitive]}],
        "materials": [material],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": LINEAR, "minFilter": MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP}],
        "images": [{"bufferView": image, "mimeType": f"image/{texture}"}],
    }
    return builder.file(tree)


def write_obj(folder: Path, mesh: TexturedMesh, name: str = "head") -> None:
    """`name`.obj, `name`.mtl and `name`_texture.png in a folder; texture coordinates grow upwards there."""
    texture = f"{name}_texture.png"
    material = f"newmtl {name}\nillum 0\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Ka {texture}\nmap_Kd {texture}\n"
    corners = np.repeat(mesh.triangles + 1, 3, axis=1)  # of place, uv and normal alike
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / texture) as temporary:
            Image.fromarray(mesh.texture).save(temporary, format="PNG")
        with whole(folder / f"{name}.mtl") as temporary:
            temporary.write_text(material)
        with whole(folder / f"{name}.obj") as temporary, temporary.open("w") as file:
            file.write(f"mtllib {name}.mtl\no {name}\n")
            np.savetxt(file, mesh.vertices * np.float32(METRES), "v %.7g %.7g %.7g")
            np.savetxt(file, np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1), "vt %.8g %.8g")
            np.savetxt(file, mesh.normals, "vn %.6g %.6g %.6g")
            file.write(f"usemtl {name}\n")
            np.savetxt(file, corners, "f %d/%d/%d %d/%d/%d %d/%d/%d")


def read_glb(path: Path) -> TexturedMesh:
    """One mesh with one texture, in metres, from whatever program; where it stands in its scene is kept."""
    path = Path(path)
    try:
        return _mesh(open_glb(path))
    except Broken as error:
        raise UserError(f"{path} {error}; bring a .glb of one mesh with one texture in it.") from error
    except UserError:
        raise
    except Exception as error:  # a damaged file may hold any type anywhere, and reaches the decoders of pictures
        raise UserError(f"{path} is not a whole binary glTF file; export it again.") from error


def _mesh(document: Document) -> TexturedMesh:
    tree = document.tree
    found = _placed(tree)
    primitives = [(p, pose) for index, pose in found for p in tree["meshes"][index]["primitives"]]
    if len(primitives) != 1:
        raise Broken(f"holds {len(primitives)} meshes")
    primitive, pose = primitives[0]
    if primitive.get("mode", TRIANGLES) != TRIANGLES:
        raise Broken("holds no plain triangles")
    attributes = primitive["attributes"]
    material = tree["materials"][primitive["material"]] if "material" in primitive else {}
    said = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
    if said is None or f"TEXCOORD_{said.get('texCoord', 0)}" not in attributes:
        raise Broken("has no texture")
    if said.get("extensions"):
        raise Broken("moves its texture")
    places = document.array(attributes["POSITION"]).astype(np.float64)
    uv = document.array(attributes[f"TEXCOORD_{said.get('texCoord', 0)}"]).astype(np.float64)
    corners = document.array(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(places))
    triangles = corners.astype(np.int64).reshape(-1, 3)
    if np.linalg.det(pose[:3, :3]) < 0:  # a mirrored node turns its triangles inside out
        triangles = triangles[:, ::-1]
    places = places @ pose[:3, :3].T + pose[:3, 3]
    if not triangles.size or triangles.max() >= len(places) or uv.shape != (len(places), 2):
        raise Broken("refers to what it does not hold")
    if "NORMAL" in attributes:
        normals = document.array(attributes["NORMAL"]).astype(np.float64) @ np.linalg.inv(pose[:3, :3])
    else:
        normals = raster.vertex_normals(places, triangles).astype(np.float64)
    return _sound(places / METRES, normals, uv, triangles, document.picture(said["index"]))


def _sound(
    places: Array, normals: Array, uv: Array, triangles: NDArray[np.int64], texture: NDArray[np.uint8]
) -> TexturedMesh:
    uv = uv - np.floor(uv.mean(0))  # some programs count whole textures on
    if normals.shape != places.shape or not all(np.isfinite(v).all() for v in (places, normals, uv)):
        raise Broken("holds numbers that are not finite")
    if uv.min() < -0.01 or uv.max() > 1.01:
        raise Broken("repeats its texture")
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    singles = [v.astype(np.float32) for v in (places, unit, uv)]
    return TexturedMesh(singles[0], singles[1], singles[2], triangles.astype(np.int32), texture)


def _placed(tree: dict[str, Any]) -> list[tuple[int, Array]]:
    """Meshes of the scene and where they stand; nodes that contain themselves are followed once."""
    nodes = tree["nodes"]
    scenes = tree.get("scenes") or [{"nodes": range(len(nodes))}]
    waiting = [(i, np.eye(4)) for i in scenes[tree.get("scene", 0)].get("nodes", [])]
    seen, found = set(), []
    while waiting:
        index, above = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = nodes[index]
        pose = above @ _pose(node)
        if "mesh" in node:
            found.append((node["mesh"], pose))
        waiting += [(child, pose) for child in node.get("children", [])]
    return found


def _pose(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose = np.eye(4)
    pose[:3, :3] = np.array(turn) * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    pose[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return pose
