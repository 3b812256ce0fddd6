"""`portrait360 eval`: how good a method is, in a table that can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    what: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[WHAT]...", help="Photos, finished runs, or a data set's folder; see --protocol."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the report.")] = Path(
        "report"
    ),
    protocol: Annotated[
        str,
        typer.Option(
            help="synthetic (makes its own portraits), wild (photos, runs), portrait-diffusion (photos, "
            "runs), renderme360 or nersemble (the data set's folder)."
        ),
    ] = "synthetic",
    method: Annotated[
        list[str] | None,
        typer.Option(help="completed, proxy, oracle; may be said again. repeat and mirror are always there."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many cases, the first ones.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="At work side by side, each with one thread.", min=1)] = 2,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster's address, auto, or here: they are its actors."),
    ] = None,
) -> None:
    """Judge a method by a frozen protocol: a table, every figure of every case, and a sheet to look at.

    A stopped evaluation goes on. The same protocol and program give the same figures to the last digit.

    Examples:

      portrait360 eval --method proxy --protocol synthetic-v1 --limit 10 -o report

      portrait360 eval photo.jpg other.jpg --protocol wild -o report

      portrait360 eval out --protocol wild -o report
    """  # fmt: skip
    from portrait360.cluster import engine_of
    from portrait360.evaluate.command import evaluate as run

    engine = engine_of(processes, ray, paths=(output, *(what or ())))
    failed = run(what or (), output, protocol=protocol, methods=tuple(method or ()), limit=limit, engine=engine)
    for line in failed:
        typer.echo(line, err=True)
    typer.echo(f"-> {output / 'report.md'}")
    if failed:
        raise typer.Exit(2)
