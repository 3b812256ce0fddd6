"""The pixels of all views as rays, to which the field is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait360.pipeline.views.view_set import View

MARGIN = 9  # pixels around a matte within which rays are used; farther out, the hull is empty


@dataclass(frozen=True)
class Rays:
    origins: Tensor  # (views, 3)
    view: Tensor  # (n,) index of the view
    directions: Tensor  # (n, 3)
    rgb: Tensor  # (n, 3)
    alpha: Tensor  # (n,)
    weight: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.view)


def all_rays(views: Sequence[View], device: torch.device) -> Rays:
    """Collect the rays of all pixels in or near a matte, as far as they lie inside the view's `known` mask."""
    parts: dict[str, list[np.ndarray]] = {"view": [], "directions": [], "rgb": [], "alpha": [], "weight": []}
    for i, view in enumerate(views):
        near = cv2.dilate((view.alpha > 0).astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
        if view.known_mask is not None:
            near &= view.known_mask > 0.5
        parts["view"].append(np.full(near.sum(), i))
        parts["directions"].append(view.camera.rays(view.size, view.size)[1][near])
        parts["rgb"].append(view.rgb[near])
        parts["alpha"].append(view.alpha[near])
        parts["weight"].append(np.full(near.sum(), view.weight))
    tensors = {name: torch.from_numpy(np.concatenate(values)).to(device) for name, values in parts.items()}
    origins = torch.tensor(np.stack([v.camera.position for v in views]), dtype=torch.float32, device=device)
    floats = {name: value.float() for name, value in tensors.items() if name != "view"}
    return Rays(origins=origins, view=tensors["view"], **floats)
