"""Fit a linear face and its camera to points in a picture by regularised least squares (Gauss-Newton)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.utils.array_types import Floats


@dataclass(frozen=True, eq=False)
class LinearPoints:
    """Points that move linearly: mean + shape modes (unit variance each) + expression units (weights in 0..1)."""

    mean: Floats  # (n, 3) canonical frame
    shape: Floats  # (k, n, 3)
    expression: Floats  # (e, n, 3)

    def at(self, shape: Floats, expression: Floats) -> Floats:
        return self.mean + np.tensordot(shape, self.shape, 1) + np.tensordot(expression, self.expression, 1)


@dataclass(frozen=True, eq=False)
class FitOptions:
    """Strength of the regularisation; residuals are in units of the noise of a point."""

    noise: float = 0.006  # of a point, in crop sides
    shape_prior: float | Floats = 1.0  # of all modes or (k,): the inverse standard deviation
    shape_mean: float | Floats = 0.0  # mean of the prior
    expression_prior: float | Floats = 4.0  # or (e,); strong, since expressions easily explain what the pose should
    steps: int = 12
    robust: float = 2.5  # residuals beyond this many standard deviations count less (Huber)
    hold: tuple[float, float] | None = None  # fixed azimuth and elevation of the camera; only its roll is fitted


@dataclass(frozen=True, eq=False)
class FaceFit:
    """The camera of the crop, the position of the crop in the picture, and the shape of the face."""

    camera: Camera
    corner: tuple[float, float]  # of the crop, in pixels of the picture
    side: float  # of the crop, in pixels
    shape: Floats
    expression: Floats
    error: float  # median distance of the points, in crop sides
    residuals: Floats = field(repr=False)  # (n, 2), in crop sides


@dataclass
class _State:
    rotation: Floats  # (3, 3) world to camera
    move: Floats  # (2,) centre of the crop, in pixels
    side: float
    shape: Floats
    expression: Floats


def fit_face(
    points: Floats, weights: Floats, model: LinearPoints, focal: float, options: FitOptions | None = None
) -> FaceFit:
    """Fit pose, crop and face to picture points (n, 2) with weights (n) in 0..1.

    The crop is the square that a camera of this focal length sees at the usual distance. The unknowns are the
    camera's rotation (3), the crop's centre and side (3), shape and expression.
    """
    options = options or FitOptions()
    points = np.asarray(points, np.float64)
    state = _weak_perspective(points, weights, model, focal)
    if options.hold is not None:
        state.rotation = _rotation_at(state.rotation, *options.hold)
    for _ in range(options.steps):
        _step(state, points, weights, model, focal, options)
    residuals = (points - _project(state, model, focal)[0]) / state.side
    used = weights > 0
    return FaceFit(
        camera=_camera(state.rotation, focal),
        corner=(float(state.move[0] - state.side / 2), float(state.move[1] - state.side / 2)),
        side=float(state.side),
        shape=state.shape,
        expression=state.expression,
        error=float(np.median(np.linalg.norm(residuals[used], axis=1))),
        residuals=residuals,
    )


def _camera(rotation: Floats, focal: float) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = -rotation.T @ np.array([0, 0, RADIUS])
    return Camera(pose, focal)


def _weak_perspective(points: Floats, weights: Floats, model: LinearPoints, focal: float) -> _State:
    """Fit scaled orthography to the mean face in closed form: two rows of an affine camera, orthonormalised."""
    design = np.c_[model.mean, np.ones(len(points))] * weights[:, None]
    affine = np.linalg.lstsq(design, points * weights[:, None], rcond=None)[0].T  # (2, 4)
    u, singular, v = np.linalg.svd(affine[:, :3], full_matrices=False)
    rows = u @ v
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    if rotation[2, 2] > 0:  # a face that looks away has no landmarks: the points are ambiguous, so assume the front
        rotation = _rotation_at(rotation, 0.0, 0.0)
    side = float(singular.mean()) * RADIUS / focal
    zeros = np.zeros(len(model.shape)), np.zeros(len(model.expression))
    return _State(rotation, affine[:, 3].copy(), side, *zeros)


def _rotation_at(rotation: Floats, azimuth: float, elevation: float) -> Floats:
    """Return the rotation of a camera at these angles, rolled so that "up" keeps its direction in the picture."""
    target = look_at(azimuth, elevation)[:3, :3].T
    (x, y), (u, v) = target[:2, 1], rotation[:2, 1]
    return _exp(np.array([0, 0, np.arctan2(x * v - y * u, x * u + y * v)])) @ target


def _project(state: _State, model: LinearPoints, focal: float) -> tuple[Floats, Floats, Floats]:
    """Return picture points (n, 2), points in the camera's frame (n, 3) and world points (n, 3)."""
    world = model.at(state.shape, state.expression)
    local = world @ state.rotation.T
    local[:, 2] += RADIUS
    return state.move + state.side * focal * local[:, :2] / local[:, 2:], local, world


