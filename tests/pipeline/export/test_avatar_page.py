"""The laws of avatar.html; what a browser makes of it is in test_avatar_page_browser.py."""

import base64
import hashlib
import html
import json
import re
import zlib

import pytest

from portrait360.assets import AVATAR_PAGE, THREE
from portrait360.pipeline.export.avatar_page import SCRIPTS, make_avatar_page, save_avatar_page
from portrait360.utils.errors import UserError
from tests.fixtures.hostile import HOSTILE
from tests.fixtures.tiny_avatar import pack_tiny_avatar


@pytest.fixture(scope="module")
def glb() -> bytes:
    return pack_tiny_avatar()


def part(page: str, id: str) -> str:
    found = re.search(rf'<script type="[a-z/]+" id="{id}">(.*?)</script>', page, re.S)
    assert found, id
    return found[1]


def test_the_file_inside_is_the_file_outside(glb):
    assert zlib.decompress(base64.b64decode(part(make_avatar_page(glb), "glb"), validate=True)) == glb


def test_the_page_is_whole_in_itself(glb, portrait):
    page = make_avatar_page(glb, portrait=portrait)
    three = THREE.read_text()
    assert page.count(three) == 1 and "</script" not in three and "<!--" not in three
    own = page.replace(three, "")
    assert not re.search(r"https?:|//[a-z]+\.|\b(src|srcset)=|@import|\burl\(|\bfetch\(|XMLHttp|\{\{", own)


def test_only_its_own_scripts_and_style_run(glb):
    page = make_avatar_page(glb)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and policy[1].startswith("default-src 'none';") and "unsafe" not in policy[1]
    allowed = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert allowed["img-src"] == "data: blob:" and not {"connect-src", "worker-src", "frame-src"} & set(allowed)
    for kind, found in (("script", re.findall(r"<script>(.*?)</script>", page, re.S)),
                        ("style", re.findall(r"<style>(.*?)</style>", page, re.S))):  # fmt: skip
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        assert allowed[f"{kind}-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not re.search(r"\bon[a-z]+=|style=|javascript:", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_the_title_is_text_and_nothing_else(glb):
    page, plain = make_avatar_page(glb, title=HOSTILE), make_avatar_page(glb, title="x")
    for tag in ("<script", "</script", "<img"):
        assert page.count(tag) == plain.count(tag)
    assert page.count(html.escape(HOSTILE)) == 3
    assert "<title>portrait360</title>" in make_avatar_page(glb, title=" \n\x00")
    assert "<title>ab</title>" in make_avatar_page(glb, title="a\udc80\x1bb")  # names of files may hold any bytes


def test_the_photo_and_its_camera_are_told(glb, portrait):
    about = json.loads(part(make_avatar_page(glb, portrait=portrait), "about"))
    assert about["photo"].startswith("data:image/webp;base64,")
    assert about["camera"]["azimuth"] == pytest.approx(portrait.camera.azimuth, abs=0.01)
    assert json.loads(part(make_avatar_page(glb), "about")) == {}


def test_the_page_adds_less_than_a_megabyte(glb, portrait):
    page = make_avatar_page(glb, portrait=portrait)
    assert len(page.encode()) - len(part(page, "glb")) < 750_000  # deflate takes most of base64's third back


def test_the_file_is_whole_or_absent(glb, tmp_path):
    path = tmp_path / "new" / "avatar.html"
    save_avatar_page(path, glb, title="Zoë")
    assert path.read_text(encoding="utf-8") == make_avatar_page(glb, title="Zoë")
    assert [found.name for found in path.parent.iterdir()] == ["avatar.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_avatar_page(tmp_path / "file" / "avatar.html", glb)


def test_the_parts_stay_small_and_all_are_used():
    assert {path.name for path in AVATAR_PAGE.iterdir()} == {*SCRIPTS, "avatar.html", "avatar.css"}
    for path in AVATAR_PAGE.iterdir():
        assert len(path.read_text().splitlines()) <= 350, path


def test_the_library_is_the_one_that_is_described():
    described = (THREE.parent / "README.md").read_text()
    assert hashlib.sha256(THREE.read_bytes()).hexdigest() in described
    assert "MIT" in (THREE.parent / "three.LICENSE").read_text()
