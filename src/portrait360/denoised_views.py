"""Views by the published networks: their way to the digit (`faithful`), or a faster one that closes the circle.

Every network is on the device only while it is at work, and goes through all views there: the autoencoder turns
pictures into latents, R is asked once a noise level for the references, and then the U-Net, C and V denoise windows
of views around the proxy's latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from portrait360.diffusion.guidance import guided
from portrait360.diffusion.noise import ViewNoise, view_generators
from portrait360.diffusion.parametrisation import Denoiser, denoiser
from portrait360.diffusion.samplers import ddim, dpm_solver_2m
from portrait360.diffusion.schedule import Levels, NoiseSchedule, ddim_levels, sqrt_linear
from portrait360.diffusion.windows import Prepare, circular_windows, over_orbit
from portrait360.models.vae import VAE, Draw
from portrait360.models.view_denoiser import Memory, ViewConditions, ViewDenoiser

GUIDANCE = 3.0
WINDOW, OVERLAP = 8, 2  # views
ETA = 0.5  # of the published sampler
NOISIEST = 999  # timestep of the 3D-aware start
CHUNK = 8  # views that C sees at once
LATENT_SEED, PHOTO_SEED = 1, 2  # beside the run's: for what is drawn in the autoencoder
OnStep = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Sampling:
    """How views come from noise."""

    steps: int
    faithful: bool
    together: bool = True  # V is in it

    @property
    def overlap(self) -> int:
        return 0 if self.faithful else OVERLAP


@dataclass(frozen=True)
class Asked:
    """Pictures in [-1, 1], all of one size."""

    references: Tensor  # (n 3 s s) the front, the back, any more
    hints: Tensor  # (v 3 s s) another head from the views' cameras
    proxies: Tensor | None  # (v 3 s s) this head's proxy, around which it starts (3D-aware noise); None: noise alone


class Networks(Protocol):
    """Where networks come from; each is asked for when its turn has come."""

    def vae(self) -> VAE: ...

    def denoiser(self) -> ViewDenoiser: ...

    def prompt(self) -> Tensor: ...


@dataclass(frozen=True)
class Machine:
    device: torch.device
    dtype: torch.dtype
    thrifty: bool = False  # R leaves the device before the views are begun
    compiled: bool = False  # U-Net and C are compiled for it; on CUDA their calls are recorded as graphs

    @classmethod
    def of(cls, device: torch.device, compiled: bool = False) -> Machine:
        if device.type == "cpu":
            return cls(device, torch.float32, compiled=compiled)
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return cls(device, half, thrifty=True, compiled=compiled)

    def put(self, network: nn.Module) -> Any:
        return network.to(self.device, self.dtype)


@torch.inference_mode()
def denoised(
    asked: Asked,
    networks: Networks,
    how: Sampling,
    machine: Machine,
    *,
    seed: int = 0,
    on_step: OnStep = lambda what, done, of: None,
) -> Tensor:
    """(v 3 s s) in [-1, 1]"""
    views = len(asked.hints)
    vae = machine.put(networks.vae())
    references = encoded(vae, asked.references, machine, draws(seed, PHOTO_SEED, len(asked.references)), how)
    proxies = None
    if asked.proxies is not None:
        proxies = encoded(vae, asked.proxies, machine, draws(seed, LATENT_SEED, views), how)
    del vae
    network = networks.denoiser()
    schedule = schedule_of(network, how)
    levels = ddim_levels(schedule, how.steps)
    conditions = ViewConditions(machine_tensor(networks.prompt(), machine), references[:, None])
    memories = remembered(network, conditions, levels, machine) if machine.thrifty else None
    for part in (network,) if memories is None else (network.model, network.pose_control_model):
        machine.put(part)
    if machine.compiled:
        for part in (network.unet, network.control):
            compile_for(part, machine.device)
    conditions = network.embed_hints(conditions, machine_tensor(asked.hints, machine))
    noise = ViewNoise(view_generators(seed, views), tuple(references.shape[1:]), machine.device)
    start = noise()
    if proxies is not None:
        start = schedule.add_noise(proxies.float(), torch.tensor([NOISIEST]), start)
    predict = over_orbit(
        prepared(network, conditions, how, machine, memories),
        circular_windows(views, WINDOW, min(how.overlap, WINDOW - 1)),
    )
    latents = sampled(predict, start, schedule, levels, how, noise, on_step)
    del network, conditions, predict
    vae = machine.put(networks.vae())
    return decoded(vae, latents, machine, on_step)


def compile_for(network: nn.Module, device: torch.device) -> None:
    """What a graph has written is copied: the next replay writes there again."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    run = torch.compile(network.forward, mode=mode, dynamic=False)

    def forward(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map(torch.clone, run(*args, **kwargs))

    network.forward = forward


def sampled(
    predict: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    levels: Levels,
    how: Sampling,
    noise: ViewNoise,
    on_step: OnStep,
) -> Tensor:
    """From noise to latents."""
    told = lambda i, x0: on_step("level", i + 1, how.steps)  # noqa: E731
    if how.faithful:
        return ddim(denoiser(predict, "eps", schedule), x, levels, noise, ETA, told)
    return dpm_solver_2m(denoiser(predict, "eps", schedule), x, levels, told)


def prepared(
    network: ViewDenoiser,
    conditions: ViewConditions,
    how: Sampling,
    machine: Machine,
    memories: list[Memory] | None,
) -> Prepare:
    """At a noise level: everything that its windows and both passes share."""
    coming = None if memories is None else iter(memories)  # levels are asked for in their order

    def prepare(x: Tensor, t: Tensor):
        known = conditions
        memory = None
        if coming is not None:
            known = replace(conditions, references=None)
            memory = tuple(tokens.to(machine.device) for tokens in next(coming))
        level = network.at(known, x.to(machine.dtype), t, CHUNK, together=how.together, memory=memory)
        both = guided(level.conditional, level.unconditional, GUIDANCE)
        return lambda window, views: both(window.to(machine.dtype), views).float()

    return prepare


def remembered(network: ViewDenoiser, conditions: ViewConditions, levels: Levels, machine: Machine) -> list[Memory]:
    """What R makes of the references at every level. It depends on nothing else, so R comes and goes alone."""
    assert conditions.references is not None
    machine.put(network.control_model)
    out = []
    for t in levels.t:
        at = t[None].to(machine.device)
        tokens = network.remember(conditions.references, at, conditions.context)
        out.append(tuple(one.cpu() for one in tokens))
    network.control_model.to("cpu")
    return out


def schedule_of(network: ViewDenoiser, how: Sampling) -> NoiseSchedule:
    """The published programs of 2025 rounded it."""
    half = how.faithful and network.config.quirks.half_schedule
    return sqrt_linear(dtype=torch.float16 if half else torch.float32)


def draws(seed: int, purpose: int, count: int) -> list[torch.Generator]:
    return view_generators(seed * 3 + purpose + 1_000_000_007, count)


def encoded(
    vae: VAE, pictures: Tensor, machine: Machine, generators: Sequence[torch.Generator], how: Sampling
) -> Tensor:
    """Latents (n c h w). The published programs draw them from what the autoencoder says; we take its mean."""

    def drawn(generator: torch.Generator) -> Draw:
        return lambda shape: machine_tensor(torch.randn(tuple(shape), generator=generator), machine)

    return torch.cat(
        [
            vae.encode(machine_tensor(picture[None], machine), drawn(generator) if how.faithful else None)
            for picture, generator in zip(pictures, generators, strict=True)
        ]
    )


def decoded(vae: VAE, latents: Tensor, machine: Machine, on_step: OnStep) -> Tensor:
    out = []
    for i, latent in enumerate(latents):
        picture = vae.decode(machine_tensor(latent[None], machine))
        out.append(picture.float().cpu())
        on_step("picture", i + 1, len(latents))
    return torch.cat(out).clamp(-1, 1)


def machine_tensor(x: Tensor, machine: Machine) -> Tensor:
    return x.to(machine.device, machine.dtype)
