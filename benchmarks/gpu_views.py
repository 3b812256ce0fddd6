"""Steps of `benchmarks.gpu` about the published networks: time and memory of ours and of the published loop, what
compiling brings, which kernels attention uses."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.denoise import Step, as_published
from benchmarks.gpu_bench import Bench, Values, attempt, median, relative_difference
from portrait360.diffusion.multiview import ViewNoise, view_generators
from portrait360.diffusion.schedule import ddim_levels
from portrait360.models.view_denoiser import ViewConditions
from portrait360.pipeline.views.memory_estimate import CONTEXT, peak_bytes
from portrait360.pipeline.views.multiview_sampler import (
    LATENT_SEED,
    PHOTO_SEED,
    START_TIMESTEP,
    ComputeConfig,
    DenoiserInputs,
    Networks,
    SamplerConfig,
    decode,
    denoise_views,
    encode,
    encoder_generators,
    make_schedule,
    move_tensor,
    run_sampler,
)
from portrait360.utils.progress import ProgressCallback, ignore_progress

FEW, MANY = 8, 32  # views
WARM_UP = 2  # steps
SHAPES = 6  # of attention that are timed: those that take most of the time


@dataclass
class Clock:
    """Notes when each noise level and each picture was done."""

    bench: Bench
    begin: float = field(default_factory=time.perf_counter)
    times: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.bench.sync()
        self.times.setdefault(stage, []).append(time.perf_counter() - self.begin)

    def between(self, stage: str) -> list[float]:
        """Seconds from one to the next."""
        times = self.times.get(stage, [])
        return [b - a for a, b in zip(times, times[1:], strict=False)]


Sample = Callable[[int, SamplerConfig, ProgressCallback], Tensor]  # (views, how, on_step) -> pictures


@torch.inference_mode()
def denoise_as_published(
    inputs: DenoiserInputs,
    networks: Networks,
    config: SamplerConfig,
    compute: ComputeConfig,
    *,
    seed: int = 0,
    on_step: ProgressCallback = ignore_progress,
) -> Tensor:
    """Make the pictures of `denoise_views(..., faithful=True)`, but compute as much as the published programs do:
    all networks stay on the card, R runs for each view and C in both passes (`benchmarks.denoise`)."""
    assert inputs.proxies is not None
    views = len(inputs.hints)
    vae, network = compute.move_vae(networks.vae()), compute.move(networks.denoiser())
    front = encoder_generators(seed, PHOTO_SEED, len(inputs.references))
    references = encode(vae, inputs.references, compute, front, config)
    proxies = encode(vae, inputs.proxies, compute, encoder_generators(seed, LATENT_SEED, views), config)
    schedule = make_schedule(network, config)
    noise = ViewNoise(view_generators(seed, views), tuple(references.shape[1:]), compute.device)
    x = schedule.add_noise(proxies.float(), torch.tensor([START_TIMESTEP]), noise())
    known = ViewConditions(move_tensor(networks.prompt(), compute), references[:, None].to(compute.dtype))
    hints = move_tensor(inputs.hints, compute)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with compute.autocast():
            return as_published(Step(network, known, hints, x, t))

    latents = run_sampler(predict, x, schedule, ddim_levels(schedule, config.steps), config, noise, on_step)
    return decode(vae, latents, compute, on_step)


def sample_ours(bench: Bench, compute: ComputeConfig | None = None) -> Sample:
    def sample(views: int, config: SamplerConfig, on_step: ProgressCallback) -> Tensor:
        inputs = bench.draw_inputs(views)
        chosen = compute or bench.compute_for(config.faithful)
        return denoise_views(inputs, bench.networks, config, chosen, on_step=on_step)

    return sample


def sample_as_published(bench: Bench) -> Sample:
    def sample(views: int, config: SamplerConfig, on_step: ProgressCallback) -> Tensor:
        inputs = bench.draw_inputs(views)
        return denoise_as_published(inputs, bench.networks, config, bench.compute_for(True), on_step=on_step)

    return sample


def measure_views(
    bench: Bench, sample: Sample, kind: str, views: int, *, faithful: bool, some: int | None = None
) -> Values:
    """Time and memory of one run. Only `some` of its steps may be made: each lasts as long as the others."""
    steps = bench.scale.steps[0 if faithful else 1]
    config = SamplerConfig(min(some or steps, steps), faithful)
    if (kind, faithful) not in bench.warm:  # kernels are loaded once a process
        sample(FEW, replace(config, steps=WARM_UP), ignore_progress)
        bench.warm.add((kind, faithful))
    bench.free()
    clock = Clock(bench)
    pictures = sample(views, config, clock)
    bench.sync()
    seconds = time.perf_counter() - clock.begin
    step = median(clock.between("level"))
    whole = seconds + (steps - config.steps) * step
    values: Values = {"seconds a view": whole / views, "seconds a step": step, "seconds in all": whole}
    values |= {"seconds to decode a view": median(clock.between("picture")), "views": views, "steps": steps}
    if config.steps < steps:
        values["steps measured"] = config.steps
    if not torch.isfinite(pictures).all():
        values["pictures"] = "not finite"
    return {**values, **bench.peak(), "precision": name_precision(bench.compute_for(faithful))}


def name_precision(compute: ComputeConfig) -> str:
    computing, encoding = (str(dtype).removeprefix("torch.") for dtype in (compute.dtype, compute.vae_dtype))
    return f"{computing} by autocast, autoencoder in {encoding}" if compute.mixed else computing


def measure_fast(bench: Bench) -> Values:
    return measure_views(bench, sample_ours(bench), "ours", FEW, faithful=False)


def measure_fast_orbit(bench: Bench) -> Values:
    return measure_views(bench, sample_ours(bench), "ours", MANY, faithful=False)


def measure_faithful(bench: Bench) -> Values:
    return measure_views(bench, sample_ours(bench), "ours", FEW, faithful=True)


def measure_faithful_orbit(bench: Bench) -> Values:
    return measure_views(bench, sample_ours(bench), "ours", MANY, faithful=True, some=bench.scale.some)


def measure_published(bench: Bench) -> Values:
    sample = sample_as_published(bench)
    return measure_views(bench, sample, "published", FEW, faithful=True, some=bench.scale.some)


def measure_published_orbit(bench: Bench) -> Values:
    sample = sample_as_published(bench)
    return measure_views(bench, sample, "published", MANY, faithful=True, some=bench.scale.some)


def measure_memory(bench: Bench) -> Values:
    """What the memory model tells for an orbit, and what the card says; more steps take no more."""
    scale, values = bench.scale, {}
    for faithful in (False, True):
        config, compute = SamplerConfig(WARM_UP, faithful), bench.compute_for(faithful)
        one, kind = replace(config, steps=1), "faithful" if faithful else "fast"
        estimate = peak_bytes(scale.system, MANY, scale.size, compute.dtype, one, offload=True, mixed=compute.mixed)
        values[f"estimate for {MANY} views, {kind}, GB"] = estimate / 1e9
        values[f"estimate with the driver, {kind}, GB"] = (estimate + CONTEXT) / 1e9
        bench.free()
        sample_ours(bench)(MANY, config, ignore_progress)
        values |= {f"{name}, {kind}": value for name, value in bench.peak().items()}
    if bench.on_card:
        free, total = torch.cuda.mem_get_info()
        driver = total - free - torch.cuda.memory_reserved()
        values |= {"the driver's own, GB": driver / 1e9, "estimate of it, GB": CONTEXT / 1e9}
        values["the card's, GB"] = total / 1e9
    return values


def measure_compile(bench: Bench) -> Values:
    """`--compile` against the usual way, one after the other. Without a card nothing is compiled."""
    if not bench.on_card:
        with patch.object(torch, "compile", lambda run, **options: run):
            return compare_compiled(bench)
    return compare_compiled(bench)


def compare_compiled(bench: Bench) -> Values:
    steps = min(bench.scale.steps[1], bench.scale.some)
    config = SamplerConfig(steps, faithful=False)
    pictures, step, whole, peaks = [], [], [], []
    for compiled in (False, True):
        torch.compiler.reset()
        bench.free()
        clock = Clock(bench)
        sample = sample_ours(bench, replace(bench.compute_for(False), compiled=compiled))
        pictures.append(sample(FEW, config, clock))
        bench.sync()
        whole.append(time.perf_counter() - clock.begin)
        step.append(median(clock.between("level")))
        peaks.append(bench.peak())
    torch.compiler.reset()
    compiling = max(whole[1] - whole[0] + steps * (step[0] - step[1]), 0.0)
    gain = step[0] - step[1]
    return {
        "seconds a step, usual": step[0],
        "seconds a step, compiled": step[1],
        "seconds to compile": compiling,
        "steps until it pays": compiling / gain if gain > 0 else "never",
        "largest difference of the pictures": relative_difference(pictures[1], pictures[0]),
        **{f"{name}, compiled": value for name, value in peaks[1].items()},
    }


Shape = tuple[tuple[int, ...], tuple[int, ...]]  # of queries, and of keys and values


@contextmanager
def note_attention() -> Iterator[tuple[Counter[Shape], dict[Shape, str]]]:
    """Count the calls of attention by their shapes, and note which kernel torch chooses for each."""
    calls: Counter[Shape] = Counter()
    chosen: dict[Shape, str] = {}
    attend = F.scaled_dot_product_attention

    def note(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = tuple(q.shape), tuple(k.shape)
        calls[shape] += 1
        if shape not in chosen:
            chosen[shape] = SDPBackend(torch.ops.aten._fused_sdp_choice(q, k, v)).name
        return attend(q, k, v)

    with patch.object(F, "scaled_dot_product_attention", note):
        yield calls, chosen


@torch.inference_mode()
def measure_attention(bench: Bench) -> Values:
    """The kernels of attention in runs of a few steps, and how long the others would take in the fast one."""
    values: Values = {}
    for faithful in (True, False):  # what the last one notes is timed
        with note_attention() as (calls, chosen):
            sample_ours(bench)(FEW, SamplerConfig(WARM_UP, faithful), ignore_progress)
        kernels = ", ".join(f"{n} x {name}" for name, n in count_kernels(calls, chosen).items())
        values[f"kernels, {'faithful' if faithful else 'fast'}"] = kernels
        bench.free()

    def work(shape: Shape) -> int:
        (batch, heads, queries, width), (*_, keys, _) = shape
        return calls[shape] * batch * heads * queries * keys * width

    for shape in sorted(calls, key=work, reverse=True)[:SHAPES]:
        values[name_shape(shape)] = time_kernels(bench, shape, chosen[shape], calls[shape])
    return values


def count_kernels(calls: Counter[Shape], chosen: dict[Shape, str]) -> Counter[str]:
    out: Counter[str] = Counter()
    for shape, count in calls.items():
        out[chosen[shape]] += count
    return out


def name_shape(shape: Shape) -> str:
    (batch, heads, queries, width), (*_, keys, _) = shape
    return f"attention {batch} x {heads} x {queries} to {keys}, width {width}"


def time_kernels(bench: Bench, shape: Shape, chosen: str, calls: int) -> Values:
    dtype = bench.compute_for(False).dtype
    q, k, v = (torch.randn(size, device=bench.device).to(dtype) for size in (*shape, shape[1]))
    values: Values = {"calls": calls, "chosen": chosen}
    for kernel in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):

        def run(kernel: SDPBackend = kernel) -> float:
            with sdpa_kernel([kernel]):
                return bench.milliseconds(lambda: F.scaled_dot_product_attention(q, k, v))

        attempt(values, f"{kernel.name}, ms", run)
    return values
