"""The record in a fit's folder, from which an interrupted fit resumes: its results and the inputs they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portrait360.pipeline.reconstruction import RESULTS
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.reconstruction.view_corrections import Correction
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.files import translate_write_errors
from portrait360.utils.resume import RecordFile
from portrait360.utils.version import __version__

RECORD = "fit.json"


@dataclass(frozen=True)
class FitRecord:
    """The saved results of one fit; without a folder, nothing is saved."""

    folder: Path | None
    views: str  # the result of hash_views()
    settings: dict[str, object]

    def load(self) -> tuple[Head, list[Correction]]:
        """Load the saved results of the same fit; remove those of any other."""
        if self.folder is None:
            return Head(), []
        record = RecordFile(self.folder / RECORD).load(self._inputs(), results=("corrections",))
        try:
            head = Head.load(self.folder)
            corrections = None if record is None else [Correction.from_label(v) for v in record["corrections"]]
        except (UserError, ValueError, KeyError, TypeError):  # nothing yet, or a damaged file
            head, corrections = Head(), None
        if corrections is not None and head.field is not None:
            return head, corrections
        with translate_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (RECORD, *(f"{name}.safetensors" for name in RESULTS)):
                (self.folder / name).unlink(missing_ok=True)
        return Head(), []

    def save(self, head: Head, corrections: Sequence[Correction]) -> None:
        """Save new results. The record is written last: without it they are not loaded again."""
        if self.folder is None:
            return
        head.save(self.folder)
        labels = [correction.label() for correction in corrections]
        with translate_write_errors(self.folder):
            RecordFile(self.folder / RECORD).save(self._inputs(), corrections=labels)

    def _inputs(self) -> dict[str, object]:
        return {"version": __version__, "views": self.views, "settings": self.settings}


def hash_views(view_set: ViewSet) -> str:
    """Return the SHA-256 of everything that a fit reads from its views."""
    total = hashlib.sha256()
    for view in view_set.all:
        for values in (view.rgb, view.alpha, view.camera.label(), view.known_mask):
            if values is not None:
                total.update(np.ascontiguousarray(values, np.float32).tobytes())
    if view_set.surface is not None:
        total.update(np.packbits(view_set.surface).tobytes())
    return total.hexdigest()
