"""The 3D GAN: its names are the published ones, and what must hold of any such field and its pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, look_at, orbit
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.panohead import EG3D, GAN3D, PANOHEAD
from portrait360.models.stylegan2 import low_pass, upsample
from portrait360.models.trigrid import (
    RayConfig,
    TriGridField,
    compute_rays,
    march,
    render,
    sample_grids,
    sample_importance,
)
from tests.fixtures.paths import KEYS
from tests.fixtures.published_gan import TINY, filled

LABELS = torch.from_numpy(np.stack([camera.label() for camera in orbit(4)])).float()


def tiny(seed: int = 0, **changes) -> GAN3D:
    return filled(replace(TINY, **changes), seed)


def test_names_shapes_and_types_are_those_of_the_published_file():
    said = json.loads((KEYS / "panohead.json").read_text())
    with torch.device("meta"):
        own = {name: [str(v.dtype).split(".")[1], *v.shape] for name, v in GAN3D(PANOHEAD).state_dict().items()}
        triplanes = dict(GAN3D(EG3D).named_parameters())
    assert own == {name: value for name, value in said.items() if name != "dataset_label_std"} and len(own) == 295
    assert triplanes["backbone.synthesis.b256.torgb.weight"].shape[0] == 96
    assert not any("bcg" in name for name in triplanes)


def test_rays_are_the_cameras_own():
    cameras = [*orbit(3), Camera(look_at(20, 30, roll=10), 3.0, (0.4, 0.55))]
    seen = compute_rays(torch.from_numpy(np.stack([camera.label() for camera in cameras])), 5)
    for i, camera in enumerate(cameras):
        position, directions = camera.rays(5, 5)
        torch.testing.assert_close(seen.directions[i], torch.from_numpy(directions.reshape(-1, 3)))
        torch.testing.assert_close(seen.origins[i], torch.from_numpy(position).expand(25, 3))


def test_one_layer_is_a_triplane_and_several_equal_ones_too():
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(1, 3, 4, 1, 8, 8, generator=generator)
    points = torch.rand(1, 50, 3, generator=generator) - 0.5
    xy = [points[..., [0, 1]], points[..., [0, 2]], points[..., [1, 2]]]
    plain = [F.grid_sample(planes[:, i, :, 0], 2 * p[:, None], align_corners=False) for i, p in enumerate(xy)]
    wanted = torch.stack(plain).mean(0)[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(sample_grids(planes, points, 1.0), wanted)
    inner = points * 0.6  # where three layers reach without their border of zeros
    torch.testing.assert_close(
        sample_grids(planes.expand(-1, -1, -1, 3, -1, -1), inner, 1.0), sample_grids(planes, inner, 1.0)
    )


class Slab:
    """Dense beyond a plane z = 0, and coloured by place."""

    box = 1.0

    def __call__(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.where(points[..., 2] < 0, 1e4, -1e4), points


def test_a_wall_is_seen_where_it_stands():
    seen = render(Slab(), compute_rays(LABELS[:1].double(), 9), RayConfig(2.2, 3.4, 48, 48), None)
    assert (seen.cover > 0.999).all()
    where = seen.depth * compute_rays(LABELS[:1].double(), 9).directions[..., 2]
    torch.testing.assert_close(-where, torch.full_like(where, 2.7), atol=0.02, rtol=0)
    assert seen.features[..., 2].abs().max() < 0.02


def test_what_is_empty_lets_the_background_through():
    seen = render(lambda p: (torch.full(p.shape[:2], -1e4), p), compute_rays(LABELS, 4), RayConfig(), None)  # pyright: ignore
    assert seen.cover.max() < 1e-6 and torch.isfinite(seen.depth).all()


def test_weights_and_what_is_left_make_one():
    generator = torch.Generator().manual_seed(1)
    density, depth = torch.randn(1, 5, 20, generator=generator) * 3, torch.linspace(2, 3, 20).expand(1, 5, -1)
    made, weight = march(torch.ones(1, 5, 20, 2), density, depth)
    middle = (density[..., 1:] + density[..., :-1]) / 2
    left = torch.exp(-(F.softplus(middle - 1) * (depth[..., 1:] - depth[..., :-1])).sum(-1))
    torch.testing.assert_close(made.cover, 1 - left)
    torch.testing.assert_close(made.features[..., 0], weight.sum(-1))


def test_fine_samples_go_where_the_weight_is():
    depth = torch.linspace(2, 3, 41).expand(1, 1, -1)
    weight = torch.zeros(1, 1, 40)
    weight[..., 30] = 1.0
    fine = sample_importance(depth, weight, 400, None)
    share = ((fine - depth[..., 30]).abs() < 0.06).float().mean()
    assert share > 0.6  # the rest is the share that every place keeps
    drawn = torch.rand(1, 1, 400, generator=torch.Generator().manual_seed(0))
    assert abs(float(sample_importance(depth, weight, 400, drawn).mean() - fine.mean())) < 0.02


def test_up_and_down_are_free_but_the_sides_of_the_box_are_empty():
    network = tiny()
    grids = network.generate_head(torch.zeros(1, network.styles, 32)).grids
    field = TriGridField(grids, network.decoder, 1.0)
    outside = torch.tensor([[[0.41, 0, 0], [0, 0, -0.45], [0.0, 0.45, 0], [0.39, 0.2, 0]]])
    density = field(outside)[0][0]
    assert (density[:2] == -1e3).all() and (density[2:] > -1e3).all()
    assert (field(outside, cropped=False)[0] > -1e3).all()


def test_doubling_keeps_a_plain_colour_and_doubles_a_ramp():
    plain = upsample(torch.full((1, 2, 8, 8), 0.7), low_pass())
    torch.testing.assert_close(plain[..., 2:-2, 2:-2], torch.full((1, 2, 12, 12), 0.7))
    ramp = upsample(torch.arange(8.0).expand(1, 1, 8, 8), low_pass())[0, 0, 8, 3:-3]
    torch.testing.assert_close(ramp.diff(), torch.full((9,), 0.5))


@torch.no_grad()
def test_nothing_is_random_unless_asked_for_and_heads_do_not_mix():
    network, generator = tiny(), torch.Generator().manual_seed(3)
    z = torch.randn(2, TINY.z, generator=generator)
    ws = network.map_styles(z, LABELS[:2])
    both = network.generate_head(ws).render(LABELS[:2])
    again = network.generate_head(ws).render(LABELS[:2])
    assert all(torch.equal(a, b) for a, b in zip(both, again, strict=True))
    alone = network.generate_head(ws[:1]).render(LABELS[:1])
    torch.testing.assert_close(alone.rgb, both.rgb[:1], rtol=1e-4, atol=1e-4)
    assert both.rgb.shape == (2, 3, 512, 512) and (both.rgb[0] - both.rgb[1]).abs().max() > 0.01
    drawn = [
        network(z, LABELS[:2], noise=torch.Generator().manual_seed(i), uniform=lambda shape: torch.zeros(shape)).rgb
        for i in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@torch.no_grad()
def test_one_head_from_all_around_is_the_same_head_seen_one_by_one():
    network = tiny()
    ws = network.map_styles(torch.ones(1, TINY.z), LABELS[:1])
    head = network.generate_head(ws)
    seen = [head.render(label[None], size=8) for label in LABELS]
    assert len(seen) == 4 and seen[0].raw.shape == (1, 3, 8, 8)
    torch.testing.assert_close(seen[2].rgb, network.generate_head(ws).render(LABELS[2:3], size=8).rgb)
    assert LABELS[0, 16] == pytest.approx(FOCAL_SD15)


@torch.no_grad()
def test_truncation_leads_to_the_mean():
    network = tiny()
    network.mapping.w_avg.copy_(torch.randn(32, generator=torch.Generator().manual_seed(5)))
    z = torch.randn(3, TINY.z, generator=torch.Generator().manual_seed(6))
    whole, none = (network.map_styles(z, LABELS[:3], psi) for psi in (1.0, 0.0))
    torch.testing.assert_close(none, network.mapping.w_avg.expand_as(none))
    part = network.map_styles(z, LABELS[:3], 0.5, cutoff=2)
    torch.testing.assert_close(part[:, 2:], whole[:, 2:])
    torch.testing.assert_close(part[:, :2], (whole + none)[:, :2] / 2)
