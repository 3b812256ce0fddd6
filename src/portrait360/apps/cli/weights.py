"""The commands under `portrait360 weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path

weights = typer.Typer(help="Import, list and verify the weights of the published networks.", no_args_is_help=True)

WeightsFolder = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="Folder of the weights. Default: $PORTRAIT360_WEIGHTS or the user's cache."),
]


@weights.command("import")
def weights_import(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .th, .ckpt, .pkl or .safetensors file, or a diffusers folder.")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="diffportrait360, diffportrait3d, back-head, panohead, sd15 or animatediff. Default: recognised.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")] = None,
) -> None:
    """Check every tensor of a published file by name and convert it to fp16 safetensors.

    Nothing in the file is executed; from PanoHead's pickle only tensors and sizes are read. A folder is read as
    Stable Diffusion 1.5 in the layout of diffusers.

    Examples:

      portrait360 weights import model_state-340000.th

      portrait360 weights import back_head-230000.th --as back-head -o weights/back-head

      portrait360 weights import easy-khair-180-gpc0.8-trans10-025000.pkl
    """
    check_path(file)

    from portrait360.models.weights.importer import choose_system, import_weights
    from portrait360.models.weights.installed import weights_folder
    from portrait360.utils.progress import progress_bar

    system = choose_system(file, kind)
    target = output or weights_folder() / system.name
    with progress_bar("Converting", unit="bytes") as bar:
        import_weights(file, target, system, on_progress=bar.advance)
    typer.echo(f"{system.name}: {target}")


@weights.command("list")
def weights_list(folder: WeightsFolder = None) -> None:
    """List the imported weights.

    Example: portrait360 weights list
    """
    from portrait360.models.weights.installed import is_trained, list_imports, read_manifest, weights_folder

    root = folder or weights_folder()
    imports = list_imports(root)
    if not imports:
        typer.echo(f"No weights in {root}; import some with `portrait360 weights import FILE`.")
    for path in imports:
        try:
            record = read_manifest(path)
        except UserError as error:  # one damaged import does not hide the others
            typer.echo(f"!! {error}")
            continue
        size = sum(int(file["bytes"]) for file in record["files"].values())
        origin = record["source"]["name"] + ("" if is_trained(record) else " (not trained)")
        typer.echo(f"{record['system']:16s} {size / 1e9:6.2f} GB  {record['dtype']}  from {origin}  {path}")


@weights.command("verify")
def weights_verify(folder: WeightsFolder = None) -> None:
    """Compare every imported file with its SHA-256.

    Example: portrait360 weights verify weights/back-head
    """
    from portrait360.models.weights.installed import list_imports, read_manifest, weights_folder
    from portrait360.models.weights.store import verify
    from portrait360.utils.progress import progress_bar

    root = folder or weights_folder()
    imports = list_imports(root)
    if not imports:
        raise UserError(f"No weights in {root}; import some with `portrait360 weights import FILE`.")
    failures = []
    total = sum(int(file["bytes"]) for path in imports for file in read_manifest(path)["files"].values())
    with progress_bar("Verifying", unit="bytes") as bar:
        for path in imports:
            problems = verify(path, lambda count, path=path: bar.advance(path.name, count, total))
            failures += [f"{path}: {problem}" for problem in problems]
    if failures:
        raise UserError("; ".join(failures) + ". Import these weights again.")
    typer.echo(f"All {len(imports)} imports are intact.")
