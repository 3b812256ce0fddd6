"""The bad-input table for pictures: each ends in a picture or in one plain sentence."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import GifImagePlugin, Image, ImageCms, TiffImagePlugin

from portrait360.utils import images
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path, check_size, create_folder
from portrait360.utils.images import check_picture, check_signature, load_picture, save_picture
from tests.fixtures.memory import run_and_read

GRADIENT = np.stack(np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48), indexing="xy") * 2, -1)[..., :3]
RGB = Image.fromarray(GRADIENT.astype(np.uint8))


def close(rgb, other=RGB, tolerance=0.03):
    np.testing.assert_allclose(rgb, np.asarray(other.convert("RGB"), np.float32) / 255, atol=tolerance)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tiff", "x.gif"])
def test_common_formats(tmp_path, name):
    options = {"quality": 95} if name.endswith(("jpg", "webp")) else {}
    RGB.save(tmp_path / name, **options)
    picture = load_picture(tmp_path / name)
    close(picture.rgb, tolerance=0.12 if name.endswith("gif") else 0.05)
    assert picture.alpha is None and picture.rgb.dtype == np.float32


def test_the_name_does_not_matter_the_content_does(tmp_path):
    RGB.save(tmp_path / "x.jpg", format="PNG")
    close(load_picture(tmp_path / "x.jpg").rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # what undoes the orientation
    stored = RGB if turned is None else RGB.transpose(Image.Transpose(turned))
    stored.save(tmp_path / "x.png", exif=exif)
    close(load_picture(tmp_path / "x.png").rgb)


@pytest.mark.parametrize("format", images.FORMATS)
def test_every_format_passes_the_early_checks(tmp_path, format):
    RGB.save(tmp_path / "x", format=format)
    check_signature(tmp_path / "x")
    check_picture(tmp_path / "x")


@pytest.mark.parametrize("content", [b"This is a text.", b"", b"%PDF-1.7 and so on", b"\0\0\0\x18ftypheic\0\0\0\0"])
def test_what_is_no_picture_is_told_by_its_first_bytes_as_by_decoding_it(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    sentences = []
    for check in (check_signature, check_picture, load_picture):
        with pytest.raises(UserError) as refused:
            check(tmp_path / "x.jpg")
        sentences.append(str(refused.value).replace(f"{tmp_path}{os.sep}", ""))
    assert len(set(sentences)) == 1 and sentences[0].startswith("x.jpg is ")


def test_a_picture_that_is_cut_off_fails_the_early_check(tmp_path):
    RGB.save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or cut off"):
        check_picture(tmp_path / "x.png")


def test_alpha_is_kept_straight(tmp_path):
    image = RGB.copy()
    matte = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))
    image.putalpha(matte)
    image.save(tmp_path / "x.png")
    picture = load_picture(tmp_path / "x.png")
    close(picture.rgb)
    np.testing.assert_allclose(picture.alpha, np.asarray(matte) / 255.0, atol=0.003)


def test_an_opaque_alpha_channel_is_no_matte(tmp_path):
    RGB.convert("RGBA").save(tmp_path / "x.png")
    assert load_picture(tmp_path / "x.png").alpha is None


YCBCR = ["YCbCr"] if int(PIL.__version__.split(".")[0]) >= 13 else []  # older ones neither write nor read it whole


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16", "LA", *YCBCR])
def test_other_modes(tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray((GRADIENT[..., 0] * 257).astype(np.uint16))
        wanted = RGB.getchannel(0)
    else:
        image = RGB.convert(mode)
        wanted = image
    name = "x.tiff" if mode in ("CMYK", "YCbCr") else "x.png"
    image.save(tmp_path / name)
    close(load_picture(tmp_path / name).rgb, wanted)


def test_cmyk_jpeg(tmp_path):
    RGB.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    close(load_picture(tmp_path / "x.jpg").rgb, tolerance=0.08)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    RGB.save(tmp_path / "good.png", icc_profile=srgb)
    close(load_picture(tmp_path / "good.png").rgb)
    RGB.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    close(load_picture(tmp_path / "broken.png").rgb)


def test_an_animation_gives_its_first_frame_and_a_note(tmp_path):
    RGB.save(tmp_path / "x.webp", save_all=True, append_images=[Image.new("RGB", RGB.size)], lossless=True)
    picture = load_picture(tmp_path / "x.webp")
    close(picture.rgb)
    assert "several frames" in picture.warnings[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.jpg", "is not a JPEG"),
        ("picture.svg", "is not a JPEG"),
        ("empty.png", "is an empty file"),
        ("cut.jpg", "is damaged or cut off"),
        ("cut.png", "is damaged or cut off"),
    ],
)
def test_what_is_no_picture(tmp_path, name, message):
    path = tmp_path / name
    if name.startswith("cut"):
        RGB.resize((640, 480)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    else:
        path.write_text("" if name == "empty.png" else "<svg>hello</svg>")
    with pytest.raises(UserError, match=message) as caught:
        load_picture(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("brand", [b"heic", b"avif"])
def test_what_phones_write_is_told_how_to_become_readable(tmp_path, brand):
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x20ftyp" + brand + bytes(40))
    with pytest.raises(UserError, match="is an? (HEIC|AVIF) picture, .*; export it as a JPEG"):
        load_picture(tmp_path / "x.heic")


def test_a_video_is_called_a_video(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    with pytest.raises(UserError, match="x.jpg is a video; use a photo"):
        load_picture(tmp_path / "x.jpg")


def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((20, 20), 200, np.uint16)).save(tmp_path / "x.png")
    assert load_picture(tmp_path / "x.png").rgb.max() < 0.004


def test_missing_tiny_and_enormous(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is a folder; choose a picture in it"):
        load_picture(tmp_path)
    with pytest.raises(UserError, match="There is no file"):
        load_picture(tmp_path / "none.png")
    RGB.resize((40, 9)).save(tmp_path / "tiny.png")
    with pytest.raises(UserError, match="only 40 x 9 pixels"):
        load_picture(tmp_path / "tiny.png")
    Image.new("1", (16000, 10000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="more than 150 megapixels"):
        load_picture(tmp_path / "bomb.png")
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="use a file of at most"):
        load_picture(tmp_path / "tiny.png")


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_a_hundred_megapixels_fit_into_memory(tmp_path, name):
    Image.new("RGB", (12000, 9000), (10, 200, 30)).save(
        tmp_path / name, **({"compress_level": 1} if "png" in name else {})
    )
    script = """
