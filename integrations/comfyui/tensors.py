"""Between ComfyUI's tensors and portrait360's pictures.

An IMAGE is (batch, h, w, 3) in [0, 1]; a MASK is (batch, h, w) and, as Load Image gives it, 1 where a picture is
see-through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import Picture

MASK_HELP = "White is see-through, as in the mask of Load Image."
COLOURS = {"grey": 0.5, "white": 1.0, "black": 0.0}
LARGEST = 150_000_000  # pixels


def picture_from_image(image: torch.Tensor, mask: torch.Tensor | None = None) -> Picture:
    """Return the first picture of a batch, with the mask's opposite as its matte."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4) or not 0 < image.shape[1] * image.shape[2] <= LARGEST:
        raise UserError(f"An image of the shape {tuple(image.shape)} is not a picture; connect an IMAGE.")
    pixels = image[0].detach().cpu().numpy().astype(np.float32)
    rgb = np.ascontiguousarray(np.clip(np.nan_to_num(pixels[..., :3]), 0, 1))
    if mask is None:
        return Picture(rgb, None, name="the image")
    given = mask[0] if mask.ndim == 3 else mask
    alpha = 1 - np.clip(np.nan_to_num(given.detach().cpu().numpy().astype(np.float32)), 0, 1)
    if alpha.shape != rgb.shape[:2] or alpha.min() == 1:  # Load Image gives an empty mask to opaque pictures
        return Picture(rgb, None, name="the image")
    return Picture(rgb, np.ascontiguousarray(alpha), name="the image")


def composite(picture: Image.Image, background: str) -> tuple[Floats, Floats]:
    """Return colours over a background (`none`: as they are) and the alpha of a picture with transparency."""
    values = np.asarray(picture.convert("RGBA"), np.float32) / 255
    rgb, alpha = values[..., :3], values[..., 3]
    if background in COLOURS:
        rgb = rgb * alpha[..., None] + COLOURS[background] * (1 - alpha[..., None])
    return rgb, alpha


def stack_images(pictures: Sequence[Floats]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).astype(np.float32))


def alpha_to_mask(alphas: Sequence[Floats]) -> torch.Tensor:
    return torch.from_numpy(1 - np.stack(alphas).astype(np.float32))
