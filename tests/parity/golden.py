"""Our networks against outputs of the published ones: `python -m tests.parity.golden FILE...`

One line a tensor (max abs error / max abs value, and the limit), then PASS or FAIL; the exit code says the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from portrait360.diffusion.guidance import guide
from portrait360.diffusion.multiview import circular_windows, predict_orbit
from portrait360.diffusion.prediction import make_denoiser
from portrait360.diffusion.samplers import ddim
from portrait360.diffusion.schedule import NoiseSchedule, ddim_levels, sqrt_linear_schedule
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewConditions, ViewDenoiser
from tests.parity import gan
from tests.parity.recipes import Golden, vae_config, view_denoiser_config

LIMIT, TRACE_LIMIT = 1e-4, 3e-4
TIMESTEPS = [981, 961, 500, 21, 1, 700, 333, 42]

Named = Iterator[tuple[str, Tensor]]


def vae_outputs(golden: Golden) -> Named:
    vae = VAE(vae_config(golden))
    golden.fill(vae, "first_stage_model.")
    size = 2 ** (len(vae.config.mult) - 1)
    latent = golden.tensors["out.moments"].shape[-1]
    picture = golden.draw("in.x", 1, vae.config.channels, size * latent, size * latent).clamp(-1, 1)
    yield "out.moments", vae.quant_conv(vae.encoder(picture))
    z = golden.draw("in.z", 1, vae.config.latent_channels, latent, latent)
    yield "out.decoded", vae.decode(z * vae.config.scale)


class Case:
    """The inputs of a view denoiser's golden file."""

    def __init__(self, golden: Golden) -> None:
        config = json.loads(golden.metadata["config"])
        self.golden, self.views, side = golden, config["frames"], config["latent"]
        self.denoiser = ViewDenoiser(view_denoiser_config(golden))
        golden.fill(self.denoiser)
        unet, control = self.denoiser.config.unet, self.denoiser.config.control
        latents = (unet.in_channels, side, side)
        self.x = golden.draw("in.x", self.views, *latents)
        self.context = golden.draw("in.context", 1, config["context_tokens"], unet.context_dim)
        hints = golden.draw("in.hint", self.views, control.hint_channels, 8 * side, 8 * side)
        self.hints = hints.clamp(-1, 1)
        self.front, self.back = (golden.draw(name, 1, *latents) for name in ("in.ref", "in.back"))
        self.front_by_view = golden.draw("in.ref_perframe", self.views, *latents)
        self.proxy = golden.draw("in.fea", self.views, *latents)
        self.t = torch.tensor(TIMESTEPS[: self.views])
        self.dual = "out.eps_cond_single_ref" in golden.tensors  # a front and a back reference
        self.beta = config["beta"]

    def references(self, front: Tensor, back: bool) -> Tensor:
        """(n, 1 or views, c h w)"""
        return torch.stack([front, self.back.expand_as(front)] if back else [front])


def view_denoiser_outputs(golden: Golden) -> Named:
    case = Case(golden)
    yield from network_outputs(case)
    schedule = sqrt_linear_schedule(*case.beta, dtype=golden.tensors["sched1000.alphas_cumprod"].dtype)
    yield from schedule_outputs(schedule)
    yield from trace_outputs(case, schedule)


def network_outputs(case: Case) -> Named:
    net, given = case.denoiser, {"views": case.views}
    references = case.references(case.front_by_view, case.dual)
    memory = net.encode_references(case.references(case.front_by_view, back=False), case.t, case.context)
    yield from ((f"bank.{i:02d}", tokens[:1]) for i, tokens in enumerate(memory))
    residuals = net.control(case.x, net.control.embed_hint(case.hints), case.t, case.context)
    yield from ((f"pose_control.{i:02d}", residual[:1]) for i, residual in enumerate(residuals))
    taps = Taps(net.unet)
    yield (
        "out.eps_cond",
        net(case.x, case.t, case.context, references=references, hints=case.hints, **given),
    )
    yield from taps.values()
    single = case.references(case.front_by_view, back=False)
    yield (
        "out.eps_cond_single_ref",
        net(case.x, case.t, case.context, references=single, hints=case.hints, **given),
    )
    yield "out.eps_uncond", net(case.x, case.t, case.context, unconditional=True, **given)


