"""The folder of runs: what lies on it, and the only way from a name that a browser says to a file."""

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

from portrait360.errors import UserError
from portrait360.files import read_limited, writing_to
from portrait360.run import RECORD

SHEET, PAGE = "sheet.png", "viewer.html"
FILES = {  # what can be downloaded, and in which words it is offered
    PAGE: "Page to turn the head",
    "head.ply": "Gaussian splats",
    "head.glb": "Textured mesh",
    "turntable.mp4": "Film",
    SHEET: "Sheet of views",
    "field.safetensors": "Field",
}
ZIP = "views.zip"
VIEW = re.compile(r"views/[0-9]{1,7}\.png")
SHOWN = 60  # past runs on the page
MAX_RECORD = 8 << 20


@dataclass(frozen=True)
class PastRun:
    """A finished run, as the page shows it."""

    id: str
    begun: str  # for people
    views: int
    head: bool
    files: dict[str, int]  # bytes, by name


class Shelf:
    """Runs are folders in one folder; the name of such a folder is the run's id."""

    def __init__(self, folder: Path) -> None:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()

    def new(self) -> Path:
        """A folder for another run; its name cannot be guessed."""
        folder = self.folder / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        with writing_to(self.folder):
            folder.mkdir()
        return folder

    def place(self, id: str) -> Path | None:
        """The folder of this name, if it is one of those that lie here; whatever else was said leads nowhere."""
        for entry in self.folder.iterdir():
            if entry.name == id and entry.is_dir() and not entry.is_symlink():
                return entry
        return None

    def file(self, id: str, name: str) -> Path | None:
        """A file that may be seen: one that a run writes, and not a link to another."""
        place = self.place(id)
        known = name in FILES or VIEW.fullmatch(name)
        if place is None or not known:
            return None
        file = place / name
        return file if file.is_file() and file.resolve() == file else None

    def views(self, id: str) -> list[str]:
        """Names of the views that are there already, in the order of the orbit."""
        place = self.place(id)
        found = (place / "views").glob("*.png") if place else ()
        return sorted(name for file in found if VIEW.fullmatch(name := f"views/{file.name}"))

    def picture(self, id: str) -> str | None:
        """The name of a small picture that stands for the run."""
        return next((name for name in ("views/000.png", SHEET) if self.file(id, name)), None)

    def finished(self, id: str) -> PastRun | None:
        place = self.place(id)
        return _past_run(place) if place and _whole(place) else None

    def all(self) -> tuple[list[PastRun], int]:
        """The latest finished runs, and how many older ones there are."""
        whole = [entry for entry in self.folder.iterdir() if not entry.is_symlink() and _whole(entry)]
        whole.sort(key=lambda entry: (entry / SHEET).stat().st_mtime, reverse=True)
        return [_past_run(entry) for entry in whole[:SHOWN]], max(len(whole) - SHOWN, 0)

    def zipped(self, id: str) -> IO[bytes] | None:
        """The views and their cameras as one file, which is gone once it is closed."""
        place, names = self.place(id), self.views(id)
        if place is None or not names:
            return None
        file = tempfile.TemporaryFile()  # noqa: SIM115 (who asked closes it)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # pictures are packed already
            for name in [*names, "views/transforms.json"]:
                if (place / name).is_file():
                    archive.write(place / name, name)
        file.seek(0)
        return file


def _whole(place: Path) -> bool:
    return (place / RECORD).is_file() and (place / SHEET).is_file()


def _past_run(place: Path) -> PastRun:
    try:
        record: Any = json.loads(read_limited(place / RECORD, MAX_RECORD))
        begun = datetime.fromisoformat(record["begun"]).astimezone()
        views, head = int(record["settings"]["views"]), bool(record["settings"]["results"])
    except (UserError, ValueError, KeyError, TypeError, RecursionError):  # another version's, or damaged
        begun, views, head = datetime.fromtimestamp((place / SHEET).stat().st_mtime), 0, (place / PAGE).is_file()
    files = {name: (place / name).stat().st_size for name in FILES if (place / name).is_file()}
    year = "" if begun.year == datetime.now().year else f" {begun.year}"
    return PastRun(place.name, f"{begun.day} {begun:%b}{year}, {begun:%H:%M}", views, head, files)
