"""The published networks' own path, on tiny files in the published formats: whole, repeatable, and to the digit."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.geometry.cameras import Camera, look_at, orbit
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.controlnet import ControlConfig
from portrait360.models.perceptual_loss import load_feature_extractor
from portrait360.models.presets import PRESETS
from portrait360.models.vae import VAEConfig
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.store import StoredModel, load_generator
from portrait360.pipeline import view_stages
from portrait360.pipeline.avatar import methods
from portrait360.pipeline.make import make
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import PublishedFrame
from portrait360.pipeline.proxy import gan_head
from portrait360.pipeline.proxy.gan_inversion import InversionSettings
from portrait360.pipeline.view_stages import find_published_cameras
from portrait360.pipeline.views import published
from portrait360.pipeline.views.hint_pictures import HintPictures
from portrait360.pipeline.views.multiview_sampler import (
    ComputeConfig,
    DenoiserInputs,
    SamplerConfig,
    convert_to_fp32,
    denoise_views,
)
from portrait360.pipeline.views.published import load_stranger, render_proxy
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.images import load_picture, save_picture
from tests.fixtures import published_gan, tiny
from tests.fixtures.photos import ASTRONAUT
from tests.parity import published_procedure

CPU = ComputeConfig(torch.device("cpu"), torch.float32)
SHORT = InversionSettings(steps=2, tuning=1, starts=2, patience=None, stay=0.0, size=16)
SIZE = 64
CHECK_MEMORY = view_stages.check_memory


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
        patch.setattr(gan_head, "SCANS", ((0.0, 4), (60.0, 2)))
        patch.setattr(view_stages, "check_memory", lambda *asked: None)  # has tests of its own
        patch.setattr(published, "find_matte", lambda rgb: np.zeros(rgb.shape[:2], np.float32))
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


@pytest.mark.parametrize(
    ("name", "references", "dtype"), [("diffportrait360", 2, torch.float16), ("diffportrait3d", 3, torch.float32)]
)
def test_faithful_is_the_published_procedure(weights, name, references, dtype):
    asked = DenoiserInputs(pictures(0, references), pictures(1, 16), pictures(2, 16))
    ours = denoise_views(asked, StoredModel(weights / name), SamplerConfig(2, faithful=True), CPU, seed=5)
    theirs = published_procedure.denoise(asked.references, asked.hints, asked.proxies, weights / name, 2, 5, dtype)
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


def test_faithful_precision_is_fp16_between_fp32_ends(weights):
    """Autocast to fp16 with norms, autoencoder and guidance in fp32 comes much nearer to fp32 than bf16 does."""
    gpu = ComputeConfig.for_device(torch.device("cuda"), faithful=True)
    assert (gpu.dtype, gpu.vae_dtype, gpu.mixed) == (torch.float16, torch.float32, True)
    asked, networks = DenoiserInputs(pictures(0, 2), pictures(1, 2), pictures(2, 2)), weights / "diffportrait360"
    how = SamplerConfig(2, faithful=True)
    exact, mixed, rough = (
        denoise_views(asked, StoredModel(networks), how, machine)
        for machine in (
            CPU,
            replace(CPU, dtype=torch.float16, mixed=True, offload=True),
            replace(CPU, dtype=torch.bfloat16),
        )
    )
    assert 0 < (mixed - exact).square().mean().sqrt() < (rough - exact).square().mean().sqrt() / 4
    predict = convert_to_fp32(lambda x, views: x.half(), CPU)
    assert predict(torch.ones(1), torch.zeros(1)).dtype == torch.float32  # what guidance combines


@pytest.mark.slow
def test_compiled_is_the_same(weights):
    asked = DenoiserInputs(pictures(0, 2), pictures(1, 10), pictures(2, 10))
    how, networks = SamplerConfig(2, faithful=False), StoredModel(weights / "diffportrait360")
    plain = denoise_views(asked, networks, how, CPU)
    for machine in (replace(CPU, compiled=True), replace(CPU, compiled=True, offload=True)):
        torch.testing.assert_close(denoise_views(asked, networks, how, machine), plain, rtol=0, atol=1e-4)


def test_everything_that_is_shown_matters(weights):
    asked = DenoiserInputs(pictures(0, 2), pictures(1, 4), pictures(2, 4))
    how = SamplerConfig(1, faithful=False)
    base = denoise_views(asked, StoredModel(weights / "diffportrait360"), how, CPU)
    for changes in (
        {"references": pictures(9, 2)},
        {"hints": asked.hints.flip(0)},
        {"proxies": asked.proxies.flip(0)},
    ):
        other = denoise_views(replace(asked, **changes), StoredModel(weights / "diffportrait360"), how, CPU)
        assert (other - base).abs().max() > 1e-3, changes.keys()
    assert not torch.equal(base, denoise_views(asked, StoredModel(weights / "diffportrait360"), how, CPU, seed=1))


@pytest.fixture(scope="module")
def faithful_run(at_home, tmp_path_factory) -> tuple[Path, list[torch.Tensor]]:
    """A run as published, and the pictures of the networks before they are rounded: the back, then the views."""
    folder, made = tmp_path_factory.mktemp("faithful") / "run", []

    def record(*given, **options):
        made.append(denoise_views(*given, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "denoise_views", record)
        make(ASTRONAUT, folder, wish(faithful=True))
    return folder, made


def test_a_faithful_run_is_the_published_procedure_from_the_photo_on(at_home, faithful_run):
    """Crop and label, inversion, renders from around, hints, the back view, the views: all of it restated plainly."""
    folder, (back, views) = faithful_run
    portrait = make_portrait(ASTRONAUT, size=PRESETS["sd15"].crop)
    front = torch.from_numpy(2 * published_procedure.align(portrait, SIZE)[0] - 1).permute(2, 0, 1)[None].float()
    generator = load_generator(at_home / "panohead")
    features = load_feature_extractor(torch.device("cpu"))
    ws, tuned = published_procedure.invert_portrait(deepcopy(generator), portrait, features, 2, 1, seed=0)
    around = [0.0, 120.0, 240.0]
    proxies = published_procedure.turn_around(tuned, ws, around, SIZE, seed=0)
    z = torch.randn(1, generator.config.z, generator=torch.Generator().manual_seed(7))
    seen_from = torch.from_numpy(Camera(look_at(0)).label()).float()[None]
    stranger = generator.map_styles(z, seen_from, 0.7).detach()
    hints = published_procedure.turn_around(generator, stranger, [*around, 180.0], SIZE, seed=None)
    theirs = published_procedure.denoise(
        front, hints[3:], None, at_home / "back-head", 2, 1, torch.float32, cross_view=False
    )
    torch.testing.assert_close(back, theirs, rtol=0, atol=1e-4)
    kept = load_picture(folder / "back" / "portrait.png").rgb  # as it was made, background and all, in eight bits
    rounded = torch.from_numpy(2 * kept - 1).permute(2, 0, 1)[None]
    assert (rounded - theirs).abs().max() < 1 / 255 + 1e-4
    shown = torch.cat([front, rounded])
    theirs = published_procedure.denoise(shown, hints[:3], proxies, at_home / "diffportrait360", 2, 0, torch.float16)
    assert theirs.std() > 0.05
    torch.testing.assert_close(views, theirs, rtol=0, atol=1e-4)


def test_the_cameras_of_views_come_back_into_our_frame(faithful_run):
    """A view's camera looks, in the frame of the portrait, where PanoHead's orbit looks in its own."""
    folder, _ = faithful_run
    portrait, cameras = Portrait.load(folder / "portrait"), [v.camera for v in ViewSet.load(folder / "views").views]
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (20, 3))
    frame = PublishedFrame.of(portrait)
    for camera, theirs in zip(cameras, orbit(3), strict=True):
        there = frame.points_to_published(points)
        np.testing.assert_allclose(camera.project(points)[0], theirs.project(there)[0], atol=1e-6)


@pytest.mark.parametrize("faithful", [False, True])
def test_a_photo_becomes_views_and_the_same_again(finished, faithful_run, tmp_path, faithful):
    first = faithful_run[0] if faithful else finished
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


def write_hints(folder: Path, count: int) -> list[np.ndarray]:
    """Pictures of one colour each, with names whose numbers order them."""
    folder.mkdir()
    colours = [np.full((SIZE, SIZE, 3), (10 * i + 5) / 255, np.float32) for i in range(count)]
    for i, colour in enumerate(colours):
        save_picture(folder / f"hint_{i}.png", colour)
    return colours


def test_the_users_hints_are_shown_as_they_are(finished, at_home, tmp_path, monkeypatch):
    """Each view gets the picture from its own azimuth, the back view the one from behind."""
    colours = write_hints(tmp_path / "hints", 12)
    shown = []

    def look(asked, *given, **options):
        shown.append(asked.hints)
        return denoise_views(asked, *given, **options)

    monkeypatch.setattr(published, "denoise_views", look)
    made = make(ASTRONAUT, copied(finished, tmp_path / "run"), wish(hints=tmp_path / "hints"))
    assert len(made.views.views) == 3
    for hints, indices in zip(shown, ((6,), (0, 4, 8)), strict=True):
        wanted = torch.stack([torch.from_numpy(2 * colours[i] - 1).permute(2, 0, 1) for i in indices])
        torch.testing.assert_close(hints, wanted, rtol=0, atol=1e-6)
    save_picture(tmp_path / "hints" / "hint_4.png", colours[0])
    make(ASTRONAUT, tmp_path / "run", wish(hints=tmp_path / "hints"))
    assert len(shown) == 4  # the hints are part of what back and views depend on


def test_hints_that_do_not_fit_are_said_before_anything_is_made(at_home, tmp_path):
    write_hints(tmp_path / "hints", 4)
    for views, message in ((3, "none of them from azimuth 120"), (4, None)):
        options = wish(views=views, hints=tmp_path / "hints")
        if message is None:
            assert HintPictures.open(tmp_path / "hints").choose(orbit(views))[2].name == "hint_2.png"
            continue
        with pytest.raises(UserError, match=message):
            make(ASTRONAUT, tmp_path / "run", options)
    save_picture(tmp_path / "hints" / "hint_3.png", np.zeros((8, 9, 3), np.float32))
    with pytest.raises(UserError, match="9 x 8 pixels"):
        HintPictures.open(tmp_path / "hints")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="pictures"):
            wish(hints=folder).record()
    with pytest.raises(UserError, match="remove it for small"):
        MakeOptions(hints=tmp_path / "hints").validate()
    assert not (tmp_path / "run").exists()
    names = [tmp_path / f"{i}.png" for i in (10, 9, 1)]
    for name in names:
        save_picture(name, np.zeros((8, 8, 3), np.float32))
    assert [file.name for file in HintPictures.open(tmp_path).files] == ["1.png", "9.png", "10.png"]


def test_steps_are_those_of_the_published_scripts():
    assert [PRESETS[name].steps[0] for name in ("sd15", "diffportrait3d")] == [50, 50]


def test_views_that_make_no_whole_windows_are_said(at_home, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(view_stages, "WINDOW", 2)
    told = []
    make(ASTRONAUT, copied(finished, tmp_path / "run"), wish(faithful=True, method="proxy", steps=1), told.append)
    warnings = [event.what for event in told if event.state == "warning"]
    assert any("3 views are not a multiple of 2" in text and "would drop the last 1" in text for text in warnings)


def test_cameras_of_an_earlier_run_stay_where_they_are(faithful_run, tmp_path):
    """Angles count from the networks' level; poses that a run has written are taken as they stand."""
    folder, _ = faithful_run
    frame = PublishedFrame.of(Portrait.load(folder / "portrait"))
    cameras = find_published_cameras(wish(orbit=folder / "views" / "transforms.json"), frame, FOCAL_SD15)
    for camera, theirs in zip(cameras, orbit(3), strict=True):
        np.testing.assert_allclose(camera.cam2world, theirs.cam2world, atol=1e-6)
    (tmp_path / "orbit.txt").write_text("0,10\n")
    assert find_published_cameras(wish(orbit=tmp_path / "orbit.txt"), frame, FOCAL_SD15)[
        0
    ].elevation == pytest.approx(10)


def test_what_is_finished_is_taken_up_again(finished, tmp_path):
    events = []
    make(ASTRONAUT, copied(finished, tmp_path / "run"), wish(views=4), events.append)
    states = {event.stage: event.state for event in events if event.state in ("kept", "done")}
    assert states["proxy"] == states["back"] == "kept" and states["views"] == "done"
    assert any(event.stage == "views" and event.state == "step" for event in events)


def test_the_other_preset_has_no_back_of_its_own_but_takes_a_photo(at_home, tmp_path, monkeypatch):
    """With the memory looked at, and mattes looked for, as everywhere but in this file."""
    monkeypatch.setattr(view_stages, "check_memory", CHECK_MEMORY)
    monkeypatch.setattr(published, "find_matte", find_matte)
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
