"""Read the tables that Live Link Face and other programs write of ARKit's units."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from portrait360.pipeline.animate.neck import LIMITS
from portrait360.pipeline.animate.performance import MOST_SECONDS, USUAL_RATE, Performance, resample, unit_names
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited

MAX_BYTES = 64 << 20
MOST_ROWS = 60_000
FEWEST_UNITS = 10  # columns that a table of expressions has at least
CODE_RATES = (30, 60, 120)  # frames a second in a timecode
USUAL_CODE = 60  # of Live Link Face
HEAD = ("headyaw", "headpitch", "headroll")
SIGNS = np.array([1.0, -1.0, -1.0])  # ARKit's pitch and roll grow downward and to the right shoulder
RADIANS = 1.7  # turns that stay below it are radians, others degrees
TIMECODE = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d+)?)")
EXPORT = "export a table from Live Link Face, with columns such as EyeBlinkLeft and JawOpen"


def read_arkit_csv(path: Path, rate: float | None = None) -> Performance:
    """Read a table with a row a frame; its times may be uneven.

    Args:
        path: The table.
        rate: Frames per second of the result; 30 if None.
    """
    header, rows = _read_table(path)
    names, lower = unit_names(), {name.strip().lower(): i for i, name in reversed(list(enumerate(header)))}
    known = [name for name in names if name.lower() in lower]
    if len(known) < FEWEST_UNITS:
        raise UserError(f"{path} has columns for only {len(known)} of ARKit's 52 blend shapes; {EXPORT}.")
    weights = np.zeros((len(rows), len(names)))
    for name in known:
        weights[:, names.index(name)] = _read_column(path, rows, lower[name.lower()], name)
    neck = np.zeros((len(rows), 3))
    if all(name in lower for name in HEAD):
        turns = np.stack([_read_column(path, rows, lower[name], header[lower[name]]) for name in HEAD], 1)
        neck = SIGNS * (np.degrees(turns) if np.abs(turns).max() < RADIANS else turns)
    times = _read_times(path, rows, lower.get("timecode"))
    rate = rate or USUAL_RATE
    values = resample(
        times, np.concatenate([np.clip(weights, 0, 1), np.clip(neck, -np.array(LIMITS), LIMITS)], 1), rate
    )
    missing = len(names) - len(known)
    notes = (f"{path} lacks {missing} of ARKit's 52 blend shapes; they stay at 0.",) if missing else ()
    return Performance(rate, values[:, :-3], values[:, -3:], notes)


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    data = read_limited(path, MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
        lines = [row for row in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table of comma-separated values; {EXPORT}.") from error
    if len(lines) < 2:
        raise UserError(f"{path} has no rows; {EXPORT}.")
    if len(lines) > MOST_ROWS:
        raise UserError(f"{path} has {len(lines) - 1} rows; cut it into tables of at most {MOST_ROWS}.")
    return lines[0], lines[1:]


def _read_column(path: Path, rows: list[list[str]], column: int, name: str) -> F64:
    values = np.zeros(len(rows))
    for i, row in enumerate(rows):
        try:
            values[i] = float(row[column])
        except (ValueError, IndexError) as error:
            raise UserError(
                f"Row {i + 2} of {path} has no number for {name}; correct it or remove the row."
            ) from error
        if not np.isfinite(values[i]):
            raise UserError(f"Row {i + 2} of {path} has no finite number for {name}; correct it or remove the row.")
    return values


def _read_times(path: Path, rows: list[list[str]], column: int | None) -> F64:
    """Return the seconds of all rows from the first; rows without a timecode are 1/60 apart."""
    codes = [
        None if column is None or column >= len(row) else TIMECODE.fullmatch(row[column].strip()) for row in rows
    ]
    if not all(codes):
        return np.arange(len(rows)) / USUAL_CODE
    parts = np.array([[float(value) for value in code.groups()] for code in codes if code is not None])
    per_second = next((rate for rate in CODE_RATES if rate > parts[:, 3].max()), CODE_RATES[-1])
    seconds = parts @ np.array([3600, 60, 1, 1 / per_second])
    steps = np.diff(seconds)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1 / per_second
    times = np.concatenate([[0], np.cumsum(np.where((steps > 0) & (steps < 60), steps, usual))])
    if times[-1] > MOST_SECONDS:
        raise UserError(f"{path} is longer than {MOST_SECONDS / 60:g} minutes; cut it into shorter tables.")
    return times
