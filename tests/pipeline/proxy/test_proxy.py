"""The proxy: closed, true to the photo at its own camera, reloadable, and no face behind."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from portrait360.apps.cli import photo_stages
from portrait360.apps.cli.main import app
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.pipeline.export.contact_sheet import proxy_sheet, view_over_grey
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.face_detection import find_faces
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.proxy.texture_completion import clean_class_probs
from portrait360.utils.errors import UserError
from portrait360.utils.images import Picture, load_picture
from tests.fixtures.photos import ASTRONAUT, seen_again

FOCAL = focal_from_fov(18.8)


def ball(radius: float = 0.2, colour=(0.2, 0.5, 0.8)) -> Proxy:
    """A proxy of one colour, whose photo has another."""
    grid = (LAYOUT.rows, LAYOUT.columns)
    photo = np.ones((64, 64, 3), np.float32) * np.float32([1, 0, 0])
    colours = np.broadcast_to(np.round(np.float32(colour) * 255) / 255, (*grid, 3)).astype(np.float32)
    camera = Camera(look_at(0), FOCAL)
    radii = np.full(grid, radius, np.float32)
    return Proxy(LAYOUT, radii, colours, np.ones(grid, np.float32), photo, np.ones((64, 64), np.float32), camera)


def test_the_photo_comes_back_at_its_own_camera(portrait, proxy):
    error, overlap, visibility = seen_again(portrait, proxy)
    assert error > 32 and overlap > 0.965 and visibility > 0.95


def test_no_face_appears_behind(proxy):
    for azimuth in (135, 165, 180, 195, 225):
        picture = view_over_grey(proxy.render(Camera(look_at(azimuth), FOCAL), 256)).astype(np.float32)
        assert find_faces(picture, 0.9) == []
    picture = view_over_grey(proxy.render(Camera(look_at(0), FOCAL), 256)).astype(np.float32)
    assert len(find_faces(picture, 0.9)) == 1  # so the test above can fail


def test_a_hat_makes_the_head_smaller_and_skin_and_hair_stay_together(portrait, proxy):
    """The same photo in a crop that grew for a hat: the same head, smaller, but for the hat."""
    picture = load_picture(ASTRONAUT)
    rgb = cv2.copyMakeBorder(picture.rgb, 80, 0, 0, 0, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(find_matte(picture.rgb, (222, 110)), 80, 0, 0, 0, cv2.BORDER_CONSTANT)
    cv2.ellipse(alpha, (225, 96), (48, 90), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    tall = make_portrait(Picture(rgb, alpha))
    assert tall.crop_scale > 1.2
    hat = proxy_from_photo(tall)
    view, inside = hat.render(tall.camera, 512), tall.alpha > 0.5
    assert ((view.mask > 0.5) & inside).sum() > 0.93 * ((view.mask > 0.5) | inside).sum()
    column, row, radius = LAYOUT.locate(LAYOUT.points(proxy.radius) / tall.crop_scale)
    off = LAYOUT.sample(hat.radius, column, row) / radius - 1
    level = off[LAYOUT.cap_rows : LAYOUT.cap_rows + 40]  # from above the brows to the chin
    face = np.r_[-32:32]  # columns around the front
    assert np.percentile(np.abs(level[:, face]), 75) < 0.04
    assert np.abs(np.median(level)) < 0.08  # the hat pulls hair at the sides and behind along


def test_the_photo_is_not_seen_from_behind(proxy):
    view = proxy.render(Camera(look_at(180), FOCAL), 128)
    assert (view.visibility > 0.05).sum() < 0.005 * (view.mask > 0.5).sum() and view.mask.mean() > 0.2


@pytest.mark.parametrize("elevation", [-15, 0, 45])  # from further below one looks into the open bust
def test_no_crack_from_any_azimuth(proxy, elevation):
    """Inside of the outline there is no empty pixel, and depth does not jump through to the other side."""
    for camera in orbit(8, focal=FOCAL, elevation=elevation):
        view = proxy.render(camera, 96)
        solid = view.depth > 0
        rows = solid[20:70]
        gaps = [np.diff(np.where(row)[0]).max(initial=1) for row in rows]
        assert np.mean(np.array(gaps) > 1) < 0.35  # only beneath the chin and beside long hair may there be one
        points = camera.unproject(np.stack(np.meshgrid(*[(np.arange(96) + 0.5) / 96] * 2), -1), view.depth)
        towards = ((points - camera.position) * view.normals).sum(-1)
        assert (towards[solid] < 0.02).mean() > 0.99  # what is seen faces the camera: never the inside


def test_the_surface_is_one_closed_piece_but_for_its_lower_end(proxy):
    edges = np.sort(np.concatenate([proxy.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count <= 2).all() and (count == 1).sum() == LAYOUT.columns


def test_a_ball_is_drawn_where_it_is():
    proxy, camera = ball(), Camera(look_at(140, 20), FOCAL)
    view = proxy.render(camera, 128)
    assert view.mask[64, 64] == 1 and view.visibility[64, 64] == 0
    np.testing.assert_allclose(view.rgb[64, 64], np.round(np.array([0.2, 0.5, 0.8]) * 255) / 255, atol=1e-5)
    front = Camera(look_at(0), FOCAL)
    view = proxy.render(front, 128)
    assert view.rgb[40, 64] == pytest.approx([1, 0, 0]) and view.visibility[40, 64] == pytest.approx(1)
    # the ray of that pixel meets the sphere that is the cap (centre (0, bend, 0)) where the depth says
    point = front.unproject(np.array([64.5, 40.5]) / 128, view.depth[40, 64])
    assert np.linalg.norm(point - [0, LAYOUT.bend, 0]) == pytest.approx(0.2, abs=1e-3)


def test_a_turned_ball_shows_the_photo_less_the_further_it_is_turned():
    proxy = ball()
    shown = [proxy.render(Camera(look_at(a), FOCAL), 64).visibility.sum() for a in (0, 40, 80, 120)]
    assert shown == sorted(shown, reverse=True) and shown[0] > 2 * shown[2]


def test_files_give_back_the_same_proxy(proxy, tmp_path):
    proxy.save(tmp_path / "a")
    again = Proxy.load(tmp_path / "a")
    for name in ("radius", "colours", "visible", "photo", "alpha"):
        assert np.array_equal(getattr(proxy, name), getattr(again, name)), name
    assert again.camera == proxy.camera and again.layout == proxy.layout
    camera = Camera(look_at(70, 10), FOCAL)
    assert np.array_equal(proxy.render(camera, 64).rgb, again.render(camera, 64).rgb)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["proxy.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", None])
def test_a_damaged_or_absent_file_is_one_sentence(content, tmp_path):
    if content is not None:
        (tmp_path / "proxy.npz").write_bytes(content)
    with pytest.raises(UserError, match="portrait360 proxy"):
        Proxy.load(tmp_path)


def test_a_cut_off_file_is_one_sentence(proxy, tmp_path):
    proxy.save(tmp_path)
    path = tmp_path / "proxy.npz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="damaged"):
        Proxy.load(tmp_path)


def test_the_same_photo_gives_the_same_bytes(portrait, proxy):
    again = proxy_from_photo(portrait)
    assert np.array_equal(again.radius, proxy.radius) and np.array_equal(again.colours, proxy.colours)


def test_the_mirrored_photo_gives_the_mirrored_head(proxy, tmp_path):
    picture = load_picture(ASTRONAUT)
    mirrored = proxy_from_photo(make_portrait(replace(picture, rgb=np.ascontiguousarray(picture.rgb[:, ::-1]))))
    off = np.abs(mirrored.radius[:, ::-1] - proxy.radius)[: LAYOUT.rows // 2]
    assert np.median(off) < 0.012  # of a head of .46


def test_the_sheet_shows_sixteen_pictures(proxy):
    assert proxy_sheet(proxy, 64).shape == (256, 256, 3)


def test_the_command_writes_what_one_can_look_at_and_load(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_stages, "TURNTABLE_FRAMES", 6)
    words = ["proxy", str(ASTRONAUT), "-o", str(tmp_path / "out"), "--crop", "128", "--method", "proxy"]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 0, outcome.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "portrait",
        "proxy",
        "sheet.png",
        "turntable.webp",
    ]
    assert Proxy.load(tmp_path / "out" / "proxy").photo.shape == (128, 128, 3)
    with Image.open(tmp_path / "out" / "turntable.webp") as film:
        assert getattr(film, "n_frames", 1) == 6


def test_one_bad_photo_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_stages, "TURNTABLE_FRAMES", 2)
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    arguments = ["proxy", str(bad), str(ASTRONAUT), "-o", str(tmp_path / "out"), "--crop", "64", "--method", "proxy"]
    outcome = CliRunner().invoke(app, arguments)
    assert isinstance(outcome.exception, UserError) and "bad.jpg" in str(outcome.exception)
    assert (tmp_path / "out" / "01" / "proxy" / "proxy.npz").is_file()


def test_as_a_textured_mesh_it_looks_the_same(proxy):
    """Without the photo's own pixels, which are finer than the map; the map's seam is in front."""
    bare = replace(proxy, visible=np.zeros_like(proxy.visible))
    mesh = bare.as_mesh()
    for azimuth in (0, 90, 180):
        view, drawn = (what(Camera(look_at(azimuth, 20), FOCAL), 128) for what in (bare.render, mesh.draw))
        both = drawn.mask & (view.mask > 0.99)
        error = np.abs(drawn.rgb - view.rgb)[both]
        assert both.sum() > 3000 and np.median(error) < 0.005 and np.percentile(error, 95) < 0.05


def test_hair_does_not_begin_again_below_its_end_behind_the_face():
    belief = np.zeros((3, 40, 64))
    belief[1, :15] = belief[0, 15:20] = belief[1, 20:25] = belief[2, 25:] = 1  # hair, neck, hair on the collar, cloth
    out = clean_class_probs(belief)
    assert np.allclose(out.sum(0), 1) and (out >= -1e-12).all()
    assert (out[1, 19:, 24:40] < 0.01).all() and (out[2, 21:24, 24:40] > 0.7).all()
    assert (out[1, :12, 24:40] > 0.99).all()
    assert np.array_equal(out[..., :10], belief[..., :10]) and np.array_equal(out[..., -10:], belief[..., -10:])
