"""What is brought from one camera to another: nothing is lost, doubled or mixed that need not be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.warping import match_views, warp, warp_noise
from portrait360.pipeline.refinement.anchor_noise import Candidate, agreement, resample_noise, select_anchor

SIZE, RADIUS = 48, 0.25
FRONT, ASIDE = (Camera(look_at(azimuth)) for azimuth in (0, 25))


def ball(camera: Camera, size: int = SIZE) -> np.ndarray:
    """The depth of a sphere about the origin, exactly."""
    begin, towards = camera.rays(size, size)
    begin, towards = np.broadcast_to(begin, towards.shape), towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    along = -(begin * towards).sum(-1)
    inside = RADIUS**2 - ((begin**2).sum(-1) - along**2)
    points = begin + (along - np.sqrt(np.maximum(inside, 0)))[..., None] * towards
    return np.where(inside > 0, camera.project(points)[1], 0)


def painted(camera: Camera) -> torch.Tensor:
    """A colour that depends on the place on the sphere alone."""
    points = camera.unproject(pixel_centres(SIZE, SIZE), ball(camera))
    return torch.from_numpy(np.stack([np.sin(9 * points[..., i]) for i in range(3)])).float()


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_to_the_same_camera_nothing_changes():
    depth, noise, fresh = ball(FRONT), draw(0, 4, SIZE, SIZE), draw(1, 4, SIZE, SIZE)
    there = torch.from_numpy(depth > 0)
    moved = warp_noise(noise, depth, FRONT, FRONT, fresh)
    assert torch.equal(moved[:, there], noise[:, there]) and torch.equal(moved[:, ~there], fresh[:, ~there])
    places = match_views(FRONT, depth, FRONT, depth)
    assert places.both.sum() > 0.97 * there.sum() and not (places.both & (depth == 0)).any()
    torch.testing.assert_close(warp(noise, places), noise * torch.from_numpy(places.both), atol=1e-4, rtol=0)


def test_there_and_back_is_what_both_see():
    depths = ball(FRONT), ball(ASIDE)
    forth, back = match_views(FRONT, depths[0], ASIDE, depths[1]), match_views(ASIDE, depths[1], FRONT, depths[0])
    picture = painted(FRONT)
    away = warp(picture, forth)
    seen = torch.from_numpy(forth.both)
    torch.testing.assert_close(away[:, seen], painted(ASIDE)[:, seen], atol=0.06, rtol=0)  # of 2; at grazing pixels
    home = warp(away, back)
    steady = torch.from_numpy(back.both) & (warp(torch.from_numpy(forth.both)[None].float(), back)[0] == 1)
    assert 0.5 < steady.float().sum() / (depths[0] > 0).sum() < 0.99
    torch.testing.assert_close(home[:, steady], picture[:, steady], atol=0.06, rtol=0)


def test_what_is_hidden_is_not_carried():
    behind = Camera(look_at(180))
    assert not match_views(FRONT, ball(FRONT), behind, ball(behind)).both.any()


@pytest.mark.parametrize("azimuth", [0, 10, 40])
def test_moved_noise_is_normal_and_independent(azimuth):
    """Mean 0, variance 1 at every pixel, and no pixel knows its neighbour."""
    to, depth, count = Camera(look_at(azimuth)), ball(FRONT), 2000
    moved = warp_noise(draw(2, count, SIZE, SIZE), depth, FRONT, to, draw(3, count, SIZE, SIZE)).flatten(1)
    assert moved.mean(0).abs().max() < 5 / count**0.5
    assert (moved.var(0) - 1).abs().max() < 5 * (2 / count) ** 0.5
    for step in (1, 2, SIZE, SIZE + 1):
        together = (moved[:, step:] * moved[:, :-step]).mean(0)
        assert together.abs().max() < 5.5 / count**0.5


def test_every_number_stands_once_and_where_its_point_lies():
    noise = torch.arange(SIZE * SIZE, dtype=torch.float32).view(1, SIZE, SIZE)
    moved = warp_noise(noise, ball(FRONT), FRONT, ASIDE, torch.full((1, SIZE, SIZE), -1.0))
    known = moved[moved >= 0]
    assert len(known.unique()) == len(known) > 0.6 * (ball(ASIDE) > 0).sum()
    row, column = np.divmod(moved[0].numpy().astype(int)[moved[0].numpy() >= 0], SIZE)
    points = FRONT.unproject((np.stack([column, row], -1) + 0.5) / SIZE, ball(FRONT)[row, column])
    found = np.argwhere(moved[0].numpy() >= 0)[:, ::-1]
    np.testing.assert_array_equal(np.floor(ASIDE.project(points)[0] * SIZE).astype(int), found)


def test_resampled_noise_has_variance_one_and_stays_near_its_anchor():
    anchor = draw(4, 200_000)
    for sigma in (0.0, 0.3, 1.0):
        new = resample_noise(anchor, sigma, torch.Generator().manual_seed(5))
        assert float(new.var()) == pytest.approx(1, abs=0.02)
        assert float((new * anchor).mean()) == pytest.approx((1 - sigma**2) ** 0.5, abs=0.02)
    assert torch.equal(resample_noise(anchor, 0.0, torch.Generator().manual_seed(5)), anchor)
    with pytest.raises(ValueError, match="between 0 and 1"):
        resample_noise(anchor, 1.5, torch.Generator())


def test_agreement_is_the_cosine():
    a, b = [draw(6, 3, 4), draw(7, 5)], [draw(8, 3, 4), draw(9, 5)]
    flat = [torch.cat([part.flatten() for part in one]) for one in (a, b)]
    assert agreement(a, b) == pytest.approx(float(torch.cosine_similarity(*flat, dim=0)), abs=1e-6)
    assert agreement(a, [-3 * part for part in a]) == pytest.approx(-1)
    assert agreement(a, [0 * part for part in a]) == 0


def test_what_is_kept_never_agrees_less():
    driving, kept = [draw(10, 30)], Candidate(draw(0, 2), draw(0, 2), [draw(11, 30)])
    for seed in range(40):
        one, other = (Candidate(draw(s, 2), draw(s, 2), [draw(s, 30)]) for s in (100 + seed, 200 + seed))
        kept = select_anchor(one, other, driving)
        assert agreement(kept.gradient, driving) == max(agreement(c.gradient, driving) for c in (one, other))
    assert select_anchor(kept._replace(noise=draw(1, 2)), kept, driving) is kept  # alike: the anchor
