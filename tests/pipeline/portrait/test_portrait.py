"""From any photo to an aligned portrait: what it is, what must not matter, how it is framed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, azimuth_between, look_at
from portrait360.geometry.canonical_frame import FRAME_MARGIN
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.crop import CropSquare, cut
from portrait360.pipeline.portrait.matting import MOST
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.errors import UserError
from portrait360.utils.images import Picture
from tests.fixtures.photos import FOCAL, IMAGE, assert_same, turn


@pytest.fixture(scope="module")
def portrait(photo) -> Portrait:
    return make_portrait(photo, size=256)


# what a portrait is


def test_the_astronaut_looks_into_the_camera_and_lies_in_the_middle(portrait):
    assert portrait.source == "face" and portrait.warnings == ()
    assert abs(azimuth_between(portrait.camera.azimuth, 0)) < 6 and abs(portrait.camera.elevation) < 10
    assert abs(portrait.camera.roll) < 6 and portrait.camera.focal == FOCAL
    eyes = portrait.landmarks[[33, 263]]
    assert 0.3 < eyes[0, 0] < 0.45 < 0.5 < eyes[1, 0] < 0.65 and (abs(eyes[:, 1] - 0.5) < 0.08).all()
    np.testing.assert_allclose(np.add(portrait.corner, portrait.side / 2), (224, 93), atol=12)
    assert portrait.alpha[100:180, 100:150].min() > 0.95 and portrait.alpha[:40].max() < 0.05


def test_beyond_the_photo_nothing_is_known_and_the_wall_goes_on(portrait):
    rows = int(-portrait.corner[1] / portrait.side * 256)  # above the photo's upper edge
    assert 25 < rows < 60
    assert portrait.inside_photo[: rows - 3].max() < 0.02 and portrait.inside_photo[rows + 3 :].min() > 0.98
    assert abs(portrait.rgb[rows - 2] - portrait.rgb[rows + 2]).mean() < 0.02  # no seam
    assert np.abs(np.diff(portrait.rgb[: rows // 2], axis=1)).max() < 0.02  # no detail


def test_landmarks_are_where_the_crop_says(photo, portrait):
    places = portrait.landmarks * portrait.side + portrait.corner
    direct = make_portrait(Picture(photo.rgb, np.ones_like(photo.rgb[..., 0])), size=64)
    np.testing.assert_allclose(direct.landmarks * direct.side + direct.corner, places, atol=0.01)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_portrait_comes_back_from_its_files_exactly(tmp_path, portrait, mirrored):
    if mirrored:  # what a portrait by its outline has not
        portrait = replace(
            portrait, landmarks=None, source="matte", warnings=("ä", "b"), alpha=np.ones_like(portrait.alpha)
        )
    portrait.save(tmp_path / "new" / "folder")
    assert_same(Portrait.load(tmp_path / "new" / "folder"), portrait)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "known.png",
        "portrait.json",
        "portrait.png",
        "reading.npz",
    ]


def test_a_portrait_replaces_another(tmp_path, portrait):
    replace(portrait, side=1.0, rgb=1 - portrait.rgb).save(tmp_path)
    portrait.save(tmp_path)
    assert Portrait.load(tmp_path).side == portrait.side


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "portrait.json").write_text("{}"),
        lambda d: (d / "portrait.json").write_text("[" * 100_000),
        lambda d: (d / "portrait.json").write_bytes(b"\xff\xfe\x00"),
        lambda d: (d / "portrait.json").write_text((d / "portrait.json").read_text().replace("2.7", "NaN", 1)),
        lambda d: (d / "portrait.json").write_text((d / "portrait.json").read_text().replace('360": 2', '360": 9')),
        lambda d: (d / "portrait.png").unlink(),
        lambda d: IMAGE.save(d / "portrait.png"),  # of another portrait: the writing was stopped half-way
        lambda d: (d / "known.png").write_bytes(b"\x89PNG"),
    ],
    ids=["empty", "deep", "binary", "nan", "format", "missing", "foreign", "cut"],
)
def test_a_damaged_folder_is_one_sentence(tmp_path, portrait, damage):
    camera = Camera(look_at(0), FOCAL)  # 2.7 is in it as it is
    replace(portrait, camera=camera).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match="is damaged; make it again") as caught:
        Portrait.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_foreign_folder_and_a_folder_that_cannot_be(tmp_path, portrait):
    with pytest.raises(UserError, match="contains no portrait"):
        Portrait.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder"):
        portrait.save(tmp_path / "file")


# what must not matter


def test_a_framed_photo_gives_the_same_crop(cutout):
    base = make_portrait(cutout, size=128)
    rgb = cv2.copyMakeBorder(cutout.rgb, 60, 0, 110, 40, cv2.BORDER_REPLICATE)
    moved = make_portrait(
        Picture(rgb, cv2.copyMakeBorder(cutout.alpha, 60, 0, 110, 40, cv2.BORDER_REPLICATE)), size=128
    )
    assert turn(base.camera, moved.camera) < 1
    np.testing.assert_allclose(np.subtract(moved.corner, base.corner), (110, 60), atol=0.01 * base.side)
    assert moved.side == pytest.approx(base.side, rel=0.01)
    sure = (base.inside_photo > 0.99) & (moved.inside_photo > 0.99)
    assert abs(moved.rgb - base.rgb)[sure].mean() < 0.015 and abs(moved.alpha - base.alpha)[sure].mean() < 0.01


@pytest.mark.parametrize("scale", [0.5, 2])
def test_a_scaled_photo_gives_the_same_camera(cutout, scale):
    area = {"fx": scale, "fy": scale, "interpolation": cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC}
    scaled = Picture(cv2.resize(cutout.rgb, None, **area), cv2.resize(cutout.alpha, None, **area))
    base, other = make_portrait(cutout, size=128), make_portrait(scaled, size=128)
    assert turn(base.camera, other.camera) < (1 if scale > 1 else 1.5)
    assert other.side == pytest.approx(base.side * scale, rel=0.015)
    assert abs(base.rgb - other.rgb).mean() < 0.015


def test_the_mirror_image_has_the_mirrored_camera(cutout):
    base = make_portrait(cutout, size=64)
    mirror = make_portrait(Picture(*(np.ascontiguousarray(v[:, ::-1]) for v in (cutout.rgb, cutout.alpha))), size=64)
    assert abs(azimuth_between(-base.camera.azimuth, mirror.camera.azimuth)) < 3
    assert abs(base.camera.elevation - mirror.camera.elevation) < 3 and abs(base.camera.roll + mirror.camera.roll) < 1
    assert mirror.side == pytest.approx(base.side, rel=0.02)


def test_a_turned_photo_rolls_the_camera(cutout):
    matrix = cv2.getRotationMatrix2D((227, 110), -20, 1.0)  # OpenCV's negative angles are clockwise
    turned = Picture(*(cv2.warpAffine(v, matrix, (512, 512)) for v in (cutout.rgb, cutout.alpha)))
    base, other = make_portrait(cutout, size=64), make_portrait(turned, size=64)
    assert other.camera.roll - base.camera.roll == pytest.approx(20, abs=1.5)
    assert abs(azimuth_between(base.camera.azimuth, other.camera.azimuth)) < 2.5


def test_where_the_camera_stands_may_be_said(cutout):
    free = make_portrait(cutout, size=64)
    both = make_portrait(cutout, azimuth=25, elevation=-10, size=64)
    assert both.camera.azimuth == pytest.approx(25) and both.camera.elevation == pytest.approx(-10)
    one = make_portrait(cutout, azimuth=-8, size=64)
    assert one.camera.azimuth == pytest.approx(352) and one.camera.elevation == pytest.approx(free.camera.elevation)
    assert both.source == one.source == "face" and abs(one.camera.roll - free.camera.roll) < 3


# framing


def test_a_tall_hat_makes_the_crop_larger_about_the_same_middle(cutout):
    base = make_portrait(cutout, size=64)
    alpha, rgb = (cv2.copyMakeBorder(v, 80, 0, 0, 0, cv2.BORDER_REPLICATE) for v in (cutout.alpha, cutout.rgb))
    alpha[30:180, 180:270] = 1  # a top hat
    hat = make_portrait(Picture(rgb, alpha), size=256)
    assert base.crop_scale == 1 < hat.crop_scale < MOST
    np.testing.assert_allclose(
        np.add(hat.corner, hat.side / 2), np.add(base.corner, base.side / 2) + (0, 80), atol=0.01 * base.side
    )
    assert hat.side == pytest.approx(base.side * hat.crop_scale, rel=0.01)
    top = np.where((hat.alpha > 0.5).any(1))[0][0] / 256
    assert top == pytest.approx(0.5 - FRAME_MARGIN, abs=0.012)
    assert turn(base.camera, hat.camera) < 1


def test_the_shoulders_go_on_below_the_photo_and_the_wall_beside_them_does_not(photo):
    portrait = make_portrait(Picture(photo.rgb[:190], None), size=256)
    below = portrait.inside_photo < 0.02
    below[: 256 // 2] = False
    rows = np.where(below.all(1))[0]
    assert len(rows) > 20
    assert portrait.alpha[rows, 120:140].min() > 0.9 and portrait.alpha[rows, 235:].max() < 0.1
    above = np.where((portrait.inside_photo < 0.02).all(1) & (np.arange(256) < 128))[0]
    assert len(above) and portrait.alpha[above].max() == 0


def test_a_head_cut_by_the_photo_is_rounded_off(photo):
    portrait = make_portrait(Picture(photo.rgb[70:], None), size=256)
    assert portrait.source == "face"
    hair = portrait.alpha[:, 128]
    rows = np.where(portrait.inside_photo[:, 128] < 0.02)[0]
    assert hair[rows[-1] - 5] > 0.9 and hair[0] == 0


def test_a_face_cut_by_the_photos_border(photo, quick):
    base = make_portrait(Picture(photo.rgb, None), size=64)
    portrait = make_portrait(Picture(np.ascontiguousarray(photo.rgb[:, 205:]), None), size=64)
    assert portrait.source == "face" and portrait.inside_photo[:, :10].max() < 0.02
    assert turn(base.camera, portrait.camera) < 12
    assert portrait.side == pytest.approx(base.side, rel=0.1)


@pytest.fixture(scope="module")
def pair(cutout) -> Picture:
    """The photo and beside it half of it."""
    rgb, alpha = np.zeros((512, 800, 3), np.float32), np.zeros((512, 800), np.float32)
    for whole, part in ((rgb, cutout.rgb), (alpha, cutout.alpha)):
        whole[:, :512] = part
        whole[:256, 512:768] = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return Picture(rgb, alpha)


def test_of_two_faces_the_larger_or_the_one_that_is_asked_for(pair):
    larger, first, second = (make_portrait(pair, face=face, size=64) for face in (None, 1, 2))
    assert "2 faces" in larger.warnings[0] and "`face=N`" in larger.warnings[0] and first.warnings == ()
    assert larger.corner == first.corner and second.corner[0] > 500
    assert second.side == pytest.approx(first.side / 2, rel=0.04) and turn(first.camera, second.camera) < 4


@pytest.mark.parametrize("face", [0, 3, -1])
def test_a_face_that_is_not_there(pair, face):
    with pytest.raises(UserError, match=f"There are 2 faces in the picture, but `face={face}` was given"):
        make_portrait(pair, face=face)


def head(kind: str, seed: int, azimuth: float, elevation: float = 0.0) -> tuple[Picture, np.ndarray]:
    """A synthetic head before grey, seen by the camera that portraits have; and its matte."""
    from portrait360.synth.build import build
    from portrait360.synth.render.renderer import render
    from portrait360.synth.render.tone_mapping import composite_over
    from portrait360.synth.sampling.sampler import sample
    from portrait360.training.linear_models.face_model import plain

    person = sample(seed, kind)
    person = plain(person) if kind == "human" else person
    view = render(build(person), Camera(look_at(azimuth, elevation), FOCAL), 256)
    return Picture(
        composite_over(view.rgb, view.alpha, np.full_like(view.rgb, 0.7)).astype(np.float32), None
    ), view.alpha


@pytest.mark.parametrize(("seed", "azimuth", "elevation"), [(705, 40, 5), (703, -30, -10)])
def test_a_synthetic_head_is_seen_from_where_it_was_seen(seed, azimuth, elevation):
    picture, alpha = head("human", seed, azimuth, elevation)
    portrait = make_portrait(picture, size=128)
    assert portrait.source == "face"
    assert abs(azimuth_between(portrait.camera.azimuth, azimuth)) < 7
    assert abs(portrait.camera.elevation - elevation) < 6
    assert portrait.side == pytest.approx(256, rel=0.06)
    np.testing.assert_allclose(portrait.corner, 0, atol=14)
    wanted = cut(alpha, CropSquare(portrait.corner, portrait.side), 128)
    known = portrait.inside_photo > 0.99
    assert abs(portrait.alpha - wanted)[known].mean() < 0.02


def test_an_animal_is_placed_by_its_outline():
    picture, alpha = head("animal", 31, 0)
    portrait = make_portrait(picture, size=128)
    assert portrait.source == "matte" and "no face" in portrait.warnings[0]
    assert portrait.camera.azimuth == 0 and 180 < portrait.side < 360
    top = np.where((alpha > 0.5).any(1))[0][0]
    assert (top - portrait.corner[1]) / portrait.side == pytest.approx(0.5 - 0.5 * 0.46 * FOCAL / 2.7, abs=0.03)
