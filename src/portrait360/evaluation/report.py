"""Write the report of an evaluation: report.json, report.md, and a sheet of the best, median and worst cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from portrait360.evaluation.feature_metrics import Needs, frechet_distance, identities, likenesses, pairwise, spreads
from portrait360.evaluation.looks.rows import ROWS, SCORE
from portrait360.evaluation.paper_results import Published, select_published
from portrait360.evaluation.protocols import BANDS, Protocol
from portrait360.evaluation.runner import CELL, Job, library_versions, load_result, package_digest, select_evenly
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.images import load_picture, save_picture, to_uint8

FORMAT = 2
HUMAN = "human"  # the kind that has a table of its own beside others
MIN_SET_SIZE = 100  # pictures: the covariance of a smaller set is not known well enough
Rows = dict[str, dict[str, float | None] | None]  # of a method, by case
HEADER_HEIGHT = 22  # pixels above the columns of the sheet


@dataclass(frozen=True)
class MetricRow:
    """A row of the table, before it has values."""

    name: str
    better: str  # higher, lower, near 1
    digits: int
    unit: str = ""
    banded: bool = False


def list_rows() -> list[MetricRow]:
    """List all rows in order, including those of networks whose weights are missing."""
    truth = [
        MetricRow("PSNR inside", "higher", 2, "dB", True),
        MetricRow("PSNR", "higher", 2, "dB", True),
        MetricRow("SSIM inside", "higher", 3, "", True),
        MetricRow("SSIM", "higher", 3, "", True),
        MetricRow("IoU", "higher", 3, "", True),
        MetricRow("sharpness", "near 1", 2, "times", True),
    ]
    truth += [MetricRow(m.name, m.better, 4, "", True) for m in pairwise(2)]
    truth += [MetricRow(m.name, m.better, 2, "", True) for m in spreads(2)]
    no_truth = [
        MetricRow("reference PSNR", "higher", 2, "dB"),
        MetricRow("reference SSIM", "higher", 3),
        MetricRow("refit PSNR", "higher", 2, "dB", True),
        MetricRow("warp error", "lower", 2, "levels", True),
        MetricRow("seam", "lower", 2, "times"),
        MetricRow("faces behind", "lower", 3),
        MetricRow("faces found", "higher", 3),
        MetricRow("pose error, landmarks", "lower", 2, "°"),
        MetricRow("pose error, own fit", "lower", 2, "°"),
    ]
    no_truth += [MetricRow(m.name, m.better, 4) for m in (*identities(), *likenesses())]
    no_truth.append(MetricRow(SCORE, "higher", 2, "of 5"))
    no_truth += [MetricRow(name, "lower", 3) for name in ROWS if name != "faces behind"]
    return truth + no_truth


def list_missing_rows(protocol: Protocol) -> list[Needs]:
    """List the rows that the protocol's table lacks because their weights are missing."""
    has_truth = protocol.source != "photos"
    rows = [*pairwise()] * (has_truth or bool(protocol.beside_photo)) + [*spreads()] * has_truth
    rows += [*identities()] * bool(protocol.faces_at) + [*likenesses()] * bool(protocol.beside_photo)
    return [row for row in rows if isinstance(row, Needs)]


@dataclass(frozen=True)
class Results:
    """The rows of every method by case; None where the method failed."""

    rows: dict[str, Rows]
    kinds: dict[str, str]
    failures: dict[str, dict[str, str]]
    means: dict[str, dict[str, float]]
    errors: dict[str, dict[str, float]]  # standard errors of the means over the cases
    counts: dict[str, dict[str, int]]


def gather_results(jobs: Sequence[Job], folder: Path) -> Results:
    """Read the records of all jobs and take their means over the common cases."""
    rows: dict[str, Rows] = {}
    failures: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    for name in jobs[0].methods:
        rows[name], failures[name] = {}, {}
        for job in jobs:
            record = load_result(folder / job.name, name, job.key) or {"failed": "was not measured"}
            rows[name][job.name] = record.get("row")
            kinds[job.name] = record.get("kind") or kinds.get(job.name, "")
            if "failed" in record:
                failures[name][job.name] = record["failed"]
    return summarise(rows, kinds, failures, folder)


