"""The score of looks: monotone, bounded, and as good at heads that it has not seen as the docs say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from portrait360.evaluation.looks.rows import ROWS
from portrait360.evaluation.looks.score import (
    EDGE,
    HIGHEST,
    LOWEST,
    UNUSED,
    ScoredSheet,
    fit_model,
    load_model,
    load_scored_sheets,
    predict_left_out,
)


def usual_rows() -> dict[str, float]:
    model = load_model()
    return dict(zip(model.names, (model.mean**2).tolist(), strict=True))


def test_the_data_know_every_row():
    sheets = load_scored_sheets()
    assert len(sheets) >= 35 and len({(sheet.head, sheet.state) for sheet in sheets}) == len(sheets)
    assert all(list(sheet.rows) == list(ROWS) and LOWEST <= sheet.score <= HIGHEST for sheet in sheets)


@pytest.mark.parametrize("row", [name for name in ROWS if name not in UNUSED])
def test_a_worse_row_never_makes_a_better_head(row):
    """And far beyond what people scored, it makes a worse one."""
    model, usual = load_model(), usual_rows()
    scores = model.scores([usual | {row: value} for value in np.geomspace(1e-4, 1e3, 40)])
    assert (np.diff(scores) <= 1e-12).all()
    assert scores[-1] < model.score(usual) - 0.5
    assert scores.min() >= LOWEST and scores.max() <= HIGHEST


def test_what_does_not_apply_counts_as_usual():
    model, usual = load_model(), usual_rows()
    for row in model.names:
        assert model.score(usual | {row: float("nan")}) == pytest.approx(model.score(usual))


def test_a_known_rule_is_found():
    """Scores that fall linearly with the roots of two rows of three; the third has no weight."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0.2, 1.0, (400, 3))
    scores = 4.5 - 1.0 * values[:, 0] - 2.0 * values[:, 1]
    rows = [dict(zip("abc", line**2, strict=True)) for line in values]
    sheets = [ScoredSheet(str(i), "", s, row) for i, (s, row) in enumerate(zip(scores, rows, strict=True))]
    model = fit_model(sheets, 1e-6, 0.0)
    inside = (values < np.percentile(values, EDGE, axis=0)).all(1)
    assert model.weights / model.deviation == pytest.approx([-1, -2, 0], abs=0.1)
    assert np.abs(model.scores(rows) - scores)[inside].max() < 0.1


def test_a_head_that_is_left_out_is_not_seen():
    sheets = load_scored_sheets()
    changed = [replace(s, score=5.0) if s.head == "astronaut" else s for s in sheets]
    own = np.array([sheet.head == "astronaut" for sheet in sheets])
    before, after = predict_left_out(sheets), predict_left_out(changed)
    assert np.allclose(before[own], after[own]) and not np.allclose(before[~own], after[~own])


def test_heads_that_it_has_not_seen_are_scored_as_the_docs_say():
    sheets = load_scored_sheets()
    scores, found = np.array([sheet.score for sheet in sheets]), predict_left_out(sheets)
    error, base = np.abs(found - scores).mean(), np.abs(scores - scores.mean()).mean()
    assert error < 0.58 < base and spearmanr(found, scores)[0] > 0.55
