"""Where the meshes of a glTF file stand in its scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from portrait360.utils.array_types import F64


def find_meshes(tree: dict[str, Any]) -> list[tuple[int, F64]]:
    """Return the indices and poses of all meshes in the scene; nodes that contain themselves are followed once."""
    nodes = tree["nodes"]
    scenes = tree.get("scenes") or [{"nodes": range(len(nodes))}]
    stack = [(i, np.eye(4)) for i in scenes[tree.get("scene", 0)].get("nodes", [])]
    visited, meshes = set(), []
    while stack:
        index, parent_pose = stack.pop()
        if index in visited:
            continue
        visited.add(index)
        node = nodes[index]
        pose = parent_pose @ node_pose(node)
        if "mesh" in node:
            meshes.append((node["mesh"], pose))
        stack += [(child, pose) for child in node.get("children", [])]
    return meshes


def node_pose(node: dict[str, Any]) -> F64:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose = np.eye(4)
    pose[:3, :3] = np.array(rotation) * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    pose[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return pose
