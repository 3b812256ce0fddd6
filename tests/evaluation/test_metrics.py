"""Metrics on cases with a known answer, beside independent libraries, and on methods broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.evaluation.consistency import RefitSettings, downscale_view, measure_consistency, warp_error
from portrait360.evaluation.face_metrics import estimate_azimuth, observe_face, pose_error, share_of_faces_behind
from portrait360.evaluation.image_metrics import BEST, mask_iou, psnr, sharpness, ssim
from portrait360.evaluation.protocols import PROTOCOLS, band_of
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.images import over_grey

FOCAL = focal_from_fov(18.8)


def picture(seed: int, size: int = 64, channels: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).random((size, size, channels))
    return cv2.GaussianBlur(noise, (0, 0), 2).astype(np.float32)


# two pictures


def test_equal_pictures_are_as_good_as_can_be():
    one = picture(0)
    assert psnr(one, one) == BEST and ssim(one, one) == pytest.approx(1)


@pytest.mark.parametrize("spread", [0.01, 0.05, 0.1])
def test_psnr_of_noise_is_its_spread(spread):
    one = np.full((256, 256, 3), 0.5)
    noise = np.random.default_rng(1).normal(0, spread, one.shape)
    assert psnr(one + noise, one) == pytest.approx(-20 * np.log10(spread), abs=0.05)
    assert psnr(one + 0.1, one) == pytest.approx(20)


@pytest.mark.parametrize("seed", range(3))
def test_psnr_and_ssim_are_those_of_two_libraries(seed):
    metrics = pytest.importorskip("skimage.metrics")
    functional = pytest.importorskip("torchmetrics.functional.image")
    import torch

    one, other = picture(seed), (picture(seed) + 0.1 * picture(seed + 10)).clip(0, 1).astype(np.float32)
    assert psnr(other, one) == pytest.approx(metrics.peak_signal_noise_ratio(one, other, data_range=1), abs=1e-4)
    theirs = metrics.structural_similarity(
        one, other, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(other, one) == pytest.approx(theirs, abs=1e-4)
    a, b = (torch.from_numpy(p).permute(2, 0, 1)[None] for p in (other, one))
    mean, pixels = functional.structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    assert ssim(other, one) == pytest.approx(float(pixels[..., 5:-5, 5:-5].mean()), abs=1e-4)
    assert ssim(other, one) == pytest.approx(float(mean), abs=1e-3)  # which counts the border, mirrored outwards
    assert psnr(other, one) == pytest.approx(
        float(functional.peak_signal_noise_ratio(a, b, data_range=1.0)), abs=1e-4
    )


def test_inside_counts_only_what_is_inside():
    one = picture(3)
    other = one.copy()
    other[:32] += 0.2
    lower = np.zeros(one.shape[:2], bool)
    lower[40:] = True
    assert psnr(other, one, lower) == BEST and psnr(other, one, ~lower) < 20
    assert ssim(other, one, lower) == pytest.approx(1) and ssim(other, one) < 0.99
    assert np.isnan(psnr(one, one, np.zeros_like(lower)))


def test_sharpness_falls_with_blur_and_rises_with_noise():
    one, inside = picture(4), np.ones((64, 64), bool)
    assert sharpness(one, one, inside) == 1 and sharpness(0.5 + 0.5 * one, one, inside) == pytest.approx(0.25)
    assert sharpness(cv2.GaussianBlur(one, (0, 0), 2), one, inside) < 0.6
    assert sharpness(one + 0.1 * picture(5, 64).round(1), one, inside) > 1.02
    assert np.isnan(sharpness(one, np.zeros_like(one), inside))


def test_overlap_of_squares():
    a, b = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    a[:4], b[2:6] = True, True
    assert mask_iou(a, b) == pytest.approx(2 / 6) and mask_iou(a, a) == 1 and mask_iou(~(a | True), b & False) == 1


def test_bands_meet_where_the_protocol_says():
    assert [band_of(a) for a in (0, 45, -45, 46, 134, 135, 180, 225, 226, 315)] == [
        "front", "front", "front", "side", "side", "back", "back", "back", "side", "front",
    ]  # fmt: skip


# faces


@pytest.mark.parametrize("azimuth", [-40, -15, 0, 30])
def test_the_average_face_is_posed_exactly(azimuth):
    camera = Camera(look_at(azimuth, 5), FOCAL)
    points = camera.project(load_morphable().landmarks.mean)[0] * 256
    assert estimate_azimuth(points, 256, FOCAL) == pytest.approx(azimuth, abs=0.01)


def test_pose_error_goes_the_short_way_round():
    assert pose_error([359, 5, -10], [1, 5, 5]) == 2 and np.isnan(pose_error([], []))


# methods broken on purpose: each is caught by the figure that is meant for it


@pytest.fixture(scope="module")
def head():
    return prepare_scene(build(sample(5_000_019, "human")))


@pytest.fixture(scope="module")
def views(head):
    def seen(camera: Camera) -> View:
        shown = render(head, camera, 128)
        return View(shown.rgb, shown.alpha, camera)

    cameras = orbit(36, focal=FOCAL)
    return [seen(camera) for camera in cameras], seen


USUAL = RefitSettings()


@pytest.fixture(scope="module")
def sound(views):
    return measure_consistency(views[0], USUAL)


def test_views_of_one_head_agree(sound):
    assert sound.refit > 27 and sound.warp < 5 and sound.seam < 1.8


def test_shuffled_views_are_caught_by_the_refit(views, sound):
    order = np.random.default_rng(0).permutation(36)
    shuffled = [replace(views[0][j], camera=views[0][i].camera) for i, j in enumerate(order)]
    found = measure_consistency(shuffled, USUAL)
    assert found.refit < sound.refit - 5 and found.warp > 4 * sound.warp


def test_colours_that_flicker_are_caught_by_the_warp_error(views, sound):
    rng = np.random.default_rng(1)
    flicker = [replace(view, rgb=(view.rgb * rng.uniform(0.94, 1.06, 3)).clip(0, 1)) for view in views[0]]
    found = measure_consistency(flicker, USUAL)
    assert found.warp > 1.5 * sound.warp and found.seam < 2


def test_a_last_window_that_is_turned_is_caught_by_the_seam(views, sound):
    sheet, seen = views
    turned = [replace(seen(v.camera.orbit_to(azimuth=v.camera.azimuth + 5)), camera=v.camera) for v in sheet[-8:]]
    found = measure_consistency([*sheet[:-8], *turned], USUAL)
    assert found.seam > 1.5 * sound.seam


def test_views_without_a_common_place_are_no_head(views):
    apart = []
    for i, view in enumerate(views[0]):
        alpha = np.zeros_like(view.alpha)
        alpha[:8, :8] = 1 if i % 4 else 0
        apart.append(replace(view, alpha=alpha))
    found = measure_consistency(apart, USUAL)
    assert found.refit == 0 and found.warp == 255


def test_a_face_on_the_back_is_caught_by_the_detector(views):
    azimuths = [view.camera.azimuth for view in views[0]]
    pictures = [over_grey(view.rgb, view.alpha).astype(np.float32) for view in views[0]]
    assert share_of_faces_behind(pictures, azimuths) == 0
    pasted = [pictures[0] if 130 < azimuth < 230 else p for p, azimuth in zip(pictures, azimuths, strict=True)]
    assert share_of_faces_behind(pasted, azimuths) == 1
    assert np.isnan(share_of_faces_behind(pictures[:3], azimuths[:3]))


def test_a_view_from_elsewhere_is_caught_by_the_pose(views):
    _, seen = views
    faces = {azimuth: observe_face(shown(seen(Camera(look_at(azimuth), FOCAL))), FOCAL) for azimuth in (0, 20)}
    assert all(face is not None for face in faces.values())
    by_fit, by_landmarks = ({a: f.by_fit for a, f in faces.items()}, {a: f.by_landmarks for a, f in faces.items()})
    for said in (by_fit, by_landmarks):
        true = pose_error([said[0], said[20]], [0, 20])
        assert true < 6 and pose_error([said[20], said[0]], [0, 20]) > true + 8


def shown(view: View) -> np.ndarray:
    return over_grey(view.rgb, view.alpha).astype(np.float32)


# warping


def test_a_flat_wall_warps_to_itself():
    """A textured plane through the origin, whose depth is known in closed form."""
    texture = cv2.resize(picture(5, 16), (512, 512), interpolation=cv2.INTER_CUBIC).clip(0, 1)

    def seen(azimuth: float) -> tuple[View, np.ndarray]:
        camera = Camera(look_at(azimuth), FOCAL)
        origin, directions = camera.rays(96, 96)
        distance = -origin[2] / directions[..., 2]
        points = origin + directions * distance[..., None]
        at = ((points[..., :2] + 0.5) * 512 - 0.5).astype(np.float32)
        rgb = cv2.remap(texture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        depth = (directions @ camera.cam2world[:3, 2]) * distance
        return View(rgb, np.ones((96, 96), np.float32), camera), depth.astype(np.float32)

    (one, far), (other, near) = seen(0), seen(10)
    assert warp_error(one, other, far, near) < 0.6
    assert warp_error(replace(one, rgb=one.rgb * 0.9), other, far, near) > 5
    assert np.isnan(warp_error(one, other, far * 1.1, near))  # not the same surface


def test_reducing_keeps_cover_and_colour():
    view = View(np.full((64, 64, 3), 0.3, np.float32), np.zeros((64, 64), np.float32), orbit(1)[0])
    view.alpha[:31] = 1
    small = downscale_view(view, 32)
    assert small.alpha.mean() == pytest.approx(view.alpha.mean())
    assert np.allclose(small.rgb[small.alpha > 0], 0.3, atol=1e-3)


# protocols


def test_protocols_never_change():
    """A change is a new name. If this fails, add a version beside the old one instead."""
    assert {name: protocol.digest for name, protocol in PROTOCOLS.items()} == FROZEN


FROZEN = {
    "synthetic-v1": "051452453612",
    "synthetic-v2": "63bae4d2f105",
    "wild-v1": "025378d822c1",
    "wild-v2": "ad3aadcbe98e",
    "renderme360-v1": "615368597809",
    "nersemble-v1": "fc41b1ae4854",
    "folder-v1": "abfb034f87a8",
    "portrait-diffusion-v1": "747c7e356473",
}
