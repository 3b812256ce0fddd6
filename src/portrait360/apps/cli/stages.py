"""Commands on one stage: align, proxy, views, fit, refine, export, view."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from portrait360.apps.cli.command_options import INPUT, OUTPUT, with_make_options
from portrait360.pipeline.export import DEFAULT_FORMATS, check_formats, check_head, find_format
from portrait360.pipeline.export.splat_options import parse_splat_options
from portrait360.pipeline.options import CROP, OVERRULES, RUN, MakeOptions
from portrait360.pipeline.portrait import check_crop
from portrait360.pipeline.proxy import check_method
from portrait360.pipeline.reconstruction import check_results
from portrait360.pipeline.refinement import check_begin
from portrait360.utils.entry_point import internal_error_message
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_folder, check_name, check_path
from portrait360.utils.option_fields import name_flags
from portrait360.utils.terminal import escape_controls

VIEWPOINT = ("face", "azimuth", "elevation")
PAGE, SPLATS, MESH = "Video and page", "Splats", "Mesh"  # groups of `export`

Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTO...", help="One or more photos; only one head per photo is used.")
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Output folder.", rich_help_panel=OUTPUT)]
CropSize = Annotated[
    int,
    typer.Option(
        "--crop",
        help="Width and height of the crop in pixels, 64 to 2048; 2048 takes about four times as long as 512.",
        rich_help_panel=OUTPUT,
    ),
]


@with_make_options(VIEWPOINT)
def align(photos: Photos, output: Output, options: MakeOptions, *, crop: CropSize = CROP) -> None:
    """Find the head in a photo, and write its crop, matte, segmentation map and camera.

    Also writes a contact sheet that shows them. With several photos, the results go to DIR/00, DIR/01 and so on.

    Example: portrait360 align photo.jpg -o head
    """
    viewpoint = check_viewpoint(photos, options, crop)

    from portrait360.apps.cli.photo_stages import align_photo

    each_photo(photos, output, align_photo, **viewpoint, size=crop)


@with_make_options(
    (*VIEWPOINT, *OVERRULES, "method"),
    {
        "method": "How to make the head. avatar: separate layers of skin, hair and clothes; if no face is found, the "
        "method “completed” is used instead. proxy: one closed surface; fixed rules fill in what the photo does not "
        "show. completed: like proxy, but a small network fills in the rest. gan: the closest match to the photo "
        "that the 3D GAN PanoHead can generate. Default: avatar."
    },
)
def proxy(photos: Photos, output: Output, options: MakeOptions, *, crop: CropSize = CROP) -> None:
    """Make only the 3D model: an avatar or a proxy (a simpler closed surface).

    Also writes a contact sheet and a turntable animation. With several photos, the results go to DIR/00, DIR/01
    and so on.

    Examples:

      portrait360 proxy photo.jpg -o head
      portrait360 proxy photo.jpg -o other --hair bob --hair-length 1.2
    """
    viewpoint = check_viewpoint(photos, options, crop)
    check_method(options.method or options.proxy_method)
    overrules = options.read_overrules()

    from portrait360.apps.cli.photo_stages import proxy_photo

    chosen: dict[str, Any] = {"method": options.proxy_method, "overrules": overrules}
    each_photo(photos, output, proxy_photo, **viewpoint, size=crop, **chosen)


@with_make_options(("quick", "seed", "device"))
def fit(
    views: Annotated[
        Path,
        typer.Argument(
            metavar="VIEWS",
            help="Folder that `make` or `proxy` wrote, or one with pictures and cameras from nerfstudio, COLMAP or "
            "FaceLift.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Output folder. Default: the folder VIEWS.", rich_help_panel=OUTPUT
        ),
    ] = None,
    options: MakeOptions = MakeOptions(),  # noqa: B008 (frozen)
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="What to fit: field (the radiance field), splats or mesh; can be repeated. Default: all three.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Fit a radiance field (NeRF), splats and a mesh to views.

    Writes them to the subfolder `head` of the output folder. To resume a stopped run, repeat the same command.

    Examples:

      portrait360 fit out
      portrait360 fit nerfstudio-folder -o out --only mesh
    """
    check_folder(views, "a folder with a proxy, or with pictures and cameras")
    check_results(only or ())

    from portrait360.pipeline.reconstruction.fit import fit_folder

    chosen: dict[str, Any] = {"quick": options.quick, "seed": options.seed, "device": options.device}
    typer.echo(fit_folder(views, output or views, only=tuple(only or ()), **chosen))


