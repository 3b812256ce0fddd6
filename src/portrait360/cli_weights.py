"""The commands under `portrait360 weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.errors import UserError

weights = typer.Typer(help="Bring, list and verify the weights of the published networks.", no_args_is_help=True)

WeightsFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="Where the weights lie; by default $PORTRAIT360_WEIGHTS or the user's cache."
    ),
]


@weights.command("import")
def weights_import(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .th, .ckpt, .pkl or .safetensors file or a folder.")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--as", help="diffportrait360, diffportrait3d, back-head, panohead, sd15 or animatediff; else recognised."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")] = None,
) -> None:
    """Check a published file name by name and convert it to fp16 safetensors.

    Nothing in the file is executed; of PanoHead's pickle only tensors and sizes are read. A folder is taken as
    Stable Diffusion 1.5 in diffusers' layout.

    Examples:

      portrait360 weights import model_state-340000.th

      portrait360 weights import back_head-230000.th --as back-head -o weights/back-head

      portrait360 weights import easy-khair-180-gpc0.8-trans10-025000.pkl
    """
    from portrait360.progress import byte_bar
    from portrait360.weights.convert import choose_system, import_weights
    from portrait360.weights.library import home

    system = choose_system(file, kind)
    target = output or home() / system.name
    with byte_bar("Converting") as advance:
        import_weights(file, target, system, on_progress=advance)
    typer.echo(f"{system.name}: {target}")


@weights.command("list")
def weights_list(folder: WeightsFolder = None) -> None:
    """List what was imported.

    Example: portrait360 weights list
    """
    from portrait360.weights.library import folders, home, manifest, trained

    where = folder or home()
    found = folders(where)
    if not found:
        typer.echo(f"No weights in {where}; bring some with `portrait360 weights import FILE`.")
    for path in found:
        try:
            said = manifest(path)
        except UserError as error:  # one damaged import does not hide the others
            typer.echo(f"!! {error}")
            continue
        size = sum(int(file["bytes"]) for file in said["files"].values())
        origin = said["source"]["name"] + ("" if trained(said) else " (not trained)")
        typer.echo(f"{said['system']:16s} {size / 1e9:6.2f} GB  {said['dtype']}  from {origin}  {path}")


@weights.command("verify")
def weights_verify(folder: WeightsFolder = None) -> None:
    """Compare every imported file with its SHA-256.

    Example: portrait360 weights verify weights/back-head
    """
    from portrait360.progress import byte_bar
    from portrait360.weights.library import folders, home, manifest, verify

    where = folder or home()
    found = folders(where)
    if not found:
        raise UserError(f"No weights in {where}; bring some with `portrait360 weights import FILE`.")
    wrong = []
    total = sum(int(file["bytes"]) for path in found for file in manifest(path)["files"].values())
    with byte_bar("Verifying") as advance:
        for path in found:
            problems = verify(path, lambda count, path=path: advance(path.name, count, total))
            wrong += [f"{path}: {problem}" for problem in problems]
    if wrong:
        raise UserError("; ".join(wrong) + ". Import these weights again.")
    typer.echo(f"{len(found)} of {len(found)} imports are whole.")
