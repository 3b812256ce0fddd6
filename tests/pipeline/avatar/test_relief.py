"""The photo as a relief."""

from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.relief import SIDE as VERTICES
from portrait360.pipeline.avatar.view.relief import (
    fill,
    find_depths,
    find_loose_locks,
    go_beyond,
    hang_locks,
    make_relief,
)
from portrait360.pipeline.avatar.view.relief_trust import (
    ISLAND,
    SLIVER,
    Shown,
    calm,
    find_pure,
    measure_density,
    soften_edges,
)
from portrait360.pipeline.avatar.view.relief_view import Colours, find_smears, lay_relief_over, make_opaque
from portrait360.pipeline.avatar.view.render import LAYER_OF_LABEL
from portrait360.pipeline.avatar.view.seams import hide_seams
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE, HALF = 128, 64
CAMERA = Camera(look_at(20, 5), FOCAL)
DISTANCE, STEP = 2.5, 0.2  # of the skin, and how far before it the hair lies
BARE = np.full((VERTICES, VERTICES), DISTANCE, np.float32)


def make_photo(labels: np.ndarray) -> Photo:
    rng, ones = np.random.default_rng(2), np.ones(labels.shape, np.float32)
    rgb = rng.uniform(0, 1, (*labels.shape, 3)).astype(np.float32)
    return Photo(rgb, rgb, ones, ones, labels, ones, np.zeros((*labels.shape, 2), np.float32), CAMERA)


def make_film(labels: np.ndarray) -> SimpleNamespace:
    depth = np.where(labels == Label.HAIR, DISTANCE - STEP, DISTANCE).astype(np.float32)
    return SimpleNamespace(labels=labels, alpha=np.ones(labels.shape, np.float32), depth=depth)


def draw_labels(edge: int) -> np.ndarray:
    """Hair on the left of a column, face on its right."""
    labels = np.full((SIDE, SIDE), Label.FACE, np.uint8)
    labels[:, :edge] = Label.HAIR
    return labels


@pytest.fixture(scope="module")
def labels():
    return draw_labels(HALF)


@pytest.fixture(scope="module")
def relief(labels, proxy):
    return make_relief(make_photo(labels), make_film(labels), BARE, LAYER_OF_LABEL, proxy)


def test_at_its_own_camera_a_relief_is_the_photo(relief):
    uv, _, depth = relief.draw(CAMERA, SIDE)
    drawn = depth > 0
    assert drawn.mean() > 0.97
    off = np.abs(uv - pixel_centres(SIDE, SIDE))[drawn].max(-1)
    assert off.max() < 1 / VERTICES, "what lies behind shows at its edge what it shows within"
    assert (off > 1e-5).mean() < 0.01


def test_depth_is_that_of_the_layers_where_label_and_layer_agree(labels, proxy):
    depth, _ = find_depths(make_photo(labels), make_film(labels), BARE, LAYER_OF_LABEL, proxy)
    side = len(depth)
    np.testing.assert_allclose(depth[:, : int(0.4 * side)], DISTANCE - STEP, atol=1e-3)
    np.testing.assert_allclose(depth[:, int(0.6 * side) :], DISTANCE, atol=1e-3)


def test_depth_goes_on_over_the_rest_of_a_label(proxy):
    """Where the photo shows hair and the layers skin, hair lies as deep as the hair beside it."""
    depth, _ = find_depths(
        make_photo(draw_labels(HALF)), make_film(draw_labels(HALF - 12)), BARE, LAYER_OF_LABEL, proxy
    )
    side = len(depth)
    np.testing.assert_allclose(depth[:, : int(0.48 * side)], DISTANCE - STEP, atol=1e-3)


def test_the_relief_is_torn_where_one_layer_lies_before_another(relief):
    x = relief.vertices.reshape(-1, 3)[relief.triangles] @ CAMERA.cam2world[:3, 2]
    assert (x.max(1) - x.min(1)).max() < STEP / 2


def test_a_fill_is_smooth_and_keeps_what_is_known():
    y, x = np.indices((64, 64))
    plane = (0.01 * x + 0.02 * y).astype(np.float32)
    known = (x - 32) ** 2 + (y - 32) ** 2 < 400
    filled = fill(plane, known)
    inner = (x - 32) ** 2 + (y - 32) ** 2 < 200
    np.testing.assert_allclose(filled[inner], plane[inner], atol=0.02)
    assert np.isfinite(filled).all()
    assert plane[known].min() - 1e-3 <= filled.min()
    assert filled.max() <= plane[known].max() + 1e-3


