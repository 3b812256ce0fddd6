"""The folder of runs; the only code that turns a name from a browser into a path."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from portrait360.pipeline.run import RECORD, read_warnings
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited, translate_write_errors
from portrait360.utils.option_fields import name_flags

SHEET, PAGE = "sheet.png", "viewer.html"
FILES = {  # files that can be downloaded, with their captions
    PAGE: "Page with the head in 3D",
    "head.ply": "Gaussian splats",
    "head.glb": "Textured mesh",
    "turntable.mp4": "Turntable video",
    SHEET: "Contact sheet",
    "field.safetensors": "Radiance field",
}
ZIP = "views.zip"
VIEW_NAME = re.compile(r"views/[0-9]{1,7}\.png")
MAX_SHOWN_RUNS = 60
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
            folder.mkdir()
        return folder

    def run_folder(self, id: str) -> Path | None:
        """Return the folder of this run, or None unless the id is the name of a subfolder that is no link."""
        for entry in self.folder.iterdir():
            if entry.name == id and entry.is_dir() and not entry.is_symlink():
                return entry
        return None

    def file(self, id: str, name: str) -> Path | None:
        """Return a file that a browser may see: one that runs write, and no link to another file."""
        folder = self.run_folder(id)
        is_public = name in FILES or VIEW_NAME.fullmatch(name)
        if folder is None or not is_public:
            return None
        file = folder / name
        return file if file.is_file() and file.resolve() == file else None

    def views(self, id: str) -> list[str]:
        """Return the names of the views so far, in the order of the orbit."""
        folder = self.run_folder(id)
        files = (folder / "views").glob("*.png") if folder else ()
        return sorted(name for file in files if VIEW_NAME.fullmatch(name := f"views/{file.name}"))

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
        folders = [entry for entry in self.folder.iterdir() if not entry.is_symlink() and _is_complete(entry)]
        folders.sort(key=lambda entry: (entry / SHEET).stat().st_mtime, reverse=True)
        return [_past_run(entry) for entry in folders[:MAX_SHOWN_RUNS]], max(len(folders) - MAX_SHOWN_RUNS, 0)

    def zip_views(self, id: str) -> IO[bytes] | None:
        """Return the views and their cameras as a zip file that is deleted when it is closed."""
        folder, names = self.run_folder(id), self.views(id)
        if folder is None or not names:
            return None
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
            for name in [*names, "views/transforms.json"]:
                if (folder / name).is_file():
                    archive.write(folder / name, name)
        file.seek(0)
        return file


def _is_complete(folder: Path) -> bool:
    return (folder / RECORD).is_file() and (folder / SHEET).is_file()


def _past_run(folder: Path) -> PastRun:
    try:
        record: Any = json.loads(read_limited(folder / RECORD, MAX_RECORD_BYTES))
        start = datetime.fromisoformat(record["begun"]).astimezone()
        views, head = int(record["settings"]["views"]), bool(record["settings"]["results"])
    except (UserError, ValueError, KeyError, TypeError, RecursionError):  # damaged, or of another version
        start, views, head = datetime.fromtimestamp((folder / SHEET).stat().st_mtime), 0, (folder / PAGE).is_file()
    files = {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}
    year = "" if start.year == datetime.now().year else f" {start.year}"
    return PastRun(folder.name, f"{start.day} {start:%b}{year}, {start:%H:%M}", views, head, files)
