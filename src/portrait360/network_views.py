"""The stages `back` and `views` of the presets whose views published networks make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from portrait360.cameras import Camera, look_at
from portrait360.denoised_views import Asked, Machine, OnStep, Sampling, denoised
from portrait360.gan_proxy import GanHead, as_picture, as_tensor, narrowed
from portrait360.images import eight_bits
from portrait360.matte import find_matte
from portrait360.models.gan3d import Head
from portrait360.models.presets import Preset
from portrait360.more_photos import BEHIND
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.view_sheet import View, ViewSheet
from portrait360.weights.library import Imported, load_generator

Floats = NDArray[np.floating]

STRANGER = Path(__file__).parent / "assets" / "stranger"  # a synthetic head's proxy
OTHER = 7  # seed of the generated head that C is shown
WHITE = 1.0
LEAST = 0.02  # share of a view that a matte covers at least


@dataclass(frozen=True, eq=False)
class Source:
    """What is known of a head before its views are made."""

    portrait: Portrait
    proxy: Proxy
    generated: GanHead | None = None  # the proxy is a generator's
    generator: Path | None = None  # the import of a generator, for another head
    others: tuple[Portrait, ...] = ()  # further photos


@dataclass(frozen=True)
class Way:
    """How views are to be made."""

    preset: Preset
    weights: tuple[Path, ...]  # as `preset.weights`
    size: int
    steps: int
    faithful: bool
    seed: int
    machine: Machine

    def weights_of(self, system: str) -> Path:
        return self.weights[self.preset.weights.index(system)]


def view_from_behind(source: Source, way: Way, on_step: OnStep) -> View:
    """F: from the front, as noise alone, with a stranger's back for the camera."""
    assert way.preset.focal is not None and way.preset.back is not None
    camera = Camera(look_at(BEHIND), way.preset.focal)
    front = front_of(source, way)
    asked = Asked(as_tensor(front), hints(source, way, [camera]), None)
    how = Sampling(way.steps, way.faithful, together=False)
    made = denoised(
        asked, Imported(way.weights_of(way.preset.back)), how, way.machine, seed=way.seed + 1, on_step=on_step
    )
    return as_view(made[0], camera, source, way)


def network_views(
    source: Source, back: Portrait | None, cameras: Sequence[Camera], way: Way, on_step: OnStep
) -> ViewSheet:
    """All cameras' views together."""
    pictures = [front_of(source, way), *(over_white(one, way) for one in source.others)]
    if back is not None:
        pictures.insert(1, over_white(back, way))
    references = torch.cat([as_tensor(picture) for picture in pictures])
    asked = Asked(references, hints(source, way, cameras), proxies(source, way, cameras))
    how = Sampling(way.steps, way.faithful)
    made = denoised(asked, Imported(way.weights[0]), how, way.machine, seed=way.seed, on_step=on_step)
    views = [as_view(picture, camera, source, way) for picture, camera in zip(made, cameras, strict=True)]
    near = looked_at(source.portrait, way)
    return ViewSheet(tuple(views), View(near.rgb, near.alpha, near.camera, near.known), way.seed)


def looked_at(portrait: Portrait, way: Way) -> Portrait:
    """As the networks' lens sees it."""
    assert way.preset.focal is not None
    return narrowed(portrait, way.preset.focal, way.size)


def front_of(source: Source, way: Way) -> Floats:
    """The photo; published programs leave its background, and so do the generators that look like it."""
    seen = looked_at(source.portrait, way)
    return seen.rgb if way.faithful and source.generated else mixed(seen.rgb, seen.alpha)


def over_white(portrait: Portrait, way: Way) -> Floats:
    focal = way.preset.focal
    seen = portrait if portrait.camera.focal == focal else looked_at(portrait, way)
    seen = seen if seen.rgb.shape[0] == way.size else narrowed(seen, seen.camera.focal, way.size)
    return mixed(seen.rgb, seen.alpha)


def mixed(rgb: Floats, alpha: Floats) -> Floats:
    return np.asarray(WHITE + alpha[..., None] * (rgb - WHITE), np.float32)


def proxies(source: Source, way: Way, cameras: Sequence[Camera]) -> Tensor:
    return torch.cat([as_tensor(proxy_picture(source, way, camera, i)) for i, camera in enumerate(cameras)])


def proxy_picture(source: Source, way: Way, camera: Camera, place: int) -> Floats:
    if source.generated is None:
        seen = source.proxy.render(camera, way.size)
        return mixed(seen.rgb, seen.mask)
    if not way.faithful:
        return source.generated.seen(camera, way.size, behind=WHITE)
    generator = torch.Generator().manual_seed(way.seed * 1_000_003 + place)
    draw = lambda shape: torch.rand(tuple(shape), generator=generator)  # noqa: E731
    return source.generated.seen(camera, way.size, shifted=False, uniform=draw)


def hints(source: Source, way: Way, cameras: Sequence[Camera]) -> Tensor:
    """Another head from the same cameras: it tells the view and nothing of the looks."""
    if source.generator is not None:
        other = stranger_of(source.generator, way.machine.device)
        return torch.cat([as_tensor(other.seen(camera, way.size, behind=WHITE)) for camera in cameras])
    seen = [stranger().render(camera, way.size) for camera in cameras]
    return torch.cat([as_tensor(mixed(view.rgb, view.mask)) for view in seen])


@lru_cache(maxsize=1)
def stranger() -> Proxy:
    return Proxy.load(STRANGER)


@torch.inference_mode()
def stranger_of(weights: Path, device: torch.device) -> GanHead:
    """A head that the generator makes of a vector of its own."""
    generator = load_generator(weights).to(device)
    z = torch.randn(1, generator.config.z, generator=torch.Generator().manual_seed(OTHER)).to(device)
    label = torch.from_numpy(Camera(look_at(0.0)).label()).float()[None].to(device)
    head: Head = generator.head(generator.styled(z, label, 0.7))
    return GanHead(head, np.zeros(3))


def as_view(made: Tensor, camera: Camera, source: Source, way: Way) -> View:
    """With a matte: what is found in the picture, or the proxy's outline where nothing is."""
    rgb = eight_bits(as_picture(made)).astype(np.float32) / 255
    alpha = find_matte(rgb)
    if alpha.mean() < LEAST:
        alpha = source.proxy.render(camera, way.size).mask
    return View(rgb, np.asarray(alpha, np.float32), camera)
