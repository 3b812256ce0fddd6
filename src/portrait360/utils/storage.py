"""Storage for many files: a local folder, or any URL that fsspec knows (s3://, gs://, memory://)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors

FILE_SCHEME = "file://"


@dataclass(frozen=True)
class Storage:
    """A folder or URL. Names are relative, with slashes; errors are raised as UserErrors."""

    root: str

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a remote URL."""
        path = self.root.removeprefix(FILE_SCHEME)
        return None if "://" in path else Path(path)

    @contextmanager
    def open_folder(self, name: str) -> Iterator[Path]:
        """Yield a local folder to write to; on a remote URL its files then replace everything under this name.

        Local storage is written directly, so that interrupted work resumes there.
        """
        if self.folder is not None:
            yield self.folder / name
            return
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary) / "run"
            self.remove(name)
            for path in sorted((Path(temporary) / "run").rglob("*")):
                if path.is_file():
                    self.put(f"{name}/{path.relative_to(Path(temporary) / 'run').as_posix()}", path)

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file, or None if there is none."""
        with self.translate_errors():
            try:
                return (self.folder / name).read_bytes() if self.folder else self._remote.cat_file(self._url(name))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, values: bytes) -> None:
        with self.translate_errors():
            if self.folder is None:
                self._remote.pipe_file(self._url(name), values)
                return
            with atomic_write(self._local_path(name)) as temporary:
                temporary.write_bytes(values)

    def put(self, name: str, file: Path) -> None:
        """Copy a local file of any size to this name."""
        with self.translate_errors():
            if self.folder is None:
                self._remote.put_file(str(file), self._url(name))
                return
            with atomic_write(self._local_path(name)) as temporary:
                shutil.copyfile(file, temporary)

    def has(self, name: str) -> bool:
        with self.translate_errors():
            return (self.folder / name).is_file() if self.folder else self._remote.exists(self._url(name))

    def remove(self, name: str) -> None:
        """Delete a file; on a remote URL everything under this name. It need not exist."""
        with self.translate_errors():
            if self.folder is not None:
                (self.folder / name).unlink(missing_ok=True)
            elif self._remote.exists(self._url(name)):
                self._remote.rm(self._url(name), recursive=True)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn errors of any type that the file system raises into UserErrors."""
        if self.folder is not None:
            with translate_write_errors(self.folder):
                yield
            return
        try:
            yield
        except Exception as error:
            raise UserError(f"{self.root} cannot be reached ({type(error).__name__}: {error}).") from error

    def _local_path(self, name: str) -> Path:
        assert self.folder is not None
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def _remote(self) -> Any:
        from fsspec.core import url_to_fs  # needs the extra [scale] and the package for this kind of URL

        return url_to_fs(self.root)[0]

    def _url(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"
