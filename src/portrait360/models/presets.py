"""The sizes in which the networks come: data, and the only place that knows a preset's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portrait360.cameras import FOCAL_SD15
from portrait360.models.control import ControlConfig
from portrait360.models.cross_view import CrossViewConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.models.view_denoiser import Quirks, ViewDenoiserConfig

DIFFPORTRAIT360 = ViewDenoiserConfig(quirks=Quirks(half_schedule=True))

DIFFPORTRAIT3D = ViewDenoiserConfig(
    cross_view=CrossViewConfig(layout="diffportrait3d", positions=32),
    quirks=Quirks(middle_cross_view_when_unconditional=True, unused_hint_encoder_in_appearance=True),
)

BACK_HEAD = ViewDenoiserConfig(cross_view=None, quirks=Quirks(half_schedule=True))

# Pixels are folded 4 x 4 into channels (lossless), so RGBA has 64 channels at a quarter of the size. 7.7 million
# parameters and 4.1 GFLOP a view and noise level: what 16 MB of half precision and two cores allow. More heads than
# one take a third longer.
SMALL = ViewDenoiserConfig(
    unet=UNetConfig(
        in_channels=64,
        out_channels=64,
        width=32,
        mult=(1, 2, 3),
        depth=1,
        attention=(False, True, True),
        heads=1,
        context_dim=64,
    ),
    # hint: RGB, confidence, mask, normals, position of the completed proxy
    control=ControlConfig(hint_channels=11, hint_widths=(16, 32, 64), hint_strides=(1, 2, 2)),
    cross_view=CrossViewConfig(heads=4),
)


@dataclass(frozen=True)
class Preset:
    name: str
    size: int  # side of a view in pixels
    views: ViewDenoiserConfig
    vae: VAEConfig | None  # None: pixels are folded, not encoded
    weights: tuple[str, ...]  # what `portrait360 weights list` must show for it to run; the views' first
    crop: int = 512  # side of the portrait in pixels
    focal: float | None = None  # of the views' cameras, in image sides; None: the portrait's
    proxy: str = "proxy"  # how its proxy is made
    back: str | None = None  # the system that makes the view from behind
    gan: str | None = None  # the system of the generator that its proxy is made with instead, where it is there
    steps: tuple[int, int] | None = None  # of the sampler: as published, and ours; None: no network makes views


LONGER = 724  # pixels of a portrait of which a lens of FOCAL_SD15 sees 512
DIFFUSION: dict[str, Any] = {
    "size": 512,
    "vae": VAEConfig(),
    "crop": LONGER,
    "focal": FOCAL_SD15,
    "gan": "panohead",
}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("small", size=256, views=SMALL, vae=None, weights=("small",), proxy="completed"),
        Preset(
            "sd15",
            views=DIFFPORTRAIT360,
            weights=("diffportrait360", "back-head"),
            back="back-head",
            steps=(50, 20),
            **DIFFUSION,
        ),
        Preset("diffportrait3d", views=DIFFPORTRAIT3D, weights=("diffportrait3d",), steps=(100, 20), **DIFFUSION),
    )
}
