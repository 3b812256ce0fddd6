"""The time left that a run shows, over simulated stages on machines of any speed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.pipeline import eta
from portrait360.pipeline.eta import EtaEstimator, usual_seconds
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.stage_costs import load_costs, save_cost
from portrait360.utils.progress import Event

STEPS = {
    "proxy": 10,
    "views": 32,
    "splats": 20,
    "avatar": 2,
    "files": 6,
}  # of stages that report any; a fit has steps in parts
LOOK = MakeOptions()
FITTED = MakeOptions(results=("field", "splats", "mesh"))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def simulate(options, slowdown, *, from_avatar=True, costs=None, compiles=False):
    """Return the seconds left that were shown, and those that were true at these times."""
    shown = run_stages(options, slowdown, from_avatar=from_avatar, costs=costs, compiles=compiles)
    known = [(event.left, left) for event, left in shown if event.left is not None]
    assert len(known) > len(shown) / 3
    return np.array(known)


def run_stages(options, slowdown, *, from_avatar=True, costs=None, compiles=False, pause=0.0):
    """Run all stages, each as many times slower than usual as `slowdown` says; a fit after a pause of some seconds.

    Returns the events, and the seconds that were truly left at each.
    """
    clock, shown = Clock(), []
    record = lambda event: shown.append((clock.now, event))  # noqa: E731
    estimator = EtaEstimator(options, record, costs, clock, compiles=compiles)
    for stage, seconds in usual_seconds(options, from_avatar=from_avatar, compiles=compiles).items():
        taken = seconds * slowdown[stage]
        estimator(Event(stage, "begin"))
        clock.now += pause * (stage == "fit")
        start = clock.now
        for what, done, of, share in steps_of(stage, estimator):
            clock.now = start + share * taken
            estimator(Event(stage, "step", what, done, of))
        clock.now = start + taken
        estimator(Event(stage, "done", seconds=taken))
        if stage == "portrait":
            estimator.plan(from_avatar=from_avatar)
    return [(event, clock.now - now) for now, event in shown]


def steps_of(stage, estimator):
    if stage != "fit":
        count = STEPS.get(stage, 0)
        return [("view", i, count, i / count) for i in range(1, count)]
    parts, total = estimator.fit_parts, sum(eta.FIT[name] for name in estimator.fit_parts)
    before = np.cumsum([0, *(eta.FIT[name] for name in parts)])
    return [
        (name, i, 50, (before[k] + eta.FIT[name] * i / 50) / total) for k, name in enumerate(parts) for i in range(51)
    ]


def draw_slowdown(seed, machine, noise):
    rng = np.random.default_rng(seed)
    stages = {*usual_seconds(FITTED, from_avatar=True), "refine", "references"}
    return {stage: machine * float(np.exp(rng.uniform(-noise, noise))) for stage in sorted(stages)}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    machine=st.floats(0.2, 6.0),
    case=st.sampled_from([(LOOK, True), (LOOK, False), (FITTED, True), (MakeOptions(results=("mesh",)), True)]),
)
def test_what_is_shown_never_rises_by_more_than_a_tenth_and_ends_at_nothing(seed, machine, case):
    options, from_avatar = case
    shown = run_stages(options, draw_slowdown(seed, machine, np.log(2)), from_avatar=from_avatar)
    rises_only_after_late([event for event, _ in shown])
    assert shown[-1][0].left == 0 and shown[-1][1] == 0


def rises_only_after_late(events):
    """A time that proved far too low is taken back before a higher one is shown."""
    lowest = np.inf
    for event in events:
        assert not (event.late and event.left is not None)
        if event.late:
            lowest = np.inf
        elif event.left is not None:
            assert event.left <= 1.1 * lowest + 0.1
            lowest = min(lowest, event.left)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), machine=st.floats(0.2, 6.0), case=st.sampled_from([(LOOK, True), (FITTED, True)]))
def test_a_second_is_never_shown_where_forty_are_left(seed, machine, case):
    """On a machine of unknown speed, whose stages differ from the usual ones by up to a factor of two each way."""
    options, from_avatar = case
    left, true = simulate(options, draw_slowdown(seed, machine, np.log(2)), from_avatar=from_avatar).T
    assert (left[true > 5] > true[true > 5] / 8).all()
    assert (left[true > 40] > 5).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), load=st.floats(4.0, 30.0))
def test_on_a_machine_that_others_keep_busy_the_first_stage_tells_how_slow_the_next_will_be(seed, load):
    """What is shown can hardly rise, so it must not begin far too low."""
    slowdown = draw_slowdown(seed, load, np.log(1.3))
    left, true = simulate(LOOK, slowdown).T
    assert (left >= true / 2.5).all() and left[0] < 2 * true[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), machine=st.floats(0.2, 6.0))
def test_with_the_costs_of_earlier_runs_the_estimate_is_close_from_the_start(seed, machine, tmp_path_factory):
    costs, slowdown = tmp_path_factory.mktemp("costs") / "costs.json", draw_slowdown(seed, machine, np.log(2))
    first = simulate(LOOK, slowdown, costs=costs)
    assert (first == simulate(LOOK, slowdown)).all()  # what a run measures is for the runs after it
    again = {stage: value * (1.2 if len(stage) % 2 else 0.85) for stage, value in slowdown.items()}
    left, true = simulate(LOOK, again, costs=costs).T
    assert np.allclose(left[true > 3], true[true > 3], rtol=0.37)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    machine=st.floats(0.2, 6.0),
    start=st.floats(1.0, 2.5),
    case=st.sampled_from([LOOK, FITTED]),
)
def test_a_measured_machine_is_told_from_a_slow_start(seed, machine, start, case, tmp_path_factory):
    """The first stage reads libraries and networks, from a disk that may be cold: the rest is as fast as ever."""
    costs, slowdown = tmp_path_factory.mktemp("costs") / "costs.json", draw_slowdown(seed, machine, np.log(2))
    for _ in range(2):
        simulate(case, slowdown, costs=costs)
    left, true = simulate(case, slowdown | {"portrait": start * slowdown["portrait"]}, costs=costs).T
    assert (left[true > 5] < 1.5 * true[true > 5]).all() and (left[true > 5] > true[true > 5] / 1.5).all()


@pytest.mark.parametrize(("speed", "totals"), [("xeon", (48, 137)), ("epyc", (29, 74))])
def test_the_first_guess_on_the_machines_that_were_measured_is_about_right(speed, totals):
    """Seconds after the portrait, without and with a fit, as docs/performance.md has them, and a first portrait."""
    for options, total in zip((LOOK, FITTED), totals, strict=True):
        usual = usual_seconds(options, from_avatar=True)
        scale = total / sum(seconds for stage, seconds in usual.items() if stage != "portrait")
        slowdown = dict.fromkeys(usual, scale) | {"portrait": {"xeon": 1.5, "epyc": 0.9}[speed]}
        left, true = simulate(options, slowdown).T
        assert true[0] / 1.5 < left[0] < 1.5 * true[0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), machine=st.floats(0.3, 6.0))
def test_a_first_run_counts_what_it_compiles_and_later_ones_do_not(seed, machine, tmp_path_factory):
    """What is left moves on within each long stage, and is about right before anything has been compiled."""
    costs, slowdown = tmp_path_factory.mktemp("costs") / "costs.json", draw_slowdown(seed, machine, np.log(1.2))
    left, true = simulate(LOOK, slowdown, costs=costs, compiles=True).T
    assert (left[1:] <= 1.1 * np.minimum.accumulate(left)[:-1] + 0.1).all() and left[-1] == 0
    longest = np.max(np.diff(-true)[left[1:] == left[:-1]], initial=0)  # seconds in which it stood still
    assert longest < 0.2 * true[0]
    assert np.allclose(simulate(LOOK, slowdown, compiles=False, costs=costs)[0, 0], true_total(slowdown), rtol=0.3)


def true_total(slowdown):
    """Seconds from the end of the portrait to that of a run that compiles nothing."""
    usual = usual_seconds(LOOK, from_avatar=True)
    return sum(seconds * slowdown[stage] for stage, seconds in usual.items() if stage != "portrait")


def test_nothing_is_shown_before_the_networks_of_a_published_preset_have_shown_their_speed(monkeypatch):
    monkeypatch.setattr(eta, "find_unknown_stages", lambda options: {"views"})
    left, true = simulate(LOOK, draw_slowdown(1, 1, 0) | {"views": 200.0}).T
    assert np.allclose(left[true > 20], true[true > 20], rtol=0.1)


@pytest.mark.parametrize("text", ["", "[1]", '{"fit": "x"}', '{"fit": NaN}', "{" * 9999, '{"fit": 1e999}', "\xff"])
def test_a_damaged_file_of_costs_is_none(tmp_path, text):
    path = tmp_path / "costs.json"
    path.write_text(text)
    assert load_costs(path) == {}
    save_cost(path, "fit", 2.0)
    assert json.loads(path.read_text()) == {"fit": 2.0}


def test_costs_that_cannot_be_written_stop_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    save_cost(tmp_path / "file" / "costs.json", "fit", 2.0)
    assert load_costs(tmp_path / "file" / "costs.json") == {}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), slowdown=st.floats(2.0, 30.0), pause=st.floats(0.0, 20.0))
def test_a_fit_that_proves_slow_is_late_only_until_its_steps_are_timed(seed, slowdown, pause):
    """Another program has started: the steps that come show how long it takes, and this never rises."""
    stages = draw_slowdown(seed, 1, np.log(1.2))
    shown = run_stages(FITTED, stages | {"fit": slowdown}, pause=pause)
    rises_only_after_late([event for event, _ in shown])
    field = [(event, true) for event, true in shown if event.what == "field"]
    late = [i for i, (event, _) in enumerate(field) if event.late]
    if late:
        timed = field[late[0] + 2 + max(eta.TIMED_STEPS, int(eta.KNOWN_FRACTION * 150)) :]
        assert timed and not any(event.late for event, _ in timed)
        assert all(0.8 * true < event.left < 1.25 * true for event, true in timed)
    assert slowdown < 4 or late[0] < 20


def test_a_time_left_that_proved_wrong_does_not_stand_still():
    """It may hardly rise, so that the run is said to take longer than expected."""
    slowdown = {**draw_slowdown(0, 1, 0), "fit": 12}  # another program has started
    shown = run_stages(FITTED, slowdown)
    middle = [(event, true) for event, true in shown if event.what == "field" and 15 < event.done < 40]
    assert middle and all(event.late or event.left > 0.4 * true for event, true in middle)
    assert any(event.late for event, _ in shown) and not shown[-1][0].late
