"""Portraits of difficult and of bad input, and the command that makes them."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from portrait360.apps.cli import main
from portrait360.geometry.cameras import azimuth_between, look_at
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.crop import CropSquare, cut
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.errors import UserError
from portrait360.utils.images import Picture, load_picture
from tests.fixtures.memory import run_and_read
from tests.fixtures.photos import ASTRONAUT, IMAGE, assert_same, saved


def test_all_orientations_give_the_same_portrait(tmp_path, small):
    base = None
    for orientation, back in {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = small if back is None else small.transpose(Image.Transpose(back))
        path = saved(tmp_path / f"{orientation}.png", stored, exif=exif)
        picture = load_picture(path)
        base = base or picture
        np.testing.assert_array_equal(picture.rgb, base.rgb)
        assert (picture.alpha is None) == (base.alpha is None)
    portrait, other = (make_portrait(tmp_path / f"{i}.png", size=64) for i in (1, 6))
    assert_same(other, portrait)
    assert portrait.source == "face"


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
    assert portrait.source == "face" and "several frames" in portrait.warnings[0]


def test_forty_pixels(tmp_path, quick):
    tiny = IMAGE.crop((140, 5, 310, 175)).resize((40, 40), Image.Resampling.LANCZOS)
    portrait = make_portrait(saved(tmp_path / "x.png", tiny), size=128)
    assert portrait.source == "face" and any("pixels wide" in text for text in portrait.warnings)
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
    with pytest.raises(UserError, match="is not a JPEG"):
        make_portrait(tmp_path / "x.jpg")


def test_an_empty_picture_has_no_head(photo):
    with pytest.raises(UserError, match="No head was found in the picture: use a picture that clearly shows a head."):
        make_portrait(Picture(np.full((90, 120, 3), 0.5, np.float32), np.zeros((90, 120), np.float32)))


def test_without_a_person_the_outline_is_taken_and_the_user_is_told(photo):
    shuttle = Picture(np.ascontiguousarray(photo.rgb[:330, 330:]), None)
    portrait = make_portrait(shuttle, azimuth=-40, elevation=10, size=64)
    assert portrait.source == "matte" and portrait.landmarks is None and not portrait.shape.any()
    assert portrait.warnings[0] == "no face found; the head was located by its outline"
    without_angles = make_portrait(shuttle, size=64)
    assert "Use `azimuth=` and `elevation=` to say" in without_angles.warnings[0]
    np.testing.assert_allclose(portrait.camera.cam2world, look_at(-40, 10))


def test_transparency_is_the_matte(cutout):
    portrait = make_portrait(cutout, size=128)
    ours = cut(cutout.alpha, CropSquare(portrait.corner, portrait.side), 128)
    known = portrait.inside_photo > 0.99
    np.testing.assert_allclose(portrait.alpha[known], ours[known], atol=0.003)
    hidden = Picture(np.where(cutout.alpha[..., None] > 0, cutout.rgb, [0, 1, 0]).astype(np.float32), cutout.alpha)
    again = make_portrait(hidden, size=128)
    seen = (again.alpha > 0.02) & (again.alpha < 0.9) & known
    assert seen.sum() > 50 and (again.rgb[seen][:, 1] < 0.9).all()  # no green fringe
    np.testing.assert_allclose(again.rgb[again.alpha == 1], portrait.rgb[portrait.alpha == 1], atol=0.01)


# the command


def align(*arguments) -> tuple[int, str, str]:
    try:
        done = CliRunner().invoke(main.app, ["align", *map(str, arguments)], catch_exceptions=False)
    except UserError as error:
        return 2, "", str(error)
    return done.exit_code, done.output, ""


def test_one_photo_writes_a_portrait_and_a_sheet(tmp_path):
    code, said, _ = align(ASTRONAUT, "-o", tmp_path / "head", "--crop", 128, "--azimuth", -5)
    assert code == 0 and "azimuth -5.0, elevation +" in said and "estimated from the face" in said
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == [
        "known.png",
        "labels.png",
        "portrait.json",
        "portrait.png",
        "reading.npz",
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
    code, _, said = align(good, tmp_path / "bad.jpg", shuttle, "-o", tmp_path / "heads", "--crop", 64)
    assert code == 2 and "bad.jpg is not a JPEG" in said
    assert Portrait.load(tmp_path / "heads" / "00").source == "face" and not (tmp_path / "heads" / "01").exists()
    assert Portrait.load(tmp_path / "heads" / "02").source == "matte"
    assert Image.open(tmp_path / "heads" / "02" / "sheet.png").size == (1024, 1024)


@pytest.mark.parametrize("what", [{"size": 3}, {"size": 10**9}, {"azimuth": 1e9}, {"elevation": 90.0}])
def test_numbers_out_of_range(photo, what):
    (name,) = what
    with pytest.raises(UserError, match=f"`{name}=.*` is not valid"):
        make_portrait(photo, **what)


@pytest.mark.slow
def test_a_hundred_megapixels(tmp_path):
    """From the file to the portrait, the memory of a small machine."""
    large = IMAGE.resize((12000, 9000), Image.Resampling.BILINEAR, box=(0, 0, 512, 384))
    large.save(tmp_path / "x.jpg", quality=70)
    script = """
from pathlib import Path
from portrait360.pipeline.portrait.alignment import make_portrait
portrait = make_portrait(Path(sys.argv[1]))
assert portrait.source == "face" and "12000" in portrait.warnings[0] and portrait.side > 1500, portrait.warnings
print(peak())
"""
    assert run_and_read(script, str(tmp_path / "x.jpg")) < 1.5e9
