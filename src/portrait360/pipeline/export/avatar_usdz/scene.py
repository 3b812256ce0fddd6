"""The scene of a .usdz file, as text (.usda): meshes with normals, texture coordinates and preview surfaces."""

from __future__ import annotations

import numpy as np

from portrait360.pipeline.export.avatar_glb.document import encode_image
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_usdz.colours import spread_colours
from portrait360.pipeline.export.units import METRES
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, Bytes

SCENE, FOLDER = "avatar.usda", "textures"
GLASS = 0.25  # opacity of what is transparent, without colours that say it
HEAD = """#usda 1.0
(
    defaultPrim = "avatar"
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "avatar" (
    kind = "component"
)
{{
    double3 xformOp:translate = (0, {height:.6f}, 0)
    uniform token[] xformOpOrder = ["xformOp:translate"]
"""
MESH = """
    def Mesh "{name}" (
        prepend apiSchemas = ["MaterialBindingAPI"]
    )
    {{
        uniform bool doubleSided = {double}
        float3[] extent = [{extent}]
        int[] faceVertexCounts = [{counts}]
        int[] faceVertexIndices = [{indices}]
        point3f[] points = [{points}]
        normal3f[] normals = [{normals}] (
            interpolation = "vertex"
        )
        texCoord2f[] primvars:st = [{uv}] (
            interpolation = "vertex"
        )
        uniform token subdivisionScheme = "none"
        rel material:binding = </avatar/looks/{look}>
    }}
"""
MATERIAL = """
        def Material "{name}"
        {{
            token outputs:surface.connect = </avatar/looks/{name}/surface.outputs:surface>

            def Shader "surface"
            {{
                uniform token info:id = "UsdPreviewSurface"
                color3f inputs:diffuseColor.connect = </avatar/looks/{name}/texture.outputs:rgb>
                float inputs:roughness = {roughness:g}
                float inputs:metallic = {metallic:g}
{opacity}                token outputs:surface
            }}

            def Shader "texture"
            {{
                uniform token info:id = "UsdUVTexture"
                asset inputs:file = @{file}@
                float2 inputs:st.connect = </avatar/looks/{name}/place.outputs:result>
                token inputs:sourceColorSpace = "sRGB"
                token inputs:wrapS = "clamp"
                token inputs:wrapT = "clamp"
                float outputs:a
                float3 outputs:rgb
            }}

            def Shader "place"
            {{
                uniform token info:id = "UsdPrimvarReader_float2"
                string inputs:varname = "st"
                float2 outputs:result
            }}
        }}
"""
CUT = """                float inputs:opacity.connect = </avatar/looks/{name}/texture.outputs:a>
                float inputs:opacityThreshold = {cutoff:g}
"""


def describe_scene(pieces: list[Piece], images: dict[str, Bytes], weights: dict[str, float]) -> dict[str, bytes]:
    """Return the files of a scene by name: first itself, then its textures.

    Args:
        pieces: The parts, in the avatar's frame.
        images: Textures by name.
        weights: How far each expression unit is on.
    """
    files, meshes, looks = {SCENE: b""}, [], []
    lowest = min(float(piece.vertices[:, 1].min()) for piece in pieces) * METRES
    for piece in pieces:
        uv, pixels = piece.uv, images.get(piece.look.texture or "")
        if uv is None or pixels is None:
            assert piece.colours is not None
            uv, pixels = spread_colours(piece.colours[:, :3])
        kind, data = encode_image(pixels)
        file = f"{FOLDER}/{piece.name}.{kind.replace('jpeg', 'jpg')}"
        files[file] = data
        meshes.append(_describe_mesh(piece, uv, weights))
        looks.append(_describe_look(piece, file))
    scope = '\n    def Scope "looks"\n    {' + "".join(looks) + "    }\n"
    text = HEAD.format(height=-lowest) + "".join(meshes) + scope + "}\n"
    return files | {SCENE: text.encode()}


def _describe_mesh(piece: Piece, uv: F32, weights: dict[str, float]) -> str:
    points, normals = express(piece, weights)
    points = points * METRES
    return MESH.format(
        name=piece.name,
        look=piece.name,
        double=int(piece.look.double),
        extent=_write_rows(np.stack([points.min(0), points.max(0)]), 5),
        counts=", ".join(["3"] * len(piece.triangles)),
        indices=", ".join(map(str, piece.triangles.ravel().tolist())),
        points=_write_rows(points, 5),  # hundredths of a millimetre
        normals=_write_rows(normals, 3),
        uv=_write_rows(np.stack([uv[:, 0], 1 - uv[:, 1]], 1), 5),  # USD's v points up
    )


def express(piece: Piece, weights: dict[str, float]) -> tuple[F32, F32]:
    """Return the vertices and normals (n, 3) of a piece in the expression of these weights."""
    vertices, normals = piece.vertices.astype(np.float64), piece.normals.astype(np.float64)
    for name, move in piece.moves.items():
        vertices = vertices + weights.get(name, 0.0) * move
    for name, turn in piece.turns.items():
        normals = normals + weights.get(name, 0.0) * turn
    return vertices.astype(np.float32), np.asarray(unit(normals), np.float32)


def _describe_look(piece: Piece, file: str) -> str:
    look = piece.look
    return MATERIAL.format(
        name=piece.name, roughness=look.roughness, metallic=look.metallic, file=file, opacity=_opacity(piece, look)
    )


def _opacity(piece: Piece, look: Look) -> str:
    if look.blend:
        colours = piece.colours
        clear = GLASS if colours is None or colours.shape[1] < 4 else float(colours[:, 3].mean())
        return f"                float inputs:opacity = {clear:.3f}\n"
    return "" if look.cutoff is None else CUT.format(name=piece.name, cutoff=look.cutoff)


def _write_rows(values: F32, digits: int) -> str:
    row = f"({', '.join([f'%.{digits}f'] * values.shape[1])})"
    return ", ".join([row] * len(values)) % tuple((values + 0.0).ravel().tolist())
