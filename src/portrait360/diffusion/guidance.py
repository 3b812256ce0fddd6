"""Classifier-free guidance between any two passes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Pass = Callable[[Tensor, Tensor], Tensor]  # (a window's latents, indices of its views in the orbit) -> prediction


def guide(conditional: Pass, unconditional: Pass, scale: float) -> Pass:
    """Return the guided pass uc + scale (c - uc); scale 1 skips the unconditional pass, 0 the conditional one."""
    if scale == 1:
        return conditional
    if scale == 0:
        return unconditional

    def predict(x: Tensor, views: Tensor) -> Tensor:
        uc = unconditional(x, views)
        return uc + scale * (conditional(x, views) - uc)

    return predict
