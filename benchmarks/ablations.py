"""What each input of the view denoiser contributes: trainings with one left out, and views that are made without it.

python -m benchmarks.ablations RECIPE --samples DIR --validation DIR -o DIR [--begin PATH] [--minutes M] [--steps N]
    [--batch B] [--size 64]

Trains `views-without-photo`, `-back`, `-base`, `-hint` or `-order`, as `portrait360 train run` trains others. The
weights tell what they were trained without, and `benchmarks.small` leaves the same out. With `--size`, smaller views
are trained on, which compares inputs in a fraction of the time; `views` and `views-together` then leave nothing out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.network_sizes import SMALL
from portrait360.models.view_denoiser import ViewDenoiserConfig
from portrait360.models.weights.tensor_files import TensorFile
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.views.pixel_latents import space_to_depth
from portrait360.pipeline.views.small_denoiser import ViewInputs, ViewWeights, denoise_prepared, prepare_inputs
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.data.clips import identity_seed
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.training.data.view_arcs import FOCAL, ViewSample, stack_hints
from portrait360.training.recipes import RECIPES, Recipe
from portrait360.training.session import train_recipe
from portrait360.training.tasks.view_denoiser import ViewTask, as_tensors, premultiply_rgba
from portrait360.training.trainer import Batch
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import Picture

ABLATIONS = {
    "photo": "the appearance network gets no references",
    "back": "the appearance network does not get the head from behind",
    "base": "sampling starts from pure noise, not from noise around the proxy's views (no 3D-aware noise)",
    "hint": "the control network gets another head's proxy",
    "order": "cross-view attention learns from the views of an arc in random order",
}
PHOTO = 512
STRANGER_LOCK = Lock()
STRANGER = identity_seed("val", 5_000_000)  # the seed of a person who is in no training set


class AblatedViewTask(ViewTask):
    """The view denoiser's task with inputs left out."""

    def __init__(
        self,
        train: Path,
        val: Path,
        config: ViewDenoiserConfig,
        *,
        without: Sequence[str],
        size: int | None = None,
        **options: Any,
    ) -> None:
        """`without`: keys of ABLATIONS; `size`: pixels of the views, which divide those of the samples."""
        super().__init__(train, val, config, **options)
        self.without, self.size = tuple(without), size
        self.name += "".join(f"-without-{ablation}" for ablation in without) + f"-{size}" * (size is not None)

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        super().save(network, path, {"without": ",".join(self.without)} | metadata)

    def draw_views(self, rng: np.random.Generator) -> NDArray[np.integer]:
        views = super().draw_views(rng)
        return rng.permutation(views) if "order" in self.without else views

    def row(self, path: Path, views: NDArray[np.integer]) -> Batch:
        arc = ViewSample.load(path)
        arc = arc if self.size is None else shrink_arc(arc, self.size)
        row = as_tensors(replace_hints(arc) if "hint" in self.without else arc, views)
        if "base" in self.without:
            changes = space_to_depth(premultiply_rgba(arc.rgba[views]))
            row |= {"changes": changes, "base": torch.zeros_like(changes)}
        return row | {"references": drop_references(row["references"], self.without)}


def shrink_arc(arc: ViewSample, size: int) -> ViewSample:
    """Return an arc of smaller views; colours, visibility, normals and depth are means over what is covered."""
    cover = arc.hint[..., 4:5]
    values, mask = (
        _shrink(arc.hint[..., [0, 1, 2, 3, 5, 6, 7]], cover, size),
        _shrink(cover, np.ones_like(cover), size),
    )
    hint = np.concatenate([values[..., :4], mask, values[..., 4:]], -1)
    depth = _shrink(arc.depth[..., None].astype(np.float32), arc.depth[..., None] > 0, size)[..., 0]
    photo, behind = (shrink_pictures(picture[None], size)[0] for picture in (arc.photo, arc.behind))
    rgba, hint = shrink_pictures(arc.rgba, size), np.rint(hint).astype(np.uint8)
    return replace(arc, rgba=rgba, hint=hint, depth=depth.astype(np.float16), photo=photo, behind=behind)


