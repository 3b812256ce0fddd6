"""What was asked for, kept in a run's folder until the run is done: a server that was killed goes on from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portrait360.pipeline.options import MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited
from portrait360.utils.option_fields import option_fields

INPUT = "input"  # folder of a run with the photos
PHOTO, BEHIND = "photo", "behind"  # names of the photos without their suffixes
REQUEST = f"{INPUT}/job.json"
MAX_BYTES = 1 << 16
FIELDS = tuple(name for name, _, _, info in option_fields(MakeOptions) if info.label)  # what the form offers


def save_request(folder: Path, options: MakeOptions) -> None:
    with atomic_write(folder / REQUEST) as temporary:
        temporary.write_text(json.dumps({name: getattr(options, name) for name in FIELDS}))


def delete_request(folder: Path) -> None:
    (folder / REQUEST).unlink(missing_ok=True)


def read_request(folder: Path) -> tuple[Path, Path | None, MakeOptions] | None:
    """Return the photo, the one from behind, and the options; None if a folder holds none or they are damaged."""
    try:
        record: Any = json.loads(read_limited(folder / REQUEST, MAX_BYTES))
        if not all(name in FIELDS and isinstance(v, bool | int | float | str | None) for name, v in record.items()):
            return None
        options = MakeOptions(**record)
        photos = {path.stem: path for path in (folder / INPUT).iterdir() if path.is_file() and path.resolve() == path}
    except (UserError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return (photos[PHOTO], photos.get(BEHIND), options) if PHOTO in photos else None
