"""A textured mesh from a fitted field: its depth maps fused to one surface, unwrapped, baked from all views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from portrait360.cameras import Camera, look_at
from portrait360.geometry import raster
from portrait360.geometry.bake import Picture, bake, inner, texels
from portrait360.geometry.field import Field
from portrait360.geometry.fusion import fuse
from portrait360.geometry.surface_nets import surface_nets
from portrait360.geometry.textured import TexturedMesh
from portrait360.geometry.volume import HALF
from portrait360.view_sheet import View

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]

LEVELS = (0.0, 0.3, 0.6, 0.9)  # cells outwards
JUDGES = 8  # views that a level is judged by
ABOVE_BELOW = (-25.0, 25.0, 55.0)  # elevations from which the field is looked at beside the views' own


@dataclass(frozen=True)
class MeshFit:
    cells: int = 120  # of the grid along a side: about 50,000 faces
    depth_size: int = 192
    looks: int = 16  # of the views
    smooth: float = 0.8  # cells
    texture: int = 2048
    faces: int = 60_000  # at most


def fit_mesh(
    field: Field,
    views: Sequence[View],
    options: MeshFit = MeshFit(),  # noqa: B008 (frozen)
    *,
    on_step: Callable[[str], None] | None = None,
) -> TexturedMesh:
    say = on_step or (lambda _: None)
    vertices, triangles = surface(field, views, options)
    say("surface")
    mesh = unwrapped(vertices, triangles)
    say("atlas")
    texture = painted(mesh, views, options)
    say("texture")
    return TexturedMesh(mesh.vertices, mesh.normals, mesh.uv, mesh.triangles, texture)


def surface(field: Field, views: Sequence[View], options: MeshFit) -> tuple[Floats, Ints]:
    """The largest connected surface that the field shows, with no more faces than allowed."""
    cameras = looks(views, options)
    depths = [field.picture(camera, options.depth_size)[2] for camera in cameras]
    cells = options.cells
    while True:
        vertices, triangles = _levelled(fuse(depths, cameras, half=HALF, cells=cells), views, options)
        if len(triangles) <= options.faces:
            return vertices, triangles
        cells = int(cells * 0.98 * np.sqrt(options.faces / len(triangles)))


def _levelled(distances: Floats, views: Sequence[View], options: MeshFit) -> tuple[Floats, Ints]:
    """The level at which the surface covers the mattes best: fused depth maps lose a little at every outline."""
    smooth, cells = gaussian_filter(distances, options.smooth), len(distances)
    judges = views[:: max(len(views) // JUDGES, 1)]
    best, found = -1.0, None
    for level in LEVELS:
        vertices, triangles = largest(*surface_nets(smooth - level))
        vertices = (vertices + 0.5) * (2 * HALF / cells) - HALF
        cover = float(np.mean([_overlap(vertices, triangles, view) for view in judges]))
        if found is None or cover > best:
            best, found = cover, (vertices, triangles)
    assert found is not None
    return found


def _overlap(vertices: Floats, triangles: Ints, view: View) -> float:
    """Intersection over union of the mesh with a view's matte."""
    mask = raster.rasterise(vertices, triangles, view.camera, view.size).ids >= 0
    inside = view.alpha > 0.5
    if view.known is not None:
        mask, inside = mask & (view.known > 0.5), inside & (view.known > 0.5)
    return float((mask & inside).sum() / max((mask | inside).sum(), 1))


def looks(views: Sequence[View], options: MeshFit) -> list[Camera]:
    """Some of the views' cameras, and some from above and below, where a hole would else stay open."""
    step = max(len(views) // options.looks, 1)
    own = [view.camera for view in views[::step]]
    focal = own[0].focal
    return own + [Camera(look_at(a + e, e), focal) for e in ABOVE_BELOW for a in range(0, 360, 60)]


def largest(vertices: Floats, triangles: Ints) -> tuple[Floats, Ints]:
    """The connected part with the most faces."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends)), tuple(ends.T)), (len(vertices),) * 2)
    part = connected_components(graph, directed=False)[1]
    of_face = part[triangles[:, 0]]
    faces = triangles[of_face == np.bincount(of_face).argmax()]
    used = np.unique(faces)
    return vertices[used], np.searchsorted(used, faces).astype(np.int32)


def unwrapped(vertices: Floats, triangles: Ints) -> TexturedMesh:
    """Cut into charts, which fill the unit square; the texture is still empty."""
    import xatlas

    normals = raster.vertex_normals(vertices, triangles)
    source, faces, uv = xatlas.parametrize(vertices.astype(np.float32), triangles.astype(np.uint32))
    return TexturedMesh(
        vertices[source].astype(np.float32),
        normals[source],
        uv.astype(np.float32),
        faces.astype(np.int32),
        np.zeros((1, 1, 3), np.uint8),
    )


def painted(mesh: TexturedMesh, views: Sequence[View], options: MeshFit) -> NDArray[np.uint8]:
    found = texels(mesh.vertices, mesh.normals, mesh.uv, mesh.triangles, options.texture)
    depths = [raster.rasterise(mesh.vertices, mesh.triangles, v.camera, v.size).depth for v in views]
    return bake(found, depths, [Picture(v.rgb, inner(v.alpha, v.known), v.camera, v.weight) for v in views])
