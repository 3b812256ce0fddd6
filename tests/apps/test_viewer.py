"""`portrait360 view`: what is found, what is compared, what a browser shows."""

import socket
import time

import numpy as np
import pytest

from portrait360.apps.viewer import FolderContents, compare_views, show
from portrait360.geometry.cameras import focal_from_fov, orbit
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.local_server import HOST, free_port
from tests.fixtures import viewer_scene
from tests.fixtures.chromium import FOUND, Chromium, Tab

SIZE = 64


def sheet(head: Head, count: int = 4) -> ViewSet:
    from portrait360.pipeline.export.writer import render_head

    cameras = orbit(count, focal=focal_from_fov(18.8))
    return ViewSet(tuple(View(*render_head(head, camera, SIZE), camera) for camera in cameras))


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(splats=viewer_scene.splats(), mesh=viewer_scene.mesh(24, 48))


def test_views_beside_the_head_that_they_show_differ_by_nothing(head):
    views = sheet(head)
    picture = compare_views(views.views[1], head, SIZE)
    given, own, difference = np.split(picture, 3, axis=1)
    assert picture.dtype == np.uint8 and np.array_equal(given, own) and difference.max() == 0
    other = compare_views(views.views[1], Head(mesh=head.mesh), SIZE)
    assert np.array_equal(other[:, :SIZE], given) and other[:, 2 * SIZE :].max() > 20


def test_all_that_lies_in_a_folder_is_found_and_nothing_is_told(head, tmp_path):
    with pytest.raises(UserError, match="no views, proxy or head"):
        FolderContents.load(tmp_path)
    with pytest.raises(UserError, match="no "):
        FolderContents.load(tmp_path / "nowhere")
    sheet(head).save(tmp_path / "views")
    found = FolderContents.load(tmp_path)
    assert found.view_set is not None and found.head is None and found.proxy is None
    head.save(tmp_path / "head")
    found = FolderContents.load(tmp_path)
    assert found.view_set is not None and found.head is not None
    alone = FolderContents.load(tmp_path / "head")
    assert alone.view_set is None and alone.head is not None


def test_a_taken_port_is_left_to_who_has_it():
    with socket.socket() as other:
        other.bind((HOST, 0))
        taken = other.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken


@pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_head_and_only_this_machine_is_asked(head, tmp_path):
    server = show(FolderContents(sheet(head), None, head), free_port(8123))
    address = f"http://{server.get_host()}:{server.get_port()}"
    assert address.startswith("http://127.0.0.1:")
    try:
        with Chromium(tmp_path) as browser:
            tab = Tab(browser, 640, 480, online=True)
            tab.open(address)
            until = time.monotonic() + 60
            while coloured(tab) < 0.02 and time.monotonic() < until:
                time.sleep(0.5)
            assert coloured(tab) > 0.02  # the head, on white
            asked = [
                e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"
            ]
        assert asked and all(url.startswith((address, "data:", "blob:")) for url in asked), asked
    finally:
        server.stop()


def coloured(tab: Tab) -> float:
    """Share of the picture's left half, where no panel is, that has a colour."""
    picture = tab.picture()[150:, :400]
    return float((np.ptp(picture, axis=-1) > 0.2).mean())
