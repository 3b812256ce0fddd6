"""Laws of the rasteriser, and its agreement with the torch oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at
from tests.oracles import raster_torch

seeds = st.integers(0, 2**31)


def sphere(rows: int = 60, columns: int = 90, radius: float = 0.4):
    polar, turn = np.linspace(0, np.pi, rows), np.arange(columns) / columns * 2 * np.pi
    t, p = np.meshgrid(polar, turn, indexing="ij")
    points = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1).reshape(-1, 3) * radius
    i, j = np.arange(rows - 1)[:, None] * columns, np.arange(columns)[None]
    k = (j + 1) % columns
    quads = np.stack([i + j, i + columns + j, i + columns + k, i + k], -1).reshape(-1, 4)
    return points, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)


def soup(seed: int, count: int = 40):
    """Random triangles around the origin, some of them degenerate."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.4, 0.4, (count, 1, 3)) + rng.normal(0, 0.15, (count, 3, 3))
    corners[:3, 1] = corners[:3, 0]
    return corners.reshape(-1, 3), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def psnr(a, b) -> float:
    return float(-10 * np.log10(max(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2), 1e-12)))


CAMERA = Camera(look_at(25, 15), focal=3.0)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_numba_agrees_with_torch(seed):
    points, faces = soup(seed)
    rng = np.random.default_rng(seed)
    uv, texture = rng.random((len(points), 2)), rng.random((16, 24, 3)).astype(np.float32)
    camera = Camera(look_at(rng.uniform(0, 360), rng.uniform(-60, 60)), focal=rng.uniform(2, 6))
    drawing = rasterizer.draw(points, faces, camera, (72, 96), uv=uv, texture=texture)
    places, tris = torch.from_numpy(points), torch.from_numpy(faces)
    oracle = raster_torch.rasterise(places, tris, camera, (72, 96))
    assert (oracle.ids.numpy() == drawing.buffers.ids).mean() >= 0.995
    assert np.abs(oracle.depth.numpy() - drawing.buffers.depth).max() < 1e-5
    colours = raster_torch.texture_colours(oracle, tris, torch.from_numpy(uv).float(), torch.from_numpy(texture))
    assert psnr(colours, drawing.rgb) >= 45
    normals = raster_torch.interpolate(oracle, tris, raster_torch.vertex_normals(places, tris).float())
    normals = torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)
    assert psnr(normals, drawing.normals) >= 45


def test_a_sphere_has_the_depth_and_normals_of_a_sphere():
    points, faces = sphere(120, 180)
    drawing = rasterizer.draw(points, faces, CAMERA, 128, colours=points)
    origin, rays = CAMERA.rays(128, 128)
    along = rays @ -origin  # distance to the point of the ray nearest the centre
    miss = np.sqrt(np.maximum(origin @ origin - along**2, 0))
    hit = miss < 0.39  # well inside the outline, which a mesh of chords cuts short
    distance = along - np.sqrt(np.maximum(0.4**2 - miss**2, 0))
    depth = distance * (rays @ CAMERA.cam2world[:3, 2])
    assert drawing.mask[hit].all() and not drawing.mask[miss > 0.4].any()
    assert np.abs(drawing.buffers.depth - depth)[hit].max() < 1e-3
    normals = (origin + rays * distance[..., None]) / 0.4
    assert ((drawing.normals * normals).sum(-1)[hit] > 0.999).all()
    assert not drawing.buffers.depth[~drawing.mask].any()


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_order_of_triangles_changes_nothing(seed):
    points, faces = soup(seed)
    order = np.random.default_rng(seed).permutation(len(faces))
    one, two = (rasterizer.rasterise(points, f, CAMERA, 64) for f in (faces, faces[order]))
    assert np.array_equal(one.depth, two.depth)
    full = one.ids >= 0
    assert np.array_equal(one.ids[full], order[two.ids[full]])
    assert np.array_equal(one.barycentrics, two.barycentrics)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_an_affine_attribute_is_seen_exactly(seed):
    """What is linear in space must come out as at the place that the depth says the pixel sees."""
    points, faces = soup(seed)
    buffers = rasterizer.rasterise(points, faces, CAMERA, 48)
    v, u = np.meshgrid((np.arange(48) + 0.5) / 48, (np.arange(48) + 0.5) / 48, indexing="ij")
    places = CAMERA.unproject(np.stack([u, v], -1), buffers.depth)
    affine = np.random.default_rng(seed).normal(size=(3, 4))
    seen = rasterizer.interpolate(buffers, faces, points @ affine + 0.3)
    full = buffers.ids >= 0
    np.testing.assert_allclose(seen[full], (places @ affine + 0.3)[full], atol=2e-5)
    np.testing.assert_allclose(buffers.barycentrics.sum(-1)[full], 1, atol=1e-6)
    assert not seen[~full].any()


