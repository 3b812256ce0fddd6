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


@dataclass(frozen=True)
class Place:
    """Names are relative, with slashes."""

    root: str

    @property
    def folder(self) -> Path | None:
        """None if it is somewhere else."""
        return None if "://" in self.root else Path(self.root)

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A folder whose files lie under that name afterwards. A folder of ours is worked in, so that what was begun
        there is taken up again."""
        if self.folder is not None:
            yield self.folder / name
            return
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary) / "run"
            for path in sorted((Path(temporary) / "run").rglob("*")):
                if path.is_file():
                    within = path.relative_to(Path(temporary) / "run").as_posix()
                    self._there.pipe_file(self._at(f"{name}/{within}"), path.read_bytes())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What goes wrong with a folder of ours is told in a sentence."""
        if self.folder is None:
            yield
            return
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            yield

    def read(self, name: str) -> bytes | None:
        """None where nothing is."""
        try:
            return (self.folder / name).read_bytes() if self.folder else self._there.cat_file(self._at(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, values: bytes) -> None:
        if self.folder is None:
            self._there.pipe_file(self._at(name), values)
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_bytes(values)

    def put(self, name: str, file: Path) -> None:
        """A file of any size."""
        if self.folder is None:
            self._there.put_file(str(file), self._at(name))
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            shutil.copyfile(file, temporary)

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file() if self.folder else self._there.exists(self._at(name))

    @property
    def _there(self) -> Any:
        try:
            from fsspec.core import url_to_fs  # extra [scale]

            return url_to_fs(self.root)[0]
        except (ImportError, ValueError) as error:  # ... or a package of the place's own
            raise UserError(f"{self.root} cannot be reached: {error}") from error

    def _at(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"
