"""Splats straight from a scene: where they lie, which of them views show, and that they look like it."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.geometry.gaussians.flat_gaussians import draw, find_covariances, flatten
from portrait360.geometry.gaussians.projection import project
from portrait360.geometry.gaussians.rasterizer import rasterize, render_image
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.avatar.view.render import LAYER_OF_LABEL
from portrait360.pipeline.export.avatar_splats.blending import gather, gather_slopes
from portrait360.pipeline.export.avatar_splats.build import _choose
from portrait360.pipeline.export.avatar_splats.choice import (
    AvatarView,
    drop_most_hidden,
    find_near_surface,
    find_useful,
    measure_shares,
    paint,
)
from portrait360.pipeline.export.avatar_splats.correction import correct
from portrait360.pipeline.export.avatar_splats.layers import (
    PIECE,
    SAGITTA,
    coarsen,
    draw_strands,
    draw_surfaces,
    find_spacing,
)
from portrait360.pipeline.export.avatar_splats.lining import LINED, paint_lining, select_lining
from portrait360.pipeline.export.avatar_splats.photo_sheet import Sheet, find_covered, find_left_out, find_stained
from portrait360.pipeline.export.avatar_splats.refinement import refine
from portrait360.pipeline.export.avatar_splats.shapes import draw_discs, find_normals, join_splats
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.scene import Part, Scene
from portrait360.utils.images import over_grey
from portrait360.utils.parallel.threads import LIMIT
from portrait360.utils.portrait_labels import Label
from tests.fixtures.scenes import FOCAL, WHITE, ball, hair
from tests.fixtures.splats import matrices, some_splats

SIDE = 192
PIXEL = RADIUS / (FOCAL * SIDE)
AROUND = [(azimuth, 0) for azimuth in range(0, 360, 45)] + [(0, 60), (90, -50)]


@pytest.fixture(scope="module")
def scene() -> PreparedScene:
    return prepare_scene(Scene((ball(part=Part.CLOTHES),), (hair(count=500, colour=(0.5, 0.3, 0.1)),), WHITE))


def shoot(scene: PreparedScene, azimuth: float, elevation: float = 0) -> AvatarView:
    camera = Camera(look_at(azimuth, elevation), FOCAL)
    drawn = render(scene, camera, SIDE)
    return AvatarView(camera, ProxyView(drawn.rgb, drawn.alpha, drawn.alpha, drawn.depth, drawn.normals))


@pytest.fixture(scope="module")
def views(scene) -> list[AvatarView]:
    return [shoot(scene, *place) for place in AROUND]


@pytest.fixture(scope="module")
def drawn(scene) -> GaussianSplats:
    surfaces = draw_surfaces(scene, PIXEL, np.random.default_rng(0))[0]
    return join_splats([draw_strands(scene, PIXEL)[0], surfaces])


def likeness(splats: GaussianSplats, shot: AvatarView) -> float:
    """In decibels, over grey."""
    rgb, alpha, _ = render_image(splats, shot.camera, SIDE)
    error = over_grey(rgb, alpha) - over_grey(shot.view.rgb, shot.view.mask)
    return float(-10 * np.log10(np.square(error).mean()))


def test_pieces_of_strands_lie_along_them(scene):
    splats, labels = draw_strands(scene, PIXEL)
    points, first = scene.curves.points, scene.curves.segments
    middles = np.concatenate([points[first] * (1 - t) + points[first + 1] * t for t in np.linspace(0, 1, 41)])
    distance, nearest = KDTree(middles).query(splats.means)
    assert distance.max() < SAGITTA * PIXEL and len(labels) == len(splats)
    along = points[first + 1] - points[first]
    along = (along / np.linalg.norm(along, axis=1, keepdims=True))[nearest % len(first)]
    axes = matrices(splats)[np.arange(len(splats)), :, splats.scales.argmax(1)]
    assert np.quantile(np.abs((axes * along).sum(1)), 0.01) > 0.96
    assert splats.scales.max() < PIECE * PIXEL and KDTree(splats.means).query(middles)[0].max() < PIECE * PIXEL


def test_a_scene_without_strands_has_none():
    bald = prepare_scene(Scene((ball(part=Part.CLOTHES),), (), WHITE))
    splats, labels = draw_strands(bald, PIXEL)
    assert len(splats) == len(labels) == 0


def test_discs_cover_a_surface_without_a_hole_and_lie_flat_in_it(scene):
    splats, labels = draw_surfaces(scene, PIXEL, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(splats.means, axis=1), 0.2, atol=1e-3)
    thin = matrices(splats)[np.arange(len(splats)), :, splats.scales.argmin(1)]
    assert np.abs((thin * splats.means / 0.2).sum(1)).min() > 0.98
    spacing = find_spacing(labels[:1], PIXEL)[0]
    everywhere = np.random.default_rng(1).normal(size=(4000, 3))
    everywhere *= 0.2 / np.linalg.norm(everywhere, axis=1, keepdims=True)
    gaps = KDTree(splats.means).query(everywhere)[0]
    assert np.quantile(gaps, 0.999) < 1.2 * spacing
    again = draw_surfaces(scene, PIXEL, np.random.default_rng(0))[0]
    assert np.array_equal(again.means, splats.means)


def test_fewer_discs_become_larger_and_still_cover(scene):
    splats, labels = draw_surfaces(scene, PIXEL, np.random.default_rng(0))
    rows, factors = coarsen(splats, splats.colours, np.arange(len(splats)), len(splats) // 2)
    assert len(rows) < 0.6 * len(splats) and len(np.unique(rows)) == len(rows) and 1.3 < np.median(factors) < 2
    spacing = factors.max() * find_spacing(labels[:1], PIXEL)[0]
    assert KDTree(splats.means[rows]).query(splats.means)[0].max() < 1.5 * spacing


def test_discs_stay_small_where_a_surface_bends_and_where_it_is_printed():
    x, y = (values.ravel() for values in np.mgrid[-30:30, -30:30] * 2.0 * PIXEL + 0.3 * PIXEL)
    roof = np.stack([x, y, -np.abs(x)], 1)
    normals = np.stack([np.sign(x), np.zeros(len(x)), np.ones(len(x))], 1)
    splats = draw_discs(roof, normals, np.full(len(x), 2.0 * PIXEL), np.ones(len(x)))
    assert np.allclose(find_normals(splats.rotations), normals / np.sqrt(2), atol=1e-3)
    colours = np.where((y > 20 * PIXEL) & (y < 24 * PIXEL), 0.2, 0.6)[:, None] * np.ones(3)
    rows, factors = coarsen(splats, colours, np.arange(len(x)), 4 * len(x) // 5)
    at_ridge, at_print = np.abs(x) < 2 * PIXEL, np.isclose(y, (y[y > 20 * PIXEL]).min())
    small = rows[factors == 1]
    assert np.isin(np.flatnonzero(at_ridge | at_print), small).all()
    assert len(small) < 0.5 * len(x) and (factors > 1.2).any() and len(rows) < 0.6 * len(x)


def test_weights_are_the_gradients_of_the_picture_by_the_colours():
    """The rasteriser and its gradients are the oracle: a colour counts in the picture by its weights."""
    splats, camera = some_splats(300), Camera(look_at(30, 10), FOCAL)
    picture = np.random.default_rng(3).random((64, 64, 2)).astype(np.float32)
    colours = torch.from_numpy(splats.colours.copy()).requires_grad_()
    means, scales = torch.from_numpy(splats.means), torch.from_numpy(splats.scales)
    rotations, opacities = torch.from_numpy(splats.rotations), torch.from_numpy(splats.opacities)
    image = rasterize(project(means, scales, rotations, opacities, colours, camera, 64), 64)
    sums = gather(flatten(splats, find_covariances(splats), camera, 64), picture)
    for channel, factor in enumerate((torch.ones(64, 64), *torch.from_numpy(picture).unbind(-1))):
        (gradient,) = torch.autograd.grad((image[..., 0] * factor).sum(), colours, retain_graph=True)
        assert np.allclose(sums[:, channel], gradient[:, 0], rtol=1e-3, atol=1e-4)


def test_slopes_are_the_gradients_of_the_picture_by_opacities_and_sizes():
    """The rasteriser and its gradients are the oracle."""
    splats, camera = some_splats(300), Camera(look_at(30, 10), FOCAL)
    error = np.random.default_rng(3).normal(size=(64, 64, 3)).astype(np.float32)
    means, scales = torch.from_numpy(splats.means), torch.from_numpy(splats.scales)
    rotations, colours = torch.from_numpy(splats.rotations), torch.from_numpy(splats.colours)
    opacities = torch.from_numpy(splats.opacities.copy()).requires_grad_()
    shapes = project(means, scales, rotations, opacities, colours, camera, 64)
    conics = shapes.conics.detach().requires_grad_()
    image = rasterize(replace(shapes, conics=conics), 64)
    seen = image[..., :3] + 0.5 * (1 - image[..., 3:4])
    by_opacity, by_conic = torch.autograd.grad((seen * torch.from_numpy(error)).sum(), (opacities, conics))
    flat = flatten(splats, find_covariances(splats), camera, 64)
    sums = gather_slopes(flat, splats.colours, seen.detach().numpy(), error)
    assert np.allclose(sums[:, :4], gather(flat, error), rtol=1e-3, atol=1e-4)
    assert np.allclose(sums[:, 4], (by_opacity * opacities).detach(), rtol=1e-2, atol=2e-3)
    assert np.allclose(sums[:, 6], -2 * (by_conic * conics).sum(1).detach(), rtol=1e-2, atol=1e-2)
    lone = splats[np.arange(1)]
    flat = flatten(lone, find_covariances(lone), camera, 64)
    rgb, alpha = draw(flat, lone.colours)
    sums = gather_slopes(flat, lone.colours, over_grey(rgb, alpha), error)
    assert np.isclose(sums[0, 5], np.square(alpha).sum() * np.square(lone.colours - 0.5).sum(), rtol=1e-2)


def test_strands_too_strong_for_their_width_fade_and_holes_between_others_close(drawn, views):
    """Only where Gaussians are free to, and seen from a side that no view has shown."""
    shares, trust = measure_shares(drawn, views, np.ones(len(drawn))), np.ones(len(drawn))
    painted = paint(drawn, shares.colours)
    for factor in (0.6, 1.5):
        wrong = replace(painted, opacities=np.clip(painted.opacities * factor, 0, 0.98).astype(np.float32))
        wrong = replace(wrong, scales=(painted.scales * factor).astype(np.float32))
        still = np.zeros(len(drawn), bool)
        fixed, fitted = (
            correct(correct(wrong, views, trust, first), views, trust, still) for first in (still, ~still)
        )
        gain = [likeness(fitted, shot) - likeness(fixed, shot) for shot in views]
        assert np.mean(gain) > 0.3, gain


def test_what_no_view_shows_is_left_out(drawn, views):
    inner = drawn[np.arange(0, len(drawn), 7)]
    inner = GaussianSplats(inner.means * 0.5, inner.scales, inner.rotations, inner.opacities, inner.colours)
    both = join_splats([drawn, inner])
    near = find_near_surface(both.means, views)
    assert not near[len(drawn) :].any() and near[: len(drawn)].mean() > 0.9
    shares = measure_shares(both, views, np.ones(len(both)))
    assert np.median(shares.most[len(drawn) :]) < 0.05 * np.median(shares.most[: len(drawn)])
    useful = find_useful(shares, np.full(len(both), 0.5))
    fewer = drop_most_hidden(both, shares, useful, len(useful) // 2)
    assert len(fewer) == len(useful) // 2 and np.isin(fewer, useful).all() and (np.diff(fewer) > 0).all()
    assert (fewer < len(drawn)).all()


def test_what_sticks_out_of_the_subject_is_left_out(drawn, views):
    beside = drawn[np.arange(50)]
    beside = GaussianSplats(beside.means + 0.3, beside.scales, beside.rotations, beside.opacities, beside.colours)
    both = join_splats([drawn, beside])
    useful = find_useful(measure_shares(both, views, np.ones(len(both))), np.full(len(both), 0.5))
    assert not (useful >= len(drawn)).any() and (useful < len(drawn)).any()


def test_gaussians_at_the_outline_move_within_it_and_others_stay(scene, drawn, views):
    """A smooth ball: no view shows a halo around it, also none that they have not seen."""
    shifts = measure_shares(drawn, views, np.ones(len(drawn))).shifts
    inner, length = drawn.means - drawn.means.mean(0), np.linalg.norm(shifts, axis=1)
    moved = length > 0.2 * PIXEL
    assert 0.02 < moved.mean() < 0.9 and length.max() < 2 * PIXEL
    assert np.mean((shifts * inner).sum(1)[moved] < 0) > 0.95
    within = replace(drawn, means=(drawn.means + shifts).astype(np.float32))
    for shot in (shoot(scene, 20, 8), *views):
        alphas = [render_image(splats, shot.camera, SIDE)[1] for splats in (drawn, within)]
        before, after = (np.abs(alpha - shot.view.mask).sum() for alpha in alphas)
        assert after < 0.97 * before


def test_threads_do_not_change_what_views_show_of_them(drawn, views, monkeypatch):
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv(LIMIT, threads)
        shares = measure_shares(drawn, views, np.ones(len(drawn)))
        corrected = correct(paint(drawn, shares.colours), views, np.ones(len(drawn)), np.ones(len(drawn), bool))
        found.append(np.concatenate([corrected.colours, corrected.scales, corrected.opacities[:, None]], 1))
    np.testing.assert_array_equal(*found)


def test_they_look_like_the_scene_from_a_side_that_they_have_not_seen(scene, drawn, views):
    unseen = shoot(scene, 20, 8)
    shares = measure_shares(drawn, views, np.ones(len(drawn)))
    painted = paint(drawn, shares.colours)
    sharp = correct(painted, views, np.ones(len(drawn)), np.zeros(len(drawn), bool))
    assert np.array_equal(sharp.scales, painted.scales) and np.array_equal(sharp.opacities, painted.opacities)
    assert likeness(painted, unseen) > 28 and likeness(drawn, unseen) < 25
    assert np.mean([likeness(sharp, shot) for shot in views]) > np.mean([likeness(painted, s) for s in views]) + 0.3


def test_a_refinement_makes_them_more_alike_and_is_deterministic(scene, drawn, views):
    painted = paint(drawn, measure_shares(drawn, views, np.ones(len(drawn))).colours)
    free = np.arange(len(drawn)) % 10 > 0
    refined, again = refine(painted, views, free, 8), refine(painted, views, free, 8)
    unseen = shoot(scene, 20, 8)
    assert likeness(refined, unseen) > likeness(painted, unseen) + 0.3
    assert all(np.array_equal(getattr(refined, f.name), getattr(again, f.name)) for f in fields(GaussianSplats))
    assert np.array_equal(refined.colours[~free], painted.colours[~free])
    assert np.array_equal(refined.means[~free], painted.means[~free])


def test_clothes_stay_where_there_are_too_many_splats(drawn, views):
    """Fewer and larger discs show less for their size; they are not the ones to go then."""
    hair = drawn[np.arange(len(drawn) // 2)]
    both = join_splats([hair, drawn])
    coarse = np.arange(len(both)) >= len(hair)
    shares = measure_shares(both, views, np.ones(len(both)))
    useful = find_useful(shares, np.full(len(both), 0.5))
    before = useful[coarse[useful]]
    painted = SimpleNamespace(splats=both, coarse=coarse, is_face=np.zeros(len(both), bool))
    kept, chosen = _choose(painted, shares, useful, len(useful) // 3)
    cloth = chosen[coarse[chosen]]
    assert len(chosen) <= len(useful) // 3 and (np.diff(chosen) > 0).all()
    spacing = 2 * kept.scales[cloth].max()
    assert np.quantile(KDTree(kept.means[cloth]).query(both.means[before])[0], 0.99) < 1.5 * spacing


def test_no_hole_opens_in_a_face_where_there_are_too_many_splats(drawn, views):
    """Discs in its folds are seen aslant from everywhere, and would be dropped first."""
    is_face, nothing = np.arange(len(drawn)) % 5 == 0, np.zeros(len(drawn), bool)
    shares = measure_shares(drawn, views, np.ones(len(drawn)))
    shares = replace(shares, most=np.where(is_face, 0.2, shares.most))
    useful = np.arange(len(drawn))
    _, chosen = _choose(
        SimpleNamespace(splats=drawn, coarse=nothing, is_face=is_face), shares, useful, len(drawn) // 2
    )
    assert len(chosen) == len(drawn) // 2 and is_face[chosen].sum() == is_face.sum()


def test_a_lining_lies_beneath_all_skin_and_nowhere_else(scene):
    discs, labels = draw_surfaces(scene, PIXEL, np.random.default_rng(0))
    for label, spacing in LINED.items():
        lining, kinds = select_lining(discs, np.full_like(labels, label), PIXEL)
        assert (kinds == label).all()
        depth = 0.2 - np.linalg.norm(lining.means, axis=1)
        assert np.allclose(depth, 1.5 * PIXEL, atol=0.3 * PIXEL)
        assert KDTree(lining.means).query(discs.means)[0].max() < 1.8 * spacing * PIXEL
    assert not len(select_lining(discs, np.full_like(labels, Label.EYE), PIXEL)[0])


def test_a_lining_is_as_dark_as_what_lies_before_it_and_ends_beneath_clothes(scene):
    discs, labels = draw_surfaces(scene, PIXEL, np.random.default_rng(0))
    lining, kinds = select_lining(discs, np.full_like(labels, Label.SKIN), PIXEL)
    red = np.where(np.arange(len(discs))[:, None] % 2, [0.5, 0.1, 0.1], [0.9, 0.5, 0.5])
    before, covers = paint(discs, red), np.where(discs.means[:, 1] > 0, Label.SKIN, Label.CLOTHES)
    painted = paint_lining(lining, kinds, before, covers)
    assert 0 < len(painted) < len(lining) and painted.means[:, 1].min() > -2 * PIXEL
    assert np.isclose(painted.colours, [0.5, 0.1, 0.1]).all(1).mean() > 0.8


def test_the_sheet_leaves_out_crumbs_in_the_air_and_the_rim_of_hair_but_keeps_broad_parts():
    hair, cloth = LAYER_OF_LABEL[Label.HAIR], LAYER_OF_LABEL[Label.CLOTHES]
    depth, shown, beneath = np.zeros((120, 120), np.float32), np.full((120, 120), -1, np.int8), np.zeros((120, 120))
    lock, mass, wing, rag = np.s_[10:60, 4:9], np.s_[10:60, 20:70], np.s_[80:115, 4:40], np.s_[80:115, 60:64]
    for part, layer in ((lock, hair), (mass, hair), (wing, cloth), (rag, cloth)):
        depth[part], shown[part] = 2.5, layer
    beneath[mass] = 2.8  # strands far behind what the photo shows
    kept = ~find_left_out(depth, shown, beneath.astype(np.float32)) & (depth > 0)
    assert not kept[lock].any() and not kept[rag].any()  # nothing lies behind them
    assert kept[mass][8:-8, 8:-8].all() and not kept[mass][:, :5].any() and not kept[mass][:5].any()
    assert kept[wing].mean() > 0.9


def test_the_sheet_leaves_out_the_edge_of_a_cheek_beyond_the_layers_but_no_broad_part_of_it():
    skin = LAYER_OF_LABEL[Label.FACE]
    depth, shown = np.full((80, 80), 2.5, np.float32), np.full((80, 80), skin, np.int8)
    for width, left_out in ((4, True), (40, False)):
        beneath = depth.copy()
        beneath[10:70, 20 : 20 + width] = 2.7  # the hair behind it
        found = find_left_out(depth, shown, beneath)
        assert found[10:70, 20 : 20 + width].mean() > 0.9 if left_out else not found[15:65, 25:55].any()


@pytest.mark.parametrize(
    ("label", "before", "covered"),
    [
        (Label.HAIR, 0.03, True),
        (Label.HAIR, 0.1, False),
        (Label.FACE, 0.03, False),
        (Label.FACE, 0.005, True),
        (Label.GLASSES, 0.005, False),
    ],
)
def test_the_sheet_of_bare_skin_stands_for_hair_close_before_it_but_for_no_frame(label, before, covered):
    camera, flat = Camera(look_at(0.0, 0.0), FOCAL), np.ones((32, 32))
    normals = flat[..., None] * -camera.cam2world[:3, 2]
    depth = np.float32(RADIUS) * flat.astype(np.float32)
    sheet = Sheet(camera, depth, normals, flat > 0, np.zeros((32, 32), np.int8), depth)
    point = camera.unproject(np.array([[0.5, 0.5]]), np.array([RADIUS - before]))
    assert find_covered(sheet, point, np.array([label], np.uint8)).tolist() == [covered]


def test_hair_is_stained_where_the_wall_shines_through_and_right_beside_it():
    shown, pure = np.full((40, 40), LAYER_OF_LABEL[Label.HAIR], np.int8), np.ones((80, 80))
    shown[:, :20], pure[20:40] = LAYER_OF_LABEL[Label.FACE], 0
    found = find_stained(pure, shown)
    assert found[10:20, 20:].all() and not found[:, :20].any()
    assert not found[:5].any() and not found[25:].any()
