"""Left and right halves of other brightness."""

from __future__ import annotations

import numpy as np

from portrait360.evaluation.looks.colour_drift import ENOUGH
from portrait360.evaluation.looks.sheet import SKIN, ReadView, Sheet
from portrait360.utils.portrait_labels import Label

REGIONS = ((Label.HAIR,), SKIN, (Label.CLOTHES,))


def measure_imbalance(sheet: Sheet) -> float:
    """Return the mean difference of lightness between both sides of hair, skin and clothes, beyond the photo's own:
    between opposite views, and between the halves of those from the front and from behind."""
    own = np.nanmean([*find_halves(sheet.photo), 0.0])
    differences = [d for view in sheet.views if view.turn in (0.0, 180.0) for d in find_halves(view)]
    for view in sheet.views:
        other = sheet.at(-view.azimuth)
        if other is not None and 0 < view.azimuth < 180:
            differences += [abs(find_lightness(view, *r) - find_lightness(other, *r)) for r in REGIONS]
    finite = np.array(differences)[np.isfinite(differences)]
    return max(float(finite.mean() - own), 0.0) if len(finite) else float("nan")


def find_halves(view: ReadView) -> list[float]:
    """List the difference of lightness between the left and the right half of each region; NaN where it is small."""
    left = np.arange(view.size)[None] < view.size / 2
    return [abs(find_lightness(view, *r, part=left) - find_lightness(view, *r, part=~left)) for r in REGIONS]


def find_lightness(view: ReadView, *labels: Label, part: np.ndarray | None = None) -> float:
    """Return the median lightness of the core of a region, or of a part of it."""
    core = view.core(*labels)
    core = core if part is None else core & part
    return float(np.median(view.lab[core][:, 0])) if core.mean() > ENOUGH / 2 else float("nan")
