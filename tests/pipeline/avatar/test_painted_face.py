"""Flat drawings, whose faces are painted on smooth heads."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.drawing.layers import draw_locks, hide_features, measure_gloss
from portrait360.pipeline.avatar.drawing.painted_face import EYES, follow_jaw, is_painted
from portrait360.pipeline.avatar.drawing.painted_labels import find_chest, find_cut_off, find_ink, paint_face
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.relief import press_on
from portrait360.pipeline.avatar.view.relief_trust import find_shown, leave_out_ink
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.build import build_person
from portrait360.synth.head.flat_face import find_features, flatten_face, round_cheeks
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.scene import Light, Part, Scene
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 256
CAMERA = Camera(look_at(0, 0), FOCAL)
SHORTER = 0.86  # a drawn chin, in the distance of a person's from between the eyes
CHIN, UPPER_LIP, RIGHT_EYE = 152, 13, 159
FAIR, SHADED, DARK = 0.8, 0.5, 0.2
NO_KEYS = np.zeros((0, 3), np.float32)
LIGHT = Light(np.full((9, 3), 0.1, np.float32), NO_KEYS, NO_KEYS, NO_KEYS[:, 0])


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    model = load_morphable()
    return CAMERA.project(model.rows @ model.skin.mean.astype(np.float64))[0]


def draw_face(landmarks: np.ndarray, eye: float) -> Photo:
    """Return a drawing of fair skin on a shaded neck, read as face down to the landmarks' chin, in dark hair."""
    middle = landmarks[[i for e in EYES for i in e]].mean(0) * SIDE
    height = (landmarks[CHIN, 1] * SIDE - middle[1]) * SHORTER
    rgb, labels = np.full((SIDE, SIDE, 3), SHADED, np.float32), np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    x, y = (int(v) for v in middle)
    width = int(0.45 * np.ptp(landmarks[:, 0]) * SIDE)
    cv2.ellipse(labels, (x, y), (width, int(height / SHORTER)), 0, 0, 180, int(Label.FACE), -1)
    cv2.ellipse(rgb, (x, y), (width, int(height)), 0, 0, 180, (FAIR,) * 3, -1)
    rgb[:y], labels[:y] = DARK, Label.HAIR
    for corners in EYES:
        place = tuple(int(v) for v in landmarks[list(corners)].mean(0) * SIDE)
        cv2.circle(labels, place, round(eye), int(Label.EYE), -1)
    ones = np.ones((SIDE, SIDE), np.float32)
    return Photo(rgb, rgb, ones, ones, labels, ones, np.zeros((SIDE, SIDE, 2), np.float32), CAMERA)


@pytest.fixture(scope="module")
def drawing(landmarks) -> Photo:
    return draw_face(landmarks, 12)


def portrait_of(landmarks: np.ndarray, kind: str, sure: float) -> SimpleNamespace:
    reading = SimpleNamespace(best=lambda _: (kind, sure))
    return SimpleNamespace(landmarks=landmarks, reading=reading, camera=CAMERA)


def test_only_a_drawing_with_eyes_that_no_person_has_is_painted(landmarks, drawing):
    assert is_painted(portrait_of(landmarks, "toon", 0.5), drawing)
    assert not is_painted(portrait_of(landmarks, "human", 0.9), drawing)
    assert not is_painted(portrait_of(landmarks, "toon", 0.9), draw_face(landmarks, 4))


@pytest.mark.parametrize(("azimuth", "painted"), [(-12, True), (12, True), (-30, False), (40, False)])
def test_a_face_that_is_drawn_from_aside_is_not_painted(landmarks, drawing, azimuth, painted):
    portrait = portrait_of(landmarks, "toon", 0.9)
    portrait.camera = Camera(look_at(azimuth, 0), FOCAL)
    assert is_painted(portrait, drawing) == painted


def test_landmarks_follow_the_drawn_jaw_and_eyes_stay(landmarks, drawing):
    moved = follow_jaw(landmarks, drawing)
    middle = landmarks[[i for eye in EYES for i in eye]].mean(0)
    for point in (CHIN, UPPER_LIP):
        share = (moved[point] - middle)[1] / (landmarks[point] - middle)[1]
        assert share == pytest.approx(SHORTER, abs=0.03)
    np.testing.assert_allclose(moved[RIGHT_EYE], landmarks[RIGHT_EYE], atol=1e-3)


def test_without_a_line_landmarks_stay(landmarks, drawing):
    plain = replace(drawing, rgb=np.full_like(drawing.rgb, FAIR))
    np.testing.assert_allclose(follow_jaw(landmarks, plain), landmarks, atol=1e-9)


