"""Files of an avatar that other programs open, besides its .glb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_stl.file import write_avatar_stl
from portrait360.pipeline.export.avatar_usdz.file import write_avatar_usdz

WRITERS: dict[str, Callable[..., None]] = {"usdz": write_avatar_usdz, "stl": write_avatar_stl}


def write_avatar_file(folder: Path, avatar: Avatar, name: str, *, detail: float = 1.0) -> Path:
    """Write one of AVATAR_FORMATS under its usual name, and return its path."""
    file = folder / f"head.{name}"
    WRITERS[name](file, avatar, detail=detail)
    return file
