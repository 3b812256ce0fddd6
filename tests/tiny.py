"""Systems like the published ones, but small enough for a test."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from portrait360.models.control import ControlConfig
from portrait360.models.cross_view import CrossViewConfig
from portrait360.models.text import TextConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.models.view_denoiser import Quirks, ViewDenoiserConfig
from portrait360.weights.systems import POSITION_IDS, SCHEDULE_TABLES, System

UNET = UNetConfig(width=32, mult=(1, 2), attention=(True, False), heads=4, context_dim=32)
VAE = VAEConfig(width=32, mult=(1, 2), depth=1)
TEXT = TextConfig(width=32, layers=1, heads=2)
CONTROL = ControlConfig(hint_widths=(16, 32), hint_strides=(1, 2))


def denoiser_config(cross_view: CrossViewConfig | None, quirks: Quirks | None = None) -> ViewDenoiserConfig:
    return ViewDenoiserConfig(UNET, CONTROL, cross_view, quirks or Quirks())


def system(name: str) -> System:
    denoiser = {
        "diffportrait360": denoiser_config(CrossViewConfig(heads=4), Quirks(half_schedule=True)),
        "diffportrait3d": denoiser_config(
            CrossViewConfig("diffportrait3d", heads=4), Quirks(unused_hint_encoder_in_appearance=True)
        ),
        "back-head": denoiser_config(None),
        "sd15": None,
    }[name]
    return System(name, denoiser, UNET, VAE, TEXT)


def state_of(of: System, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A published file's content with random weights: networks, schedule tables, position ids."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: (0.1 * torch.randn(spec.shape, generator=generator)).to(dtype)
        for name, spec in of.expected().items()
        if name != POSITION_IDS
    }
    state |= {name: torch.zeros(1000, dtype=torch.float16) for name in sorted(SCHEDULE_TABLES)}
    state[POSITION_IDS] = torch.arange(of.text.tokens)[None]
    return state


def save(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def animatediff(specs: Iterable[str]) -> dict[str, str]:
    """V's names in the 360 layout, by AnimateDiff's, written out from the two layouts."""
    theirs = {}
    for name in specs:
        kind, slot, _, rest = name.replace("_blocks_motion_module", "").split(".", 3)
        side, n = ("down", 2) if kind == "input" else ("up", 3)
        theirs[f"{side}_blocks.{int(slot) // n}.motion_modules.{int(slot) % n}.{rest}"] = name
    return theirs
