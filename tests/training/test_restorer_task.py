"""The geometry restorer's task: nothing is changed at first, and it learns what the view denoiser sees in heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.models.geometry_restorer import RestorerConfig
from portrait360.models.triplane import TriplaneConfig
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.pipeline.proxy.proxy import LAYOUT
from portrait360.pipeline.refinement import geometry_restoration
from portrait360.pipeline.refinement.geometry_restoration import Restoration, RestoreConfig, load_restoration
from portrait360.pipeline.views.small_denoiser import ViewWeights
from portrait360.training.data.head_map_samples import Sample
from portrait360.training.data.identity_sampler import list_samples
from portrait360.training.recipes import find_recipe
from portrait360.training.tasks import geometry_restorer
from portrait360.training.tasks.geometry_restorer import RestorerTask, attach_network, make_row
from portrait360.training.trainer import LoopOptions, train
from portrait360.utils.errors import UserError
from tests.fixtures.samples import written
from tests.fixtures.view_samples import TINY

SIZES, HOW = TriplaneConfig(side=16, features=16, hidden=16, seen=4), RestoreConfig(size=32)


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
    monkeypatch.setattr(geometry_restorer, "SIZES", SIZES)
    monkeypatch.setattr(
        geometry_restorer, "make_restoration", lambda sizes: Restoration(sizes, RestorerConfig(16, (32, 32)))
    )
    torch.manual_seed(0)
    teacher = ViewWeights(ViewDenoiser(TINY).eval().requires_grad_(False))
    monkeypatch.setattr(geometry_restorer, "load_view_weights", lambda path: teacher)
    teachers = folder.parent / "teacher.safetensors"
    teachers.write_bytes(b"known by its name")
    return RestorerTask(folder, folder, teachers, how=HOW)


def test_at_first_heads_are_as_they_were(task, folder):
    network = task.network()
    one = Sample.load(list_samples(folder)[0])
    true, before, after = task.views(network, one)
    assert torch.allclose(before, after, atol=1e-6) and (true - before).abs().mean() > 0.03
    row = {name: value[0] for name, value in make_row(one).items()}
    head = attach_network(network, row)
    assert head.restorer is network.restorer and head.grids.abs().sum() > 0
    assert all(value.requires_grad for value in network.parameters())
    assert {id(p) for p in head.trainable_parameters()} == {id(p) for p in network.parameters()}


@pytest.mark.slow
def test_it_learns_what_the_teacher_sees_and_is_read_back(task, tmp_path, monkeypatch):
    light = torch.zeros(64, 1, 1)
    light[:48] = 0.25  # of all colours, and none of the cover
    monkeypatch.setattr(geometry_restorer.ViewGuide, "denoise", lambda self, latents, *rest: light.expand_as(latents))
    losses: list[float] = []

    def tell(step, figures):
        losses.extend([figures["loss"]] if "loss" in figures else [])

    options = LoopOptions(rate=3e-3, warm=1, average=0.0, validate_every=10**9, save_minutes=1e9)
    network = train(task, tmp_path, options, steps=25, on_event=tell)
    before, after = (task.validate(one)["restored"] for one in (task.network(), network))
    assert after > before + 1.5
    task.save(network, tmp_path / "mine.safetensors", {})
    monkeypatch.setattr(geometry_restoration, "make_restoration", geometry_restorer.make_restoration)
    again = load_restoration(tmp_path / "mine.safetensors", SIZES)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


def test_the_same_step_is_the_same_and_every_part_learns(task):
    network, losses = task.network(), []
    torch.nn.init.normal_(network.last.weight, std=0.1)
    torch.nn.init.normal_(network.restorer.last.weight, std=0.1)
    for _ in range(2):
        batch = task.add_noise(task.sample(3, 0), torch.Generator().manual_seed(5))
        losses.append(task.loss(network, batch))
    assert torch.equal(losses[0], losses[1])
    losses[0].backward()
    learning = {name.split(".")[0] for name, value in network.named_parameters() if value.grad.any()}
    assert learning == {"restorer", "first", "last"}
    assert not torch.equal(
        task.loss(network, task.add_noise(task.sample(4, 0), torch.Generator().manual_seed(5))), losses[0]
    )


def test_it_needs_a_teacher(folder):
    with pytest.raises(UserError, match="`init_from="):
        find_recipe("restorer").task(folder, folder, None)
