"""The small view denoiser's samples and task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.geometry.cameras import azimuth_between, focal_from_fov, orbit
from portrait360.models.network_sizes import SMALL
from portrait360.models.weights.tensor_files import TensorFile
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.views import small_denoiser
from portrait360.pipeline.views.pixel_latents import HINT_CHANNELS, depth_to_space, space_to_depth
from portrait360.pipeline.views.small_denoiser import (
    RAMP,
    ViewWeights,
    denoise_small_views,
    harden_alpha,
    load_view_weights,
)
from portrait360.training.data.view_arcs import ViewSample, random_arc
from portrait360.training.tasks.view_denoiser import ViewTask, as_tensors, decode_views, sample
from portrait360.training.trainer import LoopOptions, train
from tests.fixtures.samples import written
from tests.fixtures.view_samples import SIZE, TINY, fake, photograph_ball, untaught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("views"), map(fake, range(3)))


def test_the_small_denoiser_is_given_as_many_hints_as_there_are():
    assert SMALL.control.hint_channels == HINT_CHANNELS


def test_folding_loses_nothing():
    pictures = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert space_to_depth(pictures).shape == (2, 64, 4, 4)
    torch.testing.assert_close(depth_to_space(space_to_depth(pictures)), pictures, atol=1e-6, rtol=0)


def test_arcs_go_around_in_even_steps():
    for seed in range(8):
        cameras = random_arc(np.random.default_rng(seed))
        steps = [azimuth_between(a.azimuth, b.azimuth) for a, b in zip(cameras, cameras[1:], strict=False)]
        assert 5 <= abs(steps[0]) <= 22.5 and np.allclose(steps, steps[0], atol=1e-6)
        assert np.ptp([camera.elevation for camera in cameras]) < 1e-6


def test_the_changes_lead_from_the_proxy_to_the_truth(folder):
    sample = ViewSample.load(folder / "0000000-0.tar")
    row = as_tensors(sample, np.arange(3))
    true, proxy, after = decode_views(row, row["changes"])
    torch.testing.assert_close(after, true, atol=1e-5, rtol=0)
    cover = torch.from_numpy(sample.rgba[:3, ..., 3] / np.float32(255))
    torch.testing.assert_close(true[:, 3], cover, atol=1e-5, rtol=0)
    assert (true[:, :3] - proxy[:, :3]).mean() < -0.05 and row["hints"].shape == (3, HINT_CHANNELS, SIZE, SIZE)


@pytest.mark.parametrize("together", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_learns_what_the_proxy_lacks(folder, tmp_path, together):
    task = ViewTask(folder, folder, TINY, together=together)
    options = LoopOptions(rate=2e-3, warm=5, average=0.9, validate_every=30, save_minutes=1e9)
    figures: list[dict] = []
    network = train(task, tmp_path, options, steps=30, on_event=lambda step, said: figures.append(said))
    assert np.mean([f["loss"] for f in figures[-8:]]) < 0.6 * np.mean([f["loss"] for f in figures[:4]])
    assert figures[-1]["views"] > figures[-1]["proxy"] + 1
    assert task.preview(network).shape == (9 * SIZE, 4 * SIZE, 3)
    task.save(network, tmp_path / "w.safetensors", {})
    again = ViewTask(folder, folder, TINY, init_from=tmp_path / "w.safetensors", together=together).network().eval()
    row = as_tensors(fake(0), np.arange(4))
    with torch.inference_mode():
        torch.testing.assert_close(sample(again, row, together), sample(network, row, together), atol=0.05, rtol=0)


@pytest.fixture(scope="module")
def ball() -> tuple[Portrait, Proxy]:
    return photograph_ball()


def test_an_untaught_denoiser_gives_the_proxys_views(ball):
    cameras = orbit(10)
    network = untaught(0, 0.0)
    network.unet.out[-1].weight.data.zero_()
    network.unet.out[-1].bias.data.zero_()
    for view, camera in zip(
        denoise_small_views(*ball, cameras, ViewWeights(network), size=SIZE), cameras, strict=True
    ):
        seen = ball[1].render(camera, SIZE)
        np.testing.assert_allclose(view.alpha, seen.mask, atol=1e-5)
        np.testing.assert_allclose((view.rgb - seen.rgb)[seen.mask > 0.01], 0, atol=1e-3)


def test_views_have_their_own_noise_and_the_photo_stays(ball):
    network, cameras = untaught(1, 0.02), orbit(12, focal=focal_from_fov(18.8))
    alone = ViewWeights(network, together=False)
    all_of_them = denoise_small_views(*ball, cameras, alone, size=SIZE, seed=3, steps=2)
    some = denoise_small_views(*ball, cameras[:5], alone, size=SIZE, seed=3, steps=2)
    for one, other in zip(some, all_of_them, strict=False):
        np.testing.assert_allclose(one.rgb, other.rgb, atol=1e-4)
    seen = ball[1].render(cameras[0], SIZE)
    sure = seen.visibility > 0.99
    assert sure.sum() > 50 and np.abs(all_of_them[0].rgb - seen.rgb)[sure].max() < 0.02
    assert np.abs(all_of_them[6].rgb - ball[1].render(cameras[6], SIZE).rgb).mean() > 0.01
    mean, same = (denoise_small_views(*ball, cameras[:2], alone, size=SIZE, seed=seed)[1].rgb for seed in (3, 4))
    np.testing.assert_array_equal(mean, same)  # one level begins without noise
    steps: list[tuple[int, int]] = []
    denoise_small_views(*ball, cameras[:2], alone, size=SIZE, steps=2, on_step=lambda _, i, of: steps.append((i, of)))
    assert steps == [(1, 2), (2, 2)]


def test_outlines_are_decided_and_what_was_not_changed_stays():
    draw = torch.Generator().manual_seed(0)
    proxy = torch.rand((3, 4, 9, 9), generator=draw)
    assert torch.equal(harden_alpha(proxy, proxy), proxy)
    proxy[0, 3], proxy[1, 3] = 0, 1
    chance = torch.linspace(0, 1, 81).view(9, 9)
    colour = torch.rand((3, 3, 9, 9), generator=draw)
    firm = harden_alpha(torch.cat([colour * chance, chance.expand(3, 1, 9, 9)], 1), proxy)
    for cover in firm[:2, 3].flatten(1):
        assert (cover.diff() >= -1e-6).all()
        assert abs(float((cover > 0.5).float().mean()) - (1 - sum(RAMP) / 2)) < 0.02  # yes from its middle on
        assert cover[chance.flatten() <= RAMP[0]].max() < 1e-6 and cover[chance.flatten() >= RAMP[1]].min() > 1 - 1e-6
    there = (firm[:, 3:] > 0.01).expand(-1, 3, -1, -1)
    torch.testing.assert_close((firm[:, :3] / firm[:, 3:])[there], colour[there])


@torch.inference_mode()
def test_neighbours_count_only_together():
    network = untaught(2, 0.05)
    row = as_tensors(fake(1), np.arange(4))
    other = {name: value.clone() for name, value in row.items()}
    other["hints"][1:] = 0
    for together in (False, True):
        apart = (sample(network, row, together) - sample(network, other, together))[0].abs().max()
        assert (apart > 1e-4) == together


def test_training_settings_are_loaded_and_ablations_are_accepted(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(small_denoiser, "SMALL", TINY)
    for together, without in ((False, ""), (True, "back")):
        task = ViewTask(folder, folder, TINY, together=together)
        path = tmp_path / f"{together}.safetensors"
        task.save(task.network(), path, {"without": without} if without else {})
        assert TensorFile(path).metadata["without"] == without
        weights = load_view_weights(path)
        assert weights.together == together and not weights.network.training
