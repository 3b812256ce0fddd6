"""What single views have wrong: light, colour, a shift in the picture. Found against pictures of the fit itself.

Generated views differ in colour and wobble by a pixel; a fit that takes them at their word becomes fog. So now and
then each view is compared with what the fit shows from its camera, and is brought to it as a whole: a gain and a bias
for each channel and a shift, by robust least squares. The mean over all views (or the photo) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.view_sheet import View

Floats = NDArray[np.floating]

ROBUST = 0.05  # colour: larger errors count by their size, not by its square
STIFF = 0.02  # share of the pixels: so much do gain 1 and bias 0 count
AGREEING = (0.001, 0.015, 0.012)  # shift in picture sides, gain, bias: less is gloss and chance, not a fault of views
FARTHEST = 0.02  # picture sides: no view is shifted by more


@dataclass(frozen=True, eq=False)
class Correction:
    """view = gain * fit + bias, seen through a lens whose centre is shifted."""

    gain: Floats = field(default_factory=lambda: np.ones(3))
    bias: Floats = field(default_factory=lambda: np.zeros(3))
    shift: Floats = field(default_factory=lambda: np.zeros(2))  # picture sides

    def then(self, other: Correction) -> Correction:
        """This one, and then what is still wrong with views it was applied to."""
        return Correction(self.gain * other.gain, self.gain * other.bias + self.bias, self.shift + other.shift)

    def apply(self, view: View) -> View:
        x, y = np.asarray(view.camera.center) - np.clip(self.shift, -FARTHEST, FARTHEST)
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


def corrected(views: Sequence[View], corrections: Sequence[Correction]) -> tuple[View, ...]:
    return tuple(c.apply(view) for c, view in zip(corrections, views, strict=True))


def compare(view: View, rgb: Floats, alpha: Floats) -> Correction:
    """How the view differs from the fit's straight rgb (s, s, 3) and alpha (s, s) at its camera."""
    size = alpha.shape[0]
    goal = cv2.resize(view.rgb, (size, size), interpolation=cv2.INTER_AREA)
    matte = cv2.resize(view.alpha, (size, size), interpolation=cv2.INTER_AREA)
    inside = cv2.erode(((alpha > 0.95) & (matte > 0.95)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inside.sum() < 50:
        return Correction()
    slopes = [np.gradient(rgb, axis=a)[inside] for a in (1, 0)]  # (n, 3) along x, along y
    own, aim = rgb[inside], goal[inside]
    count = len(own)
    rows = np.zeros((3 * count, 8))  # shift x, shift y, gains, biases
    for c in range(3):
        part = slice(c * count, (c + 1) * count)
        rows[part, 0], rows[part, 1], rows[part, 2 + c], rows[part, 5 + c] = (
            slopes[0][:, c],
            slopes[1][:, c],
            own[:, c],
            1,
        )
    edge = [np.gradient(alpha, axis=a).ravel() for a in (1, 0)]
    outline = np.zeros((alpha.size, 8))
    outline[:, 0], outline[:, 1] = edge
    rows = np.concatenate([rows, outline])
    goals = np.concatenate([aim.T.ravel(), (matte - alpha).ravel()])
    found = _robust(rows, goals, count)
    return Correction(found[2:5], found[5:], found[:2] / size)


def _robust(rows: Floats, goals: Floats, count: int) -> Floats:
    found = np.array([0.0, 0, 1, 1, 1, 0, 0, 0])
    prior = np.diag([0, 0, 1, 1, 1, 1, 1, 1]) * STIFF * count
    for _ in range(4):
        error = np.abs(rows @ found - goals)
        weight = np.minimum(1, ROBUST / np.maximum(error, 1e-9))
        weighted = rows * weight[:, None]
        found = np.linalg.solve(
            weighted.T @ rows + prior + 1e-6 * np.eye(8), weighted.T @ goals + prior @ [0, 0, 1, 1, 1, 0, 0, 0]
        )
    return found


def agreeing(corrections: Sequence[Correction]) -> bool:
    """Whether the views differ by so little that correcting them would only blur what is right."""
    shift = float(np.sqrt(np.mean([c.shift**2 for c in corrections])))
    gain, bias = float(np.std([c.gain for c in corrections])), float(np.std([c.bias for c in corrections]))
    return shift < AGREEING[0] and gain < AGREEING[1] and bias < AGREEING[2]


def centred(corrections: Sequence[Correction], fixed: int | None) -> list[Correction]:
    """So that one view, or else the mean of all, stays as it is."""
    if fixed is None:
        gain = np.mean([c.gain for c in corrections], 0)
        bias, shift = np.mean([c.bias for c in corrections], 0), np.mean([c.shift for c in corrections], 0)
    else:
        gain, bias, shift = corrections[fixed].gain, corrections[fixed].bias, corrections[fixed].shift
    return [Correction(c.gain / gain, c.bias - c.gain / gain * bias, c.shift - shift) for c in corrections]
