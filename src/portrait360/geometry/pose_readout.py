"""Where the camera stands, and which skin it sees, read from what the landmark network makes of the whole head.

Landmarks alone cannot tell a long chin from a view from below; ears, nostrils and what is seen under the chin can. A
middle layer of the landmark network (`faces.face_features`) is shown the head with ears and neck, and a linear map,
learnt on synthetic people (`portrait360.synth.pose_readout`), says what the landmark fit is off by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from portrait360.assets import POSE_READOUT
from portrait360.cameras import azimuth_between
from portrait360.geometry.face_fit import FaceFit, FitOptions
from portrait360.geometry.morphable import Morphable, pose_terms

Floats = NDArray[np.floating]

FEATURES = 8192  # of a middle layer
MODES = 24  # coefficients it speaks of: nearly all of the variance
SHAPES = {
    "mean": (FEATURES,),
    "scale": (FEATURES,),
    "weight": (FEATURES, 2 + MODES),
    "terms": (6, 2 + MODES),
    "mirror": (MODES, MODES),
    "spread": (MODES,),
}
INNER, OUTER = 45.0, 60.0  # degrees: between these azimuths trust fades; beyond them nothing was learnt
MOST = (6.0, 9.0)  # degrees by which azimuth and elevation may be corrected


class Belief(NamedTuple):
    azimuth: float
    elevation: float
    shape: Floats  # (MODES,) the first coefficients
    spread: Floats  # (MODES,) how far they are off, on average


@dataclass(frozen=True, eq=False)
class PoseReadout:
    mean: Floats  # of the features
    scale: Floats  # the inverse of their spread
    weight: Floats  # features -> corrections of azimuth and elevation in degrees, coefficients
    terms: Floats  # the same from the fitted angles alone: see `pose_terms`
    mirror: Floats  # what becomes of coefficients in a mirror
    spread: Floats

    def __call__(self, features: Floats, mirrored: Floats, raw: FaceFit) -> Belief:
        """From the features (FEATURES,) of the head and of its mirror image: left and right are treated alike."""
        azimuth, elevation = azimuth_between(0, raw.camera.azimuth), raw.camera.elevation
        one, other = self.said(features, azimuth, elevation), self.said(mirrored, -azimuth, elevation)
        off = (one[:2] + other[:2] * [-1, 1]) / 2
        shape = (one[2:] + self.mirror @ other[2:]) / 2
        return Belief(azimuth + float(off[0]), elevation + float(off[1]), shape, self.spread)

    def said(self, features: Floats, azimuth: float, elevation: float) -> Floats:
        """(2 + MODES,) of one picture."""
        terms = pose_terms(np.array([azimuth]), np.array([elevation]))[0]
        return ((features - self.mean) * self.scale) @ self.weight + terms @ self.terms


def believing(model: Morphable, belief: Belief, raw: FaceFit) -> FitOptions:
    """Held angles and expected skin, as far as the belief can be trusted: never far from what landmarks say."""
    azimuth, elevation = model.posed(raw.camera)
    trust = float(np.clip((OUTER - abs(azimuth)) / (OUTER - INNER), 0, 1))
    off = np.array([azimuth_between(azimuth, belief.azimuth), belief.elevation - elevation])
    off = trust * np.clip(off, -np.array(MOST), MOST)
    mean, precision = np.zeros(len(raw.shape)), np.ones(len(raw.shape))
    mean[:MODES] = trust * np.clip(belief.shape, -3, 3)
    precision[:MODES] += trust * (1 / np.minimum(belief.spread, 1) ** 2 - 1)
    held = (azimuth + float(off[0]), elevation + float(off[1]))
    return FitOptions(hold=held, shape_mean=mean, shape_prior=np.sqrt(precision))


def checked(tensors: Mapping[str, Floats], name: str) -> PoseReadout:
    """Exactly these tensors make a readout."""
    if {key: values.shape for key, values in tensors.items()} != SHAPES:
        raise ValueError(f"{name} holds something else than a readout of the pose")
    return PoseReadout(**{key: values.astype(np.float64) for key, values in tensors.items()})


@lru_cache(maxsize=1)
def load_pose_readout() -> PoseReadout:
    """The one that ships with the package."""
    return checked(load_file(POSE_READOUT), POSE_READOUT.name)
