"""Export heads to files that other programs open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait360.utils.errors import UserError

SPLAT_FORMATS = ("ply", "splat", "spz", "splats.glb")  # endings of files of Gaussians
AVATAR_FORMATS = ("usdz", "stl")  # endings of files that only an avatar has
FORMATS = (*SPLAT_FORMATS, "glb", "obj", *AVATAR_FORMATS, "field", "html", "mp4", "webp", "gif", "scene", "sheet")
DEFAULT_FORMATS = ("ply", "glb", "html", "mp4", "sheet")


def check_formats(formats: Sequence[str]) -> None:
    """Raise a UserError for a format that no head can be written in."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UserError(f"`format={unknown[0]}` is not valid; choose from {', '.join(FORMATS)}.")


def find_format(path: Path) -> str | None:
    """Return the format that the ending of a file stands for."""
    return next((name for name in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(f".{name}")), None)
