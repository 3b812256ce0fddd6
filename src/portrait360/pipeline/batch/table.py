"""The table of a batch, with one row for each photo, as CSV and as Parquet."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from portrait360.utils.resume import match_record

TABLE, CSV_TABLE = "report.parquet", "report.csv"
ROWS = 1000  # rows written at a time
FORMER_ERROR = "sentence"  # an entry of earlier versions, empty in the row of every head that was made


@dataclass(frozen=True)
class Row:
    name: str  # of the head's folder
    photo: str
    state: str  # done, kept (from an earlier batch) or failed
    error: str = ""  # why the photo failed
    seconds: float = 0.0
    key: str = ""  # the hash of all inputs of the head
    warnings: str = ""  # what the user should know of the head, joined by "; "
    made: str = ""  # head, or views where there is none

    def pack(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpack(cls, values: bytes | None, key: str) -> Row | None:
        """Return the row, or None if there is none with this key or it is damaged."""
        names = [name for name in (*cls.__dataclass_fields__, FORMER_ERROR) if name != "key"]
        record = match_record(values, {"key": key}, results=names)
        try:
            return None if record is None else cls(**{k: v for k, v in record.items() if k != FORMER_ERROR})
        except TypeError:
            return None


def pack_tables(rows: Iterator[Row]) -> dict[str, bytes]:
    """Return the rows as a Parquet file and as a CSV file, by name; only ROWS rows are in memory at a time."""
    import pyarrow as pa  # extra [scale]
    from pyarrow import parquet

    types = {"seconds": pa.float64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in Row.__dataclass_fields__])
    with tempfile.TemporaryDirectory() as folder:
        path, text = Path(folder) / TABLE, Path(folder) / CSV_TABLE
        with (
            parquet.ParquetWriter(path, schema) as table,
            text.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            sheet = csv.DictWriter(file, schema.names)
            sheet.writeheader()
            while chunk := [asdict(row) for row in islice(rows, ROWS)]:
                table.write_table(pa.Table.from_pylist(chunk, schema))
                sheet.writerows(chunk)
        return {file.name: file.read_bytes() for file in (path, text)}
