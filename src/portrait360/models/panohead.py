"""PanoHead's generator (An et al. 2023): a random vector -> a whole head in three grids -> images of it.

EG3D (Chan et al. 2022) is the same with grids of one layer and without a background.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.stylegan2 import Block, Mapping, Noise, Synthesis, ToPicture
from portrait360.models.trigrid import (
    Activation,
    Decoder,
    RayConfig,
    TriGridField,
    Uniform,
    compute_rays,
    render,
    split_grids,
)

LABEL = 25  # length of a camera label
SHIFTED = (3, 7, 11)  # indices of the camera position in a label
SR_INPUT_SIZE = 128  # side in pixels of the super-resolution's input


@dataclass(frozen=True)
class GAN3DConfig:
    z: int = 512
    w: int = 512
    grids: int = 256  # side of the three grids
    layers: int = 3  # layers of each grid; EG3D has 1
    features: int = 32
    base: int = 32768  # channels of a synthesis network at size s: base / s, up to `widest`
    widest: int = 512
    mapping_layers: int = 2
    rate: float = 1.0  # learning rate multiplier of the decoder
    activation: Activation = "none"  # of the decoder
    raw_by_style: bool = True  # a styled layer computes the raw image from all features; if False: the first three
    background: bool = True
    larger: tuple[int, int] = (256, 128)  # channels of the super-resolution
    clamp: float | None = 256.0  # limit of the activations in the super-resolution
    label_scale: float = 1.0  # factor on the camera label that conditions the mapping
    label_zero: bool = False  # whether that label is all zeros
    size: int = 64  # side in pixels of the rendered image before the super-resolution
    rays: RayConfig = field(default_factory=RayConfig)


class GeneratorOutput(NamedTuple):
    rgb: Tensor  # (b 3 512 512) roughly in [-1, 1]
    raw: Tensor  # (b 3 r r) before the super-resolution
    depth: Tensor  # (b 1 r r)
    cover: Tensor  # (b 1 r r)


class SuperResolution(nn.Module):
    """The super-resolution network: 128 -> 512 pixels."""

    def __init__(self, features: int, widths: tuple[int, int], w: int, clamp: float | None) -> None:
        super().__init__()
        self.block0 = Block(features, widths[0], w, 2 * SR_INPUT_SIZE, 3, clamp)
        self.block1 = Block(*widths, w, 4 * SR_INPUT_SIZE, 3, clamp)

    def forward(self, features: Tensor, raw: Tensor, w: Tensor, noise: Noise) -> Tensor:
        ws = w[:, None].expand(-1, 3, -1)
        x, image = self.block0(features, raw, ws, noise)
        return self.block1(x, image, ws, noise)[1]


class GanRenderer(nn.Module):
    """The part of the generator that renders a given head: the decoder and the super-resolution."""

    def __init__(self, config: GAN3DConfig) -> None:
        super().__init__()
        self.config = config
        self.superresolution = SuperResolution(config.features, config.larger, config.w, config.clamp)
        self.decoder = Decoder(config.features, config.features, config.rate, config.activation)
        if config.raw_by_style:
            self.torgb = ToPicture(config.features, 3, config.w)


class GAN3D(GanRenderer):
    """The generator; its submodules have the names of the published files."""

    def __init__(self, config: GAN3DConfig) -> None:
        super().__init__(config)
        w = config.w
        self.backbone = nn.Module()
        grids = 3 * config.features * config.layers
        synthesis = Synthesis(w, config.grids, grids, base=config.base, widest=config.widest)
        self.backbone.synthesis = synthesis
        self.backbone.mapping = Mapping(config.z, LABEL, w, synthesis.count, layers=config.mapping_layers)
        if config.background:
            widths = {"base": config.base // 2, "widest": config.widest}
            self.bcg_synthesis = Synthesis(w, 128, config.features, **widths)
        self.t_mapping = Mapping(config.z, LABEL, 3, 1, layers=config.mapping_layers, rate=1.0, linear_end=True)

    @property
    def mapping(self) -> Mapping:
        return self.backbone.get_submodule("mapping")  # pyright: ignore[reportReturnType]

    @property
    def styles(self) -> int:
        """The number of styles per head."""
        return self.mapping.count

    def camera_conditioning(self, label: Tensor) -> Tensor:
        return label * (0.0 if self.config.label_zero else self.config.label_scale)

    def map_styles(self, z: Tensor, label: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Return styles (b styles w) of heads for z (b z), conditioned on camera labels (b 25)."""
        return self.mapping(z, self.camera_conditioning(label), truncation, cutoff)

    def shift_labels(self, z: Tensor, label: Tensor, truncation: float = 1.0) -> tuple[Tensor, Tensor]:
        """Shift camera labels by the generator's estimate of how far crops are off; also return the shift (b 3)."""
        shift = self.t_mapping(z, self.camera_conditioning(label), truncation)[:, 0]
        shifted_label = torch.zeros_like(label) if self.config.label_zero else label.clone()
        shifted_label[:, SHIFTED] += shift
        return shifted_label, shift

    def generate_head(self, ws: Tensor, noise: Noise = "const") -> GeneratedHead:
        """Generate heads from styles: everything that does not depend on the camera, except for the background,
        whose noise is drawn last."""
        planes = self.backbone.get_submodule("synthesis")(ws, noise)
        return GeneratedHead(self, ws, split_grids(planes, self.config.layers))

    def forward(
        self,
        z: Tensor,
        label: Tensor,
        truncation: float = 1.0,
        *,
        noise: Noise = "const",
        uniform: Uniform | None = None,
    ) -> GeneratorOutput:
        ws = self.map_styles(z, label, truncation)
        return self.generate_head(ws, noise).render(
            self.shift_labels(z, label, truncation)[0], uniform=uniform, noise=noise
        )


