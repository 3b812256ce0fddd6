"""Quick blurs are the exact ones, but for what no picture shows."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from portrait360.utils.image_ops import blur_picture, blur_volume


@pytest.mark.parametrize("shape", [(96, 96), (101, 64, 3), (128, 90, 4)])
@pytest.mark.parametrize("sigma", [0.7, 11.9, 12.0, 30.0])
def test_a_blurred_picture_is_near_the_exact_one(shape, sigma):
    picture = np.random.default_rng(0).random(shape).astype(np.float32)
    picture = cv2.GaussianBlur(picture, (0, 0), 2.0)
    exact = cv2.GaussianBlur(picture, (0, 0), sigma)
    assert np.abs(blur_picture(picture, sigma) - exact).max() < 0.02 * np.ptp(picture)
    np.testing.assert_allclose(blur_picture(np.ones_like(picture), sigma), 1, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.6, 2.2, 6.1])
def test_a_blurred_volume_is_that_of_scipy(sigma):
    volume = np.random.default_rng(0).random((9, 14, 21)).astype(np.float32)
    np.testing.assert_allclose(blur_volume(volume, sigma), gaussian_filter(volume, sigma), rtol=1e-5)
