"""Training of the published networks: the checkpoint it begins with, and what each stage may change."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from portrait360.apps.cli import main
from portrait360.apps.cli.doctor import check_presets
from portrait360.models.unet import UNet
from portrait360.models.weights import registry
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.init_checkpoint import init_checkpoint
from portrait360.models.weights.installed import find_weights, read_manifest, require_weights
from portrait360.models.weights.store import StoredModel, load_spec, load_view_denoiser, verify
from portrait360.synth.data.webdataset import write_shards
from portrait360.synth.data.writer import write_dataset, write_options
from portrait360.training.data.orbits import Orbit, read_orbits
from portrait360.training.recipes import RECIPES, find_recipe
from portrait360.training.session import train_recipe
from portrait360.training.tasks import published
from portrait360.training.tasks.published import STAGES, STEPS, DenoiserTask
from portrait360.training.trainer import LoopOptions, train
from portrait360.utils.errors import UserError
from portrait360.utils.storage import Storage
from tests.fixtures import tiny
from tests.fixtures.engines import Here
from tests.fixtures.tiny_published import SIZE, small

OPTIONS = LoopOptions(rate=3e-3, warm=1, steady=10**9, spread=0.999, average=0, save_minutes=1e9, validate_every=30)


def test_it_begins_with_stable_diffusion_and_adds_nothing(sd15, tmp_path):
    """Without motion weights the whole network, shown a hint and neighbours, says what Stable Diffusion says."""
    init_checkpoint(sd15, tmp_path / "first", small("diffportrait360"))
    assert verify(tmp_path / "first") == []
    network = load_view_denoiser(tmp_path / "first").float()
    draw = torch.Generator().manual_seed(0)
    x, hints = torch.randn(4, 4, 16, 16, generator=draw), torch.rand(4, 3, SIZE, SIZE, generator=draw)
    t, context = torch.tensor([300]), torch.randn(1, 5, tiny.UNET.context_dim, generator=draw)
    said = network(x, t, context, hints=hints, views=4)
    assert torch.equal(said, network.unet(x, t, context)) and said.std() > 0.01
    state = {n: v for n, v in load_file(tmp_path / "first" / "unet.safetensors").items() if "_motion_" not in n}
    alone = UNet(tiny.UNET)
    alone.load_state_dict(state)
    torch.testing.assert_close(said, alone(x, t, context), atol=1e-6, rtol=0)
    memory = network.encode_references(x[:1][None], t, context)
    record: list[torch.Tensor] = []
    alone(x[:1], t, context, record=record)
    assert all(torch.equal(a, b) for a, b in zip(memory, record, strict=True))  # R sees what Stable Diffusion sees


def test_motion_weights_are_where_v_begins(begun, motion):
    state = load_view_denoiser(begun["plain"]).unet.state_dict()
    brought, names = (
        torch.load(motion, weights_only=True),
        tiny.animatediff(n for n in state if "_motion_module" in n),
    )
    assert brought.keys() == names.keys()
    for theirs, ours in names.items():
        assert torch.equal(brought[theirs].half(), state[ours]), ours


def test_the_same_seed_gives_the_same_bytes(sd15, tmp_path):
    for name in ("a", "b"):
        init_checkpoint(sd15, tmp_path / name, small("back-head"), seed=5)
    for path in (tmp_path / "a").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_does_not_fit_is_said(sd15, motion, begun, heads, tmp_path):
    with pytest.raises(UserError, match="leave out `motion=`"):
        init_checkpoint(sd15, tmp_path / "x", small("back-head"), motion=motion)
    with pytest.raises(UserError, match="cannot be trained; choose from"):
        init_checkpoint(sd15, tmp_path / "x", "sd15")
    with pytest.raises(UserError, match="use sd15"):
        init_checkpoint(begun["plain"], tmp_path / "x", small("back-head"))
    with pytest.raises(UserError, match="cannot train back-head"):
        DenoiserTask(heads, heads, "sd15-cross-view", begun["back-head"])
    with pytest.raises(UserError, match="train init"):
        find_recipe("sd15-control").task(heads, heads, None)
    with pytest.raises(UserError, match="needs at least 2"):
        read_orbits(heads / "nothing")
    assert list(tmp_path.iterdir()) == []


def task_of(stage: str, begun: dict[str, Path], heads: Path) -> DenoiserTask:
    return DenoiserTask(heads, heads, stage, begun["back-head" if stage == "sd15-back" else "plain"], size=SIZE)


LEARNS = {
    "sd15-appearance": ("appearance",),
    "sd15-control": ("control",),
    "sd15-cross-view": ("unet",),
    "sd15-back": ("appearance", "control"),
}


def test_every_stage_has_a_recipe():
    assert STAGES.keys() <= RECIPES.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_learns_its_own_part_alone(begun, heads, tmp_path, stage):
    task = task_of(stage, begun, heads)
    figures = []
    network = train(task, tmp_path / "run", OPTIONS, steps=2, on_event=lambda step, said: figures.append(said))
    task.save(network, tmp_path / "run" / task.saved, {"recipe": stage})
    assert verify(tmp_path / "run" / task.saved) == []
    assert load_spec(tmp_path / "run" / task.saved) == load_spec(task.init_from)
    for part in ("unet", "appearance", "control", "vae", "empty_prompt"):
        before, after = (
            load_file(folder / f"{part}.safetensors") for folder in (task.init_from, tmp_path / "run" / task.saved)
        )
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert bool(changed) == (part in LEARNS[stage]), part
        if part == "unet":
            assert all("_motion_module" in name for name in changed)  # Stable Diffusion stays as it is
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    learnt = {name for name, value in task.network().named_parameters() if value.requires_grad}
    assert state["network"].keys() == learnt  # nothing that stays is written every half hour


@pytest.mark.slow
def test_it_learns_and_the_next_stage_goes_on_there(begun, heads, tmp_path):
    """On the same clips and noise the error falls at every level; the next stage begins where this one ended."""
    figures: list[dict] = []
    task = task_of("sd15-back", begun, heads)
    whole = train(task, tmp_path / "whole", OPTIONS, steps=30, on_event=lambda step, said: figures.append(said))
    before, after = task.validate(task.network()), figures[-1]
    assert all(after[name] < 0.95 * value for name, value in before.items())
    task.save(whole, tmp_path / "next", {})
    again = DenoiserTask(heads, heads, "sd15-back", tmp_path / "next", size=SIZE)
    assert again.validate(again.network())["error at 500"] == pytest.approx(figures[-1]["error at 500"], rel=0.05)
    shown = again.preview(again.network())
    assert shown.shape == (4 * 3 * SIZE, SIZE, 3) and shown.min() >= 0 and shown.max() <= 1


@pytest.mark.slow
def test_a_stopped_stage_goes_on_alike(begun, heads, tmp_path):
    task = task_of("sd15-back", begun, heads)
    whole = train(task, tmp_path / "whole", OPTIONS, steps=4)
    for steps in (2, 4):
        parts = train(task, tmp_path / "parts", OPTIONS, steps=steps)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_a_clip_is_of_one_head_from_the_cameras_it_says(begun, heads):
    """Neighbours in even steps that go on around; hints of another head from the same places."""
    task = task_of("sd15-cross-view", begun, heads)
    rng = np.random.default_rng(0)
    for _ in range(20):
        asked = np.diff(task.draw_azimuths(rng))
        assert np.allclose(asked, asked[0]) and STEPS[0] <= asked[0] <= STEPS[1]
    clip = task.draw_clip(task.train[0], task.train, np.random.default_rng(3))
    assert clip["views"].shape == clip["hints"].shape == (1, 8, 3, SIZE, SIZE)
    assert clip["references"].shape == (1, 2, 3, SIZE, SIZE)
    assert not torch.equal(clip["views"], clip["hints"])
    assert task_of("sd15-back", begun, heads).draw_clip(task.train[0], task.train, rng)["references"].shape[1] == 1


def as_published(stage: str, begun: dict[str, Path], heads: Path) -> DenoiserTask:
    start = begun["back-head" if stage == "sd15-back" else "plain"]
    return DenoiserTask(heads, heads, stage, start, size=SIZE, as_published=True)


def drawn(task: DenoiserTask) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths of many clips: of their views, and of their references."""
    rng = np.random.default_rng(0)
    clips = [(task.draw_azimuths(rng), task.draw_references(rng)) for _ in range(3000)]
    return tuple(np.stack(part) for part in zip(*clips, strict=True))


