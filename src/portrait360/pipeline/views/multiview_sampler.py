"""Views by the published networks: exactly as the published programs make them (`faithful`), or faster and without a
seam in the orbit.

Each network is on the device only while it runs, and processes all views there. The autoencoder turns pictures into
latents; R (appearance) encodes the references once per noise level; then the U-Net with C (control) and V (cross-view
attention) denoises windows of views, beginning with noise around the latents of the proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from portrait360.diffusion.guidance import Pass, guide
from portrait360.diffusion.multiview import Prepare, ViewNoise, circular_windows, predict_orbit, view_generators
from portrait360.diffusion.prediction import Denoiser, make_denoiser
from portrait360.diffusion.samplers import ddim, dpm_solver_2m
from portrait360.diffusion.schedule import Levels, NoiseSchedule, ddim_levels, sqrt_linear_schedule
from portrait360.models.vae import VAE, Draw
from portrait360.models.view_denoiser import ReferenceTokens, ViewConditions, ViewDenoiser
from portrait360.utils.progress import ProgressCallback, ignore_progress

GUIDANCE = 3.0
WINDOW, OVERLAP = 8, 2  # views
ETA = 0.5  # of the published sampler
START_TIMESTEP = 999  # at which noise is added to the latents of the proxy (3D-aware noise)
CHUNK = 8  # views that the control network processes at once
LATENT_SEED, PHOTO_SEED = 1, 2  # combined with the run's seed, for what is drawn in the autoencoder


@dataclass(frozen=True)
class SamplerConfig:
    """How views are sampled from noise."""

    steps: int
    faithful: bool
    cross_view: bool = True  # with cross-view attention

    @property
    def overlap(self) -> int:
        return 0 if self.faithful else OVERLAP


@dataclass(frozen=True)
class DenoiserInputs:
    """Pictures in [-1, 1], all of one size."""

    references: Tensor  # (n 3 s s) the front, the back, any more
    hints: Tensor  # (v 3 s s) another head, rendered from the cameras of the views
    proxies: Tensor | None  # (v 3 s s) renders of this head's proxy (3D-aware noise); None: pure noise


class Networks(Protocol):
    """Provides networks, each of which is loaded only when it is needed."""

    def vae(self) -> VAE: ...

    def denoiser(self) -> ViewDenoiser: ...

    def prompt(self) -> Tensor: ...


@dataclass(frozen=True)
class ComputeConfig:
    device: torch.device
    dtype: torch.dtype
    offload: bool = False  # the appearance network leaves the device before the views are denoised
    compiled: bool = False  # U-Net and control network are compiled; on CUDA their calls are recorded as graphs
    mixed: bool = False  # as published: autocast in the denoiser, with sums and norms in fp32, and a VAE in fp32

    @classmethod
    def for_device(cls, device: torch.device, compiled: bool = False, faithful: bool = False) -> ComputeConfig:
        if device.type == "cpu":
            return cls(device, torch.float32, compiled=compiled)
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() and not faithful else torch.float16
        return cls(device, half, offload=True, compiled=compiled, mixed=faithful)

    @property
    def vae_dtype(self) -> torch.dtype:
        return torch.float32 if self.mixed else self.dtype

    def move(self, network: nn.Module) -> Any:
        return network.to(self.device, self.dtype)

    def move_vae(self, vae: VAE) -> VAE:
        return vae.to(self.device, self.vae_dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision in which the denoiser runs. Imported weights are fp16 already, so none is cast."""
        casts = self.mixed and self.device.type != "meta"
        return torch.autocast(self.device.type, self.dtype) if casts else nullcontext()


@torch.inference_mode()
def denoise_views(
    inputs: DenoiserInputs,
    networks: Networks,
    config: SamplerConfig,
    compute: ComputeConfig,
    *,
    seed: int = 0,
    on_step: ProgressCallback = ignore_progress,
) -> Tensor:
    """Return the views (v 3 s s) in [-1, 1]."""
    views = len(inputs.hints)
    vae = compute.move_vae(networks.vae())
    references = encode(
        vae, inputs.references, compute, encoder_generators(seed, PHOTO_SEED, len(inputs.references)), config
    )
    proxies = None
    if inputs.proxies is not None:
        proxies = encode(vae, inputs.proxies, compute, encoder_generators(seed, LATENT_SEED, views), config)
    del vae
    network = networks.denoiser()
    schedule = make_schedule(network, config)
    levels = ddim_levels(schedule, config.steps)
    conditions = ViewConditions(move_tensor(networks.prompt(), compute), references[:, None].to(compute.dtype))
    reference_tokens = encode_references(network, conditions, levels, compute) if compute.offload else None
    for part in (network,) if reference_tokens is None else (network.model, network.pose_control_model):
        compute.move(part)
    if compute.compiled:
        for part in (network.unet, network.control):
            compile_forward(part, compute.device)
    with compute.autocast():
        conditions = network.embed_hints(conditions, move_tensor(inputs.hints, compute))
    noise = ViewNoise(view_generators(seed, views), tuple(references.shape[1:]), compute.device)
    noisy = noise()
    if proxies is not None:
        noisy = schedule.add_noise(proxies.float(), torch.tensor([START_TIMESTEP]), noisy)
    predict = predict_orbit(
        make_window_denoiser(network, conditions, config, compute, reference_tokens),
        circular_windows(views, WINDOW, min(config.overlap, WINDOW - 1)),
    )
    latents = run_sampler(predict, noisy, schedule, levels, config, noise, on_step)
    del network, conditions, predict
    vae = compute.move_vae(networks.vae())
    return decode(vae, latents, compute, on_step)


