"""Laws of the splat rasteriser: kernels against formulas, formulas against the definition, gradients, symmetry."""

import numpy as np
import pytest
import torch
from plyfile import PlyData

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.gaussians.cpu_kernels import LEAST, MIN_ALPHA, find_exponential
from portrait360.geometry.gaussians.flat_gaussians import draw, find_covariances, flatten
from portrait360.geometry.gaussians.projection import project, rotation_matrices
from portrait360.geometry.gaussians.rasterizer import blend_in_torch, rasterize, render_image
from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.ply import write_ply
from portrait360.pipeline.export.units import METRES
from tests.fixtures.viewer_scene import rendered, splats

CAMERA = Camera(look_at(25, 12, roll=7), focal_from_fov(18.8))
NAMES = ("means", "scales", "rotations", "opacities", "colours")


def tensors(count: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    values = splats(count)
    return [torch.tensor(getattr(values, name), dtype=dtype).requires_grad_() for name in NAMES]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_kernels_and_formula_agree_on_pictures_and_gradients():
    weight = torch.randn(40, 40, 5, generator=torch.Generator().manual_seed(1))
    weight[..., 4] = 0  # the depth has no gradient
    results = []
    for way in (rasterize, blend_in_torch):
        values = tensors(300)
        seen = way(project(*values, CAMERA, 40), 40)
        results.append((seen.detach(), torch.autograd.grad((seen * weight).sum(), values)))
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-6, rtol=1e-5)
    for name, ours, theirs in zip(NAMES, results[0][1], results[1][1], strict=True):
        assert float((ours - theirs).abs().max()) < 2e-5 * float(theirs.abs().max()), name


def test_the_picture_is_that_of_the_definition():
    values = splats(400)
    rgb, alpha, _ = render_image(values, CAMERA, 96)
    assert psnr(rgb * alpha[..., None] + 0.5 * (1 - alpha[..., None]), rendered(values, CAMERA, 96, 0.5)) > 60


