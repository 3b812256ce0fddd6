"""How interrupted work resumes: everything that is kept knows the inputs that it was computed from.

`cache_key` turns inputs into a key; a `RecordFile` is a JSON file that is written last and vouches for the files
beside it; a `ResumeFile` holds the tensors of work that is not finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited

if TYPE_CHECKING:
    import torch  # imported where tensors are read or written: the web app's server needs none

MAX_BYTES = 8 << 20


def cache_key(inputs: Any) -> str:
    """The SHA-256 of plain values; the order of mappings does not matter."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def match_record(data: bytes | None, inputs: Mapping[str, Any], results: Sequence[str] = ()) -> dict[str, Any] | None:
    """The record in these bytes if it was made from exactly these inputs; None otherwise, or if it is damaged.

    `results` names the entries that are no inputs.
    """
    try:
        record = json.loads(data or b"")
        rest = {name: value for name, value in record.items() if name not in results}
    except (ValueError, AttributeError, RecursionError):
        return None
    return record if rest == json.loads(json.dumps(inputs)) else None


class RecordFile:
    """A JSON file that says which inputs the files beside it were computed from."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def load(self, inputs: Mapping[str, Any], results: Sequence[str] = ()) -> dict[str, Any] | None:
        try:
            data = read_limited(self.path, MAX_BYTES)
        except UserError:
            return None
        return match_record(data, inputs, results)

    def save(self, inputs: Mapping[str, Any], **results: Any) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps({**inputs, **results}, indent=1))

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


class ResumeFile:
    """Tensors and plain values of unfinished work. `key` identifies its inputs: state of other work is not loaded."""

    def __init__(self, path: Path, key: str, work: str) -> None:
        self.path, self.key, self.work = Path(path), key, work

    def save(self, state: dict[str, Any]) -> None:
        import torch

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as temporary:
            torch.save(state | {"key": self.key}, temporary)

    def load(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        import torch

        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location=device, weights_only=True)
            return state if state["key"] == self.key else None
        except Exception as error:  # damaged bytes reach the unpickler as any error at all
            raise UserError(f"{self.path} is damaged; delete it to start {self.work} again.") from error

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
