"""Export heads to files that other programs open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path

SPLAT_FORMATS = ("ply", "splat", "spz", "splats.glb")  # endings of files of Gaussians
AVATAR_FORMATS = ("usdz", "stl")  # endings of files that only an avatar has
FORMATS = (*SPLAT_FORMATS, "glb", "obj", *AVATAR_FORMATS, "field", "html", "mp4", "webp", "gif", "scene", "sheet")
HEAD_FILES = (".ply", ".splat", ".spz", ".glb")  # that can be opened as heads
DEFAULT_FORMATS = ("ply", "glb", "html", "mp4", "sheet")


def check_formats(formats: Sequence[str]) -> None:
    """Raise a UserError for a format that no head can be written in."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UserError(f"`format={unknown[0]}` is not valid; choose from {', '.join(FORMATS)}.")


def check_head(path: Path) -> None:
    """Raise a UserError unless there is a folder or a file that may hold a head; none is opened."""
    check_path(path)
    if path.is_file() and path.suffix.lower() not in HEAD_FILES:
        *others, last = HEAD_FILES
        raise UserError(
            f"{path} is neither a folder with a head nor a {', '.join(others)} or {last} file; to make a head from a "
            f"photo, use `portrait360 make`."
        )


def find_format(path: Path) -> str | None:
    """Return the format that the ending of a file stands for."""
    return next((name for name in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(f".{name}")), None)
