"""The ControlNet: a copy of the U-Net's encoder that turns a hint image into residuals."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from portrait360.models.layers import Conditions, zero_init
from portrait360.models.unet import Encoder, UNetConfig


@dataclass(frozen=True)
class ControlConfig:
    hint_channels: int = 3
    hint_widths: tuple[int, ...] = (16, 16, 32, 32, 96, 96, 256)
    hint_strides: tuple[int, ...] = (1, 1, 2, 1, 2, 1, 2)  # their product is the downscaling factor of the latents


def hint_encoder(config: ControlConfig, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    c = config.hint_channels
    for width, stride in zip(config.hint_widths, config.hint_strides, strict=True):
        layers += [nn.Conv2d(c, width, 3, stride=stride, padding=1), nn.SiLU()]
        c = width
    return nn.Sequential(*layers, zero_init(nn.Conv2d(c, c_out, 3, padding=1)))


class ControlNet(Encoder):
    def __init__(self, config: UNetConfig, control: ControlConfig) -> None:
        super().__init__(config)
        self.control = control
        self.input_hint_block = hint_encoder(control, config.width)
        self.zero_convs = nn.ModuleList(nn.Sequential(zero_init(nn.Conv2d(c, c, 1))) for c in self.skip_widths)
        c = self.skip_widths[-1]
        self.middle_block_out = nn.Sequential(zero_init(nn.Conv2d(c, c, 1)))

    def embed_hint(self, hint: Tensor) -> Tensor:
        """Embed a hint (b hint_channels H W) to (b width h w).

        The result does not depend on x or t, so one call per view is enough for all steps.
        """
        return self.input_hint_block(hint)

    def forward(self, x: Tensor, hint: Tensor, t: Tensor, context: Tensor) -> list[Tensor]:
        """Return the residuals, finest first, middle last, for x (b c h w) and an embedded hint (b width h w)."""
        conditions = Conditions(self.embed(x, t), context)
        residuals = []
        for i, (stage, zero_conv) in enumerate(zip(self.input_blocks, self.zero_convs, strict=True)):
            x = self.run(stage, x, conditions)
            if i == 0:
                x = x + hint
            residuals.append(zero_conv(x))
        x = self.run(self.middle_block, x, conditions)
        return [*residuals, self.middle_block_out(x)]
