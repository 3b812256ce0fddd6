"""A run's folder and its record, run.json: warnings, and the finished stages with their inputs, times and files."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from portrait360.utils.errors import UserError
from portrait360.utils.files import (
    atomic_write,
    check_name,
    check_no_file,
    lock_folder,
    read_limited,
    sha256,
    translate_write_errors,
)
from portrait360.utils.progress import Event, EventHandler
from portrait360.utils.resume import cache_key
from portrait360.utils.version import __version__

T = TypeVar("T")

RECORD = "run.json"
FORMAT = 1
MAX_BYTES = 8 << 20
SHEET, FILM = "sheet.png", "turntable.mp4"
MESH, PAGE = "head.glb", "viewer.html"
SPLATS = ("head.ply", "head.splat", "head.spz", "head.splats.glb")
FIELD, FITTED_SPLATS = "field.safetensors", "fitted.ply"
SOLIDS = ("head.usdz", "head.stl")
FITTED = (FIELD, FITTED_SPLATS)  # to the views of an avatar, whose own files have the names of the head
AVATAR_MESH, AVATAR_PAGE = "avatar.glb", "avatar.html"  # beside a head that is fitted to other views
WRITTEN = (SHEET, FILM, PAGE, MESH, *SPLATS, *FITTED)
OWN = (  # what a run writes; anything else in the folder belongs to the user
    "portrait", "back", "references", "proxy", "views", "head", "refined", *WRITTEN, *SOLIDS, AVATAR_MESH,
    AVATAR_PAGE, RECORD,
)  # fmt: skip


class Run:
    """One folder and its record; `Run.open` is the way in."""

    def __init__(self, folder: Path, record: dict[str, Any], on_event: EventHandler) -> None:
        self.folder, self.record, self.on_event = folder, record, on_event
        self._keys: dict[str, str] = {}  # of this call's stages

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, photo: str, settings: Mapping[str, Any], on_event: EventHandler, *, overwrite: bool
    ) -> Iterator[Run]:
        """Lock the folder for this process. `photo` is the SHA-256 of the input: a run of another photo, and files
        of the user's own, are only touched with `overwrite`."""
        check_name(folder)
        check_no_file(folder)
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            record = read_record(folder)
            if not overwrite:
                check_folder(folder, photo)
            if record.get("photo") != photo:
                _clear(folder)
                record = {}
            new = {**_versions(), "photo": photo, **settings, "warnings": [], "stages": record.get("stages", {})}
            run = cls(folder, new, on_event)
            if record.get("warnings"):  # they are of the earlier run; where all stages are kept nothing else writes
                run._write()
            yield run
            run.check_files()

    def warn(self, stage: str, text: str) -> None:
        """Report something that the user should know, and record it."""
        warning = {"stage": stage, "text": text}
        if warning not in self.record["warnings"]:
            self.record["warnings"].append(warning)
            self._write()
        self.on_event(Event(stage, "warning", text))

    def announce(self, stage: str, file: str) -> None:
        """Say that a file can be opened although the run goes on."""
        self.on_event(Event(stage, "ready", str(self.folder / file)))

    def step(self, stage: str, what: str, done: int, total: int) -> None:
        """Report progress within a stage."""
        self.on_event(Event(stage, "step", what, done, total))

    def stage(
        self,
        name: str,
        inputs: Mapping[str, Any],
        depends_on: Sequence[str],
        compute: Callable[[], None],
        load: Callable[[], T],
        *,
        outputs: Sequence[str],
        clear_outputs: bool = True,
    ) -> T:
        """The result of a stage, as its files give it back, so that a resumed run continues with the very same.

        It is computed unless the record has it, from the same inputs, with all files unchanged. `outputs` are the
        folders and files that it writes; they are removed first, unless it can resume from them.
        """
        key = cache_key([__version__, name, inputs, [self._keys[stage] for stage in depends_on]])
        self._keys[name] = key
        if self._is_cached(name, key):
            self.on_event(Event(name, "kept"))
            return load()
        self.on_event(Event(name, "begin"))
        self.record["stages"].pop(name, None)
        start, work = time.perf_counter(), time.process_time()
        with translate_write_errors(self.folder):
            self._write()
            if clear_outputs:
                _remove(self.folder / output for output in outputs)
            compute()
        seconds = time.perf_counter() - start
        files = [file for output in outputs for file in _files(self.folder / output)]
        self.record["stages"][name] = {
            "made_of": key,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time() - work, 2),
            "peak_memory_mb": peak_memory() >> 20,
            "files": {str(file.relative_to(self.folder)): sha256(file) for file in files},
        }
        self._write()
        self.on_event(Event(name, "done", seconds=seconds))
        return load()

    def forget(self, name: str, outputs: Sequence[str]) -> None:
        """Remove what a stage wrote that these options do not include."""
        if self.record["stages"].pop(name, None) is not None:
            self._write()
        _remove(self.folder / output for output in outputs)  # a killed run may have left them, too

    def check_files(self) -> None:
        """Raise a UserError if a file of this call's stages is gone, which somebody deleted meanwhile."""
        files = [file for name in self._keys for file in self.record["stages"][name]["files"]]
        missing = next((file for file in (*files, RECORD) if not (self.folder / file).is_file()), None)
        if missing:
            raise UserError(
                f"{missing} was deleted from {self.folder} while the run was using it; run the same command again."
            )

    def _is_cached(self, name: str, key: str) -> bool:
        stage = self.record["stages"].get(name)
        if not isinstance(stage, dict) or stage.get("made_of") != key:
            return False
        files = {self.folder / file: digest for file, digest in stage["files"].items()}
        return all(path.is_file() and sha256(path) == digest for path, digest in files.items())

    def _write(self) -> None:
        with translate_write_errors(self.folder), atomic_write(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(self.record, indent=1))


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an earlier run; empty where there is none that can be read."""
    try:
        record = json.loads(read_limited(folder / RECORD, MAX_BYTES))
        if record["portrait360"]["format"] == FORMAT and all(
            isinstance(stage["files"], dict) for stage in record["stages"].values()
        ):
            return record
    except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {}


def read_warnings(folder: Path) -> tuple[str, ...]:
    """Return the warnings of the latest run in a folder, each once; none where its record cannot be read."""
    try:
        return tuple(dict.fromkeys(str(warning["text"]) for warning in read_record(folder).get("warnings", ())))
    except (TypeError, KeyError):  # written by another program
        return ()


def check_folder(folder: Path, photo: str) -> None:
    """Raise a UserError if the folder contains what a run of this photo would replace."""
    if conflict := _find_conflict(folder, read_record(folder), photo):
        raise UserError(f"{conflict}; choose another folder, or add `overwrite=True`.")


def _find_conflict(folder: Path, record: Mapping[str, Any], photo: str) -> str | None:
    """What lies in the folder that is not this run's; None if nothing does."""
    if record:  # a run that made nothing blocks nobody
        other = record.get("photo") != photo and record["stages"]
        return f"{folder} contains a run for another photo" if other else None
    existing = [name for name in OWN if (folder / name).exists()]
    if not existing:
        return None
    return f"{folder} already contains {existing[0]}, which was not written by `portrait360 make`"


def _clear(folder: Path) -> None:
    with translate_write_errors(folder):
        _remove(folder / name for name in OWN)


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    return [path] if path.is_file() else []


def _versions() -> dict[str, Any]:
    libraries = {name: version(name) for name in ("numpy", "torch")}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    own = {"format": FORMAT, "version": __version__, "python": platform.python_version(), **libraries}
    return {"portrait360": own, "platform": platform.platform(terse=True), "begun": now}


def peak_memory() -> int:
    """The most bytes that this process has used."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
