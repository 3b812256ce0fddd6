"""Laws of light, cover and depth that every rendering keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.cameras import Camera, focal_from_fov, look_at
from portrait360.synth import backgrounds, lights, tone
from portrait360.synth.prepare import prepare
from portrait360.synth.render import Rendering, expose, render
from portrait360.synth.scene import Light, Material, Mesh, Part, Scene, Strands

seeds = st.integers(0, 2**31)
FOCAL = focal_from_fov(18.8)
FRONT = Camera(look_at(0, 0), FOCAL)
NO_KEYS = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
WHITE = Light(lights.constant([1, 1, 1]), *NO_KEYS)


def mesh(points, faces, colour=(0.5, 0.5, 0.5), material=Material.CLOTH, part=Part.SKIN, opacity=1.0) -> Mesh:
    points = np.asarray(points, np.float32)
    faces = np.asarray(faces, np.int32)
    albedo = np.broadcast_to(np.asarray(colour, np.float32), points.shape).copy()
    labels = np.full(len(faces), material, np.uint8), np.full(len(faces), part, np.uint8)
    return Mesh(points, faces, albedo, *labels, np.full(len(points), opacity, np.float32), points)


def quad(left=-1.0, right=1.0, z=0.0, **more) -> Mesh:
    """A wall that faces the front camera."""
    points = [[left, -1, z], [right, -1, z], [right, 1, z], [left, 1, z]]
    return mesh(points, [[0, 1, 2], [0, 2, 3]], **more)


def ball(radius=0.2, rows=60, columns=80, **more) -> Mesh:
    polar, turn = np.linspace(0, np.pi, rows), np.arange(columns) / columns * 2 * np.pi
    t, p = np.meshgrid(polar, turn, indexing="ij")
    points = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1).reshape(-1, 3)
    i, j = np.arange(rows - 1)[:, None] * columns, np.arange(columns)[None]
    k = (j + 1) % columns
    quads = np.stack([i + j, i + columns + j, i + columns + k, i + k], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    colour = 0.45 + 0.25 * np.sin(points * 9)  # so that there is something to be reprojected
    made = mesh(points * radius, faces, **({"colour": colour} | more))
    return replace(made, normals=points.astype(np.float32))


def hair(seed=0, count=300, width=0.003, radius=0.2, colour=(0.2, 0.1, 0.05)) -> Strands:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, 3))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    along = np.linspace(0, 1, 8)[None, :, None]
    bend = rng.normal(0, 0.03, (count, 1, 3))
    points = root[:, None] * (radius + 0.06 * along) + bend * along**2
    return strands(points, width, colour, root)


def strands(points, width, colour, normals=None) -> Strands:
    points = np.asarray(points, np.float32)
    widths = np.full(points.shape[:2], width, np.float32)
    albedo = np.broadcast_to(np.asarray(colour, np.float32), points.shape).copy()
    labels = (np.full(len(points), kind, np.uint8) for kind in (Part.HAIR, Material.HAIR))
    return Strands(points, widths, albedo, *labels, None if normals is None else normals.astype(np.float32))


def lit() -> Light:
    return lights.light_of(lights.MOODS["softbox"], np.random.default_rng(4))


def head(**more) -> Scene:
    return Scene((ball(material=Material.SKIN),), (hair(),), lit(), **more)


def psnr(a, b) -> float:
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-12)))


MATT = [
    Material.SKIN,
    Material.EYE,
    Material.CLOTH,
    Material.PLASTIC,
    Material.STONE,
    Material.FUR,
    Material.METAL,
]


@pytest.mark.parametrize("material", MATT)
def test_white_furnace(material):
    """Albedo 1 in light 1 from everywhere: whatever is mirrored or scattered, 1 comes back."""
    scene = Scene((quad(colour=(1, 1, 1), material=material),), (), WHITE)
    prepared = prepare(scene, occlusion=False)
    prepared = replace(prepared, rig=prepared.rig._replace(glint=np.zeros(3, np.float32)))
    for azimuth in (0, 50):
        film = expose(prepared, Camera(look_at(azimuth, 10), FOCAL), 16)
        np.testing.assert_allclose(film.radiance[film.alpha > 0.99], 1.0, atol=1e-4)


def test_nothing_hides_the_sky_from_a_wall():
    film = expose(prepare(Scene((quad(colour=(1, 1, 1)),), (), WHITE)), FRONT, 16)
    np.testing.assert_allclose(film.radiance, 1.0, atol=2e-3)


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
    film = expose(prepare(Scene(sheets, (), WHITE), occlusion=False), FRONT, 8)
    np.testing.assert_allclose(film.alpha, 1 - np.prod(1 - np.asarray(opacities)), atol=2e-3)
    plain = expose(prepare(Scene((quad(colour=colour),), (), WHITE), occlusion=False), FRONT, 8)
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


def test_the_same_scene_gives_the_same_bytes():
    one, two = (render(prepare(head()), FRONT, 64) for _ in range(2))
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
    prepared = prepare(scene)
    cameras = [Camera(look_at(a, 5), FOCAL) for a in (20, 25)]
    views = [render(prepared, camera, 256) for camera in cameras]
    first, second, error = _seen_again(*views, *cameras)
    assert len(first) > 5000
    assert psnr(first, second) >= 36
    assert np.median(np.abs(error)) <= 3e-4


def test_a_key_throws_a_shadow_and_a_soft_one_a_soft_edge():
    """A ball before a wall, lit from the front: dark behind it, with a wide edge from a wide source."""

    def edge(softness: float) -> float:
        key = (
            np.array([[0.0, 0.0, 1.0]], np.float32),
            np.ones((1, 3), np.float32),
            np.array([softness], np.float32),
        )
        light = Light(lights.constant([0.1, 0.1, 0.1]), *key)
        meshes = (ball(0.1, material=Material.CLOTH), quad(-0.4, 0.4, z=-0.25))
        view = expose(prepare(Scene(meshes, (), light)), Camera(look_at(60, 0, target=(0, 0, -0.25)), FOCAL), 128)
        row = view.radiance[64, :, 0] * (view.normals[64, :, 2] > 0.99) * (view.depth[64] > 0)
        wall = row[row > 0]
        assert wall.min() < 0.25 * wall.max()
        return float(((wall > 0.35 * wall.max()) & (wall < 0.8 * wall.max())).sum())

    assert edge(0.12) > edge(0.005)


def test_red_light_reaches_further_into_the_shade_of_skin():
    key = (np.array([[1.0, 0.0, 0.0]], np.float32), np.ones((1, 3), np.float32), np.array([0.05], np.float32))
    scene = Scene((ball(material=Material.SKIN, colour=(0.5, 0.5, 0.5)),), (), Light(lights.constant([0] * 3), *key))
    film = expose(prepare(scene), FRONT, 128)
    shade = (film.normals[..., 0] < -0.05) & (film.normals[..., 0] > -0.3) & (film.alpha == 1)
    red, blue = film.radiance[shade][:, 0].mean(), film.radiance[shade][:, 2].mean()
    assert red > 3 * blue and red > 0.01


def test_cel_shading_has_few_levels():
    light = Light(lights.constant([0.2] * 3), *lit_from_the_side())
    smooth, cel = (
        expose(prepare(Scene((ball(colour=(0.5, 0.5, 0.5)),), (), light, steps=n)), FRONT, 128) for n in (0, 2)
    )

    def levels(film):
        values = film.radiance[..., 1][film.alpha == 1]
        return np.sort(np.histogram(values, 40)[0])[-3:].sum() / len(values)

    assert levels(cel) > 0.6 > levels(smooth)


def lit_from_the_side():
    return np.array([[0.8, 0.0, 0.6]], np.float32), np.ones((1, 3), np.float32), np.array([0.02], np.float32)


def test_an_outline_is_as_wide_as_asked_and_dark():
    width, size = 0.02, 128
    plain, drawn = (render(Scene((ball(),), (), lit(), outline=w), FRONT, size) for w in (0.0, width))
    radius = [np.sqrt(view.alpha.sum() / np.pi) for view in (plain, drawn)]
    assert radius[1] - radius[0] == pytest.approx(width * size, rel=0.15)
    ring = (drawn.alpha > 0.99) & (plain.alpha == 0)
    assert drawn.rgb[ring].mean() < 0.5 * plain.rgb[plain.alpha > 0.99].mean()


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_lights_are_neither_dark_nor_glaring(seed):
    light = lights.sample_light(np.random.default_rng(seed))
    assert 0.5 < lights.sphere_luminance(light) < 0.9
    directions = lights.sphere_directions(128)
    ambient = lights.matt(light.ambient, directions)
    facing = np.clip(directions @ light.key_directions.T, 0, None)
    white = (ambient + facing @ light.key_colours) @ lights.LUMINANCE
    assert ambient.min() > 0 and white.max() < 3.0 and white.min() > 0.05
    np.testing.assert_allclose(white.mean(), lights.sphere_luminance(light), rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(light.key_directions, axis=1), 1, atol=1e-5)
    assert 1 <= len(light.key_directions) <= 3


def test_an_environment_comes_back_from_its_coefficients():
    directions = lights.sphere_directions(2000)
    values = 0.5 + 0.3 * directions[:, 1:2] * np.ones(3) + 0.1 * directions[:, :1] * directions[:, 1:2]
    np.testing.assert_allclose(lights.radiance(lights.project(values, directions), directions), values, atol=0.01)
    clamped = (
        np.clip(directions @ directions[:1].T, 0, None) * 4
    )  # matt: mean of the radiance, weighted by the cosine
    expected = (clamped * values).mean(0)
    np.testing.assert_allclose(
        lights.matt(lights.project(values, directions), directions[:1])[0], expected, atol=0.01
    )


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([32, 65]))
def test_backgrounds_are_pictures_and_repeat(seed, size):
    one, two = (backgrounds.background(np.random.default_rng(seed), size) for _ in range(2))
    assert one.shape == (size, size, 3) and one.dtype == np.float32
    assert one.min() >= 0 and one.max() <= 1 and one.tobytes() == two.tobytes()


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_blending_is_linear_in_light(front, back, alpha):
    blended = tone.over(np.full((1, 1, 3), front), np.full((1, 1), alpha), np.full((1, 1, 3), back))
    light = tone.srgb_to_linear(front) * alpha + tone.srgb_to_linear(back) * (1 - alpha)
    np.testing.assert_allclose(tone.srgb_to_linear(blended), light, atol=1e-5)


@given(st.floats(0, 8), st.floats(0, 8))
def test_the_tone_curve_keeps_the_order_of_light_and_leaves_the_dark_alone(a, b):
    low, high = sorted((a, b))
    assert 0 <= tone.shoulder.py_func(low) <= tone.shoulder.py_func(high) + 1e-12 <= 1 + 1e-9
    if high <= tone.KNEE:
        assert tone.shoulder.py_func(high) == high
