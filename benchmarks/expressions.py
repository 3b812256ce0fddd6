"""Contact sheets of an avatar's 52 expression units: `python -m benchmarks.expressions RUN_OR_PHOTO... -o DIR`.

Each cell shows the head with one unit at its full weight; the first cell shows the photo's own expression.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.animate.pose import make_puppet, pose_avatar
from portrait360.pipeline.avatar.avatar import Avatar, load_coarse_head
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.loaded_head import frame_focal
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.utils.images import to_uint8

COLUMNS = 9
CLOSER = 1.45  # than other contact sheets: only the face changes


def find_avatar(path: Path) -> Avatar:
    """Load the avatar of a run, or make that of a photo."""
    head = load_coarse_head(path) if path.is_dir() else build_proxy(make_portrait(path))
    if not isinstance(head, Avatar):
        raise SystemExit(f"{path}: no face was found, so there is nothing to animate.")
    return head


def draw_cell(head: Avatar, unit: str, camera: Camera, size: int) -> Image.Image:
    view = pose_avatar(head, {unit: 1.0} if unit else {}).render(camera, size)
    cell = Image.fromarray(to_uint8(composite_over(view.rgb, view.mask, np.full((size, size, 3), 0.82))))
    ImageDraw.Draw(cell).text((4, 4), unit or "as in the photo", fill=(40, 40, 40))
    return cell


def draw_sheet(head: Avatar, azimuth: float, size: int) -> Image.Image:
    camera = Camera(look_at(azimuth), frame_focal(head) * CLOSER)
    cells = [draw_cell(head, unit, camera, size) for unit in ("", *make_puppet(head).names)]
    sheet = Image.new("RGB", (COLUMNS * size, -(-len(cells) // COLUMNS) * size), (210, 210, 210))
    for index, cell in enumerate(cells):
        sheet.paste(cell, (index % COLUMNS * size, index // COLUMNS * size))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Contact sheets of an avatar's 52 expression units.")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="RUN_OR_PHOTO")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--azimuths", type=float, nargs="+", default=[0.0, 40.0])
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.inputs:
        head = find_avatar(path)
        for azimuth in arguments.azimuths:
            file = arguments.output / f"{path.stem}_{azimuth:g}.png"
            draw_sheet(head, azimuth, arguments.size).save(file)
            print(file, flush=True)


if __name__ == "__main__":
    main()
