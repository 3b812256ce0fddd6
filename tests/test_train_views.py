"""The small view denoiser's samples and task."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from portrait360.cameras import Camera, azimuth_between, focal_from_fov, look_at, orbit
from portrait360.geometry.head_map import HeadMap
from portrait360.images import eight_bits
from portrait360.models.control import ControlConfig
from portrait360.models.cross_view import CrossViewConfig
from portrait360.models.presets import SMALL
from portrait360.models.unet import UNetConfig
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig
from portrait360.models.view_hints import HINTS, folded, unfolded
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.small_views import RAMP, WITHOUT, ViewWeights, decided, load_views, small_views
from portrait360.synth.dataset import identity
from portrait360.train import left_out
from portrait360.train.left_out import STRANGER
from portrait360.train.loop import LoopOptions, train
from portrait360.train.recipes import RECIPES, find_recipe
from portrait360.train.view_samples import VIEWS, ViewSample, arc
from portrait360.train.view_task import ViewTask, as_tensors, pictures, sampled
from tests.samples import written

TINY = ViewDenoiserConfig(
    unet=UNetConfig(64, 64, width=32, mult=(1, 1), depth=1, attention=(False, True), heads=2, context_dim=16),
    control=ControlConfig(hint_channels=HINTS, hint_widths=(16, 16, 32), hint_strides=(1, 2, 2)),
    cross_view=CrossViewConfig(heads=2),
)
SIZE = 32


def fake(seed: int) -> ViewSample:
    """The true views are the proxy's, darker."""
    rng = np.random.default_rng(seed)
    cameras = arc(rng)
    disc = cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (SIZE // 2, SIZE // 2), SIZE // 3, 255, -1)
    rgb = np.stack([cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), (0, 0), 3) for _ in cameras])
    cover = np.repeat(disc[None, ..., None], len(cameras), 0)
    normals = np.full((*cover.shape[:3], 3), 128, np.uint8)
    photo = np.concatenate([rgb[0], disc[..., None]], -1)
    return ViewSample(
        np.concatenate([rgb // 2, cover], -1),
        np.concatenate([rgb, cover // 2, cover, normals], -1),
        (2.7 * (cover[..., 0] > 0)).astype(np.float16),
        photo,
        photo,
        np.stack([camera.label() for camera in cameras]).astype(np.float32),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("views"), map(fake, range(3)))


def test_the_small_denoiser_is_given_as_many_hints_as_there_are():
    assert SMALL.control.hint_channels == HINTS


def test_folding_loses_nothing():
    pictures = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert folded(pictures).shape == (2, 64, 4, 4)
    torch.testing.assert_close(unfolded(folded(pictures)), pictures, atol=1e-6, rtol=0)


def test_arcs_go_around_in_even_steps():
    for seed in range(8):
        cameras = arc(np.random.default_rng(seed))
        steps = [azimuth_between(a.azimuth, b.azimuth) for a, b in zip(cameras, cameras[1:], strict=False)]
        assert 5 <= abs(steps[0]) <= 22.5 and np.allclose(steps, steps[0], atol=1e-6)
        assert np.ptp([camera.elevation for camera in cameras]) < 1e-6


def test_the_changes_lead_from_the_proxy_to_the_truth(folder):
    sample = ViewSample.load(folder / "0000000-0.npz")
    row = as_tensors(sample, np.arange(3))
    true, proxy, after = pictures(row, row["changes"])
    torch.testing.assert_close(after, true, atol=1e-5, rtol=0)
    cover = torch.from_numpy(sample.rgba[:3, ..., 3] / np.float32(255))
    torch.testing.assert_close(true[:, 3], cover, atol=1e-5, rtol=0)
    assert (true[:, :3] - proxy[:, :3]).mean() < -0.05 and row["hints"].shape == (3, HINTS, SIZE, SIZE)


@pytest.mark.parametrize("together", [False, True])
def test_it_learns_what_the_proxy_lacks(folder, tmp_path, together):
    task = ViewTask(folder, folder, TINY, together=together)
    options = LoopOptions(rate=2e-3, warm=5, average=0.9, validate_every=30, save_minutes=1e9)
    figures: list[dict] = []
    network = train(task, tmp_path, options, steps=30, tell=lambda step, said: figures.append(said))
    assert np.mean([f["loss"] for f in figures[-8:]]) < 0.6 * np.mean([f["loss"] for f in figures[:4]])
    assert figures[-1]["views"] > figures[-1]["proxy"] + 1
    assert task.picture(network).shape == (9 * SIZE, 4 * SIZE, 3)
    task.save(network, tmp_path / "w.safetensors", {})
    again = ViewTask(folder, folder, TINY, begin=tmp_path / "w.safetensors", together=together).network().eval()
    row = as_tensors(fake(0), np.arange(4))
    with torch.inference_mode():
        torch.testing.assert_close(sampled(again, row, together), sampled(network, row, together), atol=0.05, rtol=0)


def untaught(seed: int, scale: float) -> ViewDenoiser:
    torch.manual_seed(seed)
    network, generator = ViewDenoiser(TINY).eval(), torch.Generator().manual_seed(seed)
    for value in network.parameters():
        value.data += scale * torch.randn(value.shape, generator=generator)
    return network


@pytest.fixture(scope="module")
def ball() -> tuple[Portrait, Proxy]:
    """A head that is a ball, photographed from the front."""
    layout, camera = HeadMap(columns=32, rows=24), Camera(look_at(0), focal_from_fov(18.8))
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.random((64, 64, 3)).astype(np.float32), (0, 0), 3)
    colours = eight_bits(rng.random((24, 32, 3)).astype(np.float32)) / np.float32(255)
    radius = np.full((24, 32), 0.25, np.float32)
    facing = (layout.points(radius)[..., 2] > 0.05).astype(np.float32)
    alpha = np.ones((64, 64), np.float32)
    portrait = Portrait(photo, alpha, alpha, camera, "matte", (0.0, 0.0), 64.0, None, np.zeros(1), np.zeros(1))
    return portrait, Proxy(layout, radius, colours, facing, photo, alpha, camera)


def test_an_untaught_denoiser_gives_the_proxys_views(ball):
    cameras = orbit(10)
    network = untaught(0, 0.0)
    network.unet.out[-1].weight.data.zero_()
    network.unet.out[-1].bias.data.zero_()
    for view, camera in zip(small_views(*ball, cameras, ViewWeights(network), size=SIZE), cameras, strict=True):
        seen = ball[1].render(camera, SIZE)
        np.testing.assert_allclose(view.alpha, seen.mask, atol=1e-5)
        np.testing.assert_allclose((view.rgb - seen.rgb)[seen.mask > 0.01], 0, atol=1e-3)


def test_views_have_their_own_noise_and_the_photo_stays(ball):
    network, cameras = untaught(1, 0.02), orbit(12, focal=focal_from_fov(18.8))
    alone = ViewWeights(network, together=False)
    all_of_them = small_views(*ball, cameras, alone, size=SIZE, seed=3, steps=2)
    some = small_views(*ball, cameras[:5], alone, size=SIZE, seed=3, steps=2)
    for one, other in zip(some, all_of_them, strict=False):
        np.testing.assert_allclose(one.rgb, other.rgb, atol=1e-4)
    seen = ball[1].render(cameras[0], SIZE)
    sure = seen.visibility > 0.99
    assert sure.sum() > 50 and np.abs(all_of_them[0].rgb - seen.rgb)[sure].max() < 0.02
    assert np.abs(all_of_them[6].rgb - ball[1].render(cameras[6], SIZE).rgb).mean() > 0.01
    mean, same = (small_views(*ball, cameras[:2], alone, size=SIZE, seed=seed)[1].rgb for seed in (3, 4))
    np.testing.assert_array_equal(mean, same)  # one level begins without noise
    steps: list[tuple[int, int]] = []
    small_views(*ball, cameras[:2], alone, size=SIZE, steps=2, on_step=lambda i, of: steps.append((i, of)))
    assert steps == [(1, 2), (2, 2)]


def test_outlines_are_decided_and_what_was_not_changed_stays():
    draw = torch.Generator().manual_seed(0)
    proxy = torch.rand((3, 4, 9, 9), generator=draw)
    assert torch.equal(decided(proxy, proxy), proxy)
    proxy[0, 3], proxy[1, 3] = 0, 1
    chance = torch.linspace(0, 1, 81).view(9, 9)
    colour = torch.rand((3, 3, 9, 9), generator=draw)
    firm = decided(torch.cat([colour * chance, chance.expand(3, 1, 9, 9)], 1), proxy)
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
        apart = (sampled(network, row, together) - sampled(network, other, together))[0].abs().max()
        assert (apart > 1e-4) == together


def test_what_is_left_out_is_not_seen(folder):
    """Each of them takes away what it names, in training as at work, and nothing else."""
    path, all_views = folder / "0000000-0.npz", np.arange(VIEWS)
    rows = {word: ViewTask(folder, folder, TINY, without=(word,)).row(path, all_views) for word in ("photo", "back")}
    whole = ViewTask(folder, folder, TINY).row(path, all_views)
    assert rows["photo"]["references"].std() == 0 and rows["back"]["references"][1].std() == 0
    assert torch.equal(rows["back"]["references"][0], whole["references"][0]) and whole["references"][1].std() > 0
    bare = ViewTask(folder, folder, TINY, without=("base",)).row(path, all_views)
    assert torch.equal(bare["changes"], whole["changes"] + whole["base"]) and not bare["base"].any()
    for one in (*rows.values(), bare):
        assert torch.equal(one["hints"], whole["hints"])


def test_what_it_was_taught_without_is_kept_with_the_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("portrait360.small_views.SMALL", TINY)
    task = ViewTask(folder, folder, TINY, without=("back",))
    task.save(task.network(), tmp_path / "w.safetensors", {})
    network, together, without = load_views(tmp_path / "w.safetensors")
    assert (together, without) == (False, ("back",)) and not network.training


def test_every_ablation_has_its_recipe():
    assert {f"views-without-{word}" for word in WITHOUT} <= set(RECIPES)
    assert "views-together" in find_recipe("views-without-order").about


def test_threads_ask_for_the_stranger_one_after_the_other(monkeypatch):
    """Its face is found by networks that bear one thread only."""
    inside: list[int] = []

    def made() -> str:
        inside.append(1)
        time.sleep(0.02)
        assert len(inside) == 1
        inside.clear()
        return "somebody"

    monkeypatch.setattr(left_out, "_stranger", made)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: left_out.stranger(), range(8))) == {"somebody"}


def test_a_stranger_is_a_head_that_nobody_learns_from():
    assert STRANGER not in {identity(split, i) for split in ("train", "test") for i in range(1000)}
