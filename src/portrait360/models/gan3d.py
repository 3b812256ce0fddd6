"""PanoHead's generator (An et al. 2023): a random vector -> a whole head in three grids -> its pictures.

EG3D (Chan et al. 2022) is the same with grids of one layer and without a background.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.stylegan import Block, Mapping, Noise, Synthesis, ToPicture
from portrait360.models.trigrid import Activation, Decoder, Field, RayConfig, Uniform, as_grids, rays, render

LABEL = 25  # numbers that tell a camera
SHIFTED = (3, 7, 11)  # of a label: where the camera stands
SEEN_AT = 128  # pixels of what the super-resolution is given


@dataclass(frozen=True)
class GAN3DConfig:
    z: int = 512
    w: int = 512
    grids: int = 256  # side of the three grids
    layers: int = 3  # of each: 1 is EG3D's
    features: int = 32
    base: int = 32768  # channels of a synthesis network at size s: base / s, up to `widest`
    widest: int = 512
    mapping_layers: int = 2
    rate: float = 1.0  # at which the decoder learns
    activation: Activation = "none"  # of the decoder
    raw_by_style: bool = True  # the small picture is made of all features, not the first three
    background: bool = True
    larger: tuple[int, int] = (256, 128)  # channels of the super-resolution
    clamp: float | None = 256.0  # in it
    label_scale: float = 1.0  # of the camera that the mapping is told
    label_zero: bool = False
    size: int = 64  # pixels of what is rendered before the super-resolution
    rays: RayConfig = field(default_factory=RayConfig)


class Pictures(NamedTuple):
    rgb: Tensor  # (b 3 512 512) about [-1, 1]
    raw: Tensor  # (b 3 r r) before the super-resolution
    depth: Tensor  # (b 1 r r)
    cover: Tensor  # (b 1 r r)


class SuperResolution(nn.Module):
    """128 -> 512 pixels."""

    def __init__(self, features: int, widths: tuple[int, int], w: int, clamp: float | None) -> None:
        super().__init__()
        self.block0 = Block(features, widths[0], w, 2 * SEEN_AT, 3, clamp)
        self.block1 = Block(*widths, w, 4 * SEEN_AT, 3, clamp)

    def forward(self, features: Tensor, raw: Tensor, w: Tensor, noise: Noise) -> Tensor:
        ws = w[:, None].expand(-1, 3, -1)
        x, picture = self.block0(features, raw, ws, noise)
        return self.block1(x, picture, ws, noise)[1]


class Seeing(nn.Module):
    """What it takes to see a head that is there: all but what makes it."""

    def __init__(self, config: GAN3DConfig) -> None:
        super().__init__()
        self.config = config
        self.superresolution = SuperResolution(config.features, config.larger, config.w, config.clamp)
        self.decoder = Decoder(config.features, config.features, config.rate, config.activation)
        if config.raw_by_style:
            self.torgb = ToPicture(config.features, 3, config.w)


class GAN3D(Seeing):
    """The names of its parts are those of the published files."""

    def __init__(self, config: GAN3DConfig) -> None:
        super().__init__(config)
        w = config.w
        self.backbone = nn.Module()
        grids = 3 * config.features * config.layers
        synthesis = Synthesis(w, config.grids, grids, base=config.base, widest=config.widest)
        self.backbone.synthesis = synthesis
        self.backbone.mapping = Mapping(config.z, LABEL, w, synthesis.count, layers=config.mapping_layers)
        if config.background:
            half = {"base": config.base // 2, "widest": config.widest}
            self.bcg_synthesis = Synthesis(w, 128, config.features, **half)
        self.t_mapping = Mapping(config.z, LABEL, 3, 1, layers=config.mapping_layers, rate=1.0, linear_end=True)

    @property
    def mapping(self) -> Mapping:
        return self.backbone.get_submodule("mapping")  # pyright: ignore[reportReturnType]

    @property
    def styles(self) -> int:
        return self.mapping.count

    def told(self, label: Tensor) -> Tensor:
        return label * (0.0 if self.config.label_zero else self.config.label_scale)

    def styled(self, z: Tensor, label: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Styles (b styles w) of heads, for what their pictures' cameras are known to be."""
        return self.mapping(z, self.told(label), truncation, cutoff)

    def shifted(self, z: Tensor, label: Tensor, truncation: float = 1.0) -> tuple[Tensor, Tensor]:
        """Camera labels moved by what the generator believes crops to be off, and by how much (b 3)."""
        shift = self.t_mapping(z, self.told(label), truncation)[:, 0]
        moved = torch.zeros_like(label) if self.config.label_zero else label.clone()
        moved[:, SHIFTED] += shift
        return moved, shift

    def head(self, ws: Tensor, noise: Noise = "const") -> Head:
        """All that does not depend on the camera but the background, whose noise is drawn last."""
        planes = self.backbone.get_submodule("synthesis")(ws, noise)
        return Head(self, ws, as_grids(planes, self.config.layers))

    def forward(
        self,
        z: Tensor,
        label: Tensor,
        truncation: float = 1.0,
        *,
        noise: Noise = "const",
        uniform: Uniform | None = None,
    ) -> Pictures:
        ws = self.styled(z, label, truncation)
        return self.head(ws, noise).seen(self.shifted(z, label, truncation)[0], uniform=uniform, noise=noise)


class Head:
    """One or several generated heads, to be seen from anywhere."""

    def __init__(self, generator: Seeing, ws: Tensor, grids: Tensor, behind: Tensor | None = None) -> None:
        self.generator, self.ws, self.grids, self._behind = generator, ws, grids, behind
        self.field = Field(grids, generator.decoder, generator.config.rays.box)

    def seen(
        self,
        labels: Tensor,
        *,
        size: int | None = None,
        uniform: Uniform | None = None,
        noise: Noise = "const",
    ) -> Pictures:
        """By one camera a head (b 25). Without `uniform` nothing is random."""
        generator, config = self.generator, self.generator.config
        side = size or config.size
        made = render(self.field, rays(labels, side), config.rays, uniform)
        features, depth, cover = (_picture(one, side) for one in made)
        if config.background:
            behind = _resized(self.background(noise), side)
            features = features + (1 - cover) * behind
        raw = generator.torgb(features, self.ws[:, -1]) if config.raw_by_style else features[:, :3]
        rgb = generator.superresolution(_resized(features, SEEN_AT), _resized(raw, SEEN_AT), self.ws[:, -1], "none")
        return Pictures(rgb, raw, depth, 1.002 * cover - 0.001)

    def background(self, noise: Noise = "const") -> Tensor:
        behind = self._behind
        if behind is None:
            synthesis, ws = self.generator.get_submodule("bcg_synthesis"), self.ws
            assert isinstance(synthesis, Synthesis)
            short = synthesis.count - ws.shape[1]
            ws = torch.cat([ws, ws[:, -1:].expand(-1, short, -1)], 1) if short > 0 else ws[:, : synthesis.count]
            self._behind = behind = synthesis(ws, noise)
        return behind


def _picture(values: Tensor, side: int) -> Tensor:
    """Rays (b n) or (b n c), row by row -> (b c side side)."""
    values = values[..., None] if values.ndim == 2 else values
    return values.transpose(1, 2).reshape(len(values), -1, side, side)


def _resized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture, (side, side), mode="bilinear", align_corners=False, antialias=True)


PANOHEAD = GAN3DConfig()
EG3D = replace(PANOHEAD, layers=1, background=False, raw_by_style=False, activation="sigmoid")
