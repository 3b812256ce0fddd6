"""A contact sheet of chosen heads, eight azimuths each: `python -m benchmarks.gallery -o FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from portrait360.geometry.cameras import focal_from_fov, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample

CHOSEN = {
    "human": (0, 21, 44, 47, 51, 57, 8),
    "toon": (23, 24, 29, 31),
    "fantasy": (33, 35, 39),
    "animal": (23, 31, 30, 25, 29, 41),
    "statue": (23, 24),
}  # kind: seeds
AZIMUTHS = 8


def strip(kind: str, seed: int, size: int) -> np.ndarray:
    """One head from all sides (size, 8 * size, 3), before a grey that suits it."""
    prepared = prepare_scene(build(sample(seed, kind), 2 if size >= 512 else 1))
    views = [render(prepared, camera, size) for camera in orbit(AZIMUTHS, elevation=5, focal=focal_from_fov(FOV))]
    shade = np.linspace(0.86, 0.74, size)[:, None, None] * np.ones((size, size, 3))
    return np.concatenate([composite_over(view.rgb, view.alpha, shade) for view in views], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="A contact sheet of synthetic heads.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=192)
    arguments = parser.parse_args()
    sheet = np.concatenate([strip(kind, seed, arguments.size) for kind, seeds in CHOSEN.items() for seed in seeds])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(sheet * 255).astype(np.uint8)).save(arguments.output, quality=88, method=6)


if __name__ == "__main__":
    main()
