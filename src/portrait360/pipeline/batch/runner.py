"""Make a head of every photo of a batch, on parallel workers; a photo that fails costs one row and nothing else."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from portrait360.pipeline.batch.forecast import Forecast
from portrait360.pipeline.batch.inputs import Item, check_inputs, read_items
from portrait360.pipeline.batch.table import CSV_TABLE, Row, pack_tables
from portrait360.pipeline.eta import usual_seconds
from portrait360.pipeline.make import make
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.run import FIELD, MESH, SPLATS, read_warnings
from portrait360.pipeline.stage_costs import costs_file, load_costs, scale_costs
from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.files import lock_folder
from portrait360.utils.option_fields import name_flags
from portrait360.utils.parallel.activity import ActivityBoard
from portrait360.utils.parallel.ray_pool import NEEDS_SCALE
from portrait360.utils.parallel.scheduler import TRIES, Engine
from portrait360.utils.progress import Event, EventHandler, call_regularly, describe_step, ignore_event, progress_bar
from portrait360.utils.resume import cache_key
from portrait360.utils.storage import Storage
from portrait360.utils.version import __version__

Make = Callable[[str, Path, MakeOptions, EventHandler], Any]
ROW = "batch.json"  # in every head's folder
POST_INTERVAL = 0.5  # seconds between two messages of a worker
MOST_FAILURES = 50  # that are named at once and at the end; the table has them all
WORKER_LOST = f"Its process died {TRIES} times; it may need more memory than is free."


def make_anew(photo: str, folder: Path, options: MakeOptions, on_event: EventHandler) -> None:
    """Make a head, and replace the one of another photo in the same folder."""
    make(photo, folder, options, on_event, overwrite=True)


@dataclass(frozen=True)
class Batch:
    inputs: str
    storage: Storage
    options: MakeOptions
    make: Make = make_anew
    board: ActivityBoard | None = None  # where workers say what they are doing

    def items(self) -> Iterator[Item]:
        """Yield each item once; only a number is stored for each."""
        hashes: set[int] = set()
        for item in read_items(self.inputs):
            number = int(item.name.rsplit("-", 1)[1], 16)
            if number not in hashes:
                hashes.add(number)
                yield item


def run_batch(batch: Batch, engine: Engine, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Make all heads and write the tables. A batch that was interrupted resumes; failed photos are tried again."""
    errors: list[BaseException] = []
    count = 0

    def collect_rows() -> Iterator[Row]:
        nonlocal count
        try:
            for outcome in engine.run(partial(process_item, batch=batch), batch.items()):
                row = outcome.result or Row(outcome.job.name, outcome.job.photo, "failed", WORKER_LOST)
                on_row(row)
                count += 1
                yield row
        except BaseException as error:  # the table of the rows so far is still written
            errors.append(error)

    tables = pack_tables(collect_rows())
    if count or not errors:  # an empty table must not replace that of an earlier run
        for name, content in tables.items():
            batch.storage.write(name, content)
    if errors:
        raise errors[0]


def process_item(item: Item, batch: Batch) -> Row:
    """Make one head in its own folder, and return its row.

    The row is also written there, after everything else, and marks the head as complete; it is removed before
    anything in the folder changes.
    """
    start, key = time.monotonic(), item_key(item, batch.options)
    row = Row(item.name, item.photo, "done", key=key)
    try:
        return _make_head(item, batch, row, start)
    except UserError as error:
        reason = str(error)
    except Exception as error:  # an internal error with one photo must not stop the others
        reason = f"{type(error).__name__}: {error}"
    return replace(row, state="failed", error=reason, seconds=round(time.monotonic() - start, 2))


def _make_head(item: Item, batch: Batch, row: Row, start: float) -> Row:
    row_file = f"{item.name}/{ROW}"
    previous = Row.unpack(batch.storage.read(row_file), row.key)
    if previous is not None:
        return replace(previous, state="kept")
    options = item.apply_to(batch.options)
    batch.storage.remove(row_file)
    with batch.storage.open_folder(item.name) as folder:
        with _post_progress(batch.board, item.photo) as on_event:
            batch.make(item.photo, folder, options, on_event)
        warnings = "; ".join(map(name_flags, read_warnings(folder)))
        made = "head" if any((folder / name).is_file() for name in (MESH, FIELD, *SPLATS)) else "views"
    row = replace(row, seconds=round(time.monotonic() - start, 2), warnings=warnings, made=made)
    batch.storage.write(row_file, row.pack())
    return row


@contextmanager
def _post_progress(board: ActivityBoard | None, photo: str) -> Iterator[EventHandler]:
    """Yield what posts a run's events on the board, if there is one."""
    if board is None:
        yield ignore_event
        return
    last = -POST_INTERVAL

    def post(event: Event) -> None:
        nonlocal last
        if event.state in ("begin", "step") and time.monotonic() - last >= POST_INTERVAL:
            board.post(f"{Path(photo).name}: {describe_step(event)}")
            last = time.monotonic()

    try:
        yield post
    finally:
        board.clear()


