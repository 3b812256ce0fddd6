"""The command line as a whole. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from portrait360.apps.cli import batch, evaluate, make, stages, synth
from portrait360.apps.cli.animate import animate
from portrait360.apps.cli.command_options import WIDTH, GroupedCommand
from portrait360.apps.cli.train import training
from portrait360.apps.cli.weights import weights
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.terminal import escape_controls
from portrait360.utils.version import __version__


class Commands(TyperGroup):
    """The commands; a file in place of one gets a hint at the command that was meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # typer has a click of its own, or not
        if args and self.get_command(ctx, args[0]) is None:
            name, path = escape_controls(args[0]), Path(args[0])
            if path.is_file():
                ctx.fail(f"{name} is a file, not a command; did you mean `portrait360 make {name}`?")
            if path.suffix or len(path.parts) > 1:  # no command's name has any
                ctx.fail(f"{name} is neither a command nor a file; to make a head, type `portrait360 make PHOTO`.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="portrait360",
    cls=Commands,
    help="Turn one portrait photo into a 3D head.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": WIDTH},
)
app.add_typer(weights, name="weights")
app.add_typer(training, name="train")


def show_version(value: bool) -> None:
    if value:
        typer.echo(f"portrait360 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


make.add_commands(app)
batch.add_commands(app)


@app.command(cls=GroupedCommand)
def doctor() -> None:
    """Show what is installed, what is missing, and what can run.

    Example: portrait360 doctor
    """
    from portrait360.apps.cli.doctor import LEGEND, report
    from portrait360.models.weights.installed import weights_folder

    for title, lines in report(weights_folder()):
        typer.echo(title)
        for line in lines:
            typer.echo(f"  {line.mark}  {escape_controls(line.text)}")
        typer.echo()
    typer.echo(LEGEND)


for command in (stages.align, stages.proxy, stages.views, stages.fit, stages.refine, stages.export, stages.view):
    app.command(cls=GroupedCommand)(command)
app.command("animate", cls=GroupedCommand)(animate)
app.command("synth", cls=GroupedCommand)(synth.synth)
app.command("eval", cls=GroupedCommand)(evaluate.evaluate)


def main() -> None:
    run_entry_point(app)
