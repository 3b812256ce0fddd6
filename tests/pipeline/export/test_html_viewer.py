"""The page's own laws; what a browser makes of it is in test_viewer_browser.py."""

import base64
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from portrait360.assets import VIEWER
from portrait360.pipeline.export.html_viewer import SCRIPTS, pack_mesh, pack_splats, save_viewer, viewer_page
from portrait360.utils.errors import UserError
from tests.fixtures import viewer_scene
from tests.fixtures.hostile import HOSTILE


def test_splats_are_stored_as_finely_as_they_are_seen():
    splats = viewer_scene.splats()
    said = pack_splats(splats)
    data, count = base64.b64decode(said["data"]), len(splats)
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


def _quaternions(packed: np.ndarray) -> np.ndarray:
    out = np.zeros((len(packed), 4))
    for n, bits in enumerate(packed.tolist()):
        left = bits >> 30
        rest = [((bits >> shift & 1023) / 1023 * 2 - 1) / 2**0.5 for shift in (20, 10, 0)]
        out[n, [i for i in range(4) if i != left]] = rest
        out[n, left] = max(1 - np.dot(rest, rest), 0) ** 0.5
    return out


def test_a_mesh_is_stored_as_finely_as_it_is_seen():
    mesh = viewer_scene.mesh()
    said = pack_mesh(mesh)
    data = base64.b64decode(said["data"])
    triangles = np.frombuffer(data, "<u2", 3 * said["triangles"]).reshape(-1, 3)
    assert np.array_equal(triangles, mesh.triangles)
    rest = np.frombuffer(data, "<u2", offset=triangles.nbytes)
    steps, uv = rest[: mesh.vertices.size].reshape(-1, 3), rest[mesh.vertices.size :].reshape(-1, 2)
    low, high = np.array(said["low"]), np.array(said["high"])
    assert np.abs(low + steps / 65535 * (high - low) - mesh.vertices).max() < 1e-5
    assert np.abs(uv / 65535 - mesh.uv).max() < 1e-5  # a fiftieth of a texel of 2048
    assert said["texture"].startswith("data:image/webp;base64,")


def test_a_mesh_of_more_vertices_than_16_bits_count_has_wider_triangles():
    mesh = viewer_scene.mesh(300, 256)
    said = pack_mesh(mesh)
    indices = np.frombuffer(base64.b64decode(said["data"]), "<u4", 3 * said["triangles"])
    assert np.array_equal(indices.reshape(-1, 3), mesh.triangles) and indices.max() > 65535


def test_the_title_is_text_and_nothing_else():
    page = viewer_page(viewer_scene.splats(10), None, title=HOSTILE)
    plain = viewer_page(viewer_scene.splats(10), None, title="x")
    assert page.count("<script") == plain.count("<script") and page.count("</script") == plain.count("</script")
    assert page.count(html.escape(HOSTILE)) == 3 and "<img" not in page
    assert "<title>portrait360</title>" in viewer_page(viewer_scene.splats(10), None, title="  ")


def test_the_page_is_whole_in_itself():
    page = viewer_page(viewer_scene.splats(10), viewer_scene.mesh())
    assert not re.search(r"https?:|//[a-z]+\.|\b(src|srcset)=|@import|\burl\(|\bfetch\(|XMLHttp|\{\{", page)
    assert "default-src 'none'" in page and "unsafe" not in page
    head = re.search(r'<script type="application/json" id="head">(.*?)</script>', page)
    assert head and set(json.loads(head[1])) == {"splats", "mesh"}


def test_size():
    few, more = (len(viewer_page(viewer_scene.splats(count), None)) for count in (1000, 11000))
    assert few < 80_000 and (more - few) / 10_000 < 23  # base64 makes four characters of three bytes


def test_the_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "new" / "viewer.html"
    save_viewer(path, viewer_scene.splats(10), None, title="Zoë")
    assert path.read_text(encoding="utf-8") == viewer_page(viewer_scene.splats(10), None, title="Zoë")
    assert [found.name for found in path.parent.iterdir()] == ["viewer.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_viewer(tmp_path / "file" / "viewer.html", viewer_scene.splats(10), None)


def test_what_cannot_be_shown_is_refused():
    splats, mesh = viewer_scene.splats(10), viewer_scene.mesh()
    for bad in (
        (None, None),
        (splats[:0], None),
        (replace(splats, means=splats.means * np.nan), None),
        (None, replace(mesh, triangles=mesh.triangles[:0])),
        (None, replace(mesh, uv=mesh.uv * np.nan)),
    ):
        with pytest.raises(ValueError):
            viewer_page(*bad)


def test_the_parts_stay_small_and_all_are_used():
    names = {path.name for path in VIEWER.iterdir()}
    assert names == {*SCRIPTS, "viewer.html", "viewer.css"}
    for name in names:
        assert len((VIEWER / name).read_text().splitlines()) <= 300, name
