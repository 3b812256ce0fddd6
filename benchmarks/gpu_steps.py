"""The other steps of `benchmarks.gpu`, and all of them in the order of their value."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from benchmarks import gpu_views
from benchmarks.denoise import SIZES, Step, make_step, ours
from benchmarks.gpu_bench import TINY, Bench, RandomNetworks, Values, attempt, explain, relative_difference
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.gaussians.gsplat_backend import INSTALLED
from portrait360.geometry.gaussians.projection import project
from portrait360.geometry.gaussians.rasterizer import blend_in_torch, rasterize
from portrait360.models.panohead import GAN3D
from portrait360.models.view_denoiser import ViewConditions
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, DenoiserInputs, SamplerConfig, denoise_views
from tests.fixtures.published_gan import TINY as TINY_GAN
from tests.fixtures.published_gan import filled

CPU = torch.device("cpu")
CAMERA = Camera(look_at(30, 10), focal_from_fov(18.8))
ORBIT = 32  # views of the generator
FIT_VIEWS = 16
WITHOUT_GSPLAT = 1000  # splats: torch blends each at every pixel, which takes as much memory as pixels times splats
SMALL_SIDE = 96  # pixels of a picture that torch blends

Splats = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # means, scales, rotations, opacities, colours
Render = Callable[[Splats], Tensor]  # splats -> (s, s, 4) premultiplied colour, alpha


@dataclass(frozen=True)
class Measurement:
    """A step: its name, about how many seconds it takes on an H100, and what it does."""

    name: str
    seconds: float
    run: Callable[[Bench], Values]


@contextmanager
def set_tf32(allow: bool) -> Iterator[None]:
    """torch computes convolutions in TF32 unless it is forbidden; matrix products it does not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allow
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def measure_parity(bench: Bench) -> Values:
    """Small networks in single precision on the CPU and on the card: the largest differences."""
    values: Values = {}
    parts = {
        "the small preset's denoiser": predict_small,
        "PanoHead, narrow": render_generator,
        "all of `views`, narrow, fast": lambda device: sample_tiny(device, faithful=False),
        "all of `views`, narrow, faithful": lambda device: sample_tiny(device, faithful=True),
        "splats by the formula": blend_few,
    }
    for name, part in parts.items():
        attempt(values, name, lambda part=part: compare_devices(part, bench.device))
    numbers = [part["single precision"] for part in values.values() if isinstance(part, dict)]
    attempt(values, "`views`, narrow, faithful, as on this card", lambda: compare_precisions(bench))
    return {"largest of all in single precision": max(numbers, default=float("nan")), **values}


def compare_precisions(bench: Bench) -> float:
    """How far the pictures of a faithful run on the card are from those in single precision on the CPU."""
    there = sample_tiny(bench.device, faithful=True, compute=bench.compute_for(True))
    return relative_difference(there, sample_tiny(CPU, faithful=True))


def compare_devices(part: Callable[[torch.device], Tensor], device: torch.device) -> Values:
    here = part(CPU)
    with set_tf32(False):
        there, again = part(device), part(device)
    values: Values = {"single precision": relative_difference(there, here)}
    with set_tf32(True):
        values["convolutions in TF32"] = relative_difference(part(device), here)
    return {**values, "twice the same bytes": "yes" if torch.equal(there, again) else "no"}


@torch.inference_mode()
def predict_small(device: torch.device) -> Tensor:
    step = make_step(replace(SIZES["small"], side=16), views=2)
    known = ViewConditions(*(getattr(step.known, name).to(device) for name in ("context", "references", "hints")))
    return ours(Step(step.net.to(device), known, step.hints.to(device), step.x.to(device), step.t.to(device)))


@torch.inference_mode()
def render_generator(device: torch.device) -> Tensor:
    network = filled(TINY_GAN).to(device)
    label = torch.from_numpy(CAMERA.label()).float()[None].to(device)
    z = torch.randn(1, TINY_GAN.z, generator=torch.Generator().manual_seed(0)).to(device)
    return network(z, label).rgb


def sample_tiny(device: torch.device, *, faithful: bool, compute: ComputeConfig | None = None) -> Tensor:
    """From pictures to pictures: noise comes from the CPU's generators, so that every device gets the same."""
    networks, generator = RandomNetworks(TINY.system, CPU), torch.Generator().manual_seed(0)
    pictures = (torch.rand(n, 3, TINY.size, TINY.size, generator=generator) * 2 - 1 for n in (2, 9, 9))
    compute = compute or ComputeConfig(device, torch.float32, offload=device.type != "cpu")
    return denoise_views(DenoiserInputs(*pictures), networks, SamplerConfig(2, faithful), compute)


@torch.inference_mode()
def blend_few(device: torch.device) -> Tensor:
    return blend_in_torch(project(*draw_splats(200, device), CAMERA, 64), 64)[..., :4]


