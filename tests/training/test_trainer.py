"""Training: that it learns, and that to be stopped changes nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from portrait360.apps.cli import main
from portrait360.diffusion.noise_levels import FROM_NOISE, draw_noise_levels
from portrait360.models.weights.tensor_files import TensorFile
from portrait360.pipeline.proxy.learned_completion import load_completer
from portrait360.training.data import avatar_view_samples, head_map_samples, reader_samples, view_samples
from portrait360.training.data.head_map_samples import Sample
from portrait360.training.data.identity_sampler import sample_for_step
from portrait360.training.distributed import ProcessGroup
from portrait360.training.recipes import RECIPES, Recipe, find_recipe
from portrait360.training.session import train_recipe
from portrait360.training.tasks.head_map import MAPS, MapTask, augment, bend
from portrait360.training.trainer import LoopOptions, learning_rate_at, train
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.errors import UserError
from portrait360.utils.images import load_picture
from portrait360.utils.local_server import free_port
from portrait360.utils.parallel.workers import defer_signals
from tests.fixtures.map_samples import TINY, fake
from tests.fixtures.samples import written

OPTIONS = LoopOptions(rate=2e-3, warm=5, average=0.9, validate_every=20, save_minutes=1e9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = written(tmp_path_factory.mktemp("samples"), map(fake, range(4)))
    fake(9).save(place / "0000009-0.npz")  # of an identity that is not finished
    return place


@pytest.fixture
def task(folder) -> MapTask:
    return MapTask(folder, folder, TINY, batch=2)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_run_that_is_stopped_ends_as_one_that_is_not(task, tmp_path):
    whole = train(task, tmp_path / "whole", OPTIONS, steps=6)

    class Stop(Exception):
        pass

    def stop(step, figures):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        train(task, tmp_path / "stopped", OPTIONS, steps=6, on_event=stop)
    steps: list[int] = []
    resumed = train(task, tmp_path / "stopped", OPTIONS, steps=6, on_event=lambda step, figures: steps.append(step))
    assert steps == [3, 4, 5, 6] and same(resumed, whole)
    assert not same(train(task, tmp_path / "stopped", OPTIONS, steps=7), whole)


def apart(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Mean difference of all weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return float(torch.cat([(a - b).abs().flatten() for a, b in pairs]).mean())


def one_of_two(rank: int, port: int, folder: Path, output: Path) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    exact = replace(OPTIONS, bf16=False)
    RECIPES["tiny"] = Recipe(lambda train, val, init_from: MapTask(train, val, TINY, batch=2), exact)
    train_recipe("tiny", folder, folder, output, init_from=None, minutes=None, steps=2, device="cpu")


def test_parts_do_not_change_the_steps(task, tmp_path):
    exact = replace(OPTIONS, bf16=False)
    whole = train(task, tmp_path / "whole", exact, steps=2)
    parts = train(task, tmp_path / "parts", replace(exact, parts=2), steps=2)
    other = train(task, tmp_path / "other", replace(exact, seed=1), steps=2)
    assert apart(parts, whole) < 1e-6 < 1e-4 < apart(other, whole)
    with pytest.raises(
        UserError, match="2 samples a step cannot be divided evenly among 1 processes with 3 parts each"
    ):
        train(task, tmp_path / "uneven", replace(exact, parts=3), steps=2)
    assert not (tmp_path / "uneven" / "state.pt").exists()  # nothing stands in the way of another --batch


@pytest.mark.slow
def test_a_second_process_does_not_change_the_steps(task, folder, tmp_path):
    exact = replace(OPTIONS, bf16=False)
    whole = train(task, tmp_path / "whole", exact, steps=2)
    context = multiprocessing.get_context("spawn")
    port = free_port(0)
    both = [context.Process(target=one_of_two, args=(rank, port, folder, tmp_path / "both")) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert len([path for path in (tmp_path / "both").iterdir() if "tfevents" in path.name]) == 1  # one of them writes
    assert (tmp_path / "both" / "weights.safetensors").is_file()
    assert apart(train(task, tmp_path / "both", exact, steps=2), whole) < 1e-6


def test_it_learns_and_the_average_beats_its_start(task, tmp_path):
    losses: list[float] = []
    figures: list[dict] = []

    def tell(step, said):
        losses.append(said["loss"])
        figures.extend([said] if "colour" in said else [])

    train(task, tmp_path, OPTIONS, steps=40, on_event=tell)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    last = figures[-1]
    assert last["colour"] < 0.5 * last["colour of the proxy"] and last["radius"] < 0.5 * last["radius of the proxy"]


def test_a_run_is_told_in_figures_and_pictures_and_leaves_weights(folder, tmp_path, monkeypatch):
    recipe = Recipe(lambda train, val, init_from: MapTask(train, val, TINY, init_from=init_from, batch=2), OPTIONS)
    monkeypatch.setitem(RECIPES, "tiny", recipe)
    asked = {"minutes": None, "device": "cpu"}
    assert train_recipe("tiny", folder, folder, tmp_path, init_from=None, steps=20, **asked) == 20
    (line,) = (json.loads(text) for text in (tmp_path / "curve.jsonl").read_text().splitlines())
    assert line["step"] == 20 and {"loss", "colour", "radius", "sharpness"} <= set(line)
    assert load_picture(tmp_path / "pictures" / "0000020.png").rgb.shape[2] == 3
    assert any("tfevents" in path.name for path in tmp_path.iterdir())
    said = TensorFile(tmp_path / "weights.safetensors").metadata
    assert said["recipe"] == "tiny" and said["samples"] == "4" and json.loads(said["figures"])["step"] == 20
    begun = MapTask(folder, folder, TINY, init_from=tmp_path / "weights.safetensors").network()
    loaded = load_completer(tmp_path / "weights.safetensors")
    assert same(begun, loaded) and all(value.requires_grad for value in begun.parameters())


def test_it_stops_in_time_and_with_the_same_settings_alone(task, tmp_path):
    steps: list[int] = []
    train(task, tmp_path, OPTIONS, minutes=0, on_event=lambda step, figures: steps.append(step))
    assert steps == [] and (tmp_path / "state.pt").is_file()
    with pytest.raises(UserError, match="a different set of options"):
        train(task, tmp_path, LoopOptions(rate=1), steps=1)


def test_samples_of_unfinished_identities_do_not_count(folder, tmp_path):
    assert len(MapTask(folder, folder, TINY).train) == 4
    with pytest.raises(UserError, match="contains no samples; make some with `portrait360 train samples map -o "):
        MapTask(tmp_path, tmp_path, TINY)
    with pytest.raises(UserError, match="no recipe 'magic'; choose from map"):
        find_recipe("magic")


@pytest.mark.parametrize(
    ("recipe", "begin", "output", "told"),
    [
        ("views", None, "run", "-0.npz is a sample of another kind"),
        ("map", "nowhere.safetensors", "new", "nowhere.safetensors does not exist"),
        ("map", None, "a.txt", "a.txt.* cannot be a folder"),
    ],
)
def test_what_cannot_be_trained_is_told_plainly(folder, tmp_path, recipe, begin, output, told):
    (tmp_path / "a.txt").write_text("a")
    asked = {"init_from": begin and tmp_path / begin, "minutes": None, "steps": 1, "device": "cpu"}
    with pytest.raises(UserError, match=told):
        train_recipe(recipe, folder, folder, tmp_path / output, **asked)
    assert not (tmp_path / "new").exists()


def test_a_damaged_sample_is_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK junk")
    with pytest.raises(UserError, match="x.npz is damaged"):
        Sample.load(tmp_path / "x.npz")


def test_samples_are_made_by_the_command_as_by_the_module(monkeypatch, tmp_path):
    """Each kind calls its own maker, with the options that were given."""
    calls = []
    monkeypatch.setattr(head_map_samples, "generate", lambda make, *rest: calls.append((make, rest)))
    options = {
        "map": (["--portraits", "3"], head_map_samples.make_samples, {"portraits": 3}),
        "reader": (["--worn", "0.5", "--pictures", "2"], reader_samples.make_samples, {"worn": 0.5, "pictures": 2}),
        "views": (["--method", "proxy"], view_samples.make_view_samples, {"method": "proxy"}),
        "avatar-views": (
            ["--arcs", "2", "--real", "0.5", "--size", "64"],
            avatar_view_samples.make_avatar_view_samples,
            {"arcs": 2, "real": 0.5, "size": 64},
        ),
    }
    for kind, (words, maker, chosen) in options.items():
        words = ["train", "samples", kind, "-o", str(tmp_path), "--split", "val", "--first", "5", *words]
        assert CliRunner().invoke(main.app, [*words, "--count", "7"]).exit_code == 0
        make, rest = calls.pop()
        assert (make.func, make.keywords, rest) == (maker, chosen, (tmp_path, "val", 5, 7, 2))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["magic"], "no samples of the kind 'magic'; choose from reader, map, views, avatar-views"),
        (["map", "--worn", "0.5"], "--worn is for the samples of reader; leave it out for map"),
        (["views", "--method", "magic"], "no method 'magic'"),
        (["map", "--split", "x"], "no split 'x'"),
        (["reader", "--skins", "nowhere"], "nowhere"),
    ],
)
def test_samples_that_cannot_be_made_are_one_sentence(tmp_path, words, told):
    done = CliRunner().invoke(main.app, ["train", "samples", *words, "-o", str(tmp_path / "s")])
    assert isinstance(done.exception, UserError) and told in str(done.exception)
    assert not (tmp_path / "s").exists()


def test_samples_that_are_stopped_leave_one_sentence(tmp_path):
    command = ["-m", "portrait360", "train", "samples", "map"]
    asked = [*command, "-o", str(tmp_path / "s"), "--count", "2", "--workers", "1"]
    with subprocess.Popen([sys.executable, *asked], stderr=subprocess.PIPE, text=True) as program:
        while not (tmp_path / "s").is_dir():
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        said = program.communicate(timeout=60)[1]
    assert program.returncode == 130
    assert said.splitlines()[-1] == "portrait360: Stopped. Run the same command again to resume."


def test_a_program_that_is_stopped_leaves_one_sentence(capsys):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as ended:
            run_entry_point(lambda: os.kill(os.getpid(), signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "portrait360: Stopped. Run the same command again to resume.\n"


def test_every_sample_of_every_step_is_one_of_its_own(task):
    seen = [task.sample(*where)["hints"] for where in ((3, 0), (3, 1), (4, 0), (4, 1))]
    assert torch.equal(task.sample(3, 0)["hints"], seen[0])
    assert all(not torch.equal(one, other) for one, other in combinations(seen, 2))


def test_nobody_comes_again_before_everybody_has_come():
    """Processes take their places of every step; all of them together see every identity once a round."""
    identities = [[(name, i) for i in range(own)] for name, own in (("a", 2), ("b", 1), ("c", 4), ("d", 2), ("e", 2))]
    rounds = [[sample_for_step(identities, turn, 7) for turn in range(5 * lap, 5 * lap + 5)] for lap in range(4)]
    assert all(sorted(name for name, _ in lap) == list("abcde") for lap in rounds)
    assert {one for lap in rounds for one in lap} == {one for own in identities for one in own}
    assert len({tuple(name for name, _ in lap) for lap in rounds}) > 1  # not always in the same order
    places = [list(ProcessGroup(rank, 4).local_indices(8, 2)) for rank in range(4)]
    assert sum(places, []) == list(range(8))


def test_a_varied_sample_is_still_one_head():
    """What is done to the photo is done to the truth: where they agreed they still do, but for the proxy's dents."""
    one = replace(fake(0), photo=fake(0).rgb, proxy_radius=fake(0).radius)
    colours, radii = [], []
    for seed in range(12):
        other = augment(one, np.random.default_rng(seed))
        np.testing.assert_array_equal(other.photo, other.rgb)
        assert np.abs((other.proxy_radius - other.radius).astype(np.float32)).max() < 0.04
        colours.append(other.rgb.mean((0, 1)))
        radii.append(float(other.radius.astype(np.float32).mean()))
        assert {name: getattr(other, name).dtype for name in MAPS} == {
            name: getattr(one, name).dtype for name in MAPS
        }
    assert np.std(colours, 0).min() > 5 and np.std(radii) > 0  # many heads of one
    assert {name for name, value in vars(one).items() if value.ndim > 1} == set(MAPS)


