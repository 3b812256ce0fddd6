"""Train the pose readout (`pipeline/portrait/pose_regression.py`) on synthetic people: closed-form ridge regression.

    python -m portrait360.training.linear_models.pose_regressor -o FILE [--people 500] [--views 6]

It predicts the errors of the landmark fit and so corrects it. Every view is used with its mirror image.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import KDTree

from portrait360.pipeline.portrait.morphable_model import Morphable, load_morphable, pose_terms
from portrait360.pipeline.portrait.pose_regression import MODES, SHAPES, PoseReadout
from portrait360.training.linear_models.pose_samples import KnownView, sample_views
from portrait360.utils.array_types import Floats

FIRST_SEED = 500_000  # these seeds are used by nothing else
SIGNAL = 3.0  # variance that the features explain, over the variance that they cannot explain
FLOOR = 0.01  # share of the features' overall spread, so that constant features are not amplified
PARTS = 4  # folds of the people for cross-validation


@dataclass(frozen=True, eq=False)
class Views:
    """Stacked views, each followed by its mirror image."""

    seeds: NDArray[np.intp]  # (n,)
    features: NDArray[np.float32]  # (n, FEATURES)
    terms: Floats  # (n, 6) quadratic terms of the fitted angles
    goal: Floats  # (n, 2 + MODES) errors of the fitted angles; shape coefficients, NaN where there are none

    @classmethod
    def stack(cls, samples: list[tuple[int, KnownView]], mirror: Floats) -> Views:
        seeds = np.repeat([seed for seed, _ in samples], 2)
        features = np.concatenate([view.features for _, view in samples])
        sides = np.array([1, -1])
        fitted = np.array([(side * view.fitted[0], view.fitted[1]) for _, view in samples for side in sides])
        errors = [np.subtract(view.angles, view.fitted) * (side, 1) for _, view in samples for side in sides]
        shape = [s for _, view in samples for s in (view.shape[:MODES], (mirror @ view.shape)[:MODES])]
        return cls(seeds, features, pose_terms(*fitted.T), np.concatenate([errors, shape], 1))

    def select(self, mask: NDArray[np.bool_]) -> Views:
        return Views(self.seeds[mask], self.features[mask], self.terms[mask], self.goal[mask])


def mirror_matrix(model: Morphable) -> Floats:
    """Return the matrix (k, k) that takes shape coefficients to those of the mirrored face."""
    modes = model.skin.shape
    opposite = KDTree(model.skin.mean).query(model.skin.mean * [-1, 1, 1])[1]
    flat = (m.reshape(len(modes), -1).T for m in (modes, modes[:, opposite] * [-1, 1, 1]))
    return np.linalg.lstsq(*flat, rcond=None)[0]


def fit_readout(views: Views, mirror: Floats) -> PoseReadout:
    """Fit the weights with a normal prior; people without shape coefficients contribute to the angles only."""
    mean, spread = views.features.mean(0), views.features.std(0)
    scale = (1 / (spread + FLOOR * views.features.std())).astype(np.float32)
    values = (views.features - mean) * scale
    strength = SIGNAL / float((values**2).sum(1).mean())
    gram = strength * (values @ values.T).astype(np.float64) + views.terms @ views.terms.T
    gram[np.diag_indices_from(gram)] += 1
    skin = ~np.isnan(views.goal[:, 2])
    factor, skin_factor = cho_factor(gram), cho_factor(gram[np.ix_(skin, skin)])
    dual = np.zeros_like(views.goal)
    dual[:, :2] = cho_solve(factor, views.goal[:, :2])
    dual[skin, 2:] = cho_solve(skin_factor, views.goal[skin, 2:])
    weight = strength * (values.T @ dual.astype(np.float32))
    return PoseReadout(mean, scale, weight, views.terms.T @ dual, mirror[:MODES, :MODES], np.ones(MODES))


def predict_views(readout: PoseReadout, views: Views) -> Floats:
    """Return predictions (n / 2, 2 + MODES), each the mean over a view and its mirror image."""
    out = ((views.features - readout.mean) * readout.scale) @ readout.weight + views.terms @ readout.terms
    plain, mirrored = out[::2], out[1::2]
    angles = (plain[:, :2] + mirrored[:, :2] * [-1, 1]) / 2
    return np.concatenate([angles, (plain[:, 2:] + mirrored[:, 2:] @ readout.mirror.T) / 2], 1)


def cross_validate(views: Views, mirror: Floats) -> Floats:
    """Return the errors (n / 2, 2 + MODES) on people who are not in the training data."""
    part = views.seeds // 2 % PARTS  # pairs of neighbouring seeds, so that every kind of head is in every fold
    errors = np.zeros_like(views.goal[::2])
    for i in range(PARTS):
        held_out = views.select(part == i)
        readout = fit_readout(views.select(part != i), mirror)
        errors[part[::2] == i] = predict_views(readout, held_out) - held_out.goal[::2]
    return errors


def save(readout: PoseReadout, path: Path) -> None:
    tensors = {name: np.ascontiguousarray(getattr(readout, name), np.float16) for name in SHAPES}
    save_file(tensors, path)


def build(views: Views, mirror: Floats, path: Path) -> None:
    errors = cross_validate(views, mirror)
    spread = np.sqrt(np.nanmean(errors[:, 2:] ** 2, 0))
    save(replace(fit_readout(views, mirror), spread=spread), path)
    angle_errors = np.abs(errors[~np.isnan(errors[:, 2]), :2])
    (azimuth, elevation), high = np.median(angle_errors, 0), np.percentile(angle_errors, 95, 0)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB from {len(errors)} views; on held-out people, median / 95 %:")
    print(f"azimuth {azimuth:.2f} / {high[0]:.2f}, elevation {elevation:.2f} / {high[1]:.2f} degrees")


def _sample_job(job: tuple[int, int]) -> list[tuple[int, KnownView]]:
    seed, count = job
    return [(seed, view) for view in sample_views(seed, count, load_morphable())]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the readout of a camera's pose.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    jobs = [(seed, args.views) for seed in range(FIRST_SEED, FIRST_SEED + args.people)]
    with get_context("spawn").Pool(args.processes) as pool:
        samples = [view for views in pool.imap(_sample_job, jobs, chunksize=4) for view in views]
    mirror = mirror_matrix(load_morphable())
    build(Views.stack(samples, mirror), mirror, args.output)


if __name__ == "__main__":
    main()