def test_gradients_are_those_of_finite_differences():
    values = tensors(12, torch.float64)
    goal = torch.rand(24, 24, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss() -> torch.Tensor:
        return ((blend_in_torch(project(*values, CAMERA, 24), 24)[..., :4] - goal) ** 2).sum()

    exact = torch.autograd.grad(loss(), values)
    generator = torch.Generator().manual_seed(4)
    for name, value, slope in zip(NAMES, values, exact, strict=True):
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            value += 1e-6 * way
            up = loss()
            value -= 2e-6 * way
            down = loss()
            value += 1e-6 * way
        assert float((up - down) / 2e-6) == pytest.approx(float((slope * way).sum()), rel=2e-3, abs=1e-3), name


def test_order_in_the_list_does_not_matter_and_order_in_space_does():
    values, order = splats(500), np.random.default_rng(0).permutation(500)
    first, second = render_image(values, CAMERA, 64), render_image(values[order], CAMERA, 64)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    behind = render_image(values, CAMERA.orbit_to(azimuth=205, elevation=-12), 64)
    assert np.abs(first[0][:, ::-1] - behind[0]).max() > 0.1


def test_turning_splats_and_camera_together_changes_nothing():
    values = splats(300)
    turn = look_at(40, -30)[:3, :3]
    quaternion = torch.tensor(values.rotations)
    turned = turn @ rotation_matrices(quaternion).numpy()
    from scipy.spatial.transform import Rotation

    moved = GaussianSplats(
        values.means @ turn.T,
        values.scales,
        Rotation.from_matrix(turned).as_quat(scalar_first=True),
        values.opacities,
        values.colours,
    )
    pose = np.eye(4)
    pose[:3, :3] = turn
    there = Camera(pose @ CAMERA.cam2world, CAMERA.focal)
    for a, b in zip(render_image(values, CAMERA, 64), render_image(moved, there, 64), strict=True):
        assert np.abs(a - b)[..., None].max() < 0.05 and psnr(a, b) > 60


@pytest.mark.gpu
def test_gsplat_and_formula_agree_on_pictures_and_gradients():
    gsplat = pytest.importorskip("portrait360.geometry.gaussians.gsplat_backend")
    weight = torch.randn(40, 40, 4, generator=torch.Generator().manual_seed(1)).cuda()
    results = []
    for way in (gsplat.blend_with_gsplat, blend_in_torch):
        values = [value.detach().cuda().requires_grad_() for value in tensors(300)]
        seen = way(project(*values, CAMERA, 40), 40)[..., :4]
        results.append((seen.detach().cpu().numpy(), torch.autograd.grad((seen * weight).sum(), values)))
    (picture_a, gradients_a), (picture_b, gradients_b) = results
    assert psnr(picture_a, picture_b) > 45
    for a, b in zip(gradients_a, gradients_b, strict=True):
        assert float((a - b).norm() / b.norm()) < 0.05


def test_the_depth_is_that_of_the_nearest_opaque_splat():
    means = np.array([[0, 0, 0.1], [0, 0, -0.2], [0, 0, 0.3]], np.float32)
    turns = np.tile(np.float32([1, 0, 0, 0]), (3, 1))
    values = GaussianSplats(
        means, np.full((3, 3), 0.05, np.float32), turns, np.float32([0.9, 0.9, 0.2]), np.zeros((3, 3))
    )
    depth = render_image(values, Camera(look_at(0), focal_from_fov(18.8)), 33)[2]
    assert depth[16, 16] == pytest.approx(2.7 - 0.1, abs=1e-5)  # the one at .3 stops too little
    assert depth[0, 0] == 0


def test_the_projection_without_gradients_is_the_same():
    values, camera = splats(400), Camera(look_at(40, 25), CAMERA.focal, (0.47, 0.52))
    rgb, alpha = draw(flatten(values, find_covariances(values), camera, 64), values.colours)
    goal, goal_alpha, _ = render_image(values, camera, 64)
    assert np.abs(rgb * alpha[..., None] - goal * goal_alpha[..., None]).max() < 2e-3
    assert np.abs(alpha - goal_alpha).max() < 2e-3 and alpha.max() > 0.5
    behind = flatten(values, find_covariances(values), Camera(look_at(40, radius=0.01), CAMERA.focal), 64)
    assert (behind.opacities == 0).any() and (behind.opacities > 0).any()


def test_tiles_list_splats_from_near_to_far_and_equals_by_number():
    values = splats(400)
    values.means[200:] = values.means[:200]  # at the same depths
    flat = flatten(values, find_covariances(values), CAMERA, 64)
    for first, last in zip(flat.starts[:-1], flat.starts[1:], strict=True):
        ids = flat.ids[first:last]
        assert (ids == ids[np.lexsort((ids, flat.depths[ids]))]).all()
    assert len(flat.ids) > 400


def test_the_exponential_of_the_tiles_is_that_of_numpy():
    powers = np.linspace(float(LEAST), 0, 2001, dtype=np.float32)
    exact = np.exp(16 * powers.astype(np.float64))
    error = np.abs(find_exponential.py_func(powers) / exact - 1)
    assert error.max() < 5e-5 and error[exact > MIN_ALPHA].max() < 5e-6
    assert exact[0] < MIN_ALPHA / 2  # less is not drawn anyway


def test_what_is_behind_the_camera_is_not_drawn():
    values = splats(100)
    moved = GaussianSplats(values.means + CAMERA.position * 2, *(getattr(values, name) for name in NAMES[1:]))
    assert render_image(moved, CAMERA, 32)[1].max() == 0


def test_an_independent_reader_of_the_ply_sees_the_same(tmp_path):
    values = splats(500)
    write_ply(tmp_path / "head.ply", values)
    rows = PlyData.read(tmp_path / "head.ply")["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([rows[name] for name in names], -1).astype(np.float32)

    read = GaussianSplats(
        columns("x", "y", "z") / METRES,
        np.exp(columns("scale_0", "scale_1", "scale_2")) / METRES,
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        1 / (1 + np.exp(-columns("opacity")[:, 0])),
        0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2"),
    )
    over = Camera(np.diag([-1.0, -1, 1, 1]) @ CAMERA.cam2world, CAMERA.focal, CAMERA.center)  # y points down in files
    for a, b in zip(render_image(values, CAMERA, 96)[:2], render_image(read, over, 96)[:2], strict=True):
        assert psnr(a, b) > 60