def test_moving_and_scaling_along_the_optical_axis_changes_only_the_depth():
    points, faces = soup(3)
    local = points - CAMERA.position
    near, far = (rasterizer.rasterise(CAMERA.position + local * s, faces, CAMERA, 64) for s in (1.0, 2.5))
    assert (near.ids == far.ids).mean() > 0.999
    same = (near.ids == far.ids) & (near.ids >= 0)
    np.testing.assert_allclose(near.depth[same] * 2.5, far.depth[same], rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_neighbouring_triangles_leave_no_crack(seed):
    """A wall of random triangles covers every pixel that the wall covers."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))
    inner = (abs(x) < 1) & (abs(y) < 1)
    x, y = (a + inner * rng.uniform(-0.1, 0.1, a.shape) for a in (x, y))
    points = np.stack([x, y, 0.2 * rng.standard_normal(x.shape)], -1).reshape(-1, 3)
    i = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 10], 1), np.stack([i, i + 10, i + 9], 1)])
    assert (rasterizer.rasterise(points, faces, Camera(look_at(5, 5), focal=3.0), 101).ids >= 0).all()


def test_what_crosses_the_camera_is_drawn_and_what_lies_behind_is_not():
    camera = Camera(look_at(0, 0), focal=1.0)  # at z = 2.7, looking to -z
    floor = np.array([[-5, -0.5, 10], [5, -0.5, 10], [0, -0.5, -30.0]])
    ids = rasterizer.rasterise(floor, [[0, 1, 2]], camera, 64).ids
    assert (ids[:31] < 0).all() and (ids[63, 8:56] == 0).all()
    assert (rasterizer.rasterise(floor + [0, 0, 50], [[0, 1, 2]], camera, 64).ids < 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_broken_triangles_leave_nothing_broken(bad):
    points, faces = sphere(20, 30)
    broken = np.concatenate([points, np.full((3, 3), bad)])
    extra = np.concatenate([faces, [[len(points), len(points) + 1, len(points) + 2], [0, 0, 1]]])
    whole = rasterizer.draw(points, faces, CAMERA, 48, colours=points)
    drawing = rasterizer.draw(broken, extra, CAMERA, 48, colours=np.nan_to_num(broken, posinf=0))
    assert np.isfinite(drawing.rgb).all() and np.isfinite(drawing.normals).all()
    assert np.array_equal(drawing.buffers.ids, whole.buffers.ids)


def test_a_texture_is_read_between_its_texels():
    """A ramp of texels looked up by uv is the ramp itself; beyond its borders it stays what it is there."""
    texture = np.tile((np.arange(8, dtype=np.float32)[None, :, None] + 0.5) / 8, (4, 1, 1))
    corners, faces = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]), [[0, 1, 2], [0, 2, 3]]
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0.0]])
    buffers = rasterizer.rasterise(corners, faces, Camera(look_at(0, 0), focal=2.7 / 2), 64)
    seen = rasterizer.texture_colours(buffers, faces, uv, texture)[..., 0]
    ramp = ((np.arange(64) + 0.5) / 64).clip(0.5 / 8, 7.5 / 8)
    np.testing.assert_allclose(seen, np.tile(ramp, (64, 1)), atol=1e-5)


def test_points_are_visible_in_front_and_hidden_behind():
    points, faces = sphere()
    depth = rasterizer.rasterise(points, faces, CAMERA, 256).depth
    towards = points @ CAMERA.position / (0.4 * 2.7)
    seen = rasterizer.visible(points, depth, CAMERA)
    assert seen[towards > 0.25].all() and not seen[towards < 0.0].any()
    assert rasterizer.visible([[0.0, 0.44, 0.0]], depth, CAMERA).all()  # beside the sphere nothing hides it
    assert not rasterizer.visible([[0.0, 9.0, 0.0]], depth, CAMERA).any()  # outside the image


def test_oracle_carries_gradients_to_vertices():
    points, faces = (torch.from_numpy(a) for a in soup(1))
    points.requires_grad_(True)
    buffers = raster_torch.rasterise(points, faces, CAMERA, 32)
    buffers.depth.sum().backward()
    assert points.grad is not None and torch.isfinite(points.grad).all() and points.grad.abs().sum() > 0


@pytest.mark.gpu
def test_the_oracle_is_the_same_on_cuda():
    points, faces = (torch.from_numpy(a) for a in sphere(120, 180))
    here = raster_torch.rasterise(points, faces, CAMERA, 256)
    there = raster_torch.rasterise(points.cuda(), faces.cuda(), CAMERA, 256)
    assert (here.ids == there.ids.cpu()).float().mean() >= 0.999
    assert (here.depth - there.depth.cpu()).abs()[here.ids == there.ids.cpu()].max() < 1e-5
