"""The view denoiser: a U-Net with an appearance network, a ControlNet and cross-view attention.

It runs in one call (`forward`) or in parts. Sampling runs it in parts. The appearance network's tokens depend only on
the references and the noise level, so they are computed once per level and shared by all views, windows and guidance
passes. The ControlNet's residuals of a view do not depend on its neighbours, so they are computed once per view and
shared by all windows, and they are skipped for the pass that ignores them. The results equal those of one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from portrait360.models.controlnet import ControlConfig, ControlNet, hint_encoder
from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.unet import BlockHook, Stem, UNet, UNetConfig

ReferenceTokens = tuple[Tensor, ...]  # for each transformer block (b or 1, tokens of all references, c)


@dataclass(frozen=True)
class Quirks:
    """Deviations of the published programs from what one would write today."""

    half_schedule: bool = False  # the noise schedule's tables were stored in fp16 (DiffPortrait360, back view)
    middle_cross_view_when_unconditional: bool = False  # the middle module runs in that pass only (DiffPortrait3D)
    control_when_unconditional: bool = False  # False in all published programs
    unused_hint_encoder_in_appearance: bool = False  # the appearance network has an unused hint encoder (3D)


@dataclass(frozen=True)
class ViewDenoiserConfig:
    unet: UNetConfig = field(default_factory=UNetConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    cross_view: CrossViewConfig | None = field(default_factory=CrossViewConfig)  # None: the back view network
    quirks: Quirks = field(default_factory=Quirks)


class AppearanceNet(UNet):
    """The appearance network (ReferenceNet): a copy of the U-Net that is run for its tokens, not for its output."""

    def __init__(self, config: UNetConfig, unused_hint_encoder: ControlConfig | None) -> None:
        super().__init__(config, head=False)
        if unused_hint_encoder is not None:
            self.input_hint_block = hint_encoder(unused_hint_encoder, config.width)


@dataclass(frozen=True)
class ViewConditions:
    """The conditioning inputs of the views, which do not depend on the noise level."""

    context: Tensor  # (1 n context_dim), the empty prompt
    references: Tensor | None = None  # (n 1 c h w) clean latents: front, back, further photos
    hints: Tensor | None = None  # (views width h w), embedded by the ControlNet's hint encoder


class ViewDenoiser(nn.Module):
    def __init__(self, config: ViewDenoiserConfig) -> None:
        super().__init__()
        self.config = config
        unused = config.control if config.quirks.unused_hint_encoder_in_appearance else None
        # the attribute names are those of the published files
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
        views: int | None = None,  # v; None skips the cross-view attention
        unconditional: bool = False,  # the unconditional pass of classifier-free guidance
        block_hook: BlockHook | None = None,  # see UNet.forward
    ) -> Tensor:
        """Return the network's prediction for all views at once."""
        if unconditional:
            references = None
            hints = hints if self.config.quirks.control_when_unconditional else None
        memory = None if references is None else self.encode_references(references, t, context)
        residuals = None if hints is None else self.control(x, self.control.embed_hint(hints), t, context)
        return self.predict(x, t, context, views, memory, residuals, unconditional, block_hook=block_hook)

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        views: int | None,
        memory: ReferenceTokens | None,
        residuals: Sequence[Tensor] | None,
        unconditional: bool,
        stem: Stem | None = None,
        block_hook: BlockHook | None = None,
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
            stem=stem,
            block_hook=block_hook,
        )

    def encode_references(self, references: Tensor, t: Tensor, context: Tensor) -> ReferenceTokens:
        """Run the appearance network on references (n, 1 or b, c h w) at timesteps t (1 or b).

        Return the tokens to which the U-Net attends in addition to its own.
        """
        batch = max(len(t), references.shape[1])
        flat = references.expand(-1, batch, -1, -1, -1).flatten(0, 1)
        record: list[Tensor] = []
        self.appearance(flat, t.expand(batch).repeat(len(references)), context, record=record)
        return tuple(tokens.unflatten(0, (-1, batch)).transpose(0, 1).flatten(1, 2) for tokens in record)

    def embed_hints(self, conditions: ViewConditions, hints: Tensor, chunk: int = 8) -> ViewConditions:
        """Add hints (views hint_channels H W), encoded once for all noise levels, `chunk` views at a time."""
        embedded = torch.cat([self.control.embed_hint(part) for part in hints.split(chunk)])
        return replace(conditions, hints=embedded)

    def prepare_level(
        self,
        conditions: ViewConditions,
        x: Tensor,
        t: Tensor,
        chunk: int = 8,
        *,
        together: bool = True,
        memory: ReferenceTokens | None = None,
    ) -> ViewDenoiserAtLevel:
        """Compute once what all windows and passes share: for all views x (views c h w) at one noise level t (1).

        Unless `together`, the cross-view attention is skipped. `memory` holds the reference tokens of this level if
        they are already computed.
        """
        context = conditions.context
        if conditions.references is not None:
            memory = self.encode_references(conditions.references, t, context)
        residuals = None
        if conditions.hints is not None:
            parts = zip(x.split(chunk), conditions.hints.split(chunk), strict=True)
            by_chunk = [self.control(part, hint, t, context) for part, hint in parts]
            residuals = tuple(torch.cat(chunks) for chunks in zip(*by_chunk, strict=True))
        return ViewDenoiserAtLevel(self, context, t, memory, residuals, together)


class ViewDenoiserAtLevel:
    """The view denoiser at one noise level; both passes take a window: its latents and the indices of its views."""

    def __init__(
        self,
        denoiser: ViewDenoiser,
        context: Tensor,
        t: Tensor,  # (1)
        memory: ReferenceTokens | None,
        residuals: tuple[Tensor, ...] | None,  # of all views
        together: bool = True,
    ) -> None:
        self.denoiser, self.context, self.t = denoiser, context, t
        self.memory, self.residuals = memory, residuals
        self.together = together and denoiser.config.cross_view is not None
        self._last_stem: tuple[Tensor, Stem] | None = None  # the last window and its stem, for the second pass

    def conditional(self, x: Tensor, views: Tensor) -> Tensor:
        return self._run_pass(x, views, self.memory, self.residuals, unconditional=False)

    def unconditional(self, x: Tensor, views: Tensor) -> Tensor:
        with_control = self.denoiser.config.quirks.control_when_unconditional
        return self._run_pass(x, views, None, self.residuals if with_control else None, unconditional=True)

    def _run_pass(
        self,
        x: Tensor,
        views: Tensor,
        memory: ReferenceTokens | None,
        residuals: Sequence[Tensor] | None,
        unconditional: bool,
    ) -> Tensor:
        window_residuals = None if residuals is None else [residual[views] for residual in residuals]
        stem, count = self._run_stem(x), len(x) if self.together else None
        return self.denoiser.predict(x, self.t, self.context, count, memory, window_residuals, unconditional, stem)

    def _run_stem(self, x: Tensor) -> Stem:
        """Return the stem of a window, which both passes share: the second pass reuses that of the first."""
        if self._last_stem is None or self._last_stem[0] is not x:
            views = len(x) if self.together else None
            self._last_stem = x, self.denoiser.unet.run_stem(x, self.t, views)
        return self._last_stem[1]
