"""The view denoiser: U-Net with R (appearance), C (control) and V (cross-view attention), in one call or in steps.

In steps is how sampling goes: what R makes of the references depends on the references and the noise level only,
so it is computed once a level and shared by all views, windows and guidance passes; what C makes of a view does not
depend on its neighbours, so it is computed once a view and shared by all windows, and not at all for the pass that
ignores it. The numbers are the same as in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from portrait360.models.control import ControlConfig, ControlNet, hint_encoder
from portrait360.models.cross_view import CrossViewConfig
from portrait360.models.unet import Start, Touch, UNet, UNetConfig

Memory = tuple[Tensor, ...]  # for each transformer block (b or 1, tokens of all references, c)


@dataclass(frozen=True)
class Quirks:
    """Where the published programs differ from what one would write today."""

    half_schedule: bool = False  # the noise schedule's tables were stored in fp16 (DiffPortrait360, F)
    middle_cross_view_when_unconditional: bool = False  # V's middle module runs in that pass alone (DiffPortrait3D)
    control_when_unconditional: bool = False  # all published programs guide away from a pass without control
    unused_hint_encoder_in_appearance: bool = False  # R's file carries a hint encoder that never runs (3D)


@dataclass(frozen=True)
class ViewDenoiserConfig:
    unet: UNetConfig = field(default_factory=UNetConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    cross_view: CrossViewConfig | None = field(default_factory=CrossViewConfig)  # None: F, which makes one view
    quirks: Quirks = field(default_factory=Quirks)


class AppearanceNet(UNet):
    """R: a copy of the U-Net whose output nobody reads; its tokens are what is wanted."""

    def __init__(self, config: UNetConfig, unused_hint_encoder: ControlConfig | None) -> None:
        super().__init__(config, head=False)
        if unused_hint_encoder is not None:
            self.input_hint_block = hint_encoder(unused_hint_encoder, config.width)


@dataclass(frozen=True)
class ViewConditions:
    """What is known of the views, whatever the noise level."""

    context: Tensor  # (1 n context_dim), the empty prompt
    references: Tensor | None = None  # (n 1 c h w) clean latents: front, back, any more
    hints: Tensor | None = None  # (views width h w), embedded by C's hint encoder


class ViewDenoiser(nn.Module):
    def __init__(self, config: ViewDenoiserConfig) -> None:
        super().__init__()
        self.config = config
        unused = config.control if config.quirks.unused_hint_encoder_in_appearance else None
        # the three names are those of the published files
        self.model = nn.ModuleDict({"diffusion_model": UNet(config.unet, config.cross_view)})
        self.control_model = AppearanceNet(config.unet, unused)
        self.pose_control_model = ControlNet(config.unet, config.control)

    @property
    def unet(self) -> UNet:
        return self.model["diffusion_model"]  # pyright: ignore[reportReturnType]

    @property
    def appearance(self) -> AppearanceNet:
        return self.control_model

    @property
    def control(self) -> ControlNet:
        return self.pose_control_model

    def forward(
        self,
        x: Tensor,  # ((b v) c h w) noisy latents: b windows of v views
        t: Tensor,  # (1) or (b v)
        context: Tensor,  # (1 n context_dim)
        *,
        references: Tensor | None = None,  # (n, 1 or (b v), c h w) clean latents
        hints: Tensor | None = None,  # ((b v) hint_channels H W)
        views: int | None = None,  # v; None leaves V out
        unconditional: bool = False,  # the pass that guidance leads away from
        touch: Touch | None = None,  # as the U-Net's
    ) -> Tensor:
        """The network's prediction for all views at once."""
        if unconditional:
            references = None
            hints = hints if self.config.quirks.control_when_unconditional else None
        memory = None if references is None else self.remember(references, t, context)
        residuals = None if hints is None else self.control(x, self.control.embed_hint(hints), t, context)
        return self.predict(x, t, context, views, memory, residuals, unconditional, touch=touch)

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        views: int | None,
        memory: Memory | None,
        residuals: Sequence[Tensor] | None,
        unconditional: bool,
        start: Start | None = None,
        touch: Touch | None = None,
    ) -> Tensor:
        quirks = self.config.quirks
        return self.unet(
            x,
            t,
            context,
            views=None if self.config.cross_view is None else views,
            memory=memory,
            control=residuals,
            middle_cross_view=quirks.middle_cross_view_when_unconditional and unconditional,
            start=start,
            touch=touch,
        )

    def remember(self, references: Tensor, t: Tensor, context: Tensor) -> Memory:
        """Run R: references (n, 1 or b, c h w) and t (1 or b) -> the tokens that the main network will also see."""
        batch = max(len(t), references.shape[1])
        flat = rearrange(references.expand(-1, batch, -1, -1, -1), "n b c h w -> (n b) c h w")
        record: list[Tensor] = []
        self.appearance(flat, t.expand(batch).repeat(len(references)), context, record=record)
        return tuple(rearrange(tokens, "(n b) m c -> b (n m) c", b=batch) for tokens in record)

    def embed_hints(self, conditions: ViewConditions, hints: Tensor, chunk: int = 8) -> ViewConditions:
        """Add hints (views hint_channels H W): encoded here once for all noise levels, `chunk` views at a time."""
        embedded = torch.cat([self.control.embed_hint(part) for part in hints.split(chunk)])
        return replace(conditions, hints=embedded)

    def at(
        self,
        conditions: ViewConditions,
        x: Tensor,
        t: Tensor,
        chunk: int = 8,
        *,
        together: bool = True,
        memory: Memory | None = None,
    ) -> ViewDenoiserAtLevel:
        """Do once what all windows and passes share: all views x (views c h w) at one noise level t (1).

        Unless they are made `together`, V is left out. `memory`: what R has made of references at this level."""
        context = conditions.context
        if conditions.references is not None:
            memory = self.remember(conditions.references, t, context)
        residuals = None
        if conditions.hints is not None:
            parts = zip(x.split(chunk), conditions.hints.split(chunk), strict=True)
            by_part = [self.control(part, hint, t, context) for part, hint in parts]
            residuals = tuple(torch.cat(same) for same in zip(*by_part, strict=True))
        return ViewDenoiserAtLevel(self, context, t, memory, residuals, together)


