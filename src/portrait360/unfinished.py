"""What killed work goes on with: a file that knows what it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from portrait360.errors import UserError
from portrait360.files import whole


class Unfinished:
    """`key` tells all that the work depends on; what other work has left is not gone on with."""

    def __init__(self, path: Path, key: str, work: str) -> None:
        self.path, self.key, self.work = Path(path), key, work

    def keep(self, state: dict[str, Any]) -> None:
        """Tensors and plain values."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.path) as temporary:
            torch.save(state | {"key": self.key}, temporary)

    def taken_up(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location=device, weights_only=True)
            return kept if kept["key"] == self.key else None
        except Exception as error:  # damaged bytes reach the unpickler as any error at all
            raise UserError(f"{self.path} is damaged; delete it, and {self.work} begins anew.") from error

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
