"""The commands under `portrait360 train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.errors import UserError

training = typer.Typer(
    help="Train the networks: the small ones, and the published ones' stages.", no_args_is_help=True
)


@training.command("init")
def train_init(
    sd15: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="Stable Diffusion 1.5: a file, a folder, or an import.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    motion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="AnimateDiff's motion weights, with which V begins.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--as", help="diffportrait360, diffportrait3d or back-head (F).")
    ] = "diffportrait360",
    seed: Annotated[int, typer.Option(help="Of the layers that nothing is brought for.")] = 0,
) -> None:
    """Build the checkpoint that the published networks' training begins with.

    U-Net, R and C are Stable Diffusion's; what C and V add passes layers of zeros, so that nothing is lost at first.

    Example: portrait360 train init --from v1-5-pruned-emaonly.safetensors --motion mm_sd_v15.ckpt -o runs/first
    """
    from portrait360.progress import byte_bar
    from portrait360.weights.first import first_checkpoint

    with byte_bar("Writing") as advance:
        first_checkpoint(sd15, output, kind, motion=motion, seed=seed, on_progress=advance)
    typer.echo(f"{kind}: {output}")


@training.command("run")
def train_run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="map; views, views-together, hybrid, restorer; sd15-appearance, sd15-control, sd15-cross-view, "
            "sd15-back.",
        ),
    ],
    samples: Annotated[Path, typer.Option("--samples", metavar="DIR", help="Training samples; for sd15-… orbits.")],
    validation: Annotated[Path, typer.Option("--validation", metavar="DIR", help="Samples of other identities.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run; it goes on there.")
    ],
    begin: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Weights to begin with: of an earlier run, or of `init`.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop in time, with everything saved.", min=0)] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop at this step, counted from the very beginning.", min=0)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; whatever is there if not given.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Samples a step, over all processes; as the recipe says if not given.")
    ] = None,
) -> None:
    """Train a network. A stopped run, by Ctrl-C or by force, is taken up again.

    Example: portrait360 train run map --samples samples/train --validation samples/val -o runs/map --minutes 60

    On several GPUs: accelerate launch --num_processes 8 -m portrait360 train run sd15-appearance --batch 8 ...
    """
    from portrait360.train.command import train_recipe
    from portrait360.train.team import first

    if batch is not None and batch < 1:
        raise UserError("Ask for at least one sample a step with --batch.")
    asked = {"minutes": minutes, "steps": steps, "device": device, "batch": batch}
    step = train_recipe(recipe, samples, validation, output, begin=begin, **asked)
    if first():
        typer.echo(f"{step} steps -> {output}")