def summarise(
    rows: dict[str, Rows],
    kinds: dict[str, str],
    failures: dict[str, dict[str, str]],
    folder: Path,
) -> Results:
    """Take the means over the cases that no method failed at."""
    common = common_cases(rows)
    means, errors, counts = {}, {}, {}
    for name, cases in rows.items():
        values: dict[str, list[float]] = {}
        for case in common:
            for metric, value in (cases[case] or {}).items():
                values.setdefault(metric, []).extend([] if value is None else [value])
        distances = set_distances([case for case in common if cases[case]], folder, name)
        means[name] = {m: float(np.mean(v)) for m, v in values.items() if v} | distances
        errors[name] = {m: float(np.std(v, ddof=1) / len(v) ** 0.5) for m, v in values.items() if len(v) > 1}
        counts[name] = {m: len(v) for m, v in values.items()}
    return Results(rows, kinds, failures, means, errors, counts)


def select_kind(results: Results, kind: str, folder: Path) -> Results:
    """Return the results of one kind of head."""
    kinds = {case: found for case, found in results.kinds.items() if found == kind}
    rows = {name: {case: cases[case] for case in kinds} for name, cases in results.rows.items()}
    failures = {
        name: {case: reason for case, reason in cases.items() if case in kinds}
        for name, cases in results.failures.items()
    }
    return summarise(rows, kinds, failures, folder)


def common_cases(rows: dict[str, dict]) -> list[str]:
    """Return the cases at which no method failed, not counting methods that always fail. A method gains
    nothing by failing at hard cases."""
    working_methods = [cases for cases in rows.values() if any(cases.values())]
    return [case for case in next(iter(rows.values())) if all(cases[case] for cases in working_methods)]


def set_distances(cases: Sequence[str], folder: Path, name: str) -> dict[str, float]:
    """Return the Fréchet distances between all pictures of a method and all of the truth, in each band and in all."""
    parts: dict[str, list[np.ndarray]] = {}
    for case in cases:
        with np.load(folder / case / f"{name}.npz", allow_pickle=False) as data:
            for key in data.files:
                metric, _, side = key.rsplit("/", 2)
                for set_key in (key, f"{metric}/all/{side}"):
                    parts.setdefault(set_key, []).append(data[key].astype(np.float64))
    stacked = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    pairs = {key.rsplit("/", 1)[0] for key in stacked}
    pairs = {key for key in pairs if len(stacked[f"{key}/ours"]) >= MIN_SET_SIZE}
    return {key: frechet_distance(stacked[f"{key}/ours"], stacked[f"{key}/truth"]) for key in sorted(pairs)}


def write_report(protocol: Protocol, jobs: Sequence[Job], cases: Path, folder: Path, command: str) -> Results:
    """Write the report of the jobs' results in `cases` into `folder`."""
    results = gather_results(jobs, cases)
    humans = select_kind(results, HUMAN, cases) if len(set(results.kinds.values()) - {""}) > 1 else None
    with translate_write_errors(folder):
        data = make_report_data(protocol, results, command)
        if humans and humans.kinds:
            data["humans"] = {"means": humans.means, "standard errors": humans.errors, "counts": humans.counts}
        with atomic_write(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(data, indent=1, sort_keys=True))
        sheet_cases = select_extremes(results, jobs[0].methods[-1])
        if sheet_cases:
            save_picture(folder / "sheet.png", draw_sheet(protocol, sheet_cases, jobs[0].methods, cases))
        with atomic_write(folder / "report.md") as temporary:
            temporary.write_text(
                "\n".join(format_report(protocol, results, humans, command, sheet_cases)) + "\n", encoding="utf-8"
            )
    return results


def make_report_data(protocol: Protocol, results: Results, command: str) -> dict:
    return {
        "format": FORMAT,
        "protocol": asdict(protocol) | {"digest": protocol.digest},
        "command": command,
        "versions": library_versions(),
        "program": package_digest(),
        "means": results.means,
        "standard errors": results.errors,
        "counts": results.counts,
        "cases": results.rows,
        "kinds": results.kinds,
        "failures": results.failures,
        "needs": [asdict(metric) for metric in list_missing_rows(protocol)],
        "published": [asdict(row) for row in select_published(protocol.name)],
    }


