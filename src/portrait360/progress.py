"""Progress bars with the time left; silent where nobody looks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

SELDOM = 20.0  # seconds between two lines of one stage, where nobody watches
REST = 0.2  # seconds between two steps that are told of the same thing


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    stage: str
    state: str  # begin, step, done, kept (an earlier run had made it), note, failed
    what: str = ""  # the part of the stage that makes steps, or the note
    done: int = 0
    of: int = 0
    seconds: float | None = None  # that the stage took
    left: float | None = None  # seconds, of the whole run


Tell = Callable[[Event], None]


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar over bytes; call what it gives with (what is worked on, bytes just done, bytes in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def advance(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"{title} {what}", advance=done, total=total)

        yield advance


@contextmanager
def step_bar(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar over steps; call what it gives with the name of each step that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task, told, done = progress.add_task(title, total=total), time.monotonic(), 0

        def advance(what: str) -> None:
            nonlocal told, done
            done += 1
            progress.update(task, description=f"{title} {what}", advance=1)
            if not console.is_terminal and time.monotonic() - told > SELDOM:
                told = time.monotonic()
                print(f"{title}: {done} of {total}{what and f', {what}'}", file=sys.stderr, flush=True)

        yield advance


@contextmanager
def stage_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage; call what it gives with (stage, steps done, steps in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield advance


@contextmanager
def screen(mode: str) -> Iterator[Tell]:
    """How a run tells: `bars` for a person at a terminal, `lines` for one who reads later, `json` for programs, or
    `quiet`."""
    if mode == "bars" and sys.stderr.isatty():
        with _bars() as tell:
            yield tell
    else:
        yield {"bars": _Lines(), "lines": _Lines(), "json": _JsonLines(), "quiet": lambda event: None}[mode]


@contextmanager
def _bars() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", total=None, left="")

        def tell(event: Event) -> None:
            if event.stage == "run":
                return
            if event.state in ("done", "kept", "note"):
                progress.console.print(_line(event), highlight=False, markup=False)
            elif event.state == "begin":
                progress.reset(task, description=event.stage, total=None, left=_left(event))
            else:
                words = f"{event.stage}: {event.what} {event.done}/{event.of}"
                progress.update(task, description=words, completed=event.done, total=event.of, left=_left(event))

        yield tell


class _Lines:
    """One line a stage, and now and then one from within a long one."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if event.stage == "run":
            return
        words = _line(event) if event.state in ("done", "kept", "note") else ""
        if event.state == "step" and time.monotonic() - self.last > SELDOM:
            words = f"{event.stage}: {event.what} {event.done}/{event.of}, {_left(event)}"
        if words:
            self.last = time.monotonic()
            print(words, file=sys.stderr, flush=True)


def _line(event: Event) -> str:
    if event.state == "note":
        return f"{event.stage}: {event.what}"
    return f"{event.stage}: there already" if event.state == "kept" else f"{event.stage}: {event.seconds or 0:.1f} s"


def _left(event: Event) -> str:
    if event.left is None:
        return ""
    minutes, seconds = divmod(round(event.left), 60)
    return f"about {minutes} min {seconds:02d} s left" if minutes else f"about {seconds} s left"


class _JsonLines:
    """One event a line on standard output; not more steps of one thing than a program can use."""

    def __init__(self) -> None:
        self.last, self.what = 0.0, ""

    def __call__(self, event: Event) -> None:
        now, what = time.monotonic(), event.stage + event.what
        if event.state == "step" and what == self.what and now - self.last < REST and event.done < event.of:
            return
        self.last, self.what = now, what
        said = {k: v for k, v in asdict(event).items() if v not in (None, "")}
        print(
            json.dumps(said if event.of else {k: v for k, v in said.items() if k not in ("done", "of")}), flush=True
        )
