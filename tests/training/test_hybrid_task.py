"""The hybrid priors' task: only the branches learn, and what leads is made use of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.models.hybrid_priors import BranchWeights, HybridConfig, HybridPriors
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.pipeline.refinement.denoising_guide import GEOMETRY
from portrait360.training.data.view_arcs import ViewSample
from portrait360.training.recipes import find_recipe
from portrait360.training.tasks import hybrid_priors, view_denoiser
from portrait360.training.tasks.hybrid_priors import HybridTask, make_pair, predict, sample, simulate_fitting
from portrait360.training.tasks.view_denoiser import ViewTask
from portrait360.training.trainer import LoopOptions, concat_rows, train
from portrait360.utils.errors import UserError
from tests.fixtures.samples import written
from tests.fixtures.view_samples import TINY, fake

TINY_HYBRID = HybridConfig(TINY.unet, GEOMETRY, replace(TINY, cross_view=None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Heads of one proxy: nothing but their own views tells how light they are."""
    samples = [fake(0) for _ in range(6)]
    for seed, head in enumerate(samples):
        head.rgba[..., :3] = 30 + 40 * seed
    return written(tmp_path_factory.mktemp("views"), samples)


@pytest.fixture(scope="module")
def base(folder, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "weights.safetensors"
    network = ViewDenoiser(TINY)
    for value in network.parameters():  # as if it had learnt: frozen zeros would let nothing through
        if value.ndim > 1 and not value.any():
            torch.nn.init.normal_(value, std=0.05)
    ViewTask(folder, folder, TINY).save(network, path, {})
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(hybrid_priors, "SMALL_HYBRID", TINY_HYBRID)


def test_it_begins_with_the_view_denoisers_network_and_needs_one(folder, base):
    network = HybridTask(folder, folder, base).network()
    assert isinstance(network, HybridPriors)
    row = make_pair(ViewSample.load(folder / "0000000-0.tar"), 2, 3)
    x, t = torch.randn(row["changes"].shape), torch.ones(1)
    alone = view_denoiser.predict(network.base, x[None], t, row["hints"][None], row["references"], False)[0]
    torch.testing.assert_close(predict(network, x, t, row, BranchWeights()), alone, rtol=1e-5, atol=1e-5)
    for name, value in ViewTask(folder, folder, TINY, init_from=base).network().state_dict().items():
        assert torch.equal(network.base.state_dict().get(name, value), value)
    unread = predict(network, x, t, row | {"hints": 0 * row["hints"]}, BranchWeights())
    assert (unread - alone).abs().max() > 1e-3
    same = [n for n, v in network.explicit.named_parameters() if torch.equal(v, network.unet.get_parameter(n))]
    assert len(same) > 30
    with pytest.raises(UserError, match="`init_from="):
        find_recipe("hybrid").task(folder, folder, None)


def test_a_fitted_head_is_softer_and_keeps_its_place():
    sample = fake(0)
    made = simulate_fitting(sample, np.random.default_rng(1))
    same = simulate_fitting(sample, np.random.default_rng(1))
    assert np.array_equal(made.hint, same.hint) and not np.array_equal(made.hint, sample.hint)
    for part in (3, slice(5, 8)):  # what is the photo's, and normals
        assert np.array_equal(made.hint[..., part], sample.hint[..., part])
    covers = [one.hint[..., 4].astype(float) for one in (made, sample)]
    edges = [np.abs(np.diff(cover, axis=1)).max() for cover in covers]
    assert abs(covers[0].mean() - covers[1].mean()) < 2 and edges[0] < 0.9 * edges[1]
    inside = covers[1] == 255
    assert np.abs(made.hint[inside][:, :3].astype(float) - sample.hint[inside][:, :3]).mean() < 12


@pytest.mark.slow
def test_it_learns_from_what_leads_and_the_base_stays(folder, base, tmp_path):
    task = HybridTask(folder, folder, base)
    before = task.network().get_submodule("base").state_dict()
    said: list[dict] = []
    options = LoopOptions(rate=2e-3, warm=5, average=0.9, validate_every=40, save_minutes=1e9)
    network = train(task, tmp_path, options, steps=40, on_event=lambda step, figures: said.append(figures))
    assert all(torch.equal(v, before[n]) for n, v in network.get_submodule("base").state_dict().items())
    assert said[-1]["led"] > said[-1]["alone"] + 3
    row = make_pair(ViewSample.load(folder / "0000005-0.tar"), 4, 3)
    other = make_pair(ViewSample.load(folder / "0000000-0.tar"), 4, 3)
    swapped = row | {name: other[name] for name in ("projected", "driving")}
    led = [sample(network, one, BranchWeights()) for one in (row, swapped)]
    assert (led[0] - led[1]).abs().max() > 0.002  # how much it can be: the slow test below
    assert task.preview(network).shape == (4 * 32, 4 * 32, 3)
    task.save(network, tmp_path / "w.safetensors", {})
    again = HybridTask(folder, folder, tmp_path / "w.safetensors").network().eval()
    torch.testing.assert_close(
        sample(again, row, BranchWeights()), sample(network, row, BranchWeights()), atol=0.02, rtol=0
    )


@pytest.mark.slow
def test_nothing_but_what_leads_tells_how_light_a_head_is(folder, base, tmp_path):
    """And after a while it is made use of: shown another head's neighbour, the view is that one's."""
    options = LoopOptions(rate=2e-3, warm=5, average=0.9, validate_every=10**9, save_minutes=1e9)
    network = train(HybridTask(folder, folder, base), tmp_path, options, steps=200)
    rows = [make_pair(ViewSample.load(folder / f"000000{i}-0.tar"), 4, 3) for i in (0, 5)]
    colour = lambda one: float((one[:, :3] * one[:, 3:]).sum() / one[:, 3:].sum() / 3)  # noqa: E731
    for row in rows:
        dark, light = (row | {name: other[name] for name in ("projected", "driving")} for other in rows)
        assert colour(sample(network, light, BranchWeights())) > colour(sample(network, dark, BranchWeights())) + 0.04


def test_branches_are_left_out_row_by_row(folder, base):
    """The loss of a batch is the mean of its rows' own, each with what it is led by."""
    task = HybridTask(folder, folder, base)
    network = task.network().eval()
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim > 1 and not value.any():
                torch.nn.init.normal_(value, std=0.05)
    batch = task.add_noise(concat_rows([task.sample(i, 0) for i in range(2)]), torch.Generator().manual_seed(1))
    batch["led"] = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    rows = [{name: value[i : i + 1] for name, value in batch.items()} for i in range(4)]
    each = [task.loss(network, row) for row in rows]
    torch.testing.assert_close(task.loss(network, batch), torch.stack(each).mean(), rtol=1e-4, atol=0)
    led = [task.loss(network, row | {"led": torch.tensor([[True, True]])}) for row in rows]
    assert torch.equal(led[0], each[0]) and all(abs(a - b) > 1e-6 for a, b in zip(led[1:], each[1:], strict=True))
    shares = torch.cat([task.sample(i, 0)["led"] for i in range(60)]).float().mean(0)
    assert (abs(shares - 0.9) < 0.09).all()


def test_pairs_are_neighbours_of_one_head(folder, base):
    batch = HybridTask(folder, folder, base).sample(7, 1)
    again = HybridTask(folder, folder, base).sample(7, 1)
    assert all(torch.equal(value, again[name]) for name, value in batch.items())
    assert len(batch["changes"]) == 2 and batch["uv"].shape[-1] == 2 and batch["weight"].isfinite().all()
