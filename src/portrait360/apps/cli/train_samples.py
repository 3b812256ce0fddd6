"""`portrait360 train samples`: the synthetic samples from which the small networks are trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.apps.cli.command_options import INPUT, OUTPUT, ResumedFolder
from portrait360.pipeline.options import RUN
from portrait360.pipeline.proxy import METHODS
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path

KINDS = {  # the options that only one kind of sample has
    "reader": ("pictures", "worn", "skins"),
    "map": ("portraits",),
    "views": ("method",),
    "avatar-views": ("arcs", "real", "size"),
}
SPLITS = ("train", "val", "test")


def train_samples(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="Kind of samples (see docs/training.md). reader: portraits with labels, for the recipes reader, "
            "reader-head and reader-tune. map: portraits with maps of the complete head, for the recipes map and "
            "restorer. views, avatar-views: renderings of imperfect heads paired with the ground truth, for the "
            "recipes views, views-together and hybrid.",
        ),
    ],
    output: ResumedFolder,
    count: Annotated[int, typer.Option(help="Number of identities.", min=1, rich_help_panel=OUTPUT)] = 1000,
    split: Annotated[
        str,
        typer.Option(
            help="Part of the dataset: train, val or test; no identity is in more than one.", rich_help_panel=OUTPUT
        ),
    ] = "train",
    first: Annotated[int, typer.Option(help="Index of the first identity.", min=0, rich_help_panel=OUTPUT)] = 0,
    pictures: Annotated[
        int | None, typer.Option(help="For reader: number of pictures per identity.", min=1, rich_help_panel=INPUT)
    ] = None,
    worn: Annotated[
        float | None,
        typer.Option(
            help="For reader: fraction of people who wear turbans, veils, jewellery and the like.",
            min=0,
            max=1,
            rich_help_panel=INPUT,
        ),
    ] = None,
    skins: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="For reader: folder with photographic skin textures.", rich_help_panel=INPUT
        ),
    ] = None,
    portraits: Annotated[
        int | None, typer.Option(help="For map: number of portraits per identity.", min=1, rich_help_panel=INPUT)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="For views: method that makes the imperfect heads; one of completed, proxy, avatar and gan. "
            "Default: completed.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    arcs: Annotated[
        int | None,
        typer.Option(
            help="For avatar-views: number of camera arcs per identity, with eight views each.",
            min=1,
            rich_help_panel=INPUT,
        ),
    ] = None,
    real: Annotated[
        float | None,
        typer.Option(
            help="For avatar-views: fraction of identities whose avatar is made from a rendered picture of the "
            "head, with the same steps as in `make`; all other avatars are ground-truth heads with typical errors "
            "added.",
            min=0,
            max=1,
            rich_help_panel=INPUT,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="For avatar-views: width and height of a view in pixels; smaller views train faster. Default: 256.",
            min=64,
            max=512,
            rich_help_panel=INPUT,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Number of worker processes, each with one thread.", min=1, rich_help_panel=RUN)
    ] = 2,
) -> None:
    """Make training samples from synthetic heads, for portrait360's own networks.

    An identity is one synthetic head. Identities whose samples already exist are skipped.

    Examples:

      portrait360 train samples map -o samples/train --count 500
      portrait360 train samples map -o samples/val --split val --count 12
      portrait360 train samples reader -o samples/read --count 4000 --worn 0.5
      portrait360 train samples avatar-views -o samples/avatar --count 900
    """
    chosen = {"pictures": pictures, "worn": worn, "skins": skins, "portraits": portraits, "method": method}
    chosen |= {"arcs": arcs, "real": real, "size": size}
    chosen = check_kind(kind, {name: value for name, value in chosen.items() if value is not None})
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")

    from portrait360.training.data.head_map_samples import generate

    generate(find_maker(kind, chosen), output, split, first, count, workers)
    typer.echo(f"samples of {count} identities -> {output}")


def check_kind(kind: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the options of one kind of sample; raise a UserError for those of another."""
    if kind not in KINDS:
        raise UserError(f"There are no samples of the kind {kind!r}; choose from {', '.join(KINDS)}.")
    for name in chosen:
        if name not in KINDS[kind]:
            other = next(one for one, names in KINDS.items() if name in names)
            raise UserError(f"--{name} is for the samples of {other}; leave it out for {kind}.")
    if "skins" in chosen:
        check_path(chosen["skins"])
    if chosen.get("method", METHODS[0]) not in METHODS:
        raise UserError(f"There is no method {chosen['method']!r}; choose from {', '.join(METHODS)}.")
    return chosen


def find_maker(kind: str, chosen: dict[str, Any]) -> Callable[[int], Any]:
    """Return the function that makes the samples of one identity."""
    if kind == "reader":
        from portrait360.training.data.reader_samples import make_samples as make_reader_samples

        return partial(make_reader_samples, **chosen)
    if kind == "map":
        from portrait360.training.data.head_map_samples import make_samples as make_map_samples

        return partial(make_map_samples, **chosen)
    if kind == "avatar-views":
        from portrait360.training.data.avatar_view_samples import make_avatar_view_samples

        return partial(make_avatar_view_samples, **chosen)
    from portrait360.training.data.view_samples import make_view_samples

    return partial(make_view_samples, **chosen)