def test_a_bent_head_closes_around_and_keeps_its_features():
    """A picture that runs evenly around is bent by a few cells; the last column stays beside the first."""
    columns = 256
    turn = np.cos(np.arange(columns) * 2 * np.pi / columns)[None, :, None].repeat(176, 0).repeat(3, 2)
    rgb = np.round(127.5 + 127.5 * turn).astype(np.uint8)
    flat = np.full((176, columns), 0.25, np.float16)
    one = replace(fake(0), **(dict.fromkeys(MAPS, flat) | {"rgb": rgb}))
    moved = 0.0
    for seed in range(6):
        other = bend(one, np.random.default_rng(seed))
        step = np.abs(np.diff(other.rgb.astype(float), axis=1, append=other.rgb[:, :1].astype(float)))
        assert step.max() < 12  # evenly 3.2 at most
        moved = max(moved, np.abs(other.rgb.astype(float) - rgb).max())
        close = np.diff(other.radius.astype(np.float32), axis=1, append=other.radius[:, :1].astype(np.float32))
        assert np.abs(close).max() < 0.01
    assert 6 < moved < 90


def test_noise_levels_are_in_range_and_often_one():
    t = draw_noise_levels(20_000, torch.Generator().manual_seed(0))
    assert t.min() > 0 and t.max() == 1 and abs(float((t == 1).float().mean()) - FROM_NOISE) < 0.02


def test_the_rate_rises_stays_and_falls():
    rates = [learning_rate_at(step, LoopOptions(rate=1, warm=10, steady=100)) for step in (0, 9, 50, 100, 400)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5])


@pytest.fixture
def interruptible():
    """Whoever starts the tests in the background has told them not to hear it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_waits_for_the_end_of_a_step():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with defer_signals():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")
        done.append("nothing more")
    assert done == ["all of it"]


def test_what_begins_with_weights_has_an_average_of_its_own(task, folder, tmp_path):
    task.save(task.network(), tmp_path / "w.safetensors", {})
    begun = MapTask(folder, folder, TINY, init_from=tmp_path / "w.safetensors", batch=2)
    folders = [train(begun, tmp_path / f"{i}", OPTIONS, steps=i) for i in (1, 3)]
    state = torch.load(tmp_path / "3" / "state.pt", weights_only=True)
    assert any(not torch.equal(state["network"][name], value) for name, value in state["averaged"].items())
    assert apart(*folders) > 0
