"""What worker processes are doing, for the process that waits for them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from portrait360.utils.files import is_process_alive

MOST = 4  # workers whose work is named; a line holds no more


@dataclass(frozen=True)
class ActivityBoard:
    """A folder with one short file for each worker, named like its process; workers of other machines have none."""

    folder: Path

    def post(self, text: str) -> None:
        """Say what this process is doing; nothing, if the folder is gone: work does not fail for it."""
        file = self.folder / str(os.getpid())
        with suppress(OSError):
            temporary = file.with_suffix(".new")
            temporary.write_text(text, encoding="utf-8", errors="replace")
            temporary.replace(file)

    def clear(self) -> None:
        """Say that this process is doing nothing."""
        (self.folder / str(os.getpid())).unlink(missing_ok=True)

    def read(self) -> list[str]:
        """Return what the workers that are alive are doing, in an order that does not change."""
        texts = []
        for file in sorted(self.folder.glob("*"), key=lambda file: file.name):
            if file.name.isdecimal() and is_process_alive(int(file.name)):
                with suppress(OSError):  # it has just ended
                    texts.append(file.read_text(encoding="utf-8"))
        return texts

    def describe(self) -> str:
        """Return what the workers are doing as one line."""
        texts = self.read()
        return ", ".join(texts[:MOST]) + (f" and {len(texts) - MOST} more" if len(texts) > MOST else "")
