"""Commands on one stage: align, proxy, views, fit, refine, export, view."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.apps.cli.command_options import with_make_options
from portrait360.pipeline.options import CROP, OVERRULES, MakeOptions, check_file
from portrait360.pipeline.portrait import check_crop
from portrait360.pipeline.proxy import METHODS, check_method
from portrait360.utils.entry_point import internal_error_message
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_path
from portrait360.utils.option_fields import name_flags, option_info
from portrait360.utils.terminal import escape_controls

VIEWPOINT = ("face", "azimuth", "elevation")

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pictures with a head in them.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")]
CropSize = Annotated[
    int, typer.Option(help="Side of the crop in pixels, 64 to 2048; 2048 takes about four times as long as 512.")
]


@with_make_options(VIEWPOINT)
def align(photos: Photos, output: Output, options: MakeOptions, *, size: CropSize = CROP) -> None:
    """Find the head in a photo: write a square crop, its matte, the camera, and a sheet to check them.

    Several photos are written to DIR/00, DIR/01 and so on.

    Example: portrait360 align photo.jpg -o head
    """
    viewpoint = check_viewpoint(photos, options, size)

    from portrait360.apps.cli.photo_stages import align_photo

    each_photo(photos, output, align_photo, **viewpoint, size=size)


@with_make_options((*VIEWPOINT, *OVERRULES))
def proxy(
    photos: Photos,
    output: Output,
    options: MakeOptions,
    *,
    size: CropSize = CROP,
    method: Annotated[
        str, typer.Option("--method", "--proxy", help=option_info(MakeOptions, "method").help)
    ] = METHODS[0],
) -> None:
    """Turn a photo into a coarse 3D head, with a sheet of it from all sides and a turntable.

    Several photos are written to DIR/00, DIR/01 and so on.

    Examples:

      portrait360 proxy photo.jpg -o head

      portrait360 proxy photo.jpg -o other --hair bob --hair-length 1.2
    """
    viewpoint = check_viewpoint(photos, options, size)
    check_method(method)
    overrules = replace(options, method=method).read_overrules()

    from portrait360.apps.cli.photo_stages import proxy_photo

    each_photo(photos, output, proxy_photo, **viewpoint, size=size, method=method, overrules=overrules)


def fit(
    views: Annotated[
        Path, typer.Argument(metavar="VIEWS", help="A folder with a proxy, or with pictures and a transforms.json.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write. Default: VIEWS.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do a quarter of the work, for a first look.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="field, splats or mesh; can be repeated. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where it is available.")] = None,
) -> None:
    """Fit a head to views: a radiance field, Gaussian splats and a textured mesh, in DIR/head.

    A stopped fit resumes.

    Examples:

      portrait360 fit out

      portrait360 fit nerfstudio-folder -o head --only mesh
    """
    check_path(views)

    from portrait360.pipeline.reconstruction.fit import fit_folder

    typer.echo(fit_folder(views, output or views, quick=quick, only=tuple(only or ()), seed=seed, device=device))


def refine(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `make`, with its views and head.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write; not RUN.")],
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of the hybrid priors (`train run hybrid`); none are shipped."),
    ] = None,
    restorer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of a network that repairs the shape first. Default: none."),
    ] = None,
    begin: Annotated[
        str, typer.Option(help="Where to start: field (the fitted one), proxy, or gan (the GAN's head).")
    ] = "field",
    steps: Annotated[int, typer.Option(help="Rounds in which every view is denoised.", min=0, max=1000)] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="Less work for the fit.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where it is available.")] = None,
) -> None:
    """Refine a head by Portrait Diffusion, and write its views and head to DIR. A stopped run resumes.

    Example: portrait360 refine out -o refined --weights runs/hybrid/weights.safetensors
    """
    check_path(run)

    from portrait360.pipeline.refinement.noise_resampling import RefineConfig
    from portrait360.pipeline.refinement.stage import RefineRequest, refine_folder
    from portrait360.utils.progress import progress_bar

    request = RefineRequest(RefineConfig(steps=steps, seed=seed), weights, restorer, begin=begin)
    with progress_bar() as bar:
        summary = refine_folder(run, output, request, quick=quick, device=device, on_step=bar.update)
    typer.echo(summary)


def export(
    head: Annotated[
        Path, typer.Argument(metavar="HEAD", help="A fitted head, or a .ply, .splat, .spz or .glb file.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write. Default: that of HEAD.")
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="ply, splat, spz, splats.glb (splats in glTF), glb (mesh), obj, field, html, mp4, webp, gif, scene, "
            "sheet; can be repeated.",
        ),
    ] = None,
    path: Annotated[
        str, typer.Option(help='Camera path: orbit, eight, or pairs azimuth,elevation like "0,0 60,10 180,20".')
    ] = "orbit",
    title: Annotated[str, typer.Option(help="Title of the HTML page.")] = "portrait360",
    sh: Annotated[
        int, typer.Option(help="Degree of the harmonics in .ply: 0, or 3, which some programs want, with zeros.")
    ] = 0,
    up: Annotated[str, typer.Option(help="Axis that points up in .ply and .splat: -y, as usual there, or y.")] = "-y",
    spz_version: Annotated[
        int, typer.Option("--spz-version", help="Version of .spz: 2, or 4 for new programs, which needs zstandard.")
    ] = 2,
) -> None:
    """Write a head as files for other programs. Default: head.ply, head.glb, viewer.html, turntable.mp4, head.png.

    Examples:

      portrait360 export out

      portrait360 export head.ply --format spz --format html

      portrait360 export head.spz --format ply --sh 3 --up y
    """
    check_path(head)

    from portrait360.pipeline.export.units import parse_splat_options
    from portrait360.pipeline.export.writer import DEFAULT_FORMATS, missing_result, open_head, write_head
    from portrait360.utils.progress import progress_bar

    splat_options = parse_splat_options(sh, up, spz_version)
    formats = tuple(format or DEFAULT_FORMATS)
    folder = output or (head if head.is_dir() else head.parent)
    if any((folder / f"head.{name}").resolve() == head.resolve() for name in formats):
        raise UserError(f"This would overwrite {head} itself; choose another folder with -o, or other formats.")
    loaded = open_head(head)
    with progress_bar("Writing", len(formats)) as bar:
        chosen = {"path": path, "title": title, "splat_options": splat_options}
        for file in write_head(loaded, folder, formats, **chosen, on_file=bar.advance):
            typer.echo(file)
    for name in formats:
        if missing := missing_result(loaded, name):
            typer.echo(f"No {name}: this head has no {missing}; make it with `portrait360 fit VIEWS`.")


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with views, a proxy or a head; or the file of a head.")
    ],
    port: Annotated[
        int, typer.Option(help="Port on this machine; if it is in use, another one is chosen.", min=1, max=65535)
    ] = 8080,
) -> None:
    """Show views, cameras, proxy and head in the browser, and compare the head with any view.

    Example: portrait360 view out
    """
    check_path(folder)

    from portrait360.apps.viewer import FolderContents, show

    server = show(FolderContents.load(folder), port)
    typer.echo(f"Open http://{server.get_host()}:{server.get_port()} in a browser; stop with Ctrl-C.")
    server.sleep_forever()


def check_viewpoint(photos: list[Path], options: MakeOptions, size: int) -> dict[str, Any]:
    """Return the options of `align` and `proxy`, checked before anything heavy is loaded."""
    check_crop(options.azimuth, options.elevation, size)
    if len(photos) == 1:
        check_file(photos[0])
    return {name: getattr(options, name) for name in VIEWPOINT}


def each_photo(photos: list[Path], output: Path, work: Callable[..., list[str]], **options: Any) -> None:
    """Process one photo after the other.

    A photo that fails does not stop the others: one UserError at the end has a line for each of them. The same holds
    for internal errors if there are several photos.
    """
    from portrait360.utils.progress import progress_bar

    failures = []
    with progress_bar("Working", len(photos)) as bar:
        for i, photo in enumerate(photos):
            try:
                lines = work(photo, output if len(photos) == 1 else output / f"{i:02d}", **options)
            except UserError as error:
                failures.append(str(error))
                lines = []
            except Exception as error:
                if len(photos) == 1 or os.environ.get("PORTRAIT360_DEBUG"):
                    raise
                failures.append(f"{photo}: {internal_error_message(error)}")
                lines = []
            bar.advance(photo.name)
            for line in lines:
                typer.echo(escape_controls(line))
    if failures:
        raise UserError(*failures)


@with_make_options((*OVERRULES, "views", "size", "orbit", "orbit_elevation", "seed"))
def views(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or of `portrait360 proxy`.")],
    options: MakeOptions,
) -> None:
    """Render the views of a proxy to DIR/views. With a hairstyle or parameters its avatar is made again before.

    Examples:

      portrait360 views out --views 16

      portrait360 views out --hair long
    """
    options = replace(options, fit=False).validate()
    check_path(folder)

    from portrait360.pipeline.avatar.methods import explain_no_effect, remake_avatar
    from portrait360.pipeline.views.proxy_views import write_proxy_views
    from portrait360.utils.progress import progress_bar

    overrules = options.read_overrules()
    if overrules and (warning := explain_no_effect(remake_avatar(folder, overrules), overrules)):
        typer.echo(f"{folder}: warning: {name_flags(warning)}")
    with progress_bar("Views", options.views) as bar:
        count = write_proxy_views(
            folder, options.views, options.pixels, options.orbit, options.orbit_elevation, options.seed, bar.advance
        )
    typer.echo(f"{count} views -> {folder / 'views'}")
