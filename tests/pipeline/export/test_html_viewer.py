"""The page's own laws; what a browser makes of it is in the tests named after one."""

import base64
import hashlib
import html
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from portrait360.assets import THREE, VIEWER
from portrait360.pipeline.export.html_viewer import SCRIPTS, make_viewer, save_viewer
from portrait360.pipeline.export.mesh import pack_glb
from portrait360.pipeline.export.viewer_splats import pack_splats
from portrait360.utils.errors import UserError
from tests.fixtures import viewer_scene
from tests.fixtures.hostile import HOSTILE
from tests.fixtures.tiny_avatar import SMILE, pack_tiny_avatar


@pytest.fixture(scope="module")
def glb() -> bytes:
    return pack_tiny_avatar()


def part(page: str, id: str) -> str:
    found = re.search(rf'<script type="[a-z/]+" id="{id}">(.*?)</script>', page, re.S)
    assert found, id
    return found[1]


def test_splats_are_stored_as_finely_as_they_are_seen():
    splats = viewer_scene.splats()
    said, data = pack_splats(splats)
    count = len(splats)
    assert len(data) == 17 * count == 17 * said["count"]
    turns, steps, rgba, sizes = np.split(np.frombuffer(data, np.uint8), np.array([4, 10, 14]) * count)
    low, high = np.array(said["low"]), np.array(said["high"])
    means = low + steps.view("<u2").reshape(-1, 3) / 65535 * (high - low)
    assert np.abs(means - splats.means).max() < 1e-5
    logs = said["logs"][0] + sizes.reshape(-1, 3) / 255 * np.diff(said["logs"])
    assert np.abs(np.exp(logs) / splats.scales - 1).max() < 0.02
    values = np.concatenate([splats.colours, splats.opacities[:, None]], 1).clip(0, 1)
    assert np.abs(rgba.reshape(-1, 4) / 255 - values).max() <= 0.5 / 255 + 1e-6
    closeness = np.abs((_quaternions(turns.view("<u4")) * splats.rotations).sum(1))  # of q and -q
    assert np.degrees(2 * np.arccos(closeness.clip(0, 1))).max() < 0.3


def test_slopes_of_colours_are_stored_where_there_are_any():
    splats = viewer_scene.splats(steepest=0.6)
    said, data = pack_splats(splats)
    flat, plain = pack_splats(replace(splats, slopes=np.zeros_like(splats.slopes)))
    assert "steepest" not in flat and data[: len(plain)] == plain and len(data) == len(plain) + 9 * len(splats)
    slopes = np.frombuffer(data[len(plain) :], np.int8).reshape(-1, 3, 3) / 127 * said["steepest"]
    assert np.abs(slopes - splats.slopes).max() < 0.6 / 250  # half a step


def _quaternions(packed: np.ndarray) -> np.ndarray:
    out = np.zeros((len(packed), 4))
    for n, bits in enumerate(packed.tolist()):
        left = bits >> 30
        rest = [((bits >> shift & 1023) / 1023 * 2 - 1) / 2**0.5 for shift in (20, 10, 0)]
        out[n, [i for i in range(4) if i != left]] = rest
        out[n, left] = max(1 - np.dot(rest, rest), 0) ** 0.5
    return out


def test_what_is_inside_is_what_was_given(glb):
    splats = viewer_scene.splats(10)
    page = make_viewer(glb=glb, splats=splats)
    inside = {id: zlib.decompress(base64.b64decode(part(page, id), validate=True)) for id in ("glb", "splats_data")}
    assert inside == {"glb": glb, "splats_data": pack_splats(splats)[1]}


def test_the_page_is_whole_in_itself(glb, portrait):
    page = make_viewer(glb=glb, splats=viewer_scene.splats(10), portrait=portrait)
    three = THREE.read_text()
    assert page.count(three) == 1 and "</script" not in three and "<!--" not in three
    own = page.replace(three, "")
    assert not re.search(r"https?:|//[a-z]+\.|\b(src|srcset)=|@import|\burl\(|\bfetch\(|XMLHttp|\{\{", own)


