"""The command `animate`: give a head the expressions of a video, of a table or of a preset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrait360.apps.cli.command_options import DRIVER, OUTPUT
from portrait360.pipeline.animate.request import AnimateRequest, find_avatar

CAMERA = "Camera and light"  # a group


def animate(
    head: Annotated[
        Path, typer.Argument(metavar="HEAD", help="Folder that `make` or `proxy` wrote for a photo with a face.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Output file: .mp4, .webp, .gif or .glb.",
            rich_help_panel=OUTPUT,
        ),
    ],
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Video of a face; its expressions, head movement and sound are copied.",
            rich_help_panel=DRIVER,
        ),
    ] = None,
    expressions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of ARKit blend-shape weights (.csv), as exported by the Live Link Face app.",
            rich_help_panel=DRIVER,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Built-in animation: talk (10 seconds), smile, surprise, blink or look.", rich_help_panel=DRIVER
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(help="Width and height of the video in pixels, 64 to 2048.", rich_help_panel=OUTPUT)
    ] = 512,
    rate: Annotated[
        int | None,
        typer.Option(
            help="Frames per second, 1 to 60; the motion is interpolated. Default: the rate of the input video, "
            "or 30 if there is none.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    azimuth: Annotated[
        float | None,
        typer.Option(
            help="Azimuth of the camera in degrees: 0 is the front, 90 the subject's left. Default: as in the photo.",
            rich_help_panel=CAMERA,
        ),
    ] = None,
    elevation: Annotated[
        float | None,
        typer.Option(help="Elevation of the camera in degrees. Default: as in the photo.", rich_help_panel=CAMERA),
    ] = None,
    light: Annotated[
        str | None,
        typer.Option(
            metavar="A,E,W",
            help="Light to use instead of the photo's: azimuth and elevation in degrees, and warmth from -1 (cool) "
            "to 1 (warm).",
            rich_help_panel=CAMERA,
        ),
    ] = None,
    environment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Equirectangular panorama (.hdr) to light the head with.",
            rich_help_panel=CAMERA,
        ),
    ] = None,
) -> None:
    """Animate a head and save a video or an animated .glb.

    The motion comes from a built-in animation, a video of a face, or a table of expressions. To resume a stopped
    run, repeat the same command.

    Examples:

      portrait360 animate out --preset talk -o talk.mp4
      portrait360 animate out --video me.mp4 -o me-as-her.mp4
      portrait360 animate out --expressions take.csv -o take.glb
    """
    request = AnimateRequest(
        head, output, video, expressions, preset, size, rate, azimuth, elevation, light, environment
    )
    request.check()
    find_avatar(head)

    from portrait360.utils.progress import progress_bar

    with progress_bar() as bar:
        from portrait360.pipeline.animate.animate import animate_head  # takes seconds

        notes = animate_head(request, bar.update)
    for note in notes:
        typer.echo(note)
    typer.echo(output)
