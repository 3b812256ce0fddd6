"""The published networks' own path, on tiny files in the published formats: whole, repeatable, and to the digit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.diffusion.multiview import view_generators
from portrait360.geometry.cameras import orbit
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.controlnet import ControlConfig
from portrait360.models.presets import PRESETS
from portrait360.models.vae import VAEConfig
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.store import StoredModel, load_empty_prompt, load_vae, load_view_denoiser
from portrait360.pipeline.avatar import methods
from portrait360.pipeline.make import make
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.proxy import gan_head
from portrait360.pipeline.proxy.gan_inversion import InversionSettings
from portrait360.pipeline.views.multiview_sampler import (
    ComputeConfig,
    DenoiserInputs,
    SamplerConfig,
    denoise_views,
    encoder_generators,
)
from portrait360.pipeline.views.published import load_stranger, render_proxy
from portrait360.utils.errors import UserError
from tests.fixtures import published_gan, tiny
from tests.fixtures.photos import ASTRONAUT

CPU = ComputeConfig(torch.device("cpu"), torch.float32)
SHORT = InversionSettings(steps=2, tuning=1, starts=2, patience=None, stay=0.0, size=16)
SIZE = 64


def smaller(system: ModelSpec) -> ModelSpec:
    """Pictures of 64 pixels are 16 latents wide."""
    control = ControlConfig(hint_widths=(16, 16, 32), hint_strides=(1, 2, 2))
    assert system.denoiser is not None
    vae = VAEConfig(width=32, mult=(1, 1, 1), depth=1)
    return replace(system, denoiser=replace(system.denoiser, control=control), vae=vae)


def state_of(system: ModelSpec, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a size that lets every input reach the output: queries and keys large enough to choose."""
    state, generator = tiny.state_of(system, seed), torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if not value.is_floating_point() or value.dtype == torch.float16:
            continue
        n = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            n = n / value[0].numel() ** 0.5 * (2 if ".to_q." in name or ".to_k." in name else 1)
        else:
            n = 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
        state[name] = n
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Imported, as a user would have them."""
    brought, home = tmp_path_factory.mktemp("brought"), tmp_path_factory.mktemp("weights")
    for i, name in enumerate(("diffportrait360", "diffportrait3d", "back-head")):
        system = smaller(tiny.system(name))
        source = tiny.save(state_of(system, i), brought / f"{name}.th")
        import_weights(source, home / name, system)
    network = published_gan.filled(replace(published_gan.TINY, larger=(8, 8)))
    import_weights(published_gan.save(network, brought / "head.pkl"), home / "panohead")
    return home


@pytest.fixture(scope="module")
def at_home(weights):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTRAIT360_WEIGHTS", str(weights))
        for name in ("sd15", "diffportrait3d"):  # portraits of a quarter of the size: views are small, too
            patch.setitem(PRESETS, name, replace(PRESETS[name], crop=PRESETS[name].crop // 4))
        patch.setattr(methods, "InversionSettings", lambda: SHORT)
        patch.setattr(
            methods,
            "PUBLISHED",
            replace(SHORT, masked=False, drawn=True, starts=1),
        )
        patch.setattr(gan_head, "SCANS", ((0.0, 8), (60.0, 3)))
        yield weights


@pytest.fixture(scope="module")
def finished(at_home, tmp_path_factory) -> Path:
    """A run, made once, to be compared with others and gone on with."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    make(ASTRONAUT, folder, wish())
    return folder


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def wish(**changes) -> MakeOptions:
    return MakeOptions(
        **{"preset": "sd15", "views": 3, "size": SIZE, "steps": 2, "fit": False, "device": "cpu"} | changes
    )