def measure_generator(bench: Bench) -> Values:
    """PanoHead's generator: a head, an orbit of it, one step of an inversion."""
    config, device = bench.scale.gan, bench.device
    network = GAN3D(config).eval().requires_grad_(False).to(device)
    labels = torch.stack([torch.from_numpy(camera.label()).float() for camera in orbit(ORBIT)]).to(device)
    with torch.inference_mode():
        styles = network.map_styles(torch.zeros(1, config.z, device=device), labels[:1], 0.7)
        network.generate_head(styles).render(labels[:1])  # loads the kernels
        bench.free()
        begin = time.perf_counter()
        head = network.generate_head(styles)
        bench.sync()
        head_seconds = time.perf_counter() - begin
        pictures = [head.render(label[None]).rgb.cpu() for label in labels]
        orbit_seconds = time.perf_counter() - begin
    values: Values = {"seconds for a head": head_seconds, f"seconds for {ORBIT} views": orbit_seconds}
    if not all(torch.isfinite(picture).all() for picture in pictures):
        values["pictures"] = "not finite"
    values |= {"seconds a view": (orbit_seconds - head_seconds) / ORBIT, **bench.peak()}
    del head, pictures
    bench.free()
    sought = styles.clone().requires_grad_(True)

    def invert() -> None:
        network.generate_head(sought).render(labels[:1]).rgb.square().mean().backward()

    values["seconds a step of an inversion"] = bench.milliseconds(invert, 3) / 1e3
    return {**values, **{f"{name}, inversion": value for name, value in bench.peak().items()}}


