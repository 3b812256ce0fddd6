"""The part of the portrait reader that says which head a picture shows.

It sees the encoder's features and, where they lie, what the decoder found: a hairstyle is an outline, a light is how
brightness follows the normals, and a colour is that of one region.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait360.models.efficientnet_lite import HEAD as POOLED
from portrait360.utils.portrait_labels import FACE_LABELS, Label

REGIONS = ((Label.HAIR,), FACE_LABELS, (Label.CLOTHES,), (Label.HAT,), (Label.BEARD,))
"""Groups of labels over which features and colours are averaged."""
FOUND = 64  # pixels of the map of what the decoder found
WIDTHS = (32, 80, 144, 128)  # of the readout's layers, at 32 x 32 to 4 x 4
HIDDEN, DESCRIBED = 512, 128  # features from which the head is described, of all and of the regions' statistics
STATISTICS = 11  # of a region: its share, mean and spread of its place, mean and deviation of its colour


class Down(nn.Module):
    """Halve the resolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class HeadReadout(nn.Module):
    """Reads features of the encoder at the strides 8, 16 and 32, and the map of `describe_pixels`."""

    def __init__(self, tap_channels: Sequence[int], labels: int, outputs: int) -> None:
        super().__init__()
        inputs = (labels + 9, *(width + tap for width, tap in zip(WIDTHS[:-1], tap_channels, strict=True)))
        self.layers = nn.ModuleList(Down(a, b) for a, b in zip(inputs, WIDTHS, strict=True))
        regions = len(REGIONS) + 1
        # each part of a scale of its own: few statistics would be lost among thousands of features
        self.level_features = nn.LayerNorm(POOLED)
        self.level_regions = nn.LayerNorm(regions * tap_channels[1])
        self.level_statistics = nn.LayerNorm(regions * STATISTICS)
        self.statistics = nn.Linear(regions * STATISTICS, DESCRIBED)
        described = WIDTHS[-1] * (FOUND >> len(WIDTHS)) ** 2 + POOLED + regions * tap_channels[1] + DESCRIBED
        self.gather = nn.Linear(described, HIDDEN)
        self.hidden = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN + DESCRIBED + regions * STATISTICS, outputs)

    def forward(self, taps: Sequence[Tensor], pooled: Tensor, found: Tensor, keep: Tensor | None) -> Tensor:
        h = self.layers[0](found)
        for layer, tap in zip(self.layers[1:], taps, strict=True):
            h = layer(torch.cat([h, tap], 1))
        shares = region_shares(found)
        plain = self.level_statistics(describe_regions(found, shares))
        statistics = F.relu(self.statistics(plain)).float()
        features = self.level_features(pooled.float())
        regions = self.level_regions(pool_regions(taps[1].float(), shares))
        x = F.relu(self.gather(torch.cat([h.flatten(1).float(), features, regions, statistics], 1)))
        x = x + F.relu(self.hidden(x))
        x = x if keep is None else x * keep
        return self.out(torch.cat([x.float(), statistics, plain.float()], 1)).float()


def describe_pixels(x: Tensor, labels: Tensor, alpha: Tensor, flow: Tensor, normals: Tensor) -> Tensor:
    """Return what was found as a small map: probabilities of labels, colours, matte, direction of hair, and normals.

    No gradient flows back into it: labels are not bent to make the head's description easier.
    """
    probability = labels.detach().float().softmax(1)
    hair, background = (probability[:, [label]] for label in (Label.HAIR, Label.BACKGROUND))
    found = [
        probability,
        x.float(),
        alpha.detach().float().sigmoid()[:, None],
        F.normalize(flow.detach().float(), dim=1, eps=1e-4) * hair,
        F.normalize(normals.detach().float(), dim=1, eps=1e-4) * (1 - background),
    ]
    return F.adaptive_avg_pool2d(torch.cat(found, 1), FOUND)


def region_shares(found: Tensor) -> Tensor:
    """Return the probability of each of REGIONS at every pixel of a map, and 1 as the last channel."""
    regions = [found[:, list(map(int, labels))].sum(1) for labels in REGIONS]
    return torch.stack([*regions, torch.ones_like(regions[0])], 1)


def weigh_pixels(shares: Tensor, height: int, width: int) -> Tensor:
    """Return the weight of each cell in the mean over each region: (b, regions, height * width)."""
    weights = F.adaptive_avg_pool2d(shares, (height, width)).flatten(2) + 1e-4
    return weights / weights.sum(2, keepdim=True)


def pool_regions(features: Tensor, shares: Tensor) -> Tensor:
    """Average features (b c h w) over each region (b r H W): (b, r c)."""
    weights = weigh_pixels(shares, *features.shape[-2:])
    return torch.einsum("brp,bcp->brc", weights, features.flatten(2)).flatten(1)


def describe_regions(found: Tensor, shares: Tensor) -> Tensor:
    """Return each region's share of the map, and mean and deviation of its pixels' place and colour (b, r n)."""
    height, width = found.shape[-2:]
    weights = weigh_pixels(shares, height, width)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, device=found.device) for n in (height, width)), indexing="ij")
    place = torch.stack([x, y])[None].expand(len(found), -1, -1, -1)
    first = len(Label)  # of the channels of colour
    values = torch.cat([place, found[:, first : first + 3]], 1).flatten(2)
    mean = torch.einsum("brp,bcp->brc", weights, values)
    square = torch.einsum("brp,bcp->brc", weights, values**2)
    deviation = (square - mean**2).clamp(min=1e-6).sqrt()
    return torch.cat([shares.mean((2, 3))[..., None], mean, deviation], 2).flatten(1)
