"""AnimateDiff v1.5 motion weights are a start for V: the same modules under other names."""

from __future__ import annotations

import re

from portrait360.checkpoints import Spec, specs_of
from portrait360.models.unet import UNet


def motion_name(name: str, depth: int = 2) -> str:
    """AnimateDiff's name -> ours, inside the U-Net; `depth` is the number of residual blocks a level."""
    if match := re.match(r"down_blocks\.(\d+)\.motion_modules\.(\d+)\.(.+)", name):
        return f"input_blocks_motion_module.{depth * int(match[1]) + int(match[2])}.0.{match[3]}"
    if match := re.match(r"up_blocks\.(\d+)\.motion_modules\.(\d+)\.(.+)", name):
        return f"output_blocks_motion_module.{(depth + 1) * int(match[1]) + int(match[2])}.0.{match[3]}"
    return name


def motion_specs(unet: UNet) -> dict[str, Spec]:
    """The tensors of V in a U-Net."""
    return {name: spec for name, spec in specs_of(unet).items() if "_motion_module." in name}
