"""Make a textured mesh of a fitted field: fuse its depth maps to a surface, unwrap it, and bake all views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.surfaces.surface_nets import surface_nets
from portrait360.geometry.surfaces.texture_baking import Picture, bake, find_texels, matte_trust
from portrait360.geometry.surfaces.tsdf_fusion import fuse
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.geometry.volumes.radiance_field import RadianceField
from portrait360.geometry.volumes.volume import HALF
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import I32, Floats

LEVELS = (0.0, 0.3, 0.6, 0.9)  # candidate distances of the surface, in cells outwards
LEVEL_VIEWS = 8  # views that the level is chosen by
EXTRA_ELEVATIONS = (-25.0, 25.0, 55.0)  # of depth cameras beside those of the views


@dataclass(frozen=True)
class MeshFit:
    cells: int = 120  # cells of the grid along a side: about 50,000 faces
    depth_size: int = 192
    looks: int = 16  # depth maps from the views' own cameras
    smooth: float = 0.8  # standard deviation in cells
    texture: int = 2048  # pixels along a side
    faces: int = 60_000  # at most


def fit_mesh(
    field: RadianceField,
    views: Sequence[View],
    options: MeshFit = MeshFit(),  # noqa: B008 (frozen)
    *,
    on_step: Callable[[str], None] | None = None,
) -> TexturedMesh:
    """Extract, unwrap and bake a mesh; `on_step` is called with the name of each finished step."""
    notify = on_step or (lambda _: None)
    vertices, triangles = extract_surface(field, views, options)
    notify("surface")
    mesh = unwrap(vertices, triangles)
    notify("atlas")
    texture = bake_texture(mesh, views, options)
    notify("texture")
    return TexturedMesh(mesh.vertices, mesh.normals, mesh.uv, mesh.triangles, texture)


def extract_surface(field: RadianceField, views: Sequence[View], options: MeshFit) -> tuple[Floats, I32]:
    """Extract the largest connected surface of the field, with no more faces than allowed."""
    cameras = depth_cameras(views, options)
    depths = [field.render_image(camera, options.depth_size)[2] for camera in cameras]
    cells = options.cells
    while True:
        vertices, triangles = _choose_level(fuse(depths, cameras, half=HALF, cells=cells), views, options)
        if len(triangles) <= options.faces:
            return vertices, triangles
        cells = int(cells * 0.98 * np.sqrt(options.faces / len(triangles)))


def _choose_level(distances: Floats, views: Sequence[View], options: MeshFit) -> tuple[Floats, I32]:
    """Return the surface at the level that fits the mattes best: fused depth maps shrink a little at silhouettes."""
    smooth, cells = gaussian_filter(distances, options.smooth), len(distances)
    level_views = views[:: max(len(views) // LEVEL_VIEWS, 1)]
    best_iou, best_surface = -1.0, None
    for level in LEVELS:
        vertices, triangles = largest_component(*surface_nets(smooth - level))
        vertices = (vertices + 0.5) * (2 * HALF / cells) - HALF
        iou = float(np.mean([_matte_iou(vertices, triangles, view) for view in level_views]))
        if best_surface is None or iou > best_iou:
            best_iou, best_surface = iou, (vertices, triangles)
    assert best_surface is not None
    return best_surface


def _matte_iou(vertices: Floats, triangles: I32, view: View) -> float:
    """Return the intersection over union of the mesh with a view's matte."""
    mask = rasterizer.rasterise(vertices, triangles, view.camera, view.size).ids >= 0
    inside = view.alpha > 0.5
    if view.known_mask is not None:
        mask, inside = mask & (view.known_mask > 0.5), inside & (view.known_mask > 0.5)
    return float((mask & inside).sum() / max((mask | inside).sum(), 1))


def depth_cameras(views: Sequence[View], options: MeshFit) -> list[Camera]:
    """Return some of the views' cameras, and some from above and below, where holes would stay open otherwise."""
    step = max(len(views) // options.looks, 1)
    cameras = [view.camera for view in views[::step]]
    focal = cameras[0].focal
    return cameras + [Camera(look_at(a + e, e), focal) for e in EXTRA_ELEVATIONS for a in range(0, 360, 60)]


def largest_component(vertices: Floats, triangles: I32) -> tuple[Floats, I32]:
    """Return the connected component with the most faces."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends)), tuple(ends.T)), (len(vertices),) * 2)
    component = connected_components(graph, directed=False)[1]
    face_component = component[triangles[:, 0]]
    faces = triangles[face_component == np.bincount(face_component).argmax()]
    used = np.unique(faces)
    return vertices[used], np.searchsorted(used, faces).astype(np.int32)


def unwrap(vertices: Floats, triangles: I32) -> TexturedMesh:
    """Cut a mesh into charts that fill the unit square; its texture is still empty."""
    import xatlas

    normals = rasterizer.vertex_normals(vertices, triangles)
    source, faces, uv = xatlas.parametrize(vertices.astype(np.float32), triangles.astype(np.uint32))
    return TexturedMesh(
        vertices[source].astype(np.float32),
        normals[source],
        uv.astype(np.float32),
        faces.astype(np.int32),
        np.zeros((1, 1, 3), np.uint8),
    )


def bake_texture(mesh: TexturedMesh, views: Sequence[View], options: MeshFit) -> NDArray[np.uint8]:
    surface = find_texels(mesh.vertices, mesh.normals, mesh.uv, mesh.triangles, options.texture)
    depths = [rasterizer.rasterise(mesh.vertices, mesh.triangles, v.camera, v.size).depth for v in views]
    return bake(
        surface, depths, [Picture(v.rgb, matte_trust(v.alpha, v.known_mask), v.camera, v.weight) for v in views]
    )
