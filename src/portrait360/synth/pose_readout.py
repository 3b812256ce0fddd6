"""Learning to read the pose (geometry/pose_readout.py) on synthetic people: ridge regression in closed form.

    python -m portrait360.synth.pose_readout -o FILE [--people 500] [--views 6]

It learns what the landmark fit is off by, so it stands on top of it. Every view is learnt with its mirror image.
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

from portrait360.geometry.morphable import Morphable, load_morphable, pose_terms
from portrait360.geometry.pose_readout import MODES, SHAPES, PoseReadout
from portrait360.synth.pose_views import KnownView, known_views

Floats = NDArray[np.floating]

FIRST = 500_000  # seeds far from those that anything else uses
SIGNAL = 3.0  # variance that the features explain, against that of what they cannot
FLOOR = 0.01  # of the features' mean spread: what never varies is not blown up
PARTS = 4  # of the people, to see how those are read who were not learnt from


@dataclass(frozen=True, eq=False)
class Views:
    """Views, each followed by its mirror image, stacked."""

    seeds: NDArray[np.intp]  # (n,)
    features: NDArray[np.float32]  # (n, FEATURES)
    terms: Floats  # (n, 6) of the fitted angles
    goal: Floats  # (n, 2 + MODES) what the fit's angles are off by; coefficients, NaN where there are none

    @classmethod
    def of(cls, found: list[tuple[int, KnownView]], mirror: Floats) -> Views:
        seeds = np.repeat([seed for seed, _ in found], 2)
        features = np.concatenate([view.features for _, view in found])
        sides = np.array([1, -1])
        fitted = np.array([(side * view.fitted[0], view.fitted[1]) for _, view in found for side in sides])
        off = [np.subtract(view.angles, view.fitted) * (side, 1) for _, view in found for side in sides]
        shape = [s for _, view in found for s in (view.shape[:MODES], (mirror @ view.shape)[:MODES])]
        return cls(seeds, features, pose_terms(*fitted.T), np.concatenate([off, shape], 1))

    def only(self, which: NDArray[np.bool_]) -> Views:
        return Views(self.seeds[which], self.features[which], self.terms[which], self.goal[which])


def mirror_of(model: Morphable) -> Floats:
    """(k, k): what becomes of shape coefficients in a mirror."""
    modes = model.skin.shape
    across = KDTree(model.skin.mean).query(model.skin.mean * [-1, 1, 1])[1]
    flat = (m.reshape(len(modes), -1).T for m in (modes, modes[:, across] * [-1, 1, 1]))
    return np.linalg.lstsq(*flat, rcond=None)[0]


def learnt(views: Views, mirror: Floats) -> PoseReadout:
    """Weights with a normal prior; people whose skin has no coefficients teach the angles alone."""
    mean, spread = views.features.mean(0), views.features.std(0)
    scale = (1 / (spread + FLOOR * views.features.std())).astype(np.float32)
    values = (views.features - mean) * scale
    strength = SIGNAL / float((values**2).sum(1).mean())
    gram = strength * (values @ values.T).astype(np.float64) + views.terms @ views.terms.T
    gram[np.diag_indices_from(gram)] += 1
    skin = ~np.isnan(views.goal[:, 2])
    whole, some = cho_factor(gram), cho_factor(gram[np.ix_(skin, skin)])
    dual = np.zeros_like(views.goal)
    dual[:, :2] = cho_solve(whole, views.goal[:, :2])
    dual[skin, 2:] = cho_solve(some, views.goal[skin, 2:])
    weight = strength * (values.T @ dual.astype(np.float32))
    return PoseReadout(mean, scale, weight, views.terms.T @ dual, mirror[:MODES, :MODES], np.ones(MODES))


def said(readout: PoseReadout, views: Views) -> Floats:
    """(n / 2, 2 + MODES): what is read from views with their mirror images."""
    out = ((views.features - readout.mean) * readout.scale) @ readout.weight + views.terms @ readout.terms
    one, other = out[::2], out[1::2]
    angles = (one[:, :2] + other[:, :2] * [-1, 1]) / 2
    return np.concatenate([angles, (one[:, 2:] + other[:, 2:] @ readout.mirror.T) / 2], 1)


def held_out(views: Views, mirror: Floats) -> Floats:
    """Errors (n / 2, 2 + MODES) on people who were not learnt from."""
    part = views.seeds // 2 % PARTS  # neighbours in pairs, so that no part has only one kind of seeds
    errors = np.zeros_like(views.goal[::2])
    for i in range(PARTS):
        asked = views.only(part == i)
        errors[part[::2] == i] = said(learnt(views.only(part != i), mirror), asked) - asked.goal[::2]
    return errors


def save(readout: PoseReadout, path: Path) -> None:
    tensors = {name: np.ascontiguousarray(getattr(readout, name), np.float16) for name in SHAPES}
    save_file(tensors, path)


def build(views: Views, mirror: Floats, path: Path) -> None:
    errors = held_out(views, mirror)
    spread = np.sqrt(np.nanmean(errors[:, 2:] ** 2, 0))
    save(replace(learnt(views, mirror), spread=spread), path)
    off = np.abs(errors[~np.isnan(errors[:, 2]), :2])
    (azimuth, elevation), most = np.median(off, 0), np.percentile(off, 95, 0)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB from {len(errors)} views; on held-out people, median / 95 %:")
    print(f"azimuth {azimuth:.2f} / {most[0]:.2f}, elevation {elevation:.2f} / {most[1]:.2f} degrees")


def _views_of(job: tuple[int, int]) -> list[tuple[int, KnownView]]:
    seed, count = job
    return [(seed, view) for view in known_views(seed, count, load_morphable())]


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to read where the camera stands.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    jobs = [(seed, arguments.views) for seed in range(FIRST, FIRST + arguments.people)]
    with get_context("spawn").Pool(arguments.processes) as pool:
        found = [view for some in pool.imap(_views_of, jobs, chunksize=4) for view in some]
    mirror = mirror_of(load_morphable())
    build(Views.of(found, mirror), mirror, arguments.output)


if __name__ == "__main__":
    main()