def test_angles_are_drawn_as_published_where_that_is_asked_for(begun, heads):
    """Whole steps of 72; front -45 to 40, back 145 to 225; F makes any back view of a front up to 60 aside."""
    views, references = drawn(as_published("sd15-cross-view", begun, heads))
    apart = np.diff(views)
    assert set(np.unique(apart)) == {10, 15, 20, 25, 30} and np.allclose(apart, apart[:, :1])
    assert set(np.unique(views[:, 0])) == set(range(0, 360, 5))
    assert set(np.unique(references[:, 0])) == set(range(-45, 45, 5))
    assert set(np.unique(references[:, 1])) == set(range(145, 230, 5))
    views, _ = drawn(as_published("sd15-appearance", begun, heads))
    assert set(np.unique(views)) == set(range(0, 360, 5)) and np.diff(views).std() > 50  # anywhere
    views, references = drawn(as_published("sd15-back", begun, heads))
    assert set(np.unique(views)) == set(range(150, 215, 5)) and views.shape[1] == 1
    assert set(np.unique(references)) == set(range(-60, 65, 5)) and references.shape[1] == 1
    ours, references = drawn(task_of("sd15-back", begun, heads))
    assert (ours == 180).all() and np.abs(references).max() <= 15
    halves = as_published("sd15-control", begun, heads).schedule.alpha_bar
    assert torch.equal(halves, halves.half().double())  # the tables of the published program
    assert not torch.equal(task_of("sd15-control", begun, heads).schedule.alpha_bar, halves)


