"""The archive that a .usdz file is: a zip without compression, whose entries begin at multiples of 64 bytes."""

from __future__ import annotations

import io
import struct
import zipfile

ALIGNMENT = 64
HEADER = 30  # bytes of an entry's header before its name
PADDING = 0x1986  # kind of the extra field that pads, as USD itself writes it
DATE = (1980, 1, 1, 0, 0, 0)  # the same files give the same archive


def pack_usdz(entries: dict[str, bytes]) -> bytes:
    """Return an archive of files by name, of which the first is the scene."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo(name, DATE)
            start = file.tell() + HEADER + len(name.encode())
            space = (-start - 4) % ALIGNMENT
            entry.extra = struct.pack("<HH", PADDING, space) + bytes(space)
            archive.writestr(entry, data)
    return file.getvalue()
