"""Every portrait of a list once: on processes side by side, one bad photo a row and no more."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from portrait360.batch.inputs import Item, items_of
from portrait360.batch.report import TABLE, Row, table_of
from portrait360.engine import TRIES, Engine
from portrait360.errors import UserError
from portrait360.pipeline import make
from portrait360.place import Place
from portrait360.wish import Wish

Make = Callable[[str, Path, Wish], Any]
ROW = "batch.json"  # in every head's folder
LOST = f"It ended its process {TRIES} times; it may need more memory than there is."


def fresh(photo: str, folder: Path, wish: Wish) -> None:
    """What another photo of this name has left there is replaced."""
    make(photo, folder, wish, over=True)


@dataclass(frozen=True)
class Batch:
    inputs: str
    place: Place
    wish: Wish
    make: Make = fresh

    def items(self) -> Iterator[Item]:
        """Each once. What is remembered of an item is a number."""
        seen: set[int] = set()
        for item in items_of(self.inputs):
            number = int(item.name.rsplit("-", 1)[1], 16)
            if number not in seen:
                seen.add(number)
                yield item


def run_batch(batch: Batch, engine: Engine, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """All of them, and the table. A stopped batch goes on; what failed is tried again."""

    stopped: list[BaseException] = []

    def rows() -> Iterator[Row]:
        try:
            for done in engine.run(partial(portray, batch=batch), batch.items()):
                row = done.result or Row(done.job.name, done.job.photo, "failed", LOST)
                on_row(row)
                yield row
        except BaseException as error:  # the table of what is known until then is written all the same
            stopped.append(error)

    batch.place.write(TABLE, table_of(rows()))
    if stopped:
        raise stopped[0]


def portray(item: Item, batch: Batch) -> Row:
    """One of them, in a folder of its own. The row in it comes last and says that it is whole; before anything is
    changed there, it goes."""
    begun, key = time.monotonic(), key_of(item, batch.wish)
    row = Row(item.name, item.photo, "done", key=key)
    try:
        return _portrayed(item, batch, row, begun)
    except UserError as error:
        sentence = str(error)
    except Exception as error:  # a mistake of ours with one photo is no reason to leave the others
        sentence = f"{type(error).__name__}: {error}"
    return replace(row, state="failed", sentence=sentence, seconds=round(time.monotonic() - begun, 2))


def _portrayed(item: Item, batch: Batch, row: Row, begun: float) -> Row:
    own = f"{item.name}/{ROW}"
    there = Row.unpacked(batch.place.read(own))
    if there is not None and there.key == row.key:
        return replace(there, state="kept")
    wish = item.wish(batch.wish)
    batch.place.remove(own)
    with batch.place.work(item.name) as folder:
        batch.make(item.photo, folder, wish)
    row = replace(row, seconds=round(time.monotonic() - begun, 2))
    batch.place.write(own, row.packed())
    return row


def key_of(item: Item, wish: Wish) -> str:
    """Of the photo by its size and time: hundreds of thousands are not read to see whether they have changed."""
    try:
        stat = Path(item.photo).stat()
        file = [stat.st_size, stat.st_mtime_ns]
    except OSError:
        file = []
    return hashlib.sha256(json.dumps([repr(wish), item.options, file, version("portrait360")]).encode()).hexdigest()
