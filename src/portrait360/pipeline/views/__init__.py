"""Views around the head: rendered from the proxy, by the small denoiser, or by the published networks."""

from __future__ import annotations

from pathlib import Path

from portrait360.assets import VIEW_DENOISER
from portrait360.utils.errors import UserError

DEFAULT_VIEWS, MOST_VIEWS = 32, 360  # of an orbit
DENOISED = "denoised"  # the method whose views the small denoiser makes
DENOISER_MULTIPLE = 16  # pixels of a view that become one of the small denoiser's coarsest


def require_view_denoiser() -> Path:
    """The path of the weights that come with this package."""
    if not VIEW_DENOISER.is_file():
        raise UserError(
            f"This package includes no weights for the view denoiser; choose a method other than {DENOISED!r}."
        )
    return VIEW_DENOISER
