"""Faces that the photo shows turned: what it saw aslant is the other side's, or the layers'."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import scipy.sparse as sp

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.from_portrait import thin_lashes
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.colours import find_poorer_side
from portrait360.pipeline.avatar.skin.fit import mirror_skin, solve_alike
from portrait360.pipeline.avatar.skin.mesh import coarse_count, mirror_vertices
from portrait360.pipeline.avatar.skin.mouth import MILLIMETRE
from portrait360.pipeline.avatar.view.turned_face import find_far_side, keep_features
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.scene import Material, Part, Strands
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIZE = 64
FEATURES = np.zeros((SIZE, SIZE), bool)
FEATURES[20:30, 20:30] = True


def keep(photo: float, view: float, *, painted: bool = False) -> np.ndarray:
    shown = cast(Photo, SimpleNamespace(camera=Camera(look_at(photo, 0.0), FOCAL), painted=painted))
    return keep_features(FEATURES, shown, look_at(view, 0.0)[:3, 3], np.full((SIZE, SIZE), abs(view - photo)))


@pytest.mark.parametrize("turn", [-45.0, 45.0])
def test_from_the_front_the_features_of_a_turned_face_are_the_layers(turn):
    kept = keep(turn, 0.0)
    assert kept[25, 25] < 0.05
    assert kept[50, 50] == 1
    for view in (turn, 0.6 * turn, 1.7 * turn):  # near the photo's direction, and where its near side alone is seen
        assert keep(turn, view).min() > 0.9
    assert keep(turn, 0.0, painted=True).min() == 1  # the eyes of a drawing are its own from all sides


@pytest.mark.parametrize("turn", [-45.0, 45.0])
def test_the_far_side_of_a_turned_face_is_what_the_photo_saw_aslant_there(turn):
    photo = cast(Photo, SimpleNamespace(camera=Camera(look_at(turn, 0.0), FOCAL), painted=False))
    far = -np.sign(turn)
    normals = np.array([[0.6 * far, 0.0, 0.8], [0.0, 0.0, 1.0], [-0.6 * far, 0.0, 0.8]])
    points = np.array([[0.1 * far, 0.0, 0.2], [0.02 * far, 0.0, 0.25], [-0.1 * far, 0.0, 0.2]])

    def found(label: Label, shown: Photo = photo) -> list[bool]:
        return find_far_side(points, normals, np.full(3, label, np.uint8), shown).tolist()

    assert found(Label.FACE) == [True, False, False] and found(Label.EYE) == [True, True, False]
    assert not any(found(Label.HAIR))
    front = cast(Photo, SimpleNamespace(camera=Camera(look_at(turn / 3, 0.0), FOCAL), painted=False))
    assert not any(found(Label.EYE, front))
    assert not any(found(Label.EYE, cast(Photo, SimpleNamespace(camera=photo.camera, painted=True))))


@pytest.mark.parametrize("view", [-60.0, -30.0, 0.0, 30.0, 60.0])
@pytest.mark.parametrize("turn", [-15.0, 0.0, 15.0])
def test_the_features_of_a_face_seen_from_the_front_stay(turn, view):
    assert (keep(turn, view) == 1).all()


def test_features_are_those_of_the_side_that_is_seen_much_better():
    left = load_average_head().fine[1][:, 0] > 0.02
    right = mirror_vertices()[left]
    for other, shown, poorer in ((0.9, 1.0, 0.0), (0.1, 1.0, 1.0), (0.1, 0.0, 0.0)):
        facing = np.full(coarse_count(), other)
        facing[left] = 1.0
        found = find_poorer_side(facing, np.full(coarse_count(), shown))
        assert (found[left] == 0).all()
        assert found[right] == pytest.approx(poorer)


def test_moves_of_a_turned_face_are_alike_on_both_sides_and_those_of_others_are_not():
    mirror, wanted = mirror_skin(), np.random.default_rng(1).normal(0, 1, (len(mirror_skin()), 3))
    straight, turned = (solve_alike(0.01 * sp.eye(len(mirror)), wanted, turn) for turn in (0.0, 1.0))
    np.testing.assert_allclose(straight, 100 * wanted)
    pairs, flip = mirror[mirror] == np.arange(len(mirror)), np.array([-1, 1, 1])
    before, after = (np.abs(moves[mirror] * flip - moves)[pairs].mean() for moves in (straight, turned))
    assert after < 0.05 * before


def test_lashes_are_thin_and_hair_stays():
    for part, thinner in ((Part.EYES, True), (Part.HAIR, False)):
        points = np.zeros((2, 4, 3), np.float32)
        codes = np.full(2, part, np.uint8), np.full(2, Material.HAIR, np.uint8)
        group = Strands(points, np.full((2, 4), 0.0013, np.float32), points, *codes)
        assert bool(thin_lashes(group).widths.max() < 0.3 * MILLIMETRE) == thinner
