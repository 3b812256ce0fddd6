"""The commands under `portrait360 weights`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait360.apps.cli.command_options import WIDTH, GroupedCommand
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path
from portrait360.utils.terminal import escape_controls

if TYPE_CHECKING:
    from portrait360.models.weights.fetch import Order
    from portrait360.utils.progress import ProgressBar

weights = typer.Typer(
    help="Fetch, import, list, verify and export published weights.",
    no_args_is_help=True,
    context_settings={"max_content_width": WIDTH},
)

WeightsFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]",
        help="Folder with the weights. Default: $PORTRAIT360_WEIGHTS or, if that is not set, the user's cache "
        "folder.",
    ),
]


ImportFolder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Output folder. Default: a subfolder of $PORTRAIT360_WEIGHTS or, if that is not set, of the user's "
        "cache folder.",
    ),
]


@weights.command("fetch", cls=GroupedCommand)
def weights_fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names of published weights, as listed by `portrait360 doctor`."),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL|PATH",
            help="Where to get the files: the address of a mirror, a folder, or a downloaded file. Default: the "
            "Hugging Face Hub.",
        ),
    ] = None,
    output: ImportFolder = None,
    agreed: Annotated[bool, typer.Option("-y", "--yes", help="Accept the licences without being asked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only files on this machine, as with HF_HUB_OFFLINE=1.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete each downloaded file once it is imported.")
    ] = False,
) -> None:
    """Download, verify and import published weights.

    NAME can be diffportrait360, back-head, panohead, diffportrait3d, sd15 or animatediff. An interrupted download
    resumes where it left off. diffportrait3d can only be downloaded in a browser; after that, pass the file
    with --from. Needs `pip install 'portrait360[hub]'`, except with --from.

    Examples:

      portrait360 weights fetch diffportrait360 back-head
      portrait360 weights fetch diffportrait360 --from https://mirror.example.org/heads --yes --delete
      portrait360 weights fetch diffportrait3d --from ~/Downloads/model_state-540000-001.th
    """
    from portrait360.models.weights.fetch import is_imported

    orders = _make_orders(list(dict.fromkeys(names)), source, output, offline, delete)
    for order in [order for order in orders if is_imported(order)]:
        typer.echo(f"{order.file.name} is already there: {order.target} (delete that folder to fetch it again)")
        orders.remove(order)
    if dry_run:
        for order in orders:
            typer.echo("\n".join(_describe(order)))
    elif orders:
        _fetch_all(orders, agreed, delete)


def _fetch_all(orders: list[Order], agreed: bool, delete: bool) -> None:
    from portrait360.models.weights.fetch import describe_order, fetch, find_file, require_disk
    from portrait360.utils.progress import progress_bar

    found = [(order, find_file(order)) for order in orders]
    require_disk(found)
    for order, file in found:
        typer.echo("\n".join(describe_order(order, file)))
    if not agreed:
        _ask_to_agree()
    for order, file in found:
        done: Counter[str] = Counter()
        with progress_bar(order.file.name, unit="bytes") as bar:

            def advance(
                stage: str, count: int, total: int, done: Counter[str] = done, bar: ProgressBar = bar
            ) -> None:
                done[stage] += count
                bar.update(stage, done[stage], total)

            fetch(order, file, advance, delete=delete)
        typer.echo(f"{order.file.name}: {order.target}")


def _make_orders(
    names: list[str], source: str | None, output: Path | None, offline: bool, delete: bool
) -> list[Order]:
    from portrait360.models.weights.fetch import DOWNLOADS, Order
    from portrait360.models.weights.installed import weights_folder
    from portrait360.models.weights.published_files import find_published

    files = [find_published(name) for name in names]
    if len(files) > 1 and output is not None:
        raise UserError("-o sets the folder for a single file; with -o, fetch one file at a time.")
    if source is not None and "://" not in source:
        check_path(Path(source).expanduser())
        if len(files) > 1 and Path(source).expanduser().is_file():
            raise UserError(
                "--from is a single file; give the folder that contains all of them, or fetch one at a time."
            )
        if delete:
            raise UserError("--delete only deletes what this command downloads; delete your own files yourself.")
        source = str(Path(source).expanduser())
    root = weights_folder()
    return [Order(file, root / DOWNLOADS, output or root / file.name, source, offline) for file in files]


def _describe(order: Order) -> list[str]:
    """What would be done, with what a server says if it can be asked."""
    from portrait360.models.weights.fetch import describe_order, find_file

    try:
        return describe_order(order, find_file(order))
    except UserError as error:
        return [*describe_order(order, None), f"  problem  {error}"]


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _ask_to_agree() -> None:
    if not is_terminal():
        raise UserError("You must agree to the licences: run this in a terminal, or pass --yes.")
    if not typer.confirm("Do you agree to these licences?"):
        raise UserError("Nothing was downloaded; the weights can only be used under their licences.")


@weights.command("import", cls=GroupedCommand)
def weights_import(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Weights file (.th, .ckpt, .pkl or .safetensors), or diffusers folder."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="What the file is: diffportrait360, diffportrait3d, back-head, panohead, sd15 or animatediff. "
            "Default: detected from the tensors.",
        ),
    ] = None,
    output: ImportFolder = None,
) -> None:
    """Check a published weights file tensor by tensor, and convert it to fp16 safetensors.

    No code in the file is executed; from PanoHead's pickle, only tensors and layer sizes are read. FILE can also be a
    folder that `weights export --diffusers` wrote, or the diffusers folder of Stable Diffusion 1.5.

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