def test_the_loop_is_the_published_one_where_that_is_asked_for(begun, heads):
    ours, theirs = (find_recipe("sd15-control", asked).options for asked in (False, True))
    assert (theirs.clip, theirs.decay, theirs.bf16, theirs.rate) == (0.5, 0.0, False, 1e-5)
    assert (ours.clip, ours.decay, ours.bf16, ours.rate) == (1.0, 0.01, True, 1e-5)
    assert find_recipe("sd15-control", True).task(heads, heads, begun["plain"]).as_published
    assert not find_recipe("sd15-control").task(heads, heads, begun["plain"]).as_published
    with pytest.raises(UserError, match="sd15-appearance"):
        find_recipe("map", as_published=True)


def test_heads_in_tars_are_those_in_folders(heads, tmp_path):
    place = Storage(str(tmp_path))
    what = write_options(count=3, views=12, size=SIZE, kind="human")
    write_shards(place, range(2), what[1], each=1, engine=Here())
    for one, other in zip(read_orbits(heads), read_orbits(tmp_path), strict=False):
        assert one.name == other.name and np.array_equal(one.azimuths, other.azimuths)
        assert all(np.array_equal(one.load(i, 32), other.load(i, 32)) for i in range(12))
    (tmp_path / "heads-000001.tar").write_bytes((tmp_path / "heads-000001.tar").read_bytes()[:5000])
    with pytest.raises(UserError, match="not a complete tar"):
        read_orbits(tmp_path)


def test_both_layouts_of_orbits_are_read(heads, tmp_path):
    ours = read_orbits(heads)
    assert [len(orbit.pictures) for orbit in ours] == [12, 12, 12]
    np.testing.assert_allclose(ours[0].azimuths, np.arange(12) * 30, atol=1e-3)
    for head in ("a", "b"):
        (tmp_path / head).mkdir()
        for i in range(72):
            Image.fromarray(np.full((64, 64, 3), i, np.uint8)).save(tmp_path / head / f"{i:03d}.png")
    (tmp_path / "notes").mkdir()
    theirs = read_orbits(tmp_path)
    assert [orbit.name for orbit in theirs] == ["a", "b"]
    assert theirs[0].nearest(np.array([0.0, 4.9, 359.0, 180.0])).tolist() == [0, 1, 0, 36]
    assert theirs[0].load(36, 4).mean() * 255 == pytest.approx(36)


def test_see_through_pictures_stand_before_white(tmp_path):
    Image.fromarray(np.zeros((64, 64, 4), np.uint8)).save(tmp_path / "x.png")
    assert Orbit("x", (tmp_path / "x.png",), np.zeros(1)).load(0, 4).min() == 1


def test_an_import_gives_the_pieces_that_sampling_asks_for(begun):
    networks = StoredModel(begun["plain"])
    assert networks.prompt().ndim == 3 and not networks.vae().training and not networks.denoiser().training
    assert networks.denoiser().unet.config == tiny.UNET


