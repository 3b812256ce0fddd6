"""What the steps of `benchmarks.gpu` share: the card and its memory, and networks with random weights."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from portrait360.models.panohead import PANOHEAD, GAN3DConfig
from portrait360.models.presets import PRESETS
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.registry import MODEL_SPECS, ModelSpec
from portrait360.models.weights.tensor_files import load_into
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, DenoiserInputs
from tests.fixtures import tiny
from tests.fixtures.published_gan import TINY as TINY_GAN

Values = dict[str, Any]  # what a step has measured: names with their units, and numbers or sentences


@dataclass(frozen=True)
class Scale:
    """How large everything is that is measured."""

    system: ModelSpec
    gan: GAN3DConfig
    size: int  # pixels of a view
    steps: tuple[int, int]  # of the sampler: as published, and ours
    some: int  # steps of the long loops that are measured; the others are taken to last as long
    splats: int
    fit_size: int  # pixels of the views that are fitted
    fit_steps: int
    repeat: int  # calls that are timed


SD15 = PRESETS["sd15"]
assert SD15.steps is not None
FULL = Scale(MODEL_SPECS["diffportrait360"], PANOHEAD, SD15.size, SD15.steps, 8, 24_000, 256, 250, 10)
TINY = Scale(tiny.system("diffportrait360"), TINY_GAN, 16, (3, 2), 2, 200, 48, 4, 2)


class RandomNetworks:
    """Networks with random weights that wait in the host's memory, as if they had just been read from files.

    Each call hands out a network of its own, so that it leaves the card as soon as nobody needs it.
    """

    def __init__(self, system: ModelSpec, device: torch.device) -> None:
        assert system.denoiser is not None
        self._system, self._denoiser = system, system.denoiser
        with torch.device("meta"):
            networks = ViewDenoiser(self._denoiser), VAE(system.vae)
        self._states = [random_state(network, device, seed) for seed, network in enumerate(networks)]
        generator = torch.Generator().manual_seed(0)
        self._prompt = torch.randn(1, system.text.tokens, system.text.width, generator=generator).half()

    def vae(self) -> VAE:
        with torch.device("meta"):
            network = VAE(self._system.vae)
        return load_into(network, self._states[1], "random weights").eval().requires_grad_(False)  # type: ignore[return-value]

    def denoiser(self) -> ViewDenoiser:
        with torch.device("meta"):
            network = ViewDenoiser(self._denoiser)
        return load_into(network, self._states[0], "random weights").eval().requires_grad_(False)  # type: ignore[return-value]

    def prompt(self) -> Tensor:
        return self._prompt


def random_state(network: nn.Module, device: torch.device, seed: int) -> dict[str, Tensor]:
    """Return weights in half precision that keep numbers near one. They are drawn on the card, which is faster."""
    generator = torch.Generator(device).manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator, device=device)
        if noise.ndim > 1:
            noise /= noise[0].numel() ** 0.5
        else:
            noise = 0.1 * noise + name.endswith("weight")  # norms have weights near one, biases near zero
        state[name] = noise.half().cpu()
    return state


@dataclass
class Bench:
    """The card, the scale, and what several steps need."""

    device: torch.device
    scale: Scale
    warm: set[tuple[str, bool]] = field(default_factory=set)  # what has run before, so that its kernels are loaded

    @cached_property
    def networks(self) -> RandomNetworks:
        return RandomNetworks(self.scale.system, self.device)

    def compute_for(self, faithful: bool) -> ComputeConfig:
        """The precision in which `make` would compute on this card."""
        return ComputeConfig.for_device(self.device, faithful=faithful)

    @property
    def on_card(self) -> bool:
        return self.device.type == "cuda"

    def draw_inputs(self, views: int) -> DenoiserInputs:
        generator = torch.Generator().manual_seed(0)
        size = self.scale.size
        return DenoiserInputs(*(torch.rand(n, 3, size, size, generator=generator) * 2 - 1 for n in (2, views, views)))

    def sync(self) -> None:
        if self.on_card:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back everything that nobody uses, and begin to look for the peak anew."""
        gc.collect()
        if self.on_card:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> Values:
        """The most that lived at once, and the most that torch held for it."""
        if not self.on_card:
            return {}
        return {
            "peak GB": torch.cuda.max_memory_allocated() / 1e9,
            "peak GB with torch's reserve": torch.cuda.max_memory_reserved() / 1e9,
        }

    def milliseconds(self, work: Any, repeat: int | None = None) -> float:
        """The median of several calls, after one that is not counted."""
        times = []
        for _ in range((repeat or self.scale.repeat) + 1):
            self.sync()
            begin = time.perf_counter()
            work()
            self.sync()
            times.append(1e3 * (time.perf_counter() - begin))
        return median(times[1:])


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def attempt(values: Values, name: str, work: Any) -> None:
    """Add what `work` measures, or why it could not be measured; the rest of the step goes on."""
    try:
        values[name] = work()
    except Exception as error:  # a missing kernel has no type of its own
        values[name] = explain(error)


def explain(error: BaseException) -> str:
    """One line about an error."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory ({str(error).split('. GPU')[0]})"
    if isinstance(error, ImportError):
        return f"not installed: {error.name}" if error.name else str(error)
    if "No viable backend" in str(error):
        return "not for these"
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first[:300]}"


def relative_difference(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest value."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
