"""Write the textured head as head.glb (glTF 2.0) or as OBJ, MTL and PNG, and read .glb files of any program.

The texture holds the light of the photo, so the material is unlit; programs without unlit materials show a rough one.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from portrait360.geometry import rasterizer
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.pipeline.export.glb import FLOAT, UINT, Broken, Builder, Document, open_glb
from portrait360.pipeline.export.gltf_nodes import find_meshes
from portrait360.pipeline.export.units import METRES
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors

LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071
TRIANGLES = 4


def write_glb(path: Path, mesh: TexturedMesh, texture: Literal["png", "jpeg"] = "png") -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(pack_glb(mesh, texture))


def pack_glb(mesh: TexturedMesh, texture: Literal["png", "jpeg"] = "png") -> bytes:
    """Return the bytes of a .glb file. A JPEG texture is several times smaller than PNG, and slightly blurred."""
    encoded = io.BytesIO()
    Image.fromarray(mesh.texture).save(encoded, format=texture, quality=95, subsampling=0)  # PNG ignores both options
    builder = Builder(bytearray(), [], [])
    positions = (mesh.vertices * np.float32(METRES)).astype(np.float32)
    lengths = np.linalg.norm(mesh.normals.astype(np.float64), axis=1, keepdims=True)  # glTF forbids zero normals
    normals = np.where(lengths > 1e-12, mesh.normals / np.maximum(lengths, 1e-12), [0, 0, 1])
    attributes = {
        "POSITION": builder.add_array(positions, FLOAT, min=positions.min(0).tolist(), max=positions.max(0).tolist()),
        "NORMAL": builder.add_array(normals, FLOAT),
        "TEXCOORD_0": builder.add_array(mesh.uv, FLOAT),
    }
    indices = builder.add_array(mesh.triangles.ravel(), UINT)
    image = builder.add_view(encoded.getvalue())
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
    return builder.pack(tree)


def write_obj(folder: Path, mesh: TexturedMesh, name: str = "head") -> None:
    """Write `name`.obj, `name`.mtl and `name`_texture.png to a folder; OBJ's texture coordinates point upwards."""
    texture = f"{name}_texture.png"
    material = f"newmtl {name}\nillum 0\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Ka {texture}\nmap_Kd {texture}\n"
    corners = np.repeat(mesh.triangles + 1, 3, axis=1)  # indices of position, uv and normal alike
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / texture) as temporary:
            Image.fromarray(mesh.texture).save(temporary, format="PNG")
        with atomic_write(folder / f"{name}.mtl") as temporary:
            temporary.write_text(material)
        with atomic_write(folder / f"{name}.obj") as temporary, temporary.open("w") as file:
            file.write(f"mtllib {name}.mtl\no {name}\n")
            np.savetxt(file, mesh.vertices * np.float32(METRES), "v %.7g %.7g %.7g")
            np.savetxt(file, np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1), "vt %.8g %.8g")
            np.savetxt(file, mesh.normals, "vn %.6g %.6g %.6g")
            file.write(f"usemtl {name}\n")
            np.savetxt(file, corners, "f %d/%d/%d %d/%d/%d %d/%d/%d")


def read_glb(path: Path) -> TexturedMesh:
    """Read a .glb of any program, in metres, with one mesh and one texture; its pose in the scene is applied."""
    path = Path(path)
    try:
        return _extract_mesh(open_glb(path))
    except Broken as error:
        raise UserError(f"{path} {error}; use a .glb with one mesh and one embedded texture.") from error
    except UserError:
        raise
    except Exception as error:  # a damaged file may hold any type anywhere, and reach the image decoders
        raise UserError(f"{path} is not a complete binary glTF file; export it again.") from error


def _extract_mesh(document: Document) -> TexturedMesh:
    tree = document.tree
    primitives = [(p, pose) for index, pose in find_meshes(tree) for p in tree["meshes"][index]["primitives"]]
    if len(primitives) != 1:
        raise Broken(f"contains {len(primitives)} meshes")
    primitive, pose = primitives[0]
    if primitive.get("mode", TRIANGLES) != TRIANGLES:
        raise Broken("contains no plain triangles")
    attributes = primitive["attributes"]
    material = tree["materials"][primitive["material"]] if "material" in primitive else {}
    texture = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
    if texture is None or f"TEXCOORD_{texture.get('texCoord', 0)}" not in attributes:
        raise Broken("has no texture")
    if texture.get("extensions"):
        raise Broken("moves its texture")
    points = document.read_array(attributes["POSITION"]).astype(np.float64)
    uv = document.read_array(attributes[f"TEXCOORD_{texture.get('texCoord', 0)}"]).astype(np.float64)
    corners = document.read_array(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(points))
    triangles = corners.astype(np.int64).reshape(-1, 3)
    if np.linalg.det(pose[:3, :3]) < 0:  # a mirrored node turns its triangles inside out
        triangles = triangles[:, ::-1]
    points = points @ pose[:3, :3].T + pose[:3, 3]
    if not triangles.size or triangles.max() >= len(points) or uv.shape != (len(points), 2):
        raise Broken("refers to data that it does not contain")
    if "NORMAL" in attributes:
        normals = document.read_array(attributes["NORMAL"]).astype(np.float64) @ np.linalg.inv(pose[:3, :3])
    else:
        normals = rasterizer.vertex_normals(points, triangles).astype(np.float64)
    return _check_mesh(points / METRES, normals, uv, triangles, document.read_image(texture["index"]))


def _check_mesh(
    points: F64, normals: F64, uv: F64, triangles: NDArray[np.int64], texture: NDArray[np.uint8]
) -> TexturedMesh:
    uv = uv - np.floor(uv.mean(0))  # some programs add whole repeats of the texture
    if normals.shape != points.shape or not all(np.isfinite(v).all() for v in (points, normals, uv)):
        raise Broken("contains numbers that are not finite")
    if uv.min() < -0.01 or uv.max() > 1.01:
        raise Broken("repeats its texture")
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    singles = [v.astype(np.float32) for v in (points, unit, uv)]
    return TexturedMesh(singles[0], singles[1], singles[2], triangles.astype(np.int32), texture)
