"""Heads from the coefficients of the face model: the skin of the fit, and all that lies in a head in its place."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.build import build_person
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.fitted_head import load_linear_head, make_fitted_head
from portrait360.synth.head.scan_shape import find_ball, tie_parts
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.parameters import Hair, HeadParameters, Pose, Wear
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Part, Scene
from portrait360.training.linear_models.face_model import move_heads
from portrait360.training.linear_models.pose_samples import project_shape
from tests.fixtures import scenes

PACK = load_pack()
SKIN = slice(0, PACK.body)
EYES = ("left_eye", "right_eye")
NO_SHAPE, NO_EXPRESSION = np.zeros(60), np.zeros(52)


def express(**weights: float) -> np.ndarray:
    """The coefficients of units; a name without a side means both."""
    names = [unit.removesuffix("Left").removesuffix("Right") for unit in PACK.units]
    return np.array([weights.get(unit, weights.get(name, 0.0)) for unit, name in zip(PACK.units, names, strict=True)])


EXPRESSIONS = [NO_EXPRESSION, express(eyeBlink=1), express(jawOpen=1)]


def plain(seed: int) -> HeadParameters:
    person = sample(seed, "human")
    return replace(person, pose=Pose(), shape=replace(person.shape, expression={}))


def draw(seed: int, size: float = 1.0) -> np.ndarray:
    return size * np.random.default_rng(seed).normal(size=60)


def smooth_offset(seed: int, size: float = 0.004) -> np.ndarray:
    """A random offset of the skin that bends over a few centimetres, as landmarks pull it."""
    rng, skin = np.random.default_rng(seed), load_linear_head().mean[SKIN]
    centers = skin[rng.choice(len(skin), 40, replace=False)]
    bumps = np.exp(-((skin[:, None] - centers) ** 2).sum(-1) / (2 * 0.06**2))
    offset = bumps @ (rng.normal(size=(40, 3)) * [1, 1, 0.2])
    return size * offset / np.linalg.norm(offset[skin[:, 2] > 0.1], axis=1).mean()


def lid_depths(vertices: np.ndarray) -> np.ndarray:
    """How far the vertices of the outer lids lie outside of their eyeball, in its radii."""
    mean, outer, depths = load_linear_head().mean, PACK.mask("eyelids")[SKIN] > 0.5, []
    for name in EYES:
        center, radius = find_ball(PACK, mean, name)
        arm = (mean[SKIN] - center) / radius
        lids = outer & (arm[:, 2] > 0.3) & (np.linalg.norm(arm, axis=1) > 1) & (np.linalg.norm(arm, axis=1) < 1.5)
        assert lids.sum() > 20
        center, radius = find_ball(PACK, vertices, name)
        depths.append(np.linalg.norm(vertices[SKIN][lids] - center, axis=1) / radius - 1)
    return np.concatenate(depths)


@pytest.fixture(scope="module")
def usual_depth() -> float:
    """How deep lids of the sampler's own heads lie in their eyeballs, at the worst of a few."""
    people = [plain(seed) for seed in range(5)]
    blinks = [{}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}]
    heads = [make_head(replace(p, shape=replace(p.shape, expression=blink))) for p in people for blink in blinks]
    return min(float(lid_depths(head.base).min()) for head in heads)


def test_without_coefficients_it_is_the_mean_head():
    head, mean = make_fitted_head(NO_SHAPE, NO_EXPRESSION), load_linear_head().mean
    np.testing.assert_allclose(head.base, mean, atol=1e-6)
    np.testing.assert_allclose(mean[SKIN], load_morphable().skin.mean, atol=1e-6)
    for name, part in PACK.parts.items():  # near the average head, every part in its place
        gap = mean[part].mean(0) - HEAD_HEIGHT * load_average_head().base[part].mean(0)
        assert np.linalg.norm(gap) < 0.02, name


def test_the_skin_is_that_of_the_face_model():
    expression = np.random.default_rng(1).uniform(0, 1, 52)
    for level in (1, 2):
        head = make_fitted_head(draw(1), expression, level=level)
        skin = load_morphable().skin.at(draw(1), expression)
        assert head.level == level
        np.testing.assert_allclose(head.base[SKIN], skin, atol=1e-5)
        np.testing.assert_allclose(head.body, PACK.subdivide(skin.astype(np.float32), level), atol=1e-5)


def test_the_parts_move_by_the_same_units_as_the_skin():
    units = move_heads()[:, PACK.body :]
    np.testing.assert_allclose(load_linear_head().expression[:, PACK.body :], units, atol=5e-4 * np.abs(units).max())