class GeneratedHead:
    """One or several generated heads, which can be rendered from any camera."""

    def __init__(self, generator: GanRenderer, ws: Tensor, grids: Tensor, background: Tensor | None = None) -> None:
        self.generator, self.ws, self.grids, self._background = generator, ws, grids, background
        self.field = TriGridField(grids, generator.decoder, generator.config.rays.box)

    def render(
        self,
        labels: Tensor,
        *,
        size: int | None = None,
        uniform: Uniform | None = None,
        noise: Noise = "const",
    ) -> GeneratorOutput:
        """Render each head from one camera (labels: b 25). Without `uniform` nothing is random."""
        generator, config = self.generator, self.generator.config
        side = size or config.size
        rendered = render(self.field, compute_rays(labels, side), config.rays, uniform)
        features, depth, cover = (_to_image(values, side) for values in rendered)
        if config.background:
            background = _resize(self.background(noise), side)
            features = features + (1 - cover) * background
        raw = generator.torgb(features, self.ws[:, -1]) if config.raw_by_style else features[:, :3]
        sr_features, sr_raw = _resize(features, SR_INPUT_SIZE), _resize(raw, SR_INPUT_SIZE)
        rgb = generator.superresolution(sr_features, sr_raw, self.ws[:, -1], "none")
        return GeneratorOutput(rgb, raw, depth, 1.002 * cover - 0.001)

    def background(self, noise: Noise = "const") -> Tensor:
        """Return the background's features (b c h w), which are generated once."""
        background = self._background
        if background is None:
            synthesis, ws = self.generator.get_submodule("bcg_synthesis"), self.ws
            assert isinstance(synthesis, Synthesis)
            short = synthesis.count - ws.shape[1]
            ws = torch.cat([ws, ws[:, -1:].expand(-1, short, -1)], 1) if short > 0 else ws[:, : synthesis.count]
            self._background = background = synthesis(ws, noise)
        return background


def _to_image(values: Tensor, side: int) -> Tensor:
    """Reshape values of rays (b n) or (b n c), row by row, to (b c side side)."""
    values = values[..., None] if values.ndim == 2 else values
    return values.transpose(1, 2).reshape(len(values), -1, side, side)


def _resize(image: Tensor, side: int) -> Tensor:
    if image.shape[-1] == side:
        return image
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)


PANOHEAD = GAN3DConfig()
EG3D = replace(PANOHEAD, layers=1, background=False, raw_by_style=False, activation="sigmoid")