def test_a_painted_face_ends_at_its_jaw_and_has_no_parts(landmarks, drawing):
    painted = paint_face(drawing, landmarks)
    assert painted.painted and not painted.shows(Label.EYE, Label.BROW, Label.LIPS, Label.MOUTH).any()
    middle = landmarks[[i for eye in EYES for i in eye]].mean(0) * SIDE
    depth = (landmarks[CHIN, 1] * SIDE - middle[1]) * np.array([0.5, (1 + SHORTER) / 2])
    inside, beyond = painted.labels[(middle[1] + depth).astype(int), int(middle[0])]
    assert inside == Label.FACE and beyond == Label.SKIN
    assert drawing.labels[int(middle[1] + depth[1]), int(middle[0])] == Label.FACE


def test_the_gloss_of_drawn_hair_is_a_ring_about_the_crown(head, drawing):
    geometry = build_person(head, HeadParameters(hair=Hair(style="bob")), np.random.default_rng(0))
    plain = Scene((), tuple(s for s in geometry.strands if len(s.part) and s.part[0] == Part.HAIR), LIGHT)
    rgb = drawing.rgb.copy()
    assert measure_gloss(drawing) == 0
    rgb[:30] = FAIR
    gloss = measure_gloss(replace(drawing, radiance=rgb))
    (dull, *_), (glossy, *_) = (draw_locks(plain, value).strands for value in (0.0, gloss))
    gain = np.log(glossy.albedo / dull.albedo).mean(-1)
    off = glossy.points - HEAD_CENTRE
    height = np.degrees(np.arctan2(off[..., 1], np.hypot(off[..., 0], off[..., 2])))
    ring = gain[np.abs(height - 46) < 3].mean()
    assert gloss > 0.3 and ring > gain[height < 20].mean() + 0.3 and ring > gain[height > 75].mean() + 0.3


@pytest.mark.parametrize("joined", [True, False])
def test_a_sleeve_beside_drawn_hair_is_cloth_and_gloss_is_hair(landmarks, drawing, joined):
    chest = find_chest(drawing, landmarks)
    top = int(np.nonzero(chest.all(1))[0][0]) + 8
    labels, rgb = drawing.labels.copy(), drawing.rgb.copy()
    labels[:, :60], rgb[:, :60] = Label.HAIR, DARK
    labels[top:, 60:200], rgb[top:, 60:200] = Label.CLOTHES, SHADED + 0.2
    rgb[20:30, 80:160] = FAIR  # gloss on the crown
    rgb[top:, 20 : 60 if joined else 45] = SHADED + 0.2
    painted = paint_face(replace(drawing, labels=labels, rgb=rgb), landmarks)
    sleeve = painted.labels[top + 5 : -5, 25:40]
    assert (sleeve == (Label.CLOTHES if joined else Label.HAIR)).all()
    assert (painted.labels[: top - 3, 5:55] == Label.HAIR).all() and (
        painted.labels[20:30, 80:160] == Label.HAIR
    ).all()


def test_the_line_of_a_jaw_is_shown_at_its_own_camera_only(landmarks, drawing):
    painted = paint_face(drawing, landmarks)
    uv = (np.indices((SIDE, SIDE)).transpose(1, 2, 0)[..., ::-1] + 0.5) / SIDE
    at_home, aside = (leave_out_ink(find_shown(painted), uv, np.full((SIDE, SIDE), a)) for a in (0.0, 20.0))
    assert (at_home == 1).all() and aside.min() < 0.01 and (aside == 1).mean() > 0.9
    assert not find_ink(drawing).any()


def test_a_flat_face_has_no_hollows_and_a_small_nose(head):
    flat = flatten_face(head, CAMERA.position)
    own, count = find_features(), head.pack.body
    behind = ~own & (head.base[:count, 2] < 0)
    np.testing.assert_allclose(flat.base[:count][behind], head.base[:count][behind], atol=0.004)
    seen = rasterise(flat.body, flat.triangles, CAMERA, 512).depth
    uv, depth = CAMERA.project(flat.body[:count][own].astype(np.float64))
    x, y = (uv * 512).astype(int).T
    assert (depth < seen[y, x] + 0.01).all()  # no lining of a mouth, no socket behind the face
    tip = head.pack.landmarks["nose_tip"]
    cheek = np.median(flat.base[:count][own, 2])
    assert cheek < flat.base[tip, 2] < head.base[tip, 2] - 0.01


def test_the_cheeks_of_a_flat_face_fall_back_and_keep_its_outline(head):
    skin = head.base[: head.pack.body].astype(np.float64)
    moved = round_cheeks(skin, CAMERA.position)
    np.testing.assert_allclose(CAMERA.project(moved)[0], CAMERA.project(skin)[0], atol=1e-6)
    x, y, z = skin.T
    face = (z > 0.05) & (np.abs(y) < 0.15)
    back = (z - moved[:, 2])[face] / z[face]
    middle, cheek = np.abs(x[face]) < 0.02, np.abs(x[face]) > 0.12
    assert back[middle].max() < 0.01 and back[cheek].min() > 0.15 and back.min() > -1e-6
    low = y < -0.3
    np.testing.assert_allclose(moved[low], skin[low])


