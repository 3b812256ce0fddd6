"""What a run of an evaluation leaves: report.json, report.md, and a sheet of the best, median and worst cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from portrait360.evaluate.features import Needs, frechet, identities, likenesses, pairwise, spreads
from portrait360.evaluate.papers import Published, beside
from portrait360.evaluate.protocol import BANDS, Protocol
from portrait360.evaluate.run import Job, result
from portrait360.files import whole, writing_to
from portrait360.images import eight_bits, load_picture, save_picture

LIBRARIES = ("portrait360", "torch", "numpy", "opencv-python-headless", "numba")
FORMAT = 1


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    name: str
    better: str  # higher, lower
    digits: int
    unit: str = ""
    banded: bool = False


def lines() -> list[Line]:
    """All rows in order, those of networks whose weights are missing, too."""
    truth = [
        Line("PSNR inside", "higher", 2, "dB", True),
        Line("PSNR", "higher", 2, "dB", True),
        Line("SSIM inside", "higher", 3, "", True),
        Line("SSIM", "higher", 3, "", True),
        Line("IoU", "higher", 3, "", True),
    ]
    truth += [Line(m.name, m.better, 4, "", True) for m in pairwise()]
    truth += [Line(m.name, m.better, 2, "", True) for m in spreads()]
    alone = [
        Line("reference PSNR", "higher", 2, "dB"),
        Line("reference SSIM", "higher", 3),
        Line("refit PSNR", "higher", 2, "dB", True),
        Line("warp error", "lower", 2, "levels", True),
        Line("seam", "lower", 2, "times"),
        Line("faces behind", "lower", 3),
        Line("faces found", "higher", 3),
        Line("pose error, landmarks", "lower", 2, "°"),
        Line("pose error, fit", "lower", 2, "°"),
    ]
    alone += [Line(m.name, m.better, 4) for m in (*identities(), *likenesses())]
    return truth + alone


def needs() -> list[Needs]:
    return [m for m in (*pairwise(), *spreads(), *identities(), *likenesses()) if isinstance(m, Needs)]


@dataclass(frozen=True)
class Results:
    """Rows of every method by case; None where it failed."""

    rows: dict[str, dict[str, dict[str, float | None] | None]]
    kinds: dict[str, str]
    failures: dict[str, dict[str, str]]
    means: dict[str, dict[str, float]]
    counts: dict[str, dict[str, int]]


def gather(jobs: Sequence[Job], folder: Path) -> Results:
    rows, failures, kinds = {}, {}, {}
    for name in jobs[0].methods:
        rows[name], failures[name] = {}, {}
        for job in jobs:
            said = result(folder / job.name, name, job.key) or {"failed": "was not measured"}
            rows[name][job.name] = said.get("row")
            kinds[job.name] = said.get("kind") or kinds.get(job.name, "")
            if "failed" in said:
                failures[name][job.name] = said["failed"]
    means, counts = {}, {}
    for name, cases in rows.items():
        found: dict[str, list[float]] = {}
        for row in cases.values():
            for metric, value in (row or {}).items():
                found.setdefault(metric, []).extend([] if value is None else [value])
        means[name] = {m: float(np.mean(v)) for m, v in found.items() if v} | sets(jobs, folder, name, rows[name])
        counts[name] = {m: len(v) for m, v in found.items()}
    return Results(rows, kinds, failures, means, counts)


def sets(jobs: Sequence[Job], folder: Path, name: str, rows: dict) -> dict[str, float]:
    """Distances between all pictures of a method and all of the truth, band by band."""
    parts: dict[str, list[np.ndarray]] = {}
    for job in jobs:
        if rows[job.name] is None:
            continue
        with np.load(folder / job.name / f"{name}.npz", allow_pickle=False) as data:
            for key in data.files:
                parts.setdefault(key, []).append(data[key].astype(np.float64))
    stacked = {key: np.concatenate(found) for key, found in parts.items()}
    pairs = {key.rsplit("/", 1)[0] for key in stacked}
    pairs = {key for key in pairs if len(stacked[f"{key}/ours"]) > 1}  # one picture has no spread
    return {key: frechet(stacked[f"{key}/ours"], stacked[f"{key}/truth"]) for key in sorted(pairs)}


def write_report(protocol: Protocol, jobs: Sequence[Job], cases: Path, folder: Path, command: str) -> Path:
    found = gather(jobs, cases)
    with writing_to(folder):
        said = as_data(protocol, found, command)
        with whole(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(said, indent=1, sort_keys=True))
        chosen = extremes(found, jobs[0].methods[-1])
        if chosen:
            save_picture(folder / "sheet.png", sheet(chosen, jobs[0].methods, cases))
        with whole(folder / "report.md") as temporary:
            temporary.write_text("\n".join(as_text(protocol, found, command, chosen)) + "\n")
    return folder / "report.md"


def as_data(protocol: Protocol, found: Results, command: str) -> dict:
    return {
        "format": FORMAT,
        "protocol": asdict(protocol) | {"digest": protocol.digest},
        "command": command,
        "versions": {name: version(name) for name in LIBRARIES},
        "means": found.means,
        "counts": found.counts,
        "cases": found.rows,
        "kinds": found.kinds,
        "failures": found.failures,
        "needs": [asdict(need) for need in needs()],
        "published": [asdict(row) for row in beside(protocol.name)],
    }


def as_text(protocol: Protocol, found: Results, command: str, chosen: Sequence[str]) -> list[str]:
    methods, cases = list(found.rows), len(found.kinds)
    out = [f"# {protocol.name}", "", protocol.about, ""]
    out += [f"`{command}`", ""]
    kinds = sorted(set(found.kinds.values()) - {""})
    out += [f"{cases} cases ({', '.join(f'{list(found.kinds.values()).count(k)} {k}' for k in kinds)}).", ""]
    out += [f"Protocol {protocol.digest}. Versions: {', '.join(f'{n} {version(n)}' for n in LIBRARIES)}.", ""]
    for name in methods:
        for case, why in found.failures[name].items():
            out.append(f"- {name} failed at {case}: {why}")
    out += ["", f"| | better | {' | '.join(methods)} |", "|---|---|" + "---:|" * len(methods)]
    for line in lines():
        for band in (*BANDS, "all", "") if line.banded else ("",):
            key = f"{line.name}/{band}" if band else line.name
            out += table_row(line, key, band, found, methods, cases)
    out += legend(found)
    if chosen:
        out += ["", "## Best, median and worst", "", f"![{', '.join(chosen)}](sheet.png)", ""]
        out += [f"Cases {', '.join(chosen)} of {methods[-1]}: the truth if there is one, then {', '.join(methods)}."]
    return out + published(beside(protocol.name))


def table_row(line: Line, key: str, band: str, found: Results, methods: Sequence[str], cases: int) -> list[str]:
    values = [found.means[name].get(key) for name in methods]
    if all(value is None or not math.isfinite(value) for value in values):
        return []
    cells = []
    for name, value in zip(methods, values, strict=True):
        of = found.counts[name].get(key, cases)
        some = f" ({of})" if of < cases else ""
        cells.append("" if value is None else f"{value:.{line.digits}f}{some}")
    title = ", ".join(part for part in (line.name, band, line.unit) if part)
    return [f"| {title} | {line.better} | {' | '.join(cells)} |"]


def legend(found: Results) -> list[str]:
    out = ["", "A number in brackets says of how many cases, where a figure does not exist for all.", ""]
    missing = needs()
    if missing:
        out += ["Rows that need weights which are not here:", ""]
        out += [f"- {need.name}: {need.how}" for need in missing]
    return out


def published(rows: Sequence[Published]) -> list[str]:
    """The papers' figures in a table of their own."""
    if not rows:
        return []
    out = ["", "## Published, other data", ""]
    out += [
        "What the papers print of their own data. Nothing here can be compared with the table above but by eye.",
        "",
    ]
    for key in dict.fromkeys((row.paper, row.table, row.data) for row in rows):
        chosen = [row for row in rows if (row.paper, row.table, row.data) == key]
        names = list(dict.fromkeys(name for row in chosen for name in row.figures))
        out += [f"{key[0]}, table {key[1]} ({key[2]}):", ""]
        out += [f"| | {' | '.join(n.replace('/', ', ') for n in names)} |", "|---|" + "---:|" * len(names)]
        for row in chosen:
            out.append(f"| {row.method} | {' | '.join(str(row.figures.get(n, '')) for n in names)} |")
        out.append("")
    return out


