"""The inputs of a batch: a folder, a pattern, or a list of photos with options, which is read lazily."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import has_magic, iglob
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from portrait360.pipeline.options import MakeOptions, parse_formats, parse_results
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_name, check_path
from portrait360.utils.option_fields import option_fields

if TYPE_CHECKING:
    from pyarrow import RecordBatch

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
PHONE_PICTURES = {".heic", ".heif", ".avif"}  # photos that cannot be read: each has a row that says so
PHOTO = "photo"  # the required column


def parse_integer(text: str) -> int:
    """Parse an integer; tables with empty cells store 4 as 4.0."""
    value = parse_number(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def parse_number(text: str) -> float:
    """Parse a finite number."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def find_parsers() -> dict[str, Callable[[str], Any]]:
    """The columns that a list may have: every option of a photo that is one number, word or file."""
    parse = {int: parse_integer, float: parse_number, str: str, Path: Path}
    parsers: dict[str, Callable[[str], Any]] = {"results": parse_results, "formats": parse_formats}
    for name, kind, _, _ in option_fields(MakeOptions):
        kinds = [one for one in get_args(kind) or (kind,) if one in parse]
        if kinds and get_origin(kind) is not tuple and name not in ("device", "refine_with"):
            parsers[name] = parse[kinds[0]]
    return parsers


PARSERS = find_parsers()
FILE_OPTIONS = tuple(name for name, parser in PARSERS.items() if parser is Path)  # relative to the list, like photos
MAX_STEM = 60  # characters of a photo's name in the name of its run
FEW = 20  # photos that are looked at before a batch begins
ROWS = 1000  # rows of a Parquet file read at a time
MAX_COLUMN_BYTES = 64 << 20  # of a column in one row group of a Parquet file, unpacked
MAX_CELL_BYTES = 8192  # of a Parquet file; a path has 4096 at most


@dataclass(frozen=True)
class Item:
    """A photo, and the options that apply to it alone."""

    photo: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The name of its run's folder, unique for this photo and these options."""
        stem = re.sub(r"[^\w.-]+", "-", Path(self.photo).stem)[:MAX_STEM]
        return f"{stem}-{hashlib.sha256(repr((self.photo, self.options)).encode()).hexdigest()[:12]}"

    def apply_to(self, defaults: MakeOptions) -> MakeOptions:
        """Return the options of this photo: the defaults with its own changes."""
        changes = {}
        for name, text in self.options:
            try:
                changes[name] = PARSERS[name](text)
            except ValueError as error:
                raise UserError(f"{name} {text[:40]!r} is not a valid number; correct it.") from error
        return replace(defaults, **changes)


def read_items(inputs: str) -> Iterator[Item]:
    """Read the items of a folder, pattern or list, in an order that does not depend on the file system.

    Lists are read lazily; the names of a folder or pattern are collected and sorted first.
    """
    path = Path(inputs)
    check_name(path)
    if path.is_dir():
        yield from (Item(str(f)) for f in sorted(path.iterdir()) if f.suffix.lower() in PICTURES | PHONE_PICTURES)
    elif path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file, report_read_errors(path):
            reader = csv.DictReader(file)
            _check_columns(reader.fieldnames or (), path)
            for row in reader:
                if None in row:
                    raise UserError(f"{path}, line {reader.line_num}, has more cells than columns; quote its commas.")
                yield _make_item(row, path.parent)
    elif path.suffix.lower() == ".parquet":
        with report_read_errors(path):
            yield from _read_parquet(path)
    elif path.suffix.lower() == ".txt":
        with path.open(encoding="utf-8-sig") as file, report_read_errors(path):
            yield from (_make_item({PHOTO: line.strip()}, path.parent) for line in file if line.strip())
    else:
        yield from (Item(name) for name in sorted(iglob(inputs, recursive=True)))


@contextmanager
def report_read_errors(path: Path) -> Iterator[None]:
    """Turn any error while a list is read into a sentence for the user."""
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read ({error}); save it again, as UTF-8.") from error


