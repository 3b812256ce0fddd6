"""Distances of sets of pictures and of vectors hold their laws; faces lie where ArcFace wants them."""

import cv2
import numpy as np
import pytest
from scipy.linalg import sqrtm

from portrait360.evaluation.feature_metrics import ARCFACE_POINTS, align_face, cosine, frechet_distance
from tests.fixtures.pictures import scene


def set_with(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Points whose own mean and covariance are these, not only in the limit."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_known_gaussians():
    """With common axes: |shift|^2 and, along each axis, the squared difference of the deviations."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    left, right, shift = rng.uniform(0.5, 3, 6), rng.uniform(0.5, 3, 6), rng.standard_normal(6)
    a = set_with(np.zeros(6), axes * left**2 @ axes.T, 40, 2)
    b = set_with(shift, axes * right**2 @ axes.T, 60, 3)
    assert frechet_distance(a, b) == pytest.approx((shift**2).sum() + ((left - right) ** 2).sum(), rel=1e-10)


def test_frechet_is_the_formula_with_a_matrix_root():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((80, 12)) @ rng.standard_normal((12, 12)), rng.standard_normal((50, 12)) + 0.3
    left, right = np.cov(a.T), np.cov(b.T)
    root = np.real(sqrtm(left @ right))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(left + right - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_pictures_than_features():
    """A rigid motion into many more dimensions changes no distance."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((20, 5)), 2 * rng.standard_normal((15, 5)) + 1
    into = np.linalg.qr(rng.standard_normal((300, 5)))[0].T
    assert frechet_distance(a @ into, b @ into) == pytest.approx(frechet_distance(a, b), rel=1e-10)


@pytest.mark.parametrize("features", [4, 200])
def test_frechet_laws(features):
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((30, features)), rng.standard_normal((25, features)) * 1.5
    v = rng.standard_normal(features)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10) and frechet_distance(a, a) >= 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10) and frechet_distance(a, b) > 0
    assert frechet_distance(a, a + v) == pytest.approx((v**2).sum(), rel=1e-10)
    assert frechet_distance(a, rng.permutation(a)) == pytest.approx(0, abs=1e-10)  # a set has no order
    with pytest.raises(ValueError, match="two pictures"):
        frechet_distance(a, b[:1])


def test_cosine_is_by_row_and_knows_no_lengths():
    a = np.array([[1.0, 2, 3], [1, 0, 0], [2, 1, 0], [0, 0, 0]])
    b = np.array([[2.0, 4, 6], [0, 5, 0], [-4, -2, 0], [1, 1, 1]])
    np.testing.assert_allclose(cosine(a, b), [1, 0, -1, 0], atol=1e-12)


def test_a_face_that_lies_right_is_left_alone():
    picture = scene(112)
    np.testing.assert_allclose(align_face(picture, ARCFACE_POINTS + 0.5), picture, atol=1e-4)


def test_faces_are_aligned_as_by_another_library(photo):
    transform = pytest.importorskip("skimage.transform")
    points = np.array([[193.0, 96], [241, 92], [225, 128], [203, 148], [246, 142]])
    estimate = transform.estimate_transform("similarity", points - 0.5, ARCFACE_POINTS)
    expected = cv2.warpAffine(photo.rgb, estimate.params[:2], (112, 112))
    np.testing.assert_allclose(align_face(photo.rgb, points), expected, atol=1e-4)


@pytest.mark.parametrize("size", [112, 224])
def test_a_turned_and_enlarged_picture_gives_the_same_face(size):
    picture = scene(400)
    points = 1.6 * ARCFACE_POINTS + [90, 100] + np.random.default_rng(7).normal(0, 2, (5, 2))
    turn = cv2.getRotationMatrix2D((200, 200), 35, 1.3)
    by_centers = turn.copy()
    by_centers[:, 2] += turn[:, :2].sum(1) / 2 - 0.5
    turned = cv2.warpAffine(picture, by_centers, (400, 400), flags=cv2.INTER_CUBIC)
    face = align_face(picture, points, size)
    assert face.shape == (size, size, 3) and face.dtype == np.float32
    np.testing.assert_allclose(align_face(turned, points @ turn[:, :2].T + turn[:, 2], size), face, atol=5e-3)
    assert np.ptp(face) > 0.5
