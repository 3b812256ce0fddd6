"""The page of an animatable mesh in a real browser, from the disk and with the network off."""

import base64

import numpy as np
import pytest

from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.units import METRES
from portrait360.synth.scene import Light
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.hostile import HOSTILE
from tests.fixtures.tiny_avatar import MOUTH, SMILE, pack_tiny_avatar

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")

WIDTH, HEIGHT, PANEL = 560, 240, 246  # pixels; the panel's is that of low windows
MIDDLE = (WIDTH - PANEL) // 2
REST = "portrait360.setIdle(false).then(() => portrait360.settled())"
STILL = [{"name": "prefers-reduced-motion", "value": "reduce"}]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "viewer.html"
    save_viewer(path, glb=pack_tiny_avatar(), title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def shared(browser, page):
    tab = opened(browser, page, WIDTH, HEIGHT)
    yield tab
    assert tab.complaints() == []  # no request left the page, either
    tab.close()


@pytest.fixture
def tab(shared):
    """The page at rest in front of the head."""
    shared.mouse("mouseMoved", MIDDLE, 120)
    shared.run("document.getElementById('follow').checked || document.getElementById('follow').click()")
    shared.run("portrait360.setMode('lit').then(() => portrait360.preset('photo'))")
    shared.run("portrait360.setPose({azimuth: 0, elevation: 0, distance: 1.4})")
    return shared


def opened(browser: Chromium, page, width: int, height: int, *, still: bool = True, **options) -> Tab:
    tab = Tab(browser, width, height, **options)
    if still:
        tab.call("Emulation.setEmulatedMedia", features=STILL)
    tab.open(page)
    tab.run("portrait360.ready")
    return tab


def head(tab: Tab) -> np.ndarray:
    tab.run("portrait360.settled()")
    return tab.picture()[:, : WIDTH - PANEL]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(before - after).max(-1) > 0.08


def set_slider(tab: Tab, id: str, value: float) -> None:
    tab.run(f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input')) }})(document.getElementById('{id}'))")


def weight(tab: Tab, name: str) -> float:
    return tab.run(f"(m => m.morphTargetInfluences[m.morphTargetDictionary.{name}])(portrait360.face().meshes[0])")


def box(tab: Tab, id: str) -> list[float]:
    get = "(b => [b.left, b.top, b.right, b.bottom])(document.getElementById('{}').getBoundingClientRect())"
    return tab.run(get.format(id))


def test_a_slider_moves_the_mouth_and_nothing_else(tab):
    before = head(tab)
    set_slider(tab, "unit-jawOpen", 1)
    moved = changed(before, head(tab))
    middle = tab.run(f"portrait360.project({(MOUTH * METRES).tolist()})")  # pixels
    rows, columns = np.nonzero(moved)
    assert len(rows) > 100
    assert np.hypot(rows - middle[1], columns - middle[0]).max() < 0.25 * HEIGHT
    tab.run("portrait360.preset('photo')")
    assert not changed(before, head(tab)).any()


def test_presets_set_units_by_name_on_both_sides(tab):
    assert weight(tab, "mouthSmileLeft") == pytest.approx(SMILE)
    for preset, smile, jaw in (("smile", 0.8, 0), ("surprise", 0, 0.4), ("neutral", 0, 0), ("photo", SMILE, 0)):
        tab.run(f"document.querySelector('[data-preset={preset}]').click()")
        tab.run("portrait360.settled()")
        assert [weight(tab, f"mouthSmile{side}") for side in ("Left", "Right")] == pytest.approx([smile] * 2), preset
        assert weight(tab, "jawOpen") == pytest.approx(jaw)
        assert tab.run(f"document.querySelector('[data-preset={preset}]').ariaPressed") == "true"
        assert float(tab.run("document.getElementById('unit-mouthSmile').value")) == pytest.approx(smile)


def test_a_mouth_closes_what_the_jaw_has_opened(tab):
    for jaw in (0, 0.4):
        tab.run(f"portrait360.setWeights({{mouthClose: 1, jawOpen: {jaw}}})")
        assert weight(tab, "mouthClose") == pytest.approx(jaw)


def test_a_blink_closes_the_lids_and_opens_them(tab):
    closed = (
        "new Promise(done => { const f = portrait360.face(), b = []; const look = () => { b.push(f.meshes[0]"
        ".morphTargetInfluences[f.meshes[0].morphTargetDictionary.eyeBlinkLeft]); b.length < 40 ?"
        " requestAnimationFrame(look) : done(b) }; document.querySelector('[data-preset=blink]').click(); look() })"
    )
    lids = tab.run(closed)
    assert max(lids) > 0.5 and lids[-1] == 0


def test_speech_moves_the_jaw_until_it_is_switched_off(tab):
    tab.run("document.querySelector('[data-preset=talk]').click()")
    jaws = [tab.run("new Promise(d => setTimeout(d, 150))") or weight(tab, "jawOpen") for _ in range(6)]
    assert max(jaws) > 0.05 and np.ptp(jaws) > 0.03
    tab.run("document.querySelector('[data-preset=talk]').click()")
    tab.run("portrait360.settled()")
    assert weight(tab, "jawOpen") == pytest.approx(0)


def test_eyes_follow_the_pointer(tab):
    yaws = []
    for x in (MIDDLE - 100, MIDDLE + 100):
        tab.mouse("mouseMoved", x, 105)
        tab.run("portrait360.settled()")
        yaws.append(tab.run("portrait360.face().eyes.map(eye => eye.rotation.y)"))
    assert max(yaws[0]) < -0.05 and min(yaws[1]) > 0.05
    tab.run("document.getElementById('follow').click()")
    tab.run("portrait360.settled()")
    assert tab.run("portrait360.face().eyes.map(eye => eye.rotation.y)") == [0, 0]


def test_eyes_turn_to_the_pointer_from_where_the_photos_look(tab):
    """Eyes that look aside in the photo turn back by as much to look ahead."""
    turn = "portrait360.settled().then(() => portrait360.face().eyes[0].rotation.y)"
    ahead = tab.run(turn)
    tab.run("portrait360.face().begin([[0.2, 0, 1], [0.2, 0, 1]])")
    tab.mouse("mouseMoved", MIDDLE + 1, 120)
    aside = tab.run(turn)
    tab.run("portrait360.face().begin([[0, 0, 1]])")
    assert aside - ahead == pytest.approx(-np.arctan(0.2), abs=0.01)


def test_surfaces_look_different_and_normals_are_what_they_are(tab):
    pictures = {}
    for mode in ("lit", "clay", "normals", "wireframe"):
        tab.run(f"portrait360.setMode('{mode}')")
        pictures[mode] = head(tab)
    names = list(pictures)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert changed(pictures[one], pictures[other]).mean() > 0.1, (one, other)
    x, y = (round(value) for value in tab.run(f"portrait360.project({[0, -0.02 * METRES, 0.18 * METRES]})"))
    forward = pictures["normals"][y - 3 : y + 4, x - 3 : x + 4].mean((0, 1))
    assert forward == pytest.approx([0.5, 0.5, 1], abs=0.06)


def test_the_light_comes_from_where_the_disc_says(tab):
    tab.run("document.getElementById('disc').scrollIntoView()")
    left, top, right, bottom = box(tab, "disc")
    assert bottom < HEIGHT
    tab.run("portrait360.setMode('clay')")
    sides = {}
    for side, share in (("left", 0.3), ("right", 0.7)):
        place = (left + share * (right - left), (top + bottom) / 2)
        tab.drag(place, place, steps=1)
        picture = head(tab)
        sides[side] = (
            picture[95:135, MIDDLE - 30 : MIDDLE - 15].mean() - picture[95:135, MIDDLE + 15 : MIDDLE + 30].mean()
        )
    assert sides["left"] > 0.1 and sides["right"] < -0.1


def test_a_head_stands_in_the_light_of_its_photo_until_the_light_is_moved(browser, tmp_path):
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = np.array([2.5, 0.5, 0.5])  # red from everywhere
    light = Light(ambient, np.float32([[0, 0, 1]]), np.float32([[0, 0, 0.3]]), np.zeros(1, np.float32))
    path = tmp_path / "viewer.html"
    save_viewer(path, glb=pack_tiny_avatar(light))
    own = opened(browser, path, WIDTH, HEIGHT)
    forehead = lambda: head(own)[70:80, MIDDLE - 5 : MIDDLE + 5].mean((0, 1))  # noqa: E731
    red = forehead()
    assert red[0] > 2 * red[1] and red[2] > red[1]
    own.run("portrait360.setMode('clay')")
    clay = forehead()
    assert clay[0] < 1.6 * clay[1]  # it shows the shape alone
    own.run("portrait360.setMode('lit')")
    disc = "document.getElementById('disc')"
    own.run(f"{disc}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'ArrowUp'}}))")
    white = forehead()
    assert white[0] < 1.6 * white[1]
    own.run(f"{disc}.dispatchEvent(new MouseEvent('dblclick'))")
    assert forehead() == pytest.approx(red, abs=0.02)
    assert own.complaints() == []
    own.close()


def test_nothing_behind_the_mesh_shines_through_edges_of_hair(tab):
    """Soft edges are partly covered pixels, whose alpha must not stay in the canvas."""
    shown = []
    for colour in ("white", "black"):
        tab.run(f"document.getElementById('view').style.background = '{colour}'")
        shown.append(head(tab))
    assert np.abs(shown[0] - shown[1]).max() < 0.01


def test_drag_wheel_keys_and_double_click(tab):
    pose = lambda: tab.run("portrait360.settled().then(() => portrait360.pose())")  # noqa: E731
    tab.drag((120, 120), (80, 120))
    assert pose()["azimuth"] > 10
    tab.mouse("mouseWheel", 100, 120, deltaX=0, deltaY=-300)
    assert pose()["distance"] < 1.35
    for _ in range(2):
        tab.drag((120, 120), (120, 120), steps=0)
    tab.run("document.getElementById('view').dispatchEvent(new MouseEvent('dblclick'))")
    assert pose() == pytest.approx({"azimuth": 0, "elevation": 0, "distance": 1.4}, abs=1e-6)
    tab.run("document.getElementById('view').focus()")
    tab.press("ArrowRight")
    tab.press("+")
    assert pose()["azimuth"] == pytest.approx(10) and pose()["distance"] == pytest.approx(1.25)
    tab.press("r")
    assert pose()["distance"] == pytest.approx(1.4)


def test_it_saves_a_picture_and_the_very_file(tab):
    tab.run("window.saved = []; URL.createObjectURL = (blob) => (saved.push(blob), 'blob:null/0')")
    tab.run("HTMLAnchorElement.prototype.click = function () { saved.push(this.download) }")
    tab.run("document.getElementById('shot').click(); document.getElementById('save').click()")
    tab.run("new Promise(done => { const look = () => saved.length == 4 ? done() : setTimeout(look, 20); look() })")
    read = """saved.find(blob => blob.type == '{}').arrayBuffer().then(
        bytes => btoa(Array.from(new Uint8Array(bytes), c => String.fromCharCode(c)).join('')))"""
    assert base64.b64decode(tab.run(read.format("model/gltf-binary"))) == pack_tiny_avatar()
    assert base64.b64decode(tab.run(read.format("image/png")))[:8] == b"\x89PNG\r\n\x1a\n"
    names = sorted(tab.run("saved.filter(b => typeof b == 'string')"))
    assert [name.rsplit(".", 1)[1] for name in names] == ["glb", "png"] and not set("<>/\\\"':") & set("".join(names))


def test_a_hostile_title_is_shown_and_does_nothing(tab):
    assert tab.run("document.querySelector('h1').textContent") == HOSTILE.strip()
    assert tab.run("typeof window.hit") == "undefined"
    assert tab.run("fetch('data:,x').then(() => 'fetched', () => 'refused')") == "refused"
    tab.browser.events.clear()  # that refusal was asked for


def test_a_phone_shows_head_and_controls(browser, page):
    tab = opened(browser, page, 390, 844, phone=True)
    for width, height in ((390, 844), (844, 390)):
        tab.resize(width, height, phone=True)
        tab.run("portrait360.settled()")
        for id in ("view", "panel", "presets", "fold"):
            left, top, right, bottom = box(tab, id)
            assert left >= 0 and top >= 0 and right <= width and bottom <= height, id
        left, top, right, bottom = box(tab, "view")
        assert (right - left) * (bottom - top) > 0.5 * width * height
        assert tab.run("document.documentElement.scrollWidth") <= width
        tab.run("document.querySelector('details').open = true")
        assert tab.run("document.querySelector('.unit input').checkVisibility()")
        tab.run("document.getElementById('fold').click()")
        assert not tab.run("document.getElementById('panel').checkVisibility({visibilityProperty: true})")
        tab.run("document.getElementById('fold').click()")
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize(("width", "height"), [(334, 660), (390, 844)], ids=["in the web app", "alone"])
def test_a_phone_shows_every_preset_without_scrolling(browser, page, width, height):
    """Talk is what the README says to press."""
    tab = opened(browser, page, width, height, phone=True)
    edges = "(r => [r.left, r.top, r.right, r.bottom])(button.getBoundingClientRect())"
    edges = f"[...document.querySelectorAll('[data-preset]')].map(button => {edges})"
    for left, top, right, bottom in (places := tab.run(edges)):
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
    assert len(places) == 6
    left, top, right, bottom = box(tab, "help")
    assert left >= 8 and right <= width - 8 and bottom - top < 40  # a line within the stage
    tab.close()


def test_it_says_that_it_loads_until_there_is_something_to_see(browser, page):
    """From the first paint: before a script has run, it says so, and nothing of what only the scripts can know."""
    tab = Tab(browser, 200, 200)
    note = (
        "for (const { target, addedNodes } of changes) for (const one of [target, ...addedNodes]) {"
        " if (one.id == 'wait') waits.push(one.hidden); if (one.id == 'note') notes.push(one.hidden); }"
    )
    options = "{subtree: true, childList: true, attributeFilter: ['hidden']}"
    watch = f"window.notes = []; new MutationObserver(changes => {{ {note} }}).observe(document, {options})"
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=f"window.waits = []; {watch}")
    tab.open(page)
    tab.run("portrait360.ready")
    assert tab.run("waits[0]") is False and tab.run("waits.at(-1)") is True
    assert tab.run("notes[0]") is True
    tab.close()


def test_it_blinks_and_breathes_unless_less_motion_is_wanted(browser, page):
    tab = opened(browser, page, 200, 200, still=False)
    turn = "portrait360.face().head.rotation.y"
    first = tab.run(turn)
    tab.run("new Promise(done => setTimeout(done, 500))")
    assert tab.run(turn) != first
    tab.run(REST)
    tab.run(
        "window.frames_ = 0; { const f = requestAnimationFrame; requestAnimationFrame = g => (frames_++, f(g)); }"
    )
    tab.run("new Promise(done => setTimeout(done, 300))")
    tab.run("frames_ = 0; new Promise(done => setTimeout(done, 400))")
    assert tab.run("frames_") == 0 and tab.run(turn) == 0  # a page at rest draws nothing
    assert tab.complaints() == []
    tab.close()
