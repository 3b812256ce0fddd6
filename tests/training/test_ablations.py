"""Trainings of the view denoiser with one input left out, and views that are made without it."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ablations
from benchmarks.ablations import (
    ABLATIONS,
    STRANGER,
    AblatedViewTask,
    ablate_inputs,
    ablate_recipe,
    denoise_without,
    main,
    read_ablations,
    shrink_arc,
)
from portrait360.geometry.cameras import orbit
from portrait360.models.network_sizes import SMALL
from portrait360.models.weights.tensor_files import TensorFile
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.views import small_denoiser
from portrait360.pipeline.views.small_denoiser import (
    ViewWeights,
    denoise_small_views,
    load_view_weights,
    prepare_inputs,
)
from portrait360.synth.data.clips import identity_seed
from portrait360.training.data.view_arcs import VIEWS, ViewSample
from portrait360.training.recipes import RECIPES
from portrait360.training.tasks.view_denoiser import ViewTask
from tests.fixtures.samples import written
from tests.fixtures.view_samples import SIZE, TINY, fake, photograph_ball, untaught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("views"), map(fake, range(3)))


@pytest.fixture(scope="module")
def ball() -> tuple[Portrait, Proxy]:
    return photograph_ball()


@pytest.fixture
def stranger(ball, monkeypatch) -> Proxy:
    """A smaller, dark ball instead of a person, who takes long to make."""
    head = replace(ball[1], radius=ball[1].radius * np.float32(0.7), colours=ball[1].colours * np.float32(0.2))
    monkeypatch.setattr(ablations, "load_stranger", lambda: head)
    return head


def test_what_is_left_out_is_not_seen(folder, stranger):
    """Each of them takes away what it names, in training as at work, and nothing else."""
    path, all_views = folder / "0000000-0.tar", np.arange(VIEWS)
    rows = {
        word: AblatedViewTask(folder, folder, TINY, without=(word,)).row(path, all_views)
        for word in ("photo", "back", "hint")
    }
    whole = ViewTask(folder, folder, TINY).row(path, all_views)
    assert rows["photo"]["references"].std() == 0 and rows["back"]["references"][1].std() == 0
    assert torch.equal(rows["back"]["references"][0], whole["references"][0]) and whole["references"][1].std() > 0
    bare = AblatedViewTask(folder, folder, TINY, without=("base",)).row(path, all_views)
    assert torch.equal(bare["changes"], whole["changes"] + whole["base"]) and not bare["base"].any()
    for one in (rows["photo"], rows["back"], bare):
        assert torch.equal(one["hints"], whole["hints"])
    other = rows["hint"]
    assert not torch.equal(other["hints"], whole["hints"])
    assert torch.equal(other["references"], whole["references"])
    torch.testing.assert_close(other["changes"] + other["base"], whole["changes"] + whole["base"], atol=1e-5, rtol=0)


def test_smaller_views_keep_their_mean_colours_and_cover(folder):
    arc = ViewSample.load(folder / "0000001-0.tar")
    small = shrink_arc(arc, SIZE // 4)
    assert small.rgba.shape == (VIEWS, SIZE // 4, SIZE // 4, 4) and small.hint.shape[-1] == 8
    for whole, less, cover in ((arc.rgba, small.rgba, 3), (arc.hint, small.hint, 4)):
        np.testing.assert_allclose(less[..., cover].mean(), whole[..., cover].mean(), atol=0.5)
        means = [(p[..., :3] * (p[..., cover, None] / 255.0)).mean((0, 1, 2)) for p in (whole, less)]
        np.testing.assert_allclose(*means, atol=1.0)
    inside = small.depth > 0
    np.testing.assert_allclose(small.depth[inside], arc.depth[arc.depth > 0].mean(), atol=0.01)
    task = AblatedViewTask(folder, folder, TINY, without=(), size=SIZE // 4)
    assert task.name == f"views-{SIZE // 4}" and task.sample(0, 0)["hints"].shape[-1] == SIZE // 4


def test_arcs_are_shuffled_only_where_their_order_is_left_out(folder):
    arcs = [
        np.stack([task.draw_views(np.random.default_rng(seed)) for seed in range(8)])
        for task in (
            ViewTask(folder, folder, TINY, together=True),
            AblatedViewTask(folder, folder, TINY, together=True, without=("order",)),
        )
    ]
    assert (arcs[0] == np.arange(VIEWS)).all() and (np.sort(arcs[1]) == arcs[0]).all()
    assert (arcs[1] != arcs[0]).any(1).all()


def test_what_it_was_taught_without_is_kept_with_the_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(small_denoiser, "SMALL", TINY)
    for without in ((), ("back",), ("photo", "base")):
        path = tmp_path / f"{len(without)}.safetensors"
        task = AblatedViewTask(folder, folder, TINY, without=without)
        task.save(task.network(), path, {"recipe": "mine"})
        assert read_ablations(path) == without and TensorFile(path).metadata["recipe"] == "mine"
        weights = load_view_weights(path)
        assert not weights.together and not weights.network.training


def test_every_ablation_has_its_recipe(folder):
    for ablation in ABLATIONS:
        recipe, full_recipe = ablate_recipe(ablation), "views-together" if ablation == "order" else "views"
        task, full = (one.task(folder, folder, None) for one in (recipe, RECIPES[full_recipe]))
        assert isinstance(task, AblatedViewTask) and task.without == (ablation,) and task.config == SMALL
        assert task.name == f"{full_recipe}-without-{ablation}" and full.name == full_recipe
        assert (task.together, task.batch_size) == (ablation == "order", full.batch_size)
        assert recipe.options == RECIPES[full_recipe].options


def test_the_command_trains_its_own_recipes(folder, tmp_path, monkeypatch):
    for name in ("views-without-back", *(f"views-without-{ablation}" for ablation in ABLATIONS)):
        assert name not in RECIPES
        monkeypatch.setitem(RECIPES, name, None)  # so that it goes again after this test
        monkeypatch.delitem(RECIPES, name)
    monkeypatch.setattr(ablations, "SMALL", TINY)
    monkeypatch.setattr(ablations, "run_entry_point", lambda run: run())  # which would take the test's signals
    folders = ["--samples", str(folder), "--validation", str(folder), "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["ablations", "views-without-back", *folders, "--steps", "1"])
    main()
    metadata = TensorFile(tmp_path / "weights.safetensors").metadata
    assert (metadata["recipe"], metadata["without"], metadata["together"]) == ("views-without-back", "back", "no")


def test_nothing_left_out_gives_the_products_views(ball):
    weights, cameras = ViewWeights(untaught(3, 0.02)), orbit(4)
    for steps in (1, 2):
        ours = denoise_without(*ball, cameras, weights, (), size=SIZE, steps=steps)
        for view, expected in zip(
            ours, denoise_small_views(*ball, cameras, weights, size=SIZE, steps=steps), strict=True
        ):
            np.testing.assert_array_equal(view.rgb, expected.rgb)
            np.testing.assert_array_equal(view.alpha, expected.alpha)


def test_an_input_left_out_changes_no_other(ball):
    whole = prepare_inputs(*ball, orbit(3), SIZE)
    changed = {
        "photo": {"references"},
        "back": {"references"},
        "base": {"base"},
        "hint": {"visibility"},
        "order": set(),
    }
    for ablation, names in changed.items():
        inputs = asdict(ablate_inputs(whole, (ablation,)))
        assert {name for name, value in inputs.items() if not torch.equal(value, getattr(whole, name))} == names
    assert not ablate_inputs(whole, ("photo",)).references.any()
    assert torch.equal(
        ablate_inputs(whole, ("back",)).references, whole.references * torch.tensor([1, 0]).view(2, 1, 1, 1)
    )
    assert not ablate_inputs(whole, ("base",)).base.any() and not ablate_inputs(whole, ("hint",)).visibility.any()


def test_without_its_hint_a_head_becomes_the_strangers(ball, stranger):
    """A network that changes nothing returns what it is shown, and keeps none of the photo's pixels."""
    network, cameras = untaught(0, 0.0), orbit(4)
    network.unet.out[-1].weight.data.zero_()
    network.unet.out[-1].bias.data.zero_()
    views = denoise_without(*ball, cameras, ViewWeights(network), ("hint",), size=SIZE, steps=1)
    for view, camera in zip(views, cameras, strict=True):
        render = stranger.render(camera, SIZE)
        np.testing.assert_allclose(view.alpha, render.mask, atol=1e-5)
        np.testing.assert_allclose((view.rgb - render.rgb)[render.mask > 0.01], 0, atol=1e-3)


def test_threads_ask_for_the_stranger_one_after_the_other(monkeypatch):
    """Its face is found by networks that bear one thread only."""
    inside: list[int] = []

    def make() -> str:
        inside.append(1)
        time.sleep(0.02)
        assert len(inside) == 1
        inside.clear()
        return "somebody"

    monkeypatch.setattr(ablations, "_make_stranger", make)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: ablations.load_stranger(), range(8))) == {"somebody"}


def test_a_stranger_is_a_head_that_nobody_learns_from():
    assert STRANGER not in {identity_seed(split, i) for split in ("train", "test") for i in range(1000)}
