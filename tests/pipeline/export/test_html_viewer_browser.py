"""viewer.html in a real browser, from the disk and with the network off."""

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.export.html_viewer import save_viewer
from tests.fixtures import viewer_scene
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.hostile import HOSTILE

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")

SIZE = 192
FOV = 18.8
GREY = 128 / 255
BARE = "document.querySelectorAll('.chrome').forEach(e => { e.hidden = true; })"
CAMERAS = (
    {"azimuth": 0, "elevation": 0},
    {"azimuth": 75, "elevation": 30},
    {"azimuth": 190, "elevation": -20, "radius": 2.0},
    {"azimuth": 300, "elevation": 60, "fov": 25.0},
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    save_viewer(path, viewer_scene.splats(), viewer_scene.mesh(), title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def tab(browser, page):
    """The page at rest in front of the head, and nothing to complain about afterwards."""
    tab = opened(browser, page)
    tab.run("portrait360.setCamera({azimuth: 20})")
    yield tab
    assert tab.complaints() == []
    tab.close()


def opened(browser: Chromium, page, **options) -> Tab:
    tab = Tab(browser, SIZE, SIZE, **options)
    tab.open(page)
    tab.run("portrait360.ready")
    return tab


def settled(tab: Tab) -> np.ndarray:
    tab.run("portrait360.settled()")
    return tab.picture()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean() + 1e-10))


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    return psnr(a, b) < 35


def camera_of(pose: dict) -> Camera:
    place = look_at(pose["azimuth"], pose["elevation"], radius=pose.get("radius", 2.7))
    return Camera(place, focal_from_fov(pose.get("fov", FOV)))


@pytest.mark.parametrize("pose", CAMERAS)
def test_both_layers_show_what_we_render(tab, pose):
    tab.run(BARE)
    tab.run(f"portrait360.setCamera({pose})")
    drawing = viewer_scene.mesh().draw(camera_of(pose), SIZE)
    wanted = {
        "splats": viewer_scene.rendered(viewer_scene.splats(), camera_of(pose), SIZE, GREY),
        "mesh": np.where(drawing.mask[..., None], drawing.rgb, GREY),
    }
    assert psnr(wanted["splats"], wanted["mesh"]) < 30  # else the switch would prove nothing
    for mode, picture in wanted.items():
        tab.run(f"portrait360.setMode('{mode}')")
        assert (
            psnr(tab.picture(), picture) > {"splats": 50, "mesh": 35}[mode]
        )  # the mesh's outline is smooth here, jagged there


def test_a_drag_turns_and_coasts(tab):
    before = tab.picture()
    tab.drag((120, 96), (80, 96))
    pose = tab.run("portrait360.camera()")
    after = settled(tab)
    assert differ(before, after)
    assert tab.run("portrait360.camera()")["azimuth"] > pose["azimuth"] > 20  # the head follows the hand


def test_the_wheel_zooms_within_limits(tab):
    for turned, wanted in ((-100, 2.7), (-9000, 1.1), (99000, 8)):
        for _ in range(12):
            tab.mouse("mouseWheel", 96, 96, deltaX=0, deltaY=turned)
        settled(tab)
        radius = tab.run("portrait360.camera()")["radius"]
        assert radius < wanted if wanted == 2.7 else radius == pytest.approx(wanted)


def test_keys(tab):
    for key, name, way in (
        ("ArrowRight", "azimuth", 1),
        ("ArrowLeft", "azimuth", -1),
        ("ArrowUp", "elevation", 1),
        ("ArrowDown", "elevation", -1),
        ("+", "radius", -1),
        ("-", "radius", 1),
    ):
        before = tab.run("portrait360.camera()")[name]
        tab.press(key)
        settled(tab)
        assert (tab.run("portrait360.camera()")[name] - before) * way > 0.1, key
    tab.press("r")
    settled(tab)
    home = {"azimuth": 0, "elevation": 0, "radius": 2.7, "fov": FOV}
    assert tab.run("portrait360.camera()") == pytest.approx(home)


def test_the_keys_m_and_b_and_the_help(tab):
    splats = settled(tab)
    tab.press("m")
    mesh = settled(tab)
    assert differ(splats, mesh) and tab.run("document.getElementById('shape').ariaPressed") == "true"
    tab.press("b")
    assert settled(tab)[60, 5] == pytest.approx(1)
    tab.press("b")
    assert settled(tab)[60, 5] == pytest.approx(0)
    tab.press("?")
    assert tab.run("document.getElementById('keys').checkVisibility()")


def test_two_clicks_reset(tab):
    for _ in range(2):
        tab.drag((96, 96), (96, 96), steps=0)
    settled(tab)
    assert tab.run("portrait360.camera()")["azimuth"] == pytest.approx(0)


