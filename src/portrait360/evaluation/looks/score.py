"""One figure for the looks of a head, 1 to 5: what judges would say, by a regression from the rows.

A row x becomes a fault x / (x + scale) between 0 and 1: after a fault is bad, it hardly gets worse. Faults multiply:
each takes a share of the score, so that one fault costs a good head more points than a bad one. The shares are fitted
by a ridge to sheets that judges scored; none may be below LEAST_SHARE, since every row is a fault that was named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from portrait360.utils.array_types import F64

DATA = Path(__file__).parent / "scored_sheets.json"
LOWEST, HIGHEST = 1.0, 5.0
UNUSED = ("seam energy",)  # the scored sheets do not tell where the photo ends
SCALE = 90.0  # percentile of the scored sheets at which a row is half a fault
FINEST = 0.01  # the least scale
LEAST_SHARE = 0.05  # what a whole fault takes from the logarithm of the score, at least
PRIOR, PENALTY = 0.7, 1.0  # the share that is expected, and the number of sheets that this expectation counts as


@dataclass(frozen=True, eq=False)
class ScoredSheet:
    head: str  # name of the photo
    state: str  # of the program, or the method or fault, that the sheet shows
    score: float  # overall, the mean of those who looked at it
    rows: dict[str, float]


@dataclass(frozen=True, eq=False)
class LooksModel:
    names: tuple[str, ...]
    scale: F64  # (n,) of the rows
    usual: F64  # (n,) mean fault of the scored sheets
    shares: F64  # (n,) that a whole fault takes from the logarithm of the score
    offset: float  # logarithm of the score with the usual faults

    def score(self, rows: Mapping[str, float]) -> float:
        return float(self.scores([rows])[0])

    def scores(self, rows: Sequence[Mapping[str, float]]) -> F64:
        faults = find_faults(self.names, self.scale, rows)
        excess = np.nan_to_num(faults - self.usual, nan=0.0)  # what does not apply is as usual
        return np.exp(self.offset - excess @ self.shares).clip(LOWEST, HIGHEST)


def find_faults(names: Sequence[str], scale: F64, rows: Sequence[Mapping[str, float]]) -> F64:
    """Return the faults (heads, n), 0 to 1; NaN where a row does not apply."""
    values = list_values(names, rows)
    return values / (values + scale)


def list_values(names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> F64:
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64).reshape(-1, len(names))


def fit_model(
    sheets: Sequence[ScoredSheet], penalty: float = PENALTY, prior: float = PRIOR, least: float = LEAST_SHARE
) -> LooksModel:
    """Fit the score to sheets that judges scored."""
    rows = [sheet.rows for sheet in sheets]
    names = tuple(name for name in rows[0] if name not in UNUSED)
    scale = np.maximum(np.nanpercentile(list_values(names, rows), SCALE, axis=0), FINEST)
    faults = find_faults(names, scale, rows)
    usual = np.nanmean(faults, axis=0)
    target = np.log([sheet.score for sheet in sheets])
    offset = float(target.mean())
    left = np.concatenate([np.nan_to_num(faults - usual, nan=0.0), np.sqrt(penalty) * np.eye(len(names))])
    right = np.concatenate([offset - target, np.full(len(names), np.sqrt(penalty) * prior)])
    shares = lsq_linear(left, right, bounds=(least, np.inf)).x
    return LooksModel(names, scale, usual, np.asarray(shares, np.float64), offset)


def predict_left_out(
    sheets: Sequence[ScoredSheet], penalty: float = PENALTY, prior: float = PRIOR, least: float = LEAST_SHARE
) -> F64:
    """Return the score of every sheet by a model that has seen no sheet of the same head."""
    scores = np.empty(len(sheets))
    for head in sorted({sheet.head for sheet in sheets}):
        inside = [i for i, sheet in enumerate(sheets) if sheet.head == head]
        model = fit_model([sheet for sheet in sheets if sheet.head != head], penalty, prior, least)
        scores[inside] = model.scores([sheets[i].rows for i in inside])
    return scores


def load_scored_sheets(path: Path = DATA) -> list[ScoredSheet]:
    """Load the scores of judges, and the rows of the sheets that they saw."""
    record: dict[str, Any] = json.loads(path.read_text())
    return [
        ScoredSheet(
            entry["head"],
            entry["state"],
            float(np.mean([*entry["scores"].values()])),
            {name: float("nan") if value is None else float(value) for name, value in entry["rows"].items()},
        )
        for entry in record["sheets"]
    ]


@lru_cache(maxsize=1)
def load_model() -> LooksModel:
    """Fit the model to the scored sheets of the package."""
    return fit_model(load_scored_sheets())
