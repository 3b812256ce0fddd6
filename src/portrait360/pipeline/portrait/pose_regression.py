"""Predict camera angles and skin shape from the landmark network's features of the whole head.

Landmarks alone cannot tell a long chin from a view from below; ears, nostrils and the underside of the chin can. A
middle layer of the landmark network (`face_detection.face_features`) sees the head with ears and neck, and a linear
map, trained on synthetic people (`training.linear_models.pose_regressor`), predicts the error of the landmark fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from safetensors.numpy import load_file

from portrait360.assets import POSE_READOUT
from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.portrait.face_fitting import FaceFit, FitOptions
from portrait360.pipeline.portrait.morphable_model import Morphable, pose_terms
from portrait360.utils.array_types import Floats

FEATURES = 8192  # length of the middle layer
MODES = 24  # predicted shape coefficients: nearly all of the variance
SHAPES = {
    "mean": (FEATURES,),
    "scale": (FEATURES,),
    "weight": (FEATURES, 2 + MODES),
    "terms": (6, 2 + MODES),
    "mirror": (MODES, MODES),
    "spread": (MODES,),
}
FULL_TRUST_AZIMUTH, OUTER = 45.0, 60.0  # degrees: trust fades between them; no training data beyond OUTER
MOST = (6.0, 9.0)  # degrees: largest corrections of azimuth and elevation


class PosePrediction(NamedTuple):
    """Predicted angles in degrees and shape coefficients."""

    azimuth: float
    elevation: float
    shape: Floats  # (MODES,) the first coefficients
    spread: Floats  # (MODES,) their average error


@dataclass(frozen=True, eq=False)
class PoseReadout:
    """A linear regression from features of the landmark network to corrections of the landmark fit."""

    mean: Floats  # of the features
    scale: Floats  # inverse standard deviation of the features
    weight: Floats  # features -> corrections of azimuth and elevation in degrees, coefficients
    terms: Floats  # `pose_terms` of the fitted angles -> the same
    mirror: Floats  # coefficients -> coefficients of the mirror image
    spread: Floats  # average error of the coefficients

    def __call__(self, features: Floats, mirrored: Floats, raw: FaceFit) -> PosePrediction:
        """Predict from the features (FEATURES,) of a head and of its mirror image, treating left and right alike."""
        azimuth, elevation = azimuth_between(0, raw.camera.azimuth), raw.camera.elevation
        direct, flipped = self.predict(features, azimuth, elevation), self.predict(mirrored, -azimuth, elevation)
        correction = (direct[:2] + flipped[:2] * [-1, 1]) / 2
        shape = (direct[2:] + self.mirror @ flipped[2:]) / 2
        return PosePrediction(azimuth + float(correction[0]), elevation + float(correction[1]), shape, self.spread)

    def predict(self, features: Floats, azimuth: float, elevation: float) -> Floats:
        """Predict corrections and coefficients (2 + MODES,) from one picture."""
        terms = pose_terms(np.array([azimuth]), np.array([elevation]))[0]
        return ((features - self.mean) * self.scale) @ self.weight + terms @ self.terms


def fit_options_from_prediction(model: Morphable, belief: PosePrediction, raw: FaceFit) -> FitOptions:
    """Turn a prediction into fixed angles and a shape prior, limited by its trust and by the landmark fit."""
    azimuth, elevation = model.correct_pose(raw.camera)
    trust = float(np.clip((OUTER - abs(azimuth)) / (OUTER - FULL_TRUST_AZIMUTH), 0, 1))
    correction = np.array([azimuth_between(azimuth, belief.azimuth), belief.elevation - elevation])
    correction = trust * np.clip(correction, -np.array(MOST), MOST)
    mean, precision = np.zeros(len(raw.shape)), np.ones(len(raw.shape))
    mean[:MODES] = trust * np.clip(belief.shape, -3, 3)
    precision[:MODES] += trust * (1 / np.minimum(belief.spread, 1) ** 2 - 1)
    pose = (azimuth + float(correction[0]), elevation + float(correction[1]))
    return FitOptions(hold=pose, shape_mean=mean, shape_prior=np.sqrt(precision))


def check_tensors(tensors: Mapping[str, Floats], name: str) -> PoseReadout:
    """Validate names and shapes of the tensors and build the readout."""
    if {key: values.shape for key, values in tensors.items()} != SHAPES:
        raise ValueError(f"{name} holds something else than a readout of the pose")
    return PoseReadout(**{key: values.astype(np.float64) for key, values in tensors.items()})


@lru_cache(maxsize=1)
def load_pose_readout() -> PoseReadout:
    """Load the packaged readout."""
    return check_tensors(load_file(POSE_READOUT), POSE_READOUT.name)


PIXELS = 128  # side of the upright crop
SPAN = 0.7  # its side, in sides of the fitted crop: head, ears and neck


def crop_upright_head(rgb: Floats, fit: FaceFit) -> Floats:
    """Crop the head (PIXELS, PIXELS, 3) from the fitted picture, with its roll removed."""
    side, angle = SPAN * fit.side, np.radians(fit.camera.roll)
    center = np.array(fit.corner) + fit.side / 2
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # upright -> picture
    height, width = rgb.shape[:2]
    shrink = min(1.0, 2 * PIXELS / side)  # area resampling first, so that no pixel is skipped
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    scale = np.array(rgb.shape[1::-1]) / (width, height)
    matrix = scale[:, None] * rotation * side / PIXELS
    offset = center * scale - matrix @ np.full(2, PIXELS / 2 - 0.5) - 0.5  # OpenCV counts from a pixel's centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    affine = np.column_stack([matrix, offset])
    out = cv2.warpAffine(rgb, affine, (PIXELS, PIXELS), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return out.astype(np.float32, copy=False)
