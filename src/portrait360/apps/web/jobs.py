"""A queue of jobs that run one after the other, each in a process that can be ended. It knows nothing of the page."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from portrait360.apps.web.requests import (
    BEHIND,
    INPUT,
    PHOTO,
    Request,
    close_request,
    copy_photo,
    describe_choice,
    read_request,
    reopen_request,
    save_request,
)
from portrait360.apps.web.run_store import PARAMETERS, RunStore, has_something
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.entry_point import PARENT
from portrait360.utils.errors import UserError
from portrait360.utils.files import translate_write_errors
from portrait360.utils.option_fields import to_arguments
from portrait360.utils.parallel.workers import end_process_tree
from portrait360.utils.progress import Event, RunCountdown

COMMAND = (sys.executable, "-m", "portrait360")
COMPARE = (sys.executable, "-m", "portrait360.apps.web.compare")
COMPARE_SECONDS = 120.0
MOST_WAITING = 20  # each keeps a photo on disk
REMEMBERED = 50  # finished jobs whose result can still be queried
MOST_WARNINGS = 20  # of a job
GRACE = 4.0  # seconds between asking a process to end and killing it
MESSAGE_PREFIX = "portrait360: "  # of error messages of the command
TOO_MANY = f"{MOST_WAITING} photos are already waiting; try again later."
WHOLE_RUN = "run"  # stage of the last event


@dataclass
class Job:
    """A run. `state` is waiting, running, done, failed or cancelled."""

    id: str
    folder: Path
    arguments: list[str]  # of `portrait360 make`
    name: str = ""  # of the photo
    kind: str = ""  # what is made
    state: str = "waiting"
    stage: str = ""
    what: str = ""
    done: int = 0
    of: int = 0
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_WARNINGS))
    error: str = ""  # the error message if it failed
    process: subprocess.Popen[bytes] | None = None
    cancel_requested: bool = False
    start: float = 0.0  # monotonic seconds
    countdown: RunCountdown = field(default_factory=lambda: RunCountdown(lambda: time.monotonic()))
    _share: float = 0.0  # that was shown as done

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def seconds_spent(self) -> float:
        return 0.0 if self.state == "waiting" else time.monotonic() - self.start

    def seconds_left(self) -> float | None:
        """Return the seconds left; None if they are not known."""
        return self.countdown.seconds()

    def fraction_done(self) -> float:
        """Return how much of the whole run is done, from 0 to 1; it never falls."""
        if self.state == "done":
            return 1.0
        spent, left = self.seconds_spent, self.seconds_left()
        self._share = max(self._share, 0.0 if left is None else spent / max(spent + left, 1e-3))
        return self._share

    def on_output(self, line: bytes) -> None:
        """Update the job from a line of the command's output; lines that are no events are ignored."""
        try:
            event: Any = json.loads(line)
            stage, state, what = str(event["stage"]), str(event["state"]), str(event.get("what", ""))
            done, of = int(event.get("done", 0)), int(event.get("of", 0))
            left, later = (_read_seconds(event.get(name)) for name in ("left", "later"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if state == "warning":
            if what not in self.warnings:
                self.warnings.append(what)
            return
        if stage == WHOLE_RUN or state == "ready":  # exit code and message say more, and the page shows the file
            return
        self.stage, self.what, self.done, self.of = stage, what, done, of
        self.countdown.report(Event(stage, state, left=left, later=later, late=event.get("late") is True))


class Jobs:
    """The queue. `command` is the program that is run; tests replace it. `close` cancels all jobs."""

    def __init__(self, store: RunStore, command: Sequence[str] = COMMAND) -> None:
        self.store, self.command = store, list(command)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._drawing: subprocess.Popen[bytes] | None = None  # of the pictures of a run that is done
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._changed, self._closing = threading.Condition(), False
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def add(self, photo: Path, options: MakeOptions, back: Path | None = None) -> Job:
        """Append a job to the queue; the photos are copied into the folder of its run."""
        if len(self._waiting) >= MOST_WAITING:
            raise UserError(TOO_MANY)
        folder = self.store.create_run_folder()
        try:
            with translate_write_errors(folder):
                (folder / INPUT).mkdir()
                path = copy_photo(photo, folder, PHOTO)
                behind = None if back is None else copy_photo(back, folder, BEHIND)
                save_request(folder, options)
            return self._append(_make_job(folder, Request(path, behind, options)))
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def resume(self) -> None:
        """Append the jobs that a server which was killed left in the folder of runs."""
        for folder in self.store.find_unfinished()[:MOST_WAITING]:
            if request := read_request(folder):
                self._append(_make_job(folder, request))

    def finish(self, id: str) -> Job:
        """Append a run that was cancelled; it goes on from what is in its folder."""
        folder, request = self.store.run_folder(id), self.store.request(id)
        run = self.store.finished_run(id)
        if folder is None or request is None or run is None or not run.is_partial:
            raise UserError("This run can no longer be finished; start a new one.")
        reopen_request(folder)
        request = read_request(folder) or request
        return self._append(_make_job(folder, request))

    def delete(self, id: str) -> None:
        """Delete a run that is over."""
        with self._changed:
            if any(job.id == id for job in self._open()):
                raise UserError("This run is still in progress; cancel it first.")
            self.store.delete(id)
            self._ended.pop(id, None)

    def _append(self, job: Job) -> Job:
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise UserError(TOO_MANY)
            if self._closing:
                self._end(job, "cancelled")
            else:
                self._waiting.append(job)
                self._changed.notify_all()
        return job

    def get(self, id: str) -> Job | None:
        with self._changed:
            return next((job for job in self._open() if job.id == id), None) or self._ended.get(id)

    def open(self) -> list[Job]:
        """Return the running job, then the waiting ones in their order."""
        with self._changed:
            return self._open()

    @property
    def is_busy(self) -> bool:
        """Whether a process is at work, or one is to come."""
        with self._changed:
            return bool(self._open()) or self._drawing is not None

    def count_before(self, job: Job) -> int:
        """Return the number of jobs that come before this one."""
        with self._changed:
            jobs = self._open()
            return jobs.index(job) if job in jobs else 0

    def cancel(self, id: str) -> None:
        with self._changed:
            job = next((job for job in self._open() if job.id == id), None)
            if job is None:
                return
            job.cancel_requested = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
            elif job.process is not None:
                _stop(job.process)

    def close(self) -> None:
        """Cancel all jobs, and return when no process is left."""
        with self._changed:
            self._closing = True
            ids = [job.id for job in self._open()]
            if self._drawing is not None:
                _signal(self._drawing, kill=True)
            self._changed.notify_all()
        for id in reversed(ids):
            self.cancel(id)
        self._worker.join(2 * GRACE)

    def _open(self) -> list[Job]:
        return ([self._running] if self._running else []) + list(self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                job = self._running = self._waiting.popleft()
            self._run(job)
            if job.state == "done":
                self._draw_comparison(job)

    def _run(self, job: Job) -> None:
        with tempfile.TemporaryFile() as errors:
            try:
                code = self._run_process(job, errors)
                message = _error_message(errors, code, job.folder)
            except OSError as error:
                code, message = 1, f"The run could not be started ({error.strerror})."
        with self._changed:
            self._running = None
            job.error = "" if code == 0 or job.cancel_requested else message
            self._end(job, "done" if code == 0 else "cancelled" if job.cancel_requested else "failed")

    def _run_process(self, job: Job, errors: IO[bytes]) -> int:
        """Run the process and read its output to the end; processes that it started do not outlive it."""
        with self._changed:
            if job.cancel_requested:
                return 1
            job.state, job.start = "running", time.monotonic()
            command = [*self.command, "make", *job.arguments]
            job.process = process = start_process(command, errors, stdout=subprocess.PIPE)
        reader = threading.Thread(target=_read_output, args=(process, job), daemon=True)
        reader.start()
        code = process.wait()
        _signal(process, kill=True)  # processes that it left behind would keep the pipe open
        reader.join(GRACE)
        return code

    def _draw_comparison(self, job: Job) -> None:
        """Draw the head beside its photo; a run is done without it, so that nothing waits if it fails."""
        if not (job.folder / PARAMETERS).is_file():
            return
        with self._changed:
            if self._closing:
                return
            try:
                self._drawing = start_process([*COMPARE, str(job.folder)], subprocess.DEVNULL)
            except OSError:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._drawing.wait(COMPARE_SECONDS)
        _signal(self._drawing, kill=True)
        self._drawing.wait()
        with self._changed:
            self._drawing = None

    def _end(self, job: Job, state: str) -> None:
        """Finish a job, with the lock held. A run that made nothing is deleted with its photos."""
        if state == "done" or has_something(job.folder):
            close_request(job.folder)
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state, job.process = state, None
        self._ended[job.id] = job
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._changed.notify_all()


def start_process(
    command: Sequence[str], errors: IO[bytes] | int, stdout: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a process that ends when this one does."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=errors,
        start_new_session=True,
        env=os.environ | {PARENT: str(os.getpid())} if os.name == "posix" else None,
    )


def _make_job(folder: Path, request: Request) -> Job:
    arguments = [str(request.photo), "-o", str(folder), "--json", *to_arguments(request.options)]
    arguments += [] if request.behind is None else ["--back", str(request.behind)]
    return Job(folder.name, folder, arguments, request.photo.name, describe_choice(request.options))


def _read_seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _read_output(process: subprocess.Popen[bytes], job: Job) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            job.on_output(line)


def _error_message(errors: IO[bytes], code: int, folder: Path) -> str:
    """Return the last error message of the command, without paths of this machine."""
    errors.seek(max(errors.seek(0, os.SEEK_END) - (1 << 16), 0))
    lines = errors.read().decode(errors="replace").splitlines()
    messages = (line[len(MESSAGE_PREFIX) :] for line in reversed(lines) if line.startswith(MESSAGE_PREFIX))
    message = next(messages, "")
    if not message:
        killed = code == -getattr(signal, "SIGKILL", 9)
        message = (
            "The operating system ended the run, probably because memory ran out; choose fewer views, or "
            "“Pictures only, no 3D head”."
        )
        message = message if killed else f"The run failed without an error message (exit code {code})."
    for name in (PHOTO, BEHIND, INPUT):
        message = message.replace(f"{folder / name}{os.sep}", "")
    return message.replace(str(folder), "the run's folder")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and kill it if it has not after GRACE seconds."""
    _signal(process, kill=False)

    def kill_if_alive() -> None:
        if process.poll() is None:
            _signal(process, kill=True)

    timer = threading.Timer(GRACE, kill_if_alive)
    timer.daemon = True
    timer.start()


def _signal(process: subprocess.Popen[bytes], *, kill: bool) -> None:
    """End or kill the process and all processes that it has started."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        elif process.poll() is None:
            end_process_tree(process.pid)
    except (ProcessLookupError, PermissionError):
        pass
