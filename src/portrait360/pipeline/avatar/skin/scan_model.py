"""The face model as light-stage scans of real heads have it: where to expect what one picture does not show.

Landmarks say little about depth, so that the prior decides how far nose, brow, lips and chin stand out. The modes of
the face model vary as morphs of a character generator do, around a flat face; here they vary as scans do, together
with what the scans have beyond them. A fit then takes the depths that go with what is seen.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from portrait360.assets import SCAN_FIT, TURNED_LANDMARKS
from portrait360.geometry.cameras import Camera, azimuth_between, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.portrait.face_fitting import LinearPoints
from portrait360.pipeline.portrait.morphable_model import Morphable, load_morphable
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.scan_shape import load_scan_shapes
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

TURNED = (5.0, 10.0)  # degrees from which landmarks drift further than they stray, and from which they do so surely
MOST_TURNED = 50.0  # degrees: how landmarks drift is known up to there
OTHERS = 0.3  # standard deviation of the face model's own modes besides: children, statues and drawings are no scans


@lru_cache(maxsize=1)
def load_scan_model() -> Morphable:
    """Load the face model with the scans' mean and modes (80 + 60, of unit variance), and the landmarks on them."""
    model, scans = load_morphable(), load_scan_shapes()
    base = load_average_head().base[: len(model.skin.mean)]
    mean = HEAD_HEIGHT * (base + scans.rest + np.tensordot(scans.mean, scans.modes, 1))
    varied = HEAD_HEIGHT * np.tensordot(scans.factor.T, scans.modes, 1)
    shape = np.concatenate([varied, OTHERS * model.skin.shape]).astype(np.float64)
    rows, spread = _load_landmarks(model)
    skin = LinearPoints(np.asarray(mean, np.float64), shape, model.skin.expression + load_depths())
    return replace(model, skin=skin, rows=rows, spread=spread)


def face_coefficients(weights: Floats) -> F64:
    """Return the coefficients (60,) of the face model that come closest to weights (140,) of the scans' modes."""
    scans, count = load_scan_shapes(), len(load_morphable().skin.shape)
    known = scans.mean + scans.factor @ np.asarray(weights[: len(scans.mean)], np.float64)
    return known[:count] + OTHERS * np.asarray(weights[len(scans.mean) :], np.float64)


def load_depths() -> F32:
    """Load how far each expression unit moves skin (52, n, 3) forward on scans, beyond what the face model's does."""
    with np.load(SCAN_FIT) as data:
        out = np.zeros((len(data["depth"]), len(load_morphable().skin.mean), 3), np.float32)
        out[:, data["depth_rows"], 2] = data["depth"].astype(np.float32) * data["depth_step"]
    return out


def straighten_landmarks(landmarks: Floats, camera: Camera) -> F64:
    """Return landmarks (468, 2) of a crop where they lie on the skin: on a turned face some follow its outline."""
    azimuth = azimuth_between(0, camera.azimuth)
    drift = smoothstep(*TURNED, np.array(abs(azimuth))) * (_load_drift() @ turn_terms(np.array([azimuth]))[0])
    upright = look_at(azimuth, camera.elevation)[:3, :2]
    return landmarks - camera.focal / camera.radius * (drift @ upright.T @ camera.cam2world[:3, :2])


def turn_terms(azimuths: Floats) -> F64:
    """Return the terms of a turn that landmarks drift with (n, 4): two of its side, and two that both sides share."""
    angle = np.radians(np.clip(azimuths, -MOST_TURNED, MOST_TURNED))
    return np.stack([np.sin(angle), np.sin(2 * angle), 1 - np.cos(angle), 1 - np.cos(2 * angle)], -1)


@lru_cache(maxsize=1)
def _load_drift() -> F64:
    """Load how far landmarks drift in the picture (468, 2, 4), canonical units."""
    with np.load(TURNED_LANDMARKS) as data:
        return np.asarray(data["drift"], np.float64)


def _load_landmarks(model: Morphable) -> tuple[sp.csr_matrix, F64]:
    with np.load(SCAN_FIT) as data:
        parts = data["row_data"].astype(np.float64), data["row_indices"].astype(np.int32), data["row_offsets"]
        return sp.csr_matrix(parts, model.rows.shape), data["spread"].astype(np.float64)
