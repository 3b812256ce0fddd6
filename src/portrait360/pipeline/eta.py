"""Estimates how long a run will still take: the usual seconds of each stage, scaled by the speed of this machine."""

from __future__ import annotations

import time
from dataclasses import replace

from portrait360.pipeline.options import MakeOptions
from portrait360.utils.progress import Event, EventHandler

# usual seconds of each stage on two cores of an AMD EPYC
PORTRAIT, PROXY, AVATAR, BACK, VIEW, FILES = 1.3, 12.0, 8.0, 0.2, 0.12, 11.0
DENOISED_VIEW = 1.0  # a view by the small network
FIT = {"field": 62.0, "splats": 42.0, "mesh": 20.0}
QUICK_FACTOR = 0.56  # a quick fit takes this share of FIT
REFINE = 160.0  # on top of a second fit
MIN_STAGE_SECONDS = 5.0  # a stage's own speed counts once it has run for this long


class EtaEstimator:
    """Forwards events to a handler, with the seconds left filled in."""

    def __init__(self, options: MakeOptions, on_event: EventHandler) -> None:
        self.on_event = on_event
        fit = sum(FIT[name] for name in {"field", *options.results}) * (QUICK_FACTOR if options.quick else 1)
        views = options.views * (DENOISED_VIEW if options.uses_denoiser else VIEW) * (options.pixels / 256) ** 2
        references = (len(options.references) + (options.back is not None)) * PORTRAIT
        self.usual_seconds_by_stage = {
            "portrait": PORTRAIT,
            "references": references,
            "proxy": PROXY,
            "avatar": AVATAR if options.proxy_method == "avatar" else 0.0,
            "back": BACK,
            "views": views,
        }
        self.usual_seconds_by_stage |= {"fit": fit, "files": FILES} if options.fit else {"files": 2.0}
        self.usual_seconds_by_stage |= {"refine": REFINE + fit} if options.refine else {}
        self.fit_parts = [name for name in FIT if name in {"field", *options.results}]
        # of the finished stages: the seconds that they took here, and the seconds that they usually take
        self.actual_seconds, self.usual_seconds = 0.0, 0.0
        self.stage_start = time.monotonic()

    def __call__(self, event: Event) -> None:
        usual = self.usual_seconds_by_stage.get(event.stage, 0.0)
        if event.state == "begin":
            self.stage_start = time.monotonic()
        left = self._seconds_left(event, usual)
        if event.state in ("done", "kept"):
            self.usual_seconds_by_stage.pop(event.stage, None)
        if event.state == "done":
            self.actual_seconds += event.seconds or 0
            self.usual_seconds += usual
        self.on_event(event if event.state == "warning" else replace(event, left=round(left, 1)))

    def _seconds_left(self, event: Event, usual: float) -> float:
        pace = self.actual_seconds / self.usual_seconds if self.usual_seconds > 3 else 1.0
        later_stages = (
            sum(seconds for stage, seconds in self.usual_seconds_by_stage.items() if stage != event.stage) * pace
        )
        if event.state in ("done", "kept"):
            return later_stages
        fraction, spent = self._stage_fraction(event), time.monotonic() - self.stage_start
        if fraction > 0.02 and spent > MIN_STAGE_SECONDS:
            return later_stages + spent * (1 - fraction) / fraction
        return later_stages + max(usual * pace - spent, 0)

    def _stage_fraction(self, event: Event) -> float:
        """Return how much of the stage is done, from 0 to 1."""
        within_part = event.done / max(event.of, 1)
        if event.stage != "fit" or event.what not in self.fit_parts:
            return within_part
        index = self.fit_parts.index(event.what)
        before = sum(FIT[name] for name in self.fit_parts[:index])
        return (before + within_part * FIT[event.what]) / sum(FIT[name] for name in self.fit_parts)
