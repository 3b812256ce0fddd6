"""The photo as a relief."""

from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.photo import Photo
from portrait360.pipeline.avatar.relief import fill, find_depths, find_loose_locks, make_relief
from portrait360.pipeline.avatar.relief_view import Colours, lay_relief_over
from portrait360.pipeline.avatar.view import LAYER_OF_LABEL
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE, HALF = 128, 64
CAMERA = Camera(look_at(20, 5), FOCAL)
DISTANCE, STEP = 2.5, 0.2  # of the skin, and how far before it the hair lies


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
    return make_relief(make_photo(labels), make_film(labels), LAYER_OF_LABEL, proxy)


def test_at_its_own_camera_a_relief_is_the_photo(relief):
    uv, _, depth = relief.draw(CAMERA, SIDE)
    drawn = depth > 0
    assert drawn.mean() > 0.97
    np.testing.assert_allclose(uv[drawn], pixel_centres(SIDE, SIDE)[drawn], atol=1e-5)


def test_depth_is_that_of_the_layers_where_label_and_layer_agree(labels, proxy):
    depth, _ = find_depths(make_photo(labels), make_film(labels), LAYER_OF_LABEL, proxy)
    side = len(depth)
    np.testing.assert_allclose(depth[:, : int(0.4 * side)], DISTANCE - STEP, atol=1e-3)
    np.testing.assert_allclose(depth[:, int(0.6 * side) :], DISTANCE, atol=1e-3)


def test_depth_goes_on_over_the_rest_of_a_label(proxy):
    """Where the photo shows hair and the layers skin, hair lies as deep as the hair beside it."""
    depth, _ = find_depths(make_photo(draw_labels(HALF)), make_film(draw_labels(HALF - 12)), LAYER_OF_LABEL, proxy)
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
    black = Colours(np.zeros((SIDE, SIDE, 3)), np.ones((SIDE, SIDE)), *np.zeros((2, SIDE, SIDE)))
    film = SimpleNamespace(alpha=black.alpha, depth=np.full((SIDE, SIDE), 0.5, np.float32))
    gains = np.zeros((SIDE, SIDE, 5, 3), np.float32)
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