@with_make_options(("quick", "seed", "device"))
def refine(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder that `make --fit` wrote; with --begin proxy, any that `make` wrote."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Output folder; must differ from RUN.", rich_help_panel=OUTPUT
        ),
    ],
    options: MakeOptions,
    *,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights trained with `train run hybrid`. Required, because none are included.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    restorer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights trained with `train run restorer`, used to repair the geometry first. Default: no repair.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    begin: Annotated[
        str,
        typer.Option(
            help="Head to start from: field (the fitted radiance field), avatar, proxy, or gan (the head that "
            "PanoHead generated).",
            rich_help_panel=INPUT,
        ),
    ] = "field",
    steps: Annotated[
        int,
        typer.Option(
            help="Number of refinement rounds; each denoises every view once.", min=0, max=1000, rich_help_panel=RUN
        ),
    ] = 4,
) -> None:
    """Refine a head with Portrait Diffusion.

    Writes the refined views and head to DIR. With `--begin avatar`, the shape and colours of the avatar itself are
    changed; otherwise, a new head is fitted to the refined views. To resume a stopped run, repeat the same command.

    Examples:

      portrait360 refine out -o refined --weights runs/hybrid/weights.safetensors
      portrait360 refine out -o refined --weights runs/hybrid/weights.safetensors --begin avatar
    """
    check_path(run)
    check_begin(begin)

    from portrait360.pipeline.refinement.noise_resampling import RefineConfig
    from portrait360.pipeline.refinement.stage import RefineRequest, refine_folder
    from portrait360.utils.progress import progress_bar

    request = RefineRequest(RefineConfig(steps=steps, seed=options.seed), weights, restorer, begin=begin)
    with progress_bar() as bar:
        chosen: dict[str, Any] = {"quick": options.quick, "device": options.device}
        summary = refine_folder(run, output, request, **chosen, on_step=bar.update)
    typer.echo(summary)