@pytest.mark.parametrize(("turn", "shown"), [(0.0, 1.0), (25.0, 0.5), (60.0, 0.0)])
def test_the_photo_fades_with_the_angle_and_nothing_it_sees_hides_it(relief, labels, turn, shown):
    photo, camera = make_photo(labels), CAMERA.orbit_to(azimuth=CAMERA.azimuth + turn, elevation=5)
    black = Colours(np.zeros((SIDE, SIDE, 3)), np.ones((SIDE, SIDE)), *np.zeros((4, SIDE, SIDE)))
    film = SimpleNamespace(alpha=black.alpha, depth=np.full((SIDE, SIDE), 0.5, np.float32), labels=labels)
    gains = np.zeros((SIDE, SIDE, 6, 3), np.float32)
    view = lay_relief_over(black, film, black.share, photo, gains, LAYER_OF_LABEL, relief, camera)
    middle = view.share[32:-32, 32:-32]
    assert middle.mean() >= shown - 1e-6 if shown else middle.max() == 0
    hidden = lay_relief_over(black, film, black.alpha, photo, gains, LAYER_OF_LABEL, relief, camera)
    assert hidden.share.mean() == (1.0 if turn == 0 else 0.0), "what the photo does not see can hide it"


def test_thin_long_locks_and_crumbs_are_loose_and_the_rest_of_the_hair_is_not():
    hair = np.zeros((256, 256), bool)
    hair[40:140, 60:200] = True  # the head of hair
    hair[140:200, 80:84] = True  # a lock that hangs from it
    hair[220:231, 20:31] = True  # a crumb
    hair[30:40, 120:123] = True  # a short tip
    loose = find_loose_locks(hair)
    assert not (loose & ~hair).any()
    assert loose[145:200, 80:84].all() and loose[221:230, 21:30].all()
    assert not loose[45:135, 65:195].any() and not loose[30:38, 120:123].any()


def test_a_lock_that_hangs_is_one_smooth_piece_of_hair_however_it_is_read():
    skin, hair = (int(LAYER_OF_LABEL[label]) for label in (Label.EAR, Label.HAIR))
    layers = np.full((VERTICES, VERTICES), -1, np.int8)
    layers[40:140, 60:200], layers[140:200, 80:84] = hair, hair
    layers[140:200, 80:82][::2] = skin
    depth = np.where(layers == hair, 2.0, 2.5).astype(np.float32)
    named, smooth = hang_locks(layers, depth, hair)
    assert (named[142:200, 80:84] == hair).all()
    np.testing.assert_allclose(smooth[142:200, 80:84], 2.0, atol=0.01)
    np.testing.assert_array_equal(smooth[:135], depth[:135])
    all_skin = np.where(layers == hair, np.int8(skin), layers)
    np.testing.assert_array_equal(hang_locks(all_skin, depth, hair)[0], all_skin)


def test_what_lies_beyond_the_outline_goes_on_from_it():
    layers, depth = np.full((VERTICES, VERTICES), -1, np.int8), np.full((VERTICES, VERTICES), 9, np.float32)
    layers[:, 60:100], layers[:, 100:140] = 0, 1
    depth[:, 60:100], depth[:, 100:140] = 2, 3
    named, deep = go_beyond(layers, depth)
    np.testing.assert_array_equal(named, np.broadcast_to(np.arange(VERTICES) >= 100, named.shape))
    np.testing.assert_array_equal(deep, 2 + named)


@pytest.mark.parametrize(("depth", "put"), [(0.03, True), (0.3, False)])
def test_hair_a_little_behind_the_skin_lies_on_it(proxy, depth, put):
    """Sideburns that the layers lack are on the skin; hair far behind a neck hangs behind it."""
    labels, film = draw_labels(HALF), make_film(draw_labels(HALF - 12))
    film.depth = np.where(film.labels == Label.HAIR, DISTANCE + depth, DISTANCE).astype(np.float32)
    found, _ = find_depths(make_photo(labels), film, BARE, LAYER_OF_LABEL, proxy)
    middle = found[:, int(0.3 * VERTICES) : int(0.48 * VERTICES)]
    np.testing.assert_allclose(middle, DISTANCE if put else DISTANCE + depth, atol=1e-3)


def test_skin_beneath_hair_of_the_layers_is_as_deep_as_the_bare_skin(proxy):
    labels, slope = draw_labels(HALF - 24), np.linspace(0, 0.1, VERTICES, dtype=np.float32)
    bare = np.broadcast_to(DISTANCE + slope, (VERTICES, VERTICES))
    depth, _ = find_depths(make_photo(labels), make_film(draw_labels(HALF)), bare, LAYER_OF_LABEL, proxy)
    columns = slice(int(0.35 * VERTICES), int(0.48 * VERTICES))
    np.testing.assert_allclose(depth[:, columns], bare[:, columns], atol=2e-3)


