"""The commands under `portrait360 train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.apps.cli.command_options import INPUT, OUTPUT, WIDTH, GroupedCommand
from portrait360.apps.cli.train_samples import train_samples
from portrait360.pipeline.options import ADVANCED, RUN, MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path
from portrait360.utils.option_fields import option_info

training = typer.Typer(
    help="Train portrait360's own networks, or individual stages of the published networks.",
    no_args_is_help=True,
    context_settings={"max_content_width": WIDTH},
)


@training.command("init", cls=GroupedCommand)
def train_init(
    sd15: Annotated[
        Path,
        typer.Option("--from", metavar="FILE", help="Stable Diffusion 1.5: a file, a folder, or imported weights."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Output folder.")],
    motion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="AnimateDiff's motion weights, used to initialise V.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--as", help="Network to build: diffportrait360, diffportrait3d or back-head.")
    ] = "diffportrait360",
    seed: Annotated[int, typer.Option(help="Seed for the layers that are initialised randomly.")] = 0,
) -> None:
    """Build an initial checkpoint for a published network.

    The U-Net, the appearance network (R) and the ControlNet (C) start as copies of Stable Diffusion's U-Net. The
    outputs of C and of the cross-view attention (V) pass through layers that are initialised to zero, so they have no
    effect at first.

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


training.command("samples", cls=GroupedCommand)(train_samples)


@training.command("run", cls=GroupedCommand)
def train_run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="What to train (see docs/training.md): reader, reader-head, reader-tune, map, views, "
            "views-together, hybrid, restorer, sd15-appearance, sd15-control, sd15-cross-view or sd15-back.",
        ),
    ],
    samples: Annotated[
        Path,
        typer.Option(
            "--samples",
            metavar="DIR",
            help="Folder of training samples from `train samples`; for the sd15-… recipes, a folder of heads from "
            "`synth`.",
            rich_help_panel=INPUT,
        ),
    ],
    validation: Annotated[
        Path,
        typer.Option(
            "--validation",
            metavar="DIR",
            help="Folder of validation samples, made from other identities.",
            rich_help_panel=INPUT,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Output folder. To resume a stopped run, repeat the same command.",
            rich_help_panel=OUTPUT,
        ),
    ],
    begin: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Weights to start from: those of an earlier run or of `train init`.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Save and stop after this many minutes.", min=0, rich_help_panel=RUN),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Save and stop at this step, counted from the start of training.", min=0, rich_help_panel=RUN
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=option_info(MakeOptions, "device").help, rich_help_panel=RUN)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Samples per step, in total across all processes. Default: depends on the recipe.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="For the sd15-… recipes: use all settings of the authors' scripts, in fp32.",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
) -> None:
    """Train a network. To resume a stopped run, repeat the same command.

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
