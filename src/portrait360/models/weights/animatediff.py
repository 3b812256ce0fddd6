"""AnimateDiff v1.5 motion weights, which can initialise the cross-view attention: same modules, other names."""

from __future__ import annotations

import re

from portrait360.models.unet import UNet
from portrait360.models.weights.tensor_files import Spec, get_specs


def motion_name(name: str, depth: int = 2) -> str:
    """Convert AnimateDiff's tensor name to ours inside the U-Net; `depth` counts residual blocks per level."""
    if match := re.match(r"down_blocks\.(\d+)\.motion_modules\.(\d+)\.(.+)", name):
        return f"input_blocks_motion_module.{depth * int(match[1]) + int(match[2])}.0.{match[3]}"
    if match := re.match(r"up_blocks\.(\d+)\.motion_modules\.(\d+)\.(.+)", name):
        return f"output_blocks_motion_module.{(depth + 1) * int(match[1]) + int(match[2])}.0.{match[3]}"
    return name


def motion_specs(unet: UNet) -> dict[str, Spec]:
    """Return the specs of the cross-view attention's tensors in a U-Net."""
    return {name: spec for name, spec in get_specs(unet).items() if "_motion_module." in name}
