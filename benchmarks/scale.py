"""What many heads cost, told from a batch that was made.

python -m benchmarks.scale OUT [--cores 64]

OUT is a finished `portrait360 batch … --workers N`, each worker with a core of its own. Everything but the first two
lines is multiplied, not measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from pyarrow import parquet

from portrait360.pipeline.batch.table import TABLE

AN_ITEM = 0.4e-3  # seconds of the coordinator (tests/test_batch.py: 10,000 in under 4 s)
REMEMBERED = 70  # bytes there: a number in a set
COUNTS = (1_000, 100_000, 10_000_000)


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes and files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cores", type=int, default=64)
    given = parser.parse_args()
    rows = [row for row in parquet.read_table(given.out / TABLE).to_pylist() if row["state"] == "done"]
    if not rows:
        raise SystemExit(f"{given.out} tells of no head that was made by its last batch.")
    seconds = mean(row["seconds"] for row in rows)
    stored, files = (mean(values) for values in zip(*(sizes(given.out / row["name"]) for row in rows), strict=True))
    print(f"{len(rows)} heads: {seconds:.1f} s of a core each, {3600 / seconds:.0f} an hour and core")
    print(f"{stored / 1e6:.1f} MB and {files:.0f} files each")
    print(f"heads       core hours   days on {given.cores} cores        TB   million files   coordinator: hours, MB")
    for count in COUNTS:
        hours = count * seconds / 3600
        print(
            f"{count:<10,}  {hours:10,.0f}   {hours / 24 / given.cores:16,.2f}  {count * stored / 1e12:8.2f}"
            f"   {count * files / 1e6:13.2f}   {count * AN_ITEM / 3600:18.2f}, {count * REMEMBERED / 1e6:.0f}"
        )


if __name__ == "__main__":
    main()
