"""What a fit leaves in its folder, so that a stopped one goes on: results, and what they were made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portrait360 import __version__
from portrait360.errors import UserError
from portrait360.files import read_limited, whole, writing_to
from portrait360.fit.corrections import Correction
from portrait360.head import NAMES, Head
from portrait360.view_sheet import ViewSheet

MARK = "fit.json"
MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class Record:
    """Of one fit; without a folder nothing is kept."""

    folder: Path | None
    views: str  # what digest() says
    settings: dict[str, object]

    def begun(self) -> tuple[Head, list[Correction]]:
        """What is there of the same fit; anything else is removed."""
        if self.folder is None:
            return Head(), []
        corrections = self._read()
        try:
            head = Head.load(self.folder)
        except UserError:  # nothing yet, or a damaged file
            head = Head()
        if corrections is not None and head.field is not None:
            return head, corrections
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (MARK, *(f"{name}.safetensors" for name in NAMES)):
                (self.folder / name).unlink(missing_ok=True)
        return Head(), []

    def keep(self, head: Head, corrections: Sequence[Correction]) -> None:
        """Results that are new. The mark is written last: without one they are not taken up."""
        if self.folder is None:
            return
        head.save(self.folder)
        with writing_to(self.folder), whole(self.folder / MARK) as temporary:
            temporary.write_text(
                json.dumps({**self._own(), "corrections": [c.label() for c in corrections]}, indent=1)
            )

    def _own(self) -> dict[str, object]:
        own = {"version": __version__, "views": self.views, "settings": self.settings}
        return json.loads(json.dumps(own))  # as it will be read: tuples are lists

    def _read(self) -> list[Correction] | None:
        assert self.folder is not None
        try:
            found = json.loads(read_limited(self.folder / MARK, MAX_BYTES))
            own = {name: found[name] for name in self._own()}
            corrections = [Correction.from_label(label) for label in found["corrections"]]
        except (UserError, OSError, ValueError, KeyError, TypeError):
            return None
        return corrections if own == self._own() else None


def digest(sheet: ViewSheet) -> str:
    """SHA-256 of all that a fit looks at."""
    total = hashlib.sha256()
    for view in sheet.all:
        for values in (view.rgb, view.alpha, view.camera.label(), view.known):
            if values is not None:
                total.update(np.ascontiguousarray(values, np.float32).tobytes())
    return total.hexdigest()
