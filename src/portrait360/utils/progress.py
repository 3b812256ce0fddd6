"""Progress: events of a run, and bars with the time left; one line now and then where there is no terminal."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from portrait360.utils.countdown import Countdown, Pace
from portrait360.utils.option_fields import name_flags
from portrait360.utils.terminal import escape_controls

LINE_INTERVAL = 5.0  # seconds between two lines of one stage without a terminal
LOADING = "Loading libraries"  # title of a bar before its first stage
LATE = "longer than expected"  # instead of a time left that proved wrong, and may not rise
BAR_WIDTH = 16  # characters
TICK = 1.0  # seconds after which it is looked whether a line is due
JSON_INTERVAL = 0.2  # seconds between two steps of the same thing as JSON

REMARKS = ("ready", "warning")  # states of events that say nothing of the time
TITLES = {"proxy": "head", "avatar": "mesh", "film": "video"}  # of stages that files and programs know by other names

ProgressCallback = Callable[[str, int, int], None]  # stage, steps done, steps in all


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    stage: str
    state: str  # begin, step, done, kept (an earlier run had made it), ready (a file before the end), warning, failed
    what: str = ""  # the part of the stage that makes steps, the file, or the warning
    done: int = 0
    of: int = 0
    seconds: float | None = None  # that the stage took
    left: float | None = None  # seconds, of the whole run
    later: float | None = None  # seconds of these that come after this stage
    late: bool = False  # the run takes so much longer than expected that `left` is not known


EventHandler = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    pass


def ignore_progress(stage: str, done: int, total: int) -> None:
    pass


class ProgressBar:
    """A bar for one task of known or unknown size (`advance`), or one for each stage (`update`).

    `progress` is rich's; without it there are lines.
    """

    def __init__(self, progress: Any | None, title: str, total: int | None, unit: str = "steps") -> None:
        self._progress, self._title, self._total, self._count, self._unit = progress, title, total, 0, unit
        self._tasks: dict[str, Any] = {}
        self._paces: dict[str, Pace] = {}  # of each stage
        self._countdown: Countdown | None = None  # of a program that knows better
        self._start = self._last_line = time.monotonic()
        self._line = (title, "", 0, total)
        if progress is not None:  # shown before the first step, which may take as long as all others
            self._task(progress, title, total)

    def advance(self, what: str = "", count: int = 1, total: int | None = None) -> None:
        """`count` more of the task are done; `what` is what is being worked on."""
        self._count, self._total = self._count + count, total or self._total
        self._report_pace(self._title, self._count, self._total)
        if self._progress is None:
            self._print_line(self._title, what, self._count, self._total)
        else:
            task, left = self._task(self._progress, self._title, self._total), self._describe_left(self._title)
            text = escape_controls(f"{self._title} {what}")
            self._progress.update(task, description=text, advance=count, total=self._total, left=left)

    def expect(self, left: float, later: float) -> None:
        """Say how many seconds are left, and how many of them come after what is done now."""
        self._countdown = self._countdown or Countdown(lambda: time.monotonic())
        self._countdown.report(left, later)

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if self._progress is None:
            print(escape_controls(text), file=sys.stderr, flush=True)
        else:
            self._progress.console.print(escape_controls(text), highlight=False, markup=False, soft_wrap=True)

    def describe(self, what: str) -> None:
        """Say what is being worked on."""
        self.advance(what, 0)

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage are done: a `ProgressCallback`."""
        self._report_pace(stage, done, total)
        if self._progress is None:
            self._print_line(stage, "", done, total)
        else:
            if self._total is None and stage != self._title and self._title in self._tasks:
                self._progress.remove_task(self._tasks.pop(self._title))
            self._progress.update(
                self._task(self._progress, stage, total), completed=done, left=self._describe_left(stage)
            )

    def _report_pace(self, title: str, done: int, total: int | None) -> None:
        self._paces.setdefault(title, Pace(lambda: time.monotonic())).report(done, total)

    def _describe_left(self, title: str) -> str:
        """Return how long the rest takes; nothing before that can be told."""
        left = (self._countdown or self._paces.get(title) or Countdown()).seconds()
        return "" if left is None else format_time_left(left)

    def _task(self, progress: Any, name: str, total: int | None) -> Any:
        if name not in self._tasks:
            self._tasks[name] = progress.add_task(name, total=total, left="")
        return self._tasks[name]

    def _print_line(self, title: str, what: str, done: int, total: int | None) -> None:
        self._line = (title, what, done, total)
        self.print_if_due()

    def print_if_due(self) -> None:
        """Print a line if the last one was a few seconds ago."""
        (title, what, done, total), now = self._line, time.monotonic()
        if now - self._last_line < LINE_INTERVAL:
            return
        self._last_line = now
        count = _format_count(done, total, self._unit) if done or total else ""
        parts = [
            part for part in (count, what, f"{now - self._start:.0f} s so far", self._describe_left(title)) if part
        ]
        print(escape_controls(f"{title}: {', '.join(parts)}"), file=sys.stderr, flush=True)


@contextmanager
def progress_bar(title: str = LOADING, total: int | None = None, unit: str = "steps") -> Iterator[ProgressBar]:
    """A bar on standard error, or lines where that is no terminal; `unit` is "steps" or "bytes".

    Where stages have bars of their own (`update`), the title stands for what comes before them.
    """
    if not sys.stderr.isatty():
        bar = ProgressBar(None, title, total, unit)
        with call_regularly(bar.print_if_due):
            yield bar
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
    )
    from rich.table import Column

    counts = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    wide = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # what is left of the line, so that all else is seen
    text = TextColumn("{task.description}", markup=False, table_column=wide)
    columns = text, BarColumn(BAR_WIDTH), counts, TextColumn("{task.fields[left]}")
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, expand=True) as progress:
        yield ProgressBar(progress, title, total)


