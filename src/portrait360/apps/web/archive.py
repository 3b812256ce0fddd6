"""A zip file that is sent while it is written: nothing of it lies on the disk or in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 1 << 20  # bytes
COMPACT = (".png", ".mp4", ".webp", ".spz")  # suffixes of files that compression makes no smaller


class _Outbox:
    """A file to write to that cannot seek; `take` returns what has been written since."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def stream_zip(folder: Path, names: Iterable[str]) -> Iterator[bytes]:
    """Yield the bytes of a zip file with these files of a folder."""
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w") as archive:  # type: ignore[arg-type]
        for name in names:
            entry = zipfile.ZipInfo.from_file(folder / name, name, strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(COMPACT) else zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while data := source.read(CHUNK):
                    target.write(data)
                    yield outbox.take()
    yield outbox.take()
