"""A queue of jobs that run one after the other, each in a process that can be ended. It knows nothing of the page."""

from __future__ import annotations

import json
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

from portrait360.apps.web.run_store import RunStore
from portrait360.apps.web.unfinished import BEHIND, INPUT, PHOTO, delete_request, read_request, save_request
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.entry_point import PARENT
from portrait360.utils.errors import UserError
from portrait360.utils.files import translate_write_errors
from portrait360.utils.option_fields import to_arguments

COMMAND = (sys.executable, "-m", "portrait360")
MOST_WAITING = 20  # each keeps a photo on disk
REMEMBERED = 50  # finished jobs whose result can still be queried
MOST_WARNINGS = 20  # of a job
GRACE = 4.0  # seconds between asking a process to end and killing it
MESSAGE_PREFIX = "portrait360: "  # of error messages of the command
TOO_MANY = f"{MOST_WAITING} photos are waiting already; try again when some of them are done."
SUFFIXES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")  # others are dropped from uploads


@dataclass
class Job:
    """A run. `state` is waiting, running, done, failed or cancelled."""

    id: str
    folder: Path
    arguments: list[str]  # of `portrait360 make`
    state: str = "waiting"
    stage: str = ""
    what: str = ""
    done: int = 0
    of: int = 0
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_WARNINGS))
    sentence: str = ""  # the error message if it failed
    process: subprocess.Popen[bytes] | None = None
    cancel_requested: bool = False
    start: float = 0.0  # monotonic seconds
    _left: float | None = None  # seconds left, as the run last reported
    _left_at: float = 0.0  # monotonic seconds of that report

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def seconds_left(self) -> float | None:
        """Return the seconds left: as last reported, minus the seconds since then."""
        return None if self._left is None else max(self._left - (time.monotonic() - self._left_at), 0.0)

    def fraction_done(self) -> float:
        """Return how much of the whole run is done, from 0 to 1."""
        spent, left = time.monotonic() - self.start, self.seconds_left()
        return 1.0 if self.state == "done" else 0.0 if left is None else spent / max(spent + left, 1e-3)

    def on_output(self, line: bytes) -> None:
        """Update the job from a line of the command's output; lines that are no events are ignored."""
        try:
            event: Any = json.loads(line)
            stage, state, what = str(event["stage"]), str(event["state"]), str(event.get("what", ""))
            done, of, left = int(event.get("done", 0)), int(event.get("of", 0)), event.get("left")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if state == "warning":
            self.warnings.append(what)
            return
        self.stage, self.what, self.done, self.of = stage, what, done, of
        if isinstance(left, (int, float)):
            self._left, self._left_at = float(left), time.monotonic()


class Jobs:
    """The queue. `command` is the program that is run; tests replace it. `close` cancels all jobs."""

    def __init__(self, store: RunStore, command: Sequence[str] = COMMAND) -> None:
        self.store, self.command = store, list(command)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
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
                path = copy_upload(photo, folder, PHOTO)
                behind = None if back is None else copy_upload(back, folder, BEHIND)
                save_request(folder, options)
            return self._append(_make_job(folder, path, behind, options))
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def resume(self) -> None:
        """Append the jobs that a server which was killed left in the folder of runs."""
        for folder in self.store.find_unfinished()[:MOST_WAITING]:
            if request := read_request(folder):
                self._append(_make_job(folder, *request))

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

    def _run(self, job: Job) -> None:
        with tempfile.TemporaryFile() as errors:
            try:
                code = self._run_process(job, errors)
                sentence = _error_message(errors, code, job.folder)
            except OSError as error:
                code, sentence = 1, f"The run could not be started ({error.strerror})."
        with self._changed:
            self._running = None
            job.sentence = "" if code == 0 or job.cancel_requested else sentence
            self._end(job, "done" if code == 0 else "cancelled" if job.cancel_requested else "failed")

    def _run_process(self, job: Job, errors: IO[bytes]) -> int:
        """Run the process and read its output to the end; processes that it started do not outlive it."""
        with self._changed:
            if job.cancel_requested:
                return 1
            job.state, job.start = "running", time.monotonic()
            job.process = process = subprocess.Popen(
                [*self.command, "make", *job.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=os.environ | {PARENT: str(os.getpid())} if os.name == "posix" else None,
            )
        reader = threading.Thread(target=_read_output, args=(process, job), daemon=True)
        reader.start()
        code = process.wait()
        _signal(process, kill=True)  # processes that it left behind would keep the pipe open
        reader.join(GRACE)
        return code

    def _end(self, job: Job, state: str) -> None:
        """Finish a job, with the lock held. The folder of a run that is not done is deleted, with its photos."""
        if state == "done":
            delete_request(job.folder)
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state, job.process = state, None
        self._ended[job.id] = job
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._changed.notify_all()


def _make_job(folder: Path, photo: Path, behind: Path | None, options: MakeOptions) -> Job:
    arguments = [str(photo), "-o", str(folder), "--json", *to_arguments(options)]
    return Job(folder.name, folder, arguments + ([] if behind is None else ["--back", str(behind)]))


def copy_upload(photo: Path, folder: Path, name: str) -> Path:
    suffix = photo.suffix[1:].lower()
    path = folder / INPUT / (f"{name}.{suffix}" if suffix in SUFFIXES else name)
    try:
        shutil.copyfile(photo, path)
    except FileNotFoundError as error:
        raise UserError("The upload is no longer there; choose the photo again.") from error
    except OSError as error:
        raise UserError(f"The photo could not be copied into {folder} ({error.strerror}).") from error
    return path


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
        message = "The system ended the run, perhaps for lack of memory; choose fewer views, or views only."
        message = message if killed else f"The run ended without a message (exit code {code})."
    return message.replace(f"{folder / INPUT}{os.sep}", "").replace(str(folder), "the run's folder")


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
            process.terminate()
    except (ProcessLookupError, PermissionError):
        pass