def test_a_persons_own_scores_give_the_person():
    for seed in range(3):  # none of those that the model was made of
        person = make_head(plain(seed)).base
        scores = project_shape(plain(seed).shape, load_morphable())
        error = np.linalg.norm(make_fitted_head(scores, NO_EXPRESSION).base - person, axis=1) / HEAD_HEIGHT
        assert error[SKIN].mean() < 0.003
        for name in EYES:
            assert error[PACK.parts[name]].mean() < 0.002
        assert error[PACK.body :].mean() < 0.002


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=["neutral", "blink", "jawOpen"])
def test_eyes_stay_in_their_sockets(expression: np.ndarray, usual_depth: float):
    linear, ties = load_linear_head(), tie_parts()
    for mode, sign in ((mode, sign) for mode in range(60) for sign in (-2.0, 2.0)):
        vertices = linear.at(sign * np.eye(60)[mode], expression)
        assert lid_depths(vertices).min() > usual_depth - 0.005
        for name, lids in zip(EYES, ties.lids, strict=True):
            center, radius = find_ball(PACK, vertices, name)
            rest, _ = find_ball(PACK, linear.at(NO_SHAPE, expression), name)
            of_lids = (vertices[SKIN] - linear.at(NO_SHAPE, expression)[SKIN])[lids].mean(0)
            assert np.linalg.norm(center - rest - of_lids) < 0.15 * radius


def test_an_offset_carries_all_that_lies_in_the_head():
    before, move = make_fitted_head(draw(2), express(jawOpen=0.5)), np.array([0.01, -0.02, 0.015])
    after = make_fitted_head(draw(2), express(jawOpen=0.5), offset=np.tile(move, (PACK.body, 1)))
    np.testing.assert_allclose(after.base - before.base, np.tile(move, (len(after.base), 1)), atol=1e-5)
    for old, new in zip(before.eyes, after.eyes, strict=True):
        np.testing.assert_allclose(new.center - old.center, move, atol=1e-5)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=["neutral", "blink", "jawOpen"])
def test_under_an_offset_lids_keep_to_their_eyeballs_and_teeth_to_their_form(expression: np.ndarray):
    for seed in range(3):
        offset = smooth_offset(seed)
        before, after = (make_fitted_head(draw(seed), expression, offset=o).base for o in (None, offset))
        assert np.abs(lid_depths(after) - lid_depths(before)).max() < 0.02
        for name in (*EYES, "upper_teeth", "lower_teeth", "tongue"):
            moved = (after - before)[PACK.parts[name]]
            assert np.ptp(moved, axis=0).max() < 1e-6 and np.abs(moved).max() < 4 * 0.004
        left = (after - before)[SKIN] - offset  # lids slide over the eyeball; nothing else leaves the offset
        around = [np.linalg.norm(before[SKIN] - find_ball(PACK, before, n)[0], axis=1) for n in EYES]
        assert np.abs(left[np.min(around, 0) > 2 * 0.032]).max() < 1e-6


def test_the_pose_turns_the_shoulders_and_leaves_the_face():
    straight, turned = (make_fitted_head(draw(3), NO_EXPRESSION, pose=Pose(turn=turn)) for turn in (0.0, 12.0))
    moved, height = np.linalg.norm(turned.base - straight.base, axis=1), load_average_head().base[:, 1]
    assert moved[height > -0.4].max() < 1e-6 and moved[SKIN][height[SKIN] < -1].min() > 0.002
    assert turned.eyes[0].center == pytest.approx(straight.eyes[0].center)


def test_coefficients_of_another_model_are_refused():
    with pytest.raises(ValueError, match="60 coefficients of shape, not 52"):
        make_fitted_head(NO_EXPRESSION, NO_SHAPE)


@pytest.mark.parametrize("style", ["bald", "bob"])
def test_hair_brows_and_glasses_grow_on_it(style: str):
    person = replace(plain(7), hair=Hair(style=style), wear=Wear(glasses="round"))
    head = make_fitted_head(draw(7), express(mouthSmile=0.6), offset=smooth_offset(7))
    geometry = build_person(head, person, np.random.default_rng(7), None)
    strands = tuple(s for s in geometry.strands if len(s.points))
    scene = prepare_scene(Scene(tuple(geometry.meshes), strands, scenes.WHITE), quality=DRAFT)
    view = render(scene, scenes.FRONT, 96)
    assert np.isfinite(view.rgb).all()
    assert {Part.SKIN, Part.EYES, Part.BROWS} <= set(view.parts[view.alpha > 0.5])
