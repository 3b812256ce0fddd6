"""An animal's head has a muzzle, ears with backs, and fur all around; nothing of the background gets onto it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.portrait.face_detection import LANDMARKS
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.animal_body import cloth_behind, is_dressed, torso_depth
from portrait360.pipeline.proxy.animal_shape import animal_radius, extend_mask, find_snout, is_animal, subject_matte
from portrait360.pipeline.proxy.from_portrait import ANIMAL_LAYOUT, animal_from_photo, proxy_from_photo
from portrait360.pipeline.proxy.fur_texture import fade_photo_edge, fur_direction, read_coat
from portrait360.pipeline.proxy.learned_completion import complete_with_network
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.portrait_labels import Label

SIZE, FOCAL = 256, focal_from_fov(18.8)
FUR, PINK, GREEN = (0.6, 0.42, 0.25), (0.95, 0.45, 0.5), (0.1, 0.9, 0.1)
PHOTO_END = 200  # rows


def draw(parts: list[np.ndarray]) -> np.ndarray:
    """Return 1 (s, s) inside the polygons."""
    out = np.zeros((SIZE, SIZE), np.float32)
    for polygon in parts:
        cv2.fillPoly(out, [np.round(polygon * 16).astype(np.int32)], (1.0,), cv2.LINE_AA, shift=4)
    return out


def ellipse(x: float, y: float, width: float, height: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], 1)


SKULL = [ellipse(128, 130, 60, 62), np.array([[85.0, 150], [171, 150], [175, PHOTO_END], [81, PHOTO_END]])]
EARS = [np.array([[72.0, 110], [66, 40], [106, 78]]), np.array([[184.0, 110], [190, 40], [150, 78]])]
INNER_EARS = [np.array([[78.0, 98], [72, 56], [94, 82]]), np.array([[178.0, 98], [184, 56], [162, 82]])]
FEATURES = [ellipse(103, 118, 7, 7), ellipse(153, 118, 7, 7), ellipse(128, 150, 11, 7)]


@pytest.fixture(scope="module")
def animal() -> Portrait:
    """A drawn head with fur of short strokes, before green, cut off at the neck by the photo's lower edge."""
    rng = np.random.default_rng(0)
    alpha = draw(SKULL + EARS)
    strokes = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), 0.7, sigmaY=3.0)
    fur = np.array(FUR, np.float32) * np.exp(0.15 * strokes / strokes.std())[..., None]
    pink, dark = (draw(parts)[..., None] for parts in (INNER_EARS, FEATURES))
    rgb = fur + pink * (np.array(PINK, np.float32) - fur)
    rgb = rgb * (1 - 0.95 * dark)
    rgb = np.array(GREEN, np.float32) + alpha[..., None] * (rgb - np.array(GREEN, np.float32))
    known = np.zeros((SIZE, SIZE), np.float32)
    known[:PHOTO_END] = 1
    probabilities = np.zeros((len(Label), SIZE, SIZE), np.float32)
    probabilities[Label.EYE] = dark[..., 0]
    probabilities[Label.HAIR] = alpha - alpha * dark[..., 0]
    probabilities[Label.BACKGROUND] = 1 - alpha
    zeros = np.zeros((SIZE, SIZE, 3), np.float32)
    answers = {"kind": {"animal": 0.9, "human": 0.1}}
    reading = Reading(probabilities, alpha, zeros[..., :2], zeros, answers, {})
    model = load_morphable().skin
    return Portrait(
        rgb=np.clip(rgb, 0, 1),
        alpha=alpha,
        inside_photo=known,
        camera=Camera(look_at(0), FOCAL),
        source="matte",
        corner=(0.0, 0.0),
        side=float(SIZE),
        landmarks=None,
        shape=np.zeros(len(model.shape)),
        expression=np.zeros(len(model.expression)),
        reading=reading,
    )


@pytest.fixture(scope="module")
def head(animal):
    return animal_from_photo(animal)


def view(head, azimuth: float, elevation: float = 0.0):
    return head.render(Camera(look_at(azimuth, elevation), FOCAL), 128)


def read_as(animal: Portrait, share: float, source: str) -> Portrait:
    assert animal.reading is not None
    reading = replace(animal.reading, answers={"kind": {"animal": share, "human": 1 - share}})
    return replace(animal, reading=reading, source=source, landmarks=np.zeros((LANDMARKS, 2)))


def test_what_the_reader_takes_for_an_animal_is_one(animal):
    assert is_animal(animal)
    assert not is_animal(replace(animal, reading=None))
    assert not is_animal(read_as(animal, 0.1, "matte"))
    assert proxy_from_photo(animal).layout == ANIMAL_LAYOUT


def test_a_face_in_a_muzzle_makes_no_human_of_an_animal(animal):
    """Detectors of human faces find some: then the reader has to be surer."""
    assert is_animal(read_as(animal, 0.6, "matte")) and not is_animal(read_as(animal, 0.6, "face"))
    assert is_animal(read_as(animal, 0.9, "face"))
    assert can_fit_avatar(read_as(animal, 0.1, "face")) and not can_fit_avatar(read_as(animal, 0.9, "face"))
    assert not isinstance(build_proxy(read_as(animal, 0.9, "face")), Avatar)


