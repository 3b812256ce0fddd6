"""The score of looks: monotone, bounded, and as good at heads that it has not seen as the docs say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from portrait360.evaluation.looks.rows import ROWS
from portrait360.evaluation.looks.score import (
    HIGHEST,
    LOWEST,
    SCALE,
    UNUSED,
    ScoredSheet,
    fit_model,
    load_model,
    load_scored_sheets,
    predict_left_out,
)

AVATARS = ("first", "second", "third", "fourth", "fifth")  # states of the avatar among the scored sheets


def usual_rows() -> dict[str, float]:
    model = load_model()
    return dict(zip(model.names, (model.scale * model.usual / (1 - model.usual)).tolist(), strict=True))


def test_the_data_know_every_row():
    sheets = load_scored_sheets()
    assert len(sheets) > 100 and len({(sheet.head, sheet.state) for sheet in sheets}) == len(sheets)
    assert all(list(sheet.rows) == list(ROWS) and LOWEST <= sheet.score <= HIGHEST for sheet in sheets)
    assert min(sheet.score for sheet in sheets) == 1 and max(sheet.score for sheet in sheets) == 4


@pytest.mark.parametrize("row", [name for name in ROWS if name not in UNUSED])
def test_a_worse_row_makes_a_worse_head(row):
    model, usual = load_model(), usual_rows()
    scores = model.scores([usual | {row: value} for value in np.geomspace(1e-4, 1e3, 40)])
    assert (np.diff(scores) <= 1e-12).all() and scores[-1] < model.score(usual) < scores[0]
    assert scores.min() >= LOWEST and scores.max() <= HIGHEST


def test_a_fault_costs_a_good_head_more():
    model, usual = load_model(), usual_rows()
    good = {row: value / 2 for row, value in usual.items()}
    falls = [model.score(rows) - model.score(rows | {"skin in hair behind": 1.0}) for rows in (usual, good)]
    assert falls[1] > falls[0] > 0.2


def test_what_does_not_apply_counts_as_usual():
    model, usual = load_model(), usual_rows()
    for row in model.names:
        assert model.score(usual | {row: float("nan")}) == pytest.approx(model.score(usual))


def test_a_known_rule_is_found():
    """Two faults of three take a share each; the third takes none."""
    rng = np.random.default_rng(0)
    values = rng.exponential(0.3, (400, 3))
    scale = np.percentile(values, SCALE, axis=0)
    scores = np.exp(1.5 - values / (values + scale) @ [0.4, 1.2, 0.0])
    rows = [dict(zip("abc", line, strict=True)) for line in values]
    sheets = [ScoredSheet(str(i), "", s, row) for i, (s, row) in enumerate(zip(scores, rows, strict=True))]
    model = fit_model(sheets, 1e-6, 0.0, 0.0)
    assert model.shares == pytest.approx([0.4, 1.2, 0.0], abs=1e-3)
    np.testing.assert_allclose(model.scores(rows), scores.clip(LOWEST, HIGHEST), atol=1e-3)


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
    assert error < 0.51 < 0.6 < base and spearmanr(found, scores)[0] > 0.59
    ours = np.array([sheet.state in AVATARS for sheet in sheets])
    assert ours.sum() > 50 and spearmanr(found[ours], scores[ours])[0] > 0.57
