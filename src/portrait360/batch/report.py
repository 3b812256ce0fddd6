"""A row for every portrait, in one table."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

TABLE = "report.parquet"
ROWS = 1000  # written at a time


@dataclass(frozen=True)
class Row:
    name: str  # of the folder
    photo: str
    state: str  # done, kept (an earlier batch had made it) or failed
    sentence: str = ""  # why it failed
    seconds: float = 0.0
    key: str = ""  # of all that it depends on

    def packed(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpacked(cls, values: bytes | None) -> Row | None:
        """None where nothing is, or it is damaged."""
        try:
            return cls(**json.loads(values)) if values else None
        except (ValueError, TypeError):
            return None


def table_of(rows: Iterator[Row]) -> bytes:
    """Parquet; so many rows are in memory at a time, however many there are."""
    import pyarrow as pa  # extra [scale]
    from pyarrow import parquet

    kinds = {"seconds": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in Row.__dataclass_fields__])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE
        with parquet.ParquetWriter(path, schema) as table:
            while some := list(islice(rows, ROWS)):
                table.write_table(pa.Table.from_pylist([asdict(row) for row in some], schema))
        return path.read_bytes()
