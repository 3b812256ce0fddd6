"""The folder of runs; the only code that turns a name from a browser into a path."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from portrait360.apps.web.requests import (
    HEAD,
    HEAD_AND_NERF,
    INPUT,
    PICTURES,
    REQUEST,
    SETTINGS,
    Request,
    find_photo,
    read_request,
)
from portrait360.pipeline.run import OWN, RECORD, read_warnings
from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder, read_limited, translate_write_errors
from portrait360.utils.option_fields import name_flags

SHEET, PAGE = "sheet.png", "viewer.html"
FILES = {  # files that can be downloaded, with their captions
    PAGE: "3D viewer",
    "head.glb": "Mesh, for Blender and games",
    "head.usdz": "Mesh, for iPhone and iPad",
    "head.stl": "Mesh, for 3D printing",
    "head.ply": "Gaussian splats",
    "head.spz": "Gaussian splats, compressed",
    "head.splat": "Gaussian splats, for browsers",
    "head.splats.glb": "Gaussian splats, as glTF",
    "turntable.mp4": "Turntable video",
    SHEET: "The head from all sides",
    "field.safetensors": "Radiance field (NeRF)",
    "fitted.ply": "Gaussian splats, fitted to the views",
    "avatar.html": "3D viewer with expressions",
    "avatar.glb": "Mesh with expressions",
}
ZIP, EVERYTHING = "views.zip", "head.zip"
COMPARE = "compare"
COMPARISON = (f"{COMPARE}/photo.webp", f"{COMPARE}/head.webp")  # the photo, and the head as its camera sees it
PORTRAIT = "portrait/portrait.png"  # what is used of the photo
PARAMETERS = "proxy/parameters.json"  # what an avatar says of itself
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
    name: str = ""  # of the photo, if the folder holds it
    is_partial: bool = False  # it was cancelled when something had been made
    style: str = ""  # of an avatar's hair
    compares: bool = False  # whether it holds the pictures of COMPARISON

    @property
    def kind(self) -> str:
        """What it made, in a word or two."""
        return PICTURES if not self.head else HEAD_AND_NERF if "field.safetensors" in self.files else HEAD


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

    def request(self, id: str) -> Request | None:
        """Return the photos and settings of a run that the page started."""
        folder = self.run_folder(id)
        return None if folder is None else read_request(folder)

    def delete(self, id: str) -> None:
        """Delete a run that is over, and its folder, unless the user keeps files of their own in it."""
        folder = self.run_folder(id)
        if folder is None or not (_is_complete(folder) or _is_partial(folder)):
            raise UserError("This run no longer exists.")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock_folder(folder))
            except UserError as error:
                raise UserError(
                    "Another process is using this run; wait until it ends, then delete the run."
                ) from error
            stack.enter_context(translate_write_errors(folder))
            for path in (folder / name for name in (*OWN, INPUT, COMPARE)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what else lies there is the user's
            folder.rmdir()

    def find_unfinished(self) -> list[Path]:
        """Return the folders with a job's request whose run did not come to its end, oldest first."""
        return sorted(entry for entry in self._folders() if _has(entry, REQUEST) and not _is_complete(entry))

    def file(self, id: str, name: str) -> Path | None:
        """Return a file that a browser may see: one that runs write, and no link to another file."""
        folder = self.run_folder(id)
        is_public = name in (*FILES, *COMPARISON, PORTRAIT) or VIEW_NAME.fullmatch(name)
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
        return next((name for name in ("views/000.png", SHEET, PORTRAIT) if self.file(id, name)), None)

    def finished_run(self, id: str) -> PastRun | None:
        """Return a run that is over, also one that was cancelled when something had been made."""
        folder = self.run_folder(id)
        return _past_run(folder) if folder and (_is_complete(folder) or _is_partial(folder)) else None

    def warnings(self, id: str) -> list[str]:
        """Return the warnings of a finished run, which name options as those of a running one do."""
        folder = self.run_folder(id)
        return [name_flags(text) for text in read_warnings(folder)] if folder and _is_complete(folder) else []

    def all(self) -> tuple[list[PastRun], int]:
        """Return the latest finished runs, and the number of older ones."""
        folders = [folder for folder in self._folders() if _is_complete(folder) or _is_partial(folder)]
        folders = sorted(folders, key=_time_made, reverse=True)
        runs = [run for entry in folders[:MAX_SHOWN_RUNS] if (run := _past_run(entry))]
        return runs, max(len(folders) - MAX_SHOWN_RUNS, 0)

    def download_name(self, id: str, name: str) -> str:
        """Return what a file of a run is called once it is downloaded: it names the photo, if that is known."""
        folder = self.run_folder(id)
        photo = None if folder is None else find_photo(folder)
        return name if photo is None else name_download(photo.name, name)

    def members(self, id: str, archive: str) -> list[str]:
        """Return what belongs into an archive of a run: the views and their cameras, or all files."""
        folder, names = self.run_folder(id), self.views(id)
        if folder is None or archive not in (ZIP, EVERYTHING):
            return []
        names = names and [*names, "views/transforms.json"]
        return [name for name in [*(FILES if archive == EVERYTHING else ()), *names] if _has(folder, name)]