def _format_count(done: int, total: int | None, unit: str) -> str:
    if unit == "bytes":
        return f"{done / 1e6:,.0f} MB" if total is None else f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
    return f"{done}" if total is None else f"{done} of {total}"


@contextmanager
def call_regularly(call: Callable[[], None]) -> Iterator[None]:
    """Call a function about once a second as long as the context lasts."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(TICK):
            call()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def event_printer(mode: str) -> Iterator[EventHandler]:
    """Print the events of a run: `bars` at a terminal, `lines`, `json` for programs, or nothing (`quiet`)."""
    if mode == "bars" and sys.stderr.isatty():
        with _event_bars() as on_event:
            yield on_event
    elif mode in ("bars", "lines"):
        printer = _LinePrinter()
        with call_regularly(printer.print_if_due):
            yield printer
    else:
        yield {"json": _JsonPrinter(), "quiet": ignore_event}[mode]


@contextmanager
def _event_bars() -> Iterator[EventHandler]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task, shown = progress.add_task(LOADING, total=None, left=""), RunCountdown()

        def on_event(event: Event) -> None:
            if event.stage == "run":
                return
            shown.report(event)
            if event.state in (*REMARKS, "done", "kept"):
                progress.console.print(_format_event(event), highlight=False, markup=False)
            elif event.state == "begin":
                progress.reset(task, description=name_stage(event.stage), total=None, left=shown.describe())
            else:
                text = describe_step(event)
                progress.update(task, description=text, completed=event.done, total=event.of, left=shown.describe())

        with call_regularly(lambda: progress.update(task, left=shown.describe())):
            yield on_event


class _LinePrinter:
    """One line a stage, and one every few seconds from within a long one, whether or not it reports steps."""

    def __init__(self) -> None:
        self.last = self.stage_start = time.monotonic()
        self.event: Event | None = Event(LOADING, "begin")  # the latest of the stage that runs
        self.shown = RunCountdown()
        self.lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if event.stage == "run":
            return
        with self.lock:
            self.shown.report(event)
            if event.state in REMARKS:
                self._print(_format_event(event))
            elif event.state in ("done", "kept"):
                self.event = None
                self._print(_format_event(event))
            else:
                self.event = event
                self.stage_start = time.monotonic() if event.state == "begin" else self.stage_start
                self._print_if_due()

    def print_if_due(self) -> None:
        """Print a line of the stage that runs if the last one was a few seconds ago."""
        with self.lock:
            self._print_if_due()

    def _print_if_due(self) -> None:
        event, now = self.event, time.monotonic()
        if event is None or now - self.last < LINE_INTERVAL:
            return
        title, spent = describe_step(event), f"{now - self.stage_start:.0f} s so far"
        parts = ", ".join(part for part in (spent, self.shown.describe()) if part)
        self._print(f"{title}, {parts}" if event.of else f"{title}: {parts}")

    def _print(self, text: str) -> None:
        self.last = time.monotonic()
        print(text, file=sys.stderr, flush=True)


def _format_event(event: Event) -> str:
    if event.state == "warning":
        return f"warning: {escape_controls(name_flags(event.what))}"
    if event.state == "ready":
        return f"{escape_controls(event.what)} is ready to open; the rest is still being made"
    done = "there already" if event.state == "kept" else f"{event.seconds or 0:.1f} s"
    return f"{name_stage(event.stage)}: {done}"


def name_stage(stage: str) -> str:
    """Return what people call a stage."""
    return TITLES.get(stage, stage)


def describe_step(event: Event) -> str:
    """Return where in its stage a run is."""
    step = [f"{event.what} {event.done}/{event.of}"] * bool(event.of)
    return ": ".join([name_stage(event.stage), *step])


class RunCountdown:
    """The time left of a run, as its events tell it."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.monotonic())
        self._countdown, self.is_late = Countdown(self._clock), False

    def report(self, event: Event) -> None:
        if event.state in REMARKS or event.left is None and not event.late:
            return
        if self.is_late and not event.late:  # what was shown before was too low, and limits nothing
            self._countdown = Countdown(self._clock)
        self.is_late = event.late
        if event.left is not None:
            self._countdown.report(event.left, event.later or 0.0)

    def seconds(self) -> float | None:
        """Return the seconds left; None where they are not known."""
        return None if self.is_late else self._countdown.seconds()

    def describe(self) -> str:
        if self.is_late:
            return LATE
        left = self.seconds()
        return "" if left is None else format_time_left(left)


def format_time_left(left: float) -> str:
    """Return seconds that are left in words."""
    minutes, seconds = divmod(round(left), 60)
    return f"about {minutes} min {seconds:02d} s left" if minutes else f"about {seconds} s left"


class _JsonPrinter:
    """One event a line on standard output, with steps of the same thing thinned out."""

    def __init__(self) -> None:
        self.last, self.what = 0.0, ""

    def __call__(self, event: Event) -> None:
        now, what = time.monotonic(), event.stage + event.what
        if event.state == "step" and what == self.what and now - self.last < JSON_INTERVAL and event.done < event.of:
            return
        self.last, self.what = now, what
        counts = () if event.of else ("done", "of")
        event = replace(event, what=name_flags(event.what))
        fields = {
            k: v for k, v in asdict(event).items() if v not in (None, "") and v is not False and k not in counts
        }
        print(json.dumps(fields), flush=True)
