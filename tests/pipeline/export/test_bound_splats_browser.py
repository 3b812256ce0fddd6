"""Splats that move with the face, in a real browser."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_rig.binding import spread_points
from portrait360.pipeline.export.avatar_rig.moving_mesh import read_moving_mesh
from portrait360.pipeline.export.avatar_splats.choice import paint
from portrait360.pipeline.export.avatar_splats.shapes import draw_discs
from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.units import METRES
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.tiny_avatar import AXES, MOUTH, pack_tiny_avatar

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")

WIDTH, HEIGHT, PANEL = 460, 240, 246  # pixels; the panel's is that of low windows
STILL = [{"name": "prefers-reduced-motion", "value": "reduce"}]
SPACING = 0.006  # canonical, of splats on the skin
ANGLE = 0.3  # radians of a turn
PLACES = "Array.from(portrait360.splats().means)"


def draw_skin() -> GaussianSplats:
    """Splats all over the skin of the tiny avatar, in the photo's expression, with stripes that show any move."""
    mesh = read_moving_mesh(pack_tiny_avatar())
    assert mesh is not None
    corners = mesh.pose(mesh.weights)[mesh.triangles[mesh.parts[0].triangles]].astype(float)
    triangles, places = spread_points(corners, SPACING)
    spots = (corners[triangles] * places[..., None]).sum(1)
    splats = draw_discs(spots, spots / AXES**2, np.full(len(spots), SPACING), np.ones(len(spots)))
    stripes = 0.5 + 0.4 * np.sin(spots[:, 1:2] * 400)
    return paint(splats, np.broadcast_to(stripes, (len(spots), 3)))


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        tab = opened(browser, tmp_path_factory.mktemp("bound") / "viewer.html", draw_skin())
        tab.run("document.getElementById('follow').click()")
        yield tab
        assert tab.complaints() == []


def opened(browser: Chromium, path: Path, splats: GaussianSplats) -> Tab:
    save_viewer(path, splats=splats, glb=pack_tiny_avatar())
    tab = Tab(browser, WIDTH, HEIGHT)
    tab.call("Emulation.setEmulatedMedia", features=STILL)
    tab.open(path)
    tab.run("portrait360.ready")
    return tab


def places(tab: Tab) -> np.ndarray:
    tab.run("portrait360.settled()")
    return np.array(tab.run(PLACES)).reshape(-1, 3)


def picture(tab: Tab) -> np.ndarray:
    tab.run("portrait360.settled()")
    return tab.picture()[:, : WIDTH - PANEL]


def test_an_open_mouth_changes_the_picture_around_it_only(tab):
    before = picture(tab)
    tab.run("portrait360.setWeights({jawOpen: 0.4})")
    moved = np.abs(picture(tab) - before).max(-1) > 0.08
    assert tab.run("portrait360.mode()") == "splats"
    middle = tab.run(f"portrait360.project({(MOUTH * METRES).tolist()})")
    rows, columns = np.nonzero(moved)
    assert len(rows) > 50
    assert np.hypot(rows - middle[1], columns - middle[0]).max() < 0.25 * HEIGHT
    tab.run("portrait360.preset('photo')")
    assert np.abs(picture(tab) - before).max() < 0.03


def test_talk_moves_splats_around_the_mouth_only(tab):
    before = places(tab)
    moved = np.zeros(len(before))
    tab.run("portrait360.preset('talk')")
    for _ in range(6):
        tab.run("new Promise(done => setTimeout(done, 120))")
        moved = np.maximum(moved, np.linalg.norm(np.array(tab.run(PLACES)).reshape(-1, 3) - before, axis=1))
    tab.run("portrait360.preset('talk')")
    assert tab.run("portrait360.mode()") == "splats"
    beside = np.linalg.norm(before - MOUTH, axis=1) < 0.15
    assert np.max(moved[beside]) > 0.005 and np.max(moved[~beside]) < 1e-5


def test_splats_return_to_the_very_places_from_which_they_came(tab):
    tab.run("portrait360.preset('photo')")
    before = places(tab)
    tab.run("portrait360.setWeights({jawOpen: 1})")
    moved = np.linalg.norm(places(tab) - before, axis=1)
    assert moved.max() > 0.04
    assert moved[before[:, 1] > 0.1].max() == 0
    tab.run("portrait360.preset('photo')")
    assert (places(tab) == before).all()


def test_a_page_at_rest_draws_nothing(tab):
    tab.run("portrait360.setIdle(false)")
    tab.run(
        "window.frames_ = 0; { const f = requestAnimationFrame; requestAnimationFrame = g => (frames_++, f(g)); }"
    )
    tab.run("new Promise(done => setTimeout(done, 400))")
    tab.run("frames_ = 0; new Promise(done => setTimeout(done, 300))")
    assert tab.run("frames_") == 0


def test_breath_sways_the_head(tab):
    tab.run("portrait360.setIdle(true)")
    first = picture(tab)
    tab.run("new Promise(done => setTimeout(done, 900))")
    assert np.abs(tab.picture()[:, : WIDTH - PANEL] - first).max() > 0.05
    tab.run("portrait360.setIdle(false)")


def test_a_head_that_sways_shows_the_colours_of_its_other_side(tab, tmp_path):
    skin = draw_skin()
    slopes = np.broadcast_to([[[0.5], [0], [0]]], (len(skin), 3, 3))
    tab = opened(tab.browser, tmp_path / "viewer.html", replace(paint(skin, skin.colours * 0 + 0.5), slopes=slopes))

    def look() -> float:
        shown, middle = picture(tab), tab.run("portrait360.project([0, 0, 0])")
        return float(shown[int(middle[1]), int(middle[0])].mean())

    front, sine, cosine = look(), math.sin(ANGLE), math.cos(ANGLE)
    tab.run(f"portrait360.setPose({{azimuth: {-math.degrees(ANGLE)}}})")
    beside = look()
    tab.run("portrait360.setPose({azimuth: 0})")
    sway = f"{{ lift: 0, turn: {[cosine - 1, 0, -sine, 0, 0, 0, sine, 0, cosine - 1]} }}"
    tab.run(f"Object.defineProperty(portrait360.face(), 'sway', {{ get: () => ({sway}), set() {{}} }})")
    tab.run("portrait360.setPose({azimuth: 0})")
    assert beside - front > 0.1
    assert look() == pytest.approx(beside, abs=0.02)
    tab.close()


def test_another_light_shows_the_mesh(tab):
    note = "document.getElementById('alive').checkVisibility({ visibilityProperty: true })"
    assert tab.run(note)
    tab.run("(s => { s.value = 0.5; s.dispatchEvent(new Event('input')) })(document.getElementById('strength'))")
    lit = "const look = () => portrait360.mode() == 'lit' ? done() : setTimeout(look, 30); look()"
    tab.run(f"new Promise(done => {{ {lit} }})")
    assert not tab.run(note)  # there is nothing to switch to any more
    tab.run("portrait360.setMode('splats')")
    assert tab.run(note)
