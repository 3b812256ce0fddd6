"""The commands; each under a screen. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360 import __version__, cli_batch, cli_eval, cli_make, cli_synth
from portrait360.cli_train import training
from portrait360.cli_weights import weights
from portrait360.errors import UserError
from portrait360.plainly import mistake, plainly

app = typer.Typer(
    name="portrait360",
    help="One portrait in, a head that can be seen from all sides out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(weights, name="weights")
app.add_typer(training, name="train")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"portrait360 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that stand before any command."""


cli_make.add_to(app)
cli_batch.add_to(app)


@app.command()
def doctor() -> None:
    """Say what is installed, which device would be used, and which presets can run.

    Example: portrait360 doctor
    """
    from portrait360.doctor import report
    from portrait360.weights.library import home

    for title, lines in report(home()):
        typer.echo(title)
        for line in lines:
            typer.echo(f"  {line.mark}  {line.text}")


Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures with a head in them.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")]
FaceNumber = Annotated[int | None, typer.Option("--face", help="Which face, counted from 1, the largest.")]
Azimuth = Annotated[
    float | None,
    typer.Option(
        help="Where the camera stands, in degrees: 90 is the subject's left, 180 behind. A face tells it by itself."
    ),
]
Elevation = Annotated[float | None, typer.Option(help="How high it stands, in degrees from the horizon.")]
CropSize = Annotated[
    int, typer.Option(help="Side of the crop in pixels, 64 to 2048; 2048 takes about four times as long as 512.")
]


@app.command()
def align(
    photos: Photos,
    output: Output,
    face: FaceNumber = None,
    azimuth: Azimuth = None,
    elevation: Elevation = None,
    size: CropSize = 512,
) -> None:
    """Find the head in a photo: a square crop, its matte, the camera, and a sheet to check them by.

    Several photos go to DIR/00, DIR/01 and so on.

    Example: portrait360 align photo.jpg -o head
    """
    from portrait360.sheet import align_photo

    each_photo(photos, output, align_photo, face=face, azimuth=azimuth, elevation=elevation, size=size)


@app.command()
def proxy(
    photos: Photos,
    output: Output,
    face: FaceNumber = None,
    azimuth: Azimuth = None,
    elevation: Elevation = None,
    size: CropSize = 512,
    method: cli_make.Method = "proxy",
) -> None:
    """Turn a photo into a coarse 3D head, with a sheet of it from all sides and a turntable.

    Several photos go to DIR/00, DIR/01 and so on.

    Example: portrait360 proxy photo.jpg -o head
    """
    from portrait360.sheet import proxy_photo

    each_photo(photos, output, proxy_photo, face=face, azimuth=azimuth, elevation=elevation, size=size, method=method)


@app.command()
def fit(
    views: Annotated[
        Path, typer.Argument(metavar="VIEWS", help="A folder with a proxy, or with pictures and a transforms.json.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write; VIEWS if not given.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A quarter of the work, for a first look.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="field, splats or mesh; all of them if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; whatever is there if not given.")] = None,
) -> None:
    """Fit a head to views: a field, Gaussian splats and a textured mesh, in DIR/head.

    A stopped run is taken up again.

    Examples:

      portrait360 fit out

      portrait360 fit nerfstudio-folder -o head --only mesh
    """
    from portrait360.fit.command import fit_folder

    typer.echo(fit_folder(views, output or views, quick=quick, only=tuple(only or ()), seed=seed, device=device))


@app.command()
def refine(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `make`, with its views and head.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write; not the same.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of the hybrid priors (`train run hybrid`); none are shipped.")
    ] = None,
    restorer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights that mend the shape first; without, it stays.")
    ] = None,
    begin: Annotated[
        str, typer.Option(help="What of the run: its fitted field, its proxy, or the gan's head.")
    ] = "field",
    steps: Annotated[int, typer.Option(help="Rounds in which every view is denoised.", min=0, max=1000)] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="Less work for the fit.")] = False,
    seed: Annotated[int, typer.Option(help="Of all random numbers.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; whatever is there if not given.")] = None,
) -> None:
    """Refine a head by Portrait Diffusion: views and head of DIR. A stopped run is taken up again.

    Example: portrait360 refine out -o refined --weights runs/hybrid/weights.safetensors
    """
    from portrait360.progress import stage_bar
    from portrait360.refine.loop import Refining
    from portrait360.refined_head import Refinery, refine_folder

    asked = Refinery(Refining(steps=steps, seed=seed), weights, restorer, begin=begin)
    with stage_bar() as advance:
        said = refine_folder(run, output, asked, quick=quick, device=device, on_step=advance)
    typer.echo(said)