def test_it_turns_by_itself_until_it_is_touched_and_rests_afterwards(browser, page):
    tab = opened(browser, page)
    first = tab.run("portrait360.camera()")["azimuth"]
    tab.run("new Promise(done => setTimeout(done, 700))")
    assert tab.run("portrait360.camera()")["azimuth"] > first
    tab.drag((96, 96), (97, 96), steps=1)
    settled(tab)
    count = "window.frames_ = 0; { const f = requestAnimationFrame; requestAnimationFrame = g => (frames_++, f(g)); }"
    tab.run(count)
    tab.run("new Promise(done => setTimeout(done, 500))")
    assert tab.run("frames_") == 0  # a page at rest draws nothing
    tab.press(" ")
    tab.run("new Promise(done => setTimeout(done, 500))")
    assert tab.run("frames_") > 0 and tab.run("document.getElementById('turn').ariaPressed") == "true"
    tab.close()


def test_who_wants_less_motion_gets_less(browser, page):
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    tab.open(page)
    tab.run("portrait360.ready")
    tab.run("new Promise(done => setTimeout(done, 300))")
    assert tab.run("portrait360.camera()")["azimuth"] == 0
    tab.close()


def test_fingers(browser, page):
    tab = opened(browser, page, sharp=2, phone=True)
    tab.run("portrait360.setCamera({azimuth: 0})")

    def touch(kind, *points):
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    touch("touchStart", (80, 90))
    touch("touchMove", (110, 90))
    touch("touchEnd")
    settled(tab)
    assert tab.run("portrait360.camera()")["azimuth"] < -10
    touch("touchStart", (80, 90), (110, 90))
    touch("touchMove", (60, 90), (130, 90))
    touch("touchEnd")
    settled(tab)
    assert tab.run("portrait360.camera()")["radius"] < 2
    assert tab.run("[view.width, view.clientWidth]") == [2 * SIZE, SIZE]
    assert tab.complaints() == []
    tab.close()


def test_the_picture_fills_a_resized_window(tab):
    tab.resize(300, 150)
    settled(tab)
    assert tab.run("[view.width, view.height]") == [300, 150]


def test_a_hostile_title_is_shown_and_does_nothing(tab):
    assert tab.run("document.querySelector('h1').textContent") == HOSTILE.strip()
    assert tab.run("document.title") == HOSTILE.strip() and tab.run("typeof window.hit") == "undefined"


def test_the_page_may_fetch_nothing(browser, page):
    tab = opened(browser, page)
    blocked = tab.run("fetch('data:,x').then(() => 'fetched', () => 'refused')")
    assert blocked == "refused"
    tab.close()


def test_without_webgl2_it_says_so(browser, page):
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="HTMLCanvasElement.prototype.getContext = () => null")
    tab.open(page)
    assert "WebGL 2" in tab.run("document.getElementById('sorry').innerText")
    assert not tab.run("document.getElementById('tools').checkVisibility()")
    assert tab.complaints() == []
    tab.close()


def test_without_a_worker_the_page_sorts_itself(browser, page):
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="window.Worker = null")
    tab.open(page)
    tab.run("portrait360.ready")
    tab.run(BARE)
    for pose in CAMERAS[:2]:
        tab.run(f"portrait360.setCamera({pose})")
        wanted = viewer_scene.rendered(viewer_scene.splats(), camera_of(pose), SIZE, GREY)
        assert psnr(tab.picture(), wanted) > 50
    assert tab.complaints() == []
    tab.close()


def test_a_lost_graphics_context_comes_back(tab):
    before = settled(tab)
    tab.run("window.lost = view.getContext('webgl2').getExtension('WEBGL_lose_context'); lost.loseContext()")
    tab.run("new Promise(done => setTimeout(done, 200))")
    tab.run("lost.restoreContext(); new Promise(done => setTimeout(done, 500))")
    assert not differ(before, settled(tab))


def test_frames_are_timed(tab):
    times = tab.run("portrait360.frameTime()")
    assert 0 < times["frame"] < 10_000 and 0 <= times["sort"] < 1000


@pytest.mark.parametrize("kind", ["splats", "mesh"])
def test_a_page_with_one_of_both_has_no_switch(browser, tmp_path, kind):
    both = {"splats": viewer_scene.splats(50), "mesh": viewer_scene.mesh()}
    path = tmp_path / "viewer.html"
    save_viewer(path, **{name: value if name == kind else None for name, value in both.items()})
    tab = opened(browser, path)
    assert not tab.run("document.getElementById('shape').checkVisibility()")
    tab.press("m")
    tab.run("portrait360.setCamera({azimuth: 10})")
    assert np.ptp(tab.picture()[60:130, 60:130], axis=(0, 1)).max() > 0.1
    assert tab.complaints() == []
    tab.close()
