"""The outer shell grows to a silhouette that is known, and stays where nothing asks for more."""

import numpy as np
import pytest

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.proxy.hair_shell import (
    HairModel,
    carve_to_silhouette,
    fit_thickness,
    load_hair_model,
    outline,
    propagate_offsets,
    resample_map,
    round_crown,
)
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.texture_completion import (
    SKIN,
    SurfaceSamples,
    complete_texture,
    diffuse_colours,
    map_gaussian,
)
from portrait360.utils.image_ops import foreground

FOCAL = focal_from_fov(18.8)
LAYOUT = HeadMap(columns=64, rows=44)
FRONT = Camera(look_at(0), FOCAL)


def silhouette(radius: np.ndarray, camera: Camera, size: int = 256) -> np.ndarray:
    return (rasterizer.rasterise(*LAYOUT.mesh(radius), camera, size).ids >= 0).astype(np.float32)


def egg(width: float) -> np.ndarray:
    """Radii of a head that is wider than it is deep."""
    column = (np.arange(LAYOUT.columns) + 0.5) * 2 * np.pi / LAYOUT.columns
    return np.broadcast_to(0.17 + (width - 0.17) * np.sin(column) ** 2, (LAYOUT.rows, LAYOUT.columns)).copy()


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())


def nowhere() -> np.ndarray:
    return np.zeros((LAYOUT.rows, LAYOUT.columns), bool)


@pytest.mark.parametrize("azimuth", [0, 30])
def test_a_surface_grows_to_the_outline(azimuth):
    camera = Camera(look_at(azimuth), FOCAL)
    goal = silhouette(egg(0.26), camera)
    start = egg(0.18)
    grown = carve_to_silhouette(
        LAYOUT, propagate_offsets(LAYOUT, start, camera, outline(goal), nowhere()), camera, outline(goal)
    )
    before, after = (overlap(silhouette(r, camera)[:200], goal[:200]) for r in (start, grown))
    assert after > 0.96 > before
    assert np.abs(np.diff(grown, axis=1)).max() < 0.05  # smooth: nothing sticks out


def test_a_surface_that_fits_stays():
    radius = egg(0.22)
    same = propagate_offsets(LAYOUT, radius, FRONT, outline(silhouette(radius, FRONT)), nowhere())
    assert np.abs(same - radius).max() < 0.012 and np.median(np.abs(same - radius)) < 0.004


def test_a_bare_face_is_held():
    bare = nowhere()
    bare[:, :8] = bare[:, -8:] = True
    grown = propagate_offsets(LAYOUT, egg(0.18), FRONT, outline(silhouette(egg(0.26), FRONT)), bare)
    change = grown - egg(0.18)
    assert change[20, 16] > 0.05 and np.abs(change[20, 0]) < 0.35 * change[20, 16]


def test_carving_takes_away_what_sticks_out_and_nothing_else():
    narrow = outline(silhouette(egg(0.18), FRONT))
    cut = carve_to_silhouette(LAYOUT, egg(0.26), FRONT, narrow)
    assert (cut <= egg(0.26)).all()
    assert overlap(silhouette(cut, FRONT), silhouette(egg(0.18), FRONT)) > 0.95
    kept = carve_to_silhouette(LAYOUT, egg(0.17), FRONT, narrow)
    np.testing.assert_allclose(kept, egg(0.17), atol=0.01)


def test_a_crown_loses_its_tip_and_a_ball_stays():
    ball = np.full((44, 64), 0.2)
    np.testing.assert_allclose(round_crown(LAYOUT, ball), ball)
    tip = ball.copy()
    tip[0] += 0.03
    assert (round_crown(LAYOUT, tip)[0] < 0.22).all() and np.array_equal(round_crown(LAYOUT, tip)[12:], ball[12:])


def model(count: int = 6) -> HairModel:
    """A few smooth modes over a thin mean."""
    rng = np.random.default_rng(0)
    modes = np.stack([map_gaussian(rng.normal(size=(44, 64)), 5, 5) for _ in range(count)])
    modes *= 0.02 / modes.std(axis=(1, 2), keepdims=True)
    third = np.full((3, 44, 64), 1 / 3)
    return HairModel(LAYOUT, np.full((44, 64), 0.05), modes, third, np.zeros_like(third), np.ones_like(third))


def test_modes_that_made_an_outline_are_found_again_where_it_shows_them():
    hair = model()
    truth = hair.thickness(np.array([1.0, -1.0, 0.5, 0, 0, 0]))
    skin = egg(0.16)
    goal = outline(silhouette(skin + truth, FRONT))
    found = fit_thickness(hair, skin, FRONT, goal, nowhere())
    mean = overlap(silhouette(skin + hair.mean, FRONT), silhouette(skin + truth, FRONT))
    assert overlap(silhouette(skin + found, FRONT), silhouette(skin + truth, FRONT)) > max(0.975, mean)