def check_inputs(inputs: str) -> str:
    """Check before the batch starts that the inputs exist and name a photo."""
    path = Path(inputs)
    if path.suffix.lower() in (".csv", ".parquet", ".txt") and not path.is_file():
        raise UserError(f"There is no file {path}.")
    if not has_magic(inputs):
        check_path(path)
    if next(read_items(inputs), None) is None:
        raise UserError(
            f"{inputs} contains no photo; give a folder, a quoted glob pattern, or a .txt, .csv or .parquet list."
        )
    return inputs


def find_skipped(inputs: str) -> list[str]:
    """Return the names of the files in a folder that are not read, because their suffix is no picture's."""
    path = Path(inputs)
    if not path.is_dir():
        return []
    files = (f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
    return sorted(f.name for f in files if f.suffix.lower() not in PICTURES | PHONE_PICTURES)


def check_pictures(inputs: str) -> None:
    """Raise a UserError if there are only a few photos and none of them can be read."""
    from portrait360.utils.images import check_picture  # loads numpy, which --help does not need

    items, problems = list(islice(read_items(inputs), FEW + 1)), []
    if len(items) > FEW:
        return
    for item in items:
        try:
            return check_picture(Path(item.photo))
        except UserError as error:
            problems.append(str(error))
    raise UserError(*problems)


def _make_item(row: dict[str, str | None], folder: Path) -> Item:
    """Make an item from a row of a list in `folder`, to which its paths are relative; empty cells are no options."""
    options = {name: str(value) for name, value in row.items() if value not in (None, "")}
    photo = options.pop(PHOTO, "")
    options |= {name: str(folder / options[name]) for name in FILE_OPTIONS if name in options}
    return Item(str(folder / photo), tuple(sorted(options.items())))


def _read_parquet(path: Path) -> Iterator[Item]:
    from pyarrow import parquet, types  # extra [scale]

    schema = parquet.read_schema(path)
    _check_columns(schema.names, path)
    plain = [types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_null]
    for column in schema:
        if not any(is_kind(column.type) for is_kind in plain):
            raise UserError(f"{path} contains {column.name} as {column.type}; save it as text or numbers.")
    # repeated texts stay in one dictionary until a row is read: a small file may repeat a long one very often
    file = parquet.ParquetFile(path, read_dictionary=schema.names)
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    parts = (group.column(i) for group in groups for i in range(group.num_columns))
    if max((part.total_uncompressed_size for part in parts), default=0) > MAX_COLUMN_BYTES:
        raise UserError(f"{path} has a row group of more than {MAX_COLUMN_BYTES >> 20} MB; write smaller row groups.")
    for rows in file.iter_batches(ROWS):
        _check_cells(rows, path)
        for i in range(rows.num_rows):
            yield from (_make_item(row, path.parent) for row in rows.slice(i, 1).to_pylist())


def _check_cells(rows: RecordBatch, path: Path) -> None:
    """Raise a UserError for a text that is longer than any path, before it is copied."""
    from pyarrow import compute, types

    for column in rows.columns:
        texts = column.dictionary if types.is_dictionary(column.type) else column
        is_text = types.is_string(texts.type) or types.is_large_string(texts.type)
        if not is_text:
            continue
        longest = compute.call_function("max", [compute.call_function("binary_length", [texts])]).as_py()
        if (longest or 0) > MAX_CELL_BYTES:
            raise UserError(f"{path} has a cell of more than {MAX_CELL_BYTES} bytes; shorten it.")


def _check_columns(columns: object, path: Path) -> None:
    names = list(columns)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if PHOTO not in names:
        raise UserError(f"{path} has no column {PHOTO!r}; add one with the paths of the photos.")
    unknown = [name for name in names if name != PHOTO and name not in PARSERS]
    if unknown:
        raise UserError(f"{path} has an unknown column {unknown[0]!r}; choose from {', '.join((PHOTO, *PARSERS))}.")
