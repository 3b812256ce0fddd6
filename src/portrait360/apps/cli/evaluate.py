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
            help="What to evaluate, depending on --protocol: photos, finished runs, folders of pictures with "
            "cameras, or the folder of a dataset. With the protocol synthetic, omit WHAT.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the report.", rich_help_panel=OUTPUT),
    ] = Path("report"),
    protocol: Annotated[
        str,
        typer.Option(
            help="Evaluation protocol: synthetic (makes its own portraits), wild (photos or runs), "
            "portrait-diffusion (photos or runs), folder (folders of pictures with their cameras), renderme360 or "
            "nersemble (folder of the dataset). The newest version is used unless the name includes "
            "one, as in synthetic-v1.",
            rich_help_panel=EVALUATION,
        ),
    ] = "synthetic",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method to evaluate: avatar, completed, proxy, gan, denoised or, with synthetic, oracle (the "
            "ground-truth head); can be repeated. Two baselines are always included: repeat (the photo in every "
            "view) and mirror (the photo in front, its mirror image behind). Default: proxy, or none for finished "
            "runs.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    portrait: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With --protocol folder: the picture to make the head from; the others are the ground truth. "
            "Default: the one with the clearest, most frontal face.",
            rich_help_panel=EVALUATION,
        ),
    ] = "",
    limit: Annotated[
        int | None, typer.Option(help="Evaluate at most this many cases.", min=1, rich_help_panel=EVALUATION)
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            help="Measure how well the views agree with one another (refit PSNR, warp error, seam), if the protocol "
            "includes these metrics. This takes up most of the run time, because it fits a small radiance field.",
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
    """Score a method, or finished runs, under a fixed evaluation protocol.

    Writes a table, the scores for each case, and a contact sheet. To resume a stopped run, repeat the
    same command. On the same machine, the same protocol and the same version of portrait360 always
    give the same scores.

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
