"""Pictures on their way through a network, and the libraries it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.floating]
Pictures = Sequence[Floats]  # each (s, s, 3) in [0, 1]

BATCH = 16


def installed(*packages: str) -> bool:
    try:
        for package in packages:
            import_module(package)
    except (ImportError, RuntimeError):  # the latter where torchvision was built for another torch
        return False
    return True


def resized(picture: Floats, side: int) -> Floats:
    smooth = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(picture.astype(np.float32), (side, side), interpolation=smooth).clip(0, 1)


def tensor(pictures: Pictures) -> Tensor:
    """(n 3 h w)"""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), dtype=np.float32))


def in_batches(function: Callable[[Pictures], Tensor], pictures: Pictures) -> Floats:
    """`function` of each BATCH of pictures."""
    import torch

    with torch.inference_mode():
        return torch.cat([function(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]).numpy()


def pairs(a: Pictures, b: Pictures) -> list[tuple[Floats, Floats]]:
    if len(a) != len(b):
        raise ValueError(f"pictures are compared in pairs, got {len(a)} and {len(b)}")
    return list(zip(a, b, strict=True))


def one_by_one(metric: Any, a: Pictures, b: Pictures) -> Floats:
    """A metric of torchmetrics' sums over the pictures that it sees at once."""
    import torch

    with torch.inference_mode():
        return np.array([float(metric(*(tensor([x.clip(0, 1)]) for x in pair))) for pair in pairs(a, b)])
