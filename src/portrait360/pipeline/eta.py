"""Estimates how long a run will still take: the seconds that each stage takes here, weighted by what is still to do.

The estimate is made when something happens, never by a clock that runs down: a stage that takes longer than expected
does not end at "1 s left". What is shown never rises by more than a tenth, unless it proved far too low: then the run
is said to be late until the stage's own steps, timed anew, say how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from portrait360.models.presets import PRESETS
from portrait360.pipeline.options import FITTED_RESULTS, MakeOptions
from portrait360.pipeline.stage_costs import load_costs, save_cost, scale_costs
from portrait360.utils.progress import REMARKS, Event, EventHandler

# usual seconds of each stage on two cores: between those of an AMD EPYC and an Intel Xeon (docs/performance.md)
PORTRAIT, PROXY, AVATAR, SPLATS, PAGE, BACK, VIEW, FILM, FILES = 2.0, 11.5, 6.5, 8.5, 1.8, 0.3, 0.12, 4.6, 7.0
DENOISED_VIEW = 1.0  # a view by the small network
# seconds more in the first run after an installation, which reads libraries from the disk and compiles kernels
COMPILING = {"portrait": 1.5, "proxy": 22.0, "avatar": 3.0, "splats": 3.0, "film": 1.0}
FIT = {"field": 39.0, "splats": 24.0, "mesh": 12.0}
QUICK_FACTOR = 0.56  # a quick fit takes this share of FIT
REFINE = 160.0  # on top of a second fit
MEASURABLE = 0.5  # usual seconds from which a stage says something of this machine
# seconds of usual work that have to be done for this run's own pace to count as much as the costs; that a machine is
# slow is believed sooner, since what is shown may fall quickly but hardly rises
TRUSTED_SECONDS, SLOW_SECONDS = 5.0, 0.5
MEASURED_SHARE = 0.35  # of the whole run, the same where earlier runs have measured it: slow starts are of disks
MOSTLY = 0.5  # of a run's usual seconds, from which its machine counts as measured
MOST_SLOWDOWN = 40.0  # of a stage that counts for the others
MOST_RISE = 1.1
LATE = 1.6  # times the least seconds shown from which an estimate says that these were wrong
KNOWN_FRACTION = 0.05  # of a stage whose costs are unknown or wrong, after which its steps say how long it takes
# of a stage that proved too slow, in which its pace is measured at least; many steps are enough whatever their share
TIMED_SECONDS, TIMED_STEPS, MANY_STEPS = 5.0, 5, 20


def usual_seconds(options: MakeOptions, *, from_avatar: bool, compiles: bool = False) -> dict[str, float]:
    """Return the usual seconds of every stage of a run; `from_avatar` as in `MakeOptions.fits`.

    `compiles` says that no earlier run has compiled the kernels.
    """
    results, fits = options.chosen_results(from_avatar=from_avatar), options.fits(from_avatar=from_avatar)
    fit = sum(FIT[part] for part in fit_parts(options, from_avatar=from_avatar))
    fit *= QUICK_FACTOR if options.quick else 1
    has_splats, has_views = from_avatar and "splats" in results, options.makes_views(from_avatar=from_avatar)
    seconds = {
        "portrait": PORTRAIT,
        "references": len(options.references) * PORTRAIT,
        "proxy": PROXY,
        "avatar": AVATAR if "mesh" in results and options.proxy_method == "avatar" else 0.0,
        "splats": SPLATS if has_splats else 0.0,
        "page": PAGE if from_avatar and ("mesh" in results or has_splats) else 0.0,
        "back": PORTRAIT if options.back else BACK * has_views,
        "views": options.views * _view_seconds(options) * has_views,
        "film": FILM * (has_splats and has_views),
        "fit": fit if fits else 0.0,
        "refine": REFINE + fit if options.refine else 0.0,
        "files": FILES if fits and not from_avatar else 1.0 * has_views,
    }
    more = COMPILING if compiles else {}
    return {stage: usual + more.get(stage, 0.0) for stage, usual in seconds.items() if usual}


def _view_seconds(options: MakeOptions) -> float:
    return (DENOISED_VIEW if options.uses_denoiser else VIEW) * (options.pixels / 256) ** 2


def fit_parts(options: MakeOptions, *, from_avatar: bool) -> list[str]:
    """Return what is fitted, in its order."""
    results = options.chosen_results(from_avatar=from_avatar)
    return [name for name in FIT if name in (FITTED_RESULTS if from_avatar else {"field", *results})]


def cost_key(stage: str, options: MakeOptions) -> str:
    """Return what a stage's cost is recorded under: its networks and its device decide how long it takes."""
    preset, variant = PRESETS[options.preset], ""
    if stage in ("back", "views") and preset.steps:
        variant = preset.name
    elif stage == "views" and options.uses_denoiser:
        variant = "denoised"
    elif stage == "proxy" and options.proxy_method != "avatar":
        variant = options.proxy_method
    return "-".join(part for part in (stage, variant, options.device) if part)


