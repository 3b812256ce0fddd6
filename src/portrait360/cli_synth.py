"""`portrait360 synth`: heads to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.errors import UserError


def synth(
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder to write, or s3://…; it may be resumed.")
    ],
    count: Annotated[int, typer.Option(help="How many heads.")] = 10,
    views: Annotated[int, typer.Option(help="Views of each head, on an orbit unless --random-cameras.")] = 24,
    size: Annotated[int, typer.Option(help="Side of a view in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The first head; the others follow.")] = 0,
    kind: Annotated[str, typer.Option(help="any, human, toon, fantasy, animal or statue.")] = "any",
    format: Annotated[str, typer.Option(help="png or webp.")] = "png",
    depth: Annotated[bool, typer.Option("--depth", help="Write depth maps too.")] = False,
    normals: Annotated[bool, typer.Option("--normals", help="Write normal maps too.")] = False,
    random_cameras: Annotated[bool, typer.Option("--random-cameras", help="Cameras all around instead.")] = False,
    elevation: Annotated[
        float | None,
        typer.Option(help="Of the orbit, in degrees (0), or how far up and down random cameras go (30)."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that work side by side.", min=1)] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster's address, auto, or here: the workers are its actors."),
    ] = None,
    shard: Annotated[
        int | None, typer.Option(help="Write tars of so many heads (WebDataset) instead of folders.", min=1)
    ] = None,
) -> None:
    """Render synthetic heads from all sides: RGBA views and transforms.json, one folder a head.

    Examples:

      portrait360 synth -o heads --count 100 --views 24 --size 256 --kind human --workers 2

      portrait360 synth -o s3://bucket/heads --count 1000000 --shard 500 --ray auto --workers 64
    """
    from portrait360.cluster import engine_of
    from portrait360.place import Place
    from portrait360.synth.shards import write_shards
    from portrait360.synth.write import chosen_of, write_dataset

    asked: dict[str, Any] = dict(
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
            raise UserError(f"Folders of heads are written to disk, not to {output}; ask for tars with --shard.")
        many = workers > 1 or ray is not None
        write_dataset(Path(output), engine=engine_of(workers, ray, paths=[output]) if many else None, **asked)
    else:
        write_shards(Place(output), *chosen_of(**asked), each=shard, engine=engine_of(workers, ray, paths=[output]))
    typer.echo(f"{count} heads in {output}")
