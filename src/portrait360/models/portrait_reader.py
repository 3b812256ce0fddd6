"""The network that reads a portrait: what each pixel shows, and which head it is.

Pixels get labels, a matte, hair directions and normals. An EfficientNet-Lite0 sees 256 x 256 pixels; a decoder brings
its features back to full resolution. What is said of the whole head comes from both (`head_readout`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait360.assets import READER
from portrait360.models.efficientnet_lite import MEAN, STD, EfficientNetLite0
from portrait360.models.head_readout import HeadReadout, describe_pixels
from portrait360.models.weights.tensor_files import TensorFile, load_fp32
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label

SIDE = 256  # pixels
TAP_CHANNELS = (16, 24, 40, 112, 320)  # of the encoder, at the strides 2, 4, 8, 16, 32
WIDTHS = (48, 48, 64, 96, 160)  # of the decoder, at the same strides
FROZEN = 3  # first blocks of the encoder, whose ImageNet weights are not trained
LABELS = len(Label)
LIMIT = 5.0  # of the logarithm of a variance


@dataclass(frozen=True)
class ReaderOutputs:
    """What is said of a whole head; the training data define it, and the weights' header holds it."""

    classes: dict[str, tuple[str, ...]]  # name of a question: its possible answers
    numbers: tuple[str, ...]  # names of continuous values, standardised
    mean: tuple[float, ...]  # of these values over the training data
    deviation: tuple[float, ...]


class PixelReading(NamedTuple):
    """Raw outputs at every pixel."""

    labels: Tensor  # (b, LABELS, h, w) logits
    alpha: Tensor  # (b, h, w) logit
    flow: Tensor  # (b, 2, h, w) cos and sin of twice the angle of the hair, of any length
    normals: Tensor  # (b, 3, h, w) x right, y down, z away from the camera, of any length


class HeadReading(NamedTuple):
    """Raw outputs for the whole head."""

    classes: dict[str, Tensor]  # (b, answers) logits
    numbers: Tensor  # (b, n) standardised
    log_variance: Tensor  # (b, n)


class Unit(nn.Module):
    """A convolution, where it is cheap a norm that does not depend on the batch, and an activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, *, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=not norm)
        self.norm = nn.GroupNorm(8, c_out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Decoder(nn.Module):
    """A U-Net decoder over the encoder's features.

    Its finest layer has half the resolution and sees the colours of 2 x 2 pixels; a cell says what these four show.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(Unit(c, w, 1) for c, w in zip(TAP_CHANNELS, WIDTHS, strict=True))
        self.merge = nn.ModuleList(
            Unit(below + own + (12 if i == 0 else 0), own, norm=i > 1)
            for i, (own, below) in enumerate(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
        )
        self.out = nn.Conv2d(WIDTHS[0], 4 * (LABELS + 1 + 2 + 3), 1)

    def forward(self, x: Tensor, taps: tuple[Tensor, ...]) -> PixelReading:
        h = self.lateral[-1](taps[-1])
        for i in reversed(range(len(WIDTHS) - 1)):
            colours = [F.pixel_unshuffle(x, 2)] if i == 0 else []
            h = self.merge[i](torch.cat([enlarge(h), self.lateral[i](taps[i]), *colours], 1))
        out = F.pixel_shuffle(self.out(h), 2)
        labels, alpha, flow, normals = out.float().split([LABELS, 1, 2, 3], 1)
        return PixelReading(labels, alpha[:, 0], flow, normals)


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class PortraitReader(nn.Module):
    """Reads pictures (b, 3, SIDE, SIDE) with values in 0..255."""

    def __init__(self, outputs: ReaderOutputs) -> None:
        super().__init__()
        self.outputs = outputs
        self.encoder = EfficientNetLite0()
        del self.encoder._fc  # ImageNet's classes
        for module in (self.encoder._conv_stem, self.encoder._bn0, *self.encoder._blocks[:FROZEN]):
            module.requires_grad_(False)
        self.decoder = Decoder()
        counts = [len(answers) for answers in outputs.classes.values()]
        self.readout = HeadReadout(TAP_CHANNELS[2:], LABELS, sum(counts) + 2 * len(outputs.numbers))

    def train(self, mode: bool = True) -> PortraitReader:
        """Keep the encoder's statistics of ImageNet: batches are small, and a resumed run must not depend on them."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, pictures: Tensor, keep: Tensor | None = None) -> tuple[PixelReading, HeadReading]:
        """`keep` (b, HIDDEN) scales the features of the head's description: in training some are dropped."""
        x = (pictures - MEAN) / STD
        features = self.encoder.features(x)
        pixels = self.decoder(x, features.taps)
        found = describe_pixels(x, pixels.labels, pixels.alpha, pixels.flow, pixels.normals)
        out = self.readout(features.taps[2:], features.pooled, found, keep)
        counts = [len(answers) for answers in self.outputs.classes.values()]
        n = len(self.outputs.numbers)
        *logits_of, numbers, log_variance = out.split([*counts, n, n], 1)
        classes = dict(zip(self.outputs.classes, logits_of, strict=True))
        return pixels, HeadReading(classes, numbers, LIMIT * torch.tanh(log_variance / LIMIT))


@lru_cache(maxsize=2)
def load_reader(path: Path = READER) -> PortraitReader:
    """Load weights as the recipe `reader` writes them; the network is cached and shared."""
    file = TensorFile(path)
    with torch.inference_mode(False), torch.device("meta"):
        network = PortraitReader(_parse_outputs(file.metadata, path))
    load_fp32(network, file, str(path))
    return network.eval().requires_grad_(False)


def _parse_outputs(metadata: dict[str, str], path: Path) -> ReaderOutputs:
    try:
        record = json.loads(metadata["outputs"])
        classes = {str(name): tuple(map(str, answers)) for name, answers in record["classes"].items()}
        numbers = tuple(map(str, record["numbers"]))
        mean, deviation = (tuple(map(float, record[name])) for name in ("mean", "deviation"))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} lists no outputs, so it contains no portrait reader; train one with "
            "`portrait360 train run reader`."
        ) from error
    if not len(numbers) == len(mean) == len(deviation):
        raise UserError(f"{path} is damaged: its lists of outputs have different lengths; train it again.")
    return ReaderOutputs(classes, numbers, mean, deviation)