@app.command()
def export(
    head: Annotated[
        Path, typer.Argument(metavar="HEAD", help="A fitted head, or a .ply, .splat, .spz or .glb file.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write; HEAD's if not given.")
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="ply, splat, spz, glb, obj, html, mp4, webp, gif, scene or sheet."),
    ] = None,
    path: Annotated[
        str, typer.Option(help='Of the camera: orbit, eight, or places like "0,0 60,10 180,20".')
    ] = "orbit",
    title: Annotated[str, typer.Option(help="Of the page.")] = "portrait360",
) -> None:
    """Write a head as files that anyone can open: head.ply, head.glb, viewer.html, turntable.mp4, head.png.

    Examples:

      portrait360 export out

      portrait360 export head.ply --format spz --format html
    """
    from portrait360.export.head import USUAL, lacking, open_head, write_head
    from portrait360.progress import step_bar

    formats = tuple(format or USUAL)
    folder = output or (head if head.is_dir() else head.parent)
    if any((folder / f"head.{name}").resolve() == head.resolve() for name in formats):
        raise UserError(f"{head} itself would be replaced; choose another folder with -o, or other formats.")
    found = open_head(head)
    with step_bar("Writing", len(formats)) as advance:
        for file in write_head(found, folder, formats, path=path, title=title, on_file=advance):
            typer.echo(file)
    for name in formats:
        if needed := lacking(found, name):
            typer.echo(f"No {name}: this head has no {needed}; `portrait360 fit VIEWS` makes them.")


@app.command()
def view(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What proxy, fit or another program wrote, or a file of a head.")
    ],
    port: Annotated[int, typer.Option(help="Of this machine; another one if it is taken.", min=1, max=65535)] = 8080,
) -> None:
    """Look at views, cameras, proxy and head in the browser, and compare the head with any view.

    Example: portrait360 view out
    """
    from portrait360.studio import Exhibit, show

    server = show(Exhibit.find(folder), port)
    typer.echo(f"Open http://{server.get_host()}:{server.get_port()} in a browser; stop with Ctrl-C.")
    server.sleep_forever()


def each_photo(photos: list[Path], output: Path, work: Callable[..., list[str]], **options: Any) -> None:
    """Do one photo after the other; a bad one does not stop the others, but is told at the end, in a line of its
    own. A mistake of ours stops nothing either, if there are others to do."""
    from portrait360.progress import step_bar

    failed = []
    with step_bar("Working", len(photos)) as advance:
        for i, photo in enumerate(photos):
            try:
                lines = work(photo, output if len(photos) == 1 else output / f"{i:02d}", **options)
            except UserError as error:
                failed.append(str(error))
                lines = []
            except Exception as error:
                if len(photos) == 1 or os.environ.get("PORTRAIT360_DEBUG"):
                    raise
                failed.append(f"{photo}: {mistake(error)}")
                lines = []
            advance(photo.name)
            for line in lines:
                typer.echo(line)
    if failed:
        raise UserError("\n".join(failed))


app.command("synth")(cli_synth.synth)
app.command("eval")(cli_eval.evaluate)


def main() -> None:
    plainly(app)
