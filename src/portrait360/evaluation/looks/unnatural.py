"""How far a head beside and behind is from whole heads: smears, bands, melted shapes that have no row of their own.

python -m portrait360.evaluation.looks.unnatural

writes the statistics of whole synthetic heads that views are compared with. Their features say what a head looks like
from there, not whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from portrait360.evaluation.feature_metrics import likenesses
from portrait360.evaluation.looks.likeness import find_embedding
from portrait360.evaluation.looks.sheet import FOCAL, SIZE, Sheet
from portrait360.evaluation.varied_heads import build_varied_head
from portrait360.geometry.cameras import Camera, azimuth_between, look_at
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.files import atomic_write
from portrait360.utils.images import over_grey

REFERENCE = Path(__file__).parent / "whole_heads.npz"
TURNS = (60.0, 90.0, 180.0)  # degrees to either side: from the front hardly anything is made up
PEOPLE, FIRST, STEP = 40, 7_600_019, 20  # seeds of the test split, and of no protocol
LEAST = 0.05  # deviation of a feature that hardly varies
USUAL = 0.5  # squared deviations: those of most whole heads lie between 0.7 and 1.2
NEAR = 1.0  # degree within which a view counts as one of these


@dataclass(frozen=True, eq=False)
class WholeHeads:
    mean: F64  # (turns, features)
    deviation: F64


def measure_unnaturalness(sheet: Sheet) -> float:
    """Return the mean squared distance of the views' features from those of whole heads, in deviations, less what the
    most usual head has; NaN without the embedding."""
    embedding, heads = find_embedding(likenesses()), load_whole_heads()
    chosen = [(view.rgb, i) for i, turn in enumerate(TURNS) for view in sheet.near(turn - NEAR, turn + NEAR)]
    if embedding is None or not chosen:
        return float("nan")
    features = embedding.describe([rgb for rgb, _ in chosen]).astype(np.float64)
    turns = [i for _, i in chosen]
    distances = ((features - heads.mean[turns]) / heads.deviation[turns]) ** 2
    return max(float(distances.mean()) - USUAL, 0.0)


@lru_cache(maxsize=1)
def load_whole_heads(path: Path = REFERENCE) -> WholeHeads:
    with np.load(path, allow_pickle=False) as data:
        return WholeHeads(data["mean"].astype(np.float64), data["deviation"].astype(np.float64))


def describe_person(seed: int) -> list[tuple[float, Floats]]:
    """Return the turn and the features of a whole head's views."""
    head = prepare_scene(build_varied_head(seed, "human"))
    azimuths = sorted({azimuth % 360 for turn in TURNS for azimuth in (turn, -turn)})
    seen = [render(head, Camera(look_at(azimuth), FOCAL), SIZE) for azimuth in azimuths]
    embedding = find_embedding(likenesses())
    assert embedding is not None
    features = embedding.describe([over_grey(view.rgb, view.alpha).astype(np.float32) for view in seen])
    return [(abs(float(azimuth_between(0, a))), vector) for a, vector in zip(azimuths, features, strict=True)]


def learn_whole_heads(people: int = PEOPLE) -> WholeHeads:
    found = [pair for i in range(people) for pair in describe_person(FIRST + STEP * i)]
    groups = [np.array([v for a, v in found if abs(a - turn) < NEAR], np.float64) for turn in TURNS]
    mean, deviation = (np.stack([f(group, axis=0) for group in groups]) for f in (np.mean, np.std))
    return WholeHeads(mean, np.maximum(deviation, LEAST))


if __name__ == "__main__":
    heads = learn_whole_heads()
    with atomic_write(REFERENCE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, mean=heads.mean.astype(np.float16), deviation=heads.deviation.astype(np.float16))
