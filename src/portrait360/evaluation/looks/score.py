"""One figure for the looks of a head, 1 to 5: what people would say, by a regression from the rows.

The regression is a ridge that draws every weight to the same fall per standard deviation of its row, and lets none be
positive: a fault never makes a head look better. A row that is worse than on nearly all sheets that people scored is
beyond what the regression knows, and costs more for each further standard deviation.
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

DATA = Path(__file__).parent / "human_scores.json"
LOWEST, HIGHEST = 1.0, 5.0
UNUSED = ("seam energy",)  # the scored sheets do not tell where the photo ends
PRIOR = -0.1  # points per standard deviation
PENALTY = 10.0  # sheets that the prior counts as much as
LEAST = 0.02  # of a standard deviation: a row that hardly varies on the sheets still counts
EDGE = 95.0  # percentile of the scored sheets, from which a row is beyond them
SLOPE, MOST = 0.25, 1.0  # points per standard deviation beyond, and at most
FARTHEST = 8.0  # standard deviations above the mean: a row that is worse counts as this


@dataclass(frozen=True, eq=False)
class ScoredSheet:
    head: str  # name of the photo
    state: str  # of the program, when the sheet was made
    score: float  # overall, of a person who looked at it
    rows: dict[str, float]


@dataclass(frozen=True, eq=False)
class LooksModel:
    names: tuple[str, ...]
    mean: F64  # (n,) of the square roots of the rows over the scored sheets
    deviation: F64
    weights: F64  # (n,) points per standard deviation, at most 0
    edge: F64  # (n,) standard deviations from the mean up to which people scored sheets
    offset: float  # the score at the mean

    def score(self, rows: Mapping[str, float]) -> float:
        return float(self.scores([rows])[0])

    def scores(self, rows: Sequence[Mapping[str, float]]) -> F64:
        x = standardise(self.names, self.mean, self.deviation, rows)
        beyond = (SLOPE * np.maximum(x - self.edge, 0)).clip(0, MOST)
        return (self.offset + x @ self.weights - beyond.sum(1)).clip(LOWEST, HIGHEST)


def standardise(names: Sequence[str], mean: F64, deviation: F64, rows: Sequence[Mapping[str, float]]) -> F64:
    """Return the rows (heads, n) in standard deviations from the mean; what does not apply is at the mean."""
    return np.nan_to_num((take_roots(names, rows) - mean) / deviation, nan=0.0).clip(-FARTHEST, FARTHEST)


def take_roots(names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> F64:
    """Return the square roots (heads, n) of the rows: most are small, with a long tail of bad heads."""
    return (
        np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64).reshape(-1, len(names))
        ** 0.5
    )


def fit_model(sheets: Sequence[ScoredSheet], penalty: float = PENALTY, prior: float = PRIOR) -> LooksModel:
    """Fit the score to sheets that people scored."""
    rows = [sheet.rows for sheet in sheets]
    names = tuple(name for name in rows[0] if name not in UNUSED)
    values = take_roots(names, rows)
    mean, deviation = np.nanmean(values, axis=0), np.maximum(np.nanstd(values, axis=0), LEAST)
    x, scores = standardise(names, mean, deviation, rows), np.array([sheet.score for sheet in sheets])
    edge, offset = np.percentile(x, EDGE, axis=0), float(scores.mean())
    beyond = (SLOPE * np.maximum(x - edge, 0)).clip(0, MOST).sum(1)
    left = np.concatenate([x, np.sqrt(penalty) * np.eye(len(names))])
    right = np.concatenate([scores - offset + beyond, np.full(len(names), np.sqrt(penalty) * prior)])
    weights = lsq_linear(left, right, bounds=(-np.inf, 0.0)).x
    return LooksModel(names, mean, deviation, np.asarray(weights, np.float64), edge, offset)


def predict_left_out(sheets: Sequence[ScoredSheet], penalty: float = PENALTY, prior: float = PRIOR) -> F64:
    """Return the score of every sheet by a model that has seen no sheet of the same head."""
    scores = np.empty(len(sheets))
    for head in {sheet.head for sheet in sheets}:
        inside = [i for i, sheet in enumerate(sheets) if sheet.head == head]
        model = fit_model([sheet for sheet in sheets if sheet.head != head], penalty, prior)
        scores[inside] = model.scores([sheets[i].rows for i in inside])
    return scores


def load_scored_sheets(path: Path = DATA) -> list[ScoredSheet]:
    """Load the scores of people, and the rows of the sheets that they saw."""
    record: dict[str, Any] = json.loads(path.read_text())
    return [
        ScoredSheet(
            entry["head"],
            entry["state"],
            float(entry["score"]),
            {name: float("nan") if value is None else float(value) for name, value in entry["rows"].items()},
        )
        for entry in record["sheets"]
    ]


@lru_cache(maxsize=1)
def load_model() -> LooksModel:
    """Fit the model to the scored sheets of the package."""
    return fit_model(load_scored_sheets())
