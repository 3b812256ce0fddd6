"""Learn by how much the landmark network misplaces its points on turned faces.

    python -m portrait360.training.linear_models.turned_landmarks -o FILE [--people 60] [--views 4]

Points of the jaw, the chin and the wings of the nose follow the outline that is seen, and not the skin, as a face
turns: a fit that believes them makes a wide chin, and one that is pulled aside. The network runs on rendered people
whose skin is known; both sides of a face are learnt as one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.avatar.skin.scan_model import load_scan_model, turn_terms
from portrait360.pipeline.portrait.face_detection import find_landmarks
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.build import build
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.training.linear_models.face_model import SKIN_POINTS
from portrait360.training.linear_models.pose_samples import FOCAL, SIDE, face_from_landmarks
from portrait360.training.linear_models.scan_fit import sample_scanned_person
from portrait360.utils.array_types import F64, Floats

FIRST = 40_000  # first number of a person: others than those of `scan_fit`
MOST_TURNED, TILT = 52.0, (2.0, 6.0)  # largest azimuth, mean and spread of the elevation, degrees
RIDGE = 1.0  # resistance of the terms, against 1 a view
FAR = 0.06  # canonical: a point further off is a mistake


def measure_drifts(seed: int, views: int) -> Iterator[tuple[float, F64]]:
    """Yield azimuths, and how far from their skin (468, 2) the network sees the points of a person; NaN: lost."""
    rng = np.random.default_rng([seed, 79])
    person = sample_scanned_person(seed, rng)
    scene = build(person)
    head, body = prepare_scene(scene, occlusion=False), make_head(person).base
    skin = load_scan_model().rows @ body[: len(load_morphable().skin.mean)]
    for _ in range(views):
        azimuth = float(rng.uniform(-MOST_TURNED, MOST_TURNED))
        camera = Camera(look_at(azimuth, rng.normal(*TILT)), FOCAL)
        view = render(head, camera, SIDE)
        picture = composite_over(view.rgb, view.alpha, random_background(rng, SIDE)).astype(np.float32)
        marks = find_landmarks(picture, face_from_landmarks(scene, camera), passes=3)
        if marks.presence > 0.5:
            yield azimuth, compare_points(marks.points[:SKIN_POINTS, :2] / SIDE, camera.project(skin)[0])


def compare_points(found: Floats, true: Floats) -> F64:
    """Return by how much points (n, 2) are off, canonical units, but for a common move and scale; NaN: a mistake."""
    weight = load_scan_model().weights[:, None]
    found, true = (points - (weight * points).sum(0) / weight.sum() for points in (found, true))
    scale = (weight * found * true).sum() / (weight * true * true).sum()
    drift = (found / scale - true) * RADIUS / FOCAL
    return np.where(np.linalg.norm(drift, axis=1, keepdims=True) < FAR, drift, np.nan)


def fit_drifts(azimuths: Floats, drifts: Floats) -> F64:
    """Return the drift (468, 2) per term of a turn (4), which is alike on both sides of a face."""
    points = load_morphable().landmarks.mean
    twin = KDTree(points).query(points * [-1, 1, 1])[1]
    both = np.concatenate([drifts, drifts[:, twin] * [-1, 1]])
    terms = turn_terms(np.concatenate([azimuths, -azimuths]))
    design = np.concatenate([np.ones((len(terms), 1)), terms], 1)  # from the front, points lie where they are learnt
    known = np.asarray(np.isfinite(both).all(-1), np.bool_)
    out = np.zeros((len(points), 2, terms.shape[1]))
    for i in range(len(points)):
        rows, wanted = design[known[:, i]], both[known[:, i], i]
        ridge = RIDGE * np.diag(np.r_[0.0, np.ones(terms.shape[1])])
        out[i] = np.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted)[1:].T
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn how landmarks drift on turned faces.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--views", type=int, default=4)
    args = parser.parse_args()
    found = [sample for i in range(args.people) for sample in measure_drifts(FIRST + i, args.views)]
    azimuths, drifts = (np.array(values) for values in zip(*found, strict=True))
    np.savez_compressed(args.output, drift=fit_drifts(azimuths, drifts).astype(np.float32))
    print(f"{args.output}: {len(found)} views, {args.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
