"""What a training prints."""

from __future__ import annotations

import re

import pytest

from portrait360.training.step_lines import StepLines, format_duration


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def train(clock, lines, steps, seconds, first=0):
    for step in range(first + 1, first + steps + 1):
        clock.now += seconds
        lines.update(step, 0.01234567)


def test_a_line_comes_every_few_seconds_however_fast_the_steps_are(capsys):
    for seconds in (0.01, 0.7, 30.0):
        clock = Clock()
        train(clock, StepLines(None, None, clock), round(60 / seconds), seconds)
        count = len(capsys.readouterr().out.splitlines())
        assert count == pytest.approx(min(60 / seconds, 60 / max(5.0, seconds)), abs=2)


def test_a_line_comes_while_nothing_is_reported(capsys):
    """Before the first step, and in a validation that takes minutes."""
    clock = Clock()
    lines = StepLines(100, None, clock)
    for reported in (False, True):
        if reported:
            lines.update(50, 0.5)
        for _ in range(60):
            clock.now += 1
            lines.print_if_due()
    shown = capsys.readouterr().out.splitlines()
    assert 22 <= len(shown) <= 26 and shown[0] == "loading libraries, 5 s so far"
    assert shown[-1].startswith("step 50 of 100, ")


def test_a_line_says_how_far_how_fast_and_how_long(capsys):
    clock = Clock()
    lines = StepLines(5000, None, clock)
    lines.resume_at(1000)
    train(clock, lines, 250, 0.25, first=1000)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"step 1,2\d\d of 5,000, loss 0\.01235, 4\.0 steps/s, 16 min left", last)


def test_the_first_of_both_ends_counts():
    clock = Clock()
    lines = StepLines(1000, 2.0, clock)
    clock.now = 60.0
    assert lines.format(10, 0.5).endswith("6.0 s/step, 60 s left".replace("60 s", "1 min"))
    assert lines.format(990, 0.5).endswith("16.5 steps/s, 1 s left")
    assert "left" not in StepLines(None, None, clock).format(10, 0.5)


def test_a_validation_names_its_figures(capsys):
    StepLines(None, None).report_validation(1200, {"loss": 1.0, "colour": 0.03125, "radius": 2.0})
    assert capsys.readouterr().out == "validation at step 1,200: colour 0.03125, radius 2\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (119, "2 min"), (3600, "1 h 00 min"), (5000, "1 h 23 min")]
)
def test_durations_are_legible(seconds, text):
    assert format_duration(seconds) == text
