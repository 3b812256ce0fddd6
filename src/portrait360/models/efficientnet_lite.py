"""EfficientNet-Lite0, an image classifier without squeeze-and-excitation, whose activations are all ReLU6."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-3  # of the batch norms, TensorFlow's
STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (  # repeats, kernel, stride, expansion, channels (Tan and Le 2019, table 1)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = (0, 2, 4, 10, 15)  # the last block at each of the strides 2, 4, 8, 16, 32
SIDE, MEAN, STD = 224, 127.0, 128.0  # side of the training images; normalisation of their values in 0..255


class Features(NamedTuple):
    taps: tuple[Tensor, ...]  # (b c h w) each, at the strides 2, 4, 8, 16, 32
    pooled: Tensor  # (b HEAD)


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, so that a side of n becomes ceil(n / stride).

    An odd pixel of padding is added on the right and at the bottom.
    """

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        kernel, stride = self.kernel_size[0], self.stride[0]
        pad_y, pad_x = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        return super().forward(F.pad(x, (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2)))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Block(nn.Module):
    """An inverted bottleneck: expand, depthwise convolution, project; residual if the shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.expands, self.adds = expansion > 1, stride == 1 and c_in == c_out
        width = c_in * expansion
        if self.expands:
            self._expand_conv = Conv(c_in, width, 1, bias=False)
            self._bn0 = norm(width)
        self._depthwise_conv = Conv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = norm(width)
        self._project_conv = Conv(width, c_out, 1, bias=False)
        self._bn2 = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        h = F.relu6(self._bn1(self._depthwise_conv(h)))
        h = self._bn2(self._project_conv(h))
        return x + h if self.adds else h


class EfficientNetLite0(nn.Module):
    """The network for inference, without the dropouts of training."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Conv(3, STEM, 3, 2, bias=False)
        self._bn0 = norm(STEM)
        self._blocks = nn.ModuleList()
        channels = STEM
        for repeats, kernel, stride, expansion, c_out in STAGES:
            for i in range(repeats):
                self._blocks.append(Block(channels, c_out, kernel, stride if i == 0 else 1, expansion))
                channels = c_out
        self._conv_head = Conv(channels, HEAD, 1, bias=False)
        self._bn1 = norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def features(self, x: Tensor) -> Features:
        """Return the features of images (b 3 h w), normalised as (x - MEAN) / STD from x in 0..255."""
        h = F.relu6(self._bn0(self._conv_stem(x)))
        taps = []
        for i, block in enumerate(self._blocks):
            h = block(h)
            if i in TAPS:
                taps.append(h)
        h = F.relu6(self._bn1(self._conv_head(h)))
        return Features(tuple(taps), h.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b CLASSES) of ImageNet's classes."""
        return self._fc(self.features(x).pooled)
