"""Gaussians as binary glTF 2.0 with the extension KHR_gaussian_splatting: points whose attributes are Gaussians.

Scales are linear and opacities are activated, in contrast to .ply, and quaternions are x y z w. The frame is glTF's:
metres, y up, the face along +z. Programs without the extension show coloured points.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.glb import FLOAT, Broken, Builder, Document, open_glb
from portrait360.pipeline.export.gltf_nodes import find_meshes
from portrait360.pipeline.export.units import (
    MAX_SPLATS,
    harmonics_to_slopes,
    in_metres,
    slopes_to_harmonics,
    splats_from_file,
)
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write

EXTENSION = "KHR_gaussian_splatting"
ROTATION, SCALE, OPACITY = (f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY"))
COLOUR = f"{EXTENSION}:SH_DEGREE_0_COEF_0"
FIRST = tuple(f"{EXTENSION}:SH_DEGREE_1_COEF_{i}" for i in range(3))
SRGB, LINEAR = "srgb_rec709_display", "lin_rec709_display"
DETAILS = {"kernel": "ellipse", "colorSpace": SRGB, "sortingMethod": "cameraDistance", "projection": "perspective"}
POINTS, SHORT, USHORT = 0, 5122, 5123
WIDTHS = {"POSITION": 3, ROTATION: 4, SCALE: 3, OPACITY: 1, COLOUR: 3}
EVEN = 1e-3  # by which a node's scales may differ


def write_khr_splats(path: Path, splats: GaussianSplats) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(pack_khr_splats(splats))


def pack_khr_splats(splats: GaussianSplats) -> bytes:
    """Return the bytes of a .glb file with these Gaussians, 56 each, or 92 where colours depend on the view."""
    values, builder = in_metres(splats), Builder(bytearray(), [], [])
    turns = np.round(values.rotations[:, [1, 2, 3, 0]].astype(np.float64) * 32767)
    plain = values.without_slopes()  # for programs without the extension
    rgba = np.concatenate([_srgb_to_linear(plain.colours), values.opacities[:, None]], 1)
    ends = {"min": values.means.min(0).tolist(), "max": values.means.max(0).tolist()}
    attributes = {
        "POSITION": builder.add_array(values.means, FLOAT, **ends),
        ROTATION: builder.add_array(turns, SHORT, normalized=True),
        SCALE: builder.add_array(values.scales, FLOAT),
        OPACITY: builder.add_array(values.opacities, FLOAT),
        COLOUR: builder.add_array((values.colours - 0.5) / SH_C0, FLOAT),
        "COLOR_0": builder.add_array(np.round(rgba.clip(0, 1) * 65535), USHORT, normalized=True),
    }
    if splats.degree:
        harmonics = slopes_to_harmonics(values.slopes)
        attributes |= {name: builder.add_array(harmonics[:, i], FLOAT) for i, name in enumerate(FIRST)}
    primitive = {"attributes": attributes, "mode": POINTS, "extensions": {EXTENSION: DETAILS}}
    tree = {
        "asset": {"version": "2.0", "generator": "portrait360"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [{"name": "head", "primitives": [primitive]}],
    }
    return builder.pack(tree)


def holds_splats(path: Path) -> bool:
    """Return whether a .glb file has Gaussians; False if it cannot be read at all."""
    try:
        return any(
            EXTENSION in p.get("extensions", {}) for m in open_glb(path).tree["meshes"] for p in m["primitives"]
        )
    except UserError:
        raise
    except Exception:  # a damaged file may hold any type anywhere; the reader of meshes says what is wrong
        return False


def read_khr_splats(path: Path) -> GaussianSplats:
    """Read all Gaussians of a .glb of any program where they stand in its scene; only degrees 0 and 1 are kept."""
    path = Path(path)
    try:
        return _extract(path, open_glb(path))
    except Broken as error:
        raise UserError(
            f"{path} {error}; use a .glb with uncompressed Gaussians, sRGB colours and no uneven scaling."
        ) from error
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(f"{path} is not a complete binary glTF file; export it again.") from error


def _extract(path: Path, document: Document) -> GaussianSplats:
    tree, parts, count = document.tree, [], 0
    for index, pose in find_meshes(tree):
        for primitive in tree["meshes"][index]["primitives"]:
            if EXTENSION in primitive.get("extensions", {}):
                count += _count(document, primitive)
                parts.append(_read_primitive(document, primitive, pose))
    if not parts:
        raise Broken("contains no Gaussians")
    return splats_from_file(path, *(np.concatenate(values) for values in zip(*parts, strict=True)))


def _count(document: Document, primitive: dict[str, Any]) -> int:
    """Return the number of Gaussians of a primitive, of which every attribute must have one value each."""
    attributes = primitive["attributes"]
    missing = [name for name in WIDTHS if name not in attributes]
    if missing:
        raise Broken(f"lacks {missing[0]}")
    counts = {document.tree["accessors"][attributes[name]]["count"] for name in WIDTHS}
    count = counts.pop()
    if counts or count > MAX_SPLATS:
        raise Broken(
            "has attributes of different lengths" if counts else f"contains more than {MAX_SPLATS} Gaussians"
        )
    return count


def _read_primitive(document: Document, primitive: dict[str, Any], pose: F64) -> tuple[F64, ...]:
    """Return places, scales, rotations w x y z, opacities, colours and slopes of a primitive, in its scene."""
    details = primitive["extensions"][EXTENSION]
    if primitive.get("mode") != POINTS or details.get("kernel", "ellipse") != "ellipse" or details.get("extensions"):
        raise Broken("contains an unsupported kind of Gaussian")
    decode: dict[str, Callable[[F64], F64]] = {SRGB: lambda colours: colours, LINEAR: _linear_to_srgb}
    if details.get("colorSpace", SRGB) not in decode:
        raise Broken("has colours that are not sRGB")
    values = {name: document.read_array(primitive["attributes"][name]).astype(np.float64) for name in WIDTHS}
    if any(values[name].shape[1] != width for name, width in WIDTHS.items()) or (values[SCALE] < 0).any():
        raise Broken("has attributes of an unexpected shape")
    size = float(np.cbrt(np.linalg.det(pose[:3, :3])))
    turn = pose[:3, :3] / (size or 1.0)
    if size <= 0 or np.abs(turn @ turn.T - np.eye(3)).max() > EVEN:
        raise Broken("stretches or mirrors its Gaussians")
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    rotations = _multiply(np.array([w, x, y, z]), values[ROTATION][:, [3, 0, 1, 2]])
    colours = decode[details.get("colorSpace", SRGB)](0.5 + SH_C0 * values[COLOUR])
    means = values["POSITION"] @ pose[:3, :3].T + pose[:3, 3]
    slopes = turn @ _read_slopes(document, primitive["attributes"], len(means))
    if details.get("colorSpace", SRGB) == LINEAR:
        slopes = np.zeros_like(slopes)  # light adds up otherwise
    return means, values[SCALE] * size, rotations, values[OPACITY][:, 0], colours, slopes


def _read_slopes(document: Document, attributes: dict[str, int], count: int) -> F64:
    """Return by how much colours change with the direction (n, 3, 3), in the primitive's own frame."""
    if not all(name in attributes for name in FIRST):
        return np.zeros((count, 3, 3))
    harmonics = [document.read_array(attributes[name]).astype(np.float64) for name in FIRST]
    if any(values.shape != (count, 3) for values in harmonics):
        raise Broken("has attributes of different lengths")
    return harmonics_to_slopes(np.stack(harmonics, 1))


def _multiply(first: F64, second: F64) -> F64:
    """Multiply a quaternion w x y z by others (n, 4)."""
    w, x, y, z = first
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return second @ left.T


def _srgb_to_linear(colours: np.ndarray) -> F64:
    values = np.clip(colours.astype(np.float64), 0, None)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(colours: F64) -> F64:
    values = np.clip(colours, 0, None)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