def test_the_shipped_hair_is_hair_above_and_skin_in_front():
    hair = load_hair_model()
    assert hair.share.sum(0) == pytest.approx(1, abs=2e-3) and (hair.thickness(np.zeros(len(hair.modes))) >= 0).all()
    rows, columns = hair.mean.shape
    assert hair.share[1][4].min() > 0.6 and hair.share[0][rows // 2 + 4, :3].min() > 0.8  # crown, nose
    assert hair.share[1][rows // 2, columns // 2] > 0.6  # the back of the head
    thick = hair.class_probs(hair.class_thickness[1])
    assert thick.sum(0) == pytest.approx(1)


def test_hair_on_a_head_that_is_drawn_smaller_is_the_same_hair_smaller():
    hair, weights = load_hair_model(), np.random.default_rng(0).normal(size=64)
    small = hair.scale_down(1.4)
    thick = hair.thickness(weights)
    np.testing.assert_allclose(small.thickness(weights), thick / 1.4, atol=1e-12)
    np.testing.assert_allclose(small.class_probs(thick / 1.4), hair.class_probs(thick), atol=1e-12)
    goal = outline(silhouette(egg(0.26) / 1.4, FRONT))  # what is fitted to a smaller outline is smaller, too
    middle, small_model = slice(20, 30), model().scale_down(1.4)
    found = [
        fit_thickness(one, egg(0.16) / size, FRONT, aim, nowhere())[middle].mean()
        for one, size, aim in ((model(), 1, outline(silhouette(egg(0.26), FRONT))), (small_model, 1.4, goal))
    ]
    assert found[1] == pytest.approx(found[0] / 1.4, rel=0.15)


def test_a_surface_that_leaves_the_picture_ends_where_the_matte_ends():
    wide = egg(0.5)  # to both sides of a picture that shows .89 in all
    cut = carve_to_silhouette(LAYOUT, wide, FRONT, outline(silhouette(egg(0.3), FRONT)))
    x, y, _ = np.moveaxis(LAYOUT.points(cut), -1, 0)
    assert x[y > -0.4].max() < 0.4 and wide.max() > 0.49


def test_a_map_brought_to_another_layout_and_back():
    smooth = map_gaussian(np.random.default_rng(1).normal(size=(44, 64)), 4, 4)
    fine = HeadMap(columns=128, rows=88)
    again = resample_map(resample_map(smooth, LAYOUT, fine), fine, LAYOUT)
    assert np.abs(again - smooth)[2:-2].max() < 0.12 * np.ptp(smooth)


def test_the_foreground_keeps_the_subject_and_covers_the_background():
    rgb = np.zeros((64, 64, 3), np.float32)
    rgb[..., 2] = 1  # a blue wall
    alpha = np.zeros((64, 64), np.float32)
    alpha[20:44, 20:44] = 1
    rgb[20:44, 20:44] = [0.8, 0.4, 0.2]
    clean = foreground(rgb, alpha)
    np.testing.assert_allclose(clean[22:42, 22:42], rgb[22:42, 22:42], atol=1e-5)
    np.testing.assert_allclose(clean[5, 5], [0.8, 0.4, 0.2], atol=0.02)


def seen_in_front(rgb: np.ndarray) -> SurfaceSamples:
    """A photo that shows a quarter turn to both sides."""
    trust = np.zeros((44, 64))
    trust[:, :14] = trust[:, -14:] = 1
    return SurfaceSamples(rgb, trust, trust)


def test_a_head_of_one_colour_is_completed_in_it():
    rgb = np.broadcast_to([0.6, 0.4, 0.3], (44, 64, 3)).astype(np.float32)
    belief = np.zeros((3, 44, 64))
    belief[SKIN] = 1
    full = complete_texture(LAYOUT, seen_in_front(rgb), belief, 0.0)
    np.testing.assert_allclose(full[:, :12], rgb[:, :12], atol=0.02)
    assert np.abs(full - rgb * 0.88).max() < 0.09  # behind it is a little darker


def test_colours_are_carried_from_the_nearest():
    rgb = np.zeros((44, 64, 3), np.float32)
    rgb[:22], rgb[22:] = [1, 0, 0], [0, 1, 0]
    out = diffuse_colours(seen_in_front(rgb), np.ones((44, 64)))
    assert out[5, 32, 0] > 0.8 and out[38, 32, 1] > 0.8
