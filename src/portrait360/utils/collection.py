"""Spare Python's garbage collector the objects that live as long as the process.

It looks through all of them again and again for cycles, which takes half a second while libraries are loaded and as
long at the end of the process.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keep_for_good() -> Iterator[None]:
    """Load libraries in this context: what they make is not collected while it lasts, nor looked at ever after."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def skip_last_collection() -> None:
    """Leave what is there when the process ends to the system, which takes all memory back at once."""
    atexit.register(gc.freeze)