def name_download(photo: str, name: str) -> str:
    stem = Path(photo).stem
    return f"{stem}.zip" if name == EVERYTHING else f"{stem}-{name}"


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


def _has_result(folder: Path) -> bool:
    return any(_has(folder, name) for name in (PAGE, "field.safetensors"))


def _is_complete(folder: Path) -> bool:
    return _has(folder, RECORD) and _has(folder, SHEET)


def _is_partial(folder: Path) -> bool:
    """Return whether a run was cancelled when it had made something that can be opened."""
    if _is_complete(folder) or not _has(folder, SETTINGS):
        return False
    return has_something(folder)


def has_something(folder: Path) -> bool:
    """Return whether a run has made anything that can be opened."""
    return any(_has(folder, name) for name in (*FILES, "views/000.png"))


def _time_made(folder: Path) -> float:
    try:
        return (folder / (SHEET if _has(folder, SHEET) else SETTINGS)).stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0.0


def _past_run(folder: Path) -> PastRun | None:
    """Return what is known of a run; None if its folder is deleted meanwhile."""
    try:
        record: Any = json.loads(read_limited(folder / RECORD, MAX_RECORD_BYTES))
        start = datetime.fromisoformat(record["begun"]).astimezone()
        views, head = int(record["settings"]["views"]), record["settings"]["results"] != [] and _has_result(folder)
        views = views if 0 <= views <= MAX_SHOWN_VIEWS else 0
    except (UserError, ValueError, KeyError, TypeError, OverflowError, RecursionError):  # damaged, or other version
        start, views, head = datetime.fromtimestamp(_time_made(folder)), 0, _has_result(folder)
    try:
        files = {name: (folder / name).stat().st_size for name in FILES if _has(folder, name)}
    except OSError:
        return None
    year = "" if start.year == datetime.now().year else f" {start.year}"
    photo = find_photo(folder)
    return PastRun(
        folder.name,
        f"{start.day} {start:%b}{year}, {start:%H:%M}",
        views,
        head,
        files,
        name=photo.name if photo else "",
        is_partial=_is_partial(folder),
        style=_read_style(folder),
        compares=all(_has(folder, name) for name in COMPARISON),
    )


def _read_style(folder: Path) -> str:
    """Return the hairstyle of a run's avatar; nothing if it has none, or its record is damaged."""
    if not _has(folder, PARAMETERS):
        return ""
    try:
        record: Any = json.loads(read_limited(folder / PARAMETERS, MAX_RECORD_BYTES))
        return str(record["hair"]["style"])
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return ""
