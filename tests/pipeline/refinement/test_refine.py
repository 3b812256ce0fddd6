"""Refining: nothing is changed before something is learnt, and a guide that knows the truth leads to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from portrait360.geometry.cameras import Camera, look_at, orbit, pixel_centres
from portrait360.geometry.volumes.volume import CELLS, HALF, Volume
from portrait360.models.geometry_restorer import Restorer, RestorerConfig
from portrait360.models.hybrid_priors import BranchWeights, HybridConfig, HybridPriors, Priors
from portrait360.models.trigrid import RayConfig, sample_grids
from portrait360.models.triplane import RGB, Triplane, TriplaneConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.pipeline.portrait.published_frame import PublishedFrame
from portrait360.pipeline.proxy.gan_head import GanHead
from portrait360.pipeline.refinement import noise_resampling
from portrait360.pipeline.refinement.base_volumes import GeneratedVolume, ProxyVolume
from portrait360.pipeline.refinement.denoising_guide import (
    GEOMETRY,
    GuideView,
    SmallGuide,
    ViewGuide,
    normals_from_depth,
    render_base,
    render_for_guide,
    resize_photo,
)
from portrait360.pipeline.refinement.geometry_restoration import Restoration, RestoreConfig, restore
from portrait360.pipeline.refinement.noise_resampling import RefineConfig, Refinement, refine
from portrait360.pipeline.refinement.triplane_init import cell_centres, init_triplane, project_volume
from portrait360.pipeline.refinement.view_schedule import outward_schedule, random_view
from portrait360.pipeline.views.pixel_latents import FOLD, premultiply
from portrait360.pipeline.views.view_set import View
from portrait360.utils.errors import UserError
from portrait360.utils.resume import ResumeFile
from tests.fixtures.published_gan import TINY as TINY_GAN
from tests.fixtures.published_gan import filled
from tests.fixtures.view_samples import TINY

RADIUS, SIZE, FOCAL = 0.3, 32, 3.0
SIZES = TriplaneConfig(side=32, features=16, hidden=16, seen=4, sharper=8)
SHORT = RefineConfig(
    steps=3, views=5, size=SIZE, strength=1.0, levels=2, judged=16, moves=8, parts=2, photos=1, window=24, rate=1e-2
)


class Ball(Volume):
    """Solid; coloured by place, or all in one colour."""

    def __init__(self, colour: float | None = None, radius: float = RADIUS) -> None:
        super().__init__()
        self.colour, self.radius = colour, radius
        middle = cell_centres(torch.arange(CELLS))
        x, y, z = torch.meshgrid(middle, middle, middle, indexing="ij")
        self.density.copy_(100.0 * ((x**2 + y**2 + z**2).sqrt() < radius + 0.01))

    def forward(self, places, directions=None):
        colours = places + 0.5 if self.colour is None else torch.full_like(places, self.colour)
        return torch.where(places.norm(dim=-1) < self.radius, 100.0, 1e-6), colours


@dataclass(frozen=True)
class Knows:
    """A guide that has seen the truth, through more or less noise."""

    truth: Volume
    noisy: float = 0.0
    cell: int = 1
    channels: int = 4

    def latents(self, picture, coarse):
        return picture

    def pictures(self, latents, coarse):
        return latents

    def priors(self, view, driving, shown):
        nothing = torch.zeros(1)
        return Priors(premultiply(*self.truth.render_image(view.camera, SIZE)[:2])[None], *[nothing] * 4)

    def denoise(self, latents, level, priors, coarse, led):
        return priors.projected + self.noisy * latents


def photo_of(volume: Volume, azimuth: float = 20.0) -> View:
    camera = Camera(look_at(azimuth), FOCAL)
    return View(*volume.render_image(camera, 2 * SIZE)[:2], camera)


def start(base: Volume, seed: int = 0) -> Triplane:
    return init_triplane(base, SIZES, torch.Generator().manual_seed(seed))


def rays(camera: Camera, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    origin, directions = camera.rays(size, size)
    towards = torch.tensor(directions.reshape(-1, 3), dtype=torch.float32)
    return torch.tensor(origin, dtype=torch.float32).expand(len(towards), 3), towards


@pytest.mark.parametrize("factor", [1, 2])
def test_what_is_begun_is_what_it_was_to_the_bit(factor):
    ball, camera = Ball(), Camera(look_at(30, 10), FOCAL)
    head = init_triplane(ball, replace(SIZES, factor=factor), torch.Generator().manual_seed(0))
    before, after = ball.render(*rays(camera)), head.render(*rays(camera))
    assert torch.equal(before.rgb, after.rgb[:, :RGB]) and torch.equal(before.alpha, after.alpha)
    assert not after.rgb[:, RGB:].any() and before.alpha.max() > 0.99
    seen = head.render_view(camera, factor * SIZE).image
    assert seen.shape == (4, factor * SIZE, factor * SIZE)
    if factor == 1:
        assert torch.equal(seen[:3].reshape(3, -1).T, before.rgb)


def test_no_steps_give_back_the_head():
    ball = Ball()
    head = refine(start(ball), photo_of(Ball(0.9)), Knows(Ball(0.9)), replace(SHORT, steps=0))
    camera = Camera(look_at(140), FOCAL)
    assert np.abs(head.render_image(camera, SIZE)[0] - ball.render_image(camera, SIZE)[0]).max() < 1e-6


def test_planes_hold_what_is_seen_from_their_ends():
    """A place on the surface, looked up in the plane across an axis, has its own colour and depth there."""
    grids = project_volume(Ball())[None, :, :, None]
    for axis, plane in ((2, 0), (1, 1), (0, 2)):
        for end, sign in ((0, -1), (1, 1)):
            place = torch.full((1, 1, 3), 0.1)
            place[..., axis] = sign * (RADIUS**2 - 0.02) ** 0.5
            features = sample_grids(
                grids[:, plane : plane + 1].expand(-1, 3, -1, -1, -1, -1), moved(place, plane), 2 * HALF
            )
            found = features[0, 0, 1 + 4 * end : 5 + 4 * end]
            assert torch.allclose(found[0], 2 * place[0, 0, axis], atol=0.05)
            assert torch.allclose((found[1:] + 1) / 2, place[0, 0] + 0.5, atol=0.03)


def moved(place: torch.Tensor, plane: int) -> torch.Tensor:
    """So that all three lookups fall where the one of this plane would."""
    columns, rows = ((0, 1), (0, 2), (1, 2))[plane]
    assert place[..., columns] == place[..., rows]  # which makes it easy
    return torch.full_like(place, float(place[0, 0, columns]))


def test_restoring_begins_with_nothing_and_is_felt_afterwards():
    torch.manual_seed(0)
    grids, network = torch.randn(1, 3, 16, 2, 16, 16), Restorer(RestorerConfig(16, (32, 32)))
    assert torch.equal(network(grids), grids)
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    changed = network(grids.requires_grad_())
    assert changed.shape == grids.shape
    (reach,) = torch.autograd.grad(changed[0, 0, 0, 0, 8, 8], grids)
    assert reach[0, 1].any() and reach[0, 2].any() and reach[0, :, :, 0].abs().sum((0, 1)).count_nonzero() > 100
    assert not reach[0, :, :, 1].any()  # layers by themselves


def test_views_go_outwards_from_the_reference():
    reference = Camera(look_at(25, 12), FOCAL)
    for count in (5, 12, 13):
        stops = outward_schedule(reference, count)
        away = [round(abs((stop.camera.azimuth - 25 + 180) % 360 - 180), 6) for stop in stops]
        assert stops[0].camera is reference and stops[0].driving is None and away == sorted(away)
        assert np.allclose(sorted((stop.camera.azimuth - 25) % 360 for stop in stops), np.arange(count) * 360 / count)
        for i, stop in enumerate(stops[1:], 1):
            other = stops[stop.driving or 0].camera
            assert (stop.driving or 0) < i and abs(stop.camera.elevation - 12) < 1e-6
            assert abs(abs((stop.camera.azimuth - other.azimuth + 180) % 360 - 180) - 360 / count) < 1e-6
    near = random_view(reference, stops, np.random.default_rng(0))
    gaps = [abs((near.camera.azimuth - s.camera.azimuth + 180) % 360 - 180) for s in stops]
    assert near.driving == int(np.argmin(gaps)) and near.camera.focal == FOCAL


def test_normals_are_those_of_a_ball():
    camera = Camera(look_at(40, 20), FOCAL)
    depth = Ball().render_image(camera, 128)[2]
    places = camera.unproject(pixel_centres(128, 128), np.where(depth > 0, depth, 2.7))
    true = places / np.linalg.norm(places, axis=-1, keepdims=True)
    facing = (depth > 0) & (true @ camera.cam2world[:3, 2] < -0.5)
    assert ((normals_from_depth(depth, camera) * true).sum(-1)[facing] > 0.97).mean() > 0.98
    assert not normals_from_depth(depth, camera)[depth == 0].any()


def error(head: Volume, truth: Volume) -> float:
    """Of colours, from sides that no fixed view has."""
    seen = [(head.render_image(c, SIZE), truth.render_image(c, SIZE)) for c in orbit(4, start=36 + 20, focal=FOCAL)]
    return float(np.mean([np.abs(a[0] - b[0])[b[1] > 0.5].mean() for a, b in seen]))


VARIANTS = [{"noise": "fixed"}, {"noise": "random"}, {"optimised": False}, {"led": BranchWeights(implicit=False)}]


@pytest.mark.parametrize(
    "change", [{}, *(pytest.param(change, marks=pytest.mark.slow) for change in (*VARIANTS, {"strength": 0.0}))]
)
def test_a_guide_that_knows_the_truth_leads_to_it(change):
    ball, truth = Ball(), Ball(0.8)
    head = refine(start(ball), photo_of(truth), Knows(truth), replace(SHORT, steps=8, **change))
    assert error(ball, truth) > 0.25 and error(head, truth) < 0.1
    assert (
        abs(
            head.render_image(orbit(1, focal=FOCAL)[0], SIZE)[1]
            - ball.render_image(orbit(1, focal=FOCAL)[0], SIZE)[1]
        ).mean()
        < 0.02
    )


def test_what_stands_out_becomes_thin_and_not_black():
    ball, truth = Ball(0.8), Ball(0.8, radius=0.8 * RADIUS)
    head = refine(start(ball), photo_of(truth), Knows(truth), replace(SHORT, steps=8))
    camera = Camera(look_at(36), FOCAL)
    (_, before_, _), (rgb, alpha, _), (_, true, _) = (x.render_image(camera, SIZE) for x in (ball, head, truth))
    out = (before_ > 0.9) & (true < 0.1)
    assert out.sum() > 40
    assert rgb[out].mean() > 0.7 and alpha[out].mean() < 0.9, (rgb[out].mean(), alpha[out].mean())


def guide() -> SmallGuide:
    torch.manual_seed(0)
    unet = UNetConfig(64, 64, width=32, mult=(1, 1), attention=(False, True), depth=1, heads=4, context_dim=8)
    network = HybridPriors(HybridConfig(unet, GEOMETRY))
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return SmallGuide(network=network.eval().requires_grad_(False))


def test_the_same_seed_the_same_head_and_every_switch_is_felt():
    photo, led = photo_of(Ball(0.8)), guide()
    camera = Camera(look_at(200), FOCAL)
    one = lambda how: refine(start(Ball()), photo, led, how).render_image(camera, SIZE)[0]  # noqa: E731
    short = replace(SHORT, steps=2, views=4, moves=2, parts=1)
    whole = one(short)
    assert np.array_equal(whole, one(short))
    for change in (
        {"seed": 1}, {"noise": "fixed"}, {"noise": "random"}, {"optimised": False}, {"between": 0}, {"photo": 0.0},
        {"led": BranchWeights(geometry=False)}, {"led": BranchWeights(implicit=False)},
        {"led": BranchWeights(weight=0.5)},
    ):  # fmt: skip
        assert not np.array_equal(whole, one(replace(short, **change))), change


def test_killed_within_its_rounds_it_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    monkeypatch.setattr(noise_resampling, "KEEP_SECONDS", 0.0)
    photo, led, short = photo_of(Ball(0.8)), guide(), replace(SHORT, steps=4, views=4, moves=2)
    camera, kept = Camera(look_at(200), FOCAL), ResumeFile(tmp_path / "refining.pt", "this", "the refining")
    whole = refine(start(Ball()), photo, led, short).render_image(camera, SIZE)

    def killed(stage, done, of):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine(start(Ball()), photo, led, short, killed, kept)
    told: list[int] = []
    again = refine(start(Ball()), photo, led, short, lambda stage, done, of: told.append(done), kept)
    assert told == [2, 3, 4]  # where it goes on is told at once
    assert all(np.array_equal(a, b) for a, b in zip(again.render_image(camera, SIZE), whole, strict=True))
    assert ResumeFile(kept.path, "another", "").load() is None
    kept.path.write_bytes(b"no state")
    with pytest.raises(UserError, match="damaged"):
        refine(start(Ball()), photo, led, short, kept=kept)


def test_what_the_small_guide_is_shown():
    led, ball = guide(), Ball()
    cameras = [Camera(look_at(a), FOCAL) for a in (0, 25)]
    seen = [GuideView(c, premultiply(*ball.render_image(c, 96)[:2]), ball.render_image(c, 96)[2]) for c in cameras]
    coarse = seen[0].picture[None]
    picture = torch.rand(1, 4, 96, 96, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(led.pictures(led.latents(coarse, coarse), coarse), coarse, atol=1e-5)
    picture[:, 3:], picture[:, :3] = coarse[:, 3:], picture[:, :3] * coarse[:, 3:]
    assert torch.allclose(led.pictures(led.latents(picture, coarse), coarse), picture, atol=1e-5)
    likely = coarse.clone()
    likely[:, 3] = (coarse[:, 3] + 0.2).clamp(max=1)  # a veil is none
    made = led.pictures(led.latents(likely, coarse), coarse)
    assert torch.allclose(made[:, 3][coarse[:, 3] == 0], torch.zeros(())) and (coarse[:, 3] == 0).any()
    same = led.priors(seen[0], seen[0], seen[0].picture)
    cover = torch.from_numpy(seen[0].depth > 0)
    whole = torch.nn.functional.avg_pool2d(cover.float()[None, None], FOLD) == 1
    inner = torch.nn.functional.max_pool2d((~whole).float(), 3, 1, 1) == 0
    assert inner.sum() > 4 and same.mask[inner].min() == 1
    assert torch.allclose(same.projected.masked_select(inner), same.driving.masked_select(inner), atol=0.05)
    other = led.priors(seen[0], seen[1], seen[1].picture)
    assert 0.2 * cover.float().mean() < other.mask.mean() < 0.95 * cover.float().mean()
    assert other.geometry.shape[1] == led.network.config.geometry


def test_retained_anchors_are_kept_and_others_are_not():
    """What a view goes to changes only together with its noise."""
    work = Refinement(start(Ball()), photo_of(Ball(0.8)), Knows(Ball(0.8), noisy=0.3), replace(SHORT, steps=4))
    work.step(0)
    kept = 0
    for number in (1, 2, 3):
        before = [(view.anchor, view.target) for view in work.views]
        work.step(number)
        for (anchor, target), view in zip(before[1:], work.views[1:], strict=True):
            assert torch.equal(anchor, view.anchor) == (target is view.target)
            kept += target is view.target
    assert 0 < kept < 12


# geometry restoration


def restoration() -> Restoration:
    return Restoration(SIZES, RestorerConfig(16, (32, 32)))


def test_restoring_brings_what_a_guide_sees_from_all_sides():
    ball, truth = Ball(), Ball(0.8)
    torch.manual_seed(0)
    how = RestoreConfig(steps=25, size=SIZE, rate=3e-3)
    head = restore(start(ball), restoration(), Knows(truth), photo_of(ball), how)
    assert error(ball, truth) > 0.25 and error(head, truth) < 0.12
    assert head.restorer is None and not torch.equal(head.grids, start(ball).grids)


def test_restoring_by_a_network_that_has_learnt_nothing_gives_back_the_head():
    head = restore(start(Ball()), restoration(), Knows(Ball(0.8)), photo_of(Ball()), RestoreConfig(0))
    assert torch.equal(head.grids, start(Ball()).grids)


def test_the_view_denoiser_guides_by_what_the_photo_shows():
    torch.manual_seed(0)
    network = ViewDenoiser(TINY).eval().requires_grad_(False)
    for value in network.parameters():
        value += 0.05 * torch.randn(value.shape)
    ball, cameras = Ball(), [Camera(look_at(a), FOCAL) for a in (0, 40)]
    seen = [render_base(start(ball), camera, SIZE) for camera in cameras]
    led = ViewGuide(network=network, references=torch.zeros(2, 64, SIZE // FOLD, SIZE // FOLD))
    shown = led.priors(seen[1], seen[0], seen[0].picture)
    assert 0.2 < shown.visibility.mean() / (seen[1].depth > 0).mean() < 0.98
    noisy = torch.randn(1, 64, SIZE // FOLD, SIZE // FOLD)
    one = led.denoise(noisy, 0.9, shown, seen[1].picture[None], BranchWeights())
    other = led.denoise(
        noisy, 0.9, led.priors(seen[0], seen[0], seen[0].picture), seen[0].picture[None], BranchWeights()
    )
    assert one.shape == noisy.shape and not torch.equal(one, other)


def test_branches_that_say_nothing_leave_the_view_denoiser():
    """The priors' base, shown a head and its photo by the one guide, says what the other guide's network does."""
    torch.manual_seed(0)
    priors = HybridPriors(HybridConfig(TINY.unet, GEOMETRY, replace(TINY, cross_view=None))).requires_grad_(False)
    for value in priors.base.parameters():
        value += 0.05 * torch.randn(value.shape)
    photo, ball = photo_of(Ball(0.8)), Ball()
    assert isinstance(priors.base, ViewDenoiser)
    one = SmallGuide(network=priors.eval()).with_subject(ball, photo, SIZE)
    assert one.photo is not None and one.references is not None
    other = ViewGuide(network=priors.base, references=one.references)
    seen, noisy = (
        render_for_guide(ball, Camera(look_at(60), FOCAL), SIZE),
        torch.randn(1, 64, SIZE // FOLD, SIZE // FOLD),
    )
    coarse, shown = seen.picture[None], resize_photo(photo, SIZE)
    by = [g.denoise(noisy, 0.9, g.priors(seen, one.photo, shown), coarse, BranchWeights()) for g in (one, other)]
    torch.testing.assert_close(by[0], by[1], rtol=1e-4, atol=1e-5)
    here = replace(one, photo=seen)
    elsewhere = here.denoise(noisy, 0.9, here.priors(seen, one.photo, shown), coarse, BranchWeights())
    assert not torch.allclose(elsewhere, by[0], atol=1e-3)


def test_a_proxy_is_a_volume_without_any_fit(proxy):
    volume = ProxyVolume(proxy)
    for camera in orbit(3, start=20, focal=FOCAL):
        seen, (rgb, alpha, depth) = proxy.render(camera, 96), volume.render_image(camera, 96)
        both = (alpha > 0.5) & (seen.mask > 0.5)
        assert both.sum() > 0.95 * ((alpha > 0.5) | (seen.mask > 0.5)).sum()
        assert np.median(np.abs(depth - seen.depth)[both]) < 0.003
        assert 10 * np.log10(1 / ((rgb - seen.rgb)[both] ** 2).mean()) > 26


@pytest.mark.parametrize("by_style", [True, False])
def test_a_generated_head_is_a_volume_that_looks_as_the_generator_sees_it(by_style):
    """Its raw picture, of a dense enough march through a shifted frame."""
    config = replace(
        TINY_GAN, raw_by_style=by_style, background=False, size=24, rays=RayConfig(2.2, 3.2, 192, 2, 0.7)
    )
    network = filled(config)
    network.decoder.net[2].bias[0] = 20.0  # opaque
    label = torch.from_numpy(Camera(look_at(0)).label()).float()[None]
    head = network.generate_head(
        network.map_styles(torch.randn(1, config.z, generator=torch.Generator().manual_seed(1)), label)
    )
    frame = PublishedFrame.for_scale(1.2)
    generated = GanHead(head, np.array([0.02, -0.01, 0.03]), frame)
    volume, camera = GeneratedVolume(generated), Camera(look_at(35), FOCAL)
    with torch.no_grad():
        own = head.render(generated.label(camera))
        made = volume.render(*rays(frame.from_published(camera), 24))
    cover, raw = own.cover[0, 0].flatten(), (own.raw[0].flatten(1).T + 1) / 2
    assert cover.std() > 0.05 and (made.alpha - cover).abs().mean() < 0.03
    full = cover > 0.98
    assert full.sum() > 20 and (made.rgb - raw)[full].abs().mean() < 0.05 * raw[full].std()
