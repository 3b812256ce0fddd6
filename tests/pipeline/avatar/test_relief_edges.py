"""The edges of the photo's relief, and of what a view shows of it."""

from types import SimpleNamespace
from typing import cast

import numpy as np

from portrait360.pipeline.avatar.view.matte_edges import SLIT, close_slits
from portrait360.pipeline.avatar.view.relief import SIDE as VERTICES
from portrait360.pipeline.avatar.view.relief import UNDER, connect, make_sheet
from portrait360.pipeline.avatar.view.relief_edges import CRACK, close_cracks, smooth_edges
from portrait360.pipeline.avatar.view.relief_view import BEFORE, THREAD, find_hidden
from portrait360.pipeline.avatar.view.render import NOTCH, fill_notches, measure_beside
from portrait360.synth.render.compositing import Film

SIDE = 256


def test_the_steps_of_cells_along_an_edge_are_evened_and_nothing_within_moves():
    y, x = np.indices((VERTICES, VERTICES))
    cells = (x < 100 + 0.3 * y)[:-1, :-1]
    triangles = connect(cells)
    values = np.stack([x, y], -1).reshape(-1, 2).astype(np.float64)
    smooth = smooth_edges(values, triangles, np.ones(len(values), np.bool_))
    used = np.unique(triangles)
    moved = used[(smooth != values).any(1)[used]]
    edge = moved[(values[moved, 0] > 90) & (np.abs(values[moved, 1] - 128) < 90)]
    ragged, even = ((a[edge] @ (1, -0.3)).std() for a in (values, smooth))
    assert even < 0.5 * ragged
    within = (values[:, 0] > 4) & (values[:, 0] < 90) & (abs(values[:, 1] - 128) < 120)
    np.testing.assert_array_equal(smooth[within], values[within])
    np.testing.assert_array_equal(smooth_edges(values, triangles, np.zeros(len(values), np.bool_)), values)


def test_cracks_are_closed_by_what_lies_deeper_and_what_comes_into_sight_stays_open():
    depth = np.full((SIDE, SIDE), 2.0, np.float32)
    depth[:, 128:] = 3.0
    values = np.repeat(depth[..., None], 4, -1)
    wide = 4 * round(CRACK * SIDE) + 4
    crack, gap = (slice(40, 80), slice(127, 129)), (slice(120, 200), slice(128 - wide, 128 + wide))
    for hole in (crack, gap):
        depth[hole], values[hole] = 0, 0
    closed, filled = close_cracks(depth, values)
    np.testing.assert_array_equal(closed[crack], 3)
    np.testing.assert_array_equal(filled[crack], 3)
    assert (closed[130:190, 122:134] == 0).all()
    kept = depth > 0
    np.testing.assert_array_equal(closed[kept], depth[kept])


def test_what_lies_behind_shows_none_of_what_hides_it_at_its_edge():
    y, x = np.indices((VERTICES, VERTICES))
    region, ones = x >= 128, np.ones((VERTICES, VERTICES), np.bool_)
    depth = np.where(region, 2.5, 2.2).astype(np.float32)
    _, places, _, _ = make_sheet(depth, region, ones, np.zeros_like(depth))
    under = places[100, 128 - UNDER : 129] % VERTICES
    assert (under == 129).all(), "not the edge itself, which has both colours"
    assert (places[region & (x > 128)] == (y * VERTICES + x)[region & (x > 128)]).all()
    _, before, _, _ = make_sheet(depth, ~region, ones, np.zeros_like(depth))
    assert (before == y * VERTICES + x).all(), "what lies before shows all of itself"


def test_crumbs_of_a_layer_do_not_hide_the_relief():
    distance = np.full((SIDE, SIDE), 2.5, np.float32)
    depth = distance.copy()
    crumb, broad = (slice(40, 42), slice(40, 43)), (slice(100, 140), slice(100, 140))
    depth[crumb] -= 2 * BEFORE
    depth[broad] -= 2 * BEFORE
    film = cast(Film, SimpleNamespace(alpha=np.ones((SIDE, SIDE)), depth=depth))
    assert THREAD * SIDE > 1
    hidden = find_hidden(film, distance, np.full((SIDE, SIDE), 2 * BEFORE))
    assert not hidden[crumb].any()
    assert hidden[102:138, 102:138].all()


def test_slits_through_a_matte_are_closed_and_gaps_between_strands_are_not():
    alpha = np.zeros((SIDE, SIDE), np.float32)
    alpha[40:200, 40:120] = 1
    alpha[40:200, 116] = 0  # a slit a few pixels within the outline
    for column in range(160, 190, 3):
        alpha[40:200, column] = 1
    closed = close_slits(alpha)
    assert SLIT[1] * SIDE > 2
    assert (closed[50:190, 116] == 1).all()
    assert (closed[:, 150:] == 0).all()


def test_layers_fill_notches_of_a_matte_and_not_what_lies_beside_it():
    shown = np.zeros((SIDE, SIDE), np.bool_)
    shown[60:200, 60:160] = True
    shown[120:128, 130:160] = False
    beside = measure_beside(shown)
    filled = fill_notches(beside)
    assert NOTCH * SIDE > 8
    assert beside[124, 145] > 0.01
    assert filled[124, 140:150].max() < 0.005
    far = np.s_[60:200, 175:]
    np.testing.assert_allclose(filled[far], beside[far], atol=0.006)
