"""A sheet of all hairstyles, each from two sides: `python -m benchmarks.hairstyles -o FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.palettes import hex_to_linear
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.sampling.style_descriptor import FAMILIES

AZIMUTHS = (35, 160)  # degrees: what hangs in front of the ears, and what is tied behind
COLOUR = "#8a5a34"  # light enough for the strands to be seen
CELL, CAPTION = 96, 17  # pixels: side of a picture, height of a name
IN_A_ROW = 7  # styles
GREY, INK = (232, 232, 230), (40, 40, 40)


def picture(style: str) -> np.ndarray:
    """One head with this hair from both sides, as uint8."""
    prepared = prepare_scene(build(HeadParameters(hair=Hair(style, colour=hex_to_linear(COLOUR)))))
    cameras = [Camera(look_at(azimuth, 5), focal_from_fov(15)) for azimuth in AZIMUTHS]
    ground = np.ones((2 * CELL, 2 * CELL, 3)) * np.array(GREY) / 255
    views = [render(prepared, camera, 2 * CELL) for camera in cameras]
    pair = np.concatenate([composite_over(view.rgb, view.alpha, ground) for view in views], 1)
    small = cv2.resize(pair.astype(np.float32), (2 * CELL, CELL), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="A sheet of all hairstyles.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    styles = [style for names in FAMILIES.values() for style in names.split()]
    rows, step = -(-len(styles) // IN_A_ROW), 2 * CELL + 4
    sheet = Image.new("RGB", (IN_A_ROW * step, rows * (CELL + CAPTION)), GREY)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, style in enumerate(styles):
        x, y = i % IN_A_ROW * step, i // IN_A_ROW * (CELL + CAPTION)
        sheet.paste(Image.fromarray(picture(style)), (x, y))
        draw.text((x + CELL, y + CELL + 1), style, INK, font, anchor="ma")
    sheet.save(arguments.output, quality=72, method=6)


if __name__ == "__main__":
    main()
