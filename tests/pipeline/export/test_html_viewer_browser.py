"""viewer.html in a real browser, from the disk and with the network off: how splats and meshes are shown."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.mesh import pack_glb
from portrait360.pipeline.export.units import METRES
from tests.fixtures import viewer_scene
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.hostile import HOSTILE
from tests.fixtures.tiny_avatar import pack_tiny_avatar

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")

SIZE = 192
FOV = 18.8
TARGET = np.array([0, -0.02 / METRES, 0])  # what the camera looks at
TOP, BOTTOM = np.array([0x85, 0x88, 0x8C]) / 255, np.array([0x4B, 0x4D, 0x50]) / 255  # of the background
GROUND = TOP + (BOTTOM - TOP) * ((np.arange(SIZE) + 0.5) / SIZE)[:, None, None]
BARE = """document.querySelectorAll('h1, #help, #tools').forEach(e => { e.hidden = true; });
    document.querySelector('main').classList.add('folded')"""
SPLATS = viewer_scene.splats(steepest=0.25)  # more would be brighter than white
CAMERAS = (
    {"azimuth": 0, "elevation": 0, "distance": 1.4},
    {"azimuth": 75, "elevation": 30, "distance": 1.4},
    {"azimuth": 190, "elevation": -20, "distance": 1.05},
    {"azimuth": 300, "elevation": 60, "distance": 1.6},
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    save_viewer(path, splats=SPLATS, glb=pack_glb(viewer_scene.mesh()), title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def shared(browser, page):
    """One page for all tests that leave it as it was: a browser takes seconds to open one."""
    tab = opened(browser, page)
    tab.run("portrait360.turn(0)")
    tab.run(BARE)
    yield tab, tab.run("portrait360.pose()")
    tab.close()


@pytest.fixture
def tab(shared):
    """The page at rest in front of the head, and nothing to complain about afterwards."""
    tab, pose = shared
    tab.run("portrait360.setMode('splats')")
    tab.run(f"portrait360.setPose({pose | {'azimuth': 20}})")
    tab.run("portrait360.settled()")
    yield tab
    assert tab.complaints() == []


@pytest.fixture
def fresh(browser, page):
    """As `tab`, but a page of the test's own."""
    tab = opened(browser, page)
    tab.run("portrait360.turn(0)")
    tab.run(BARE)
    tab.run("portrait360.setPose({azimuth: 20})")
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


def draw_splats(pose: dict, splats: GaussianSplats = SPLATS) -> np.ndarray:
    return viewer_scene.rendered(replace(splats, means=splats.means - TARGET), camera_of(pose), SIZE, GROUND)


def draw_mesh(pose: dict) -> np.ndarray:
    mesh = viewer_scene.mesh()
    moved = replace(mesh, vertices=(mesh.vertices - TARGET).astype(np.float32))
    drawing = moved.draw(camera_of(pose), SIZE)
    return np.where(drawing.mask[..., None], drawing.rgb, GROUND)


def camera_of(pose: dict) -> Camera:
    place = look_at(pose["azimuth"], pose["elevation"], radius=pose["distance"] / METRES)
    return Camera(place, focal_from_fov(FOV))


@pytest.mark.parametrize("pose", CAMERAS)
def test_splats_and_mesh_show_what_we_render(tab, pose):
    tab.run(f"portrait360.setPose({pose})")
    wanted = {"splats": draw_splats(pose), "lit": draw_mesh(pose)}
    assert psnr(*wanted.values()) < 30  # else the switch would prove nothing
    for mode, picture in wanted.items():
        tab.run(f"portrait360.setMode('{mode}')")
        assert psnr(tab.picture(), picture) > {"splats": 50, "lit": 33}[mode]  # smooth outlines here, jagged there


def test_digits_switch_what_is_shown(tab):
    pictures = {}
    for key, mode in zip("12345", ("splats", "lit", "clay", "normals", "wireframe"), strict=True):
        tab.press(key)
        tab.run(f"portrait360.setMode('{mode}')")  # waits for the mesh
        assert tab.run("document.querySelector('#modes :checked').value") == tab.run("portrait360.mode()") == mode
        pictures[mode] = tab.picture()
    names = list(pictures)
    assert all(differ(pictures[a], pictures[b]) for i, a in enumerate(names) for b in names[i + 1 :])
    tab.press("1")
    assert not differ(settled(tab), pictures["splats"]) and tab.run("portrait360.mode()") == "splats"


def test_a_mesh_is_read_when_it_is_shown_and_not_before(fresh):
    count = "{ const f = Response; Response = class extends f { constructor(s) { super(s); reads_++ } } }"
    fresh.run(f"window.reads_ = 0; {count}")
    fresh.run("portrait360.setPose({azimuth: 40})")
    assert fresh.run("reads_") == 0
    fresh.run("portrait360.setMode('clay')")
    fresh.run("portrait360.setMode('lit')")
    assert fresh.run("reads_") == 1


