"""LPIPS with VGG-16 (Zhang et al. 2018), where the user has its weights: nothing is ever downloaded.

VGG's own weights are those that torchvision leaves in torch's cache; the weights of its channels come with the
package lpips. Only tensors are read from both files, and no code of either package runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, hub, nn
from torch.nn import functional as F

from portrait360.models.weights.tensor_files import TensorFile, load_into

VGG = "vgg16-397923af.pth"
CHANNEL_WEIGHTS = (("lpips", "weights/v0.1/vgg.pth"), ("torchmetrics", "functional/image/lpips_models/vgg.pth"))
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class LpipsVgg(nn.Module):
    """Features whose squared difference, summed up, is LPIPS. The names are those of torchvision's file."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self.ends = 3, []
        for i, widths in enumerate(WIDTHS):
            layers += [nn.MaxPool2d(2)] * (i > 0)
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.channel_weights = nn.ParameterList(torch.ones(1, widths[-1], 1, 1) for widths in WIDTHS)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of images (b 3 h w) in [-1, 1]."""
        x, out, start = (images - self.mean) / self.std, [], 0
        for end, weights in zip(self.ends, self.channel_weights, strict=True):
            x, start = self.features[start:end](x), end
            out.append(F.normalize(x) * (weights / (x.shape[2] * x.shape[3])).sqrt())
        return out


def find_lpips_files() -> tuple[Path, Path] | None:
    """Return the files of VGG-16 and of its channels' weights; None unless both are on this machine."""
    vgg = Path(hub.get_dir()) / "checkpoints" / VGG
    for package, name in CHANNEL_WEIGHTS:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            if vgg.is_file() and (Path(folder) / name).is_file():
                return vgg, Path(folder) / name
    return None


def load_lpips(vgg: Path, channels: Path) -> LpipsVgg:
    with torch.device("meta"):
        network = LpipsVgg()
    network.mean, network.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    file = TensorFile(vgg)
    load_into(network.features, {n[9:]: file.read(n) for n in file.specs if n.startswith("features.")}, str(vgg))
    weights = TensorFile(channels)
    state = {f"{i}": weights.read(f"lin{i}.model.1.weight").clamp(min=0) for i in range(len(WIDTHS))}
    load_into(network.channel_weights, state, str(channels))
    return network.eval().requires_grad_(False)
