"""What the memory model tells, against what torch counts when the same networks run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from portrait360.models import cross_view_attention
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAE, VAEConfig
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig
from portrait360.models.weights.registry import MODEL_SPECS, ModelSpec
from portrait360.pipeline.views.memory_estimate import Meter, peak_bytes
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, DenoiserInputs, SamplerConfig, denoise_views

CPU = ComputeConfig(torch.device("cpu"), torch.float32)


class Random:
    """A system's networks, made when they are asked for."""

    def __init__(self, system: ModelSpec) -> None:
        self.system = system

    def vae(self) -> VAE:
        return VAE(self.system.vae).eval().requires_grad_(False)

    def denoiser(self) -> ViewDenoiser:
        assert self.system.denoiser is not None
        return ViewDenoiser(self.system.denoiser).eval().requires_grad_(False)

    def prompt(self) -> Tensor:
        return torch.zeros(1, 77, 768)


def narrower(width: int, coder: int) -> ModelSpec:
    system = MODEL_SPECS["diffportrait360"]
    denoiser = ViewDenoiserConfig(unet=UNetConfig(width=width))
    return replace(system, denoiser=denoiser, vae=VAEConfig(width=coder))


def measured(system: ModelSpec, views: int, size: int, how: SamplerConfig) -> int:
    """The most bytes that torch had given away at once."""
    asked = DenoiserInputs(*(torch.zeros(n, 3, size, size) for n in (2, views, views)))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        denoise_views(asked, Random(system), how, CPU)
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]  # pyright: ignore
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("width", "coder", "views", "size"),
    [
        (64, 32, 9, 64),
        pytest.param(64, 32, 8, 256, marks=pytest.mark.slow),
        pytest.param(160, 64, 8, 256, marks=pytest.mark.slow),  # half as wide as the published networks
    ],
)
def test_it_tells_what_torch_takes(monkeypatch, width, coder, views, size):
    system, how = narrower(width, coder), SamplerConfig(1, faithful=False)
    monkeypatch.setattr(cross_view_attention, "PIXELS_AT_ONCE", 256)
    real = measured(system, views, size, how)
    monkeypatch.setattr(
        cross_view_attention, "PIXELS_AT_ONCE", 256 // 8
    )  # the device it tells of is none of the CPU's kind
    told = peak_bytes(system, views, size, torch.float32, how, offload=False)
    weights = sum(4 * p.numel() for p in Random(system).denoiser().parameters())
    print(f"told {told / 1e6:.0f} MB, measured {real / 1e6:.0f}, of which {weights / 1e6:.0f} are weights")
    assert told == pytest.approx(real, rel=0.1)


def test_a_tensor_counts_once_and_as_long_as_it_lives():
    with Meter() as meter:
        a = torch.empty(1000, device="meta")
        view = a.view(10, 100)[1:]
        assert meter.now == 4000
        b = a.half()
        assert meter.now == meter.peak == 6000
        del a
        assert meter.now == 6000  # a view holds it
        del view, b
    assert meter.now == 0 and meter.peak == 6000


@pytest.mark.slow
def test_parts_that_come_and_go_take_less():
    system = narrower(64, 32)
    take = [
        peak_bytes(system, 8, 128, torch.float16, SamplerConfig(1, False), offload=thrifty)
        for thrifty in (False, True)
    ]
    network = ViewDenoiser(system.denoiser) if system.denoiser else None
    assert network is not None
    gone = 2 * sum(p.numel() for p in network.control_model.parameters())
    assert take[0] - take[1] == pytest.approx(gone, rel=0.05)


@pytest.mark.slow
def test_mixed_precision_lies_between_the_other_two():
    system = narrower(64, 32)
    how = SamplerConfig(1, True)
    half, mixed, full = (
        peak_bytes(system, 8, 128, dtype, how, mixed=mixed)
        for dtype, mixed in ((torch.float16, False), (torch.float16, True), (torch.float32, False))
    )
    assert half < mixed < full
