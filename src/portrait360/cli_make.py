"""`portrait360 make`, `views` and `serve`: from a photo to everything, one stage of it, and both in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.errors import UserError

Photo = Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture with a head in it.")]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write; a stopped run goes on there.")
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "--proxy",
        help="proxy: by the fit and the photos alone; completed: with the small network; denoised: and its views "
        "with another; gan: by a 3D GAN's inversion. If not given: completed; with published networks gan, "
        "if its weights are there, else proxy.",
    ),
]
Views = Annotated[int, typer.Option(help="Views of the orbit.")]
Size = Annotated[int | None, typer.Option(help="Side of a view in pixels; the preset's if not given (256).")]
Orbit = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Cameras instead of an orbit: a line `azimuth,elevation` for each."),
]
OrbitElevation = Annotated[float, typer.Option(help="How high the orbit's cameras stand, in degrees.")]
Seed = Annotated[int, typer.Option(help="Of all random numbers: the same one gives the same files.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; whatever is there if not given.")]


def make(
    photo: Photo,
    output: Output,
    preset: Annotated[str, typer.Option(help="small; with weights of your own: sd15, diffportrait3d.")] = "small",
    method: Method = None,
    views: Views = 32,
    size: Size = None,
    seed: Seed = 0,
    back: Annotated[Path | None, typer.Option(metavar="PHOTO", help="The same head from behind.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="PHOTO", help="Another photo of it; may be said again.")
    ] = None,
    face: Annotated[int | None, typer.Option(help="Which face, counted from 1, the largest.")] = None,
    azimuth: Annotated[
        float | None, typer.Option(help="Where the photo's camera stands: 90 is the subject's left. A face tells it.")
    ] = None,
    elevation: Annotated[float | None, typer.Option(help="How high it stands, in degrees from the horizon.")] = None,
    orbit: Orbit = None,
    orbit_elevation: OrbitElevation = 0.0,
    results: Annotated[str, typer.Option("--as", help="nerf, splats, mesh, with commas between.")] = (
        "nerf,splats,mesh"
    ),
    fit: Annotated[bool, typer.Option("--fit/--no-fit", help="Make a 3D head, or stop at the views.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Less work for the head, for a first look.")] = False,
    steps: Annotated[int | None, typer.Option(help="Of the sampler, in presets whose views a network makes.")] = None,
    device: Device = None,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="With published networks: exactly as published, slower.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="With published networks: compile them first; for many views on a GPU.")
    ] = False,
    refine: Annotated[bool, typer.Option("--refine", help="Refine the head at last (Portrait Diffusion).")] = False,
    refine_with: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same, with these weights of the hybrid priors.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another photo's run, or files of these names, in DIR.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Tell progress as a line of JSON each, for programs.")] = False,
) -> None:
    """Turn a photo into a 3D head: views from all sides, splats, mesh, film, and a page that opens anywhere.

    Examples:

      portrait360 make photo.jpg -o out

      portrait360 make photo.jpg -o look --views 8 --no-fit

      portrait360 make photo.jpg -o out --back behind.jpg --as mesh
    """
    from portrait360.pipeline import make as run
    from portrait360.progress import Event, screen
    from portrait360.wish import Wish, results_of

    wish = Wish(
        preset, method, views, size, seed, back, tuple(reference or ()), face, azimuth, elevation, orbit,
        orbit_elevation, results_of(results), fit, quick, steps, device, faithful, compiled,
        refine or refine_with is not None, refine_with,
    )  # fmt: skip
    with screen("json" if json else "quiet" if quiet else "bars") as tell:
        try:
            run(photo, output, wish, tell, over=overwrite)
        except UserError as error:
            tell(Event("run", "failed", str(error)))
            raise
        tell(Event("run", "done", str(output), left=0.0))
    if not (quiet or json):
        looks = [output / name for name in ("viewer.html", "sheet.png") if (output / name).is_file()]
        typer.echo(f"{photo} -> {output}; to look at: {', '.join(map(str, looks))}")


def views(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a run, or what `portrait360 proxy` wrote.")
    ],
    views: Views = 32,
    size: Size = None,
    orbit: Orbit = None,
    orbit_elevation: OrbitElevation = 0.0,
    seed: Seed = 0,
) -> None:
    """Make the views of a proxy, in DIR/views.

    Example: portrait360 views out --views 16
    """
    from portrait360.progress import step_bar
    from portrait360.views import folder_views
    from portrait360.wish import Wish

    wish = Wish(views=views, size=size, seed=seed, orbit=orbit, orbit_elevation=orbit_elevation, fit=False).checked()
    with step_bar("Views", views) as advance:
        count = folder_views(folder, views, wish.pixels, orbit, orbit_elevation, seed, advance)
    typer.echo(f"{count} views -> {folder / 'views'}")


def serve(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where runs are kept.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Of this machine; another one if it is taken.", min=1, max=65535)] = 7860,
) -> None:
    """Do it all in the browser: upload a photo, watch, turn the head, download the files. On this machine alone.

    Needs `pip install 'portrait360[web]'`.

    Example: portrait360 serve
    """
    from portrait360.web.app import serve as run

    run(folder, port)


def add_to(app: typer.Typer) -> None:
    for command in (make, views, serve):
        app.command()(command)
