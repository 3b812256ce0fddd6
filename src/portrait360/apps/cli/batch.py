"""`portrait360 batch`: a head for each of many photos."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from portrait360.apps.cli.command_options import GroupedCommand, with_make_options
from portrait360.pipeline.batch.inputs import check_inputs
from portrait360.pipeline.options import OVERRULES, MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.parallel.ray_pool import create_engine


@with_make_options(("preset", "method", *OVERRULES, "views", "size", "seed", "results", "fit", "quick", "device"))
def batch(
    inputs: Annotated[
        str,
        typer.Argument(
            metavar="INPUTS", help="A folder, a pattern in quotes, or a .txt, .csv or .parquet with a column photo."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder to write, with a folder for each photo; or s3://…"
        ),
    ],
    options: MakeOptions,
    *,
    workers: Annotated[int, typer.Option(help="Number of worker processes, each with one thread.", min=1)] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: its address, auto, or here (this machine)."),
    ] = None,
    gpus: Annotated[
        float, typer.Option(help="With --ray: GPUs for each worker; 0.25 is a quarter of one.", min=0)
    ] = 0.0,
) -> None:
    """Turn many photos into heads, with a row for each in DIR/report.parquet. A stopped batch resumes.

    A photo that fails becomes a row with its error message; the other photos are still made. In a .csv or .parquet
    file, columns named like the options of `make` (views, seed, face, azimuth, back, …) set them for a single photo.

    Examples:

      portrait360 batch photos -o heads --workers 2

      portrait360 batch list.csv -o heads --no-fit --views 8

      portrait360 batch /shared/list.parquet -o /shared/heads --ray auto --workers 64
    """
    options.validate()
    engine = create_engine(workers, ray, gpus, (inputs, output))
    check_inputs(inputs)

    from portrait360.pipeline.batch.runner import make_all

    started = time.monotonic()
    counts, table = make_all(inputs, output, options, engine)
    seconds = time.monotonic() - started
    warned = f"{counts['warned']} head{'s' * (counts['warned'] > 1)} with warnings; " if counts["warned"] else ""
    typer.echo(
        f"{counts['done']} heads in {seconds:.0f} s, {counts['kept']} kept, {counts['failed']} photos failed; "
        f"{warned}{table} lists them all"
    )
    if counts["failed"] and not counts["done"] + counts["kept"]:
        raise UserError(f"No photo could be turned into a head; {table} says why.")


def add_commands(app: typer.Typer) -> None:
    app.command(cls=GroupedCommand)(batch)
