"""Details of skin that a photo does not show."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.detail import coarser, look_up_detail, make_detail
from portrait360.synth.meshes import unit
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

CAMERA = Camera(look_at(0, 0), FOCAL)
SIDE = 256


def photograph(contrast: float, face: int = 200) -> Photo:
    """Return a photo of a square face with grain."""
    random = np.random.default_rng(3)
    labels = np.full((SIDE, SIDE), Label.BACKGROUND, np.uint8)
    edge = (SIDE - face) // 2
    labels[edge : edge + face, edge : edge + face] = Label.FACE
    radiance = 0.4 * np.exp(contrast * random.normal(0, 1, (SIDE, SIDE, 1))) * np.array([1, 0.8, 0.7])
    ones, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    picture = radiance.astype(np.float32)
    return Photo(picture, picture, ones, ones, labels, ones, flow, CAMERA)


def test_invented_skin_varies_as_much_as_that_of_the_photo():
    detail = make_detail(photograph(0.08))
    assert detail is not None
    tile = detail.coarse + detail.fine
    assert tile.std() == pytest.approx(0.08, rel=0.2)
    assert np.abs(tile.mean((0, 1))).max() < 0.01  # it is no darker and of no other colour


def test_even_skin_stays_even():
    detail = make_detail(photograph(0.0))
    assert detail is not None
    assert np.abs(detail.coarse + detail.fine).max() < 1e-3


def test_a_photo_without_enough_of_a_face_gives_none():
    assert make_detail(photograph(0.08, face=6)) is None
    assert make_detail(photograph(0.08, face=0)) is None


def test_the_tile_has_no_seams_and_does_not_repeat_within():
    detail = make_detail(photograph(0.08))
    assert detail is not None
    coarse = detail.coarse
    seam = np.abs(coarse[0] - coarse[-1]).mean()
    assert seam < 1.5 * np.abs(np.diff(coarse, axis=0)).mean()
    spectrum = np.abs(np.fft.fft2(coarse[..., 1])) ** 2
    alike = np.fft.ifft2(spectrum).real / spectrum.mean()
    far = np.ones_like(alike, bool)
    near = int(4 * 0.0035 / detail.pixel) + 2
    for axis in (0, 1):
        apart = np.minimum(np.arange(len(far)), len(far) - np.arange(len(far)))
        far &= np.expand_dims(apart > near, 1 - axis)
    assert alike[far].max() < 0.4 * alike[0, 0]


def test_every_side_of_a_head_is_covered_as_strongly():
    detail = make_detail(photograph(0.08))
    assert detail is not None
    random = np.random.default_rng(1)
    points = random.uniform(-0.2, 0.2, (20000, 3))
    sides = [np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([0, 1.0, 0]), unit(np.array([1.0, 0, 1.0]))]
    spreads = [
        look_up_detail(detail.coarse, detail.pixel, points, np.broadcast_to(side, points.shape)).std()
        for side in sides
    ]
    assert max(spreads) < 1.15 * min(spreads)


def test_far_views_show_less_of_it():
    detail = make_detail(photograph(0.08))
    assert detail is not None
    spreads = [coarser(detail.fine, step).std() for step in (0.5, 2.0, 4.0, 8.0)]
    assert (np.diff(spreads) < 0).all() and spreads[-1] < 0.3 * spreads[0]
