"""Reading and writing files safely: atomic writes, locked folders, size limits, hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from portrait360.utils.errors import UserError

LOCKS_FOLDERS = os.name == "posix"  # Windows only locks files
IN_USE = "Another run is using {}; wait until it ends, or choose another folder."


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it is renamed to `path` on success and deleted on failure."""
    _remove_stale(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove the temporary files that killed processes left beside `path`."""
    for temporary in path.parent.glob(f".{escape(path.name)}.*"):
        pid = temporary.suffix[1:]
        if pid.isdigit() and not is_process_alive(int(pid)):
            temporary.unlink(missing_ok=True)


def is_process_alive(pid: int) -> bool:
    if os.name != "posix":  # on Windows os.kill would end the process
        import psutil

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder; the lock ends with the process, even if that is killed."""
    with _lock_by_handle(folder) if LOCKS_FOLDERS else _lock_by_file(folder):
        yield


@contextmanager
def _lock_by_handle(folder: Path) -> Iterator[None]:
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(IN_USE.format(folder)) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def _lock_by_file(folder: Path) -> Iterator[None]:
    """Lock a file in the user's temporary folder: one in the folder would keep it from being deleted on Windows."""
    import filelock

    name = hashlib.sha256(os.path.normcase(folder.resolve()).encode(errors="surrogatepass")).hexdigest()
    locks = Path(tempfile.gettempdir()) / "portrait360-locks"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(locks / f"{name[:32]}.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(IN_USE.format(folder)) from error


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk or its permissions into a UserError."""
    try:
        yield
    except OSError as error:
        check_no_file(folder)
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error


def check_no_file(folder: Path) -> None:
    """Raise a UserError if what should be a folder is a file."""
    if folder.is_file():
        raise UserError(f"{folder} is a file, not a folder; choose another folder.")


def check_name(path: Path) -> None:
    """Raise a UserError for a name that no file can have, such as one that is too long."""
    try:
        os.stat(path)
    except ValueError as error:  # a zero byte
        raise UserError(f"{str(path)!r} is not a valid file name; choose another.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(
                f"{str(path)[:80]!r} is not a valid file name ({error.strerror}); choose another."
            ) from error


def check_size(path: Path, limit: int) -> int:
    """Return the size of a file in bytes; raise a UserError if it is missing or larger than `limit`."""
    check_name(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    size = path.stat().st_size
    if size > limit:
        raise UserError(f"{path} is {size >> 20} MB; use a file of at most {limit >> 20} MB.")
    return size


def check_path(path: Path) -> None:
    """Raise a UserError unless there is a file or a folder."""
    check_name(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.")


def check_folder(path: Path, kind: str) -> None:
    """Raise a UserError unless there is a folder; `kind` says what it should be."""
    check_path(path)
    if not path.is_dir():
        raise UserError(f"{path} is a file; give {kind}.")


def read_limited(path: Path, limit: int) -> bytes:
    check_size(path, limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def sha256(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """Return the SHA-256 of a file; `on_bytes` is called with the number of bytes of each block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def create_folder(path: Path) -> Path:
    """Create the folder if it does not exist, and return it."""
    check_name(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{path} cannot be a folder, because a file has that name; choose another folder with -o."
        ) from error
    return path
