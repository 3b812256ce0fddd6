"""`portrait360 eval`: a reproducible table of how good a method is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.apps.cli.command_options import OUTPUT, RUN
from portrait360.utils.files import check_path

EVALUATION = "Evaluation"


def evaluate(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[WHAT]...",
            help="Photos, finished runs, folders of pictures with cameras, or a data set's folder, depending on "
            "--protocol.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder of the report.", rich_help_panel=OUTPUT),
    ] = Path("report"),
    protocol: Annotated[
        str,
        typer.Option(
            help="synthetic (makes its own portraits), wild (photos or runs), portrait-diffusion (photos or runs), "
            "folder (folders of pictures with their cameras), renderme360 or nersemble (folder of the data set).",
            rich_help_panel=EVALUATION,
        ),
    ] = "synthetic",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="avatar, completed, proxy or oracle; can be repeated. The baselines repeat and mirror are "
            "always evaluated. Default: proxy; with finished runs, none.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    portrait: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With --protocol folder: the picture to make the head from; the others are the ground truth. "
            "Default: the one with the most reliable frontal face.",
            rich_help_panel=EVALUATION,
        ),
    ] = "",
    limit: Annotated[
        int | None, typer.Option(help="Evaluate at most this many cases.", min=1, rich_help_panel=EVALUATION)
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            help="Also fit a small radiance field to the views and measure how well they agree (refit PSNR, warp "
            "error, seam), where the protocol does so. This takes most of the time.",
            rich_help_panel=EVALUATION,
        ),
    ] = True,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "--processes",
            help="Number of worker processes, each with one thread.",
            min=1,
            rich_help_panel=RUN,
        ),
    ] = 2,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray: the address of a cluster, `auto` to find one that is running, or `here` to start one "
            "on this machine.",
            rich_help_panel=RUN,
        ),
    ] = None,
) -> None:
    """Score a method under a fixed evaluation protocol.

    Writes a table, all values of all cases, and a contact sheet. To resume a stopped run, repeat the
    same command. The same protocol and version give exactly the same values.

    Examples:

      portrait360 eval --method proxy --protocol synthetic-v1 --limit 10 -o report
      portrait360 eval photo.jpg other.jpg --protocol wild -o report
      portrait360 eval out --protocol wild -o report
      portrait360 eval nerfstudio-folder --protocol folder --portrait frame_00012 --method avatar -o report
    """  # fmt: skip
    for path in what or ():
        check_path(path)

    from portrait360.evaluation.evaluate import evaluate as run
    from portrait360.utils.parallel.ray_pool import create_engine

    engine = create_engine(workers, ray, paths=(output, *(what or ())))
    chosen: dict[str, Any] = {"methods": tuple(method or ()), "limit": limit, "portrait": portrait, "refit": refit}
    failures = run(what or (), output, protocol=protocol, engine=engine, **chosen)
    for line in failures:
        typer.echo(line, err=True)
    typer.echo(f"-> {output / 'report.md'}")
    if failures:
        raise typer.Exit(2)