def test_the_saved_picture_is_the_one_that_is_seen(fresh):
    fresh.run("portrait360.setMode('lit')")  # whose pictures are blobs, too
    fresh.run("window.saved = []; URL.createObjectURL = (blob) => (saved.push(blob), 'blob:null/0')")
    fresh.run("HTMLAnchorElement.prototype.click = () => {}")
    for mode in ("splats", "lit"):
        fresh.run(f"portrait360.setMode('{mode}')")
        fresh.run("saved = []; document.getElementById('shot').click()")
        fresh.run("new Promise(done => { const look = () => saved.length ? done() : setTimeout(look, 20); look() })")
        text = "btoa(Array.from(new Uint8Array(bytes), c => String.fromCharCode(c)).join(''))"
        read = f"saved[0].arrayBuffer().then(bytes => {text})"
        with Image.open(io.BytesIO(base64.b64decode(fresh.run(read)))) as picture:
            saved = np.asarray(picture.convert("RGB"), np.float32) / 255
        assert psnr(saved, fresh.picture()) > 40, mode


def test_the_head_follows_the_hand_and_coasts(tab):
    before = tab.picture()
    tab.drag((80, 96), (120, 96))
    pose = tab.run("portrait360.pose()")
    after = settled(tab)
    assert differ(before, after)
    assert tab.run("portrait360.pose()")["azimuth"] < pose["azimuth"] < 20


def test_the_wheel_zooms_within_limits(tab):
    for turned, wanted in ((-9000, 0.45), (99000, 4)):
        for _ in range(40):
            tab.mouse("mouseWheel", 96, 96, deltaX=0, deltaY=turned)
        settled(tab)
        assert tab.run("portrait360.pose()")["distance"] == pytest.approx(wanted, rel=0.01)


def test_the_background_changes_behind_splats_and_meshes(tab):
    for mode in ("splats", "lit"):
        tab.run(f"portrait360.setMode('{mode}')")
        corners = []
        for _ in range(3):
            corners.append(settled(tab)[2, 5].mean())
            tab.press("b")
        assert sorted(corners) == pytest.approx([0.2, 0.53, 1], abs=0.05)


def test_it_turns_by_itself_until_it_is_touched_and_rests_afterwards(browser, page):
    tab = opened(browser, page)
    tab.run(BARE)
    first = tab.run("portrait360.pose()")["azimuth"]
    tab.run("new Promise(done => setTimeout(done, 700))")
    assert tab.run("portrait360.pose()")["azimuth"] > first
    tab.drag((96, 50), (97, 50), steps=1)
    settled(tab)
    count = "window.frames_ = 0; { const f = requestAnimationFrame; requestAnimationFrame = g => (frames_++, f(g)); }"
    tab.run(count)
    tab.run("new Promise(done => setTimeout(done, 500))")
    assert tab.run("frames_") == 0  # a page at rest draws nothing
    tab.press(" ")
    tab.run("new Promise(done => setTimeout(done, 500))")
    assert tab.run("frames_") > 0
    tab.close()


def test_who_wants_less_motion_gets_less(browser, page):
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    tab.open(page)
    tab.run("portrait360.ready")
    tab.run("new Promise(done => setTimeout(done, 300))")
    assert tab.run("portrait360.pose()")["azimuth"] == pytest.approx(0)
    tab.close()


def test_fingers_turn_and_zoom_at_the_full_sharpness(browser, page):
    tab = opened(browser, page, sharp=2, phone=True)
    tab.run(BARE)
    tab.run("portrait360.turn(0); portrait360.setPose({azimuth: 0})")

    def touch(kind, *points):
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    touch("touchStart", (80, 90))
    touch("touchMove", (110, 90))
    touch("touchEnd")
    settled(tab)
    assert tab.run("portrait360.pose()")["azimuth"] < -10
    touch("touchStart", (80, 90), (110, 90))
    touch("touchMove", (60, 90), (130, 90))
    touch("touchEnd")
    settled(tab)
    assert tab.run("portrait360.pose()")["distance"] < 1
    assert tab.run("(c => [c.width, c.clientWidth])(document.getElementById('splats'))") == [2 * SIZE, SIZE]
    assert tab.complaints() == []
    tab.close()


def test_the_picture_fills_a_resized_window(fresh):
    fresh.resize(300, 150)
    settled(fresh)
    assert fresh.run("(c => [c.width, c.height])(document.getElementById('splats'))") == [300, 150]


