"""Jobs: one after the other, each in a process of its own that can be ended. Nothing here knows a page."""

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

from portrait360.errors import UserError
from portrait360.files import writing_to
from portrait360.web.shelf import Shelf

COMMAND = (sys.executable, "-m", "portrait360")
MOST_WAITING = 20  # each holds a photo on the disk
REMEMBERED = 50  # ended jobs whose end can still be told
NOTES = 20
GRACE = 4.0  # seconds in which a process may end by itself
WORDS = "portrait360: "  # how the command begins its last sentence
TOO_MANY = f"{MOST_WAITING} photos are waiting already; try again when some of them are done."
ENDS = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")  # anything else is opened all the same


@dataclass(frozen=True)
class Ask:
    """What a run is asked for, in the words of the command."""

    preset: str = "small"
    views: int = 32
    fit: bool = True
    quick: bool = False
    azimuth: float | None = None
    elevation: float | None = None

    def words(self) -> list[str]:
        out = ["--preset", self.preset, "--views", str(self.views)]
        for name, value in (("azimuth", self.azimuth), ("elevation", self.elevation)):
            out += [] if value is None else [f"--{name}={value}"]
        return out + ["--no-fit"] * (not self.fit) + ["--quick"] * (self.fit and self.quick)


@dataclass
class Job:
    """One run. `state` is waiting, running, done, failed or cancelled."""

    id: str
    folder: Path
    words: list[str]
    state: str = "waiting"
    stage: str = ""
    what: str = ""
    done: int = 0
    of: int = 0
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=NOTES))
    sentence: str = ""  # why it failed
    process: subprocess.Popen[bytes] | None = None
    stopped: bool = False
    begun: float = 0.0
    told: float = 0.0  # when the time left was told
    _left: float | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def left(self) -> float | None:
        """Seconds, counted on from what the run said last."""
        return None if self._left is None else max(self._left - (time.monotonic() - self.told), 0.0)

    def share(self) -> float:
        """Of the whole run, that is done."""
        spent, left = time.monotonic() - self.begun, self.left()
        return 1.0 if self.state == "done" else 0.0 if left is None else spent / max(spent + left, 1e-3)

    def hear(self, line: bytes) -> None:
        """One line of what the run says; what is no event is nothing to the page."""
        try:
            said: Any = json.loads(line)
            stage, state, what = str(said["stage"]), str(said["state"]), str(said.get("what", ""))
            done, of, left = int(said.get("done", 0)), int(said.get("of", 0)), said.get("left")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if state == "note":
            self.notes.append(what)
            return
        self.stage, self.what, self.done, self.of = stage, what, done, of
        if isinstance(left, (int, float)):
            self._left, self.told = float(left), time.monotonic()


class Jobs:
    """The queue. `command` is what is run, for tests; `close` ends all that is at work or waits."""

    def __init__(self, shelf: Shelf, command: Sequence[str] = COMMAND) -> None:
        self.shelf, self.command = shelf, list(command)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._changed, self._closing = threading.Condition(), False
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def add(self, photo: Path, ask: Ask, back: Path | None = None) -> Job:
        """Put a photo at the end of the queue. It is copied into the run's folder."""
        if len(self._waiting) >= MOST_WAITING:
            raise UserError(TOO_MANY)
        folder = self.shelf.new()
        try:
            with writing_to(folder):
                (folder / "input").mkdir()
            words = [str(_brought(photo, folder, "photo")), "-o", str(folder), "--json", *ask.words()]
            if back is not None:
                words += ["--back", str(_brought(back, folder, "behind"))]
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        job = Job(folder.name, folder, words)
        with self._changed:
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
        """The one at work, then those that wait, in their order."""
        with self._changed:
            return self._open()

    def before(self, job: Job) -> int:
        """How many come first."""
        with self._changed:
            jobs = self._open()
            return jobs.index(job) if job in jobs else 0

    def cancel(self, id: str) -> None:
        with self._changed:
            job = next((job for job in self._open() if job.id == id), None)
            if job is None:
                return
            job.stopped = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
            elif job.process is not None:
                _stop(job.process)

    def close(self) -> None:
        """Ends what is at work; returns when no process is left."""
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
                code = self._followed(job, errors)
                sentence = _last_words(errors, code, job.folder)
            except OSError as error:
                code, sentence = 1, f"The run could not be started ({error.strerror})."
        with self._changed:
            self._running = None
            job.sentence = "" if code == 0 or job.stopped else sentence
            self._end(job, "done" if code == 0 else "cancelled" if job.stopped else "failed")

    def _followed(self, job: Job, errors: IO[bytes]) -> int:
        """Start the process and hear it to its end; nothing that it started outlives it."""
        with self._changed:
            if job.stopped:
                return 1
            job.state, job.begun = "running", time.monotonic()
            job.process = process = subprocess.Popen(
                [*self.command, "make", *job.words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        listener = threading.Thread(target=_listen, args=(process, job), daemon=True)
        listener.start()
        code = process.wait()
        _signal(process, kill=True)  # what it left behind would also keep the pipe open
        listener.join(GRACE)
        return code

    def _end(self, job: Job, state: str) -> None:
        """With the lock held. Of a run that made nothing, nothing stays: neither photo nor half a head."""
        if state != "done":
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state, job.process = state, None
        self._ended[job.id] = job
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._changed.notify_all()


def _brought(photo: Path, folder: Path, name: str) -> Path:
    ending = photo.suffix[1:].lower()
    place = folder / "input" / (f"{name}.{ending}" if ending in ENDS else name)
    try:
        shutil.copyfile(photo, place)
    except FileNotFoundError as error:
        raise UserError("The upload is no longer there; choose the photo again.") from error
    except OSError as error:
        raise UserError(f"The photo could not be copied into {folder} ({error.strerror}).") from error
    return place


def _listen(process: subprocess.Popen[bytes], job: Job) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            job.hear(line)


def _last_words(errors: IO[bytes], code: int, folder: Path) -> str:
    """The sentence with which the command ended, without the places of this machine."""
    errors.seek(max(errors.seek(0, os.SEEK_END) - (1 << 16), 0))
    lines = errors.read().decode(errors="replace").splitlines()
    said = next((line[len(WORDS) :] for line in reversed(lines) if line.startswith(WORDS)), "")
    if not said:
        killed = code == -getattr(signal, "SIGKILL", 9)
        said = "The run was ended by the system; perhaps memory ran out: ask for fewer views, or for views only."
        said = said if killed else f"The run ended without a word (exit code {code})."
    return said.replace(f"{folder / 'input'}{os.sep}", "").replace(str(folder), "the run's folder")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; end it if it does not."""
    _signal(process, kill=False)

    def insist() -> None:
        if process.poll() is None:
            _signal(process, kill=True)

    timer = threading.Timer(GRACE, insist)
    timer.daemon = True
    timer.start()


def _signal(process: subprocess.Popen[bytes], *, kill: bool) -> None:
    """To the process and all that it has started."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        elif process.poll() is None:
            process.terminate()
    except (ProcessLookupError, PermissionError):
        pass
