"""Where much is written: a folder, or anything that fsspec knows (s3://, gs://, memory://)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait360.errors import UserError
from portrait360.files import whole, writing_to

OURS = "file://"


@dataclass(frozen=True)
class Place:
    """Names are relative, with slashes. What goes wrong there is told in a sentence."""

    root: str

    @property
    def folder(self) -> Path | None:
        """None if it is somewhere else."""
        path = self.root.removeprefix(OURS)
        return None if "://" in path else Path(path)

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A folder whose files, and no others, lie under that name afterwards. A folder of ours is worked in, so that
        what was begun there is taken up again."""
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
        """None where nothing is."""
        with self.reached():
            try:
                return (self.folder / name).read_bytes() if self.folder else self._there.cat_file(self._at(name))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, values: bytes) -> None:
        with self.reached():
            if self.folder is None:
                self._there.pipe_file(self._at(name), values)
                return
            with whole(self._own(name)) as temporary:
                temporary.write_bytes(values)

    def put(self, name: str, file: Path) -> None:
        """A file of any size."""
        with self.reached():
            if self.folder is None:
                self._there.put_file(str(file), self._at(name))
                return
            with whole(self._own(name)) as temporary:
                shutil.copyfile(file, temporary)

    def has(self, name: str) -> bool:
        with self.reached():
            return (self.folder / name).is_file() if self.folder else self._there.exists(self._at(name))

    def remove(self, name: str) -> None:
        """A file, or elsewhere all that lies under that name; nothing, if there is none."""
        with self.reached():
            if self.folder is not None:
                (self.folder / name).unlink(missing_ok=True)
            elif self._there.exists(self._at(name)):
                self._there.rm(self._at(name), recursive=True)

    @contextmanager
    def reached(self) -> Iterator[None]:
        """A place's own errors are of many kinds."""
        if self.folder is not None:
            with writing_to(self.folder):
                yield
            return
        try:
            yield
        except Exception as error:
            raise UserError(f"{self.root} cannot be reached ({type(error).__name__}: {error}).") from error

    def _own(self, name: str) -> Path:
        assert self.folder is not None
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def _there(self) -> Any:
        from fsspec.core import url_to_fs  # extra [scale], and a package of the place's own

        return url_to_fs(self.root)[0]

    def _at(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"
