"""The sizes in which the networks come, as configurations."""

from __future__ import annotations

from portrait360.models.controlnet import ControlConfig
from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.view_denoiser import Quirks, ViewDenoiserConfig

DIFFPORTRAIT360 = ViewDenoiserConfig(quirks=Quirks(half_schedule=True))

DIFFPORTRAIT3D = ViewDenoiserConfig(
    cross_view=CrossViewConfig(layout="diffportrait3d", positions=32),
    quirks=Quirks(middle_cross_view_when_unconditional=True, unused_hint_encoder_in_appearance=True),
)

BACK_HEAD = ViewDenoiserConfig(cross_view=None, quirks=Quirks(half_schedule=True))

# Blocks of 4 x 4 pixels are rearranged into channels (space-to-depth, lossless), so RGBA has 64 channels at a quarter
# of the size. 7.7 million parameters and 4.1 GFLOP per view and noise level: as much as 16 MB in half precision and
# two cores allow. With more than one attention head it takes a third longer.
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
