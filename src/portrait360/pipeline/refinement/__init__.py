"""Portrait Diffusion on a reconstructed head."""

from __future__ import annotations

from pathlib import Path

from portrait360.assets import HYBRID_PRIORS
from portrait360.utils.errors import UserError

BEGIN_CHOICES = ("field", "proxy", "gan", "avatar")  # of a run: fitted field, proxy, generated head, layers


def check_begin(begin: str) -> None:
    """Raise a UserError for a head from which refining cannot begin."""
    if begin not in BEGIN_CHOICES:
        raise UserError(f"`begin={begin}` is not valid; choose from {', '.join(BEGIN_CHOICES)}.")


def require_priors(weights: Path | None, option: str = "weights") -> Path:
    """The path of the hybrid priors: a file that the user gives as `option`, or what comes with this package."""
    if weights is not None and not weights.is_file():
        raise UserError(f"There is no file {weights}.")
    if weights is None and not HYBRID_PRIORS.is_file():
        raise UserError(
            f"No Portrait Diffusion weights are included; train some with `portrait360 train run hybrid` and pass "
            f"them as `{option}=FILE`."
        )
    return weights or HYBRID_PRIORS