def test_the_network_that_knows_people_leaves_animals_alone(animal, head):
    assert complete_with_network(animal, head) is head


def test_the_photo_comes_back_at_its_own_camera(animal, head):
    back = head.render(animal.camera, SIZE)
    inside = (animal.alpha > 0.9) & (fade_photo_edge(animal.inside_photo) > 0.99)
    assert -10 * np.log10(((back.rgb - animal.rgb)[inside] ** 2).mean()) > 30
    assert np.mean((back.mask > 0.5)[:PHOTO_END] != (animal.alpha > 0.5)[:PHOTO_END]) < 0.02


def test_the_snout_is_where_eyes_and_nose_are():
    features = draw(FEATURES)
    snout = find_snout(features)
    assert snout is not None and snout.x == pytest.approx(128 / SIZE, abs=0.01) and 150 < snout.y * SIZE < 165
    assert find_snout(features * (np.arange(SIZE) < 140)[:, None]) is None  # no nose
    assert find_snout(features * (np.arange(SIZE) < 128)) is None  # one eye
    assert find_snout(np.zeros((SIZE, SIZE), np.float32)) is None


def test_the_muzzle_sticks_out_in_front_only(animal, head):
    assert animal.reading is not None
    blind = animal.reading.probabilities.copy()
    blind[Label.HAIR] += blind[Label.EYE]
    blind[Label.EYE] = 0
    flat = animal_radius(replace(animal, reading=replace(animal.reading, probabilities=blind)), ANIMAL_LAYOUT)
    longer = head.radius - flat
    row = round(float(ANIMAL_LAYOUT.locate(np.array([0, -0.08, 0.3]))[1]))
    assert longer[row, 0] > 0.08 and longer.max() == pytest.approx(
        longer[row - 12 : row + 12, [-2, 0, 2]].max(), abs=0.02
    )
    assert np.abs(longer[:, ANIMAL_LAYOUT.columns // 2]).max() < 0.06


def test_ears_are_thin_and_have_backs_of_fur(head):
    front, back, side = (view(head, azimuth) for azimuth in (0, 180, 90))
    ear = np.zeros((128, 128), bool)
    ear[24:38, 30:47] = True  # the tip, left in the picture
    assert (front.mask[ear] > 0.5).sum() > 40 and (back.mask[ear] > 0.5).sum() > 40
    fur = back.rgb[ear & (back.mask > 0.99)]
    hue = fur / fur.sum(1, keepdims=True)
    np.testing.assert_allclose(np.median(hue, 0), np.array(FUR) / sum(FUR), atol=0.04)
    deep = (side.mask > 0.5)[26:34].sum(1)
    assert 0 < deep.max() < 26 and deep.max() < 0.45 * (side.mask > 0.5)[64].sum()


@pytest.mark.parametrize("azimuth", [30, 60, 90, 135, 180, 270])
def test_no_background_is_seen_from_any_side(head, azimuth):
    seen = view(head, azimuth, 10)
    solid = seen.mask > 0.99
    assert (seen.rgb[solid][:, 1] > seen.rgb[solid][:, 0] + 0.05).mean() < 0.003


def test_fur_behind_is_as_rough_as_in_front_and_has_no_bands(animal, head):
    seen = view(head, 180)
    patch = seen.rgb[40:96, 44:84].mean(-1)
    front = view(head, 0).rgb[84:98, 50:78].mean(-1)
    rough = [np.log(p + 0.03).std() for p in (patch, front)]
    assert 0.4 * rough[1] < rough[0] < 1.8 * rough[1]
    rows = np.log(patch + 0.03) - np.log(patch + 0.03).mean()
    assert rows.mean(1).std() < 0.4 * rows.std()


def test_the_neck_goes_on_below_the_photo_without_a_step(animal, head):
    mask = extend_mask(subject_matte(animal), animal.inside_photo)
    assert mask[-1].any()
    seen = view(head, 0)
    above, below = (seen.rgb[rows, 50:78].mean((0, 1)) for rows in (slice(90, 96), slice(102, 108)))
    assert (seen.mask[100:127, 52:76] > 0.99).all()
    np.testing.assert_allclose(below, above, atol=0.05)


@pytest.mark.parametrize(("width", "is_cut"), [(60, True), (12, False)])
def test_an_animal_that_a_straight_line_cuts_off_goes_on_below_it_and_a_narrow_end_does_not(width, is_cut):
    body = np.array([[68.0, 100], [188, 100], [128 + width, 220], [128 - width, 220]])
    mask = extend_mask(draw([ellipse(128, 100, 60, 54), body]), np.ones((SIZE, SIZE), np.float32))
    assert mask[-1].any() == is_cut


def test_patches_come_from_fur_alone(animal):
    assert animal.reading is not None
    features = animal.reading.probabilities[Label.EYE]
    coat = read_coat(animal.rgb, animal.alpha * animal.inside_photo, features)
    x, y = coat.centres.astype(int).T
    assert len(x) and (animal.alpha[y, x] > 0.99).all()
    hue = animal.rgb[y, x] / animal.rgb[y, x].sum(1, keepdims=True)
    np.testing.assert_allclose(hue, np.broadcast_to(np.array(FUR) / sum(FUR), hue.shape), atol=0.03)
    assert np.abs(coat.along[:, 1]).mean() > 0.9  # the strokes are upright


def test_fur_grows_along_the_surface_backward_and_down():
    camera = Camera(look_at(0), FOCAL)
    normals = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    along = fur_direction(normals, camera)
    np.testing.assert_allclose((along * normals).sum(1), 0, atol=1e-9)
    assert along[0, 2] == pytest.approx(-1) and along[1, 1] == pytest.approx(-1) and along[2, 1] < -0.5


def test_the_same_photo_gives_the_same_animal(animal, head):
    again = animal_from_photo(animal)
    assert np.array_equal(again.radius, head.radius) and np.array_equal(again.colours, head.colours)


# in clothes

BLUE = (0.15, 0.25, 0.7)
HEAD, NECK = ellipse(128, 100, 52, 54), np.array([[98.0, 120], [158, 120], [158, 220], [98, 220]])
CLOTHES = np.array([[96.0, 168], [160, 168], [236, 196], [236, SIZE], [20, SIZE], [20, 196]])


@pytest.fixture(scope="module")
def dressed(animal) -> Portrait:
    """The head of an animal in a blue pullover, before green."""
    cloth, dark = draw([CLOTHES]), draw([np.array(one) - (0, 20) for one in FEATURES])
    alpha = np.maximum(draw([HEAD, NECK]), cloth)
    strokes = cv2.GaussianBlur(np.random.default_rng(0).normal(size=alpha.shape).astype(np.float32), (0, 0), 1.5)
    fur = np.array(FUR, np.float32) * np.exp(0.1 * strokes / strokes.std())[..., None]
    rgb = fur * (1 - 0.95 * dark[..., None]) * (1 - cloth[..., None]) + cloth[..., None] * np.array(BLUE, np.float32)
    probabilities = np.zeros_like(animal.reading.probabilities)
    probabilities[Label.EYE], probabilities[Label.CLOTHES] = dark, cloth
    probabilities[Label.HAIR] = np.clip(alpha - dark - cloth, 0, 1)
    probabilities[Label.BACKGROUND] = 1 - alpha
    rgb = np.array(GREEN, np.float32) + alpha[..., None] * (rgb - np.array(GREEN, np.float32))
    reading = replace(animal.reading, probabilities=probabilities, alpha=alpha)
    return replace(animal, rgb=rgb, alpha=alpha, inside_photo=np.ones_like(alpha), reading=reading)


def share_of_blue(view) -> np.ndarray:
    """Return how much of each row of what is seen is blue, nan for rows that show nothing."""
    seen = view.mask > 0.99
    blue = seen & (view.rgb[..., 2] > view.rgb[..., 0])
    return blue.sum(1) / np.where(seen.any(1), seen.sum(1), np.nan)


@pytest.mark.parametrize("azimuth", [60, 90, 180, 270])
def test_fur_ends_where_clothes_begin(dressed, azimuth):
    camera = Camera(look_at(azimuth), focal_from_fov(18.8))
    blue = share_of_blue(animal_from_photo(dressed).render(camera, 128))
    assert np.nanmax(blue[:76]) < 0.02 and np.nanmin(blue[96:]) > 0.95


def test_a_neck_is_thinner_than_the_head_and_the_torso_below_it(dressed):
    side = animal_from_photo(dressed).render(Camera(look_at(90), focal_from_fov(18.8)), 128).mask > 0.5
    head, neck, torso = side[50].sum(), side[80].sum(), side[110].sum()
    assert neck < 0.85 * head and neck < 0.9 * torso


def test_a_collar_makes_no_torso():
    mask = np.zeros((100, 100), bool)
    mask[10:, 30:70] = True
    below = (np.arange(100)[:, None] > 60) * np.ones((100, 100), np.float32)
    band = below * (np.arange(100)[:, None] < 70)
    assert is_dressed(mask, below) and not is_dressed(mask, band)
    assert cloth_behind(mask, band)[65].min() > 0.9 and cloth_behind(mask, band)[90].max() < 0.1


def test_an_open_collar_is_closed_behind():
    mask = np.ones((100, 100), bool)
    rows, columns = np.mgrid[:100, :100]
    cloth = (rows > 90 - np.abs(columns - 50)).astype(np.float32)  # a deep V
    assert cloth_behind(mask, cloth)[60].min() > 0.9 and cloth[60].min() == 0


def test_a_torso_is_flatter_than_wide_and_a_neck_is_round():
    mask = np.zeros((100, 100), bool)
    mask[:50, 40:60], mask[50:, 5:95] = True, True
    deep = torso_depth(mask, 10.0).max(1)
    np.testing.assert_allclose(deep[20], 10, rtol=0.02)
    assert 10 < deep[90] < 0.7 * 45
