"""Correct errors of single views in light, colour and position, by comparison with renderings of the fit itself.

Generated views differ in colour and wobble by a pixel; a fit that trusts them becomes fog. A few times during the
fit, each view is therefore compared with the fit's rendering at its camera and aligned to it as a whole: a gain and a
bias for each channel and a shift, by robust least squares. The mean over all views (or the photo) stays unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Floats

HUBER_DELTA = 0.05  # colour: the loss of larger errors is linear
PRIOR_WEIGHT = 0.02  # of gain 1 and bias 0, as a share of the pixels
AGREEMENT = (0.001, 0.015, 0.012)  # shift in image sides, gain, bias: smaller ones are gloss and noise, not errors
MAX_SHIFT = 0.02  # image sides: no view is shifted by more


@dataclass(frozen=True, eq=False)
class Correction:
    """view = gain * fit + bias, with a shifted principal point."""

    gain: Floats = field(default_factory=lambda: np.ones(3))
    bias: Floats = field(default_factory=lambda: np.zeros(3))
    shift: Floats = field(default_factory=lambda: np.zeros(2))  # image sides

    def then(self, other: Correction) -> Correction:
        """Combine this correction with the one that remains after it was applied."""
        return Correction(self.gain * other.gain, self.gain * other.bias + self.bias, self.shift + other.shift)

    def apply(self, view: View) -> View:
        """Remove the error that this correction describes."""
        x, y = np.asarray(view.camera.center) - np.clip(self.shift, -MAX_SHIFT, MAX_SHIFT)
        rgb = ((view.rgb - self.bias) / self.gain).clip(0, 1).astype(np.float32)
        return replace(view, rgb=rgb, camera=replace(view.camera, center=(float(x), float(y))))

    def label(self) -> list[list[float]]:
        return [values.tolist() for values in (self.gain, self.bias, self.shift)]

    @classmethod
    def from_label(cls, label: Sequence[Sequence[float]]) -> Correction:
        gain, bias, shift = (np.array(values, float) for values in label)
        if [len(v) for v in (gain, bias, shift)] != [3, 3, 2]:
            raise ValueError("a correction has three gains, three biases and two shifts")
        return cls(gain, bias, shift)


def correct_views(views: Sequence[View], corrections: Sequence[Correction]) -> tuple[View, ...]:
    return tuple(c.apply(view) for c, view in zip(corrections, views, strict=True))


def estimate_correction(view: View, rgb: Floats, alpha: Floats) -> Correction:
    """Estimate how a view differs from the fit's straight rgb (s, s, 3) and alpha (s, s) at its camera."""
    size = alpha.shape[0]
    target = cv2.resize(view.rgb, (size, size), interpolation=cv2.INTER_AREA)
    matte = cv2.resize(view.alpha, (size, size), interpolation=cv2.INTER_AREA)
    inside = cv2.erode(((alpha > 0.95) & (matte > 0.95)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inside.sum() < 50:
        return Correction()
    slopes = [np.gradient(rgb, axis=a)[inside] for a in (1, 0)]  # (n, 3) along x, along y
    source_colours, target_colours = rgb[inside], target[inside]
    count = len(source_colours)
    rows = np.zeros((3 * count, 8))  # shift x, shift y, gains, biases
    for c in range(3):
        part = slice(c * count, (c + 1) * count)
        rows[part, 0], rows[part, 1], rows[part, 2 + c], rows[part, 5 + c] = (
            slopes[0][:, c],
            slopes[1][:, c],
            source_colours[:, c],
            1,
        )
    edge = [np.gradient(alpha, axis=a).ravel() for a in (1, 0)]
    outline = np.zeros((alpha.size, 8))
    outline[:, 0], outline[:, 1] = edge
    rows = np.concatenate([rows, outline])
    targets = np.concatenate([target_colours.T.ravel(), (matte - alpha).ravel()])
    solution = _solve_robustly(rows, targets, count)
    return Correction(solution[2:5], solution[5:], solution[:2] / size)


def _solve_robustly(rows: Floats, targets: Floats, count: int) -> Floats:
    """Solve for shift, gains and biases (8,) by iteratively reweighted least squares with a prior."""
    solution = np.array([0.0, 0, 1, 1, 1, 0, 0, 0])
    prior = np.diag([0, 0, 1, 1, 1, 1, 1, 1]) * PRIOR_WEIGHT * count
    for _ in range(4):
        error = np.abs(rows @ solution - targets)
        weight = np.minimum(1, HUBER_DELTA / np.maximum(error, 1e-9))
        weighted = rows * weight[:, None]
        solution = np.linalg.solve(
            weighted.T @ rows + prior + 1e-6 * np.eye(8), weighted.T @ targets + prior @ [0, 0, 1, 1, 1, 0, 0, 0]
        )
    return solution


def corrections_agree(corrections: Sequence[Correction]) -> bool:
    """Return whether the views differ so little that correcting them would only add blur."""
    shift = float(np.sqrt(np.mean([c.shift**2 for c in corrections])))
    gain, bias = float(np.std([c.gain for c in corrections])), float(np.std([c.bias for c in corrections]))
    return shift < AGREEMENT[0] and gain < AGREEMENT[1] and bias < AGREEMENT[2]


def center_corrections(corrections: Sequence[Correction], fixed: int | None) -> list[Correction]:
    """Shift all corrections so that that of the view `fixed`, or else their mean, becomes the identity."""
    if fixed is None:
        gain = np.mean([c.gain for c in corrections], 0)
        bias, shift = np.mean([c.bias for c in corrections], 0), np.mean([c.shift for c in corrections], 0)
    else:
        gain, bias, shift = corrections[fixed].gain, corrections[fixed].bias, corrections[fixed].shift
    return [Correction(c.gain / gain, c.bias - c.gain / gain * bias, c.shift - shift) for c in corrections]