@weights.command("list", cls=GroupedCommand)
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
            typer.echo(escape_controls(f"!! {error}"))
            continue
        size = sum(int(file["bytes"]) for file in record["files"].values())
        origin = record["source"]["name"] + ("" if is_trained(record) else " (not trained)")
        typer.echo(
            escape_controls(f"{record['system']:16s} {size / 1e9:6.2f} GB  {record['dtype']}  from {origin}  {path}")
        )


@weights.command("verify", cls=GroupedCommand)
def weights_verify(folder: WeightsFolder = None) -> None:
    """Check every imported file against its recorded SHA-256.

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


@weights.command("export", cls=GroupedCommand)
def weights_export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name from `weights list`, folder of weights, or trained .safetensors file."
        ),
    ],
    diffusers: Annotated[
        Path | None, typer.Option("--diffusers", metavar="DIR", help="Write a folder in the diffusers format.")
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option("--pretrained", metavar="DIR", help="Write a folder to share, with a model card."),
    ] = None,
) -> None:
    """Export weights for other programs, or for sharing.

    From a folder written with --diffusers, the diffusers library can load the U-Net, autoencoder, ControlNet and
    appearance network. It has no class for the cross-view attention, so those weights keep portrait360's own names.
    Folders written with --pretrained can be loaded by portrait360's `from_pretrained`, from disk or from the Hugging
    Face Hub.

    Examples:

      portrait360 weights export diffportrait360 --diffusers heads-diffusers
      portrait360 weights export runs/map/weights.safetensors --pretrained map-completer
    """
    if (diffusers is None) == (pretrained is None):
        raise UserError("Choose what to write: either --diffusers DIR or --pretrained DIR.")
    path = _find_source(source)

    from portrait360.models.weights.diffusers_export import export_diffusers
    from portrait360.models.weights.pretrained import load_trained, save_pretrained, save_weights
    from portrait360.utils.progress import progress_bar

    if diffusers is not None:
        with progress_bar("Writing", unit="bytes") as bar:
            export_diffusers(path, diffusers, bar.advance)
    elif pretrained is not None and path.is_dir():
        save_weights(path, pretrained)
    elif pretrained is not None:
        network, facts = load_trained(path)
        save_pretrained(network, pretrained, facts=facts)
    typer.echo(f"{source}: {diffusers or pretrained}")


def _find_source(source: str) -> Path:
    """Return the folder of these weights, or the trained file."""
    from portrait360.models.weights.installed import find_weights, weights_folder

    path = Path(source)
    if not path.exists():
        found = find_weights(source)
        if found is None:
            raise UserError(
                f"There are no weights {source!r} in {weights_folder()}, and no file or folder of that name."
            )
        return found
    return path
