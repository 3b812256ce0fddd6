"""The guard of looks: a head that gets uglier is named."""

from __future__ import annotations

import pytest

from benchmarks import looks
from benchmarks.looks import (
    HEAD_TOLERANCE,
    MEAN_TOLERANCE,
    PORTRAITS,
    find_falls,
    load_accepted,
    rescore,
    save_accepted,
    score_head,
    try_head,
)
from portrait360.evaluation.looks.rows import ROWS
from portrait360.evaluation.looks.score import load_model


def figures(**scores: float) -> dict:
    return {name: {"score": score, "rows": {}} for name, score in scores.items()}


def test_what_fell_further_than_the_tolerance_is_named():
    accepted = {"one": 3.0, "other": 4.0}
    assert find_falls(figures(one=3.0, other=4.0), accepted) == []
    assert find_falls(figures(one=3.5, other=4.0 - 0.9 * HEAD_TOLERANCE), accepted) == []
    (fall,) = find_falls(figures(one=3.0 + HEAD_TOLERANCE, other=4.0 - 1.1 * HEAD_TOLERANCE), accepted)
    assert "other fell from 4.00" in fall
    (fall,) = find_falls(figures(one=3.0 - 1.1 * MEAN_TOLERANCE, other=4.0 - 1.1 * MEAN_TOLERANCE), accepted)
    assert "mean" in fall
    assert "no accepted score" in find_falls(figures(third=5.0), accepted)[0]


def test_a_head_that_cannot_be_made_is_a_fall(monkeypatch):
    def stumble(name, keep=None):
        raise ZeroDivisionError("no head today")

    monkeypatch.setattr(looks, "score_head", stumble)
    found = {"one": try_head("one"), **figures(other=3.0)}
    assert find_falls(found, {"one": 3.0, "other": 3.0}) == ["one was not made (ZeroDivisionError: no head today)."]


def test_accepted_figures_are_kept_in_order_and_scored_again(tmp_path):
    """Heads that are no longer among the portraits go; a changed regression needs no heads."""
    accepted = load_accepted()
    save_accepted({"dropped": {"score": 1.0, "rows": {}}, **dict(reversed(accepted.items()))}, tmp_path / "a.json")
    found = load_accepted(tmp_path / "a.json")
    assert found == accepted and list(found) == [name for name in PORTRAITS if name in accepted]
    wrong = {name: kept | {"score": 0.0} for name, kept in accepted.items()}
    assert {name: kept["score"] for name, kept in rescore(wrong).items()} == pytest.approx(
        {name: kept["score"] for name, kept in accepted.items()}, abs=0.0005
    )


def test_accepted_figures_are_those_of_the_model():
    """A changed model or row needs its figures accepted again."""
    accepted = load_accepted()
    assert accepted and set(accepted) <= set(PORTRAITS)
    for name, found in accepted.items():
        rows = {row: float("nan") if value is None else value for row, value in found["rows"].items()}
        assert set(rows) == set(ROWS), name
        assert load_model().score(rows) == pytest.approx(found["score"], abs=0.05), name


@pytest.mark.slow
@pytest.mark.parametrize("name", load_accepted())
def test_no_head_is_uglier_than_the_accepted_one(name):
    accepted = {key: found["score"] for key, found in load_accepted().items()}
    assert find_falls({name: score_head(name)}, {name: accepted[name]}) == []