class Taps:
    """What blocks of the U-Net gave in one pass, first view."""

    def __init__(self, unet: nn.Module) -> None:
        self.seen: dict[str, Tensor] = {}
        lists = ("input_blocks", "output_blocks", "input_blocks_motion_module", "output_blocks_motion_module")
        named = [(f"{name}.{i}", block) for name in lists for i, block in enumerate(getattr(unet, name, []))]
        named.append(("middle_block", unet.middle_block))  # pyright: ignore[reportArgumentType]
        self.handles = []
        for name, block in named:
            last = list(block.children())[-1] if "motion" in name else block
            self.handles.append(last.register_forward_hook(self._keep(name)))

    def _keep(self, name: str):
        return lambda _module, _inputs, output: self.seen.__setitem__(name, output[:1])

    def values(self) -> Named:
        for handle in self.handles:
            handle.remove()
        yield from ((f"tap.{name}", value) for name, value in self.seen.items())


def schedule_outputs(schedule: NoiseSchedule) -> Named:
    yield "sched1000.alphas_cumprod", schedule.alpha_bar
    levels = ddim_levels(schedule, 50)
    yield "sched50.ddim_timesteps", levels.t.flip(0)
    yield "sched50.ddim_alphas", levels.alpha_bar.flip(0)
    yield "sched50.ddim_alphas_prev", levels.alpha_bar_next.flip(0)
    yield "sched50.ddim_sqrt_one_minus_alphas", levels.sigma.flip(0)
    ratio = (1 - levels.alpha_bar_next) * levels.precision * (1 - levels.alpha_bar / levels.alpha_bar_next)
    yield "sched50.ddim_sigmas", 0.5 * ratio.sqrt().flip(0)


def trace_outputs(case: Case, schedule: NoiseSchedule) -> Named:
    """Four DDIM steps at eta .5 and guidance 3, from the proxy's latent noised to timestep 999."""
    draws = [case.golden.tensors[f"ddim4.rand.{i:02d}.{kind}"] for i, kind in enumerate(kinds(case.golden))]
    net = case.denoiser
    known = ViewConditions(case.context, case.references(case.front, case.dual))
    known = net.embed_hints(known, case.hints)

    def prepare(x: Tensor, t: Tensor):
        level = net.prepare_level(known, x, t)
        return guide(level.conditional, level.unconditional, 3.0)

    predict = predict_orbit(prepare, circular_windows(case.views, case.views))
    x = schedule.add_noise(case.proxy, torch.tensor([999]), draws[1])
    yield "ddim4.x_inter.0", x
    visited: list[Tensor] = []

    def observed(x: Tensor, t: Tensor) -> Tensor:
        visited.append(x)
        return predict(x, t)

    fresh = iter(draws[2:])
    levels = ddim_levels(schedule, 4)
    x = ddim(make_denoiser(observed, "eps", schedule), x, levels, lambda: next(fresh), eta=0.5)
    yield from ((f"ddim4.x_inter.{i}", value) for i, value in enumerate([*visited[1:], x], start=1))
    yield "ddim4.out", x


def kinds(golden: Golden) -> list[str]:
    return json.loads(golden.metadata["rand_calls"])


def compare(path: Path) -> bool:
    golden = Golden(path)
    outputs = view_denoiser_outputs
    if "ddconfig" in golden.metadata:
        outputs = vae_outputs
    elif "rendering_kwargs" in golden.metadata:
        outputs = gan.outputs
    with torch.no_grad():
        ours = dict(outputs(golden))
    good = True
    for name, expected in golden.tensors.items():
        if name.startswith(("ddim4.rand.", "rand.")):
            continue
        limit = TRACE_LIMIT if name.startswith("ddim4.") else LIMIT
        error = relative_error(ours[name], expected) if name in ours else float("inf")
        good &= error <= limit
        print(f"{'ok ' if error <= limit else 'BAD'} {name:45s} {error:9.2e}  (limit {limit:.0e})")
    return good


def relative_error(ours: Tensor, expected: Tensor) -> float:
    """Max abs error / max abs value; infinite for another shape."""
    if ours.shape != expected.shape:
        return float("inf")
    ours, expected = ours.double(), expected.double()
    return float((ours - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def main(files: list[str]) -> int:
    if not files:
        print("usage: python -m tests.parity.golden FILE...")
        return 2
    good = True
    for file in files:
        print(f"== {file}")
        try:
            good &= compare(Path(file))
        except (OSError, SafetensorError, KeyError) as error:
            print(f"BAD cannot be compared: {type(error).__name__}: {error}")
            good = False
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