def export(
    head: Annotated[
        Path,
        typer.Argument(
            metavar="HEAD", help="Folder that `make` or `fit` wrote, or a .ply, .splat, .spz or .glb file."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR|FILE",
            help="Output folder, or a single file whose extension determines the format. Default: HEAD or, if that "
            "is a file, its folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="File format: ply, splat, spz, splats.glb (splats in glTF), glb (mesh), obj, usdz (AR Quick Look), "
            "stl (3D printing), field (radiance field), html, mp4, webp, gif, scene (views with cameras) or sheet "
            "(contact sheet); can be repeated.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    path: Annotated[
        str,
        typer.Option(
            help="Camera path of the video: orbit, eight (a figure of eight), or azimuth,elevation pairs such as "
            '"0,0 60,10 180,20".',
            rich_help_panel=PAGE,
        ),
    ] = "orbit",
    title: Annotated[str, typer.Option(help="Title of the HTML page.", rich_help_panel=PAGE)] = "portrait360",
    sh: Annotated[
        int,
        typer.Option(
            help="Degree of the spherical harmonics in .ply, .spz and .splats.glb: 0 (one colour per splat, smaller "
            "files), 1 (colours change with the viewing direction), or 3 (like 1, but .ply is padded with zeros, for "
            "programs that require degree 3).",
            rich_help_panel=SPLATS,
        ),
    ] = 1,
    up: Annotated[
        str,
        typer.Option(
            help="Axis that points up in .ply and .splat: -y (expected by most viewers) or y.", rich_help_panel=SPLATS
        ),
    ] = "-y",
    spz_version: Annotated[
        int,
        typer.Option(
            "--spz-version",
            help="Version of the .spz format: 2, or 4 for recent programs (needs the package zstandard).",
            rich_help_panel=SPLATS,
        ),
    ] = 2,
    detail: Annotated[
        float,
        typer.Option(
            help="Multiply the number of triangles in an avatar's .glb, .usdz and .stl by this factor; by default, "
            ".glb and .usdz have about 60,000 each.",
            min=0.25,
            max=8,
            rich_help_panel=MESH,
        ),
    ] = 1.0,
    unlit: Annotated[
        bool,
        typer.Option(
            "--unlit",
            help="Leave the photo's lighting baked into the textures of an avatar's .glb, for viewers without "
            "lighting.",
            rich_help_panel=MESH,
        ),
    ] = False,
) -> None:
    """Export a head as files for other programs.

    Without --format, writes head.ply, head.glb, viewer.html, turntable.mp4 and head.png (a contact sheet).

    Examples:

      portrait360 export out -o files --format spz --format glb
      portrait360 export out -o head.usdz
      portrait360 export head.ply --format spz --format html
      portrait360 export head.spz --format ply --sh 3 --up y
    """
    check_head(head)
    splat_options = parse_splat_options(sh, up, spz_version)
    one = output if output is not None and not output.is_dir() and find_format(output) else None
    if one is not None and format:
        raise UserError(f"{one} is a single file, so leave out --format, or choose a folder with -o.")
    formats = tuple(format or DEFAULT_FORMATS)
    check_formats(formats)
    folder = output or (head if head.is_dir() else head.parent)
    if head.resolve() in [file.resolve() for file in ([one] if one else [folder / f"head.{n}" for n in formats])]:
        raise UserError(f"This would overwrite {head} itself; choose another folder with -o, or other formats.")

    from portrait360.pipeline.export.camera_paths import parse_path
    from portrait360.pipeline.export.writer import explain_missing
    from portrait360.pipeline.loaded_head import load_head
    from portrait360.utils.progress import progress_bar

    parse_path(path, focal=1.0)
    loaded = load_head(head)
    with progress_bar("Writing", len(formats)) as bar:
        chosen: dict[str, Any] = {"path": path, "title": title, "detail": detail, "unlit": unlit}
        chosen |= {"splat_options": splat_options, "on_file": bar.advance}
        files = loaded.write(folder, formats, **chosen) if one is None else [loaded.export(one, **chosen)]
        for file in files:
            typer.echo(file)
    if one is not None:
        return
    for name in formats:
        if missing := loaded.missing(name):
            typer.echo(f"No {name}: this head has no {missing}; {explain_missing(missing)}.")


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with views, a proxy or a head, or a single head file.")
    ],
    port: Annotated[
        int, typer.Option(help="Port on this machine; if it is in use, another one is chosen.", min=1, max=65535)
    ] = 8080,
) -> None:
    """Show the views, cameras, proxy and head of a run in the browser.

    Example: portrait360 view out
    """
    check_head(folder)

    from portrait360.utils.progress import progress_bar

    with progress_bar():
        from portrait360.apps.viewer import FolderContents, show

        contents = FolderContents.load(folder)
    server = show(contents, port)
    typer.echo(f"Open http://{server.get_host()}:{server.get_port()} in a browser; stop with Ctrl-C.")
    server.sleep_forever()


def check_viewpoint(photos: list[Path], options: MakeOptions, size: int) -> dict[str, Any]:
    """Return the options of `align` and `proxy`, checked before anything heavy is loaded."""
    check_crop(options.azimuth, options.elevation, size, "crop")
    if len(photos) == 1:
        options.check_pictures(photos[0])
    return {name: getattr(options, name) for name in VIEWPOINT}


def each_photo(photos: list[Path], output: Path, work: Callable[..., list[str]], **options: Any) -> None:
    """Process one photo after the other.

    A photo that fails does not stop the others: one UserError at the end has a line for each of them. The same holds
    for internal errors if there are several photos.
    """
    from portrait360.utils.progress import progress_bar

    check_name(output)  # before the work, not after it
    failures = []
    with progress_bar("Photos", len(photos)) as bar:
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


@with_make_options(
    (*OVERRULES, "views", "size", "orbit", "orbit_elevation", "seed"),
    {"size": "Width and height of a view in pixels. Default: 256."},
)
def views(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `make` or `proxy` wrote.")],
    options: MakeOptions,
) -> None:
    """Render views of an avatar or proxy (a simpler closed surface).

    Writes them to DIR/views. With --hair, --hair-length or --parameters, the avatar is rebuilt first.

    Examples:

      portrait360 views out --views 16
      portrait360 views out --hair long
    """
    options = replace(options, fit=False).validate()
    check_folder(folder, "the folder of a run, or of `portrait360 proxy`")

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