from pathlib import Path
from portrait360.utils.images import load_picture
picture = load_picture(Path(sys.argv[1]))
assert max(picture.rgb.shape) == 4096 and picture.warnings, picture.rgb.shape
print(peak())
"""
    assert run_and_read(script, str(tmp_path / name)) < 1.5e9


def test_pages_and_frames_are_not_counted(tmp_path, monkeypatch):
    """A chain of pages may be as long as the file: what comes behind the second page is not looked at."""
    first, second = Image.new("L", (20, 20), 90), Image.new("L", (20, 20), 30)
    first.save(tmp_path / "x.tiff", save_all=True, append_images=[second] * 500)
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second, first] * 250)
    loads = []

    def count(real):
        return lambda *arguments: loads.append(real) or real(*arguments)

    for owner, name in ((TiffImagePlugin.ImageFileDirectory_v2, "load"), (GifImagePlugin.GifImageFile, "_seek")):
        monkeypatch.setattr(owner, name, count(getattr(owner, name)))
    for name in ("x.tiff", "x.gif"):
        picture = load_picture(tmp_path / name)
        assert "pages" in picture.warnings[0] and np.allclose(picture.rgb, 90 / 255, atol=0.01)
    assert 2 <= len(loads) < 20


@pytest.mark.parametrize(("name", "mode"), [("x.png", "RGBA"), ("x.webp", "RGB"), ("x.tiff", "F")])
def test_what_does_not_fit_into_memory_is_refused_by_its_header(tmp_path, monkeypatch, name, mode):
    Image.new(mode, (3000, 2000)).save(tmp_path / name)
    load_picture(tmp_path / name)
    monkeypatch.setattr(images, "available_memory", lambda: 5 * 10**7)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(UserError, match=r"6 megapixels, which need about 0.1 GB of memory, but only 0.1 GB is free"):
        load_picture(tmp_path / name)
    monkeypatch.undo()
    monkeypatch.setattr(images, "available_memory", lambda: 2 * 10**8)
    load_picture(tmp_path / name)


def test_one_infinite_pixel_is_white_and_blackens_nothing(tmp_path):
    values = np.full((20, 20), 0.5, np.float32)
    values[3, 4], values[5, 6], values[7, 8] = np.inf, -np.inf, np.nan
    Image.fromarray(values).save(tmp_path / "x.tiff")
    rgb = load_picture(tmp_path / "x.tiff").rgb
    assert rgb[3, 4, 0] == 1 and rgb[5, 6, 0] == rgb[7, 8, 0] == 0 and rgb[0, 0, 0] == 0.5


@pytest.mark.parametrize("size", [(17, 20_000), (20_000, 17)])
def test_a_strip_that_would_be_reduced_to_a_line_is_refused(tmp_path, size):
    Image.new("L", size).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="is a strip of"):
        load_picture(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_short_sentence(tmp_path, name):
    for call in (load_picture, check_path, create_folder, partial(check_size, limit=1)):
        with pytest.raises(UserError, match="is not a valid file name") as caught:
            call(tmp_path / name)
        assert len(str(caught.value)) < 200 + len(str(tmp_path))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc on this system")
def test_a_file_of_the_system_is_no_picture():
    with pytest.raises(UserError, match="is not a JPEG"):
        load_picture(Path("/proc/self/mem"))


@given(st.data())
def test_damaged_bytes_end_in_a_picture_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / data.draw(
        st.sampled_from(["x.png", "x.jpg", "x.gif", "x.webp", "x.tiff"])
    )
    RGB.save(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert np.isfinite(load_picture(path).rgb).all()
    except UserError as error:
        assert "\n" not in str(error)


def test_saving_round_trips_and_leaves_nothing_else(tmp_path):
    picture = np.asarray(RGB, np.float32) / 255
    alpha = np.linspace(0, 0.99, 48 * 64, dtype=np.float32).reshape(48, 64)
    save_picture(tmp_path / "x.png", picture, alpha)
    read = load_picture(tmp_path / "x.png")
    np.testing.assert_allclose(read.rgb, picture, atol=1e-6)
    np.testing.assert_allclose(read.alpha, alpha, atol=0.5 / 255 + 1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
