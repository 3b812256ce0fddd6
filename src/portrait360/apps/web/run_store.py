"""The folder of runs; the only code that turns a name from a browser into a path."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from portrait360.apps.web.unfinished import REQUEST
from portrait360.pipeline.run import RECORD, read_warnings
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited, translate_write_errors
from portrait360.utils.option_fields import name_flags

SHEET, PAGE = "sheet.png", "viewer.html"
FILES = {  # files that can be downloaded, with their captions
    PAGE: "Page with the head in 3D",
    "avatar.html": "Page with the animated head",
    "avatar.glb": "Animated mesh",
    "head.ply": "Gaussian splats",
    "head.glb": "Textured mesh",
    "turntable.mp4": "Turntable video",
    SHEET: "Contact sheet",
    "field.safetensors": "Radiance field",
}
ZIP = "views.zip"
VIEW_NAME = re.compile(r"views/[0-9]{1,7}\.png")
MAX_SHOWN_RUNS = 60
MAX_SHOWN_VIEWS = 9999
MAX_RECORD_BYTES = 8 << 20


@dataclass(frozen=True)
class PastRun:
    """A finished run, as the page shows it."""

    id: str
    date: str  # when it was started, for people
    views: int
    head: bool
    files: dict[str, int]  # sizes in bytes by name


class RunStore:
    """A folder with a subfolder for each run; the name of the subfolder is the id of the run."""

    def __init__(self, folder: Path) -> None:
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()

    def create_run_folder(self) -> Path:
        """Create a folder for a new run; its name cannot be guessed."""
        folder = self.folder / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        with translate_write_errors(self.folder):
            folder.mkdir(parents=True)  # somebody may have deleted the folder of runs
        return folder

    def run_folder(self, id: str) -> Path | None:
        """Return the folder of this run, or None unless the id is the name of a subfolder that is no link."""
        return next((entry for entry in self._folders() if entry.name == id), None)

    def _folders(self) -> list[Path]:
        """Return the folders that may be runs: no links, none that cannot be read or whose name is no text."""
        try:
            with os.scandir(self.folder) as entries:
                return [Path(entry.path) for entry in entries if _is_run_folder(entry)]
        except OSError:  # somebody deleted it
            return []

    def find_unfinished(self) -> list[Path]:
        """Return the folders with a job's request whose run did not come to its end, oldest first."""
        return sorted(entry for entry in self._folders() if _has(entry, REQUEST) and not _is_complete(entry))

    def file(self, id: str, name: str) -> Path | None:
        """Return a file that a browser may see: one that runs write, and no link to another file."""
        folder = self.run_folder(id)
        is_public = name in FILES or VIEW_NAME.fullmatch(name)
        if folder is None or not is_public:
            return None
        return folder / name if _has(folder, name) else None

    def views(self, id: str) -> list[str]:
        """Return the names of the views so far, in the order of the orbit."""
        folder = self.run_folder(id)
        if folder is None or (folder / "views").is_symlink():
            return []
        files = [file.name for file in (folder / "views").glob("*.png")]
        return sorted(f"views/{name}" for name in files if VIEW_NAME.fullmatch(f"views/{name}"))

    def card_picture(self, id: str) -> str | None:
        """Return the name of the picture for the card of a run."""
        return next((name for name in ("views/000.png", SHEET) if self.file(id, name)), None)

    def finished_run(self, id: str) -> PastRun | None:
        folder = self.run_folder(id)
        return _past_run(folder) if folder and _is_complete(folder) else None

    def warnings(self, id: str) -> list[str]:
        """Return the warnings of a finished run, which name options as those of a running one do."""
        folder = self.run_folder(id)
        return [name_flags(text) for text in read_warnings(folder)] if folder and _is_complete(folder) else []

    def all(self) -> tuple[list[PastRun], int]:
        """Return the latest finished runs, and the number of older ones."""
        folders = sorted(filter(_is_complete, self._folders()), key=_time_made, reverse=True)
        runs = [run for entry in folders[:MAX_SHOWN_RUNS] if (run := _past_run(entry))]
        return runs, max(len(folders) - MAX_SHOWN_RUNS, 0)

    def zip_views(self, id: str) -> IO[bytes] | None:
        """Return the views and their cameras as a zip file that is deleted when it is closed."""
        folder, names = self.run_folder(id), self.views(id)
        if folder is None or not names:
            return None
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
            for name in [*names, "views/transforms.json"]:
                if _has(folder, name):
                    archive.write(folder / name, name)
        file.seek(0)
        return file


def _is_run_folder(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode()  # fails for bytes that are no UTF-8, which no page can hold
        return entry.is_dir(follow_symlinks=False) and os.access(entry.path, os.R_OK | os.X_OK)
    except (OSError, UnicodeEncodeError):
        return False


def _has(folder: Path, name: str) -> bool:
    """Return whether a folder has this file and neither it nor a folder above it is a link."""
    file = folder / name
    try:
        return file.is_file() and file.resolve() == file
    except (OSError, RuntimeError):  # not readable, or a circle of links
        return False


def _is_complete(folder: Path) -> bool:
    return _has(folder, RECORD) and _has(folder, SHEET)


def _time_made(folder: Path) -> float:
    try:
        return (folder / SHEET).stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0.0


def _past_run(folder: Path) -> PastRun | None:
    """Return what is known of a run; None if its folder is deleted meanwhile."""
    try:
        record: Any = json.loads(read_limited(folder / RECORD, MAX_RECORD_BYTES))
        start = datetime.fromisoformat(record["begun"]).astimezone()
        views, head = int(record["settings"]["views"]), bool(record["settings"]["results"])
        views = views if 0 <= views <= MAX_SHOWN_VIEWS else 0
    except (UserError, ValueError, KeyError, TypeError, OverflowError, RecursionError):  # damaged, or other version
        start, views, head = datetime.fromtimestamp(_time_made(folder)), 0, _has(folder, PAGE)
    try:
        files = {name: (folder / name).stat().st_size for name in FILES if _has(folder, name)}
    except OSError:
        return None
    year = "" if start.year == datetime.now().year else f" {start.year}"
    return PastRun(folder.name, f"{start.day} {start:%b}{year}, {start:%H:%M}", views, head, files)