def draw_splats(count: int, device: torch.device) -> Splats:
    """Splats near the surface of an egg as large as a head."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    parts = (
        normal * [0.19, 0.27, 0.23],
        rng.uniform(0.3, 1, (count, 3)) * 0.6 / np.sqrt(count),
        rng.normal(size=(count, 4)),
        rng.uniform(0.3, 1, count),
        rng.uniform(0, 1, (count, 3)),
    )
    means, scales, rotations, opacities, colours = (torch.from_numpy(part).float().to(device) for part in parts)
    return means, scales, rotations, opacities, colours


def measure_rasterizer(bench: Bench) -> Values:
    """Splats by our kernels on the CPU and, on the card, by gsplat: through our code, and its own `rasterization`."""
    count, size = bench.scale.splats, bench.scale.size
    values: Values = {"splats": count, "pixels": size, "gsplat": describe_gsplat()}
    attempt(values, "our kernels on the CPU", lambda: time_render(bench, render_ours(size), draw_splats(count, CPU)))
    few = min(count, WITHOUT_GSPLAT)
    name = f"torch, {few} splats, {SMALL_SIDE} pixels"
    attempt(values, name, lambda: time_render(bench, render_in_torch, draw_splats(few, bench.device)))
    if not (INSTALLED and bench.on_card):
        return values
    splats = draw_splats(count, bench.device)
    attempt(values, "gsplat through our code", lambda: time_render(bench, render_ours(size), splats))
    attempt(values, "gsplat's rasterization", lambda: time_render(bench, render_by_gsplat(size), splats))
    attempt(values, "their largest difference", lambda: compare_renders(size, splats))
    return values


def describe_gsplat() -> str:
    if not INSTALLED:
        return "not installed"
    try:
        import gsplat  # pyright: ignore[reportMissingImports]
    except Exception as error:  # its extension may not load
        return explain(error)
    return str(getattr(gsplat, "__version__", "unknown version"))


def render_ours(size: int) -> Render:
    return lambda splats: rasterize(project(*splats, CAMERA, size), size)[..., :4]


def render_in_torch(splats: Splats) -> Tensor:
    return blend_in_torch(project(*splats, CAMERA, SMALL_SIDE), SMALL_SIDE)[..., :4]


def render_by_gsplat(size: int) -> Render:
    import gsplat  # pyright: ignore[reportMissingImports]

    def render(splats: Splats) -> Tensor:
        means, scales, rotations, opacities, colours = splats
        view, lens = (
            torch.from_numpy(matrix).float().to(means.device)[None]
            for matrix in (CAMERA.world2cam, CAMERA.intrinsics(size))
        )
        rgb, alpha, _ = gsplat.rasterization(means, rotations, scales, opacities, colours, view, lens, size, size)
        return torch.cat([rgb, alpha], -1)[0]

    return render


def time_render(bench: Bench, render: Render, splats: Splats) -> Values:
    means, scales, rotations, opacities, colours = (part.clone().requires_grad_() for part in splats)
    trained = means, scales, rotations, opacities, colours
    with torch.no_grad():
        forward = bench.milliseconds(lambda: render(splats))
    return {"ms": forward, "ms with gradients": bench.milliseconds(lambda: render(trained).square().sum().backward())}


@torch.no_grad()
def compare_renders(size: int, splats: Splats) -> float:
    return relative_difference(render_ours(size)(splats), render_by_gsplat(size)(splats))


def measure_fit(bench: Bench) -> Values:
    """A short fit of the shipped head: a field, then splats on its surface; on the CPU a few steps, to compare."""
    from portrait360.pipeline.views.view_set import View

    scale = bench.scale
    views = draw_views(scale.fit_size)
    few = max(scale.fit_steps // 15, 4)
    values: Values = {"views": len(views), "pixels": scale.fit_size}
    attempt(values, "field", lambda: fit_field_on(bench, views, scale.fit_steps, bench.device))
    attempt(values, "field on the CPU", lambda: fit_field_on(bench, views, few, CPU))
    fast = INSTALLED or not bench.on_card
    count, size = (scale.splats, scale.fit_size) if fast else (WITHOUT_GSPLAT, SMALL_SIDE)
    small: list[View] = views if fast else draw_views(size)
    name = "splats" if fast else f"splats by torch, {size} pixels"
    attempt(values, name, lambda: fit_splats_on(bench, small, count, scale.fit_steps, bench.device))
    if bench.on_card:
        attempt(values, f"{name}, on the CPU", lambda: fit_splats_on(bench, small, count, few, CPU))
    return values


def draw_views(size: int):
    """Views of the head that control networks are shown as a hint."""
    from portrait360.assets import STRANGER
    from portrait360.geometry.canonical_frame import FOV
    from portrait360.pipeline.proxy.proxy import Proxy
    from portrait360.pipeline.views.view_set import View

    head, views = Proxy.load(STRANGER), []
    for camera in orbit(FIT_VIEWS, focal=focal_from_fov(FOV)):
        picture = head.render(camera, size)
        views.append(View(picture.rgb.astype(np.float32), picture.mask.astype(np.float32), camera))
    return views


@dataclass
class StepTimes:
    """When each step of a fit ended, and its loss."""

    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __call__(self, step: int, loss: float) -> None:
        self.times.append(time.perf_counter())  # the loss was read from the card, so its step has ended
        self.losses.append(loss)

    def describe(self) -> Values:
        steps = len(self.times)
        half = steps // 2  # the first steps load kernels, and correct the views
        each = (self.times[-1] - self.times[half]) / max(steps - 1 - half, 1)
        values = {"steps": steps, "ms a step": 1e3 * each, "loss at first": self.losses[0]}
        return {**values, "loss at last": float(np.mean(self.losses[-10:]))}


def fit_field_on(bench: Bench, views, steps: int, device: torch.device) -> Values:
    from portrait360.pipeline.reconstruction.radiance_field import FieldFit, fit_field

    bench.free()
    clock = StepTimes()
    options = FieldFit(steps=steps)
    if device.type == "cpu":
        options = replace(
            options, compare_at=()
        )  # the views are right, and to compare them takes longer than the steps
    fit_field(views, options, device=device, on_step=clock)
    return {**clock.describe(), **(bench.peak() if device == bench.device else {})}


def fit_splats_on(bench: Bench, views, count: int, steps: int, device: torch.device) -> Values:
    from portrait360.geometry.gaussians.splats import GaussianSplats
    from portrait360.pipeline.reconstruction.gaussians import SplatFit, fit_splats

    bench.free()
    clock = StepTimes()
    means, scales, rotations, opacities, colours = (part.numpy() for part in draw_splats(count, CPU))
    start = GaussianSplats(means, scales, rotations, opacities, colours)
    fit_splats(start, views, SplatFit(steps=steps, count=count), device=device, on_step=clock)
    return {"splats": count, **clock.describe(), **(bench.peak() if device == bench.device else {})}


STEPS = (
    Measurement("sd15 fast, 8 views", 45, gpu_views.measure_fast),
    Measurement("memory of sd15", 35, gpu_views.measure_memory),
    Measurement("the CPU's numbers and the card's", 25, measure_parity),
    Measurement("sd15 faithful, 8 views", 20, gpu_views.measure_faithful),
    Measurement("published loop, 8 views", 12, gpu_views.measure_published),
    Measurement("sd15 fast, 32 views", 40, gpu_views.measure_fast_orbit),
    Measurement("sd15 faithful, 32 views", 20, gpu_views.measure_faithful_orbit),
    Measurement("published loop, 32 views", 35, gpu_views.measure_published_orbit),
    Measurement("attention", 15, gpu_views.measure_attention),
    Measurement("--compile", 110, gpu_views.measure_compile),
    Measurement("PanoHead, 32 views", 20, measure_generator),
    Measurement("splat rasteriser", 30, measure_rasterizer),
    Measurement("fit", 60, measure_fit),
)
