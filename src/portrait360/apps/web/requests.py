"""What a run was asked for, kept in its folder: the photos and the settings.

While a run is to be done, its request lies in `job.json`, and a server that follows a killed one goes on from there.
Afterwards the same lies in `settings.json`, so that the page can show the settings and start from them again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait360.pipeline.options import MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited
from portrait360.utils.option_fields import option_fields

INPUT = "input"  # folder of a run with the photos and the request
PHOTO, BEHIND = f"{INPUT}/photo", f"{INPUT}/behind"  # folders with one photo each, under its own name
REQUEST, SETTINGS = f"{INPUT}/job.json", f"{INPUT}/settings.json"
MAX_BYTES = 1 << 16
FIELDS = tuple(name for name, _, _, info in option_fields(MakeOptions) if info.label)  # what the form offers
RESULTS = "results"  # none where the form asks for views only
HEAD, PICTURES, HEAD_AND_NERF = "3D head", "Pictures", "3D head and NeRF"  # what can be made
SUFFIXES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")  # others are dropped from uploads
MAX_LETTERS = 50  # of a photo's name: 200 bytes at most, of which every file system holds 255


@dataclass(frozen=True)
class Request:
    photo: Path
    behind: Path | None
    options: MakeOptions


def describe_choice(options: MakeOptions) -> str:
    """Return what these options make, in a word or two."""
    return PICTURES if options.results == () else HEAD_AND_NERF if options.fit else HEAD


def save_request(folder: Path, options: MakeOptions) -> None:
    with atomic_write(folder / REQUEST) as temporary:
        temporary.write_text(json.dumps({name: getattr(options, name) for name in (*FIELDS, RESULTS)}))


def close_request(folder: Path) -> None:
    """Keep the request as the settings of a run that is over."""
    if (folder / REQUEST).is_file():
        os.replace(folder / REQUEST, folder / SETTINGS)


def reopen_request(folder: Path) -> None:
    if (folder / SETTINGS).is_file():
        os.replace(folder / SETTINGS, folder / REQUEST)


def read_request(folder: Path) -> Request | None:
    """Return what a run was asked for; None if its folder does not say so, or is damaged."""
    try:
        record: Any = json.loads(read_limited(_find_record(folder), MAX_BYTES))
        views_only = record.pop(RESULTS, None) == []
        options = MakeOptions(**_check_values(record), results=() if views_only else None)
        photo = find_photo(folder, PHOTO)
    except (UserError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Request(photo, find_photo(folder, BEHIND), options) if photo else None


def _find_record(folder: Path) -> Path:
    path = folder / REQUEST
    path = path if path.is_file() else folder / SETTINGS
    if path.resolve() != path:
        raise ValueError("a link")
    return path


def _check_values(record: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the form's fields; a ValueError for anything else."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    for name, value in values.items():
        words = value if isinstance(value, tuple) else (value,)
        if name not in FIELDS or not all(isinstance(word, bool | int | float | str | None) for word in words):
            raise ValueError(name)
    return values


def find_photo(folder: Path, name: str = PHOTO) -> Path | None:
    """Return the photo that a run was made from, or the one from behind; None if it is not there, or is a link."""
    try:
        files = [path for path in (folder / name).iterdir() if path.is_file() and path.resolve() == path]
    except (OSError, RuntimeError):
        return None
    return files[0] if len(files) == 1 else None


def copy_photo(photo: Path, folder: Path, name: str) -> Path:
    """Copy an upload into the folder of its run, under the name that its owner gave it."""
    path = folder / name / clean_name(photo.name)
    path.parent.mkdir()
    try:
        shutil.copyfile(photo, path)
    except FileNotFoundError as error:
        raise UserError("The uploaded photo is no longer available; choose it again.") from error
    except OSError as error:
        raise UserError(f"The photo could not be copied into {folder} ({error.strerror}).") from error
    return path


def clean_name(name: str) -> str:
    """Return a file's name with ordinary characters only, and no suffix but those of pictures."""
    stem, _, suffix = name.rpartition(".")
    if suffix.lower() not in SUFFIXES:
        stem, suffix = name if not stem else f"{stem}.{suffix}", ""
    stem = re.sub(r"[^\w ()+.-]", "_", stem).strip(" .-")[:MAX_LETTERS].strip() or "photo"
    return f"{stem}.{suffix.lower()}" if suffix else stem
