"""`portrait360 eval`: turns what the user names into jobs, runs them and writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from portrait360.evaluation.cases import list_photos
from portrait360.evaluation.methods import BASELINES, ORACLE, find_method
from portrait360.evaluation.protocols import Protocol, find_protocol, select_protocol
from portrait360.evaluation.report import write_report
from portrait360.evaluation.runner import FOLDER, RIGS, RUN, Job, describe_program, fingerprint, run_jobs
from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder, translate_write_errors
from portrait360.utils.parallel.scheduler import Engine
from portrait360.utils.progress import progress_bar


def evaluate(
    inputs: Sequence[Path],
    output: Path,
    *,
    protocol: str,
    methods: Sequence[str],
    engine: Engine,
    limit: int | None = None,
    portrait: str = "",
    refit: bool = True,
) -> list[str]:
    """Write a report into the folder `output`, and return one line for each case at which a method failed. The
    baselines are in every table. Without `refit`, no field is fitted to the views, which takes most of the time."""
    config = select_protocol(protocol, refit)
    jobs = plan_jobs(config, inputs, methods, portrait)[:limit]
    command = " ".join(
        ["portrait360 eval", *map(str, inputs), "--protocol", config.name]
        + [f"--method {name}" for name in methods]
        + ([f"--portrait {portrait}"] if portrait else [])
        + ([f"--limit {limit}"] if limit else [])
        + ["--no-refit"] * (not refit)
    )
    cases = output / "cases"
    with translate_write_errors(output):
        cases.mkdir(parents=True, exist_ok=True)
        with lock_folder(output), progress_bar(config.name, len(jobs)) as bar:
            run_jobs(jobs, cases, engine, bar.advance)
    results = write_report(config, jobs, cases, output, command)
    return [
        f"{name} failed on {case}: {reason}"
        for name, failures in results.failures.items()
        for case, reason in failures.items()
    ]


def plan_jobs(protocol: Protocol, inputs: Sequence[Path], methods: Sequence[str], portrait: str = "") -> list[Job]:
    """Plan one job per case. Without `methods` the proxy is judged, or for finished runs only what they hold."""
    for name in methods:
        if name != ORACLE or protocol.source != "synthetic":
            find_method(name)
    if portrait and protocol.source != FOLDER:
        raise UserError(f"{protocol.name} chooses the portraits itself; leave out --portrait.")
    runs = [path for path in inputs if (path / "portrait" / "portrait.json").is_file()]
    runs = [] if protocol.source == FOLDER else runs
    all_methods = tuple(dict.fromkeys((*BASELINES, *(methods or (() if runs else ("proxy",))))))
    if protocol.source == "synthetic":
        jobs = _plan_synthetic(protocol, inputs, all_methods)
    elif not inputs:
        raise UserError(f"{protocol.name} needs {EXPECTED_INPUTS[protocol.source]}; give a path before the options.")
    elif protocol.source in RIGS:
        jobs = _plan_data_set(protocol, inputs, all_methods)
    elif protocol.source == FOLDER:
        jobs = _plan_folders(protocol, inputs, all_methods, portrait)
    else:
        jobs = _plan_photos(protocol, inputs, runs, all_methods)
    program, refit = describe_program(), protocol == find_protocol(protocol.name)
    return [replace(job, program=program, refit=refit) for job in jobs]


def _plan_synthetic(protocol: Protocol, inputs: Sequence[Path], methods: tuple[str, ...]) -> list[Job]:
    if inputs:
        raise UserError(f"{protocol.name} makes its own portraits; remove {inputs[0]} from the command.")
    assert protocol.heads is not None
    return [Job(protocol.name, f"{i:03d}", "synthetic", None, i, methods) for i in range(protocol.heads.count)]


def _plan_data_set(protocol: Protocol, inputs: Sequence[Path], methods: tuple[str, ...]) -> list[Job]:
    if len(inputs) > 1:
        raise UserError(f"{protocol.name} takes one folder; remove {inputs[1]} from the command.")
    names = list(RIGS[protocol.source](inputs[0]))[: protocol.most]
    stamp = fingerprint(inputs[0])
    return [Job(protocol.name, name, protocol.source, inputs[0], i, methods, stamp) for i, name in enumerate(names)]


def _plan_folders(protocol: Protocol, folders: Sequence[Path], methods: tuple[str, ...], portrait: str) -> list[Job]:
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; name one with pictures and their cameras.")
    names = [folder.resolve().name for folder in folders]
    _check_names(names)
    return [
        Job(protocol.name, name, FOLDER, folder, 0, methods, fingerprint(folder), portrait)
        for name, folder in zip(names, folders, strict=True)
    ]


def _plan_photos(
    protocol: Protocol, inputs: Sequence[Path], runs: Sequence[Path], methods: tuple[str, ...]
) -> list[Job]:
    photos = [path for path in inputs if path not in runs]
    sources = [(run.resolve().name, run, "run") for run in runs]
    if photos and runs:
        raise UserError("Give either photos or finished runs; they cannot share a table.")
    if photos:
        sources = [(path.stem, path, "photo") for path in list_photos(photos)]
    _check_names([name for name, _, _ in sources])
    methods = (*methods, *[RUN] * bool(runs))
    return [Job(protocol.name, name, kind, path, 0, methods, fingerprint(path)) for name, path, kind in sources]


def _check_names(names: Sequence[str]) -> None:
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise UserError(f"Two inputs are called {min(duplicates)}; rename one.")


EXPECTED_INPUTS = {
    "photos": "photos, folders of photos, or finished runs",
    "renderme360": "the folder of the dataset",
    "nersemble": "the folder of the dataset",
    FOLDER: "folders with pictures and their cameras",
}
