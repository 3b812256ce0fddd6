"""`portrait360 make` and `serve`: all stages, from a photo to files, on the command line and in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.apps.cli.command_options import GroupedCommand, ResumedFolder, with_make_options
from portrait360.pipeline.options import RUN, MakeOptions, content_hash
from portrait360.utils.collection import keep_for_good
from portrait360.utils.errors import UserError
from portrait360.utils.terminal import escape_controls


@with_make_options()
def make(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Photo or other picture of a head.")],
    output: ResumedFolder = Path("out"),
    options: MakeOptions = MakeOptions(),  # noqa: B008 (the decorator gives it)
    *,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Also replace a result made from another photo, and files that portrait360 did not write. "
            "(A result from the same photo is always updated.)",
            rich_help_panel=RUN,
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.", rich_help_panel=RUN)] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print progress as JSON lines, for other programs.", rich_help_panel=RUN),
    ] = False,
) -> None:
    """Turn a photo into a 3D head: mesh, splats, video, web page.

    Examples:

      portrait360 make photo.jpg -o out
      portrait360 make photo.jpg -o preview --as mesh
      portrait360 make photo.jpg -o out --back behind.jpg --as nerf --formats ply,spz
    """
    from portrait360.utils.progress import Event, event_printer

    with event_printer("json" if json else "quiet" if quiet else "bars") as on_event:
        try:
            options.validate()
            options.check_pictures(photo)
            if not overwrite:
                from portrait360.pipeline.run import check_folder

                check_folder(output, str(content_hash(photo)))

            with keep_for_good():  # takes seconds; what is wrong should be told sooner
                from portrait360.pipeline.make import make as run

            run(photo, output, options, on_event, overwrite=overwrite)
        except UserError as error:
            on_event(Event("run", "failed", str(error)))
            raise
        on_event(Event("run", "done", str(output), left=0.0))
    if not (quiet or json):
        files = [output / name for name in ("viewer.html", "sheet.png") if (output / name).is_file()]
        typer.echo(escape_controls(f"{photo} -> {output}; open {' or '.join(map(str, files))}"))


def serve(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to save the heads in.")] = Path("runs"),
    port: Annotated[
        int, typer.Option(help="Port on this machine; if it is in use, another one is chosen.", min=1, max=65535)
    ] = 7860,
) -> None:
    """Start a web app for making heads.

    The command prints an address; open it in a browser on this machine. Other machines cannot connect.

    Needs `pip install 'portrait360[web]'`.

    Example: portrait360 serve
    """
    from portrait360.apps.web.app import serve as run

    run(folder, port)


def add_commands(app: typer.Typer) -> None:
    app.command(cls=GroupedCommand)(make)
    app.command(cls=GroupedCommand)(serve)
