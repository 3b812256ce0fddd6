"""Runs the check of a photo in a process of its own, one at a time, and remembers the latest answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from portrait360.apps.web.jobs import MESSAGE_PREFIX, start_process
from portrait360.utils.errors import UserError

COMMAND = (sys.executable, "-m", "portrait360.apps.web.photo_check")
SECONDS = 90.0  # for a check; a busy machine needs twenty
REMEMBERED = 16
MAX_ANSWER = 2 << 20  # bytes
MOST_WAITING = 6
BUSY = "Too many photos are being checked at once; you can make the head without a check."
SLOW = "The check took too long; you can make the head without it."
FAILED = "The photo could not be checked."


@dataclass(frozen=True)
class Choice:
    """What the user said about a photo; None is what the photo shows."""

    face: int | None = None
    azimuth: float | None = None
    elevation: float | None = None

    def to_arguments(self) -> list[str]:
        given = {"face": self.face, "azimuth": self.azimuth, "elevation": self.elevation}
        return [f"--{name}={value}" for name, value in given.items() if value is not None]


class Checks:
    """`command` is the program that is run; tests replace it."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self.command = list(command)
        self._one, self._lock, self._waiting = threading.Lock(), threading.Lock(), 0
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._answers: OrderedDict[tuple[Path, Choice], dict[str, Any]] = OrderedDict()

    def check(self, photo: Path, choice: Choice) -> dict[str, Any]:
        """Return what a photo is read as; a UserError if it cannot be."""
        if (answer := self._answers.get((photo, choice))) is not None:
            return answer
        with self._lock:
            if self._waiting >= MOST_WAITING:
                raise UserError(BUSY)
            self._waiting += 1
        try:
            with self._one:
                answer = self._answers.get((photo, choice)) or self._run(photo, choice)
        finally:
            with self._lock:
                self._waiting -= 1
        self._answers[photo, choice] = answer
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    def close(self) -> None:
        """End the process that is running, and start none for those who wait: the server ends when they do."""
        with self._lock:
            self._is_closed, process = True, self._process
        if process is not None:
            process.kill()

    def _run(self, photo: Path, choice: Choice) -> dict[str, Any]:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            command = [*self.command, *choice.to_arguments(), "--", str(photo)]
            with self._lock:
                if self._is_closed:
                    raise UserError(FAILED)
                try:
                    self._process = process = start_process(command, errors, stdout=out)
                except OSError as error:
                    raise UserError(FAILED) from error
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired as error:
                process.kill()
                process.wait()
                raise UserError(SLOW) from error
            finally:
                self._process = None
            if code:
                raise UserError(_read_message(errors).replace(f"{photo.parent}{os.sep}", ""))
            return _read_answer(out)


def _read_message(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read(1 << 16).decode(errors="replace").splitlines()
    messages = [line[len(MESSAGE_PREFIX) :] for line in lines if line.startswith(MESSAGE_PREFIX)]
    return messages[-1] if messages else FAILED


def _read_answer(out: IO[bytes]) -> dict[str, Any]:
    out.seek(0)
    try:
        answer: Any = json.loads(out.read(MAX_ANSWER))
    except ValueError as error:
        raise UserError(FAILED) from error
    if not isinstance(answer, dict):
        raise UserError(FAILED)
    return answer