def pictures(seed: int, count: int) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def published(asked: DenoiserInputs, weights: Path, steps: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """The published procedure, plainly: every network in full for every view of a window, windows one by one."""
    vae, net = load_vae(weights).float(), load_view_denoiser(weights).float()
    context = load_empty_prompt(weights).float()
    views = len(asked.hints)

    def encode(pictures, purpose):
        out = []
        for picture, generator in zip(pictures, encoder_generators(seed, purpose, len(pictures)), strict=True):
            mean, deviation = vae.moments(picture[None])
            out.append((mean + deviation * torch.randn(mean.shape, generator=generator)) * vae.config.scale)
        return torch.cat(out)

    references, proxies = encode(asked.references, 2), encode(asked.proxies, 1)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    exact = (1 - betas).cumprod(0)
    alphas = exact.to(dtype)
    roots = (1 - alphas).sqrt()
    one_less = (1 - alphas).reciprocal().double().reciprocal()
    generators = view_generators(seed, views)
    fresh = lambda of: torch.stack([torch.randn(proxies.shape[1:], generator=generators[i]) for i in of])  # noqa: E731
    out = torch.zeros(views, 3, SIZE, SIZE)
    for begin in range(0, views, 8):
        of = range(begin, min(begin + 8, views))
        many, chosen = len(of), list(of)
        started = [table[999].to(dtype).float() for table in (exact.sqrt(), (1 - exact).sqrt())]
        x = started[0] * proxies[chosen] + started[1] * fresh(of)
        times = [1 + i * 1000 // steps for i in range(steps)]
        for i, t in reversed(list(enumerate(times))):
            at = torch.full((many,), t)
            shown = references[:, None].expand(-1, many, -1, -1, -1)
            conditional = net(x, at, context, references=shown, hints=asked.hints[chosen], views=many)
            plain = net(x, at, context, views=many, unconditional=True)
            eps = plain + 3.0 * (conditional - plain)
            a, before = float(alphas[t].double()), float(alphas[times[i - 1] if i else 0].double())
            variance = (1 - before) / float(one_less[t]) * (1 - a / before)
            sigma = 0.5 * max(variance, 0) ** 0.5
            clean = (x - float(roots[t]) * eps) / a**0.5
            x = before**0.5 * clean + max(1 - before - sigma**2, 0) ** 0.5 * eps
            if sigma > 0:
                x = x + sigma * fresh(of)
        for place, latent in zip(of, x, strict=True):
            out[place] = vae.decode(latent[None])[0]
    return out.clamp(-1, 1)


@pytest.mark.parametrize(
    ("name", "references", "dtype"), [("diffportrait360", 2, torch.float16), ("diffportrait3d", 3, torch.float32)]
)
@torch.no_grad()
def test_faithful_is_the_published_procedure(weights, name, references, dtype):
    asked = DenoiserInputs(pictures(0, references), pictures(1, 16), pictures(2, 16))
    ours = denoise_views(asked, StoredModel(weights / name), SamplerConfig(2, faithful=True), CPU, seed=5)
    theirs = published(asked, weights / name, 2, 5, dtype)
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_fast_and_faithful_differ_and_r_may_leave(weights):
    asked = DenoiserInputs(pictures(0, 2), pictures(1, 10), pictures(2, 10))
    fast = denoise_views(asked, StoredModel(weights / "diffportrait360"), SamplerConfig(2, faithful=False), CPU)
    faithful = denoise_views(asked, StoredModel(weights / "diffportrait360"), SamplerConfig(2, faithful=True), CPU)
    thrifty = denoise_views(
        asked, StoredModel(weights / "diffportrait360"), SamplerConfig(2, faithful=False), replace(CPU, offload=True)
    )
    assert torch.equal(fast, thrifty) and (fast - faithful).abs().max() > 1e-3
    half = ComputeConfig(CPU.device, torch.bfloat16)
    rough = denoise_views(asked, StoredModel(weights / "diffportrait360"), SamplerConfig(2, faithful=False), half)
    assert (rough - fast).abs().mean() < 0.25 * fast.std()  # of eight bits, through random weights


@pytest.mark.slow
def test_compiled_is_the_same(weights):
    asked = DenoiserInputs(pictures(0, 2), pictures(1, 10), pictures(2, 10))
    how, networks = SamplerConfig(2, faithful=False), StoredModel(weights / "diffportrait360")
    plain = denoise_views(asked, networks, how, CPU)
    for machine in (replace(CPU, compiled=True), replace(CPU, compiled=True, offload=True)):
        torch.testing.assert_close(denoise_views(asked, networks, how, machine), plain, rtol=0, atol=1e-4)


def test_everything_that_is_shown_matters(weights):
    asked = DenoiserInputs(pictures(0, 2), pictures(1, 4), pictures(2, 4))
    how = SamplerConfig(2, faithful=False)
    base = denoise_views(asked, StoredModel(weights / "diffportrait360"), how, CPU)
    for changes in (
        {"references": pictures(9, 2)},
        {"hints": asked.hints.flip(0)},
        {"proxies": asked.proxies.flip(0)},
    ):
        other = denoise_views(replace(asked, **changes), StoredModel(weights / "diffportrait360"), how, CPU)
        assert (other - base).abs().max() > 1e-3, changes.keys()
    assert not torch.equal(base, denoise_views(asked, StoredModel(weights / "diffportrait360"), how, CPU, seed=1))


@pytest.mark.parametrize("faithful", [False, True])
def test_a_photo_becomes_views_and_the_same_again(finished, tmp_path, faithful):
    first = finished if not faithful else tmp_path / "a"
    if faithful:
        make(ASTRONAUT, first, wish(faithful=True))
    second = copied(first, tmp_path / "b")
    for name in ("views", "back"):  # what networks make is made again
        shutil.rmtree(second / name)
    made = make(ASTRONAUT, tmp_path / "b", wish(faithful=faithful))
    assert len(made.views.views) == 3 and made.views.views[0].size == SIZE
    assert made.views.views[0].camera.focal == FOCAL_SD15
    for path in sorted(first.rglob("*.*")):
        if path.suffix in (".png", ".npz", ".safetensors") or path.name == "transforms.json":
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(first)).read_bytes(), path
    kept = {path.name for path in (first / "proxy").iterdir()}
    assert kept == {"proxy.npz", "gan.safetensors"}
    stages = json.loads((first / "run.json").read_text())["stages"]
    assert {"portrait", "proxy", "back", "views", "files"} == set(stages)


def test_what_is_finished_is_taken_up_again(finished, tmp_path):
    events = []
    make(ASTRONAUT, copied(finished, tmp_path / "run"), wish(views=4), events.append)
    states = {event.stage: event.state for event in events if event.state in ("kept", "done")}
    assert states["proxy"] == states["back"] == "kept" and states["views"] == "done"
    assert any(event.stage == "views" and event.state == "step" for event in events)


def test_the_other_preset_has_no_back_of_its_own_but_takes_a_photo(at_home, tmp_path):
    made = make(ASTRONAUT, tmp_path / "run", wish(preset="diffportrait3d", method="proxy"))
    assert len(made.views.views) == 3 and not (tmp_path / "run" / "back").exists()


def test_another_method_leaves_no_generated_head(finished, tmp_path):
    run = copied(finished, tmp_path / "run")
    assert (run / "proxy" / "gan.safetensors").is_file()
    make(ASTRONAUT, run, wish(views=2, method="proxy"))
    assert [path.name for path in (run / "proxy").iterdir()] == ["proxy.npz"]


def test_without_weights_it_is_said_what_to_bring(tmp_path, monkeypatch):
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"diffportrait360 and back-head.*weights import"):
        make(ASTRONAUT, tmp_path / "run", wish())
    with pytest.raises(UserError, match="panohead"):
        make(ASTRONAUT, tmp_path / "run", MakeOptions(method="gan"))
    assert not (tmp_path / "run").exists()


def test_the_stranger_is_a_head_seen_from_all_sides():
    for camera in orbit(4):
        mask = load_stranger().render(camera, 64).mask
        assert 0.2 < mask.mean() < 0.9
    assert np.isfinite(load_stranger().radius).all() and callable(render_proxy)