def shrink_pictures(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return smaller pictures (n, size, size, 4) with straight alpha."""
    alpha = pictures[..., 3:]
    parts = [_shrink(pictures[..., :3], alpha, size), _shrink(alpha, np.ones_like(alpha), size)]
    return np.rint(np.concatenate(parts, -1)).astype(np.uint8)


def _shrink(values: np.ndarray, weight: np.ndarray, size: int) -> NDArray[np.float32]:
    """Return the weighted means (n, size, size, c) of values (n, s, s, c) over square blocks; 0 where none counts."""
    n, side = values.shape[:2]
    blocks = (n, size, side // size, size, side // size, -1)
    weight = weight.astype(np.float32)
    total = (values * weight).reshape(blocks).sum((2, 4))
    return total / np.maximum(weight.reshape(blocks).sum((2, 4)), 1e-6)


def drop_references(references: Tensor, without: Sequence[str]) -> Tensor:
    """Zero those of photo and back (2 64 h w) that the network is trained without."""
    keep = torch.tensor([0.0 if "photo" in without else 1.0, 0.0 if {"photo", "back"} & set(without) else 1.0])
    return references * keep[:, None, None, None]


def replace_hints(arc: ViewSample) -> ViewSample:
    """Replace the hints of an arc by the stranger's."""
    head = load_stranger()
    views = [head.render(Camera.from_label(label), arc.hint.shape[1]) for label in arc.cameras]
    depth = np.stack([view.depth for view in views]).astype(np.float16)
    return replace(arc, hint=stack_hints(views), depth=depth)


def load_stranger() -> Proxy:
    """Return another person's head, which is what DiffPortrait360 shows its control network.

    The lock is needed because samples are read by several threads, and the face networks are not thread-safe.
    """
    with STRANGER_LOCK:
        return _make_stranger()


@lru_cache(maxsize=1)
def _make_stranger() -> Proxy:
    view = render(build(sample(STRANGER, "human")), Camera(look_at(0), FOCAL), PHOTO)
    backdrop = random_background(np.random.default_rng(STRANGER), PHOTO)
    photo = Picture(np.asarray(composite_over(view.rgb, view.alpha, backdrop), np.float32), None)
    return proxy_from_photo(make_portrait(photo))


def read_ablations(weights: Path) -> tuple[str, ...]:
    """Return what a weights file says its network was trained without."""
    return tuple(ablation for ablation in TensorFile(weights).metadata["without"].split(",") if ablation)


def denoise_without(
    portrait: Portrait,
    proxy: Proxy,
    cameras: Sequence[Camera],
    weights: ViewWeights,
    without: Sequence[str],
    *,
    size: int,
    steps: int,
) -> list[View]:
    """Make the views of all cameras as `denoise_small_views` does, with inputs left out."""
    proxy = load_stranger() if "hint" in without else proxy
    inputs = ablate_inputs(prepare_inputs(portrait, proxy, cameras, size), without)
    return denoise_prepared(inputs, cameras, weights, steps=steps)


def ablate_inputs(inputs: ViewInputs, without: Sequence[str]) -> ViewInputs:
    """Leave inputs out, as in training. A stranger's proxy shows none of the photo's pixels, so none of them stay."""
    return replace(
        inputs,
        base=inputs.base * ("base" not in without),
        visibility=inputs.visibility * ("hint" not in without),
        references=drop_references(inputs.references, without),
    )


def ablate_recipe(ablation: str, *, together: bool = False, size: int | None = None) -> Recipe:
    """Return the recipe that leaves one input out, or none (""), and is otherwise unchanged."""
    together = together or ablation == "order"
    options: dict[str, Any] = {"together": True, "batch": 1} if together else {}
    options |= {"without": (ablation,) if ablation else (), "size": size}
    return Recipe(
        lambda train, val, init_from: AblatedViewTask(train, val, SMALL, init_from=init_from, **options),
        RECIPES["views-together" if together else "views"].options,
    )


def main() -> None:
    names = {f"views-without-{ablation}": ablation for ablation in ABLATIONS} | {"views": "", "views-together": ""}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "recipe", choices=names, help="; ".join(f"-{name}: {text}" for name, text in ABLATIONS.items())
    )
    parser.add_argument("--samples", type=Path, required=True, help="folder of training samples")
    parser.add_argument("--validation", type=Path, required=True, help="folder of samples of other identities")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--begin", type=Path, help="weights to start from")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, help="samples of a step")
    parser.add_argument("--size", type=int, help="pixels of the views, smaller than those of the samples")
    a = parser.parse_args()
    RECIPES[a.recipe] = ablate_recipe(names[a.recipe], together=a.recipe == "views-together", size=a.size)
    options = {"init_from": a.begin, "minutes": a.minutes, "steps": a.steps, "batch": a.batch, "device": None}
    run_entry_point(partial(train_recipe, a.recipe, a.samples, a.validation, a.output, **options))


if __name__ == "__main__":
    main()
