"""Labels, hair directions and light of rendered heads, as the portrait reader learns them."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.synth.build import build
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.render.lights import reflected_light
from portrait360.synth.render.renderer import render, render_linear
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import LABEL_OF_PART, Part, Scene
from portrait360.training.data.reader_targets import light_in_view
from portrait360.utils.portrait_labels import FACE_LABELS, Label
from tests.fixtures import scenes

SIZE = 128


@pytest.fixture(scope="module")
def person():
    p = sample(3, "human")  # a man with a hat and a beard
    return prepare_scene(build(p), quality=DRAFT)


def test_every_pixel_has_the_label_of_what_covers_it_most(person):
    view = render(person, scenes.FRONT, SIZE)
    assert (view.labels[view.alpha == 0] == Label.BACKGROUND).all()
    assert (view.labels[view.alpha > 0.9] != Label.BACKGROUND).all()
    # a label refines a part: skin is face, neck, ears, lips and mouth, and what short hair shows of it
    solid = view.alpha > 0.99
    of_skin = {*FACE_LABELS, Label.SKIN, Label.HAIR, Label.BEARD}
    assert set(view.labels[solid & (view.parts == Part.SKIN)]) <= of_skin
    for part in (Part.CLOTHES, Part.EYES):
        agree = view.labels[solid & (view.parts == part)] == LABEL_OF_PART[part]
        assert agree.mean() > 0.9


def test_a_face_has_its_parts_in_their_places(person):
    labels = render(person, scenes.FRONT, SIZE).labels
    height = {label: np.argwhere(labels == label)[:, 0].mean() for label in Label if (labels == label).any()}
    order = [Label.HAT, Label.BROW, Label.EYE, Label.LIPS, Label.BEARD, Label.CLOTHES]
    assert all(height[a] < height[b] for a, b in zip(order, order[1:], strict=False))


def test_hair_directions_turn_with_the_camera():
    points = np.linspace([-0.2, 0, 0], [0.2, 0, 0], 9)[None] + np.linspace(-0.1, 0.1, 200)[:, None, None] * [0, 1, 0]
    scene = prepare_scene(Scene((), (scenes.strands(points, 0.01, (0.3, 0.2, 0.1)),), scenes.WHITE))
    for roll in (0.0, 30.0, 75.0):
        view = render(scene, Camera(look_at(0, 0, roll=roll), scenes.FOCAL), SIZE)
        flow = view.flow[view.alpha > 0.9]
        x, y = Camera(look_at(0, 0, roll=roll), scenes.FOCAL).project(points[0][[0, -1]])[0].T
        angle = np.arctan2(y[1] - y[0], x[1] - x[0])  # of a strand in the image, x right and y down
        np.testing.assert_allclose(flow.mean(0), [np.cos(2 * angle), np.sin(2 * angle)], atol=0.02)


def test_hair_directions_have_length_one_or_none(person):
    view = render(person, scenes.FRONT, SIZE)
    length = np.linalg.norm(view.flow, axis=-1)
    assert np.all((np.abs(length - 1) < 1e-4) | (length == 0))
    assert not length[view.alpha == 0].any()


def test_a_draft_looks_like_the_fine_bake(person):
    scene = build(sample(3, "human"))
    fine = render(prepare_scene(scene), scenes.FRONT, SIZE)
    draft = render(person, scenes.FRONT, SIZE)
    assert np.array_equal(fine.alpha, draft.alpha) and np.array_equal(fine.labels, draft.labels)
    assert np.abs(fine.rgb - draft.rgb).mean() < 0.02


@pytest.mark.parametrize(("seed", "azimuth"), [(3, 0), (3, 150), (12, 40)])
def test_labels_alone_are_those_of_the_whole_picture(seed, azimuth):
    scene, camera = build(sample(seed, "human")), Camera(look_at(azimuth, 10), scenes.FOCAL)
    whole = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), camera, SIZE)
    first, *others = scene.meshes
    assert first.labels is not None
    backdrop = draw_backdrop([replace(first, labels=None)], camera, SIZE).relabel(first.labels).add(others)
    view = see_labels(backdrop, scene.strands)
    assert len(np.unique(whole.labels)) > 5
    assert (view.labels != whole.labels).mean() < 2e-4  # lenses are as clear as they are drawn
    np.testing.assert_allclose(view.flow, whole.flow, atol=1e-3)
    assert np.abs(view.alpha - whole.alpha).max() < 0.02


@pytest.mark.parametrize("azimuth", [0.0, 70.0])
def test_light_in_view_axes_is_the_light_of_the_world(azimuth):
    light = replace(
        scenes.lit(), key_directions=np.zeros((0, 3), np.float32), key_colours=np.zeros((0, 3), np.float32)
    )
    camera = Camera(look_at(azimuth, 10.0), scenes.FOCAL)
    seen = light_in_view(light, camera)
    view = np.array([[0, 0, 1.0], [1, 0, 0], [0.6, 0.64, 0.48]])  # towards the camera, right, up and right
    world = view * [1, -1, -1] @ camera.cam2world[:3, :3].T
    np.testing.assert_allclose(reflected_light(seen, view), reflected_light(light.ambient, world), atol=1e-4)
