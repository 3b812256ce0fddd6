"""The web app from an upload to a head that talks, in a real browser, at the sizes of a desktop and of a phone."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.chromium import FOUND, Chromium, Frame, Tab
from tests.fixtures.photos import ASTRONAUT
from tests.fixtures.web_page import box, choose, nothing_left_the_machine, seen, start_server, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")]

PATIENCE = 1800  # seconds: a run takes half a minute, but machines are shared
FRAMES = 30  # of the page, in which the jaw is watched
JAW = "portrait360.face().shown.jawOpen"  # whether splats or the mesh show it
JAWS = f"""new Promise(done => {{
    const jaws = [];
    const look = () => {{ jaws.push({JAW}); jaws.length < {FRAMES} ? requestAnimationFrame(look) : done(jaws); }};
    look();
}})"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("web") / "runs") as server:
        yield server


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_from_an_upload_to_a_head_that_talks(server, tmp_path, width, height):
    with Chromium(tmp_path / "profile", seconds=300) as browser:
        tab = Tab(browser, width, height, online=True, phone=width < 720)
        try:
            tab.open(server.entrance)
            choose(tab, ASTRONAUT)
            the_check_shows_crop_labels_and_pose(tab)
            keep(tab, tmp_path / "checked.png")
            tap(tab, "#p360-make")
            the_run_ends_well(tab)
            frame = open_head(tab)
            keep(tab, tmp_path / "head.png")
            a_drag_turns_the_head(tab, frame)
            the_head_talks(tab, frame, tmp_path / "talking.png")
            nothing_hangs_over(tab, width)
            assert tab.run("document.querySelector('iframe').sandbox.value") == "allow-scripts allow-downloads"
            assert tab.run("document.querySelectorAll('.p360-files a').length") == 6
            assert tab.run("document.querySelectorAll('[data-style] option').length") > 50
            nothing_left_the_machine(browser, server)
        finally:
            keep(tab, tmp_path / "last.png")


def the_check_shows_crop_labels_and_pose(tab: Tab) -> None:
    assert comes(tab, "[...document.querySelectorAll('.p360-trio img')].filter(i => i.naturalWidth > 99).length == 3")
    sources = tab.run("[...document.querySelectorAll('.p360-trio img')].map(i => i.src)")
    captions = tab.run("[...document.querySelectorAll('.p360-trio figcaption')].map(c => c.innerText)")
    assert len(set(sources)) == 3 and captions == [
        "The part of the photo that is used",
        "What was recognised",
        "Which way the head is facing",
    ]
    assert all(word in seen(tab, ".p360-legend") for word in ("hair", "lips", "clothes"))
    assert seen(tab, ".p360-angles span").endswith("° to the subject's left")
    assert tab.run("document.querySelector('#p360-make').checkVisibility()")  # nothing has been made yet


def the_run_ends_well(tab: Tab) -> None:
    """With the comparison of photo and head, which comes last; an error would be shown instead."""
    end = "document.querySelector('.p360-compare, #p360-status .p360-bad')"
    assert comes(tab, f"document.querySelector('#p360-status .p360-bar') || {end}")
    assert comes(tab, end), tab.run("document.querySelector('#p360-status')?.innerText")
    assert tab.run("document.querySelector('#p360-status .p360-bad')?.innerText") is None
    assert comes(tab, "[...document.querySelectorAll('.p360-compare img')].every(i => i.naturalWidth > 99)")


def open_head(tab: Tab) -> Frame:
    """The page of the head, in its frame, with splats on the screen and nothing that moves by itself."""
    tab.run("document.querySelector('iframe').scrollIntoView({block: 'center', behavior: 'instant'})")
    frame = Frame(tab)
    assert comes(frame, "window.portrait360?.mode() == 'splats'")
    frame.run("portrait360.ready")
    return frame


