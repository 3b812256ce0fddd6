"""Write the .usdz of an avatar."""

from __future__ import annotations

from pathlib import Path

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_glb.file import make_parts
from portrait360.pipeline.export.avatar_usdz.archive import pack_usdz
from portrait360.pipeline.export.avatar_usdz.scene import describe_scene
from portrait360.utils.files import atomic_write, translate_write_errors


def write_avatar_usdz(path: Path, avatar: Avatar, *, detail: float = 1.0) -> None:
    """Write an avatar in the photo's expression as .usdz, atomically; it stands on the ground."""
    data = pack_avatar_usdz(avatar, detail=detail)
    with translate_write_errors(path), atomic_write(path) as temporary:
        temporary.write_bytes(data)


def pack_avatar_usdz(avatar: Avatar, *, detail: float = 1.0) -> bytes:
    """Return the bytes of the .usdz file of an avatar."""
    parts = make_parts(avatar, detail=detail)
    return pack_usdz(describe_scene(parts.pieces, parts.images, parts.weights))