def extremes(found: Results, method: str) -> list[str]:
    """Names of the best, the median and the worst case."""
    metric, sign = next(
        ((m, s) for m, s in (("PSNR inside/all", 1), ("warp error/all", -1), ("reference PSNR", 1))
         if m in found.means.get(method, {})),
        ("", 1),
    )  # fmt: skip
    values = [((row or {}).get(metric), name) for name, row in found.rows[method].items()]
    order = [name for _, name in sorted(((-sign * v, name) for v, name in values if v is not None))]
    return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]])) if order else []


def sheet(chosen: Sequence[str], methods: Sequence[str], cases: Path) -> np.ndarray:
    """The truth and every method's views, case by case."""
    rows = []
    for case in chosen:
        names = [n for n in ("truth", *methods) if (cases / case / f"{n}.png").is_file()]
        rows += [labelled(load_picture(cases / case / f"{name}.png").rgb, f"{case} {name}") for name in names]
        rows.append(np.ones((12, rows[-1].shape[1], 3)))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows[:-1]])


def labelled(strip: np.ndarray, words: str) -> np.ndarray:
    """What it shows, written in its corner."""
    out = np.ascontiguousarray(eight_bits(strip))
    for grey, width in ((0, 3), (255, 1)):
        place, font = (5, out.shape[0] - 7), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(out, words, place, font, 0.42, (grey,) * 3, width, cv2.LINE_AA)
    return out / np.float32(255)
