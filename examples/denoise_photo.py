"""The samplers at work, before any network is trained: noise becomes views of a photo.

The denoiser is exact: it knows that every view is one of 64 crops of the photo, and gives the mean of what is still
possible (softmax over distances). Rows: samplers; columns: what they believe at each step. The last row starts from
the photo itself, noised to timestep 700, as 3D-aware starts do.

    python examples/denoise_photo.py examples/astronaut.png -o out
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from portrait360.diffusion.multiview import ViewNoise, view_generators
from portrait360.diffusion.samplers import ddim, dpm_solver_2m
from portrait360.diffusion.schedule import Levels, ddim_levels, sqrt_linear_schedule

SIZE, STEPS = 128, 8


def crops(photo: Image.Image) -> Tensor:
    """(64 3 SIZE SIZE) in [-1, 1]: the photo at eight scales, each seen through eight shifts."""
    side = min(photo.size)
    boxes = [
        (x, 0, x + int(side * s), int(side * s))
        for s in np.linspace(0.5, 0.9, 8)
        for x in np.linspace(0, side / 10, 8)
    ]
    pictures = [np.asarray(photo.crop(box).resize((SIZE, SIZE))) for box in boxes]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def start_at(levels: Levels, t: float) -> Levels:
    """Return only the levels at or below timestep t, for a start that is already partly denoised."""
    return Levels(**{name: values[levels.t <= t] for name, values in vars(levels).items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"))
    arguments = parser.parse_args()
    known = crops(Image.open(arguments.photo).convert("RGB"))
    schedule = sqrt_linear_schedule()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        distance = ((x[:, None] - alpha * known) ** 2).flatten(2).sum(-1)  # (views, crops)
        weights = torch.softmax(-distance / (2 * sigma**2), dim=1)
        return torch.einsum("vk,kchw->vchw", weights, known)

    def noise(seed: int) -> ViewNoise:
        return ViewNoise(view_generators(seed, 1), (3, SIZE, SIZE))

    levels, rows = ddim_levels(schedule, STEPS), []

    def kept(sampler, x: Tensor, **options) -> None:
        seen = [x]
        sampler(denoise, x, on_step=lambda i, x0: seen.append(x0), **options)
        rows.append([*seen[: STEPS + 1], *[torch.ones_like(x)] * (STEPS + 1 - len(seen))])

    kept(ddim, noise(1)(), levels=levels, noise=noise(1))
    kept(dpm_solver_2m, noise(2)(), levels=levels)
    kept(ddim, noise(3)(), levels=levels, noise=noise(4), eta=1.0)
    start = schedule.add_noise(known[-1:], torch.tensor([700]), noise(5)())
    kept(ddim, start, levels=start_at(levels, 700), noise=noise(5))
    sheet = torch.cat([torch.cat(row, dim=3) for row in rows], dim=2)[0]
    picture = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    arguments.output.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(arguments.output / "sheet.png")
    print(f"wrote {arguments.output / 'sheet.png'}")


if __name__ == "__main__":
    main()
