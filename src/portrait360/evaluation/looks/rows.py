"""All rows of the looks of a head: of each, 0 is the best, and more is worse. NaN means that it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from portrait360.evaluation.looks.collar import measure_bare_chest, measure_torn_collar
from portrait360.evaluation.looks.colour_drift import REGIONS, measure_drift
from portrait360.evaluation.looks.detail import measure_blur, measure_hair_contrast, measure_wax
from portrait360.evaluation.looks.ears import measure_missing_ears
from portrait360.evaluation.looks.flecks import measure_flecks
from portrait360.evaluation.looks.grain import measure_corduroy
from portrait360.evaluation.looks.hair_behind import measure_lost_headwear, measure_skin_in_hair
from portrait360.evaluation.looks.islands import measure_islands
from portrait360.evaluation.looks.leakage import measure_leakage
from portrait360.evaluation.looks.light_balance import measure_imbalance
from portrait360.evaluation.looks.likeness import measure_faces_behind, measure_stranger, measure_unlike
from portrait360.evaluation.looks.score import load_model
from portrait360.evaluation.looks.seam import measure_seam_energy
from portrait360.evaluation.looks.sheet import Sheet
from portrait360.evaluation.looks.unnatural import measure_unnaturalness

SCORE = "looks"
ROWS: dict[str, Callable[[Sheet], float]] = {
    "ears missing": measure_missing_ears,
    "skin in hair behind": measure_skin_in_hair,
    "headwear lost": measure_lost_headwear,
    "bare chest": measure_bare_chest,
    "collar torn": measure_torn_collar,
    **{f"{region} drift": partial(measure_drift, region=region) for region in REGIONS},
    "seam energy": measure_seam_energy,
    "islands": measure_islands,
    "corduroy": measure_corduroy,
    "hair contrast": measure_hair_contrast,
    "blur": measure_blur,
    "wax": measure_wax,
    "background leakage": measure_leakage,
    "light imbalance": measure_imbalance,
    "flecks": measure_flecks,
    "stranger": measure_stranger,
    "unlike": measure_unlike,
    "faces behind": measure_faces_behind,
    "unnatural": measure_unnaturalness,
}


def measure_rows(sheet: Sheet) -> dict[str, float]:
    return {name: measure(sheet) for name, measure in ROWS.items()}


def measure_looks(sheet: Sheet) -> dict[str, float]:
    """Return all rows after the score that judges would give for them, by the name SCORE."""
    rows = measure_rows(sheet)
    return {SCORE: load_model().score(rows), **rows}
