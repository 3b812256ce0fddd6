"""Learn from scans of real heads how the modes of the face model vary, and which modes it lacks.

    python -m portrait360.training.linear_models.scan_shapes DATA_DIR -o FILE [--extra 20]

DATA_DIR holds ICT-FaceKit (MIT): its `vertex_indices.json`, and its meshes as `ict_face_kit.npz`, with `neutral`
(n, 3), the offsets `identity` (100, n, 3) and `quads` (m, 4). Its identities are a principal component analysis of
light-stage scans with unit variance. All steps are linear, so that the covariance of the coefficients is exact, and
not an estimate from samples.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portrait360.synth.head.average_head import to_head_heights
from portrait360.synth.head_pack import load_pack, macro_weights
from portrait360.training.linear_models.scan_registration import (
    Registration,
    bend,
    fit_modes,
    load_modes,
    load_scans,
    register,
    smoothing,
)
from portrait360.utils.array_types import F64

EXTRA = 20
PRIOR = 3e-4  # of the coefficients, against squared head heights over the covered vertices
STIFFNESS = 0.3  # resistance of the extra modes to bending, against 1 a covered vertex
FACE = 0.8  # cover above which a vertex belongs to the face
PEOPLE, SEED = 200, 77  # random identities on which the reach is measured


@dataclass(frozen=True, eq=False)
class Statistics:
    mean: F64  # (c,)
    factor: F64  # (c, c)
    rest: F64  # (n, 3) the part of the scans' mean that the face model lacks
    extra: F64  # (e, n, 3) of unit variance


@dataclass(frozen=True)
class Reach:
    """Mean distances between scans of new identities and what each model makes of them, in % of the head's height."""

    alone: float  # the scans' mean
    known: float  # the face model: its own mean and modes
    extended: float  # the face model, what its mean lacks, and the extra modes


def learn(scans: Registration, count: int = EXTRA) -> tuple[Statistics, Reach]:
    """Learn mean and covariance of the coefficients, and the extra modes; measure the reach."""
    mean, known = load_modes()
    smooth, weight = smoothing(), scans.cover
    offset = scans.skin - smooth @ mean
    center, residual = _solve(_smooth(known), scans, offset[None])
    rest = bend(residual[0], weight, STIFFNESS)
    coefficients, residuals = _solve(_smooth(known), scans, scans.identity)
    bent = np.stack([bend(r, weight, STIFFNESS) for r in residuals])
    extra = _principal(bent, weight, count)
    modes = np.concatenate([known, extra])
    coefficients, _ = _solve(_smooth(modes), scans, scans.identity)
    covariance = coefficients.T @ coefficients
    factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))
    statistics = Statistics(np.concatenate([center[0], np.zeros(count)]), factor, rest, extra)
    return statistics, _measure_reach(scans, rest, known, modes)


def _measure_reach(scans: Registration, rest: F64, known: F64, modes: F64) -> Reach:
    """Measure on new draws from the scans' distribution: other people, but of the space that was learnt from."""
    people = np.random.default_rng(SEED).normal(size=(PEOPLE, len(scans.identity)))
    differences = np.tensordot(people, scans.identity, 1)
    faces = differences + scans.skin - smoothing() @ load_modes()[0]
    tries = ((known[:0], differences), (known, faces), (modes, faces - smoothing() @ rest))
    return Reach(*(_measure(_solve(_smooth(m), scans, offsets)[1], scans.cover) for m, offsets in tries))


