"""The SD 1.5 denoising U-Net with inputs for reference tokens and control residuals, and cross-view attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from portrait360.models.cross_view_attention import CrossView, CrossViewConfig
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
    zero_init,
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
    context_dim: int = 768  # 0: no text conditioning

    @property
    def level_widths(self) -> tuple[int, ...]:
        return tuple(self.width * m for m in self.mult)


class Encoder(nn.Module):
    """The downsampling half of the U-Net and its middle block, which the ControlNet copies."""

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
        """Return the embedded timestep, one row for each image of x; t is (1) or (b)."""
        emb = self.time_embed(timestep_embedding(t, self.config.width).to(x.dtype))
        return emb.expand(len(x), -1)

    def run(self, stage: nn.Module, x: Tensor, conditions: Conditions) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(stage, x, conditions, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return stage(x, conditions)


BlockHook = Callable[[int, Tensor], Tensor]  # (index of a block, its output) -> the output to use instead
Stem = tuple[Tensor, tuple[Tensor, ...]]  # the output of the first blocks, and their skips


class UNet(Encoder):
    def __init__(self, config: UNetConfig, cross_view: CrossViewConfig | None = None, head: bool = True) -> None:
        super().__init__(config)
        self.output_blocks = nn.ModuleList()
        c, skips = config.level_widths[-1], list(self.skip_widths)
        widths: list[int] = []  # channels of each output block's output
        levels = list(enumerate(zip(config.level_widths, config.attention, strict=True)))
        for level, (c_level, attend) in reversed(levels):
            for i in range(config.depth + 1):
                layers = self._layers(c + skips.pop(), c_level, attend)
                c = c_level
                if level > 0 and i == config.depth:
                    layers.append(Upsample(c))
                self.output_blocks.append(Stage(*layers))
                widths.append(c)
        self.widths = (*self.skip_widths, self.skip_widths[-1], *widths)  # channels by block index, as in `BlockHook`
        last = zero_init(nn.Conv2d(c, config.out_channels, 3, padding=1))
        self.out = nn.Sequential(group_norm(c), nn.SiLU(), last) if head else None
        self.transformers = number_blocks(self)
        self._view_slot: dict[int, int] = {}  # input block -> index of its cross-view module
        if cross_view is not None:
            self._add_cross_view(cross_view, widths)

    def _add_cross_view(self, config: CrossViewConfig, widths: list[int]) -> None:
        """Add the cross-view modules.

        DiffPortrait3D's layout also has modules after Downsamples, a second one after each Upsample, and one in the
        middle.
        """
        is_3d = config.layout == "diffportrait3d"

        def make_modules(c: int, count: int = 1) -> nn.ModuleList:
            return nn.ModuleList(CrossView(c, config) for _ in range(count))

        def ends_with(stage: nn.Module, kind: type[nn.Module]) -> bool:
            return isinstance(list(stage.children())[-1], kind)

        blocks = [i for i, s in enumerate(self.input_blocks) if i and (is_3d or not ends_with(s, Downsample))]
        self._view_slot = {block: slot for slot, block in enumerate(blocks)}
        self.input_blocks_motion_module = nn.ModuleList(make_modules(self.skip_widths[i]) for i in blocks)
        if is_3d:
            self.middle_block_motion_module = make_modules(self.skip_widths[-1])
        self.output_blocks_motion_module = nn.ModuleList(
            make_modules(c, 2 if is_3d and ends_with(stage, Upsample) else 1)
            for c, stage in zip(widths, self.output_blocks, strict=True)
        )

    def forward(
        self,
        x: Tensor,  # ((b v) c h w) noisy latents: b windows of v views
        t: Tensor,  # (1) or (b v) timesteps
        context: Tensor,  # (1 or (b v), n, context_dim)
        *,
        views: int | None = None,  # v; None skips the cross-view attention
        memory: Sequence[Tensor] | None = None,  # reference tokens for each transformer block
        control: Sequence[Tensor] | None = None,  # residuals of the ControlNet, finest first, middle last
        record: list[Tensor] | None = None,  # receives this network's own tokens
        middle_cross_view: bool = False,  # only DiffPortrait3D's layout has one
        stem: Stem | None = None,  # the result of run_stem() for the same x, t and views
        block_hook: BlockHook | None = None,  # reads, and may replace, the output of every block
    ) -> Tensor:
        conditions = Conditions(self.embed(x, t), context, memory, record)
        x, skips = stem or ((x, ()) if block_hook else self.run_stem(x, t, views))
        skips, hook = list(skips), block_hook or (lambda block, x: x)
        for i in range(len(skips), len(self.input_blocks)):
            x = hook(i, self._run_input_block(i, x, conditions, views))
            skips.append(x)
        x = hook(len(skips), self._run_middle(x, conditions, views if middle_cross_view else None))
        if control is not None:
            x = x + control[-1]
            skips = [skip + residual for skip, residual in zip(skips, control[:-1], strict=True)]
        for i, stage in enumerate(self.output_blocks):
            if record is not None and len(record) == self.transformers:
                break  # the appearance network: all tokens are recorded, and nothing uses its output
            x = self.run(stage, torch.cat([x, skips.pop()], dim=1), conditions)
            if views is not None:
                x = self._attend_across_views(self.output_blocks_motion_module[i], x, views)
            x = hook(len(self.input_blocks) + 1 + i, x)
        return x if self.out is None else self.out(x)

    def run_stem(self, x: Tensor, t: Tensor, views: int | None = None) -> Stem:
        """Run the blocks before the first transformer.

        They use no reference and no context, so their result is the same for all guidance passes.
        """
        conditions = Conditions(self.embed(x, t), x)  # x is a placeholder: no block here uses the context
        skips: list[Tensor] = []
        for i, stage in enumerate(self.input_blocks):
            if any(isinstance(layer, SpatialTransformer) for layer in stage.children()):
                break
            x = self._run_input_block(i, x, conditions, views)
            skips.append(x)
        return x, tuple(skips)

    def _run_input_block(self, i: int, x: Tensor, conditions: Conditions, views: int | None) -> Tensor:
        x = self.run(self.input_blocks[i], x, conditions)
        if views is not None and i in self._view_slot:
            x = self._attend_across_views(self.input_blocks_motion_module[self._view_slot[i]], x, views)
        return x

    def _run_middle(self, x: Tensor, conditions: Conditions, views: int | None) -> Tensor:
        if views is None:
            return self.run(self.middle_block, x, conditions)
        *layers, last = self.middle_block.children()
        for layer in layers:
            x = run_layer(layer, x, conditions)
        # the cross-view module sits between the transformer and the last residual block
        x = self._attend_across_views(self.middle_block_motion_module, x, views)
        return run_layer(last, x, conditions)

    def _attend_across_views(self, modules: nn.Module, x: Tensor, views: int) -> Tensor:
        for module in modules.children():
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(module, x, views, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
            else:
                x = module(x, views)
        return x
