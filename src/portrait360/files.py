"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from portrait360.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary place beside `path` that takes its name once it is written, and leaves nothing if it is not."""
    _clear(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove what killed processes have left beside a file that is written again."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        number = left.suffix[1:]
        if number.isdigit() and not _alive(int(number)):
            left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere to ask means to end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else works in the folder meanwhile; who ends or is killed, holds nothing any more."""
    if os.name != "posix":  # a folder cannot be locked there
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another run is at work in {folder}; wait until it ends, or choose another folder."
            ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """What the disk or its permissions refuse becomes one plain sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error


def checked_size(path: Path, limit: int) -> int:
    """Bytes of a file from outside, before any of them is read; what is absent or too large is refused."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    size = path.stat().st_size
    if size > limit:
        raise UserError(f"{path} has {size >> 20} MB; bring one of at most {limit >> 20} MB.")
    return size


def read_limited(path: Path, limit: int) -> bytes:
    checked_size(path, limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} may not be read ({error.strerror}); check its permissions.") from error


def sha256(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """Of a file; `on_bytes` is told how many were read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def folder_at(path: Path) -> Path:
    """Made, if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{path} cannot be a folder: a file is in its way. Choose another place with -o.") from error
    return path
