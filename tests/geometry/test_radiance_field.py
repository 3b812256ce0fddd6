"""Laws of the field: tables, rays, weights, and the kernels against the formulas."""

import numpy as np
import pytest
import torch
from cv2 import dilate, erode

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.surfaces.visual_hull import visual_hull
from portrait360.geometry.volumes.hash_grid import HashGrid, encode_positions
from portrait360.geometry.volumes.radiance_field import FieldOptions, RadianceField, read_out
from portrait360.geometry.volumes.ray_blending import (
    SURFACE_ALPHA,
    blend,
    blend_in_torch,
    sample_weights,
    surface_distance,
)
from portrait360.geometry.volumes.ray_marching import march, march_in_torch
from portrait360.geometry.volumes.volume import CELLS, HALF, STEP, Volume
from tests.fixtures.viewer_scene import AXES, mesh

FOCAL = focal_from_fov(18.8)
SMALL = FieldOptions(levels=4, coarsest=8, finest=64, rows=1 << 12, hidden=16)


def grid(seed: int = 0) -> HashGrid:
    out = HashGrid(levels=4, coarsest=4, finest=40, rows=1 << 10)
    torch.nn.init.normal_(out.table, generator=torch.Generator().manual_seed(seed))
    return out


def test_kernels_and_formula_agree_on_values_and_gradients():
    table = grid()
    places = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1  # some outside of the cube
    shape = table.resolutions, table.starts
    fast, slow = table(places), encode_positions(table.table, places, *shape)
    assert fast.shape == (500, table.channels)
    torch.testing.assert_close(fast, slow)
    weight = torch.randn(fast.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((fast * weight).sum(), table.table)
    torch.testing.assert_close(ours, torch.autograd.grad((slow * weight).sum(), table.table))


def test_a_table_of_ones_is_one_everywhere_and_a_corner_is_its_row():
    table = grid()
    at = torch.tensor([[0.25, 0.5, 0.75]])
    row = 1 + 5 * (2 + 5 * 3)  # of the coarsest level, which has 5 corners a side
    torch.testing.assert_close(table(at)[0, :2], table.table[row])
    torch.nn.init.ones_(table.table)
    torch.testing.assert_close(table(torch.rand(50, 3)), torch.ones(50, table.channels))


def test_both_ways_of_marching_take_the_same_samples():
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(16, 16, 16, generator=generator) * (torch.rand(16, 16, 16, generator=generator) > 0.6) * 80
    origin, directions = Camera(look_at(30, 20), FOCAL).rays(20, 20)
    towards = torch.tensor(directions.reshape(-1, 3), dtype=torch.float32)
    start = torch.tensor(origin, dtype=torch.float32).expand(len(towards), 3)
    offsets = torch.rand(len(towards), generator=generator)
    options = {"half": 0.4, "step": 0.01, "empty": 0.5}
    fast, slow = (
        march(density, start, towards, offsets, **options),
        march_in_torch(density, start, towards, offsets, **options),
    )
    keys = [set(zip(ray.tolist(), (at / 1e-3).round().tolist(), strict=True)) for ray, at in (fast, slow)]
    assert len(keys[0]) > 1000
    assert len(keys[0] ^ keys[1]) < 0.01 * len(keys[0])  # samples on the very face of a cell may fall to either side
    assert (fast[0].diff() >= 0).all()


def test_weights_sum_to_what_a_ray_stops_and_surfaces_lie_where_their_share_is_reached():
    generator = torch.Generator().manual_seed(3)
    ray = torch.tensor([0] * 5 + [2] * 7 + [3] * 2)
    thickness = torch.rand(len(ray), generator=generator)
    got = sample_weights(thickness, ray)
    for i in (0, 2, 3):
        own = thickness[ray == i]
        assert float(got[ray == i].sum()) == pytest.approx(1 - float(torch.exp(-own.sum())), abs=1e-6)
        before = torch.cat([torch.zeros(1), own.cumsum(0)[:-1]])
        torch.testing.assert_close(got[ray == i], torch.exp(-before) * (1 - torch.exp(-own)))
    alpha = torch.zeros(4).index_add(0, ray, got)
    distance = torch.arange(len(ray)).float()
    front = surface_distance(got, distance, ray, alpha, STEP)
    assert front[1] == 0
    for i in (0, 2, 3):
        own = distance[ray == i].double().numpy()
        edges = np.concatenate([own - STEP / 2, own + STEP / 2]).reshape(2, -1).T.ravel()
        total = np.repeat(np.concatenate([[0], got[ray == i].double().cumsum(0).numpy()]), 2)[1:-1]
        assert float(front[i]) == pytest.approx(np.interp(SURFACE_ALPHA * total[-1], total, edges), abs=1e-5)


def test_blending_in_kernels_agrees_with_the_formula_on_values_and_gradients():
    generator = torch.Generator().manual_seed(4)
    ray = torch.sort(torch.randint(0, 90, (2000,), generator=generator))[0]
    ray = ray[ray != 7]  # one that meets nothing
    thickness = (2 * torch.rand(len(ray), generator=generator) ** 3).requires_grad_()
    colour = torch.rand(len(ray), 5, generator=generator).requires_grad_()
    values = thickness, colour, ray, torch.arange(len(ray)).float(), 91, STEP
    fast, slow = blend(*values), blend_in_torch(*values)
    torch.testing.assert_close(fast, slow)
    along = torch.randn(91, 5, generator=generator), torch.randn(91, generator=generator)
    ours, theirs = (
        torch.autograd.grad((rgb * along[0]).sum() + (alpha * along[1]).sum(), values[:2])
        for rgb, alpha, _ in (fast, slow)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("seen", [True, False])
def test_density_and_colour_of_kernels_agree_with_the_formula_and_so_do_gradients(seen: bool):
    field, generator = RadianceField(SMALL), torch.Generator().manual_seed(5)
    field.reset(generator)
    with torch.no_grad():
        field.grid.table.mul_(1e5)  # densities on both sides of their limit
        field.last.bias[0] = 6.0
    places = torch.rand(600, 3, generator=generator) - 0.5
    directions = torch.randn(600, 3, generator=generator) if seen else None
    hidden = field.second(field.first(field.grid(places + 0.5)).relu()).relu()
    fast, slow = field(places, directions), read_out(field.last(hidden), directions)
    torch.testing.assert_close(fast, slow)
    along = torch.randn(600, generator=generator) / 100, torch.randn(600, 3, generator=generator)
    ours, theirs = (
        torch.autograd.grad((got[0] * along[0]).sum() + (got[1] * along[1]).sum(), list(field.parameters()))
        for got in (fast, slow)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_cells_move_halfway_to_the_mean_of_what_is_found_in_them():
    field = RadianceField(SMALL)
    field.density.fill_(4.0)
    at = torch.tensor([[0.001, 0.001, 0.001], [0.002, 0.001, 0.003], [-0.4, 0.2, 0.3]])
    field.update_occupancy(at, torch.tensor([1.0, 3.0, 10.0]))
    middle, low = CELLS // 2, [int((v + HALF) * CELLS) for v in (-0.4, 0.2, 0.3)]
    assert float(field.density[middle, middle, middle]) == 3.0
    assert float(field.density[tuple(low)]) == 7.0
    assert int((field.density != 4.0).sum()) == 2


def test_an_even_fog_stops_light_as_beer_and_lambert_say():
    field = RadianceField(SMALL)
    field.reset(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for value in field.parameters():
            value.zero_()
        field.last.bias[0] = float(np.log(2.0))
        field.density.fill_(2.0)
    with torch.no_grad():
        seen = field.render(torch.tensor([[0.0, 0, 2]]), torch.tensor([[0.0, 0, -1]]))
    assert float(seen.alpha) == pytest.approx(1 - np.exp(-2 * 2 * HALF), abs=2 * STEP)
    torch.testing.assert_close(seen.rgb[0] / seen.alpha, torch.full((3,), 0.5))
    field.density.zero_()
    empty = field.render(torch.tensor([[0.0, 0, 2]]), torch.tensor([[0.0, 0, -1]]))
    assert float(empty.alpha.detach()) == 0 and empty.samples == 0


class Slope(Volume):
    """Solid below an oblique plane; its grid holds the densest of every cell, as rays of a fit may leave it."""

    def __init__(self) -> None:
        super().__init__()
        centres = (torch.stack(torch.meshgrid(*[torch.arange(CELLS)] * 3, indexing="ij"), -1) + 0.5) / CELLS - HALF
        inside = [self(places.reshape(-1, 3) + dx)[0] for places in centres for dx in torch.rand(4, 1, 3) / CELLS]
        self.density.copy_(torch.stack(inside).view(CELLS, 4, CELLS, CELLS).amax(1))

    def forward(self, places, directions=None):
        density = 1000.0 * (places @ torch.tensor([0.31, 1.0, 0.17]) < 0)
        return density, torch.full((len(places), 3), 0.5)


def test_no_ray_ends_in_the_empty_corner_of_a_cell_once_the_grid_is_settled():
    slope, camera = Slope(), Camera(look_at(20, 12), FOCAL)
    before, pinholes = slope.density.clone(), slope.render_image(camera, 128)[1] < 0.5
    slope.refresh_occupancy()
    alpha = slope.render_image(camera, 128)[1]
    solid = erode(dilate((alpha > 0.9).astype(np.uint8), np.ones((5, 5))), np.ones((9, 9))) > 0
    assert solid.sum() > 2000 and pinholes[solid].any()
    assert alpha[solid].min() > 0.9
    assert not slope.density[before == 0].any()


def test_the_mean_colour_has_no_direction():
    field = RadianceField(SMALL)
    field.reset(torch.Generator().manual_seed(0))
    places = torch.rand(20, 3) - 0.5
    angles = torch.linspace(0, 2 * np.pi, 9)[:-1]
    ways = [torch.stack([a.sin(), torch.tensor(0.3), a.cos()]).expand(20, 3) for a in angles]
    round_about = torch.stack([field(places, way)[1].logit() for way in ways])
    torch.testing.assert_close(round_about.mean(0), field(places)[1].logit(), atol=1e-5, rtol=1e-4)


def test_the_hull_holds_the_body_and_little_else():
    cameras = orbit(16, focal=FOCAL) + [Camera(look_at(a, 60), FOCAL) for a in (0, 90, 180, 270)]
    mattes = [mesh().draw(camera, 96).mask.astype(np.float32) for camera in cameras]
    hull = visual_hull(mattes, cameras, half=0.5, cells=48)
    centres = (np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij"), -1) + 0.5) / 48 - 0.5
    far = ((centres / AXES) ** 2).sum(-1)
    assert hull[far < 0.95].all()
    framed = np.abs(centres[..., 1]) < 0.38  # what the orbit has in its frame
    assert not hull[framed & (far > 1.7)].any()
