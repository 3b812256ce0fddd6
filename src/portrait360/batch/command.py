"""A batch, with its progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from portrait360.batch.inputs import checked, items_of
from portrait360.batch.report import TABLE, Row
from portrait360.batch.work import Batch, run_batch
from portrait360.cluster import LACKING
from portrait360.engine import Engine
from portrait360.errors import UserError
from portrait360.files import locked
from portrait360.place import Place
from portrait360.progress import step_bar
from portrait360.wish import Wish


def make_all(inputs: str, output: str, wish: Wish, engine: Engine) -> tuple[dict[str, int], str]:
    """How many were made, kept and failed, and where the table is."""
    if find_spec("pyarrow") is None:
        raise UserError(LACKING)
    batch = Batch(checked(inputs), Place(output), wish.checked())
    counts, begun = {"done": 0, "kept": 0, "failed": 0}, time.monotonic()
    with ours(batch.place), step_bar("Photos", sum(1 for _ in items_of(inputs))) as advance:

        def on_row(row: Row) -> None:
            counts[row.state] += 1
            an_hour = 3600 * counts["done"] / (time.monotonic() - begun)
            advance(f"{an_hour:.0f} an hour")

        run_batch(batch, engine, on_row)
    return counts, f"{output.rstrip('/')}/{TABLE}"


@contextmanager
def ours(place: Place) -> Iterator[None]:
    """A folder for one batch at a time; elsewhere nobody can tell."""
    if place.folder is None:
        yield
        return
    with place.reached():
        place.folder.mkdir(parents=True, exist_ok=True)
    with locked(place.folder):
        yield
