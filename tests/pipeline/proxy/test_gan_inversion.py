"""Inversion: the published procedure to the digit, and what must hold of ours; then the head it leaves as a proxy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.panohead import GeneratorOutput
from portrait360.models.perceptual_loss import feature_distance, sizes
from portrait360.models.trigrid import RayConfig
from portrait360.pipeline.portrait.published_frame import PublishedFrame
from portrait360.pipeline.proxy import gan_head, gan_inversion
from portrait360.pipeline.proxy.gan_head import GanHead, gan_proxy, head_from_inversion, proxy_from_gan_head, reframe
from portrait360.pipeline.proxy.gan_inversion import (
    NEAR,
    PUBLISHED,
    InversionSettings,
    InversionTarget,
    inversion_loss,
    invert,
    mean_style,
    ramps,
)
from portrait360.utils.errors import UserError
from portrait360.utils.image_ops import look_up
from tests.fixtures.published_gan import TINY, filled
from tests.parity import published_procedure

CONFIG = replace(TINY, size=8, larger=(2, 2), rays=RayConfig(NEAR, 3.3, 4, 4, 1.0))
SHORT = InversionSettings(steps=8, tuning=4, starts=3, patience=None, stay=0.0)


def goal(network, seed: int = 9) -> InversionTarget:
    """A picture that the generator itself makes."""
    label = torch.from_numpy(Camera(look_at(20, 5)).label()).float()[None]
    z = torch.randn(1, network.config.z, generator=torch.Generator().manual_seed(seed))
    seen = network.generate_head(network.map_styles(z, label)).render(label)
    alpha = torch.zeros(1, 1, 512, 512)
    alpha[..., 100:400, 100:400] = 1
    return InversionTarget(seen.rgb, alpha, label)


NETWORK = filled(CONFIG)
GOAL = goal(NETWORK)


def test_the_rate_rises_and_falls_and_the_noise_ends():
    rates, noises = zip(*(ramps(i / 200) for i in range(201)), strict=True)
    assert rates[0] == 0 and rates[200] == pytest.approx(0) and rates[10] == pytest.approx(1) == rates[150]
    assert all(b >= a for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert noises[0] == pytest.approx(0.05) and noises[150:] == (0,) * 51


def test_published_settings_are_the_published_procedure():
    ours = invert(NETWORK, GOAL, sizes, replace(PUBLISHED, steps=8, tuning=3), seed=4)
    ws, network = published_procedure.invert(filled(CONFIG), GOAL, sizes, 8, 3, 4)
    torch.testing.assert_close(ours.ws, ws, rtol=1e-4, atol=1e-5)
    for (name, a), b in zip(ours.generator.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, msg=name)
    assert PUBLISHED.steps == 200 and PUBLISHED.tuning == 5


def test_what_the_generator_made_it_finds_again_and_tuning_comes_nearer():
    heard = []
    found = invert(
        NETWORK,
        GOAL,
        sizes,
        replace(SHORT, steps=40, tuning=10, masked=False),
        on_step=lambda *said: heard.append(said),
    )
    styles = [loss for what, _, _, loss in heard if what == "styles"]
    tuning = [loss for what, _, _, loss in heard if what == "tuning"]
    assert len(styles) == 40 and len(tuning) == 10 and found.losses == tuple(tuning)
    seen = found.generator.generate_head(found.ws).render(found.label).rgb
    _, mean, _, z = mean_style(NETWORK, torch.device("cpu"))
    start = (
        NETWORK.generate_head(mean.repeat(1, NETWORK.styles, 1)).render(NETWORK.shift_labels(z, GOAL.label)[0]).rgb
    )
    off, before = ((picture - GOAL.picture).square().mean() for picture in (seen, start))
    assert off < 0.5 * before and tuning[-1] < tuning[0]


def test_the_generator_that_was_given_is_left_alone():
    before = {name: value.clone() for name, value in NETWORK.state_dict().items()}
    invert(NETWORK, GOAL, sizes, replace(SHORT, steps=2, tuning=2))
    assert all(torch.equal(before[name], value) for name, value in NETWORK.state_dict().items())


@pytest.fixture(scope="module")
def undisturbed():
    return invert(NETWORK, GOAL, sizes, replace(SHORT, drawn=True), seed=3)


@pytest.mark.parametrize("ended", [("styles", 5), ("tuning", 2)])
def test_killed_and_taken_up_again_is_undisturbed(undisturbed, tmp_path, monkeypatch, ended):
    monkeypatch.setattr(gan_inversion, "CHECKPOINT_EVERY", 2)

    def killed(what, done, of, loss):
        if (what, done) == ended:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(NETWORK, GOAL, sizes, replace(SHORT, drawn=True), seed=3, folder=tmp_path, on_step=killed)
    steps = []
    again = invert(
        NETWORK, GOAL, sizes, replace(SHORT, drawn=True), seed=3, folder=tmp_path,
        on_step=lambda what, done, of, loss: steps.append((what, done)),
    )  # fmt: skip
    assert 0 < len(steps) < SHORT.steps + SHORT.tuning
    torch.testing.assert_close(again.ws, undisturbed.ws, rtol=0, atol=0)
    for a, b in zip(again.generator.parameters(), undisturbed.generator.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert again.losses == undisturbed.losses


def test_what_another_wish_has_left_is_not_gone_on_with(tmp_path):
    few = replace(SHORT, steps=3, tuning=2)
    steps, wish = [], {"seed": 3, "settings": few}
    told = lambda what, done, of, loss: steps.append(done)  # noqa: E731
    for asked in (wish, wish, wish | {"seed": 4}, wish | {"settings": replace(few, masked=False)}):
        invert(NETWORK, GOAL, sizes, **asked, folder=tmp_path, on_step=told)
    assert len(steps) == 3 * (few.steps + few.tuning)  # the second had nothing to do


def test_a_damaged_checkpoint_is_said(tmp_path):
    (tmp_path / "styles.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="damaged"):
        invert(NETWORK, GOAL, sizes, SHORT, folder=tmp_path)


def test_it_ends_when_nothing_more_is_won():
    steps = []
    invert(
        NETWORK, GOAL, lambda picture: [picture.detach() * 0], replace(SHORT, steps=200, tuning=0, patience=5),
        on_step=lambda what, done, of, loss: steps.append(done),
    )  # fmt: skip
    assert 5 <= len(steps) < 200


def test_outside_of_the_matte_nothing_counts_but_the_outline():
    seen = GeneratorOutput(
        torch.randn(1, 3, 512, 512), torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    )
    noise = (1 - GOAL.alpha) * torch.randn(1, 3, 512, 512)
    plain = inversion_loss(seen, GOAL, sizes(GOAL.picture), sizes, True)
    other = replace(GOAL, picture=GOAL.picture)
    moved = inversion_loss(seen._replace(rgb=seen.rgb + noise), other, sizes(GOAL.picture), sizes, True)
    torch.testing.assert_close(plain, moved)
    cover = torch.nn.functional.interpolate(GOAL.alpha, (8, 8), mode="area")
    perfect = inversion_loss(seen._replace(rgb=GOAL.picture, cover=cover), GOAL, sizes(GOAL.picture), sizes, True)
    assert perfect < 1e-10 < plain


def test_other_heads_stay_more_as_they_were_when_asked_to(monkeypatch):
    monkeypatch.setattr(gan_inversion, "LOCALITY_DISTANCE", 1.0)

    def moved(stay: float) -> float:
        found = invert(NETWORK, GOAL, sizes, replace(SHORT, steps=3, tuning=12, stay=stay))
        samples, _, _, _ = mean_style(NETWORK, torch.device("cpu"))
        there = found.ws + torch.nn.functional.normalize(samples[3] - found.ws, dim=-1)
        return float(
            feature_distance(
                *(
                    sizes(network.generate_head(there).render(found.label).rgb)
                    for network in (found.generator, NETWORK)
                )
            )
        )

    assert moved(5.0) < 0.7 * moved(0.0)


def test_a_kept_head_gives_the_same_pictures(tmp_path):
    found = invert(NETWORK, GOAL, sizes, replace(SHORT, steps=2, tuning=1))
    head = head_from_inversion(found, GOAL, PublishedFrame.for_scale(1.3))
    head.save(tmp_path / "gan.safetensors")
    loaded = GanHead.load(tmp_path / "gan.safetensors")
    for camera in (Camera(look_at(0)), Camera(look_at(140, 20))):
        np.testing.assert_allclose(loaded.render(camera, 64), head.render(camera, 64), atol=1e-5)
    assert np.abs(head.shift).max() > 0
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(loaded.frame.points_to_published(points), head.frame.points_to_published(points))
    moved = head.label(Camera(look_at(0)))[0, [3, 7, 11]].numpy() - [0, 0, 2.7]
    np.testing.assert_allclose(moved, head.shift, atol=1e-6)


class Ball:
    """What a generator would show of a ball whose middle is shifted as its labels are."""

    def __init__(self, radius: float, shift: np.ndarray) -> None:
        self.radius, self.shift, self.grids = radius, shift, torch.zeros(1)

    def render(self, label: torch.Tensor, size: int) -> GeneratorOutput:
        camera = Camera.from_label(label[0].numpy().astype(np.float64))
        origin, towards = camera.rays(size, size)
        origin = origin - self.shift
        along = -(towards @ origin)
        inside = self.radius**2 - (origin @ origin - along**2)
        depth = along - np.sqrt(np.clip(inside, 0, None))
        rgb = np.where(origin + depth[..., None] * towards > 0, 0.5, -0.5)
        as_batch = lambda values: torch.from_numpy(np.moveaxis(values, -1, 0)[None]).float()  # noqa: E731
        flat = as_batch(np.stack([depth, inside > 0], -1))
        return GeneratorOutput(as_batch(rgb), as_batch(rgb), flat[:, :1], flat[:, 1:])


def test_a_scanned_head_has_its_shape_and_its_colours(portrait, monkeypatch):
    monkeypatch.setattr(gan_head, "fit_to_silhouette", lambda portrait, radius: radius)
    shift, frame = np.array([0.02, -0.03, 0.05]), PublishedFrame.for_scale()
    ball = GanHead(Ball(0.3 * frame.scale, shift), shift, frame)  # pyright: ignore[reportArgumentType]
    proxy = proxy_from_gan_head(portrait, ball)
    points = proxy.layout.points(proxy.radius)[20:110]
    assert np.abs(np.linalg.norm(points - frame.centre, axis=-1) - 0.3).max() < 0.01
    back = slice(96, 160)  # columns that the photo does not show
    wanted = np.where(frame.points_to_published(points[:, back]) > 0, 0.75, 0.25)
    off = np.abs(proxy.colours[20:110, back] - wanted) > 0.1
    assert off.mean() < 0.05  # but along the borders of the colours


def test_nothing_found_is_said(portrait):
    empty = GanHead(Ball(0.01, np.zeros(3)), np.zeros(3), PublishedFrame.for_scale())  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="`method=proxy`"):
        proxy_from_gan_head(portrait, empty)


def test_another_lens_sees_the_same(portrait):
    same = reframe(portrait, portrait.camera.focal, portrait.rgb.shape[0])
    np.testing.assert_allclose(same.rgb, portrait.rgb, atol=1e-6)
    nearer = reframe(portrait, FOCAL_SD15, 256)
    uv = np.array([[0.3, 0.4], [0.6, 0.7]])
    points = portrait.camera.unproject(uv, np.full(2, 2.7))
    there = look_up(nearer.rgb, nearer.camera.project(points)[0][None])
    np.testing.assert_allclose(there, look_up(portrait.rgb, uv[None]), atol=0.06)


def test_the_whole_way_gives_a_proxy(portrait, monkeypatch):
    monkeypatch.setattr(gan_head, "SCANS", ((0.0, 4), (60.0, 2)))
    network = filled(replace(CONFIG, size=16, larger=(8, 8)))
    proxy, head = gan_proxy(portrait, network, settings=replace(SHORT, steps=1, tuning=1))
    assert proxy.radius.shape == (176, 256) and np.isfinite(proxy.radius).all() and proxy.radius.min() > 0
    assert head.render(Camera(look_at(180)), 32).shape == (32, 32, 3)
