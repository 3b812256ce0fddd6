"""Colours of eyes: irises of the layers look as they do in the photo."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.exposure import View
from portrait360.pipeline.avatar.skin.eye_colours import (
    brighten_iris,
    find_white,
    limit_red,
    read_iris,
    tint_eyes,
)
from portrait360.synth.head.eyes import SCLERA, SPOKES
from portrait360.synth.meshes import make_mesh
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Material, Part
from portrait360.utils.portrait_labels import Label

WHITE, REFLECTED = np.array([0.7, 0.68, 0.66]), 0.03
BROWN, BLUE = np.array([0.12, 0.06, 0.035]), np.array([0.1, 0.16, 0.2])


def draw_eyes(iris, reflected=REFLECTED):
    """Return the light of two open eyes on skin, and their mask."""
    y, x = np.mgrid[:60, :120]
    radiance, mask = np.full((60, 120, 3), 0.4, np.float32), np.zeros((60, 120), bool)
    for middle in (30, 90):
        eye = np.hypot((x - middle) / 24, (y - 30) / 11) < 1
        far = np.hypot(x - middle, y - 30)
        radiance[eye], mask = 0.75 * WHITE, mask | eye
        radiance[eye & (far < 9)] = iris
        radiance[eye & (far < 3.6)] = reflected
    return radiance, mask


@pytest.mark.parametrize("colour", [BROWN, BLUE])
def test_the_colour_of_an_iris_is_read(colour):
    found = read_iris(*draw_eyes(colour))
    assert found is not None and np.abs(found / colour - 1).max() < 0.25
    assert read_iris(draw_eyes(colour)[0], np.zeros((60, 120), bool)) is None


def tint_iris(seen, mask, grey):
    """Return the albedo of white and iris, that of the iris `grey` before, once they look as they are `seen`."""
    drawn, same = draw_eyes(REFLECTED + 0.8 * grey)
    photo = SimpleNamespace(radiance=seen, shows=lambda *labels: mask & (Label.EYE in labels))
    film = SimpleNamespace(radiance=drawn, labels=np.where(same, Label.EYE, Label.FACE))
    albedo = np.repeat([WHITE, grey, grey], SPOKES, 0)
    eye = make_mesh(np.zeros((len(albedo), 3)), np.array([[0, 1, 2]]), albedo, Material.EYE, Part.EYES)
    (tinted,) = tint_eyes([eye], cast(View, SimpleNamespace(photo=photo, whole=film, bare=film)))
    return tinted.albedo[:SPOKES], tinted.albedo[SPOKES:]


@pytest.mark.parametrize("colour", [BROWN, BLUE])
def test_an_iris_that_is_drawn_too_bright_and_grey_becomes_the_photos(colour):
    grey = np.array([0.2, 0.2, 0.2])
    white, iris = tint_iris(*draw_eyes(colour), grey)
    before, after = (np.abs(REFLECTED + 0.8 * a - colour).max() for a in (grey, iris))
    assert after < 0.25 * before
    assert np.allclose(white, WHITE, rtol=0.05)


def test_a_dim_photo_with_black_pupils_makes_no_iris_black_or_red():
    dim = 0.5 * BROWN
    _, iris = tint_iris(*draw_eyes(dim, reflected=0.002), np.array([0.2, 0.2, 0.2]))
    assert iris.mean(0) @ LUMINANCE > 0.4 * (dim @ LUMINANCE) / 0.8
    np.testing.assert_allclose(iris.mean(0) / iris.mean(0)[0], dim / dim[0], atol=0.15)


def test_the_white_of_an_eye_is_white_under_a_lid_too():
    rings = np.stack([0.15 * np.ones(SPOKES), np.ones(SPOKES)])  # iris, white
    rings[:, : SPOKES // 3] *= 0.3
    white = find_white(rings.reshape(-1, 1) * SCLERA).reshape(2, -1)
    assert (white[0] == 0).all() and (white[1] == 1).all()


def test_brown_irises_are_never_red_and_no_others_change():
    colours = np.array([[0.1, 0.01, 0.006], [0.1, 0.05, 0.02], [0.1, 0.16, 0.2]])
    limited = limit_red(colours)
    np.testing.assert_allclose(limited @ LUMINANCE, colours @ LUMINANCE)
    assert limited[0, 1] > 0.35 * limited[0, 0]
    np.testing.assert_allclose(limited[1:], colours[1:])


@pytest.mark.parametrize("light", [0.25, 0.9, 1.2])
def test_teeth_have_as_much_light_as_the_photo_leaves_them(light):
    red = np.array([1.3, 0.9, 0.8])
    red = red / (red @ LUMINANCE)
    mouth = np.ones((40, 40), bool)
    drawn = np.full((40, 40, 3), 0.5, np.float32)
    photo = SimpleNamespace(radiance=light * red * drawn, shows=lambda *labels: mouth & (Label.MOUTH in labels))
    film = SimpleNamespace(radiance=drawn, labels=np.full((40, 40), Label.MOUTH))
    teeth = make_mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.full((3, 3), 0.6), Material.EYE, Part.SKIN)
    (tinted,) = tint_eyes([teeth], cast(View, SimpleNamespace(photo=photo, whole=film, bare=film)))
    assert tinted.albedo[0] @ LUMINANCE == pytest.approx(0.6 * light, rel=0.1)
    warmth = tinted.albedo[0, 0] / tinted.albedo[0, 2]
    assert warmth > 1.4 if light < 0.4 else warmth < 1.4  # deep in the mouth light is that which lips let through


def test_irises_are_never_holes_and_bright_ones_stay():
    inside, dark = np.ones(4, bool), np.outer([0.0, 0.001, 0.002, 0.002], np.ones(3))
    out = brighten_iris(dark, inside, 0.02)
    assert (out @ LUMINANCE)[-1] == pytest.approx(0.02)
    assert out[0].max() == 0 and (out[1:, 0] > out[1:, 2]).all(), "pupils stay black; irises become brown"
    np.testing.assert_array_equal(brighten_iris(np.tile(BLUE, (4, 1)), inside, 0.02), np.tile(BLUE, (4, 1)))
