"""How long a run will still take: what stages usually take, in proportion to what this machine took so far."""

from __future__ import annotations

import time
from dataclasses import replace

from portrait360.progress import Event, Tell
from portrait360.wish import Wish

# seconds on two cores of an AMD EPYC
PORTRAIT, PROXY, BACK, VIEW, FILES = 1.3, 3.6, 0.2, 0.06, 11.0
DENOISED = 1.0  # a view by the small network
FIT = {"field": 62.0, "splats": 42.0, "mesh": 20.0}
QUICK = 0.56  # of them
REFINE = 160.0  # besides another fit
SURE = 5.0  # seconds of a stage after which its own speed counts


class TimeLeft:
    """Hands events on, with the seconds that are left in each."""

    def __init__(self, wish: Wish, tell: Tell) -> None:
        self.tell = tell
        fit = sum(FIT[name] for name in {"field", *wish.results}) * (QUICK if wish.quick else 1)
        views = wish.views * (DENOISED if wish.denoised else VIEW) * (wish.pixels / 256) ** 2
        more = (len(wish.references) + (wish.back is not None)) * PORTRAIT
        self.usual = {"portrait": PORTRAIT, "references": more, "proxy": PROXY, "back": BACK, "views": views}
        self.usual |= {"fit": fit, "files": FILES} if wish.fit else {"files": 2.0}
        self.usual |= {"refine": REFINE + fit} if wish.refine else {}
        self.parts = [name for name in FIT if name in {"field", *wish.results}]
        self.took, self.should, self.begun = 0.0, 0.0, time.monotonic()

    def __call__(self, event: Event) -> None:
        usual = self.usual.get(event.stage, 0.0)
        if event.state == "begin":
            self.begun = time.monotonic()
        left = self._left(event, usual)
        if event.state in ("done", "kept"):
            self.usual.pop(event.stage, None)
        if event.state == "done":
            self.took, self.should = self.took + (event.seconds or 0), self.should + usual
        self.tell(event if event.state == "note" else replace(event, left=round(left, 1)))

    def _left(self, event: Event, usual: float) -> float:
        pace = self.took / self.should if self.should > 3 else 1.0
        rest = sum(seconds for stage, seconds in self.usual.items() if stage != event.stage) * pace
        if event.state in ("done", "kept"):
            return rest
        share, spent = self._share(event), time.monotonic() - self.begun
        if share > 0.02 and spent > SURE:
            return rest + spent * (1 - share) / share
        return rest + max(usual * pace - spent, 0)

    def _share(self, event: Event) -> float:
        """Of the stage, that is done."""
        within = event.done / max(event.of, 1)
        if event.stage != "fit" or event.what not in self.parts:
            return within
        at = self.parts.index(event.what)
        before = sum(FIT[name] for name in self.parts[:at])
        return (before + within * FIT[event.what]) / sum(FIT[name] for name in self.parts)
