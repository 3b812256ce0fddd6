"""A row for every portrait: kept as they come, a line each, and at the end in one table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from portrait360.files import whole

LINES, TABLE = "report.jsonl", "report.parquet"
ROWS = 1000  # written at a time


@dataclass(frozen=True)
class Row:
    name: str  # of the folder
    photo: str
    state: str  # done or failed
    sentence: str = ""  # why it failed
    seconds: float = 0.0
    key: str = ""  # of all that it depends on


class Journal:
    """Appended to by one process; a line that a kill has cut is left out."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LINES
        folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read() == b"\n" else b"\n")

    def rows(self) -> Iterator[Row]:
        if self.path.is_file():
            with self.path.open(encoding="utf-8") as file:
                for line in file:
                    try:
                        yield Row(**json.loads(line))
                    except (ValueError, TypeError):
                        continue

    def add(self, row: Row) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def finished(self) -> dict[str, str]:
        """Names and keys of what is done."""
        return {row.name: row.key for row in self.rows() if row.state == "done"}

    def write_table(self) -> Path:
        """The last row of every portrait, in the order of the names' last rows."""
        import pyarrow as pa  # extra [scale]
        from pyarrow import parquet

        last = {row.name: place for place, row in enumerate(self.rows())}
        rows = (asdict(row) for place, row in enumerate(self.rows()) if last[row.name] == place)
        kinds = {"seconds": pa.float64()}
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in Row.__dataclass_fields__])
        path = self.path.parent / TABLE
        with whole(path) as temporary, parquet.ParquetWriter(temporary, schema) as table:
            while some := list(islice(rows, ROWS)):
                table.write_table(pa.Table.from_pylist(some, schema))
        return path
