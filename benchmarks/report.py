"""One report of all methods: synthetic heads with their truth, and portraits without one.

python -m benchmarks.report -o DIR [--limit 10] [--workers 2] [--only PROTOCOL ...] [--method NAME ...]
    [--no-refit]

Writes the reports of synthetic-v1 and synthetic-v2, of wild-v2 over the astronaut and six portraits that are rendered
here, and report.md with all of them. A stopped run resumes; figures do not depend on the number of workers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.looks import ASTRONAUT, HEADS, PHOTO
from portrait360.evaluation.cases import render_synthetic_photo
from portrait360.evaluation.evaluate import evaluate
from portrait360.evaluation.methods import ORACLE
from portrait360.evaluation.protocols import find_protocol
from portrait360.utils.files import atomic_write
from portrait360.utils.images import save_picture
from portrait360.utils.parallel.process_pool import ProcessPool

PROTOCOLS = ("synthetic-v1", "synthetic-v2", "wild-v2")
METHODS = ("proxy", "completed", "avatar")


def render_portraits(folder: Path) -> list[Path]:
    """Render the portraits of the guard of looks as photos; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"synthetic_{i}.png" for i in range(HEADS.count)]
    for i, path in enumerate(paths):
        if not path.is_file():
            save_picture(path, render_synthetic_photo(HEADS, i, PHOTO)[3].rgb)
    return paths


def run_protocol(
    name: str, output: Path, methods: Sequence[str], workers: int, limit: int | None, refit: bool = True
) -> list[str]:
    """Evaluate all methods by a protocol; return a line for each case at which one failed."""
    synthetic = find_protocol(name).source == "synthetic"
    inputs = [] if synthetic else [ASTRONAUT, *render_portraits(output / "portraits")]
    methods = [*[ORACLE] * synthetic, *methods]
    engine = ProcessPool(workers)
    return evaluate(inputs, output / name, protocol=name, methods=methods, engine=engine, limit=limit, refit=refit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PROTOCOLS, default=PROTOCOLS, metavar="PROTOCOL")
    parser.add_argument("--method", nargs="+", default=METHODS, metavar="NAME")
    parser.add_argument("--no-refit", dest="refit", action="store_false", help="leave out the slowest figures")
    arguments = parser.parse_args()
    settings = arguments.output, arguments.method, arguments.workers, arguments.limit, arguments.refit
    for name in arguments.only:
        for line in run_protocol(name, *settings):
            print(line)
    found = [path for name in PROTOCOLS if (path := arguments.output / name / "report.md").is_file()]
    with atomic_write(arguments.output / "report.md") as temporary:
        texts = [p.read_text(encoding="utf-8").replace("(sheet.png)", f"({p.parent.name}/sheet.png)") for p in found]
        temporary.write_text("\n".join(texts), encoding="utf-8")
    print(f"-> {arguments.output / 'report.md'}")


if __name__ == "__main__":
    main()
