"""The geometry restorer's task: nothing is changed at first, and it learns what the view denoiser sees in heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.errors import UserError
from portrait360.models.restorer import RestorerConfig
from portrait360.models.triplane import TriplaneConfig
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.proxy import LAYOUT
from portrait360.refine.restore import Restoration, Restoring, load_restoration
from portrait360.small_views import ViewWeights
from portrait360.train import restorer_task
from portrait360.train.loop import LoopOptions, train
from portrait360.train.map_task import samples_in
from portrait360.train.recipes import find_recipe
from portrait360.train.restorer_task import RestorerTask, as_row, read_through
from portrait360.train.samples import Sample
from tests.samples import written
from tests.test_train_views import TINY

SIZES, HOW = TriplaneConfig(side=16, features=16, hidden=16, seen=4), Restoring(size=32)


def egg(seed: int) -> Sample:
    """Grey, of one radius; in truth lighter and thicker."""
    flat = lambda level: np.full((LAYOUT.rows, LAYOUT.columns, 3), level, np.uint8)  # noqa: E731
    rows = np.ones((LAYOUT.rows, LAYOUT.columns))
    thick = 0.24 + 0.01 * seed
    return Sample(
        flat(100), rows.astype(np.uint8), rows.astype(np.uint8), flat(100), (thick * rows).astype(np.float16),
        flat(160), (1.1 * thick * rows).astype(np.float16), flat(85), (255 * rows).astype(np.uint8),
        np.array([10.0 * seed, 0], np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("eggs"), map(egg, range(2)))


@pytest.fixture
def task(folder, monkeypatch) -> RestorerTask:
    monkeypatch.setattr(restorer_task, "SIZES", SIZES)
    monkeypatch.setattr(
        restorer_task, "restoration_for", lambda sizes: Restoration(sizes, RestorerConfig(16, (32, 32)))
    )
    torch.manual_seed(0)
    teacher = ViewWeights(ViewDenoiser(TINY).eval().requires_grad_(False))
    monkeypatch.setattr(restorer_task, "load_views", lambda path: teacher)
    teachers = folder.parent / "teacher.safetensors"
    teachers.write_bytes(b"known by its name")
    return RestorerTask(folder, folder, teachers, how=HOW)


def test_at_first_heads_are_as_they_were(task, folder):
    network = task.network()
    one = Sample.load(samples_in(folder)[0])
    true, before, after = task.views(network, one)
    assert torch.allclose(before, after, atol=1e-6) and (true - before).abs().mean() > 0.03
    row = {name: value[0] for name, value in as_row(one).items()}
    head = read_through(network, row)
    assert head.restorer is network.restorer and head.grids.abs().sum() > 0
    assert all(value.requires_grad for value in network.parameters())
    assert {id(p) for p in head.learnt()} == {id(p) for p in network.parameters()}


def test_it_learns_what_the_teacher_sees_and_is_read_back(task, tmp_path, monkeypatch):
    light = torch.zeros(64, 1, 1)
    light[:48] = 0.25  # of all colours, and none of the cover
    monkeypatch.setattr(restorer_task.ViewGuide, "denoised", lambda self, latents, *rest: light.expand_as(latents))
    losses: list[float] = []

    def tell(step, figures):
        losses.extend([figures["loss"]] if "loss" in figures else [])

    options = LoopOptions(rate=3e-3, warm=1, average=0.0, validate_every=10**9, save_minutes=1e9)
    network = train(task, tmp_path, options, steps=25, tell=tell)
    before, after = (task.validate(one)["restored"] for one in (task.network(), network))
    assert after > before + 1.5
    task.save(network, tmp_path / "mine.safetensors", {})
    monkeypatch.setattr("portrait360.refine.restore.restoration_for", restorer_task.restoration_for)
    again = load_restoration(tmp_path / "mine.safetensors", SIZES)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


def test_the_same_step_is_the_same_and_every_part_learns(task):
    network, losses = task.network(), []
    torch.nn.init.normal_(network.last.weight, std=0.1)
    torch.nn.init.normal_(network.restorer.last.weight, std=0.1)
    for _ in range(2):
        batch = task.noised(task.sample(3, 0), torch.Generator().manual_seed(5))
        losses.append(task.loss(network, batch))
    assert torch.equal(losses[0], losses[1])
    losses[0].backward()
    learning = {name.split(".")[0] for name, value in network.named_parameters() if value.grad.any()}
    assert learning == {"restorer", "first", "last"}
    assert not torch.equal(
        task.loss(network, task.noised(task.sample(4, 0), torch.Generator().manual_seed(5))), losses[0]
    )


def test_it_needs_a_teacher(folder):
    with pytest.raises(UserError, match="--begin"):
        find_recipe("restorer").task(folder, folder, None)
