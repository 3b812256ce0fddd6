"""The SD 1.5 denoising U-Net with a place for references (R), control (C) and cross-view attention (V)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from portrait360.models.cross_view import CrossView, CrossViewConfig
from portrait360.models.layers import (
    Conditions,
    Downsample,
    ResBlock,
    SpatialTransformer,
    Stage,
    Upsample,
    group_norm,
    number_blocks,
    run_layer,
    timestep_embedding,
    zeroed,
)


@dataclass(frozen=True)
class UNetConfig:
    in_channels: int = 4
    out_channels: int = 4
    width: int = 320
    mult: tuple[int, ...] = (1, 2, 4, 4)
    depth: int = 2  # residual blocks per level
    attention: tuple[bool, ...] = (True, True, True, False)  # per level, finest first
    transformer_depth: int = 1
    heads: int = 8
    context_dim: int = 768  # 0: it reads no text

    @property
    def level_widths(self) -> tuple[int, ...]:
        return tuple(self.width * m for m in self.mult)


class Encoder(nn.Module):
    """The half of the U-Net that goes down, and its middle: what C is a copy of."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        width, c_emb = config.width, config.width * 4
        self.time_embed = nn.Sequential(nn.Linear(width, c_emb), nn.SiLU(), nn.Linear(c_emb, c_emb))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channels, width, 3, padding=1))])
        c, skips = width, [width]
        for level, (c_level, attend) in enumerate(zip(config.level_widths, config.attention, strict=True)):
            for _ in range(config.depth):
                self.input_blocks.append(Stage(*self._layers(c, c_level, attend)))
                skips.append(c := c_level)
            if level < len(config.mult) - 1:
                self.input_blocks.append(Stage(Downsample(c)))
                skips.append(c)
        self.middle_block = Stage(*self._layers(c, c, True), ResBlock(c, c, c_emb))
        self.skip_widths = tuple(skips)

    def _layers(self, c_in: int, c_out: int, attend: bool) -> list[nn.Module]:
        config = self.config
        layers: list[nn.Module] = [ResBlock(c_in, c_out, config.width * 4)]
        if attend:
            layers.append(SpatialTransformer(c_out, config.context_dim, config.heads, config.transformer_depth))
        return layers

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        """Embedded noise level, one row for each picture of x; t is (1) or (b)."""
        emb = self.time_embed(timestep_embedding(t, self.config.width).to(x.dtype))
        return emb.expand(len(x), -1)

    def run(self, stage: nn.Module, x: Tensor, conditions: Conditions) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(stage, x, conditions, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return stage(x, conditions)


Touch = Callable[[int, Tensor], Tensor]  # the place of a block among all, what it gives -> what flows on
Start = tuple[Tensor, tuple[Tensor, ...]]  # after the first blocks: what flows on, and the skips so far


class UNet(Encoder):
    def __init__(self, config: UNetConfig, cross_view: CrossViewConfig | None = None, head: bool = True) -> None:
        super().__init__(config)
        self.output_blocks = nn.ModuleList()
        c, skips = config.level_widths[-1], list(self.skip_widths)
        widths: list[int] = []  # of what each output block gives
        levels = list(enumerate(zip(config.level_widths, config.attention, strict=True)))
        for level, (c_level, attend) in reversed(levels):
            for i in range(config.depth + 1):
                layers = self._layers(c + skips.pop(), c_level, attend)
                c = c_level
                if level > 0 and i == config.depth:
                    layers.append(Upsample(c))
                self.output_blocks.append(Stage(*layers))
                widths.append(c)
        self.widths = (*self.skip_widths, self.skip_widths[-1], *widths)  # of what every block gives, as in `Touch`
        last = zeroed(nn.Conv2d(c, config.out_channels, 3, padding=1))
        self.out = nn.Sequential(group_norm(c), nn.SiLU(), last) if head else None
        self.transformers = number_blocks(self)
        self._view_slot: dict[int, int] = {}  # input block -> its module of V
        if cross_view is not None:
            self._add_cross_view(cross_view, widths)

    def _add_cross_view(self, config: CrossViewConfig, widths: list[int]) -> None:
        """The 3D layout has modules at the Downsamples too, two after each Upsample, and one in the middle."""
        every = config.layout == "diffportrait3d"

        def modules(c: int, count: int = 1) -> nn.ModuleList:
            return nn.ModuleList(CrossView(c, config) for _ in range(count))

        def ends_with(stage: nn.Module, kind: type[nn.Module]) -> bool:
            return isinstance(list(stage.children())[-1], kind)

        after = [i for i, s in enumerate(self.input_blocks) if i and (every or not ends_with(s, Downsample))]
        self._view_slot = {block: slot for slot, block in enumerate(after)}
        self.input_blocks_motion_module = nn.ModuleList(modules(self.skip_widths[i]) for i in after)
        if every:
            self.middle_block_motion_module = modules(self.skip_widths[-1])
        self.output_blocks_motion_module = nn.ModuleList(
            modules(c, 2 if every and ends_with(stage, Upsample) else 1)
            for c, stage in zip(widths, self.output_blocks, strict=True)
        )

    def forward(
        self,
        x: Tensor,  # ((b v) c h w) noisy latents: b windows of v views
        t: Tensor,  # (1) or (b v) timesteps
        context: Tensor,  # (1 or (b v), n, context_dim)
        *,
        views: int | None = None,  # v; None leaves V out
        memory: Sequence[Tensor] | None = None,  # reference tokens for each transformer block
        control: Sequence[Tensor] | None = None,  # residuals of C, finest first, middle last
        record: list[Tensor] | None = None,  # receives this network's own tokens
        middle_cross_view: bool = False,  # only the 3D layout has one
        start: Start | None = None,  # what begin() gave for the same x, t and views
        touch: Touch | None = None,  # sees, and may change, what every block gives
    ) -> Tensor:
        conditions = Conditions(self.embed(x, t), context, memory, record)
        x, skips = start or ((x, ()) if touch else self.begin(x, t, views))
        skips, touch = list(skips), touch or (lambda place, x: x)
        for i in range(len(skips), len(self.input_blocks)):
            x = touch(i, self._down(i, x, conditions, views))
            skips.append(x)
        x = touch(len(skips), self._middle(x, conditions, views if middle_cross_view else None))
        if control is not None:
            x = x + control[-1]
            skips = [skip + residual for skip, residual in zip(skips, control[:-1], strict=True)]
        for i, stage in enumerate(self.output_blocks):
            if record is not None and len(record) == self.transformers:
                break  # R has said all it has to say: nobody reads its output
            x = self.run(stage, torch.cat([x, skips.pop()], dim=1), conditions)
            if views is not None:
                x = self._across(self.output_blocks_motion_module[i], x, views)
            x = touch(len(self.input_blocks) + 1 + i, x)
        return x if self.out is None else self.out(x)

    def begin(self, x: Tensor, t: Tensor, views: int | None = None) -> Start:
        """The blocks before the first transformer: the same for all passes, for they know no reference or context."""
        conditions = Conditions(self.embed(x, t), x)  # no block here looks at the context
        skips: list[Tensor] = []
        for i, stage in enumerate(self.input_blocks):
            if any(isinstance(layer, SpatialTransformer) for layer in stage.children()):
                break
            x = self._down(i, x, conditions, views)
            skips.append(x)
        return x, tuple(skips)

    def _down(self, i: int, x: Tensor, conditions: Conditions, views: int | None) -> Tensor:
        x = self.run(self.input_blocks[i], x, conditions)
        if views is not None and i in self._view_slot:
            x = self._across(self.input_blocks_motion_module[self._view_slot[i]], x, views)
        return x

    def _middle(self, x: Tensor, conditions: Conditions, views: int | None) -> Tensor:
        if views is None:
            return self.run(self.middle_block, x, conditions)
        *before, last = self.middle_block.children()
        for layer in before:
            x = run_layer(layer, x, conditions)
        x = self._across(self.middle_block_motion_module, x, views)  # between transformer and residual block
        return run_layer(last, x, conditions)

    def _across(self, modules: nn.Module, x: Tensor, views: int) -> Tensor:
        for module in modules.children():
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(module, x, views, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
            else:
                x = module(x, views)
        return x