def a_drag_turns_the_head(tab: Tab, frame: Frame) -> None:
    before, stage = film(tab, frame), box(frame, "#view")
    x, y = place(tab, "iframe", stage)
    tab.swipe((x - stage[2] // 4, y), (x + stage[2] // 4, y))
    assert comes(frame, "Math.abs(portrait360.pose().azimuth) > 20")
    assert until(lambda: differ(before, film(tab, frame)) > 0.01, PATIENCE, 0.5)
    frame.run("portrait360.setPose({azimuth: 0, elevation: 0})")


def the_head_talks(tab: Tab, frame: Frame, path: Path) -> None:
    """While Talk is pressed the jaw moves from frame to frame, and with it the picture; afterwards both rest."""
    tap(tab, "#idle", frame)  # the head no longer breathes nor blinks: nothing but speech moves it
    tap(tab, "[data-preset=neutral]", frame)
    assert comes(frame, "Object.values(portrait360.face().shown).every(weight => weight == 0)")
    still = rest(tab, frame)
    tap(tab, "[data-preset=talk]", frame)
    assert comes(frame, "document.querySelector('[data-preset=talk]').ariaPressed == 'true'")
    jaws = frame.run(JAWS)
    assert len(set(np.round(jaws, 3))) > FRAMES / 3 and np.ptp(jaws) > 0.05, jaws
    keep(tab, path)
    said = [(picture, frame.run(JAW)) for picture in (film(tab, frame) for _ in range(6))]
    assert max(differ(still, picture) for picture, _ in said) > 0.002, [jaw for _, jaw in said]
    tap(tab, "[data-preset=talk]", frame)
    assert differ(still, rest(tab, frame)) < 0.0002
    assert frame.run(JAW) == pytest.approx(0)


def rest(tab: Tab, frame: Frame) -> np.ndarray:
    """What is on the screen when nothing moves any more."""
    frame.run("portrait360.settled()")
    last = film(tab, frame)
    for _ in range(20):
        now = film(tab, frame)
        if differ(last, now) == 0:
            return now
        last = now
        time.sleep(0.5)
    raise AssertionError("the head does not come to rest")


def film(tab: Tab, frame: Frame) -> np.ndarray:
    """What the screen shows of the head now, without the controls."""
    x, y, width, height = box(frame, "#view")
    left, top = (a + b for a, b in zip(box(tab, "iframe")[:2], (x, y), strict=True))
    covered = max(y + height - box(frame, "#panel")[1], 0) if tab.phone else 0
    return tab.picture()[max(top, 0) : top + height - covered, max(left, 0) : left + width]


def differ(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def nothing_hangs_over(tab: Tab, width: int) -> None:
    """No part of the page is cut at the side, and no label is cut short."""
    assert tab.run("document.documentElement.scrollWidth") == width
    parts = "[...document.querySelectorAll('#p360-main :is(button, a, h3, select, img, iframe)')]"
    edges = (
        f"{parts}.filter(p => p.checkVisibility()).map(p => p.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert all(left >= 0 and right <= width for left, right in tab.run(edges))


def tap(tab: Tab, selector: str, frame: Frame | None = None) -> None:
    """Press what is there as a hand does: it must be on the screen, and nothing may lie above it."""
    page = frame or tab
    assert comes(page, f"document.querySelector({selector!r})?.checkVisibility()")
    page.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest', behavior: 'instant'}})")
    x, y, width, height = box(page, selector)
    hit = f"!!document.elementFromPoint({x + width / 2}, {y + height / 2})?.closest({selector!r})"
    assert page.run(hit), f"{selector} at {(x, y, width, height)} is hidden"
    tab.tap(*place(tab, "iframe" if frame else None, (x, y, width, height)))


def place(tab: Tab, frame: str | None, part: list[int] | tuple[int, ...]) -> tuple[float, float]:
    """The middle of a part, in pixels of the tab, which must show it."""
    left, top = box(tab, frame)[:2] if frame else (0, 0)
    x, y = left + part[0] + part[2] / 2, top + part[1] + part[3] / 2
    assert not frame or tab.run(f"document.elementFromPoint({x}, {y})?.matches({frame!r})"), (x, y)
    return x, y


def comes(page: Tab | Frame, condition: str, seconds: float = PATIENCE) -> bool:
    return until(lambda: page.run(f"!!({condition})"), seconds, 0.25)


def keep(tab: Tab, path: Path) -> None:
    """Leave a picture of the screen; pytest keeps those of tests that fail."""
    Image.fromarray((255 * tab.picture()).astype(np.uint8)).save(path)