def item_key(item: Item, options: MakeOptions) -> str:
    """Return the hash of all inputs of a head. Files count by their size and time: reading all would take long."""
    parameters = dict(item.options).get("parameters", options.parameters)
    files = [describe_file(item.photo), *([describe_file(parameters)] if parameters else [])]
    return cache_key([repr(options), item.options, *files, __version__])


def describe_file(path: str | Path) -> list[int]:
    """Return the size and time of a file, nothing if there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


@dataclass
class Summary:
    """What a batch made."""

    table: str  # its address
    heads: int = 0
    views: int = 0  # photos of which only views were made
    kept: int = 0
    failed: int = 0
    warned: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)  # photo and reason of the first ones
    warnings: list[tuple[str, str]] = field(default_factory=list)  # photo and warnings of the first ones

    @property
    def fresh_count(self) -> int:
        """How many photos were made into something now, not by an earlier batch."""
        return self.heads + self.views

    @property
    def count(self) -> int:
        """How many photos are dealt with."""
        return self.fresh_count + self.kept + self.failed

    def add(self, row: Row) -> None:
        if row.warnings:
            self.warned += 1
            self.warnings += [(row.photo, row.warnings)] if self.warned <= MOST_FAILURES else []
        if row.state == "failed":
            self.failed += 1
            self.failures += [(row.photo, row.error)] if self.failed <= MOST_FAILURES else []
        elif row.state == "kept":
            self.kept += 1
        elif row.made == "views":
            self.views += 1
        else:
            self.heads += 1


def make_all(inputs: str, output: str, options: MakeOptions, engine: Engine) -> Summary:
    """Make a head of every photo, and return what was made."""
    if find_spec("pyarrow") is None:
        raise UserError(NEEDS_SCALE)
    count = sum(1 for _ in read_items(check_inputs(inputs)))
    storage, options = Storage(output), options.validate()
    summary, start = Summary(f"{output.rstrip('/')}/{CSV_TABLE}"), time.monotonic()
    with (
        lock_output(storage),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        progress_bar("Photos", count) as bar,
    ):
        board, workers = ActivityBoard(Path(folder)), getattr(engine, "workers", 1)
        forecast = Forecast(count, workers, guess_seconds(options, min(workers, count)))
        if left := forecast.seconds_left():
            bar.expect(*left)

        def describe() -> str:
            pace = [f"{3600 * summary.fresh_count / max(time.monotonic() - start, 1e-3):.0f} an hour"] * bool(
                summary.fresh_count
            )
            now = board.describe()
            starts = ["workers are starting"] * (not now and not summary.count)
            return ", ".join([*pace, *[f"now {now}"] * bool(now), *starts])

        def on_row(row: Row) -> None:
            summary.add(row)
            if row.state == "failed" and summary.failed <= MOST_FAILURES:
                bar.say(describe_failure(row.photo, row.error))
            forecast.add(row)
            if left := forecast.seconds_left():
                bar.expect(*left)
            bar.advance(describe())

        with call_regularly(lambda: bar.describe(describe())):
            try:
                run_batch(Batch(inputs, storage, options, board=board), engine, on_row)
            except Interrupted as error:
                raise Interrupted(explain_stop(summary, count)) from error
    return summary


def describe_failure(photo: str, reason: str) -> str:
    """Return which photo failed and why, in one line."""
    place = "" if photo in reason else f"{photo}: "  # most reasons name it
    return f"failed: {place}{name_flags(reason)}"


def describe_warnings(photo: str, warnings: str) -> str:
    """Return what to know of the head of a photo, in one line."""
    return f"warning: {photo}: {warnings}"


def guess_seconds(options: MakeOptions, workers: int) -> float | None:
    """Return how long a photo may take on this machine, whose cores workers share; None if no run measured it."""
    costs = load_costs(costs_file())
    usual = usual_seconds(options, from_avatar=True)
    return workers * sum(scale_costs(usual, costs).values()) if costs else None


def explain_stop(summary: Summary, total: int) -> str:
    """Return what a batch had made when it was stopped."""
    done = f"Stopped after {summary.count} of {total} photo{'s' * (total != 1)}"
    place = f"; the finished ones are listed in {summary.table}" if summary.count else ""
    return f"{done}{place}. Run the same command again to resume."


@contextmanager
def lock_output(storage: Storage) -> Iterator[None]:
    """Lock a local folder, so that it serves one batch at a time; remote storage cannot be locked."""
    if storage.folder is None:
        yield
        return
    with storage.translate_errors():
        storage.folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(storage.folder):
        yield
