"""All cases of a protocol over processes. Each result is kept beside what it depends on, so that a stopped run goes
on and a changed program measures anew."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from portrait360.engine import Engine, sure
from portrait360.errors import UserError
from portrait360.evaluate.cases import Case, of_photo, of_rig, of_run, synthetic
from portrait360.evaluate.features import lacking
from portrait360.evaluate.measure import Measured, measure
from portrait360.evaluate.methods import ORACLE, Method, find_method
from portrait360.evaluate.methods import of_run as method_of_run
from portrait360.evaluate.protocol import Protocol, find_protocol
from portrait360.evaluate.rigs import nersemble, renderme360
from portrait360.files import sha256, whole
from portrait360.images import over_grey, save_picture

RUN = "run"  # the method that a run was made with before
RIGS = {"nersemble": nersemble, "renderme360": renderme360}
SHOWN, CELL = 12, 128  # pictures of a case in the sheet, and their side
LIBRARIES = ("portrait360", "torch", "numpy", "opencv-python-headless", "numba")


@dataclass(frozen=True)
class Job:
    """A case and the methods that it is given to."""

    protocol: str
    name: str
    source: str  # synthetic, photo, run, or a data set
    place: Path | None  # of the photo, the run or the data set
    index: int  # of the case in its protocol or its data set
    methods: tuple[str, ...]
    stamp: str = ""  # of what lies at the place, as `fingerprint` gives it

    @property
    def key(self) -> str:
        """Changes with everything that the figures depend on."""
        parts = [find_protocol(self.protocol).digest, self.source, str(self.index), self.name, self.stamp, code()]
        parts += [f"{name} {number}" for name, number in versions().items()] + [need.name for need in lacking()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def open(self) -> Case:
        protocol = find_protocol(self.protocol)
        if self.source == "synthetic":
            return synthetic(protocol, self.index)
        assert self.place is not None
        if self.source in RIGS:
            return of_rig(protocol, RIGS[self.source](self.place)[self.name]())
        return of_run(self.place) if self.source == "run" else of_photo(protocol, self.place)


def fingerprint(place: Path) -> str:
    """Of a file, or of all files in a folder by their names, sizes and times."""
    if place.is_file():
        return sha256(place)
    listed = [(str(f.relative_to(place)), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(place.rglob("*"))]
    return hashlib.sha256(repr(listed).encode()).hexdigest()


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@lru_cache(maxsize=1)
def code() -> str:
    """Of this package's own files: another program measures anew."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.relative_to(root)} {sha256(path)}\n".encode())
    return digest.hexdigest()


def run_jobs(jobs: Sequence[Job], folder: Path, engine: Engine, advance: Callable[[str], None]) -> None:
    """Every job's results in the folder. Each process has one thread: the figures do not depend on how many there
    are."""
    for job, _ in sure(engine.run(partial(work, folder=folder), jobs)):
        advance(job.name)


def work(job: Job, folder: Path) -> None:
    key, place = job.key, folder / job.name
    missing = [name for name in job.methods if result(place, name, key) is None]
    if not missing:
        return
    place.mkdir(parents=True, exist_ok=True)
    try:
        case = job.open()
    except UserError as error:
        for name in missing:
            keep(place, name, key, "", error)
        return
    photo = over_grey(case.portrait.rgb, case.portrait.alpha)
    save_picture(place / "photo.png", strip([photo]))
    if case.targets:
        save_picture(place / "truth.png", strip([over_grey(view.rgb, view.alpha) for view in case.targets]))
    for name in missing:
        keep(place, name, key, case.kind, attempt(find_protocol(job.protocol), case, method_of(case, name)))


def method_of(case: Case, name: str) -> Method:
    if name == RUN and case.folder:
        return method_of_run(case.folder)
    return case.exact if name == ORACLE and case.exact else find_method(name)


def attempt(protocol: Protocol, case: Case, method: Method) -> Measured | UserError:
    try:
        return measure(protocol, case, method)
    except UserError as error:
        return error


def keep(place: Path, name: str, key: str, kind: str, found: Measured | UserError) -> None:
    """The record comes last: it vouches for the rest."""
    said = {"key": key, "kind": kind}
    if isinstance(found, UserError):
        said |= {"failed": str(found)}
    else:
        save_picture(place / f"{name}.png", strip(found.shown or (np.zeros((CELL, CELL, 3)),)))
        with whole(place / f"{name}.npz") as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in found.features.items()}
            np.savez_compressed(file, **arrays)
        said |= {"row": {k: v if math.isfinite(v) else None for k, v in found.row.items()}}
    with whole(place / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(said, indent=1))


def result(place: Path, name: str, key: str) -> dict | None:
    """What was kept of the same key; what cannot be read was never made."""
    try:
        said = json.loads((place / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and said.get("key") == key else None


def shown(count: int) -> list[int]:
    """Which of so many pictures, as evenly as they go."""
    return [i * count // SHOWN for i in range(SHOWN)] if count > SHOWN else list(range(count))


def strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Some of the pictures side by side."""
    chosen = [pictures[i].astype(np.float32) for i in shown(len(pictures))]
    small = [cv2.resize(p, (CELL, CELL), interpolation=cv2.INTER_AREA) for p in chosen]
    return np.concatenate(small, 1).clip(0, 1)
