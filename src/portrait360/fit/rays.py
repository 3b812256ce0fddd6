"""Pixels of all views as rays: what the field is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait360.view_sheet import View

AROUND = 9  # pixels: so far around a matte rays are taken; beyond, the hull holds nothing


@dataclass(frozen=True)
class Rays:
    origins: Tensor  # (views, 3)
    view: Tensor  # (n,) which view
    directions: Tensor  # (n, 3)
    rgb: Tensor  # (n, 3)
    alpha: Tensor  # (n,)
    weight: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.view)


def all_rays(views: Sequence[View], device: torch.device) -> Rays:
    parts: dict[str, list[np.ndarray]] = {"view": [], "directions": [], "rgb": [], "alpha": [], "weight": []}
    for i, view in enumerate(views):
        near = cv2.dilate((view.alpha > 0).astype(np.uint8), np.ones((2 * AROUND + 1,) * 2, np.uint8)) > 0
        if view.known is not None:
            near &= view.known > 0.5
        parts["view"].append(np.full(near.sum(), i))
        parts["directions"].append(view.camera.rays(view.size, view.size)[1][near])
        parts["rgb"].append(view.rgb[near])
        parts["alpha"].append(view.alpha[near])
        parts["weight"].append(np.full(near.sum(), view.weight))
    tensors = {name: torch.from_numpy(np.concatenate(values)).to(device) for name, values in parts.items()}
    origins = torch.tensor(np.stack([v.camera.position for v in views]), dtype=torch.float32, device=device)
    floats = {name: value.float() for name, value in tensors.items() if name != "view"}
    return Rays(origins=origins, view=tensors["view"], **floats)
