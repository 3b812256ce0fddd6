"""What sharing saves in one guided denoising step: `python -m benchmarks.denoise [--size small|half|all] [--views 8]`

Views in windows of 8, two references, guidance 3, one noise level; the same random weights and the same output.

- as published: R runs on both references for every view of the window; C runs, from the hint pictures on, for both
  passes, though one of them ignores it.
- ours: R runs once a reference for all windows and stops after its last tokens, C once a view, both
  passes share the blocks before the first transformer; hints were encoded before the first step.

Units count pictures through R and the U-Net alike, and C as half of one. A picture costs more in the U-Net than in R,
which has no V and no references to read: the ratio in arithmetic, and so in time, is below the one in units.
Time is that of the processor on one thread, so that what else runs on the machine counts for little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from portrait360.diffusion.guidance import Pass, guide
from portrait360.diffusion.multiview import circular_windows, predict_orbit
from portrait360.models import layers
from portrait360.models.network_sizes import SMALL
from portrait360.models.unet import UNetConfig
from portrait360.models.view_denoiser import AppearanceNet, ViewConditions, ViewDenoiser, ViewDenoiserConfig
from tests.parity.filling import fill
from tests.parity.golden import relative_error

SCALE, LIMIT, WINDOW, REQUIRED = 3.0, 1e-5, 8, 1.6


@dataclass(frozen=True)
class Size:
    title: str
    config: ViewDenoiserConfig
    side: int  # of the latents
    runs: int


SIZES = {
    "small": Size("the small preset (width 64)", SMALL, side=64, runs=3),
    "half": Size("SD 1.5 at half its width (160)", ViewDenoiserConfig(UNetConfig(width=160)), side=24, runs=3),
}


@dataclass(frozen=True)
class Step:
    """The inputs of one step."""

    net: ViewDenoiser
    known: ViewConditions
    hints: Tensor  # (views hint_channels H W)
    x: Tensor  # (views c h w)
    t: Tensor  # (1)


def make_step(size: Size, views: int = WINDOW, seed: int = 0) -> Step:
    generator = torch.Generator().manual_seed(seed)
    unet, control = size.config.unet, size.config.control
    reduction = torch.tensor(control.hint_strides).prod().item()

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    net = fill(ViewDenoiser(size.config), seed).eval()
    context = draw(1, 77, unet.context_dim)
    references = draw(2, 1, unet.in_channels, size.side, size.side)
    pixels = int(size.side * reduction)
    hints = draw(views, control.hint_channels, pixels, pixels)
    known = net.embed_hints(ViewConditions(context, references), hints)
    x = draw(views, unet.in_channels, size.side, size.side)
    return Step(net, known, hints, x, torch.tensor([500]))


def ours(step: Step) -> Tensor:
    def prepare(x: Tensor, t: Tensor) -> Pass:
        level = step.net.prepare_level(step.known, x, t)
        return guide(level.conditional, level.unconditional, SCALE)

    return predict_orbit(prepare, circular_windows(len(step.x), WINDOW))(step.x, step.t)


@contextmanager
def whole(appearance: AppearanceNet) -> Iterator[None]:
    """The published R runs to its end, though nobody reads its output; ours stops after its last tokens."""
    kept, appearance.transformers = appearance.transformers, -1
    yield
    appearance.transformers = kept


def as_published(step: Step) -> Tensor:
    net, references = step.net, step.known.references
    assert references is not None

    def window(x: Tensor, views: Tensor) -> Tensor:
        t, count = step.t.repeat(len(x)), len(x)
        context = step.known.context.repeat(count, 1, 1)  # the same prompt once a view

        def control() -> list[Tensor]:
            return net.control(x, net.control.embed_hint(step.hints[views]), t, context)

        with whole(net.appearance):
            memory = net.encode_references(
                references.expand(-1, count, -1, -1, -1), t, context.repeat(len(references), 1, 1)
            )
        conditional = net.predict(x, t, context, count, memory, control(), unconditional=False).float()
        control()  # made for the second pass too, which then leaves it out
        unconditional = net.predict(x, t, context, count, None, None, unconditional=True).float()
        return unconditional + SCALE * (conditional - unconditional)

    return predict_orbit(lambda x, t: window, circular_windows(len(step.x), WINDOW))(step.x, step.t)


@dataclass
class Work:
    """Pictures that went through each network, and all that was multiplied and added on the way."""

    appearance: int = 0
    unet: int = 0
    control: int = 0
    flops: int = 0

    @property
    def units(self) -> float:
        return self.appearance + self.unet + self.control / 2


def count_work(program: Callable[[Step], Tensor], step: Step) -> tuple[Work, Tensor]:
    work = Work()

    def count(name: str):
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
            setattr(work, name, getattr(work, name) + len(inputs[0]))

        return hook

    networks = {"appearance": step.net.appearance, "unet": step.net.unet, "control": step.net.control}
    handles = [network.register_forward_hook(count(name)) for name, network in networks.items()]
    with patch.object(layers, "ONEDNN_LINEAR", False), FlopCounterMode(display=False) as flops:
        out = program(step)  # the counter knows torch's own linear layer only
    work.flops = flops.get_total_flops()
    for handle in handles:
        handle.remove()
    return work, out


def seconds(program: Callable[[Step], Tensor], step: Step) -> float:
    start = time.process_time()
    program(step)
    return time.process_time() - start


@dataclass(frozen=True)
class Result:
    work: dict[str, Work]
    seconds: dict[str, list[float]]
    error: float  # of our output, relative to the largest value

    @property
    def ratios(self) -> list[float]:
        """Of runs that followed each other, smallest first."""
        return sorted(a / b for a, b in zip(*self.seconds.values(), strict=True))


@torch.no_grad()
def measure(step: Step, runs: int) -> Result:
    """Counting comes first, and warms up; the programs then take turns, so that both meet the same machine."""
    programs = {"as published": as_published, "ours": ours}
    counted = {name: count_work(program, step) for name, program in programs.items()}
    error = relative_error(counted["ours"][1], counted["as published"][1])
    if not error <= LIMIT:
        raise SystemExit(f"the outputs differ by {error:.1e}; allowed is {LIMIT:.0e}")
    timed: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, program in programs.items():
            timed[name].append(seconds(program, step))
    return Result({name: work for name, (work, _) in counted.items()}, timed, error)


def report(size: Size, views: int, result: Result) -> None:
    print(f"{size.title}, latents {size.side} x {size.side}, {views} views, median of {size.runs}")
    print(f"  {'':12}{'R':>4}{'U-Net':>7}{'C':>4}{'units':>7}{'GFLOP':>8}{'seconds':>9}")
    for name, work in result.work.items():
        rows = f"{work.appearance:4d}{work.unet:7d}{work.control:4d}{work.units:7.0f}{work.flops / 1e9:8.0f}"
        print(f"  {name:12}{rows}{statistics.median(result.seconds[name]):9.2f}")
    a, b = result.work.values()
    low, high = result.ratios[0], result.ratios[-1]
    print(f"  ratio: {a.units / b.units:.2f} in units, {a.flops / b.flops:.2f} in arithmetic,", end=" ")
    print(f"{statistics.median(result.ratios):.2f} in time ({low:.2f} to {high:.2f})")
    print(f"  largest difference of the outputs: {result.error:.1e} of the largest value")


def main() -> int:
    parser = argparse.ArgumentParser(description="What sharing saves in one guided denoising step.")
    parser.add_argument("--size", choices=[*SIZES, "all"], default="all")
    parser.add_argument("--views", type=int, default=WINDOW, help="more than 8 are denoised in windows of 8")
    given = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    print(f"torch {torch.__version__}, one CPU thread")
    for size in SIZES.values() if given.size == "all" else [SIZES[given.size]]:
        with torch.no_grad():
            step = make_step(size, given.views)
        result = measure(step, size.runs)
        report(size, given.views, result)
        good &= statistics.median(result.ratios) >= REQUIRED
    print(f"{'PASS' if good else 'FAIL'}: at least {REQUIRED} times as fast")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