def test_without_webgl2_it_says_so(browser, page):
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="HTMLCanvasElement.prototype.getContext = () => null")
    tab.open(page)
    assert "WebGL 2" in tab.run("document.getElementById('sorry').innerText")
    assert not tab.run("document.getElementById('tools').checkVisibility()")
    assert tab.complaints() == []
    tab.close()


def test_without_a_worker_the_page_sorts_itself(browser, tmp_path):
    page, splats = tmp_path / "viewer.html", viewer_scene.splats()
    save_viewer(page, splats=splats)
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="window.Worker = null")
    tab.open(page)
    tab.run("portrait360.ready")
    tab.run(BARE)
    tab.run("portrait360.turn(0)")
    for pose in CAMERAS[:2]:
        tab.run(f"portrait360.setPose({pose})")
        assert psnr(tab.picture(), draw_splats(pose, splats)) > 50
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("mode", ["splats", "clay"])
def test_a_lost_graphics_context_comes_back(fresh, mode):
    fresh.run(f"portrait360.setMode('{mode}')")
    before, canvas = settled(fresh), "splats" if mode == "splats" else "mesh"
    lose = "document.getElementById('{}').getContext('webgl2').getExtension('WEBGL_lose_context')"
    fresh.run(f"window.lost = {lose.format(canvas)}; lost.loseContext()")
    fresh.run("new Promise(done => setTimeout(done, 200))")
    fresh.run("lost.restoreContext(); new Promise(done => setTimeout(done, 500))")
    assert not differ(before, settled(fresh))
    fresh.browser.events[:] = [e for e in fresh.browser.events if "Context Lost" not in str(e)]  # three says so


def test_frames_are_timed(tab):
    assert 0 < tab.run("portrait360.frameTime()") < 10_000


@pytest.mark.parametrize(("taken", "seen"), [(8, 0), (38, 38), (322, -38), (180, 0)])
def test_a_turned_head_is_first_seen_from_where_its_photo_was_taken(browser, tmp_path, portrait, taken, seen):
    path = tmp_path / "viewer.html"
    camera = Camera(look_at(taken, 5), portrait.camera.focal)
    save_viewer(path, splats=viewer_scene.splats(50), portrait=replace(portrait, camera=camera))
    tab = Tab(browser, SIZE, SIZE)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    tab.open(path)
    tab.run("portrait360.ready")
    assert tab.run("portrait360.pose()") == pytest.approx(
        {"azimuth": seen, "elevation": 0, "distance": 1.4}, abs=0.01
    )
    tab.press("r")
    assert tab.run("portrait360.pose()")["azimuth"] == pytest.approx(0)
    tab.close()


@pytest.mark.parametrize("kind", ["splats", "mesh"])
def test_a_page_with_one_of_both_offers_what_it_has(browser, tmp_path, kind):
    path = tmp_path / "viewer.html"
    both = {"splats": {"splats": viewer_scene.splats(50)}, "mesh": {"glb": pack_glb(viewer_scene.mesh())}}
    save_viewer(path, **both[kind])
    tab = opened(browser, path)
    tab.run("portrait360.turn(0)")
    visible = "[...document.querySelectorAll('#modes input')].filter(i => i.checkVisibility()).map(i => i.value)"
    assert tab.run(visible) == ([] if kind == "splats" else ["lit", "clay", "normals", "wireframe"])
    tab.press("1")
    tab.run("portrait360.setPose({azimuth: 10})")
    assert tab.run("portrait360.mode()") == ("splats" if kind == "splats" else "lit")
    assert tab.run("document.getElementById('save').hidden") == (kind == "splats")
    assert not any(
        tab.run(f"document.getElementById('{id}').checkVisibility()") for id in ("presets", "units", "note")
    )
    assert np.ptp(tab.picture()[20:90, 60:130], axis=(0, 1)).max() > 0.1
    assert tab.complaints() == []
    tab.close()


def test_what_moves_the_face_shows_the_mesh_where_no_splat_lies_on_it(browser, tmp_path):
    path = tmp_path / "viewer.html"
    save_viewer(path, splats=viewer_scene.splats(50), glb=pack_tiny_avatar())
    tab = opened(browser, path)
    mode = "portrait360.settled().then(() => portrait360.mode())"
    assert tab.run(mode) == "splats" and tab.run("document.getElementById('note').checkVisibility()")
    tab.run("document.querySelector('[data-preset=photo]').click()")
    assert tab.run(mode) == "splats"  # they are of the photo
    for moved in ("portrait360.preset('smile')", "portrait360.setWeights({jawOpen: 0.5})"):
        tab.run("portrait360.setMode('splats')")
        tab.run(moved)
        assert tab.run(mode) == "lit"
    tab.run("portrait360.setMode('normals')")
    tab.run("portrait360.preset('neutral')")
    assert tab.run(mode) == "normals"
    assert tab.complaints() == []
    tab.close()