def test_a_drawn_fringe_lies_on_the_face_and_hair_far_before_it_hangs_there():
    skin, depth = np.full((8, 8), 2.0, np.float32), np.full((8, 8), 2.0, np.float32)
    depth[:4], depth[4:], skin[:, :2] = 1.98, 1.8, 0
    pressed = press_on(depth, skin)
    assert (pressed[:4, 2:] > 1.99).all() and (pressed[:4, 2:] < 2).all()
    np.testing.assert_array_equal(pressed[4:], depth[4:])
    np.testing.assert_array_equal(pressed[:, :2], depth[:, :2])


def test_what_a_drawing_does_not_tell_for_sure_is_not_pure(landmarks, drawing):
    labels, rgb, alpha = drawing.labels.copy(), drawing.rgb.copy(), drawing.alpha.copy()
    labels[:, :60], rgb[:, :60] = Label.HAIR, DARK
    rgb[20:30, 80:160] = FAIR  # gloss on the crown
    rgb[-40:, 20:45] = FAIR  # something pale among the hair below
    alpha[:, :10], alpha[:, 10] = 0.5, 0.5  # haze, ten pixels wide
    alpha[:10] = 0
    alpha[10] = 0.5  # and the drawing's own edge
    pure = paint_face(replace(drawing, labels=labels, rgb=rgb, alpha=alpha), landmarks).pure
    assert (pure[20:30, 80:160] == 1).all() and (pure[-35:-5, 25:40] == 0).all()
    assert (pure[20:200, 1:9] == 0).all() and (pure[10, 60:200] == 1).all() and (pure[60:200, 15:18] == 1).all()


def test_what_haze_cuts_off_from_clothes_is_a_scrap_and_what_hair_cuts_off_is_not():
    cloth, haze = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    cloth[30:, :40], haze[30:, 30:34] = True, True
    cloth[30:40, 50:56] = True  # beyond a lock
    cut = find_cut_off(cloth, haze)
    assert cut[30:, 34:40].all() and not cut[:, :30].any() and not cut[:, 50:].any()


@pytest.mark.parametrize("bearded", [False, True])
def test_dark_cloth_below_a_drawn_jaw_is_neither_neck_nor_beard(landmarks, drawing, bearded):
    labels, rgb = drawing.labels.copy(), drawing.rgb.copy()
    low = int(np.nonzero(find_chest(drawing, landmarks).all(1))[0][0]) + 60
    rgb[low:, :40], rgb[low:, 200:], labels[low:, 200:] = DARK / 2, DARK / 2, Label.BEARD
    labels[-20:], rgb[-20:] = Label.CLOTHES, DARK / 2
    painted = paint_face(replace(drawing, labels=labels, rgb=rgb), landmarks, bearded=bearded)
    assert np.isin(painted.labels[low + 5 : -25, 5:35], (Label.HAIR, Label.CLOTHES)).all()
    assert ((painted.labels[low + 5 : -25, 205:] == Label.BEARD) == bearded).all()
    assert (painted.labels[low + 5 : -25, 100:150] == Label.SKIN).all()


def test_the_layers_of_a_drawing_are_one_skin_and_large_locks(head):
    person = HeadParameters(hair=Hair(style="bob"))
    geometry = build_person(flatten_face(head, CAMERA.position), person, np.random.default_rng(0))
    hidden = hide_features(geometry, person.skin.tone)
    skin = max(hidden.meshes, key=lambda mesh: (mesh.part[0] == Part.SKIN) * len(mesh.vertices))
    assert skin.labels is not None and not np.isin(skin.labels, (Label.LIPS, Label.MOUTH, Label.BROW)).any()
    eyes = [mesh for mesh in hidden.meshes if mesh.part[0] == Part.EYES]
    assert eyes and max(mesh.vertices[:, 2].max() for mesh in eyes) < head.body[:, 2].max() - 0.03
    assert not any(group.part[0] == Part.BROWS for group in hidden.strands)
    before = Scene((), tuple(hidden.strands), LIGHT)
    for old, new in zip(before.strands, draw_locks(before).strands, strict=True):
        if old.part[0] == Part.HAIR:
            tone = np.log(new.albedo.mean((1, 2)))
            neighbours = KDTree(old.points.reshape(len(tone), -1)).query(old.points.reshape(len(tone), -1), k=2)[1][
                :, 1
            ]
            assert tone.std() > 0.05 and np.median(np.abs(tone - tone[neighbours])) < 0.3 * tone.std()
            np.testing.assert_allclose(new.albedo.mean((0, 1)), old.albedo.mean((0, 1)), rtol=1e-3)
