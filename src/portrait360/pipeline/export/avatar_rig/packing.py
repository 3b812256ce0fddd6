"""The splats of a page with all that its script needs to move them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_rig.binding import Binding, bind, find_moved, is_painted
from portrait360.pipeline.export.avatar_rig.inside import OPENINGS, draw_inside
from portrait360.pipeline.export.avatar_rig.moving_mesh import MovingMesh, read_head_share, read_moving_mesh
from portrait360.pipeline.export.avatar_splats.shapes import join_splats
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.parallel.threads import count_threads, map_in_threads

MOST_TRIANGLES = 1 << 16  # that have numbers of 16 bits
BESIDE = 4  # vertices beside a Gaussian, from which it learns how far it follows the head


class Rig(NamedTuple):
    """Splats that move: those that hang on the mesh come first, group by group, and then those that do not."""

    splats: GaussianSplats
    about: dict[str, Any]  # for the page's script
    data: bytes


def make_rig(splats: GaussianSplats, glb: bytes) -> Rig | None:
    """Return the splats with what an avatar's file says about how they move; None where it does not."""
    mesh = read_moving_mesh(glb)
    if mesh is None or len(mesh.triangles) >= MOST_TRIANGLES:
        return None
    binding = bind(splats, mesh)
    moving = find_moved(binding, mesh)
    if not moving.any():
        return None
    openings = OPENINGS
    if is_painted(mesh):  # lids and lips would tear what is painted; the head still sways
        moving, openings = np.zeros_like(moving), ()
    rows = np.flatnonzero(moving)
    rows = rows[np.argsort(splats.means[rows, 1], kind="stable")]  # what moves together is sent together
    plain = splats.without_slopes()
    drawn = map_in_threads(lambda opening: draw_inside(plain, binding, mesh, opening), openings, lone_first=False)
    inside = [part for part in drawn if len(part.splats)]
    joined = join_splats([splats[rows], *(part.splats for part in inside), splats[np.flatnonzero(~moving)]])
    bindings = [binding.select(rows), *(part.binding for part in inside)]
    groups: list[dict[str, Any]] = [{"count": len(rows)}]
    for part in inside:
        about = {"count": len(part.splats), "weights": _round(part.weights, mesh)}
        groups.append(about | {"units": list(part.opening.units), "over": part.opening.over})
    about = {"parts": [part.name for part in mesh.parts], "groups": groups}
    return Rig(joined, about, pack_bindings(bindings) + _find_share(joined.means, glb).tobytes())


def pack_bindings(bindings: list[Binding]) -> bytes:
    """Return triangles in 16 bits, the places in them in twice 8, and how far Gaussians follow in 8."""
    triangles, places, weights = (np.concatenate(values) for values in zip(*bindings, strict=True))
    return triangles.astype("<u2").tobytes() + _to_bytes(places[:, 1:]) + _to_bytes(weights)


def _to_bytes(values: Floats) -> bytes:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).tobytes()


def _round(weights: dict[str, float], mesh: MovingMesh) -> dict[str, float]:
    """Return the weights that differ from the photo's."""
    return {name: round(weight, 4) for name, weight in weights.items() if weight != mesh.weights.get(name, 0.0)}


def _find_share(means: F32, glb: bytes) -> np.ndarray:
    """Return how far Gaussians (n,) follow the head when it turns, in steps of 1/255: as what lies beside them."""
    points, share = read_head_share(glb)
    distance, near = KDTree(points).query(means, k=min(BESIDE, len(points)), workers=count_threads())
    weight = 1 / np.maximum(np.asarray(distance).reshape(len(means), -1), 1e-4)
    mean = (share[np.asarray(near).reshape(len(means), -1)] * weight).sum(1) / weight.sum(1)
    return np.rint(mean * 255).astype(np.uint8)
