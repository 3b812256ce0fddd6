"""Views that are rendered ahead are the first ones of their stage, and nothing is rendered for nobody."""

import threading
import time

import pytest

from portrait360.geometry.cameras import orbit
from portrait360.pipeline.views import ahead
from portrait360.pipeline.views.ahead import MOST_BYTES, PIXEL_BYTES, render_ahead

CAMERAS = orbit(6)


class Head:
    """A head whose views are the numbers of their cameras; `enough` is set when it has rendered so many."""

    def __init__(self, count: int, broken: int = -1) -> None:
        self.begun, self.broken, self.count, self.enough = 0, broken, count, threading.Event()
        self.goes_on = threading.Event()

    def render(self, camera, size):
        number = CAMERAS.index(camera)
        self.begun += 1
        if number == self.broken:
            self.enough.set()
            raise ValueError
        if self.begun == self.count:
            self.enough.set()
            self.goes_on.wait(5)
        return number


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(ahead, "count_threads", lambda: 2)


def test_the_first_views_are_there_in_their_order(two_cores):
    head = Head(3)
    with render_ahead(head, lambda: CAMERAS, 64, wanted=True) as found:
        assert head.enough.wait(5)
        threading.Timer(0.05, head.goes_on.set).start()
        assert found.take() == [0, 1, 2]
        assert found.take() == [0, 1, 2]
    assert head.begun == 3


def test_the_end_of_the_context_ends_the_thread(two_cores):
    head = Head(2)
    with pytest.raises(KeyError), render_ahead(head, lambda: CAMERAS, 64, wanted=True):
        assert head.enough.wait(5)
        head.goes_on.set()
        raise KeyError
    begun = head.begun
    time.sleep(0.05)
    assert head.begun == begun


def test_an_error_is_left_to_the_stage(two_cores):
    head = Head(9, broken=2)
    with render_ahead(head, lambda: CAMERAS, 64, wanted=True) as found:
        assert head.enough.wait(5)
        assert found.take() == [0, 1]


def test_large_views_do_not_fill_the_memory(two_cores):
    size, head = int((MOST_BYTES / PIXEL_BYTES / 2.5) ** 0.5), Head(2)
    with render_ahead(head, lambda: CAMERAS, size, wanted=True) as found:
        assert head.enough.wait(5)
        head.goes_on.set()
        found._thread.join()
        assert found.take() == [0, 1]


@pytest.mark.parametrize(("threads", "wanted"), [(1, True), (2, False)])
def test_nothing_is_rendered_on_one_core_or_where_nobody_wants_it(monkeypatch, threads, wanted):
    monkeypatch.setattr(ahead, "count_threads", lambda: threads)
    head = Head(1)
    with render_ahead(head, lambda: CAMERAS, 64, wanted=wanted) as found:
        assert list(found.take()) == [] and head.begun == 0
