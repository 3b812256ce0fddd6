"""Laws of surfaces: nets around a level, fused depth maps, textures baked from pictures."""

import numpy as np
import trimesh

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.surfaces.surface_cells import find_surface_cells
from portrait360.geometry.surfaces.surface_nets import surface_nets
from portrait360.geometry.surfaces.texture_baking import Picture, bake, find_texels, matte_trust
from portrait360.geometry.surfaces.tsdf_fusion import BAND, fuse
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.pipeline.reconstruction.mesh import largest_component, unwrap
from tests.fixtures.viewer_scene import AXES, mesh

FOCAL = focal_from_fov(18.8)
CAMERAS = orbit(10, focal=FOCAL) + [Camera(look_at(a, e), FOCAL) for a in (0, 120, 240) for e in (-60, 60)]


def ball(cells: int, radius: float, centre: float = 0.0) -> np.ndarray:
    at = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1) - (cells - 1) / 2 - centre
    return np.linalg.norm(at, axis=-1) - radius


def test_a_ball_is_closed_seen_from_outside_and_as_large_as_it_should_be():
    vertices, triangles = surface_nets(ball(32, 10.3, 0.2))
    body = trimesh.Trimesh(vertices, triangles, process=False)
    assert body.is_watertight and body.is_winding_consistent and body.euler_number == 2
    assert abs(body.volume / (4 / 3 * np.pi * 10.3**3) - 1) < 0.02  # negative were it inside out
    assert np.abs(np.linalg.norm(vertices - 15.7, axis=1) - 10.3).max() < 0.15


def test_the_largest_part_is_kept():
    vertices, triangles = surface_nets(np.minimum(ball(40, 6, -8), ball(40, 9, 6)))
    kept, faces = largest_component(vertices, triangles)
    assert len(faces) < len(triangles) and np.abs(kept - 25.5).max() < 9.5
    assert len(trimesh.Trimesh(kept, faces, process=False).split()) == 1


def test_fused_depth_maps_are_the_distance_to_the_body():
    depths = [mesh().draw(camera, 128).buffers.depth for camera in CAMERAS]
    cells = 48
    distance = fuse(depths, CAMERAS, half=0.5, cells=cells)
    centres = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1) + 0.5) / cells - 0.5
    far = np.sqrt(((centres / AXES) ** 2).sum(-1))
    assert (distance[far < 0.9] < 0).all() and (distance[(far > 1.1) & (far < 1.3)] > 0).all()
    assert np.abs(distance).max() <= BAND
    vertices, triangles = surface_nets(distance)
    vertices = (vertices + 0.5) / cells - 0.5
    assert np.abs(np.sqrt(((vertices / AXES) ** 2).sum(-1)) - 1).max() < 0.06
    assert trimesh.Trimesh(vertices, triangles, process=False).is_watertight


def test_cells_near_a_surface_hold_all_of_it_and_nothing_far_from_it():
    maps = [(camera, mesh().draw(camera, 128).buffers.depth) for camera in CAMERAS]
    cells = 64
    found = find_surface_cells(maps, half=0.5, cells=cells)
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * AXES
    assert found[tuple(((points + 0.5) * cells).astype(int).T)].all()
    centres = (np.stack(np.nonzero(found), -1) + 0.5) / cells - 0.5
    relative = np.sqrt(((centres / AXES) ** 2).sum(1))
    assert np.abs(relative - 1).max() * max(AXES) < 4 / cells
    assert find_surface_cells([], half=0.5, cells=8).sum() == 0


def pictures(weights: dict[int, float] | None = None, tint: dict[int, float] | None = None) -> list[Picture]:
    out = []
    for i, camera in enumerate(CAMERAS):
        drawn = mesh().draw(camera, 128)
        rgb = (drawn.rgb + (tint or {}).get(i, 0.0)).clip(0, 1)
        out.append(Picture(rgb, matte_trust(drawn.mask.astype(np.float32)), camera, (weights or {}).get(i, 1.0)))
    return out


def baked(sources: list[Picture]) -> TexturedMesh:
    body = mesh(24, 48)
    depths = [rasterizer.rasterise(body.vertices, body.triangles, p.camera, 128).depth for p in sources]
    found = find_texels(body.vertices, body.normals, body.uv, body.triangles, 256)
    return TexturedMesh(body.vertices, body.normals, body.uv, body.triangles, bake(found, depths, sources))


def test_a_baked_body_looks_like_its_pictures_from_elsewhere():
    body = baked(pictures())
    for camera in (Camera(look_at(18, 10), FOCAL), Camera(look_at(200, -20), FOCAL)):
        goal, got = mesh().draw(camera, 128), body.draw(camera, 128)
        both = (matte_trust(goal.mask.astype(np.float32)) > 0.9) & got.mask
        assert -10 * np.log10(((goal.rgb - got.rgb)[both] ** 2).mean()) > 32


def test_the_photo_wins_where_it_sees():
    camera, tint = CAMERAS[0], {0: 0.15}
    middle = (slice(50, 78), slice(50, 78))
    plain = baked(pictures()).draw(camera, 128).rgb[middle]
    as_others = baked(pictures(tint=tint)).draw(camera, 128).rgb[middle]
    heavy = baked(pictures({0: 100.0}, tint)).draw(camera, 128).rgb[middle]
    goal = pictures(tint=tint)[0].rgb[middle]
    assert np.abs(heavy - goal).mean() < 0.015 < np.abs(as_others - goal).mean() < np.abs(plain - goal).mean()


def test_an_atlas_keeps_the_surface_and_lays_every_face_apart():
    vertices, triangles = surface_nets(ball(20, 6.2))
    out = unwrap(vertices, triangles)
    assert len(out.triangles) == len(triangles)
    np.testing.assert_allclose(
        np.sort(out.vertices[out.triangles].mean(1), 0), np.sort(vertices[triangles].mean(1), 0), atol=1e-5
    )
    assert out.uv.min() >= 0 and out.uv.max() <= 1
    found = find_texels(out.vertices, out.normals, out.uv, out.triangles, 256)
    a, b, c = (out.uv[out.triangles[:, i]].astype(np.float64) * 256 for i in range(3))
    area = np.abs(np.cross(np.c_[b - a, np.zeros(len(a))], np.c_[c - a, np.zeros(len(a))])[:, 2]).sum() / 2
    assert abs(len(found.where) / area - 1) < 0.02  # no texel belongs to two faces
