"""`portrait360 eval`: what is to be judged, from what a person says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait360.engine import Engine
from portrait360.errors import UserError
from portrait360.evaluate.cases import photos_in
from portrait360.evaluate.methods import BASELINES, ORACLE, find_method
from portrait360.evaluate.protocol import Protocol, find_protocol
from portrait360.evaluate.report import write_report
from portrait360.evaluate.run import RIGS, RUN, Job, fingerprint, run_jobs
from portrait360.files import locked, writing_to
from portrait360.progress import step_bar


def evaluate(
    what: Sequence[Path],
    output: Path,
    *,
    protocol: str,
    methods: Sequence[str],
    engine: Engine,
    limit: int | None = None,
) -> list[str]:
    """Which methods failed where, a line each; the report lies in the folder. The baselines stand in every table."""
    chosen = find_protocol(protocol)
    jobs = jobs_of(chosen, what, methods)[:limit]
    command = " ".join(
        ["portrait360 eval", *map(str, what), "--protocol", chosen.name]
        + [f"--method {name}" for name in methods]
        + ([f"--limit {limit}"] if limit else [])
    )
    cases = output / "cases"
    with writing_to(output):
        cases.mkdir(parents=True, exist_ok=True)
        with locked(output), step_bar(chosen.name, len(jobs)) as advance:
            run_jobs(jobs, cases, engine, advance)
    found = write_report(chosen, jobs, cases, output, command)
    return [f"{name} failed at {case}: {why}" for name, at in found.failures.items() for case, why in at.items()]


def jobs_of(protocol: Protocol, what: Sequence[Path], methods: Sequence[str]) -> list[Job]:
    for name in methods:
        if name != ORACLE or protocol.source != "synthetic":
            find_method(name)
    runs = [place for place in what if (place / "portrait" / "portrait.json").is_file()]
    named = tuple(dict.fromkeys((*BASELINES, *(methods or (() if runs else ("proxy",))))))
    if protocol.source == "synthetic":
        if what:
            raise UserError(f"{protocol.name} makes its own portraits, so leave {what[0]} away.")
        assert protocol.heads is not None
        return [Job(protocol.name, f"{i:03d}", "synthetic", None, i, named) for i in range(protocol.heads.count)]
    if not what:
        raise UserError(f"{protocol.name} needs {WANTED[protocol.source]}; name them before the options.")
    if protocol.source in RIGS:
        if len(what) > 1:
            raise UserError(f"{protocol.name} takes one folder; leave {what[1]} away.")
        names = list(RIGS[protocol.source](what[0]))[: protocol.most]
        stamp = fingerprint(what[0])
        return [Job(protocol.name, name, protocol.source, what[0], i, named, stamp) for i, name in enumerate(names)]
    photos = [place for place in what if place not in runs]
    found = [(run.resolve().name, run, "run") for run in runs]
    if photos and runs:
        raise UserError("Give photos or finished runs, not both: they do not go into one table.")
    if photos:
        found = [(path.stem, path, "photo") for path in photos_in(photos)]
    names = [name for name, _, _ in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"Two of them are called {min(twice)}; give each another name.")
    methods = (*named, *[RUN] * bool(runs))
    return [Job(protocol.name, name, kind, path, 0, methods, fingerprint(path)) for name, path, kind in found]


WANTED = {
    "photos": "photos, folders of photos, or finished runs",
    "renderme360": "the data set's folder",
    "nersemble": "the data set's folder",
}
