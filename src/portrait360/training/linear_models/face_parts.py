"""Extend the face model over eyes, lashes, teeth and tongue, so that its coefficients give a whole head.

    python -m portrait360.training.linear_models.face_parts -o FILE

The people are those that the face model was made of, with the weights that their skin has in its modes. Nothing of
the face model changes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portrait360.pipeline.portrait.face_fitting import LinearPoints
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.head_pack import load_pack
from portrait360.training.linear_models.face_model import find_scores, move_heads, sample_heads
from portrait360.utils.array_types import Floats

TOLERANCE = 1e-3  # of a mode's largest offset: the packaged model is kept in half precision


@dataclass(frozen=True, eq=False)
class Extension:
    parts: LinearPoints  # the vertices after the body
    disagreement: float  # of the skin with the packaged face model, as a share of a mode's largest offset


def extend(people: int, skin: LinearPoints) -> Extension:
    """Project all vertices of the sampled people on the weights that their skin has in the model's modes."""
    body, offsets, expression = load_pack().body, sample_heads(people), move_heads()
    mean = offsets.mean(0)
    offsets -= mean
    shape = np.tensordot(find_scores(offsets[:, :body]).T, offsets, 1) / people
    shape *= np.sign((shape[:, :body] * skin.shape).sum((1, 2)))[:, None, None]  # the sign of a mode is arbitrary
    pairs = (
        (mean[None, :body], skin.mean[None]),
        (shape[:, :body], skin.shape),
        (expression[:, :body], skin.expression),
    )
    disagreement = max(_compare(ours, theirs) for ours, theirs in pairs)
    return Extension(LinearPoints(mean[body:], shape[:, body:], expression[:, body:]), disagreement)


def _compare(ours: Floats, theirs: Floats) -> float:
    """Return the largest difference of any mode (k, n, 3) as a share of its largest offset."""
    size = np.abs(theirs).max((1, 2))
    return float((np.abs(ours - theirs).max((1, 2)) / np.maximum(size, 1e-6)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description="Extend the face model over eyes, lashes, teeth and tongue.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=1200)
    args = parser.parse_args()
    extension = extend(args.people, load_morphable().skin)
    print(f"the skin differs from the packaged face model by {extension.disagreement:.1e} of a mode's size")
    if extension.disagreement > TOLERANCE:
        raise SystemExit(
            f"The skin differs by more than {TOLERANCE}, so the packaged face model was made of other people; "
            "make it anew with `python -m portrait360.training.linear_models.face_model`."
        )
    parts = extension.parts
    np.savez_compressed(
        args.output,
        mean=parts.mean.astype(np.float32),
        shape=parts.shape.astype(np.float16),
        expression=parts.expression.astype(np.float16),
    )
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
