"""What a face does over time: weights of the expression units and turns of the head, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import savgol_filter

from portrait360.synth.head_pack import load_pack
from portrait360.utils.array_types import F64, Floats

USUAL_RATE = 30.0
MOST_SECONDS = 600.0
WINDOWS = {"neck": 0.3, "eyes": 0.12, "rest": 0.2}  # seconds over which a quadratic smooths


@dataclass(frozen=True, eq=False)
class Performance:
    """Frames at a constant rate."""

    rate: float  # frames a second
    weights: F64  # (n, 52) in the order of `unit_names`
    neck: F64  # (n, 3) degrees: to its left, up, to its left shoulder
    notes: tuple[str, ...] = ()  # what the user should know of the source
    sound: Path | None = None  # the file whose sound goes with it
    own: F64 | None = None  # (n, 52) how far the photo's own expression shows beside it; None: not at all

    def __len__(self) -> int:
        return len(self.weights)

    def on(self, photo: Floats) -> F64:
        """Return the weights (n, 52) on a head whose photo has these weights (52,)."""
        return self.weights if self.own is None else np.clip(self.weights + self.own * photo, 0, 1)

    @property
    def seconds(self) -> float:
        return len(self) / self.rate


def unit_names() -> tuple[str, ...]:
    """Return the names of the 52 units."""
    return load_pack().units


def resample(times: Floats, values: Floats, rate: float) -> F64:
    """Return values (n, k) at times (n,), which need not be evenly spaced, at a constant rate from the first on."""
    count = max(round((float(times[-1] - times[0])) * rate) + 1, 1)
    wanted = times[0] + np.arange(count) / rate
    return np.stack([np.interp(wanted, times, column) for column in np.asarray(values, np.float64).T], 1)


def smooth(weights: F64, neck: F64, rate: float) -> tuple[F64, F64]:
    """Return weights and turns without jitter; blinks, which are short, are smoothed least."""
    eyes = np.array([name.startswith("eye") for name in unit_names()])
    out = weights.copy()
    out[:, eyes] = _smooth(weights[:, eyes], WINDOWS["eyes"], rate)
    out[:, ~eyes] = _smooth(weights[:, ~eyes], WINDOWS["rest"], rate)
    return np.clip(out, 0, 1), _smooth(neck, WINDOWS["neck"], rate)


def _smooth(values: F64, seconds: float, rate: float) -> F64:
    width = 2 * (round(seconds * rate) // 2) + 1
    width = min(width, len(values) - 1 + len(values) % 2)
    if width < 5:
        return values
    return np.asarray(savgol_filter(values, width, 2, axis=0, mode="nearest"), np.float64)
