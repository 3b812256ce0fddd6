"""Run all cases of a protocol on several processes.

Each result is saved with a key of everything that it depends on, so that a stopped run resumes and a changed program
measures again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from portrait360.evaluation.cases import Case, load_run_case, make_photo_case, make_rig_case, make_synthetic_case
from portrait360.evaluation.feature_metrics import list_missing_metrics
from portrait360.evaluation.measure import Measurement, measure
from portrait360.evaluation.methods import ORACLE, Method, find_method, make_run_method
from portrait360.evaluation.multiview_datasets import load_nersemble, load_renderme360
from portrait360.evaluation.picture_folders import choose_portrait, find_portrait, load_picture_folder
from portrait360.evaluation.protocols import Protocol, select_protocol
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, sha256
from portrait360.utils.images import over_grey, save_picture
from portrait360.utils.parallel.scheduler import Engine, require_all
from portrait360.utils.resume import RecordFile, cache_key

FOLDER = "folder"  # source of cases that are pictures with their cameras
RUN = "run"  # the method that made a finished run
RIGS = {"nersemble": load_nersemble, "renderme360": load_renderme360}
STRIP_LENGTH, CELL = 12, 128  # pictures of a case in the sheet, and their side in pixels
LIBRARIES = ("portrait360", "torch", "numpy", "opencv-python-headless", "numba")


@dataclass(frozen=True)
class Job:
    """A case and the methods to run on it."""

    protocol: str
    name: str
    source: str  # synthetic, photo, run, folder, or a data set
    path: Path | None  # of the photo, the run, the folder or the data set
    index: int  # of the case in its protocol or its data set
    methods: tuple[str, ...]
    stamp: str = ""  # the `fingerprint` of the path
    portrait: str = ""  # name of the picture that is the portrait; empty: the surest face
    program: str = ""  # what `describe_program` said when the job was planned
    refit: bool = True  # whether a field is fitted to the views, where the protocol does so

    @property
    def settings(self) -> Protocol:
        return select_protocol(self.protocol, self.refit)

    @property
    def key(self) -> str:
        """A hash that changes with everything that the figures depend on."""
        parts = [self.settings.digest, self.source, str(self.index), self.name, self.stamp]
        return cache_key([*parts, self.portrait, self.program or describe_program()])

    def load_case(self) -> Case:
        protocol = self.settings
        if self.source == "synthetic":
            return make_synthetic_case(protocol, self.index)
        assert self.path is not None
        if self.source == FOLDER:
            rig = load_picture_folder(self.path)
            front = find_portrait(rig, self.portrait) if self.portrait else choose_portrait(rig)
            return make_rig_case(protocol, rig, front)
        if self.source in RIGS:
            return make_rig_case(protocol, RIGS[self.source](self.path)[self.name]())
        return load_run_case(self.path) if self.source == "run" else make_photo_case(protocol, self.path)


def fingerprint(path: Path) -> str:
    """Hash a file's content, or the names, sizes and times of all files in a folder."""
    if path.is_file():
        return sha256(path)
    stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(path.rglob("*"))]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@lru_cache(maxsize=1)
def package_digest() -> str:
    """Hash this package's own files, so that another program measures again."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.relative_to(root)} {sha256(path)}\n".encode())
    return digest.hexdigest()


def describe_program() -> str:
    """Describe what computes the figures. A job carries what was so when it was planned: workers that start later
    may find other files, as where somebody edits them, and the report would look for results under another key."""
    parts = [package_digest(), *(f"{name} {number}" for name, number in library_versions().items())]
    return cache_key([*parts, *(metric.name for metric in list_missing_metrics())])


def run_jobs(jobs: Sequence[Job], folder: Path, engine: Engine, advance: Callable[[str], None]) -> None:
    """Save every job's results in the folder. Each process has one thread, so that the figures do not depend on how
    many processes there are."""
    for job, _ in require_all(engine.run(partial(run_job, folder=folder), jobs)):
        advance(job.name)


def run_job(job: Job, folder: Path) -> None:
    """Measure those methods of a job that have no result yet."""
    key, case_folder = job.key, folder / job.name
    missing = [name for name in job.methods if load_result(case_folder, name, key) is None]
    if not missing:
        return
    case_folder.mkdir(parents=True, exist_ok=True)
    try:
        case = job.load_case()
    except UserError as error:
        for name in missing:
            save_result(case_folder, name, key, "", error)
        return
    photo = over_grey(case.portrait.rgb, case.portrait.alpha)
    save_picture(case_folder / "photo.png", image_strip([photo]))
    if case.targets:
        shown = case.targets[: job.settings.orbit or None]  # the views that the methods' strips show
        truth = [over_grey(view.rgb, view.alpha) for view in shown]
        save_picture(case_folder / "truth.png", image_strip(truth))
    for name in missing:
        measurement = try_measure(job.settings, case, select_method(case, name))
        save_result(case_folder, name, key, case.kind, measurement)


def select_method(case: Case, name: str) -> Method:
    if name == RUN and case.folder:
        return make_run_method(case.folder)
    return case.oracle if name == ORACLE and case.oracle else find_method(name)


def try_measure(protocol: Protocol, case: Case, method: Method) -> Measurement | UserError:
    try:
        return measure(protocol, case, method)
    except UserError as error:
        return error


def save_result(folder: Path, name: str, key: str, kind: str, outcome: Measurement | UserError) -> None:
    """Save a method's result. The JSON record is written last: it marks the other files as complete."""
    results: dict[str, Any] = {"kind": kind}
    if isinstance(outcome, UserError):
        results["failed"] = str(outcome)
    else:
        save_picture(folder / f"{name}.png", image_strip(outcome.pictures or (np.zeros((CELL, CELL, 3)),)))
        with atomic_write(folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in outcome.features.items()}
            np.savez_compressed(file, **arrays)
        results["row"] = {k: v if math.isfinite(v) else None for k, v in outcome.row.items()}
    RecordFile(folder / f"{name}.json").save({"key": key}, **results)


def load_result(folder: Path, name: str, key: str) -> dict | None:
    """Return the saved record, if it has this key; an unreadable one counts as missing."""
    return RecordFile(folder / f"{name}.json").load({"key": key}, results=("kind", "failed", "row"))


def select_evenly(count: int) -> list[int]:
    """Return the indices of at most STRIP_LENGTH of `count` pictures, spaced as evenly as possible."""
    return [i * count // STRIP_LENGTH for i in range(STRIP_LENGTH)] if count > STRIP_LENGTH else list(range(count))


def image_strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put an even selection of the pictures side by side."""
    selection = [pictures[i].astype(np.float32) for i in select_evenly(len(pictures))]
    small = [cv2.resize(p, (CELL, CELL), interpolation=cv2.INTER_AREA) for p in selection]
    return np.concatenate(small, 1).clip(0, 1)