def find_unknown_stages(options: MakeOptions) -> set[str]:
    """Return the stages whose usual seconds nobody has measured: those of published networks."""
    unknown = {"proxy"} if options.proxy_method == "gan" else set()
    preset = PRESETS[options.preset]
    return (
        unknown | ({"views"} if preset.steps else set()) | ({"back"} if preset.back and not options.back else set())
    )


@dataclass
class Timing:
    """The pace of a stage's steps, measured from a time at which a fraction of it was done."""

    start: float
    fraction: float
    least: float = 0.0  # seconds of the whole stage, as far as an earlier pace tells
    is_anew: bool = False  # since it proved too slow
    steps: int = 0

    def stage_seconds(self, now: float, fraction: float) -> float | None:
        """Return how long the whole stage takes at this pace; None where too little of it was seen."""
        seconds, done = now - self.start, fraction - self.fraction
        enough = MANY_STEPS if done < KNOWN_FRACTION else TIMED_STEPS
        return seconds / done if seconds >= TIMED_SECONDS and self.steps >= enough else None


class EtaEstimator:
    """Forwards events to a handler, with the seconds left filled in once it is known what the run will do."""

    def __init__(
        self,
        options: MakeOptions,
        on_event: EventHandler,
        costs: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        compiles: bool = False,
    ) -> None:
        self.options, self.on_event, self.costs, self.clock = options, on_event, costs, clock
        self.compiles = compiles
        self.earlier_costs = {} if costs is None else load_costs(costs)
        self.is_planned = False
        self._plan(from_avatar=options.proxy_method == "avatar" and PRESETS[options.preset].steps is None)
        self.finished: set[str] = set()
        self.actual_seconds = self.expected_seconds = 0.0  # of the finished stages
        self.stage_start, self.least_left = clock(), float("inf")
        self.timing: Timing | None = None  # of the present stage, since its first step or since it proved too slow
        self.is_late = False  # and its pace is not known yet

    def plan(self, *, from_avatar: bool) -> None:
        """Say whether files come straight from an avatar, which only the portrait shows; estimates begin here."""
        self._plan(from_avatar=from_avatar)
        self.is_planned = True

    def _plan(self, *, from_avatar: bool) -> None:
        self.usual = usual_seconds(self.options, from_avatar=from_avatar, compiles=self.compiles)
        keys = {stage: cost_key(stage, self.options) for stage in self.usual}
        measured = {stage: self.earlier_costs[key] for stage, key in keys.items() if key in self.earlier_costs}
        self.expected = scale_costs(self.usual, measured)
        known = sum(self.usual[stage] for stage in measured)
        self.is_measured = known > MOSTLY * sum(self.usual.values())
        self.unknown = find_unknown_stages(self.options) - set(measured)
        self.fit_parts = fit_parts(self.options, from_avatar=from_avatar)

    def __call__(self, event: Event) -> None:
        if event.state == "begin":
            self.stage_start, self.timing = self.clock(), None
        elif event.state in ("done", "kept"):
            self._finish(event)
        elif event.stage in self.unknown and (fraction := self._stage_fraction(event)) > KNOWN_FRACTION:
            self.expected[event.stage] = (self.clock() - self.stage_start) / fraction
        if event.state == "step":
            self.timing = self.timing or Timing(self.clock(), self._stage_fraction(event))
            self.timing.steps += 1
        if event.state in REMARKS or not self.is_planned or self._waits_for_unknown(event):
            self.on_event(event)
            return
        estimate, later = self._seconds_left(event)
        if self.is_late and self._seconds_of_steps(event) is not None:
            self.least_left = float("inf")
        was_late, allowed = self.is_late, MOST_RISE if self.is_late else LATE
        self.is_late = estimate > allowed * self.least_left
        if self.is_late:  # what was shown stands still where it may not rise
            if not was_late or self.timing is None:
                so_far = self._seconds_of_steps(event) or 0.0
                self.timing = Timing(self.clock(), self._stage_fraction(event), least=so_far, is_anew=True)
            self.on_event(replace(event, late=True))
            return
        left = min(estimate, MOST_RISE * self.least_left)
        self.least_left = min(self.least_left, left)
        later *= left / max(estimate, 1e-3)  # of what is shown
        self.on_event(replace(event, left=round(left, 1), later=round(later, 1)))

    def _waits_for_unknown(self, event: Event) -> bool:
        is_known = event.state == "step" and self._stage_fraction(event) > KNOWN_FRACTION
        return bool(self.unknown - self.finished - ({event.stage} if is_known else set()))

    def _finish(self, event: Event) -> None:
        """Count a finished stage, and remember what it cost here."""
        self.finished.add(event.stage)
        usual, expected = self.usual.get(event.stage, 0.0), self.expected.get(event.stage, 0.0)
        if event.state == "kept" or event.seconds is None or usual < MEASURABLE:
            return
        if event.stage not in self.unknown:
            self.actual_seconds += min(event.seconds, MOST_SLOWDOWN * expected)
            self.expected_seconds += expected
        if self.costs is not None:
            save_cost(self.costs, cost_key(event.stage, self.options), event.seconds / usual)

    def _seconds_left(self, event: Event) -> tuple[float, float]:
        """Return the seconds left of the run, and how many of them come after the stage that runs."""
        later = {stage: seconds for stage, seconds in self.expected.items() if stage not in self.finished}
        expected = later.pop(event.stage, 0.0)
        if event.state in ("done", "kept"):
            after = sum(later.values()) * self._pace()
            return after, after
        fraction, spent = self._stage_fraction(event), self.clock() - self.stage_start
        pace = self._pace(min(spent, MOST_SLOWDOWN * fraction * expected), fraction * expected)
        # the stage's own speed counts the more, the more of it is done
        total = (1 - fraction) * max(expected * pace, spent) + spent
        after = sum(later.values()) * pace
        timed, timing = self._seconds_of_steps(event), self.timing
        if timed is not None and timing and timing.is_anew:
            total = timed
        elif timing:  # the first steps may be the easy ones
            total = max(total, timed or timing.least)
        return after + (1 - fraction) * total, after

    def _seconds_of_steps(self, event: Event) -> float | None:
        """Return how long the whole stage takes at the pace of its steps; None before that is known."""
        if self.timing is None or event.state != "step":
            return None
        return self.timing.stage_seconds(self.clock(), self._stage_fraction(event))

    def _pace(self, actual: float = 0.0, expected: float = 0.0) -> float:
        """Return the seconds of this run for each expected one; `actual` and `expected` of the stage that runs."""
        actual, expected = self.actual_seconds + actual, self.expected_seconds + expected
        trusted = SLOW_SECONDS if actual > expected else TRUSTED_SECONDS
        trusted = max(trusted, MEASURED_SHARE * sum(self.expected.values())) if self.is_measured else trusted
        return (actual + trusted) / (expected + trusted)

    def _stage_fraction(self, event: Event) -> float:
        """Return how much of the stage is done, from 0 to 1."""
        within_part = min(max(event.done / max(event.of, 1), 0.0), 1.0)
        if event.stage != "fit" or event.what not in self.fit_parts:
            return within_part
        index = self.fit_parts.index(event.what)
        before = sum(FIT[name] for name in self.fit_parts[:index])
        return (before + within_part * FIT[event.what]) / sum(FIT[name] for name in self.fit_parts)