class ViewDenoiserAtLevel:
    """The view denoiser at one noise level; both passes take a window: its latents and the views' places."""

    def __init__(
        self,
        denoiser: ViewDenoiser,
        context: Tensor,
        t: Tensor,  # (1)
        memory: Memory | None,
        residuals: tuple[Tensor, ...] | None,  # of all views
        together: bool = True,
    ) -> None:
        self.denoiser, self.context, self.t = denoiser, context, t
        self.memory, self.residuals = memory, residuals
        self.together = together and denoiser.config.cross_view is not None
        self._begun: tuple[Tensor, Start] | None = None  # the last window, for the pass that follows

    def conditional(self, x: Tensor, views: Tensor) -> Tensor:
        return self._pass(x, views, self.memory, self.residuals, unconditional=False)

    def unconditional(self, x: Tensor, views: Tensor) -> Tensor:
        keep = self.denoiser.config.quirks.control_when_unconditional
        return self._pass(x, views, None, self.residuals if keep else None, unconditional=True)

    def _pass(
        self,
        x: Tensor,
        views: Tensor,
        memory: Memory | None,
        residuals: Sequence[Tensor] | None,
        unconditional: bool,
    ) -> Tensor:
        chosen = None if residuals is None else [residual[views] for residual in residuals]
        start, across = self._start(x), len(x) if self.together else None
        return self.denoiser.predict(x, self.t, self.context, across, memory, chosen, unconditional, start)

    def _start(self, x: Tensor) -> Start:
        """Both passes over a window begin alike; the second finds what the first has done."""
        if self._begun is None or self._begun[0] is not x:
            views = len(x) if self.together else None
            self._begun = x, self.denoiser.unet.begin(x, self.t, views)
        return self._begun[1]