def test_teeth_of_the_photo_are_not_bent_over_a_lip_of_the_layers(proxy):
    """Where fitted lips open less than the photo's, all teeth lie as deep; the lips lie before them."""
    labels, film = np.full((2, SIDE, SIDE), Label.FACE, np.uint8)
    labels[50:80, 40:90], film[50:66, 40:90] = Label.MOUTH, Label.MOUTH
    render = make_film(film)
    render.depth = np.where(film == Label.MOUTH, DISTANCE + 0.02, DISTANCE).astype(np.float32)
    depth, _ = find_depths(make_photo(labels), render, BARE, LAYER_OF_LABEL, proxy)
    shown = labels.repeat(VERTICES // SIDE, 0).repeat(VERTICES // SIDE, 1) == Label.MOUTH
    assert np.ptp(depth[shown]) < 1e-3
    assert depth[shown].min() > DISTANCE + 0.005
    np.testing.assert_allclose(depth[~shown], DISTANCE, atol=2e-3)


def test_islands_and_slivers_of_the_photo_are_not_shown_and_nothing_is_added():
    trust = np.zeros((256, 256), np.float32)
    trust[60:200, 60:160] = 1  # the face
    trust[100:103, 160:240] = 1  # a lock beside it
    island = int(0.7 * np.sqrt(ISLAND[1]) * 256)
    trust[20 : 20 + island, 20 : 20 + island] = 1
    shown = calm(trust, np.ones_like(trust))
    assert (shown <= trust).all()
    assert shown[80:180, 80:140].min() > 0.99
    assert shown[:, 166:].max() < 0.1 and shown[:50].max() < 0.01


def test_in_the_air_only_wide_parts_are_shown():
    bar = np.zeros((256, 256), np.float32)
    width = round(1.4 * (SLIVER[0] + SLIVER[1]) * 256 / 2) * 2
    bar[100 : 100 + width] = 1
    over, beside = (calm(bar, np.full_like(bar, layers)) for layers in (1.0, 0.0))
    assert over.max() > 0.5 and beside.max() == 0


def test_skin_seen_through_a_beard_does_not_make_it_less_sure():
    labels = draw_labels(HALF)
    labels[:, HALF:] = Label.BEARD
    photo = make_photo(labels)
    photo.pure[:] = 0.3
    pure = find_pure(photo)
    assert (pure[:, :HALF] == np.float32(0.3)).all() and (pure[:, HALF:] == 1).all()


@pytest.mark.parametrize("turn", [0.0, 0.6, 1.1])
def test_density_is_the_least_over_all_directions(turn):
    """A stretch counts alike along the picture's sides and aslant."""
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    uv = (pixel_centres(64, 64) - 0.5) @ (rotation @ np.diag([0.9, 0.25]) @ rotation.T)
    np.testing.assert_allclose(measure_density(uv)[8:-8, 8:-8], 0.25, atol=0.01)


def test_layers_take_the_broad_colour_of_the_photo_beside_them_and_the_photo_stays():
    shape = (128, 128)
    film = SimpleNamespace(labels=np.full(shape, Label.FACE, np.uint8), alpha=np.ones(shape, np.float32))
    share = np.repeat((np.arange(128) < 64).astype(np.float32)[None], 128, 0)
    bare = np.full((*shape, 3), 0.4, np.float32)
    rgb = bare + 0.2 * share[..., None]
    out = hide_seams(rgb, bare, film, share, share)
    np.testing.assert_array_equal(out[:, :64], rgb[:, :64])
    assert np.abs(np.diff(out[64, :, 0])).max() < 0.05, "no edge"
    np.testing.assert_allclose(out[:, 120:], bare[:, 120:], atol=1e-3)
    other = hide_seams(rgb, bare, film, share, np.zeros(shape))
    np.testing.assert_array_equal(other, rgb)  # what is not the layer's own says nothing of its colour


def test_the_white_of_an_eye_does_not_glow_on_its_lids():
    """A lid that closes comes into sight beside what the photo still shows of the eye."""
    labels, size = np.full((128, 128), Label.FACE, np.uint8), 128
    labels[64:] = Label.EYE
    film = SimpleNamespace(labels=labels, alpha=np.ones((size, size), np.float32))
    share = (labels == Label.EYE).astype(np.float32)
    bare = np.full((size, size, 3), 0.4, np.float32)
    out = hide_seams(bare + 0.4 * share[..., None], bare, film, share, share)
    np.testing.assert_allclose(out[:62], bare[:62], atol=0.01)


@pytest.mark.parametrize("side", [100, 75])
def test_views_of_any_size_have_their_seams_hidden(side):
    """Cells need not divide a view evenly."""
    bare, whole = np.full((side, side, 3), 0.4, np.float32), np.ones((side, side), np.float32)
    film = SimpleNamespace(labels=np.full((side, side), int(Label.FACE), np.uint8), alpha=whole)
    share = (np.indices((side, side))[1] < side // 2).astype(np.float32)
    rgb = bare + 0.1 * share[..., None]
    changed = hide_seams(rgb, bare, film, share, share)
    assert changed[side // 2, side // 2 + 2].min() > 0.44


def test_layers_in_the_shade_change_by_as_large_a_part_as_the_photo_beside_them():
    """A difference that is taken off all colours alike would leave the shade grey."""
    shape, skin = (128, 128), np.array([0.8, 0.6, 0.45], np.float32)
    film = SimpleNamespace(labels=np.full(shape, Label.SKIN, np.uint8), alpha=np.ones(shape, np.float32))
    share = np.repeat((np.arange(128) < 64).astype(np.float32)[None], 128, 0)
    bare = (skin * np.where(share, 1, 0.5)[..., None]).astype(np.float32)
    rgb = bare * np.where(share, 0.75, 1)[..., None].astype(np.float32)
    shaded = hide_seams(rgb, bare, film, share, share)[64, 64]
    np.testing.assert_allclose(shaded, 0.5 * 0.75 * skin, rtol=0.08)


def test_the_line_between_two_groups_is_a_mix_of_both_in_their_change():
    """A pixel on the edge of a jaw shows jaw and neck; the change of one alone would be a dotted line along it."""
    labels, size = np.full((128, 128), Label.FACE, np.uint8), 128
    labels[64:] = Label.SKIN
    film = SimpleNamespace(labels=labels, alpha=np.ones((size, size), np.float32))
    share = np.repeat((np.arange(size) < 64).astype(np.float32)[None], size, 0)
    bare = np.full((size, size, 3), 0.4, np.float32)
    rgb = bare + share[..., None] * np.where(labels == Label.FACE, 0.2, 0.0)[..., None]
    steps = np.diff(hide_seams(rgb, bare, film, share, share)[:, 65, 0])
    assert np.abs(steps).max() < 0.75 * np.abs(steps.sum())


def test_skin_and_cloth_of_the_photo_are_never_half_there_a_little_aside():
    trust = np.full((32, 32), 0.4)
    for fine, angle, alpha in ((0, 5.0, (0.0, 0.05)), (1, 5.0, (0.3, 0.45)), (0, 0.5, (0.3, 0.45))):
        opaque = make_opaque(trust, np.full((32, 32), angle), np.full((32, 32), fine))
        assert alpha[0] <= opaque.min() and opaque.max() <= alpha[1]


@pytest.mark.parametrize(("density", "scraps", "kept"), [(0.25, True, 0.0), (0.25, False, 1.0), (0.95, True, 1.0)])
def test_hair_that_the_photo_saw_aslant_is_not_shown_on_skin_but_a_fringe_is(density, scraps, kept):
    one, nowhere = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), bool)
    uv = (pixel_centres(SIDE, SIDE) - 0.5) @ np.diag([density, 1.0]) + 0.5
    shown = soften_edges(
        one, one, Shown(one, one, one, one, 0 * one, 0 * one), uv, 9 * one, nowhere, ~nowhere & scraps
    )
    assert abs(float(np.median(shown[40:-40, 40:-40])) - kept) < 0.1


@pytest.mark.parametrize(("stretch", "light", "seen"), [(4.0, 0.9, True), (4.0, 0.42, False), (1.0, 0.9, False)])
def test_what_the_photo_saw_aslant_goes_where_its_colour_is_not_that_of_the_layers(stretch, light, seen):
    """Hair that glares at the photo's outline becomes a white patch as that is stretched."""
    size, shape = 128, (128, 128)
    uv = pixel_centres(size, size) / np.array([stretch, 1.0])
    alpha, none = (np.indices(shape)[1] < 64).astype(np.float32), np.zeros(shape)
    layers = Colours(np.full((*shape, 3), 0.4), alpha, none, none, none, none)
    smears = find_smears(np.full((*shape, 3), light), layers, uv, none == 0)[8:-8, 8:-8]
    assert smears[:, :44].min() > 0.9 if seen else smears.max() < 0.1
    assert (smears[:, 64:] == 0).all(), "beside the layers nothing better is known"


def test_hair_in_its_own_shade_stays_where_the_photo_is_stretched_and_hair_on_skin_does_not():
    size, shape = 128, (128, 128)
    uv, ones = pixel_centres(size, size) / np.array([4.0, 1.0]), np.ones(shape)
    layers = Colours(np.full((*shape, 3), 0.4), ones, 0 * ones, 0 * ones, 0 * ones, 0 * ones)
    own, other = (find_smears(np.full((*shape, 3), 0.1), layers, uv, ones == same) for same in (1, 0))
    assert own.max() < 0.1 and other[8:-8, 8:-8].min() > 0.9