def _step(
    state: _State, points: Floats, weights: Floats, model: LinearPoints, focal: float, options: FitOptions
) -> None:
    projected, local, _ = _project(state, model, focal)
    scale = state.side * options.noise
    residual = (points - projected) / scale
    distance = np.linalg.norm(residual, axis=1)
    robust = np.sqrt(weights * np.minimum(1, options.robust / np.maximum(distance, 1e-9)))
    jacobian = _jacobian(state, local, model, focal) / scale  # (n, 2, unknowns)
    if options.hold is not None:
        jacobian[:, :, :2] = 0  # rotations about the camera's x and y would change its angles
    a = (jacobian * robust[:, None, None]).reshape(2 * len(points), -1)
    b = (residual * robust[:, None]).reshape(-1)
    k, e = len(state.shape), len(state.expression)
    shape_prior = np.broadcast_to(options.shape_prior, k)
    prior = np.r_[np.full(6, 1e-3), shape_prior, np.broadcast_to(options.expression_prior, e)]
    current = np.r_[np.zeros(6), state.shape - options.shape_mean, state.expression]
    # neighbouring points share their noise, so all of them together count as 60 independent points
    count = 60 / max(float(weights.sum()), 1e-9)
    normal = count * a.T @ a + np.diag(prior**2)
    delta = np.linalg.solve(normal, count * a.T @ b - prior**2 * current)
    state.rotation = _exp(delta[:3]) @ state.rotation
    state.move = state.move + delta[3:5] * state.side
    state.side *= float(np.exp(np.clip(delta[5], -0.3, 0.3)))
    state.shape = np.clip(state.shape + delta[6 : 6 + k], -3, 3)
    state.expression = np.clip(state.expression + delta[6 + k :], 0, 1)


def _jacobian(state: _State, local: Floats, model: LinearPoints, focal: float) -> Floats:
    """d picture / d (rotation 3, centre 2 in sides, log side 1, shape k, expression e)."""
    n, z = len(local), local[:, 2]
    scale = state.side * focal / z
    by_local = np.zeros((n, 2, 3))  # d picture / d local
    by_local[:, 0, 0] = by_local[:, 1, 1] = scale
    by_local[:, 0, 2], by_local[:, 1, 2] = -scale * local[:, 0] / z, -scale * local[:, 1] / z
    centered = local - np.array([0, 0, RADIUS])  # the head rotates about its own centre
    x, y, w = centered.T
    zero = np.zeros(n)
    spin = np.stack([np.stack([zero, -w, y], -1), np.stack([w, zero, -x], -1), np.stack([-y, x, zero], -1)], -1)
    by_rotation = by_local @ spin
    centre = np.broadcast_to(np.eye(2) * state.side, (n, 2, 2))
    size = (state.side * focal * local[:, :2] / z[:, None])[..., None]
    modes = np.concatenate([model.shape, model.expression]) @ state.rotation.T  # (k + e, n, 3)
    by_modes = np.einsum("nij,knj->nik", by_local, modes)
    return np.concatenate([by_rotation, centre, size, by_modes], axis=2)


def _exp(vector: Floats) -> Floats:
    """Rotation vector -> matrix (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
