"""How long this machine takes for each stage, in shares of the usual seconds, as earlier runs measured it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited

MAX_BYTES = 1 << 16
SHARES = (0.02, 50.0)  # of the usual seconds that are plausible
NEWEST = 0.5  # weight of a new measurement
TRUSTED_SECONDS = 10.0  # of usual work that have to be measured to say as much of other stages as the usual speed
CACHE = "XDG_CACHE_HOME"


def costs_file() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache") / "portrait360" / "stage_costs.json"


def load_costs(path: Path) -> dict[str, float]:
    """Read the measured share of each stage; empty where there is no such file, or none that can be read."""
    try:
        costs = json.loads(read_limited(path, MAX_BYTES))
        return {str(stage): _limit(float(share)) for stage, share in costs.items() if math.isfinite(float(share))}
    except (UserError, OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def save_cost(path: Path, stage: str, share: float) -> None:
    """Record a measurement; where the file cannot be written, later estimates are only less precise."""
    costs = load_costs(path)
    costs[stage] = _limit((1 - NEWEST) * costs.get(stage, share) + NEWEST * share)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(costs))
    except (UserError, OSError):
        pass


def scale_costs(usual: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds that each stage is expected to take here.

    An unmeasured stage is as slow as the others, if these are enough to tell.
    """
    measured = [stage for stage in usual if stage in costs]
    taken, weight = sum(usual[stage] * costs[stage] for stage in measured), sum(usual[stage] for stage in measured)
    mean = (taken + TRUSTED_SECONDS) / (weight + TRUSTED_SECONDS)
    return {stage: seconds * costs.get(stage, mean) for stage, seconds in usual.items()}


def _limit(share: float) -> float:
    return min(max(share, SHARES[0]), SHARES[1])