def format_report(
    protocol: Protocol, results: Results, humans: Results | None, command: str, sheet_cases: Sequence[str]
) -> list[str]:
    methods, cases = list(results.rows), len(results.kinds)
    out = [f"# {protocol.name}", "", protocol.about, ""]
    out += [f"`{command}`", ""]
    kinds = sorted(set(results.kinds.values()) - {""})
    out += [f"{cases} cases ({', '.join(f'{list(results.kinds.values()).count(k)} {k}' for k in kinds)}).", ""]
    versions = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    out += [f"Protocol {protocol.digest}, program {package_digest()[:12]}, {versions}.", ""]
    for name in methods:
        for case, reason in results.failures[name].items():
            out.append(f"- {name} failed on {case}: {reason}")
    out += ["", *format_table(results), *format_legend(protocol), *format_kinds(results)]
    if humans and humans.kinds:
        out += ["", f"## Humans alone ({len(humans.kinds)} cases)", "", *format_table(humans)]
    if sheet_cases:
        out += ["", "## Best, median and worst", "", f"![{', '.join(sheet_cases)}](sheet.png)", ""]
        out += [
            f"Cases {', '.join(sheet_cases)} of {methods[-1]}: the ground truth, if there is one, then "
            f"{', '.join(methods)}."
        ]
    return out + format_published(select_published(protocol.name))


def format_table(results: Results) -> list[str]:
    methods, cases = list(results.rows), len(results.kinds)
    out = [f"| | better | {' | '.join(methods)} |", "|---|---|" + "---:|" * len(methods)]
    for metric_row in list_rows():
        for band in (*BANDS, "all", "") if metric_row.banded else ("",):
            key = f"{metric_row.name}/{band}" if band else metric_row.name
            out += format_row(metric_row, key, band, results, methods, cases)
    return out


def format_row(
    metric_row: MetricRow, key: str, band: str, results: Results, methods: Sequence[str], cases: int
) -> list[str]:
    values = [results.means[name].get(key) for name in methods]
    if all(value is None or not math.isfinite(value) for value in values):
        return []
    cells = []
    for name, value in zip(methods, values, strict=True):
        count = results.counts[name].get(key, cases)
        error = results.errors[name].get(key)
        suffix = (f" ± {error:.{metric_row.digits}f}" if error else "") + (f" ({count})" if count < cases else "")
        cells.append("" if value is None else f"{value:.{metric_row.digits}f}{suffix}")
    title = ", ".join(part for part in (metric_row.name, band, metric_row.unit) if part)
    return [f"| {title} | {metric_row.better} | {' | '.join(cells)} |"]


def format_legend(protocol: Protocol) -> list[str]:
    out = ["", "Means over the cases ± their standard errors; number of cases in brackets, if not all."]
    if protocol.source != "photos":
        out.append(f"Fréchet distances are left out where a set has fewer than {MIN_SET_SIZE} pictures.")
    if protocol.beside_photo:
        out.append("This protocol compares with the photo itself, so `repeat` is perfect by design.")
    if protocol.source == "synthetic":
        oracle = "The `oracle` (`--method oracle`) is the true head, in the pose that the portrait states"
        out.append(f"{oracle}: no method can be expected to come closer to the truth.")
    missing = list_missing_rows(protocol)
    if missing:
        out += ["", "Metrics whose weights are not installed:", "", *(f"- {metric.how}" for metric in missing)]
    return out


