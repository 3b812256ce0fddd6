"""Laws of cover and depth that every rendering keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.geometry.cameras import Camera, look_at
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import Rendering, render, render_linear
from portrait360.synth.scene import Material, Part, Scene
from portrait360.utils.parallel.threads import LIMIT
from tests.fixtures.scenes import FOCAL, FRONT, WHITE, ball, hair, head, lit, mesh, psnr, quad, strands

seeds = st.integers(0, 2**31)


@given(x=st.floats(-0.9, 0.9))
@settings(max_examples=10, deadline=None)
def test_alpha_is_the_share_of_a_pixel_that_is_covered(x):
    """A wall that ends at pixel x: on the mean over its slanted edge, alpha is where the edge is."""
    size, slant = 64, 0.11
    at = x * 0.3 * FRONT.radius / FOCAL  # world x of the edge at the middle of the image
    points = [[-1, -1, 0], [at - slant, -1, 0], [at + slant, 1, 0], [-1, 1, 0]]
    alpha = render(Scene((mesh(points, [[0, 1, 2], [0, 2, 3]]),), (), WHITE), FRONT, size).alpha
    edge = (0.5 + x * 0.3) * size + (31.5 - np.arange(size)) / size * slant * size
    np.testing.assert_allclose(alpha.sum(1).mean(), edge.mean(), atol=0.05)
    assert abs(alpha.sum(1) - edge).max() < 0.3


def test_half_a_pixel_is_half_covered():
    size = 32  # the middle of an odd column is where the wall ends
    at = 0.5 / size * FRONT.radius / FOCAL
    alpha = render(Scene((quad(right=at),), (), WHITE), FRONT, size).alpha
    assert (alpha[:, 16] == 0.5).all() and (alpha[:, :16] == 1).all() and not alpha[:, 17:].any()


@pytest.mark.parametrize("pixels", [0.1, 0.4, 0.9, 1.7, 4.0])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.785, 1.3])
def test_a_strand_covers_its_area_however_thin(pixels, angle):
    """Below a pixel it fades evenly: no dots, and no more ink than its width."""
    size, length = 64, 0.4
    scale = size * FOCAL / FRONT.radius  # pixels in a unit
    t = np.linspace(-0.5, 0.5, 12)[:, None] * length
    line = t * [[np.cos(angle), np.sin(angle), 0.0]]
    alpha = render(Scene((), (strands(line[None], pixels / scale, (0.3, 0.3, 0.3)),), WHITE), FRONT, size).alpha
    assert abs(alpha.sum() / (pixels * length * scale) - 1) < 0.08
    if angle == 0.0:
        columns = alpha.sum(0)[22:42]
        assert np.ptp(columns) < 0.02 * columns.mean() + 1e-3


def test_thin_hair_far_away_is_as_dense_as_thick_hair_is_wide():
    """Cover of sparse hair grows in proportion to its width."""
    covers = [
        render(Scene((), (hair(width=w, count=60),), WHITE), FRONT, 128).alpha.sum() for w in (2e-4, 4e-4, 8e-4)
    ]
    assert 1.8 < covers[1] / covers[0] < 2.05 and 1.7 < covers[2] / covers[1] < 2.05


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_the_order_of_what_is_drawn_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    glass = [quad(-0.1, 0.1, z, material=Material.GLASS, opacity=0.3, colour=rng.random(3)) for z in (0.25, 0.3)]
    locks, skin = hair(3), ball()
    order = rng.permutation(len(locks.points))
    shuffled = strands(locks.points[order], 0.003, (0.2, 0.1, 0.05), np.asarray(locks.normals)[order])
    turned = replace(skin, triangles=skin.triangles[rng.permutation(len(skin.triangles))])
    one = render(Scene((skin, *glass), (locks,), lit()), FRONT, 64)
    two = render(Scene((*glass[::-1], turned), (shuffled,), lit()), FRONT, 64)
    for name in ("rgb", "alpha", "depth", "normals"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=2e-3, err_msg=name)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.05, 0.9), min_size=1, max_size=4))
def test_layers_share_the_light_and_lose_none(opacities):
    """Clear sheets one behind the other: alpha is one minus the product of what they let through, and a scene
    of one colour keeps that colour, whatever the layers."""
    colour = (0.3, 0.2, 0.1)
    sheets = tuple(quad(z=-0.1 * i, opacity=o, colour=colour) for i, o in enumerate(opacities))
    film = render_linear(prepare_scene(Scene(sheets, (), WHITE), occlusion=False), FRONT, 8)
    np.testing.assert_allclose(film.alpha, 1 - np.prod(1 - np.asarray(opacities)), atol=2e-3)
    plain = render_linear(prepare_scene(Scene((quad(colour=colour),), (), WHITE), occlusion=False), FRONT, 8)
    np.testing.assert_allclose(film.radiance, plain.radiance, atol=1e-4)


def test_a_lens_shows_what_is_behind_it():
    behind, lens = (
        quad(colour=(0.4, 0.1, 0.1)),
        quad(z=0.2, material=Material.GLASS, opacity=0.05, colour=(1, 1, 1)),
    )
    bare, through = (render(Scene(m, (), WHITE), FRONT, 16) for m in ((behind,), (behind, lens)))
    assert 0 < np.abs(bare.rgb - through.rgb).mean() < 0.1
    assert (through.parts == Part.SKIN).all()
    np.testing.assert_allclose(through.depth, bare.depth, atol=1e-6)


def test_a_ball_has_the_depth_normals_and_label_of_a_ball():
    view = render(Scene((ball(rows=150, columns=200),), (), WHITE), FRONT, 128)
    origin, rays = FRONT.rays(128, 128)
    along = rays @ -origin
    miss = np.sqrt(np.maximum(origin @ origin - along**2, 0))
    hit = miss < 0.185
    distance = along - np.sqrt(np.maximum(0.04 - miss**2, 0))
    assert np.abs(view.depth - distance * (rays @ FRONT.cam2world[:3, 2]))[hit].max() < 1e-3
    assert (((origin + rays * distance[..., None]) / 0.2 * view.normals).sum(-1)[hit] > 0.998).all()
    assert (view.parts[hit] == Part.SKIN).all() and (view.alpha[hit] == 1).all()
    outside = miss > 0.205
    for buffer in (view.rgb, view.alpha, view.depth, view.normals, view.parts):
        assert not buffer[outside].any()


@pytest.mark.parametrize("steps, outline", [(0, 0.0), (3, 0.004)])
def test_every_channel_is_whole(steps, outline):
    view = render(head(steps=steps, outline=outline), Camera(look_at(40, 20), FOCAL), 96)
    seen = view.alpha > 0
    assert all(np.isfinite(a).all() for a in (view.rgb, view.alpha, view.depth, view.normals))
    assert view.rgb.min() >= 0 and view.rgb.max() <= 1 and view.alpha.max() <= 1
    assert ((view.depth > 0) == seen).all()
    np.testing.assert_allclose(np.linalg.norm(view.normals[seen], axis=-1), 1, atol=1e-5)
    assert not view.parts[view.alpha < 0.3].any() and view.parts[view.alpha > 0.9].all()
    assert {Part.SKIN, Part.HAIR} <= set(np.unique(view.parts))


def test_the_same_scene_gives_the_same_bytes_by_however_many_threads(monkeypatch):
    def bake_and_render(threads: int) -> Rendering:
        monkeypatch.setenv(LIMIT, str(threads))
        return render(prepare_scene(head()), FRONT, 64)

    one, two = bake_and_render(1), bake_and_render(2)
    for name in ("rgb", "alpha", "depth", "normals", "parts"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def _seen_again(near: Rendering, far: Rendering, a: Camera, b: Camera):
    """Pixels of `near` looked up in `far` through the depth: colours of both, and the error of the depth."""
    size = len(near.alpha)
    v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    solid = near.alpha > 0.999
    uv, z = b.project(a.unproject(np.stack([u, v], -1)[solid], near.depth[solid]))
    x, y = uv[:, 0] * size - 0.5, uv[:, 1] * size - 0.5
    i, j = np.clip(np.floor(y).astype(int), 0, size - 2), np.clip(np.floor(x).astype(int), 0, size - 2)
    fx, fy = (x - j)[:, None], (y - i)[:, None]

    def look(image):
        above = image[i, j] * (1 - fx) + image[i, j + 1] * fx
        return above * (1 - fy) + (image[i + 1, j] * (1 - fx) + image[i + 1, j + 1] * fx) * fy

    around = np.stack([far.depth[i + p, j + q] for p in (0, 1) for q in (0, 1)])
    whole = np.stack([far.alpha[i + p, j + q] for p in (0, 1) for q in (0, 1)]).min(0) > 0.999
    shared = whole & (np.abs(around - z).max(0) < 0.01)
    error = look(far.depth[..., None])[:, 0] - z
    return near.rgb[solid][shared], look(far.rgb)[shared], error[shared]


def test_views_five_degrees_apart_agree_through_their_depth():
    scene = replace(head(), strands=())
    prepared = prepare_scene(scene)
    cameras = [Camera(look_at(a, 5), FOCAL) for a in (20, 25)]
    views = [render(prepared, camera, 256) for camera in cameras]
    first, second, error = _seen_again(*views, *cameras)
    assert len(first) > 5000
    assert psnr(first, second) >= 36
    assert np.median(np.abs(error)) <= 3e-4


def test_an_outline_is_as_wide_as_asked_and_dark():
    width, size = 0.02, 128
    plain, drawn = (render(Scene((ball(),), (), lit(), outline=w), FRONT, size) for w in (0.0, width))
    radius = [np.sqrt(view.alpha.sum() / np.pi) for view in (plain, drawn)]
    assert radius[1] - radius[0] == pytest.approx(width * size, rel=0.15)
    ring = (drawn.alpha > 0.99) & (plain.alpha == 0)
    assert drawn.rgb[ring].mean() < 0.5 * plain.rgb[plain.alpha > 0.99].mean()