def test_from_the_command_line(sd15, heads, tmp_path, monkeypatch):
    """init, then a stage, then one that goes on: folders like an import's."""
    monkeypatch.setitem(registry.MODEL_SPECS, "back-head", small("back-head"))
    monkeypatch.setattr(published, "DenoiserTask", partial(DenoiserTask, size=SIZE))
    first, run = tmp_path / "first", tmp_path / "run"
    asked = ["train", "init", "--from", str(sd15), "--as", "back-head", "-o", str(first)]
    assert CliRunner().invoke(main.app, asked, catch_exceptions=False).output.endswith(f"back-head: {first}\n")
    common = ["--samples", str(heads), "--validation", str(heads), "--device", "cpu"]
    asked = ["train", "run", "sd15-back", *common, "--begin", str(first), "-o", str(run), "--steps", "1"]
    assert CliRunner().invoke(main.app, asked, catch_exceptions=False).output.endswith(f"1 steps -> {run}\n")
    assert verify(run / "weights") == [] and load_spec(run / "weights").name == "back-head"


def test_a_folder_belongs_to_one_recipe_and_one_checkpoint(begun, heads, sd15, tmp_path):
    task = task_of("sd15-control", begun, heads)
    train(task, tmp_path / "run", OPTIONS, steps=1)
    with pytest.raises(UserError, match="'sd15-control' that was started with a different recipe"):
        train(task_of("sd15-appearance", begun, heads), tmp_path / "run", OPTIONS, steps=2)
    init_checkpoint(sd15, tmp_path / "other", small("diffportrait360"), seed=9)
    other = DenoiserTask(heads, heads, "sd15-control", tmp_path / "other", size=SIZE)
    with pytest.raises(UserError, match="different checkpoint; use the same one"):
        train(other, tmp_path / "run", OPTIONS, steps=2)
    with pytest.raises(UserError, match="not a folder of weights"):
        DenoiserTask(heads, heads, "sd15-control", sd15)


def test_a_beginning_is_never_taken_for_trained_weights(begun, heads, sd15, tmp_path, monkeypatch):
    """Neither `make` nor `doctor` does, and no command writes over what another one left."""
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(begun["plain"].parent))
    assert find_weights("back-head") is None
    said = {line.text for line in check_presets(begun["plain"].parent)}
    assert any("initial checkpoint of back-head" in text for text in said)
    task = task_of("sd15-back", begun, heads)
    task.save(task.network(), tmp_path / "back-head", {})
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    assert find_weights("back-head") == tmp_path / "back-head"
    import_weights(sd15, tmp_path / "brought", small("sd15"))
    for place in ("back-head", "brought"):
        with pytest.raises(UserError, match="contains other files"):
            init_checkpoint(sd15, tmp_path / place, small("back-head"))
    with pytest.raises(UserError, match="contains other files"):
        task.save(task.network(), tmp_path / "brought", {})
    (tmp_path / "back-head" / "vae.safetensors").write_bytes(b"less")
    with pytest.raises(UserError, match=r"vae.safetensors has 4 bytes, expected \d+; import these weights again"):
        require_weights(("back-head",), "It")
    assert any(line.mark == "!!" and "vae" in line.text for line in check_presets(tmp_path))


def test_orbits_that_are_none_are_refused_before_anything_is_trained(heads, tmp_path):
    for head in ("a", "b"):
        shutil.copytree(sorted(heads.iterdir())[0], tmp_path / "bad" / head)
    Image.new("RGB", (64, 48)).save(tmp_path / "bad" / "a" / "000.png")
    with pytest.raises(UserError, match="000.png"):
        read_orbits(tmp_path / "bad")
    write_dataset(tmp_path / "high", count=2, views=12, size=SIZE, kind="human", elevation=20)
    with pytest.raises(UserError, match="0 usable orbits, .* within 15 degrees of the horizon"):
        read_orbits(tmp_path / "high")


def test_a_short_run_has_its_figures_and_says_how_long_it_was(begun, heads, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DenoiserTask", partial(DenoiserTask, size=SIZE))
    how = {"init_from": begun["back-head"], "minutes": None, "device": "cpu"}
    for steps, told in ((2, 2), (1, 2)):  # what is finished already is not begun anew
        assert train_recipe("sd15-back", heads, heads, tmp_path / "run", steps=steps, **how) == told
    source = read_manifest(tmp_path / "run" / "weights")["source"]
    assert json.loads(source["figures"])["error at 500"] > 0 and source["recipe"] == "sd15-back"
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 1
