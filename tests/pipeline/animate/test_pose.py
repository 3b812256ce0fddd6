"""An avatar with another expression: what moves, what stays, and what is seen then."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from portrait360.pipeline.animate.lighting import make_studio, parse_light
from portrait360.pipeline.animate.moving_parts import find_first
from portrait360.pipeline.animate.neck import NeckTurn, neck_vector
from portrait360.pipeline.animate.openings import LINE, LOWERED
from portrait360.pipeline.animate.pose import PosedAvatar, make_puppet, pose_avatar, read_weights
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.drawing.layers import hide_features
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.synth.build import HeadGeometry
from portrait360.synth.render.renderer import render_linear
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label

SIZE = 192
BROWS = 0.03  # picture sides above the bridge of the nose
OPEN, SHUT = {"jawOpen": 0.5}, {"eyeBlink": 1.0}


@pytest.fixture(scope="module")
def avatar(quick_avatar) -> Avatar:
    return quick_avatar


def labels_of(avatar: Avatar, expression: dict[str, float]) -> np.ndarray:
    posed = pose_avatar(avatar, expression)
    assert isinstance(posed, PosedAvatar)
    return render_linear(posed.scene, avatar.camera, 2 * SIZE).labels


def test_the_photos_own_weights_return_the_unchanged_render(avatar):
    puppet = make_puppet(avatar)
    own = dict(zip(puppet.names, puppet.weights.tolist(), strict=True))
    assert pose_avatar(avatar, own) is avatar and pose_avatar(avatar, {}) is avatar
    still = PosedAvatar(puppet, puppet.weights, NeckTurn(puppet.neck, neck_vector(0, 0, 0)))
    for camera in (avatar.camera, avatar.camera.orbit_to(azimuth=avatar.camera.azimuth + 25)):
        before, after = avatar.render(camera, SIZE), still.render(camera, SIZE)
        np.testing.assert_allclose(after.rgb, before.rgb, atol=5e-4)  # an eighth of a grey value
        np.testing.assert_allclose(after.mask, before.mask, atol=1e-5)


def test_a_small_step_changes_little(avatar):
    weight = float(make_puppet(avatar).weights[make_puppet(avatar).names.index("jawOpen")])
    before = avatar.render(avatar.camera, SIZE).rgb
    after = pose_avatar(avatar, {"jawOpen": weight + 0.01}).render(avatar.camera, SIZE).rgb
    change = np.abs(after - before).max(-1)
    assert 0 < change.mean() < 1e-3 and np.quantile(change, 0.999) < 0.05


def test_an_open_jaw_moves_the_chin_and_leaves_brows_and_hair_alone(avatar):
    before, after = avatar.render(avatar.camera, SIZE), pose_avatar(avatar, OPEN).render(avatar.camera, SIZE)
    nose, chin = (avatar.camera.project(avatar.scene.landmarks[name])[0][1] for name in ("nose_bridge", "chin"))
    rows = (np.arange(SIZE) + 0.5) / SIZE
    change = np.abs(after.rgb - before.rgb).max(-1)
    assert change[rows < nose - BROWS].max() < 0.02
    assert change[(rows > nose) & (rows < chin)].mean() > 0.01


def test_an_open_mouth_shows_teeth_between_the_lips_and_nowhere_else(avatar):
    labels = labels_of(avatar, OPEN)
    inside, lips = labels == Label.MOUTH, np.isin(labels, (Label.LIPS, Label.MOUTH))
    assert inside.sum() > 150
    points = np.argwhere(labels == Label.LIPS)[:, ::-1].astype(np.int32)
    hull = np.zeros(labels.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    assert (inside & ~cv2.dilate(hull, np.ones((5, 5), np.uint8)).astype(bool)).sum() == 0
    assert cv2.connectedComponents(lips.astype(np.uint8))[0] == 2  # one mouth, not torn


def test_a_painted_face_moves_without_an_opening(avatar):
    scene = avatar.scene
    layers = HeadGeometry(list(scene.meshes), list(scene.strands), scene.landmarks)
    flat = hide_features(layers, avatar.parameters.skin.tone)
    painted = replace(avatar, scene=replace(scene, meshes=tuple(flat.meshes), strands=tuple(flat.strands)))
    before, after = painted.render(avatar.camera, SIZE), pose_avatar(painted, OPEN).render(avatar.camera, SIZE)
    assert np.isfinite(after.rgb).all() and 1e-4 < np.abs(after.rgb - before.rgb).mean() < 0.1


def test_closed_lids_leave_no_gap(avatar):
    """Lashes have the label of eyes; what is seen of eyeballs is told by their radiance in a light of their own."""
    posed = pose_avatar(avatar, SHUT)
    assert isinstance(posed, PosedAvatar)

    def count(scene) -> int:
        values = scene.surface.values.copy()
        rows = np.r_[posed.puppet.openings.eyes]
        values[:, 6:9] = 0
        values[rows, 6:9] = 1  # albedo
        lit = replace(scene, surface=scene.surface._replace(values=values))
        lit = replace(lit, curves=lit.curves._replace(diffuse=0 * lit.curves.diffuse, albedo=0 * lit.curves.albedo))
        eyes = render_linear(lit, avatar.camera, 2 * SIZE)
        return int(((eyes.radiance.mean(-1) > 0.15) & (eyes.labels == Label.EYE)).sum())

    assert count(avatar.prepared_scene) > 60
    assert count(posed.scene) <= 2


def test_closed_lids_are_even_above_their_lashes_and_no_other_skin_changes_its_colour(avatar):
    """Open eyes show folds and lashes on lids, which closing them would stretch into streaks."""
    puppet, skin = make_puppet(avatar), find_skin(avatar)
    one = read_weights({"eyeBlinkLeft": 1.0}, puppet.names, puppet.weights)
    rows = slice(first := find_first(avatar, skin), first + len(skin.vertices))
    change = puppet.openings.calm_lids(one)
    lids = puppet.openings.lids[0, rows].any(-1)
    assert lids.sum() > 50 and (skin.vertices[lids, 0] > 0).all() and not change[rows][~lids].any(-1).any()
    before, after = skin.albedo[lids], skin.albedo[lids] + change[rows][lids]
    moved = puppet.parts.move(one).surface[rows][lids]
    now, lowered = skin.vertices[lids] + moved, -moved[:, 1] > LOWERED
    edge = cKDTree(now[~lowered]).query(now)[0]
    even, line = lowered & (edge > 2 * LINE), lowered & (edge < 0.3 * LINE)
    assert after[even].std(0).max() < 0.8 * before.std(0).max()
    assert after[line].mean() < 0.7 * after[even].mean(), "roots of lashes are a dark line"
    assert not puppet.openings.calm_lids(puppet.weights).any()


def test_turned_eyes_leave_the_photos_lids_alone(avatar):
    before = avatar.render(avatar.camera, SIZE).rgb
    after = pose_avatar(avatar, {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}).render(avatar.camera, SIZE).rgb
    eyes = cv2.resize(avatar.picture.mask((Label.EYE,)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    change = np.abs(after - before).max(-1)
    assert change[eyes > 0.5].mean() > 0.05
    assert change[cv2.dilate(eyes, np.ones((3, 3))) < 0.01].max() < 0.05


def test_a_mouth_closes_what_the_jaw_has_opened_and_a_tongue_parts_the_teeth(avatar):
    puppet, nothing = make_puppet(avatar), np.zeros(52, np.float32)
    jaw, lips = puppet.names.index("jawOpen"), puppet.names.index("mouthClose")
    assert read_weights({"mouthClose": 1.0}, puppet.names, nothing)[lips] == 0
    assert read_weights({"mouthClose": 1.0, "jawOpen": 0.6}, puppet.names, nothing)[lips] == pytest.approx(0.6)
    assert 0.2 < read_weights({"tongueOut": 1.0}, puppet.names, nothing)[jaw] < 0.5
    tongue = puppet.weights.copy()
    tongue[puppet.names.index("tongueOut")] += 1
    assert puppet.openings.measure_change(puppet.parts.move(tongue))[2] == 1  # it is seen before the photo's lips


def test_a_turned_head_is_what_a_camera_further_round_sees(avatar):
    yaw = 18.0
    turned = pose_avatar(avatar, {}, (yaw, 0.0, 0.0))
    assert isinstance(turned, PosedAvatar)
    moved = turned.render(avatar.camera, SIZE)
    aside = avatar.render(turned.turn.to_head(avatar.camera), SIZE)
    nose = turned.turn.to_head(avatar.camera).project(avatar.scene.landmarks["nose_bridge"])[0] * SIZE
    assert nose[0] > avatar.camera.project(avatar.scene.landmarks["nose_bridge"])[0][0] * SIZE + 5  # to its left
    x, y = nose.astype(int)
    face = (slice(y - 14, y + 14), slice(x - 16, x + 12))
    np.testing.assert_allclose(moved.rgb[face], aside.rgb[face], atol=0.02)
    below = avatar.render(avatar.camera, SIZE)
    shoulders = slice(SIZE - 12, SIZE)
    assert (
        np.abs(moved.rgb[shoulders] - below.rgb[shoulders]).mean()
        < 0.5 * np.abs(aside.rgb[shoulders] - below.rgb[shoulders]).mean()
    )  # which stay


@pytest.mark.parametrize(("expression", "neck"), [({"smirk": 1.0}, (0, 0, 0)), ({"jawOpen": np.nan}, (0, 0, 0))])
def test_what_no_face_can_do_is_told(avatar, expression, neck):
    with pytest.raises(UserError):
        pose_avatar(avatar, expression, neck)
    with pytest.raises(UserError):
        pose_avatar(avatar, {}, (np.inf, 0, 0))


def test_its_own_light_changes_nothing_and_a_lamp_lights_its_side(avatar):
    before = avatar.render(avatar.camera, SIZE)
    own = make_studio(avatar, avatar.scene.light).light(avatar).render(avatar.camera, SIZE)
    np.testing.assert_allclose(own.rgb, before.rgb, atol=0.02)  # where it is nearly white, photos say less
    face = np.s_[SIZE // 3 : 2 * SIZE // 3]
    middle = int(avatar.camera.project(avatar.scene.landmarks["nose_bridge"])[0][0] * SIZE)
    sides = []
    for azimuth in (70, -70):
        lit = make_studio(avatar, parse_light(f"{azimuth},10")).light(avatar).render(avatar.camera, SIZE)
        weight = lit.mask[face]
        right = (lit.rgb[face].mean(-1) * weight)[:, middle:].sum() / weight[:, middle:].sum()
        left = (lit.rgb[face].mean(-1) * weight)[:, :middle].sum() / weight[:, :middle].sum()
        sides.append(right / left)
    assert sides[0] > 1.25 * sides[1]


def test_eyes_of_a_drawing_close_in_its_pixels_and_its_layers_stay(avatar):
    size, eyes = avatar.picture.size, np.zeros(avatar.picture.labels.shape, np.uint8)
    places = [avatar.camera.project(avatar.scene.landmarks[f"{side}_eye_top"])[0] for side in ("left", "right")]
    for place in places:
        cv2.circle(eyes, tuple(int(v * size) for v in place), round(0.03 * size), 1, -1)
    near = cv2.dilate(eyes, np.ones((25, 25))) > 0
    labels = np.where(near, np.uint8(Label.FACE), avatar.picture.labels)
    drawn = replace(avatar, picture=replace(avatar.picture, labels=labels, eyes=eyes > 0))
    posed = pose_avatar(drawn, SHUT)
    assert isinstance(posed, PosedAvatar) and not posed.shift.surface.any()
    change = np.abs(posed.render(avatar.camera, SIZE).rgb - drawn.render(avatar.camera, SIZE).rgb).max(-1)
    shut, beside = (cv2.resize(mask.astype(np.uint8), (SIZE, SIZE)) > 0 for mask in (eyes, ~near))
    assert change[shut].mean() > 0.03 and change[beside].max() < 5e-3
