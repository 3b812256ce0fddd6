"""A portrait becomes a coarse textured head: hair shell, texture completion, GAN inversion."""

from __future__ import annotations

from portrait360.models.weights.installed import require_weights
from portrait360.utils.errors import UserError

METHODS = ("avatar", "completed", "proxy", "gan")
"""In layers, with the small network, from the fit and the photos alone, and by inversion of a 3D GAN."""
GENERATOR = "panohead"


def check_method(method: str) -> None:
    """Raise a UserError unless the method exists and its weights are there."""
    if method not in METHODS:
        raise UserError(f"`method={method}` is not valid; choose from {', '.join(METHODS)}.")
    if method == "gan":
        require_weights((GENERATOR,), "`method=gan`")
