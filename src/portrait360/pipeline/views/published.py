"""The stages `back` and `views` of the presets whose views are made by published networks.

Whatever the networks are shown, and whatever they make, lives in their frame (`portrait.published_frame`): the photo
and its references, the hints, the renders that the noise begins with, and the cameras. What leaves this module is in
ours again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from portrait360.assets import STRANGER
from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.panohead import GeneratedHead
from portrait360.models.presets import Preset
from portrait360.models.weights.store import StoredModel, load_generator
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import PublishedFrame, crop_as_published
from portrait360.pipeline.portrait.reference_photos import BEHIND
from portrait360.pipeline.proxy.gan_head import GanHead, as_picture, as_tensor, reframe
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.views.hint_pictures import HintPictures
from portrait360.pipeline.views.multiview_sampler import (
    ComputeConfig,
    DenoiserInputs,
    SamplerConfig,
    denoise_views,
)
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.array_types import Floats
from portrait360.utils.images import composite_over_white, to_uint8
from portrait360.utils.progress import ProgressCallback

STRANGER_SEED = 7  # of the generated head that the control network gets as a hint
WHITE = 1.0
MIN_COVERAGE = 0.02  # share of a view that a matte must cover to be trusted


@dataclass(frozen=True, eq=False)
class SubjectInputs:
    """What is known of a head before its views are made."""

    portrait: Portrait
    proxy: CoarseHead
    generated_head: GanHead | None = None  # the generated head, if the proxy comes from a generator
    generator: Path | None = None  # weights of a generator that makes the head for the hints
    more_photos: tuple[Portrait, ...] = ()  # further photos
    hints: HintPictures | None = None  # pictures of another head, instead of renders of one

    @property
    def frame(self) -> PublishedFrame:
        return PublishedFrame.of(self.portrait)


@dataclass(frozen=True)
class ViewSynthesisConfig:
    """How views are made."""

    preset: Preset
    weights: tuple[Path, ...]  # in the order of `preset.weights`
    size: int
    steps: int
    faithful: bool
    seed: int
    compute: ComputeConfig

    def weights_of(self, system: str) -> Path:
        return self.weights[self.preset.weights.index(system)]


def denoise_back_view(subject: SubjectInputs, config: ViewSynthesisConfig, on_step: ProgressCallback) -> View:
    """Make the back view from the front: the back-view network starts from pure noise, and its hint is the back of
    another head."""
    assert config.preset.focal is not None and config.preset.back is not None
    camera = Camera(look_at(BEHIND), config.preset.focal)
    front = prepare_photo(subject.portrait, config)
    inputs = DenoiserInputs(as_tensor(front), render_hints(subject, config, [camera]), None)
    sampler = SamplerConfig(config.steps, config.faithful, cross_view=False)
    back_view = StoredModel(config.weights_of(config.preset.back))
    pictures = denoise_views(inputs, back_view, sampler, config.compute, seed=config.seed + 1, on_step=on_step)
    return as_view(pictures[0], camera, subject, config)


def denoise_published_views(
    subject: SubjectInputs,
    back: Portrait | None,
    cameras: Sequence[Camera],
    config: ViewSynthesisConfig,
    on_step: ProgressCallback,
) -> ViewSet:
    """Make the views of all cameras together; the cameras are those of the published frame."""
    photos = [subject.portrait, *([back] if back is not None else []), *subject.more_photos]
    references = torch.cat([as_tensor(prepare_photo(photo, config)) for photo in photos])
    hints, proxies = render_hints(subject, config, cameras), render_proxies(subject, config, cameras)
    inputs = DenoiserInputs(references, hints, proxies)
    sampler = SamplerConfig(config.steps, config.faithful)
    networks = StoredModel(config.weights[0])
    pictures = denoise_views(inputs, networks, sampler, config.compute, seed=config.seed, on_step=on_step)
    views = [as_view(picture, camera, subject, config) for picture, camera in zip(pictures, cameras, strict=True)]
    assert config.preset.focal is not None
    photo = reframe(subject.portrait, config.preset.focal, config.size)
    return ViewSet(tuple(views), View(photo.rgb, photo.alpha, photo.camera, photo.inside_photo), config.seed)


def prepare_photo(photo: Portrait, config: ViewSynthesisConfig) -> Floats:
    """Return the crop of a photo, or of the back view, as the networks are shown it: over white, but as it stands in
    the published programs."""
    assert config.preset.focal is not None
    crop = crop_as_published(photo, config.preset.focal, config.size)
    return crop.rgb if config.faithful else composite_over_white(crop.rgb, crop.alpha)


def render_proxies(subject: SubjectInputs, config: ViewSynthesisConfig, cameras: Sequence[Camera]) -> Tensor:
    return torch.cat([as_tensor(render_proxy(subject, config, camera, i)) for i, camera in enumerate(cameras)])


def render_proxy(subject: SubjectInputs, config: ViewSynthesisConfig, camera: Camera, index: int) -> Floats:
    if subject.generated_head is None:
        rendered = subject.proxy.render(subject.frame.from_published(camera), config.size)
        return composite_over_white(rendered.rgb, rendered.mask)
    if not config.faithful:
        return subject.generated_head.render(camera, config.size, behind=WHITE)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + index)

    def draw_uniform(shape: Sequence[int]) -> Tensor:
        return torch.rand(tuple(shape), generator=generator)

    return subject.generated_head.render(camera, config.size, shifted=False, uniform=draw_uniform)


def render_hints(subject: SubjectInputs, config: ViewSynthesisConfig, cameras: Sequence[Camera]) -> Tensor:
    """Show another head from the same cameras: the user's pictures of one, or renders of a generated one, or of the
    synthetic stranger. Hints show the pose, and nothing of the subject's appearance."""
    if subject.hints is not None:
        return torch.cat([as_tensor(hint) for hint in subject.hints.load(cameras, config.size)])
    if subject.generator is not None:
        head, behind = generate_stranger(subject.generator, config.compute.device), None if config.faithful else WHITE
        return torch.cat([as_tensor(head.render(camera, config.size, behind=behind)) for camera in cameras])
    frame = PublishedFrame.for_scale()
    rendered = [load_stranger().render(frame.from_published(camera), config.size) for camera in cameras]
    return torch.cat([as_tensor(composite_over_white(view.rgb, view.mask)) for view in rendered])


@lru_cache(maxsize=1)
def load_stranger() -> Proxy:
    return Proxy.load(STRANGER)


@torch.inference_mode()
def generate_stranger(weights: Path, device: torch.device) -> GanHead:
    """Generate a head from a random latent vector."""
    generator = load_generator(weights).to(device)
    z = torch.randn(1, generator.config.z, generator=torch.Generator().manual_seed(STRANGER_SEED)).to(device)
    label = torch.from_numpy(Camera(look_at(0.0)).label()).float()[None].to(device)
    head: GeneratedHead = generator.generate_head(generator.map_styles(z, label, 0.7))
    return GanHead(head, np.zeros(3), PublishedFrame.for_scale())


def as_view(picture: Tensor, camera: Camera, subject: SubjectInputs, config: ViewSynthesisConfig) -> View:
    """Add a matte: the one found in the picture, or the proxy's outline where none is found. The camera of the
    published frame becomes one of ours."""
    rgb, camera = to_uint8(as_picture(picture)).astype(np.float32) / 255, subject.frame.from_published(camera)
    alpha = find_matte(rgb)
    if alpha.mean() < MIN_COVERAGE:
        alpha = subject.proxy.render(camera, config.size).mask
    return View(rgb, np.asarray(alpha, np.float32), camera)
