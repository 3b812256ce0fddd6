"""`portrait360 synth`: synthetic heads as training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.apps.cli.command_options import HEADS, OUTPUT
from portrait360.pipeline.options import RUN, VIEW
from portrait360.utils.errors import UserError


def synth(
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Output folder, or s3://…. To resume a stopped run, repeat the same command.",
            rich_help_panel=OUTPUT,
        ),
    ],
    count: Annotated[int, typer.Option(help="Number of heads.", rich_help_panel=HEADS)] = 10,
    views: Annotated[
        int,
        typer.Option(
            help="Number of views of each head, on an orbit unless --random-cameras is given.",
            rich_help_panel=VIEW,
        ),
    ] = 24,
    size: Annotated[int, typer.Option(help="Width and height of a view in pixels.", rich_help_panel=VIEW)] = 256,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the first head; it increases by 1 for each subsequent head.", rich_help_panel=HEADS
        ),
    ] = 0,
    kind: Annotated[
        str,
        typer.Option(help="Kind of head: any, human, toon, fantasy, animal or statue.", rich_help_panel=HEADS),
    ] = "any",
    format: Annotated[str, typer.Option(help="Format of the views: png or webp.", rich_help_panel=OUTPUT)] = "png",
    depth: Annotated[bool, typer.Option("--depth", help="Also write depth maps.", rich_help_panel=OUTPUT)] = False,
    normals: Annotated[
        bool, typer.Option("--normals", help="Also write normal maps.", rich_help_panel=OUTPUT)
    ] = False,
    random_cameras: Annotated[
        bool,
        typer.Option(
            "--random-cameras",
            help="Use random cameras all around the head instead of an orbit.",
            rich_help_panel=VIEW,
        ),
    ] = False,
    elevation: Annotated[
        float | None,
        typer.Option(
            help="Elevation of the orbit, in degrees (default: 0). With --random-cameras, the maximum "
            "elevation, above or below the head (default: 30).",
            rich_help_panel=VIEW,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of worker processes.", min=1, rich_help_panel=RUN)] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray: the address of a cluster, `auto` to find one that is running, or `here` to start one "
            "on this machine.",
            rich_help_panel=RUN,
        ),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(
            help="Write tar files (WebDataset) of this many heads each, instead of folders.",
            min=1,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Render synthetic heads from all sides, as training data.

    Each head gets a folder of RGBA views and a transforms.json.

    Examples:

      portrait360 synth -o heads --count 100 --views 24 --size 256 --kind human --workers 2
      portrait360 synth -o s3://bucket/heads --count 1000000 --shard 500 --ray auto --workers 64
    """
    from portrait360.synth.data.webdataset import write_shards
    from portrait360.synth.data.writer import write_dataset, write_options
    from portrait360.utils.parallel.ray_pool import create_engine
    from portrait360.utils.storage import Storage

    options: dict[str, Any] = dict(
        count=count,
        seed=seed,
        views=views,
        size=size,
        kind=kind,
        format=format,
        depth=depth,
        normals=normals,
        random_cameras=random_cameras,
        elevation=elevation,
    )
    if shard is None:
        if "://" in output:
            raise UserError(f"Folders of heads cannot be written to {output}; write tar files with --shard.")
        parallel = workers > 1 or ray is not None
        write_dataset(
            Path(output), engine=create_engine(workers, ray, paths=[output]) if parallel else None, **options
        )
    else:
        write_shards(
            Storage(output), *write_options(**options), each=shard, engine=create_engine(workers, ray, paths=[output])
        )
    typer.echo(f"{count} heads in {output}")
