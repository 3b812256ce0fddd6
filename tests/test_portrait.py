"""From any photo to an aligned portrait: laws, and the bad-input table."""

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from portrait360 import cli
from portrait360.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.crop import Beyond, Square, cut
from portrait360.errors import UserError
from portrait360.images import Picture, load_picture
from portrait360.outline import find_head
from portrait360.portrait import Portrait, make_portrait
from portrait360.subject import MARGIN, MOST
from tests.memory import run_and_read

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
IMAGE = Image.open(ASTRONAUT).convert("RGB")
FOCAL = focal_from_fov(18.8)


@pytest.fixture(scope="module")
def photo() -> Picture:
    return load_picture(ASTRONAUT)


@pytest.fixture(scope="module")
def portrait(photo) -> Portrait:
    return make_portrait(photo, size=256)


@pytest.fixture(scope="module")
def cutout(photo) -> Picture:
    """With a matte of its own: an ellipse for the head, another for the shoulders. No network is asked for one."""
    alpha = np.zeros(photo.rgb.shape[:2], np.float32)
    cv2.ellipse(alpha, (227, 100), (74, 85), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    cv2.ellipse(alpha, (200, 420), (190, 210), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    return Picture(photo.rgb, alpha)


@pytest.fixture
def quick(monkeypatch):
    """Where the matte does not matter it is not looked for: a disc small enough for any crop."""

    def disc(rgb: np.ndarray, inside: tuple[float, float]) -> np.ndarray:
        y, x = np.indices(rgb.shape[:2])
        return (np.hypot(x - inside[0], y - inside[1]) < 0.15 * min(rgb.shape[:2])).astype(np.float32)

    monkeypatch.setattr("portrait360.subject.find_matte", disc)


def turn(one: Camera, other: Camera) -> float:
    """Degrees between two cameras."""
    across = one.cam2world[:3, :3].T @ other.cam2world[:3, :3]
    return float(np.degrees(np.arccos(np.clip((np.trace(across) - 1) / 2, -1, 1))))


def assert_same(one: Portrait, other: Portrait) -> None:
    for entry in fields(Portrait):
        a, b = getattr(one, entry.name), getattr(other, entry.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), entry.name
        else:
            assert a == b, entry.name


# what a portrait is


def test_the_astronaut_looks_into_the_camera_and_lies_in_the_middle(portrait):
    assert portrait.source == "face" and portrait.notes == ()
    assert abs(azimuth_between(portrait.camera.azimuth, 0)) < 6 and abs(portrait.camera.elevation) < 10
    assert abs(portrait.camera.roll) < 6 and portrait.camera.focal == FOCAL
    eyes = portrait.landmarks[[33, 263]]
    assert 0.3 < eyes[0, 0] < 0.45 < 0.5 < eyes[1, 0] < 0.65 and (abs(eyes[:, 1] - 0.5) < 0.08).all()
    np.testing.assert_allclose(np.add(portrait.corner, portrait.side / 2), (224, 93), atol=12)
    assert portrait.alpha[100:180, 100:150].min() > 0.95 and portrait.alpha[:40].max() < 0.05


def test_beyond_the_photo_nothing_is_known_and_the_wall_goes_on(portrait):
    rows = int(-portrait.corner[1] / portrait.side * 256)  # above the photo's upper edge
    assert 25 < rows < 60
    assert portrait.known[: rows - 3].max() < 0.02 and portrait.known[rows + 3 :].min() > 0.98
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
            portrait, landmarks=None, source="matte", notes=("ä", "b"), alpha=np.ones_like(portrait.alpha)
        )
    portrait.save(tmp_path / "new" / "folder")
    assert_same(Portrait.load(tmp_path / "new" / "folder"), portrait)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "known.png",
        "portrait.json",
        "portrait.png",
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
    with pytest.raises(UserError, match="holds no portrait"):
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
    sure = (base.known > 0.99) & (moved.known > 0.99)
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
    assert base.growth == 1 < hat.growth < MOST
    np.testing.assert_allclose(
        np.add(hat.corner, hat.side / 2), np.add(base.corner, base.side / 2) + (0, 80), atol=0.01 * base.side
    )
    assert hat.side == pytest.approx(base.side * hat.growth, rel=0.01)
    top = np.where((hat.alpha > 0.5).any(1))[0][0] / 256
    assert top == pytest.approx(0.5 - MARGIN, abs=0.012)
    assert turn(base.camera, hat.camera) < 1


def test_the_shoulders_go_on_below_the_photo_and_the_wall_beside_them_does_not(photo):
    portrait = make_portrait(Picture(photo.rgb[:190], None), size=256)
    below = portrait.known < 0.02
    below[: 256 // 2] = False
    rows = np.where(below.all(1))[0]
    assert len(rows) > 20
    assert portrait.alpha[rows, 120:140].min() > 0.9 and portrait.alpha[rows, 235:].max() < 0.1
    above = np.where((portrait.known < 0.02).all(1) & (np.arange(256) < 128))[0]
    assert len(above) and portrait.alpha[above].max() == 0


def test_a_head_cut_by_the_photo_is_rounded_off(photo):
    portrait = make_portrait(Picture(photo.rgb[70:], None), size=256)
    assert portrait.source == "face"
    hair = portrait.alpha[:, 128]
    rows = np.where(portrait.known[:, 128] < 0.02)[0]
    assert hair[rows[-1] - 5] > 0.9 and hair[0] == 0


def test_a_face_cut_by_the_photos_border(photo, quick):
    base = make_portrait(Picture(photo.rgb, None), size=64)
    portrait = make_portrait(Picture(np.ascontiguousarray(photo.rgb[:, 205:]), None), size=64)
    assert portrait.source == "face" and portrait.known[:, :10].max() < 0.02
    assert turn(base.camera, portrait.camera) < 12
    assert portrait.side == pytest.approx(base.side, rel=0.1)


# bad input


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def small() -> Image.Image:
    """Cut close to the head, with transparency around it."""
    image = IMAGE.crop((120, 0, 340, 220)).convert("RGBA")
    alpha = np.zeros((220, 220), np.uint8)
    cv2.ellipse(alpha, (107, 110), (85, 110), 0, 0, 360, 255, -1)
    image.putalpha(Image.fromarray(alpha))
    return image


def test_all_orientations_give_the_same_portrait(tmp_path, small):
    base = None
    for orientation, back in {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = small if back is None else small.transpose(Image.Transpose(back))
        portrait = make_portrait(saved(tmp_path / "x.png", stored, exif=exif), size=64)
        base = base or portrait
        assert_same(portrait, base)
    assert base is not None and base.source == "face"


def test_cmyk(tmp_path, quick):
    portrait = make_portrait(saved(tmp_path / "x.jpg", IMAGE.convert("CMYK"), quality=95), size=64)
    assert portrait.source == "face" and abs(azimuth_between(portrait.camera.azimuth, 0)) < 8


def test_sixteen_bits(tmp_path, quick):
    grey = np.asarray(IMAGE.convert("L")).astype(np.uint16) * 257
    portrait = make_portrait(saved(tmp_path / "x.png", Image.fromarray(grey)), size=64)
    assert portrait.source == "face" and np.ptp(portrait.rgb, axis=-1).max() < 0.02


def test_an_animation(tmp_path, quick):
    path = saved(tmp_path / "x.gif", IMAGE, save_all=True, append_images=[Image.new("RGB", IMAGE.size)])
    portrait = make_portrait(path, size=64)
    assert portrait.source == "face" and "animated" in portrait.notes[0]


def test_forty_pixels(tmp_path, quick):
    tiny = IMAGE.crop((140, 5, 310, 175)).resize((40, 40), Image.Resampling.LANCZOS)
    portrait = make_portrait(saved(tmp_path / "x.png", tiny), size=128)
    assert portrait.source == "face" and any("pixels wide" in note for note in portrait.notes)
    assert np.isfinite(portrait.rgb).all() and 40 < portrait.side < 90


@pytest.mark.parametrize("size", [(16, 16), (16, 900), (900, 16)])
def test_strange_shapes(size):
    noise = np.random.default_rng(0).random((size[1], size[0], 3)).astype(np.float32)
    try:
        portrait = make_portrait(Picture(noise, None), size=64)
        assert portrait.source == "matte" and np.isfinite(portrait.rgb).all() and portrait.side > 0
    except UserError as error:
        assert "No head was found in the picture" in str(error)


def test_no_picture_at_all(tmp_path):
    (tmp_path / "x.jpg").write_text("this is text")
    with pytest.raises(UserError, match="is not a whole JPEG"):
        make_portrait(tmp_path / "x.jpg")


def test_an_empty_picture_has_no_head(photo):
    with pytest.raises(UserError, match="No head was found in the picture: bring a picture with a head in it."):
        make_portrait(Picture(np.full((90, 120, 3), 0.5, np.float32), np.zeros((90, 120), np.float32)))


def test_without_a_person_the_outline_is_taken_and_the_user_is_told(photo):
    shuttle = Picture(np.ascontiguousarray(photo.rgb[:330, 330:]), None)
    portrait = make_portrait(shuttle, azimuth=-40, elevation=10, size=64)
    assert portrait.source == "matte" and portrait.landmarks is None and not portrait.shape.any()
    assert "no face was found" in portrait.notes[0] and "--azimuth" in portrait.notes[0]
    np.testing.assert_allclose(portrait.camera.cam2world, look_at(-40, 10))


def test_transparency_is_the_matte(cutout):
    portrait = make_portrait(cutout, size=128)
    ours = cut(cutout.alpha, Square(portrait.corner, portrait.side), 128)
    known = portrait.known > 0.99
    np.testing.assert_allclose(portrait.alpha[known], ours[known], atol=0.003)
    hidden = Picture(np.where(cutout.alpha[..., None] > 0, cutout.rgb, [0, 1, 0]).astype(np.float32), cutout.alpha)
    again = make_portrait(hidden, size=128)
    seen = (again.alpha > 0.02) & (again.alpha < 0.9) & known
    assert seen.sum() > 50 and (again.rgb[seen][:, 1] < 0.9).all()  # no green fringe
    np.testing.assert_allclose(again.rgb[again.alpha == 1], portrait.rgb[portrait.alpha == 1], atol=0.01)


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
    assert "2 faces" in larger.notes[0] and "--face N" in larger.notes[0] and first.notes == ()
    assert larger.corner == first.corner and second.corner[0] > 500
    assert second.side == pytest.approx(first.side / 2, rel=0.04) and turn(first.camera, second.camera) < 4


@pytest.mark.parametrize("face", [0, 3, -1])
def test_a_face_that_is_not_there(pair, face):
    with pytest.raises(UserError, match=f"There are 2 faces in the picture, so --face {face} does not exist."):
        make_portrait(pair, face=face)


def head(kind: str, seed: int, azimuth: float, elevation: float = 0.0) -> tuple[Picture, np.ndarray]:
    """A synthetic head before grey, seen by the camera that portraits have; and its matte."""
    from portrait360.synth.build import build
    from portrait360.synth.face_model import plain
    from portrait360.synth.render import render
    from portrait360.synth.sample import sample
    from portrait360.synth.tone import over

    person = sample(seed, kind)
    person = plain(person) if kind == "human" else person
    view = render(build(person), Camera(look_at(azimuth, elevation), FOCAL), 256)
    return Picture(over(view.rgb, view.alpha, np.full_like(view.rgb, 0.7)).astype(np.float32), None), view.alpha


@pytest.mark.parametrize(("seed", "azimuth", "elevation"), [(705, 40, 5), (703, -30, -10)])
def test_a_synthetic_head_is_seen_from_where_it_was_seen(seed, azimuth, elevation):
    picture, alpha = head("human", seed, azimuth, elevation)
    portrait = make_portrait(picture, size=128)
    assert portrait.source == "face"
    assert abs(azimuth_between(portrait.camera.azimuth, azimuth)) < 7
    assert abs(portrait.camera.elevation - elevation) < 6
    assert portrait.side == pytest.approx(256, rel=0.06)
    np.testing.assert_allclose(portrait.corner, 0, atol=14)
    wanted = cut(alpha, Square(portrait.corner, portrait.side), 128)
    known = portrait.known > 0.99
    assert abs(portrait.alpha - wanted)[known].mean() < 0.02


def test_an_animal_is_placed_by_its_outline():
    picture, alpha = head("animal", 31, 0)
    portrait = make_portrait(picture, size=128)
    assert portrait.source == "matte" and "no face" in portrait.notes[0]
    assert portrait.camera.azimuth == 0 and 180 < portrait.side < 360
    top = np.where((alpha > 0.5).any(1))[0][0]
    assert (top - portrait.corner[1]) / portrait.side == pytest.approx(0.5 - 0.5 * 0.46 * FOCAL / 2.7, abs=0.03)


# the outline


def person(head_width: int, neck_width: int, body_width: int, head_height: int = 120) -> np.ndarray:
    matte = np.zeros((300, 300), np.float32)
    cv2.ellipse(matte, (140, 20 + head_height // 2), (head_width // 2, head_height // 2), 0, 0, 360, 1.0, -1)
    matte[20 + head_height // 2 : 180, 140 - neck_width // 2 : 140 + neck_width // 2] = 1
    matte[170:, 140 - body_width // 2 : 140 + body_width // 2] = 1
    return matte


def test_a_head_ends_at_its_neck():
    found = find_head(person(90, 45, 220))
    assert found is not None and found.height == pytest.approx(120, abs=12)
    np.testing.assert_allclose(found.center, (140, 80), atol=7)


def test_ears_do_not_end_a_head_and_without_a_neck_its_width_says_how_tall_it_is():
    matte = person(90, 90, 100)
    matte[:40, 100:110] = matte[:40, 170:180] = 1  # ears or horns
    found = find_head(matte)
    assert found is not None and found.height == pytest.approx(1.25 * 90, abs=8)
    assert found.center[0] == pytest.approx(140, abs=1)


def test_a_ball_is_a_head_and_a_speck_is_none():
    matte = np.zeros((200, 200), np.float32)
    cv2.circle(matte, (120, 90), 50, 1.0, -1)
    found = find_head(matte)
    assert found is not None and found.height == pytest.approx(100, abs=4)
    np.testing.assert_allclose(found.center, (120.5, 90.5), atol=2)
    assert find_head(matte * 0.4) is None
    assert find_head(np.pad(np.ones((5, 5), np.float32), 100)) is None


# the crop


def test_a_crop_of_whole_pixels_is_that_part_of_the_photo(photo):
    np.testing.assert_allclose(cut(photo.rgb, Square((100, 30), 64), 64), photo.rgb[30:94, 100:164], atol=1e-6)
    means = photo.rgb[30:94, 100:164].reshape(16, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(cut(photo.rgb, Square((100, 30), 64), 16), means, atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(37.3, 128), (300.7, 64), (500, 333)])
def test_a_crop_of_a_slope_is_the_slope(side, size):
    y, x = (np.indices((600, 600)) + 0.5) / 600
    square = Square((40.25, 60.75), side)
    along = (np.arange(size) + 0.5) / size * side
    found = cut(np.stack([x, y], -1).astype(np.float32), square, size)
    np.testing.assert_allclose(found[:, :, 0], np.broadcast_to((40.25 + along) / 600, (size, size)), atol=1e-4)
    np.testing.assert_allclose(found[:, :, 1].T, np.broadcast_to((60.75 + along) / 600, (size, size)), atol=1e-4)


def test_beyond_the_photo_the_subject_and_the_wall_keep_their_colours():
    matte = np.zeros((128, 128), np.float32)
    matte[:, 40:90] = 1
    rgb = np.where(matte[..., None] > 0, [0.9, 0.1, 0.1], [0.1, 0.2, 0.9]).astype(np.float32)
    beyond = Beyond(Square((0, 0), 128), (80, 128), 128)
    damaged = rgb.copy()
    damaged[80:] = 0
    np.testing.assert_allclose(beyond.filled(damaged, matte), rgb, atol=0.02)
    assert beyond.known[:78].min() > 0.99 and beyond.known[82:].max() < 0.01
    whole = Beyond(Square((3, 4), 100), (128, 128), 64)
    assert whole.known.min() == 1 and whole.filled(rgb[:64, :64], matte[:64, :64]) is not None


# the command


def align(*arguments) -> tuple[int, str, str]:
    try:
        done = CliRunner().invoke(cli.app, ["align", *map(str, arguments)], catch_exceptions=False)
    except UserError as error:
        return 2, "", str(error)
    return done.exit_code, done.output, ""


def test_one_photo_writes_a_portrait_and_a_sheet(tmp_path):
    code, said, _ = align(ASTRONAUT, "-o", tmp_path / "head", "--size", 128, "--azimuth", -5)
    assert code == 0 and "azimuth -5.0, elevation +" in said and "by its face" in said
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == [
        "known.png",
        "portrait.json",
        "portrait.png",
        "sheet.png",
    ]
    assert Image.open(tmp_path / "head" / "sheet.png").size == (1536, 1024)
    assert Portrait.load(tmp_path / "head").rgb.shape == (128, 128, 3)


def test_several_photos_and_one_bad_one(tmp_path, small):
    good, shuttle = (
        saved(tmp_path / "good.png", small),
        saved(tmp_path / "shuttle.png", IMAGE.crop((330, 0, 512, 330))),
    )
    (tmp_path / "bad.jpg").write_text("text")
    code, _, said = align(good, tmp_path / "bad.jpg", shuttle, "-o", tmp_path / "heads", "--size", 64)
    assert code == 2 and "bad.jpg is not a whole JPEG" in said
    assert Portrait.load(tmp_path / "heads" / "00").source == "face" and not (tmp_path / "heads" / "01").exists()
    assert Portrait.load(tmp_path / "heads" / "02").source == "matte"
    assert Image.open(tmp_path / "heads" / "02" / "sheet.png").size == (1024, 1024)


@pytest.mark.parametrize("what", [{"size": 3}, {"size": 10**9}, {"azimuth": 1e9}, {"elevation": 90.0}])
def test_numbers_out_of_range(photo, what):
    (name,) = what
    with pytest.raises(UserError, match=f"--{name} .* does not work"):
        make_portrait(photo, **what)


def test_a_hundred_megapixels(tmp_path):
    """From the file to the portrait, the memory of a small machine."""
    large = IMAGE.resize((12000, 9000), Image.Resampling.BILINEAR, box=(0, 0, 512, 384))
    large.save(tmp_path / "x.jpg", quality=70)
    script = """
from pathlib import Path
from portrait360.portrait import make_portrait
portrait = make_portrait(Path(sys.argv[1]))
assert portrait.source == "face" and "12000" in portrait.notes[0] and portrait.side > 1500, portrait.notes
print(peak())
"""
    assert run_and_read(script, str(tmp_path / "x.jpg")) < 1.5e9
