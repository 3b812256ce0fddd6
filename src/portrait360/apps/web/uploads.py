"""The folder of uploads: how much may lie in it, and what is deleted when. It knows nothing of the page."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder, sha256

PREFIX = "portrait360-serve-"  # of the folder's name
ROUTE = "/upload"
LATEST = 8  # uploads that are kept, so that Make can be pressed again
YOUNG = 600.0  # seconds in which an upload stays whatever comes after it
MAX_REQUEST = 65 << 20  # bytes: one photo and its form
MAX_BYTES, MAX_COUNT = 1 << 30, 200  # of all uploads that lie there
FULL = "Too many photos are being uploaded; try again in a few minutes."


def prune_uploads(uploads: Path) -> None:
    """Delete what is old, but for the latest uploads; every run has its own copy of its photos."""
    entries = sorted(_entries(uploads), key=lambda entry: entry[1].st_mtime, reverse=True)
    whole = [path for path, _ in entries if len(path.name) == 64][:LATEST]  # uploads are named by their hash
    for path, stat in entries:
        if path not in whole and time.time() - stat.st_mtime > YOUNG:
            _delete(path)


def remove_stale_folders(parent: Path) -> None:
    """Delete the folders of uploads that killed servers left; a living one holds the lock of its folder."""
    user = os.getuid() if os.name == "posix" else 0  # Windows gives every file 0, and every user a folder of its own
    for path, stat in _entries(parent):
        is_ours = path.name.startswith(PREFIX) and stat.st_uid == user and path.is_dir()
        if is_ours and not path.is_symlink() and time.time() - stat.st_mtime > YOUNG:
            try:
                with lock_folder(path):
                    shutil.rmtree(path, ignore_errors=True)
            except (UserError, OSError):  # in use, or deleted by another server
                continue


def create_uploads_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=PREFIX))  # readable by this user only


def add_copy(photo: Path, uploads: Path) -> Path:
    """Return a copy of a photo among the uploads, named as if it had been uploaded."""
    prune_uploads(uploads)
    try:
        path = uploads / sha256(photo) / photo.name
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(photo, path)
        os.utime(path.parent)
    except OSError as error:
        raise UserError(f"{photo.name} is no longer available; choose the photo again.") from error
    return path


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what lies in a folder; entries may vanish at any time."""
    for name in os.listdir(folder):
        try:
            yield folder / name, (folder / name).lstat()
        except OSError:
            continue


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _usage(uploads: Path) -> tuple[int, int]:
    """Return the bytes of all files in the folder, and the number of its entries."""
    sizes = [stat.st_size for path, _ in _entries(uploads) for _, stat in (_entries(path) if path.is_dir() else ())]
    loose = [stat.st_size for path, stat in _entries(uploads) if not path.is_dir()]
    return sum(sizes) + sum(loose), len(os.listdir(uploads))


class UploadLimit:
    """ASGI middleware: refuses uploads where too many lie already, and those that the page's library cannot read."""

    def __init__(self, app: Any, uploads: Path) -> None:
        self.app, self.uploads, self.pending = app, uploads, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(ROUTE):
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit() or int(length[:20]) > MAX_REQUEST:
            return await answer(send, 413, f"Choose a photo of at most {MAX_REQUEST - 1 >> 20} MB.")
        prune_uploads(self.uploads)
        size, count = _usage(self.uploads)
        if size + self.pending + int(length) > MAX_BYTES or count >= MAX_COUNT:
            return await answer(send, 503, FULL)
        self.pending += int(length)
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self.pending -= int(length)

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 400 instead of 500: a form without a file or a name ends in the library as an internal error."""
        failed = False

        async def send_whole(message: Any) -> None:
            nonlocal failed
            failed = failed or message.get("status") == 500
            if not failed:
                await send(message)

        try:
            await self.app(scope, receive, send_whole)
        except Exception:
            if not failed:
                raise
        if failed:
            await answer(send, 400, "This request contains no photo.")


async def answer(send: Any, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole answer of plain text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
