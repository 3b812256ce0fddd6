"""What a batch is made of: a folder, a pattern, or a list of photos with options. Read as it is needed."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import iglob
from pathlib import Path

from portrait360.errors import UserError
from portrait360.wish import Wish, results_of

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
PHOTO = "photo"  # the column that is always there


def number(text: str) -> int:
    """Tables with gaps write 4 as 4.0."""
    value = float(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


READ = {
    **dict.fromkeys(("views", "size", "seed", "face", "steps"), number),
    **dict.fromkeys(("azimuth", "elevation", "orbit_elevation"), float),
    **dict.fromkeys(("preset", "method"), str),
    **dict.fromkeys(("back", "orbit"), Path),
    "results": results_of,
}
BESIDE = ("back", "orbit")  # files, looked for beside the list as photos are
LONGEST = 60  # letters of a photo's name in that of its run
ROWS = 1000  # of a Parquet file at a time


@dataclass(frozen=True)
class Item:
    """A photo, and what is wished for it alone."""

    photo: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Of its run's folder: the same for the same photo and options, and no other's."""
        stem = re.sub(r"[^\w.-]+", "-", Path(self.photo).stem)[:LONGEST]
        return f"{stem}-{hashlib.sha256(repr((self.photo, self.options)).encode()).hexdigest()[:12]}"

    def wish(self, usual: Wish) -> Wish:
        changes = {}
        for name, text in self.options:
            try:
                changes[name] = READ[name](text)
            except ValueError as error:
                raise UserError(f"{name} {text!r} does not work; give a number.") from error
        return replace(usual, **changes)


def items_of(inputs: str) -> Iterator[Item]:
    """In an order that does not depend on the disk, but for a pattern's or a folder's sorted as a whole."""
    path = Path(inputs)
    if path.is_dir():
        yield from (Item(str(f)) for f in sorted(path.iterdir()) if f.suffix.lower() in PICTURES)
    elif path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file, read_whole(path):
            reader = csv.DictReader(file)
            _check(reader.fieldnames or (), path)
            for row in reader:
                if None in row:
                    raise UserError(f"{path}, line {reader.line_num}, has more cells than columns; quote its commas.")
                yield _item(row, path.parent)
    elif path.suffix.lower() == ".parquet":
        with read_whole(path):
            yield from _parquet(path)
    elif path.suffix.lower() == ".txt":
        with path.open(encoding="utf-8-sig") as file, read_whole(path):
            yield from (_item({PHOTO: line.strip()}, path.parent) for line in file if line.strip())
    else:
        yield from (Item(name) for name in sorted(iglob(inputs, recursive=True)))


@contextmanager
def read_whole(path: Path) -> Iterator[None]:
    """A list's own errors are of many kinds."""
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read ({error}); save it again, as UTF-8.") from error


def checked(inputs: str) -> str:
    """Before anything is begun."""
    path = Path(inputs)
    if path.suffix.lower() in (".csv", ".parquet", ".txt") and not path.is_file():
        raise UserError(f"There is no file {path}.")
    if next(items_of(inputs), None) is None:
        raise UserError(f"{inputs} names no photo; give a folder, a pattern in quotes, or a .txt, .csv or .parquet.")
    return inputs


def _item(row: dict[str, str | None], beside: Path) -> Item:
    """Photos are looked for beside the list; empty cells wish nothing."""
    given = {name: str(value) for name, value in row.items() if value not in (None, "")}
    photo = given.pop(PHOTO, "")
    given |= {name: str(beside / given[name]) for name in BESIDE if name in given}
    return Item(str(beside / photo), tuple(sorted(given.items())))


def _parquet(path: Path) -> Iterator[Item]:
    from pyarrow import parquet  # extra [scale]

    file = parquet.ParquetFile(path)
    _check(file.schema_arrow.names, path)
    for rows in file.iter_batches(ROWS):
        yield from (_item(row, path.parent) for row in rows.to_pylist())


def _check(columns: object, path: Path) -> None:
    names = list(columns)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if PHOTO not in names:
        raise UserError(f"{path} has no column {PHOTO!r}.")
    unknown = [name for name in names if name != PHOTO and name not in READ]
    if unknown:
        raise UserError(f"{path} has a column {unknown[0]!r}; choose from {', '.join((PHOTO, *READ))}.")
