"""`portrait360 batch`: many photos, each to a head of its own."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from portrait360.errors import UserError


def batch(
    inputs: Annotated[
        str,
        typer.Argument(
            metavar="INPUTS", help="A folder, a pattern in quotes, or a .txt, .csv or .parquet with a column photo."
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Where a folder for each photo comes; or s3://…")
    ],
    preset: Annotated[str, typer.Option(help="As for `make`.")] = "small",
    method: Annotated[str | None, typer.Option(help="As for `make`.")] = None,
    views: Annotated[int, typer.Option(help="Views of the orbit.")] = 32,
    size: Annotated[int | None, typer.Option(help="Side of a view in pixels.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    results: Annotated[str, typer.Option("--as", help="nerf, splats, mesh, with commas between.")] = (
        "nerf,splats,mesh"
    ),
    fit: Annotated[bool, typer.Option("--fit/--no-fit", help="Make 3D heads, or stop at the views.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Less work for each head.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    workers: Annotated[int, typer.Option(help="Processes side by side, each with one thread.", min=1)] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster's address, auto, or here: the workers are its actors."),
    ] = None,
    gpus: Annotated[float, typer.Option(help="With --ray: what each of them takes of a GPU.", min=0)] = 0.0,
) -> None:
    """Turn many photos into heads, and tell of each in DIR/report.parquet. A stopped batch goes on.

    A photo that fails is a row with its sentence; the others are made. In a .csv or .parquet, columns named as
    `make`'s options (views, seed, face, azimuth, back, …) say what is wished for a photo alone.

    Examples:

      portrait360 batch photos -o heads --workers 2

      portrait360 batch list.csv -o heads --no-fit --views 8

      portrait360 batch /shared/list.parquet -o /shared/heads --ray auto --workers 64
    """
    from portrait360.batch.command import make_all
    from portrait360.cluster import engine_of
    from portrait360.wish import Wish, results_of

    wish = Wish(
        preset=preset, method=method, views=views, size=size, seed=seed, results=results_of(results), fit=fit,
        quick=quick, device=device,
    )  # fmt: skip
    begun = time.monotonic()
    counts, table = make_all(inputs, output, wish, engine_of(workers, ray, gpus, (inputs, output)))
    seconds = time.monotonic() - begun
    typer.echo(
        f"{counts['done']} heads in {seconds:.0f} s, {counts['kept']} kept, {counts['failed']} photos failed; "
        f"{table} tells of all"
    )
    if counts["failed"] and not counts["done"] + counts["kept"]:
        raise UserError(f"Of no photo a head could be made; {table} says why.")


def add_to(app: typer.Typer) -> None:
    app.command()(batch)
