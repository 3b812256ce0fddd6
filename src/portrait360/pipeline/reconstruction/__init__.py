"""Views become a radiance field, Gaussian splats and a textured mesh."""

from __future__ import annotations

from collections.abc import Sequence

from portrait360.utils.errors import UserError

RESULTS = ("field", "splats", "mesh")


def check_results(results: Sequence[str]) -> None:
    """Raise a UserError for a result, as `--only` names it, that no fit has."""
    unknown = [name for name in results if name not in RESULTS]
    if unknown:
        raise UserError(f"`only={unknown[0]}` is not valid; choose from {', '.join(RESULTS)}.")