def macro_share(statistics: Statistics, weight: F64) -> float:
    """Return the share of the scans' variance that lies along gender, age and origin of the macro shapes."""
    known = load_modes()[1]
    average = _neutral(0.5, 0.5, (1, 1, 1))
    ends = [_neutral(1, 0.5, (1, 1, 1)), _neutral(0.5, 1, (1, 1, 1))]
    ends += [_neutral(0.5, 0.5, (1, 0, 0)), _neutral(0.5, 0.5, (0, 1, 0))]
    axes = np.stack([fit_modes(known, end - average, weight, PRIOR) for end in ends], 1)
    rows = (known * weight[:, None]).reshape(len(known), -1)
    metric = rows @ known.reshape(len(known), -1).T
    covariance = (statistics.factor @ statistics.factor.T)[: len(known), : len(known)]
    along = np.linalg.solve(axes.T @ metric @ axes, axes.T @ metric @ covariance @ metric @ axes)
    return float(np.trace(along) / np.trace(metric @ covariance))


def save(statistics: Statistics, file: Path) -> None:
    """Write the statistics; one byte a number is enough for the extra modes."""
    units = np.abs(statistics.extra).max((1, 2)) / 127
    np.savez_compressed(
        file,
        mean=statistics.mean.astype(np.float32),
        factor=statistics.factor.astype(np.float32),
        rest=statistics.rest.astype(np.float16),
        modes=np.round(statistics.extra / units[:, None, None]).astype(np.int8),
        units=units.astype(np.float32),
    )


def _neutral(gender: float, age: float, origin: tuple[float, float, float]) -> F64:
    pack = load_pack()
    vertices = pack.blend(macro_weights(gender, age, 0.5, 0.5, origin))
    return to_head_heights(pack, vertices, vertices)[: pack.body].astype(float)


def _smooth(modes: F64) -> F64:
    """Return the modes as they move the subdivided skin."""
    return np.array([smoothing() @ m for m in modes]).reshape(modes.shape)


def _motions(skin: F64) -> F64:
    """Return the offsets (7, n, 3) of a small shift, turn or growth of the head, which are no change of shape."""
    axes, count = np.eye(3), len(skin)
    shifts = [np.broadcast_to(axis, (count, 3)) for axis in axes]
    return np.stack([*shifts, *(np.cross(axis, skin) for axis in axes), skin])


def _solve(modes: F64, scans: Registration, offsets: F64) -> tuple[F64, F64]:
    """Fit offsets (p, n, 3) by modes (c, n, 3) and motions; return coefficients (p, c) and what is left (p, n, 3)."""
    motions = _motions(scans.skin)
    columns = np.concatenate([modes, motions]).reshape(len(modes) + len(motions), -1)
    rows = columns * np.repeat(scans.cover, 3)
    prior = np.diag([PRIOR] * len(modes) + [1e-9] * len(motions))
    solution = np.linalg.solve(rows @ columns.T + prior, rows @ offsets.reshape(len(offsets), -1).T).T
    return solution[:, : len(modes)], offsets - (solution @ columns).reshape(offsets.shape)


def _principal(offsets: F64, weight: F64, count: int) -> F64:
    """Return the modes (count, n, 3) of zero-mean offsets (p, n, 3) whose weights are independent and unit normal."""
    flat = offsets.reshape(len(offsets), -1)
    values, vectors = np.linalg.eigh((flat * np.repeat(weight, 3)) @ flat.T)
    best = vectors[:, np.argsort(values)[::-1][:count]]
    return (best.T @ flat).reshape(count, -1, 3)


def _measure(left: F64, weight: F64) -> float:
    return float(100 * np.linalg.norm(left[:, weight > FACE], axis=-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the shapes of real heads from ICT-FaceKit.")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--extra", type=int, default=EXTRA)
    args = parser.parse_args()
    scans = register(load_scans(args.data))
    statistics, reach = learn(scans, args.extra)
    save(statistics, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")
    print("mean distance from the scans of new identities, % of the head's height, over the covered face:")
    print(f"  mean alone {reach.alone:.2f}, 60 modes {reach.known:.2f}, {args.extra} more {reach.extended:.2f}")
    print(f"share of the variance along gender, age and origin: {macro_share(statistics, scans.cover):.2f}")


if __name__ == "__main__":
    main()