def compile_forward(network: nn.Module, device: torch.device) -> None:
    """Compile the network's forward pass. Its outputs are cloned: the next replay of a CUDA graph overwrites them."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    run = torch.compile(network.forward, mode=mode, dynamic=False)

    def forward(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map(torch.clone, run(*args, **kwargs))

    network.forward = forward


def run_sampler(
    predict: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    levels: Levels,
    config: SamplerConfig,
    noise: ViewNoise,
    on_step: ProgressCallback,
) -> Tensor:
    """Denoise noisy latents x (v c h w) to clean ones."""

    def report_level(i: int, x0: Tensor) -> None:
        on_step("level", i + 1, config.steps)

    if config.faithful:
        return ddim(make_denoiser(predict, "eps", schedule), x, levels, noise, ETA, report_level)
    return dpm_solver_2m(make_denoiser(predict, "eps", schedule), x, levels, report_level)


def make_window_denoiser(
    network: ViewDenoiser,
    conditions: ViewConditions,
    config: SamplerConfig,
    compute: ComputeConfig,
    reference_tokens: list[ReferenceTokens] | None,
) -> Prepare:
    """Return a function that computes once per noise level what all windows and both guidance passes share."""
    remaining = None if reference_tokens is None else iter(reference_tokens)  # the sampler visits levels in order

    def prepare(x: Tensor, t: Tensor):
        level_conditions = conditions
        memory = None
        if remaining is not None:
            level_conditions = replace(conditions, references=None)
            memory = tuple(tokens.to(compute.device) for tokens in next(remaining))
        with compute.autocast():
            at_level = network.prepare_level(
                level_conditions, x.to(compute.dtype), t, CHUNK, together=config.cross_view, memory=memory
            )
        conditional, unconditional = (
            convert_to_fp32(one, compute) for one in (at_level.conditional, at_level.unconditional)
        )
        predict = guide(conditional, unconditional, GUIDANCE)
        return lambda window, views: predict(window.to(compute.dtype), views)

    return prepare


def convert_to_fp32(predict: Pass, compute: ComputeConfig) -> Pass:
    """Return a pass whose predictions are fp32: guidance amplifies their rounding."""

    def run(x: Tensor, views: Tensor) -> Tensor:
        with compute.autocast():
            return predict(x, views).float()

    return run


def encode_references(
    network: ViewDenoiser, conditions: ViewConditions, levels: Levels, compute: ComputeConfig
) -> list[ReferenceTokens]:
    """Run the appearance network on the references at every noise level.

    Its tokens depend on nothing else, so it can be moved to the device and off it before the views are denoised."""
    assert conditions.references is not None
    compute.move(network.control_model)
    tokens_by_level = []
    for t in levels.t:
        timestep = t[None].to(compute.device)
        with compute.autocast():
            tokens = network.encode_references(conditions.references, timestep, conditions.context)
        tokens_by_level.append(tuple(block_tokens.to("cpu", compute.dtype) for block_tokens in tokens))
    network.control_model.to("cpu")
    return tokens_by_level


def make_schedule(network: ViewDenoiser, config: SamplerConfig) -> NoiseSchedule:
    """Return the noise schedule, which the published programs of 2025 rounded to half precision."""
    half = config.faithful and network.config.quirks.half_schedule
    return sqrt_linear_schedule(dtype=torch.float16 if half else torch.float32)


def encoder_generators(seed: int, purpose: int, count: int) -> list[torch.Generator]:
    """One generator for each picture that is encoded."""
    return view_generators(seed * 3 + purpose + 1_000_000_007, count)


def encode(
    vae: VAE, pictures: Tensor, compute: ComputeConfig, generators: Sequence[torch.Generator], config: SamplerConfig
) -> Tensor:
    """Return latents (n c h w): the mean of the autoencoder's posterior, or a sample as in the published programs."""

    def make_draw(generator: torch.Generator) -> Draw:
        return lambda shape: torch.randn(tuple(shape), generator=generator).to(compute.device, compute.vae_dtype)

    return torch.cat(
        [
            vae.encode(
                picture[None].to(compute.device, compute.vae_dtype), make_draw(generator) if config.faithful else None
            )
            for picture, generator in zip(pictures, generators, strict=True)
        ]
    )


def decode(vae: VAE, latents: Tensor, compute: ComputeConfig, on_step: ProgressCallback) -> Tensor:
    pictures = []
    for i, latent in enumerate(latents):
        picture = vae.decode(latent[None].to(compute.device, compute.vae_dtype))
        pictures.append(picture.float().cpu())
        on_step("picture", i + 1, len(latents))
    return torch.cat(pictures).clamp(-1, 1)


def move_tensor(x: Tensor, compute: ComputeConfig) -> Tensor:
    return x.to(compute.device, compute.dtype)
