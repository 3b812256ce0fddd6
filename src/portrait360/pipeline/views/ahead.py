"""Views that are rendered before their stage begins, while other stages leave a core idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.utils.parallel.threads import count_threads

MOST_BYTES, PIXEL_BYTES = 100e6, 36  # of all views that wait, and of a pixel of one


class ViewsAhead:
    """The first views of a head, which a thread of their own renders until somebody takes them."""

    def __init__(self, head: CoarseHead, find_cameras: Callable[[], Sequence[Camera]], size: int) -> None:
        self._views: list[ProxyView] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._render, args=(head, find_cameras, size), daemon=True)

    def start(self) -> None:
        """Begin, if there is a core for it."""
        if count_threads() > 1:
            self._thread.start()

    def stop(self) -> None:
        """End the thread: what follows needs its memory, or its core."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def take(self) -> list[ProxyView]:
        """End the thread, and return the views that it has made, in the order of the cameras."""
        self.stop()
        return self._views

    def _render(self, head: CoarseHead, find_cameras: Callable[[], Sequence[Camera]], size: int) -> None:
        try:
            for camera in find_cameras()[: int(MOST_BYTES / (PIXEL_BYTES * size**2))]:
                if self._is_over.is_set():
                    break
                self._views.append(head.render(camera, size))
        except Exception:  # noqa: BLE001 (the stage itself will meet it, and tell)
            return


@contextmanager
def render_ahead(
    head: CoarseHead, find_cameras: Callable[[], Sequence[Camera]], size: int, *, wanted: bool
) -> Iterator[ViewsAhead]:
    """Render the views of these cameras as long as the context lasts and nobody takes them, if they are `wanted`."""
    ahead = ViewsAhead(head, find_cameras, size)
    if wanted:
        ahead.start()
    try:
        yield ahead
    finally:
        ahead.take()
