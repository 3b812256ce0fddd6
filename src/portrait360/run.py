"""A run's folder and its record, run.json: which stages are done, of what, how long they took, what they wrote."""

from __future__ import annotations

import hashlib
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

from portrait360 import __version__
from portrait360.errors import UserError
from portrait360.files import locked, read_limited, sha256, whole, writing_to
from portrait360.progress import Event, Tell

T = TypeVar("T")

RECORD = "run.json"
FORMAT = 1
MAX_BYTES = 8 << 20
WRITTEN = ("sheet.png", "turntable.mp4", "viewer.html", "head.ply", "head.glb", "field.safetensors")
OWN = (  # what a run writes; anything else in the folder is the user's
    "portrait", "back", "references", "proxy", "views", "head", "refined", *WRITTEN, RECORD,
)  # fmt: skip


class Run:
    """One folder; `opened` is the way in."""

    def __init__(self, folder: Path, record: dict[str, Any], tell: Tell) -> None:
        self.folder, self.record, self.tell = folder, record, tell
        self._keys: dict[str, str] = {}  # of this call's stages

    @classmethod
    @contextmanager
    def opened(
        cls, folder: Path, photo: str, settings: Mapping[str, Any], tell: Tell, *, over: bool
    ) -> Iterator[Run]:
        """The folder, held for this process alone. `photo` is the SHA-256 of the input: a run of another one, and
        files of the user's own, are not touched unless `over` says so."""
        if folder.is_file():
            raise UserError(f"{folder} is a file, not a folder; choose another place.")
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            record = _read(folder)
            foreign = _foreign(folder, record, photo)
            if foreign and not over:
                raise UserError(f"{foreign}; choose another folder, or say --overwrite.")
            if foreign or record.get("photo") != photo:
                _clear(folder)
                record = {}
            stages = record.get("stages", {})
            yield cls(folder, {**_versions(), "photo": photo, **settings, "stages": stages}, tell)

    def stage(
        self,
        name: str,
        made_of: Mapping[str, Any],
        needs: Sequence[str],
        make: Callable[[], None],
        load: Callable[[], T],
        *,
        places: Sequence[str],
        fresh: bool = True,
    ) -> T:
        """What a stage has made, as its files give it back, so that a resumed run goes on with the very same.

        It is made unless the record has it, of the same things, with all files as they were. `places` are the folders
        and files that it writes; they are emptied first, unless it can go on with what it finds there.
        """
        key = _digest(name, made_of, [self._keys[need] for need in needs])
        self._keys[name] = key
        if self._kept(name, key):
            self.tell(Event(name, "kept"))
            return load()
        self.tell(Event(name, "begin"))
        self.record["stages"].pop(name, None)
        begin = time.perf_counter()
        with writing_to(self.folder):
            self._write()
            if fresh:
                _remove(self.folder / place for place in places)
            make()
        seconds = time.perf_counter() - begin
        files = [f for place in places for f in _files(self.folder / place)]
        self.record["stages"][name] = {
            "made_of": key,
            "seconds": round(seconds, 2),
            "peak_memory_mb": peak_memory() >> 20,
            "files": {str(f.relative_to(self.folder)): sha256(f) for f in files},
        }
        self._write()
        self.tell(Event(name, "done", seconds=seconds))
        return load()

    def forget(self, name: str, places: Sequence[str]) -> None:
        """A stage that was not asked for this time: what it once wrote would not belong to the rest."""
        if self.record["stages"].pop(name, None) is not None:
            self._write()
        _remove(self.folder / place for place in places)  # a killed one may have left them, too

    def _kept(self, name: str, key: str) -> bool:
        found = self.record["stages"].get(name)
        if not isinstance(found, dict) or found.get("made_of") != key:
            return False
        files = {self.folder / file: digest for file, digest in found["files"].items()}
        return all(path.is_file() and sha256(path) == digest for path, digest in files.items())

    def _write(self) -> None:
        with writing_to(self.folder), whole(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(self.record, indent=1))


def _read(folder: Path) -> dict[str, Any]:
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


def _foreign(folder: Path, record: Mapping[str, Any], photo: str) -> str | None:
    """What is there that is not this run's."""
    if record:  # one that came to nothing blocks nobody
        other = record.get("photo") != photo and record["stages"]
        return f"{folder} holds a run of another photo" if other else None
    there = [name for name in OWN if (folder / name).exists()]
    return f"{folder} already holds {there[0]}, which no run of `portrait360 make` wrote" if there else None


def _clear(folder: Path) -> None:
    with writing_to(folder):
        _remove(folder / name for name in OWN)


def _remove(places: Iterator[Path]) -> None:
    for place in places:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(f for f in place.rglob("*") if f.is_file() and not f.name.startswith("."))
    return [place] if place.is_file() else []


def _digest(name: str, made_of: Mapping[str, Any], needs: Sequence[str]) -> str:
    said = json.dumps([__version__, name, made_of, needs], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _versions() -> dict[str, Any]:
    libraries = {name: version(name) for name in ("numpy", "torch")}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    own = {"format": FORMAT, "version": __version__, "python": platform.python_version(), **libraries}
    return {"portrait360": own, "platform": platform.platform(terse=True), "begun": now}


def peak_memory() -> int:
    """Bytes that this process has needed at most."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