def format_kinds(results: Results) -> list[str]:
    """Format a table of the ranking metric for every kind of head."""
    metric, _ = select_ranking_metric(results, list(results.rows)[-1])
    kinds, methods = sorted(set(results.kinds.values()) - {""}), list(results.rows)
    if len(kinds) < 2 or not metric:
        return []
    out = ["", f"{metric.replace('/', ', ')}, by kind:", "", f"| | cases | {' | '.join(methods)} |"]
    out.append("|---|---:|" + "---:|" * len(methods))
    for kind in kinds:
        cases = [case for case in common_cases(results.rows) if results.kinds[case] == kind]
        values = [[(results.rows[name][case] or {}).get(metric) for case in cases] for name in methods]
        means = [np.mean([v for v in column if v is not None] or [np.nan]) for column in values]
        out.append(f"| {kind} | {len(cases)} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    return out


def format_published(rows: Sequence[Published]) -> list[str]:
    """Format the papers' figures as tables of their own."""
    if not rows:
        return []
    out = ["", "## Published, other data", ""]
    out += [
        "Figures that the papers report on their own data; they are not comparable with the table above.",
        "",
    ]
    for key in dict.fromkeys((row.paper, row.table, row.data) for row in rows):
        table = [row for row in rows if (row.paper, row.table, row.data) == key]
        names = list(dict.fromkeys(name for row in table for name in row.figures))
        out += [f"{key[0]}, table {key[1]} ({key[2]}):", ""]
        out += [f"| | {' | '.join(n.replace('/', ', ') for n in names)} |", "|---|" + "---:|" * len(names)]
        for row in table:
            out.append(f"| {row.method} | {' | '.join(str(row.figures.get(n, '')) for n in names)} |")
        out.append("")
    return out


def select_extremes(results: Results, method: str) -> list[str]:
    """Return the names of the best, the median and the worst case."""
    metric, sign = select_ranking_metric(results, method)
    values = [((row or {}).get(metric), name) for name, row in results.rows[method].items()]
    order = [name for _, name in sorted(((-sign * v, name) for v, name in values if v is not None))]
    return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]])) if order else []


def select_ranking_metric(results: Results, method: str) -> tuple[str, int]:
    """Return the metric that cases are ranked by, and its sign: 1 if higher is better, -1 if lower is."""
    candidates = (("PSNR inside/all", 1), (SCORE, 1), ("warp error/all", -1), ("reference PSNR", 1))
    return next(((m, s) for m, s in candidates if m in results.means.get(method, {})), ("", 1))


def draw_sheet(protocol: Protocol, names: Sequence[str], methods: Sequence[str], cases: Path) -> np.ndarray:
    """Draw the photo, and next to it the truth and every method's views, case by case."""
    rows = []
    for case in names:
        strips = [n for n in ("truth", *methods) if (cases / case / f"{n}.png").is_file()]
        for i, name in enumerate(strips):
            photo = load_picture(cases / case / "photo.png").rgb if i == 0 else np.full((CELL, CELL, 3), 0.5)
            views = load_picture(cases / case / f"{name}.png").rgb
            rows.append(np.concatenate([draw_label(photo, f"{case} {name}"), views], 1))
        rows.append(np.ones((12, rows[-1].shape[1], 3)))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows[:-1]]
    return np.concatenate([draw_header(protocol, width), *rows])


def draw_header(protocol: Protocol, width: int) -> np.ndarray:
    """Draw the views' azimuths, where all cases have the same."""
    orbit_azimuths = [360 * i / protocol.orbit for i in select_evenly(protocol.orbit)]
    azimuths = orbit_azimuths or list(protocol.beside_photo if protocol.source == "photos" else ())
    cells = [
        draw_label(np.zeros((HEADER_HEIGHT, CELL, 3)), text) for text in ("photo", *(f"{a:.0f}" for a in azimuths))
    ]
    row = np.concatenate(cells, 1)
    return np.pad(row, ((0, 0), (0, max(width - row.shape[1], 0)), (0, 0)))[:, :width]


def draw_label(cell: np.ndarray, text: str) -> np.ndarray:
    """Draw a text in a picture's lower left corner."""
    out = np.ascontiguousarray(to_uint8(cell.astype(np.float32)))
    for grey, width in ((0, 3), (255, 1)):
        origin, font = (5, out.shape[0] - 7), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(out, text, origin, font, 0.42, (grey,) * 3, width, cv2.LINE_AA)
    return out / np.float32(255)
