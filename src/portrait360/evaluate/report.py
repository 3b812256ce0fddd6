"""What a run of an evaluation leaves: report.json, report.md, and a sheet of the best, median and worst cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from portrait360.evaluate.features import Needs, frechet, identities, likenesses, pairwise, spreads
from portrait360.evaluate.papers import Published, beside
from portrait360.evaluate.protocol import BANDS, Protocol
from portrait360.evaluate.run import CELL, Job, code, result, shown, versions
from portrait360.files import whole, writing_to
from portrait360.images import eight_bits, load_picture, save_picture

FORMAT = 2
FEW = 100  # pictures of a set: of fewer its spread is not known well enough
HEADER = 22  # pixels above the columns of the sheet


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    name: str
    better: str  # higher, lower, near 1
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
        Line("sharpness", "near 1", 2, "times", True),
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
        Line("pose error, own fit", "lower", 2, "°"),
    ]
    alone += [Line(m.name, m.better, 4) for m in (*identities(), *likenesses())]
    return truth + alone


def needs(protocol: Protocol) -> list[Needs]:
    """Rows that it would have, were their weights here."""
    truth = protocol.source != "photos"
    rows = [*pairwise()] * (truth or bool(protocol.beside_photo)) + [*spreads()] * truth
    rows += [*identities()] * bool(protocol.faces_at) + [*likenesses()] * bool(protocol.beside_photo)
    return [row for row in rows if isinstance(row, Needs)]


@dataclass(frozen=True)
class Results:
    """Rows of every method by case; None where it failed."""

    rows: dict[str, dict[str, dict[str, float | None] | None]]
    kinds: dict[str, str]
    failures: dict[str, dict[str, str]]
    means: dict[str, dict[str, float]]
    errors: dict[str, dict[str, float]]  # standard errors of the means over the cases
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
    common = common_cases(rows)
    means, errors, counts = {}, {}, {}
    for name, cases in rows.items():
        found: dict[str, list[float]] = {}
        for case in common:
            for metric, value in (cases[case] or {}).items():
                found.setdefault(metric, []).extend([] if value is None else [value])
        apart = sets([job.name for job in jobs if cases[job.name] and job.name in common], folder, name)
        means[name] = {m: float(np.mean(v)) for m, v in found.items() if v} | apart
        errors[name] = {m: float(np.std(v, ddof=1) / len(v) ** 0.5) for m, v in found.items() if len(v) > 1}
        counts[name] = {m: len(v) for m, v in found.items()}
    return Results(rows, kinds, failures, means, errors, counts)


def common_cases(rows: dict[str, dict]) -> list[str]:
    """Those at which no method failed that managed any: who fails where it is hard gains nothing by it."""
    able = [cases for cases in rows.values() if any(cases.values())]
    return [case for case in next(iter(rows.values())) if all(cases[case] for cases in able)]


def sets(cases: Sequence[str], folder: Path, name: str) -> dict[str, float]:
    """Distances between all pictures of a method and all of the truth, band by band and together."""
    parts: dict[str, list[np.ndarray]] = {}
    for case in cases:
        with np.load(folder / case / f"{name}.npz", allow_pickle=False) as data:
            for key in data.files:
                metric, _, side = key.rsplit("/", 2)
                for one in (key, f"{metric}/all/{side}"):
                    parts.setdefault(one, []).append(data[key].astype(np.float64))
    stacked = {key: np.concatenate(found) for key, found in parts.items()}
    pairs = {key.rsplit("/", 1)[0] for key in stacked}
    pairs = {key for key in pairs if len(stacked[f"{key}/ours"]) >= FEW}
    return {key: frechet(stacked[f"{key}/ours"], stacked[f"{key}/truth"]) for key in sorted(pairs)}


def write_report(protocol: Protocol, jobs: Sequence[Job], cases: Path, folder: Path, command: str) -> Results:
    found = gather(jobs, cases)
    with writing_to(folder):
        said = as_data(protocol, found, command)
        with whole(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(said, indent=1, sort_keys=True))
        chosen = extremes(found, jobs[0].methods[-1])
        if chosen:
            save_picture(folder / "sheet.png", sheet(protocol, chosen, jobs[0].methods, cases))
        with whole(folder / "report.md") as temporary:
            temporary.write_text("\n".join(as_text(protocol, found, command, chosen)) + "\n")
    return found


def as_data(protocol: Protocol, found: Results, command: str) -> dict:
    return {
        "format": FORMAT,
        "protocol": asdict(protocol) | {"digest": protocol.digest},
        "command": command,
        "versions": versions(),
        "program": code(),
        "means": found.means,
        "standard errors": found.errors,
        "counts": found.counts,
        "cases": found.rows,
        "kinds": found.kinds,
        "failures": found.failures,
        "needs": [asdict(need) for need in needs(protocol)],
        "published": [asdict(row) for row in beside(protocol.name)],
    }


def as_text(protocol: Protocol, found: Results, command: str, chosen: Sequence[str]) -> list[str]:
    methods, cases = list(found.rows), len(found.kinds)
    out = [f"# {protocol.name}", "", protocol.about, ""]
    out += [f"`{command}`", ""]
    kinds = sorted(set(found.kinds.values()) - {""})
    out += [f"{cases} cases ({', '.join(f'{list(found.kinds.values()).count(k)} {k}' for k in kinds)}).", ""]
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    out += [f"Protocol {protocol.digest}, program {code()[:12]}, {used}.", ""]
    for name in methods:
        for case, why in found.failures[name].items():
            out.append(f"- {name} failed at {case}: {why}")
    out += ["", f"| | better | {' | '.join(methods)} |", "|---|---|" + "---:|" * len(methods)]
    for line in lines():
        for band in (*BANDS, "all", "") if line.banded else ("",):
            key = f"{line.name}/{band}" if band else line.name
            out += table_row(line, key, band, found, methods, cases)
    out += legend(protocol) + by_kind(found)
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
        error = found.errors[name].get(key)
        some = (f" ± {error:.{line.digits}f}" if error else "") + (f" ({of})" if of < cases else "")
        cells.append("" if value is None else f"{value:.{line.digits}f}{some}")
    title = ", ".join(part for part in (line.name, band, line.unit) if part)
    return [f"| {title} | {line.better} | {' | '.join(cells)} |"]


def legend(protocol: Protocol) -> list[str]:
    out = ["", "Means over the cases ± their standard errors; in brackets of how many cases, where it is not all."]
    if protocol.source != "photos":
        out.append(f"Fréchet distances are left out where a set has fewer than {FEW} pictures.")
    if protocol.beside_photo:
        out.append("Here the photo itself is compared with, so that `repeat` is perfect by design.")
    if protocol.source == "synthetic":
        oracle = "The `oracle` (`--method oracle`) is the true head, turned as the portrait says"
        out.append(f"{oracle}: no method can be expected to come nearer to the truth.")
    missing = needs(protocol)
    if missing:
        out += ["", "Rows that need weights which are not here:", "", *(f"- {need.how}" for need in missing)]
    return out


def by_kind(found: Results) -> list[str]:
    """The first figure for every kind of head."""
    metric, _ = leading(found, list(found.rows)[-1])
    kinds, methods = sorted(set(found.kinds.values()) - {""}), list(found.rows)
    if len(kinds) < 2 or not metric:
        return []
    out = ["", f"{metric.replace('/', ', ')}, by kind:", "", f"| | cases | {' | '.join(methods)} |"]
    out.append("|---|---:|" + "---:|" * len(methods))
    for kind in kinds:
        cases = [case for case in common_cases(found.rows) if found.kinds[case] == kind]
        values = [[(found.rows[name][case] or {}).get(metric) for case in cases] for name in methods]
        means = [np.mean([v for v in some if v is not None] or [np.nan]) for some in values]
        out.append(f"| {kind} | {len(cases)} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
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
    metric, sign = leading(found, method)
    values = [((row or {}).get(metric), name) for name, row in found.rows[method].items()]
    order = [name for _, name in sorted(((-sign * v, name) for v, name in values if v is not None))]
    return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]])) if order else []


def leading(found: Results, method: str) -> tuple[str, int]:
    """The figure that cases are ordered by, and whether more of it is better."""
    usual = (("PSNR inside/all", 1), ("warp error/all", -1), ("reference PSNR", 1))
    return next(((m, s) for m, s in usual if m in found.means.get(method, {})), ("", 1))


def sheet(protocol: Protocol, chosen: Sequence[str], methods: Sequence[str], cases: Path) -> np.ndarray:
    """The photo, and beside it the truth and every method's views, case by case."""
    rows = []
    for case in chosen:
        names = [n for n in ("truth", *methods) if (cases / case / f"{n}.png").is_file()]
        for i, name in enumerate(names):
            photo = load_picture(cases / case / "photo.png").rgb if i == 0 else np.full((CELL, CELL, 3), 0.5)
            views = load_picture(cases / case / f"{name}.png").rgb
            rows.append(np.concatenate([written(photo, f"{case} {name}"), views], 1))
        rows.append(np.ones((12, rows[-1].shape[1], 3)))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows[:-1]]
    return np.concatenate([header(protocol, width), *rows])


def header(protocol: Protocol, width: int) -> np.ndarray:
    """The views' azimuths, where all cases have the same."""
    around = [360 * i / protocol.orbit for i in shown(protocol.orbit)]
    azimuths = around or list(protocol.beside_photo if protocol.source == "photos" else ())
    cells = [written(np.zeros((HEADER, CELL, 3)), text) for text in ("photo", *(f"{a:.0f}" for a in azimuths))]
    row = np.concatenate(cells, 1)
    return np.pad(row, ((0, 0), (0, max(width - row.shape[1], 0)), (0, 0)))[:, :width]


def written(cell: np.ndarray, words: str) -> np.ndarray:
    """Words in a picture's lower corner."""
    out = np.ascontiguousarray(eight_bits(cell.astype(np.float32)))
    for grey, width in ((0, 3), (255, 1)):
        place, font = (5, out.shape[0] - 7), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(out, words, place, font, 0.42, (grey,) * 3, width, cv2.LINE_AA)
    return out / np.float32(255)