def test_only_its_own_scripts_and_style_run(glb):
    page = make_viewer(glb=glb)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and policy[1].startswith("default-src 'none';") and "unsafe" not in policy[1]
    allowed = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert allowed["img-src"] == "data: blob:" and allowed["worker-src"] == "blob:"
    assert not {"connect-src", "frame-src"} & set(allowed)
    for kind, found in (("script", re.findall(r"<script>(.*?)</script>", page, re.S)),
                        ("style", re.findall(r"<style>(.*?)</style>", page, re.S))):  # fmt: skip
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        assert allowed[f"{kind}-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not re.search(r"\bon[a-z]+=|style=|javascript:", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_the_title_is_text_and_nothing_else(glb):
    page, plain = make_viewer(glb=glb, title=HOSTILE), make_viewer(glb=glb, title="x")
    for tag in ("<script", "</script", "<img"):
        assert page.count(tag) == plain.count(tag)
    assert page.count(html.escape(HOSTILE)) == 3
    assert "<title>portrait360</title>" in make_viewer(glb=glb, title=" \n\x00")
    assert "<title>ab</title>" in make_viewer(glb=glb, title="a\udc80\x1bb")  # names of files may hold any bytes


def test_the_photo_and_its_camera_are_told(glb, portrait):
    about = json.loads(part(make_viewer(glb=glb, portrait=portrait), "about"))
    assert about["photo"].startswith("data:image/webp;base64,")
    assert about["camera"]["azimuth"] == pytest.approx(portrait.camera.azimuth, abs=0.01)
    assert set(json.loads(part(make_viewer(glb=glb), "about"))) == {"mesh", "face"}


def test_the_expressions_are_told_before_the_mesh_is_read(glb):
    face = json.loads(part(make_viewer(glb=glb), "about"))["face"]
    assert {"jawOpen", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight"} <= set(face)
    assert face["mouthSmileLeft"] == pytest.approx(SMILE) and face["jawOpen"] == 0
    plain = make_viewer(glb=pack_glb(viewer_scene.mesh()))
    assert json.loads(part(plain, "about")) == {"mesh": True}


def test_the_page_adds_less_than_a_megabyte(glb, portrait):
    page = make_viewer(glb=glb, portrait=portrait)
    assert len(page.encode()) - len(part(page, "glb")) < 780_000  # deflate takes most of base64's third back


def test_the_file_is_whole_or_absent(glb, tmp_path):
    path = tmp_path / "new" / "viewer.html"
    save_viewer(path, glb=glb, title="Zoë")
    assert path.read_text(encoding="utf-8") == make_viewer(glb=glb, title="Zoë")
    assert [found.name for found in path.parent.iterdir()] == ["viewer.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        save_viewer(tmp_path / "file" / "viewer.html", glb=glb)


def test_the_parts_stay_small_and_all_are_used():
    assert {path.name for path in VIEWER.iterdir()} == {*SCRIPTS, "viewer.html", "viewer.css"}
    for path in VIEWER.iterdir():
        assert len(path.read_text().splitlines()) <= 350, path


def test_the_library_is_the_one_that_is_described():
    described = (THREE.parent / "README.md").read_text()
    assert hashlib.sha256(THREE.read_bytes()).hexdigest() in described
    assert "MIT" in (THREE.parent / "three.LICENSE").read_text()


def test_size():
    few, more = (len(make_viewer(splats=viewer_scene.splats(count))) for count in (1000, 11000))
    assert few < 780_000 and (more - few) / 10_000 < 23  # base64 makes four characters of three bytes


def test_what_cannot_be_shown_is_refused():
    splats = viewer_scene.splats(10)
    for bad in (None, splats[np.arange(0)], replace(splats, means=splats.means * np.nan)):
        with pytest.raises(ValueError):
            make_viewer(splats=bad)


def test_every_part_of_a_shader_that_the_page_replaces_is_in_it():
    """One that three.js has renamed would be left as it was, without a word."""
    three, script = THREE.read_text(encoding="utf-8"), (VIEWER / "surfaces.js").read_text(encoding="utf-8")
    replaced = set(re.findall(r"#include <(\w+)>", script))
    assert "alphatest_fragment" in replaced  # cards of hair have soft edges
    for name in replaced:
        assert f"#include <{name}>" in three, name
