"""A scene as named arrays for an .npz file, and back; every array is checked, since files may be hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from portrait360.synth.scene import Light, Material, Mesh, Part, Scene, Strands
from portrait360.utils.portrait_labels import Label

MESH_SHAPES = {  # n vertices, m triangles
    "vertices": ("n", 3), "triangles": ("m", 3), "albedo": ("n", 3), "material": ("m",), "part": ("m",),
    "opacity": ("n",), "rest": ("n", 3), "normals": ("n", 3), "roughness": ("n",), "labels": ("m",),
}  # fmt: skip
STRAND_SHAPES = {  # s strands of k points
    "points": ("s", "k", 3), "widths": ("s", "k"), "albedo": ("s", "k", 3), "part": ("s",), "material": ("s",),
    "normals": ("s", 3),
}  # fmt: skip
LIGHT_SHAPES = {"ambient": (9, 3), "key_directions": ("j", 3), "key_colours": ("j", 3), "key_softness": ("j",)}
OPTIONAL = ("normals", "roughness", "labels")
LIMITS = {"material": len(Material), "part": len(Part), "labels": len(Label)}
MOST = 5_000_000  # values in any dimension
LARGEST = 100.0  # of any coordinate, colour or width


def pack_scene(scene: Scene) -> dict[str, np.ndarray]:
    """Return all arrays of a scene, with names that say to which layer they belong."""
    out = {"layers": np.array([len(scene.meshes), len(scene.strands)])}
    for i, mesh in enumerate(scene.meshes):
        out |= {f"mesh{i}_{name}": a for name in MESH_SHAPES if (a := getattr(mesh, name)) is not None}
    for i, strands in enumerate(scene.strands):
        out |= {f"strands{i}_{name}": a for name in STRAND_SHAPES if (a := getattr(strands, name)) is not None}
        out[f"strands{i}_label"] = np.array(-1 if strands.label is None else int(strands.label))
    out |= {f"light_{f.name}": getattr(scene.light, f.name) for f in fields(Light)}
    names = sorted(scene.landmarks)
    out["landmark_names"] = np.array(names)
    out["landmarks"] = np.array([scene.landmarks[name] for name in names], np.float32).reshape(-1, 3)
    out["drawing"] = np.array([scene.outline, scene.steps], np.float64)
    return out


def unpack_scene(data: Mapping[str, np.ndarray]) -> Scene:
    """Return the scene that `pack_scene` packed; raise a ValueError for arrays that are none."""
    meshes, groups = (int(v) for v in data["layers"])
    if not (0 <= meshes < 100 and 0 <= groups < 100):
        raise ValueError("too many layers")
    light = Light(**_read(data, "light_", LIGHT_SHAPES))
    outline, steps = (float(v) for v in data["drawing"])
    points = _check("landmarks", data["landmarks"], ("n", 3), {})
    names = [str(name) for name in data["landmark_names"]]
    if len(names) != len(points) or not (0 <= outline < 1 and 0 <= steps < 100):
        raise ValueError("a damaged scene")
    return Scene(
        tuple(_read_mesh(data, f"mesh{i}_") for i in range(meshes)),
        tuple(_read_strands(data, f"strands{i}_") for i in range(groups)),
        light,
        outline,
        int(steps),
        dict(zip(names, points, strict=True)),
    )


def _read_mesh(data: Mapping[str, np.ndarray], prefix: str) -> Mesh:
    arrays = _read(data, prefix, MESH_SHAPES)
    triangles = arrays["triangles"]
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(arrays["vertices"])):
        raise ValueError("triangles without vertices")
    return Mesh(**arrays)


def _read_strands(data: Mapping[str, np.ndarray], prefix: str) -> Strands:
    label = int(data[f"{prefix}label"])
    return Strands(**_read(data, prefix, STRAND_SHAPES), label=None if label < 0 else Label(label))


def _read(data: Mapping[str, np.ndarray], prefix: str, shapes: Mapping[str, tuple]) -> dict[str, np.ndarray]:
    sizes: dict[str, int] = {}
    present = [name for name in shapes if name not in OPTIONAL or f"{prefix}{name}" in data]
    return {name: _check(name, data[f"{prefix}{name}"], shapes[name], sizes) for name in present}


def _check(name: str, values: np.ndarray, shape: tuple, sizes: dict[str, int]) -> np.ndarray:
    """Return an array whose type, shape and values are as expected; `sizes` collects the named dimensions."""
    kind = np.uint8 if name in LIMITS else np.int32 if name == "triangles" else np.float32
    if values.dtype != kind or values.ndim != len(shape):
        raise ValueError(f"{name} has another type or shape")
    for expected, found in zip(shape, values.shape, strict=True):
        size = expected if isinstance(expected, int) else sizes.setdefault(expected, found)
        if found != size or found > MOST:
            raise ValueError(f"{name} has another shape")
    if name in LIMITS and values.size and values.max() >= LIMITS[name]:
        raise ValueError(f"{name} names what there is not")
    if kind == np.float32 and not (np.isfinite(values).all() and np.abs(values).max(initial=0) <= LARGEST):
        raise ValueError(f"{name} holds impossible numbers")
    return np.ascontiguousarray(values)
