"""`portrait360 train`: the networks of the small model, from samples to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="map: the map completer; views, then views-together: the view denoiser."
        ),
    ],
    samples: Annotated[Path, typer.Option("--samples", metavar="DIR", help="Training samples.")],
    validation: Annotated[Path, typer.Option("--validation", metavar="DIR", help="Samples of other identities.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run; it goes on there.")
    ],
    begin: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of an earlier run to begin with.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop in time, with everything saved.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop at this step, counted from the very beginning.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; whatever is there if not given.")] = None,
) -> None:
    """Train a network. A stopped run, by Ctrl-C or by force, is taken up again.

    Example: portrait360 train map --samples samples/train --validation samples/val -o runs/map --minutes 60
    """
    from portrait360.train.command import train_recipe
    from portrait360.train.team import first

    step = train_recipe(recipe, samples, validation, output, begin=begin, minutes=minutes, steps=steps, device=device)
    if first():
        typer.echo(f"{step} steps -> {output}")
