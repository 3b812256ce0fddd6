"""The commands under `portrait360 train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path

training = typer.Typer(
    help="Train the networks: the small ones, and the stages of the published ones.", no_args_is_help=True
)


@training.command("init")
def train_init(
    sd15: Annotated[
        Path,
        typer.Option("--from", metavar="FILE", help="Stable Diffusion 1.5: a file, a folder, or imported weights."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    motion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="AnimateDiff's motion weights, from which V starts.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--as", help="diffportrait360, diffportrait3d or back-head (F).")
    ] = "diffportrait360",
    seed: Annotated[int, typer.Option(help="Seed of the layers that start from random values.")] = 0,
) -> None:
    """Build the checkpoint from which the published networks are trained.

    U-Net, R and C are Stable Diffusion's. What C and V add passes through layers of zeros, so at first it changes
    nothing.

    Example: portrait360 train init --from v1-5-pruned-emaonly.safetensors --motion mm_sd_v15.ckpt -o runs/first
    """
    for path in (sd15, motion):
        if path is not None:
            check_path(path)

    from portrait360.models.weights.init_checkpoint import init_checkpoint
    from portrait360.utils.progress import progress_bar

    with progress_bar("Writing", unit="bytes") as bar:
        init_checkpoint(sd15, output, kind, motion=motion, seed=seed, on_progress=bar.advance)
    typer.echo(f"{kind}: {output}")


@training.command("run")
def train_run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="reader, reader-head, reader-tune, map, views, views-together, hybrid, restorer, sd15-appearance, "
            "sd15-control, sd15-cross-view or sd15-back.",
        ),
    ],
    samples: Annotated[
        Path, typer.Option("--samples", metavar="DIR", help="Folder of training samples; for sd15-… of orbits.")
    ],
    validation: Annotated[
        Path, typer.Option("--validation", metavar="DIR", help="Folder of samples of other identities.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the run; a stopped run resumes there.")
    ],
    begin: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Weights to start from: of an earlier run, or of `init`.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this many minutes, with everything saved.", min=0)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop at this step, counted from the start of the training.", min=0)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where it is available.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Samples per step, over all processes. Default: that of the recipe.")
    ] = None,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="For sd15-…: every setting of the authors' scripts, in fp32.")
    ] = False,
) -> None:
    """Train a network. A run that was stopped or killed resumes.

    Example: portrait360 train run map --samples samples/train --validation samples/val -o runs/map --minutes 60

    On several GPUs: accelerate launch --num_processes 8 -m portrait360 train run sd15-appearance --batch 8 ...
    """
    if batch is not None and batch < 1:
        raise UserError("--batch must be at least 1.")
    for path in (samples, validation, begin):
        if path is not None:
            check_path(path)

    from portrait360.training.distributed import is_main_process
    from portrait360.training.session import train_recipe

    options = {"minutes": minutes, "steps": steps, "device": device, "batch": batch, "as_published": as_published}
    step = train_recipe(recipe, samples, validation, output, init_from=begin, **options)
    if is_main_process():
        typer.echo(f"{step} steps -> {output}")
