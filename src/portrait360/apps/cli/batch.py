"""`portrait360 batch`: a head for each of many photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait360.apps.cli.command_options import OUTPUT, GroupedCommand, with_make_options
from portrait360.pipeline.batch.inputs import check_inputs, check_pictures, find_skipped
from portrait360.pipeline.options import OVERRULES, RUN, MakeOptions
from portrait360.utils.files import check_no_file
from portrait360.utils.parallel.ray_pool import create_engine
from portrait360.utils.progress import progress_bar
from portrait360.utils.terminal import escape_controls

if TYPE_CHECKING:
    from portrait360.pipeline.batch.runner import Summary

FEW_NAMES = 5  # of skipped files that are named


@with_make_options(
    ("preset", "method", *OVERRULES, "views", "size", "seed", "results", "formats", "fit", "quick", "device"),
    {
        "fit": "Fit a NeRF and splats to the views. On by default in any of these cases: --as includes nerf; the "
        "preset is sd15 or diffportrait3d; the head is not an avatar."
    },
)
def batch(
    inputs: Annotated[
        str,
        typer.Argument(
            metavar="INPUTS", help="Folder, quoted glob pattern, or list of photos (.txt, .csv or .parquet)."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Output folder, or s3://…; each photo gets its own subfolder.",
            rich_help_panel=OUTPUT,
        ),
    ],
    options: MakeOptions,
    *,
    workers: Annotated[
        int,
        typer.Option(help="Number of worker processes, each with one thread.", min=1, rich_help_panel=RUN),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray: the address of a cluster, `auto` to find one that is running, or `here` to start one "
            "on this machine.",
            rich_help_panel=RUN,
        ),
    ] = None,
    gpus: Annotated[
        float,
        typer.Option(help="With --ray: GPUs for each worker; 0.25 is a quarter of one.", min=0, rich_help_panel=RUN),
    ] = 0.0,
) -> None:
    """Turn many photos into heads.

    DIR/report.csv and DIR/report.parquet list the results. To resume a stopped run, repeat the same command. If a
    photo fails, the others continue; the command reports the failure immediately and again at the end, and exits
    with status 2.

    In a .csv or .parquet list, a column named after a `make` option (views, seed, face, azimuth, …) sets that
    option for each photo.

    Examples:

      portrait360 batch photos -o heads --workers 2
      portrait360 batch list.csv -o heads --no-fit --views 8
      portrait360 batch /shared/list.parquet -o /shared/heads --ray auto --workers 64
    """
    options.validate()
    check_no_file(Path(output))
    engine = create_engine(workers, ray, gpus, (inputs, output))
    check_inputs(inputs)
    check_pictures(inputs)

    with progress_bar():
        from portrait360.pipeline.batch.runner import describe_failure, describe_warnings, make_all  # takes seconds

    started = time.monotonic()
    summary = make_all(inputs, output, options, engine)
    typer.echo(describe(summary, time.monotonic() - started))
    if skipped := find_skipped(inputs):
        typer.echo(escape_controls(describe_skipped(skipped)), err=True)
    for photo, warnings in summary.warnings:
        typer.echo(escape_controls(describe_warnings(photo, warnings)), err=True)
    for photo, reason in summary.failures:
        typer.echo(escape_controls(describe_failure(photo, reason)), err=True)
    if summary.failed > len(summary.failures):
        typer.echo(f"and {summary.failed - len(summary.failures)} more; see {summary.table}", err=True)
    if summary.failed:
        raise typer.Exit(2)


def describe(summary: Summary, seconds: float) -> str:
    """Return what a batch made as one line."""
    made = [_count(summary.heads, "head")] * bool(summary.heads or not summary.views)
    made += [f"views of {_count(summary.views, 'photo')}"] * bool(summary.views)
    parts = [f"{' and '.join(made)} in {seconds:.0f} s"]
    parts += [f"{summary.kept} kept from an earlier batch"] * bool(summary.kept)
    parts += [f"{_count(summary.failed, 'photo')} failed"] * bool(summary.failed)
    parts += [f"{summary.warned} with warnings"] * bool(summary.warned)
    return f"{', '.join(parts)} -> {summary.table}"


def describe_skipped(names: Sequence[str]) -> str:
    """Return which files of a folder were no photos, in one line."""
    more = f" and {len(names) - FEW_NAMES} more" * (len(names) > FEW_NAMES)
    listed = f"{', '.join(names[:FEW_NAMES])}{more}"
    return f"skipped {_count(len(names), 'file')} that cannot be read as photos: {listed}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def add_commands(app: typer.Typer) -> None:
    app.command(cls=GroupedCommand)(batch)
