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
from typing import Any, Protocol

from portrait360.batch.inputs import Item, items_of
from portrait360.batch.report import Journal, Row
from portrait360.engine import TRIES, Done
from portrait360.errors import UserError
from portrait360.pipeline import make
from portrait360.wish import Wish

Make = Callable[[str, Path, Wish], Any]
LOST = f"It ended its process {TRIES} times; it may need more memory than there is."


def fresh(photo: str, folder: Path, wish: Wish) -> None:
    """What another photo of this name has left there is replaced."""
    make(photo, folder, wish, over=True)


class Engine(Protocol):
    """`engine.Processes`, `cluster.Actors`."""

    def run(self, function: Callable[[Any], Any], jobs: Iterator[Any]) -> Iterator[Done[Any, Any]]: ...


@dataclass(frozen=True)
class Batch:
    inputs: str
    output: Path
    wish: Wish
    make: Make = fresh

    def left(self, finished: dict[str, str]) -> Iterator[Item]:
        """What is not there yet, each once."""
        seen: set[int] = set()  # hashes of names, which are hashes
        for item in items_of(self.inputs):
            if hash(item.name) not in seen and finished.get(item.name) != key_of(item, self.wish):
                yield item
            seen.add(hash(item.name))


def run_batch(batch: Batch, engine: Engine, on_row: Callable[[Row], None] = lambda row: None) -> Path:
    """The table of all of them. A stopped batch goes on; what failed is tried again."""
    journal = Journal(batch.output)
    jobs = batch.left(journal.finished())
    for done in engine.run(partial(portray, batch=batch), jobs):
        row = done.result or Row(done.job.name, done.job.photo, "failed", LOST)
        journal.add(row)
        on_row(row)
    return journal.write_table()


def portray(item: Item, batch: Batch) -> Row:
    """One of them, in a folder of its own."""
    begun = time.monotonic()
    row = Row(item.name, item.photo, "done", key=key_of(item, batch.wish))
    try:
        batch.make(item.photo, batch.output / item.name, item.wish(batch.wish))
    except UserError as error:
        row = replace(row, state="failed", sentence=str(error))
    except Exception as error:  # a mistake of ours with one photo is no reason to leave the others
        row = replace(row, state="failed", sentence=f"{type(error).__name__}: {error}")
    return replace(row, seconds=round(time.monotonic() - begun, 2))


def key_of(item: Item, wish: Wish) -> str:
    """Of the photo by its size and time: hundreds of thousands are not read to see whether they have changed."""
    try:
        stat = Path(item.photo).stat()
        file = [stat.st_size, stat.st_mtime_ns]
    except OSError:
        file = []
    return hashlib.sha256(json.dumps([repr(wish), item.options, file, version("portrait360")]).encode()).hexdigest()
