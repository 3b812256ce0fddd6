"""Choosing the device to compute on."""

from __future__ import annotations

import torch

from portrait360.utils.errors import UserError


def select_device(name: str | None) -> torch.device:
    """Return the named device; by default CUDA where it is available, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name not in available:
        raise UserError(f"There is no device {name!r} here; choose {' or '.join(available)}.")
    return torch.device(name)
