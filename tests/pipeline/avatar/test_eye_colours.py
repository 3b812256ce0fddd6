"""Colours of eyes: irises of the layers look as they do in the photo."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.exposure import View
from portrait360.pipeline.avatar.skin.eye_colours import read_iris, tint_eyes
from portrait360.synth.meshes import make_mesh
from portrait360.synth.scene import Material, Part
from portrait360.utils.portrait_labels import Label

WHITE, REFLECTED = np.array([0.7, 0.68, 0.66]), 0.03
BROWN, BLUE = np.array([0.12, 0.06, 0.035]), np.array([0.1, 0.16, 0.2])


def draw_eyes(iris):
    """Return the light of two open eyes on skin, and their mask."""
    y, x = np.mgrid[:60, :120]
    radiance, mask = np.full((60, 120, 3), 0.4, np.float32), np.zeros((60, 120), bool)
    for middle in (30, 90):
        eye = np.hypot((x - middle) / 24, (y - 30) / 11) < 1
        far = np.hypot(x - middle, y - 30)
        radiance[eye], mask = 0.75 * WHITE, mask | eye
        radiance[eye & (far < 9)] = iris
        radiance[eye & (far < 3.6)] = REFLECTED
    return radiance, mask


@pytest.mark.parametrize("colour", [BROWN, BLUE])
def test_the_colour_of_an_iris_is_read(colour):
    found = read_iris(*draw_eyes(colour))
    assert found is not None and np.abs(found / colour - 1).max() < 0.25
    assert read_iris(draw_eyes(colour)[0], np.zeros((60, 120), bool)) is None


@pytest.mark.parametrize("colour", [BROWN, BLUE])
def test_an_iris_that_is_drawn_too_bright_and_grey_becomes_the_photos(colour):
    grey = np.array([0.2, 0.2, 0.2])
    (seen, mask), (drawn, same) = draw_eyes(colour), draw_eyes(REFLECTED + 0.8 * grey)
    photo = SimpleNamespace(radiance=seen, shows=lambda *labels: mask & (Label.EYE in labels))
    film = SimpleNamespace(radiance=drawn, labels=np.where(same, Label.EYE, Label.FACE))
    vertices = np.eye(3, 3, dtype=np.float32)
    eye = make_mesh(vertices, np.array([[0, 1, 2]]), np.array([WHITE, grey, grey]), Material.EYE, Part.EYES)
    (tinted,) = tint_eyes([eye], cast(View, SimpleNamespace(photo=photo, whole=film, bare=film)))
    before, after = (np.abs(REFLECTED + 0.8 * a - colour).max() for a in (grey, tinted.albedo[1:]))
    assert after < 0.25 * before
    assert np.allclose(tinted.albedo[0], WHITE, rtol=0.05)
