"""Rigs brought to the canonical frame of a portrait, and judged from there."""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from portrait360.evaluation import protocols
from portrait360.evaluation.evaluate import plan_jobs
from portrait360.evaluation.multiview_datasets import CameraRig, RigFrame
from portrait360.evaluation.protocols import Protocol
from portrait360.evaluation.report import gather_results
from portrait360.evaluation.rig_alignment import align_rig, nearest_front
from portrait360.evaluation.runner import run_job
from portrait360.geometry.cameras import azimuth_between
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.portrait.crop import CropSquare, cut
from portrait360.synth.render.renderer import render
from portrait360.utils.errors import UserError
from tests.fixtures.rigs import (
    FOCAL,
    FRONT,
    HIGH,
    PER_UNIT,
    SIZE,
    WIDE,
    WORLD,
    places,
    portrait_of,
    same,
    shots_of,
    true_poses,
    write_renderme,
)
from tests.fixtures.scenes import psnr


def assert_the_same_cameras(alignment, rig: CameraRig, distances: list[float]) -> None:
    for shot, true, distance in zip(rig.shots, places(), distances, strict=True):
        camera = alignment.camera(shot)
        np.testing.assert_allclose(camera.cam2world[:3, :3], true.cam2world[:3, :3], atol=1e-3)
        assert abs(azimuth_between(camera.azimuth, true.azimuth)) < 0.1
        assert abs(camera.elevation - true.elevation) < 0.1
        assert camera.radius == pytest.approx(distance, rel=1e-3)
        assert camera.focal / camera.radius == pytest.approx(FOCAL / RADIUS)


def assert_the_same_picture(alignment, shot: RigFrame, seen) -> None:
    view = alignment.view(shot, SIZE)
    rgb, alpha, covered = view.rgb, view.alpha, view.known_mask > 0.999
    inside = covered & (cv2.erode((seen.alpha > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    assert covered.mean() > 0.5 and inside.mean() > 0.2
    assert psnr(rgb[inside], seen.rgb[inside]) > 33
    assert psnr(alpha[covered], seen.alpha[covered]) > 30


def solid(shot: RigFrame) -> RigFrame:
    """Opaque as far as its photo goes."""
    return replace(shot, load=partial(same, replace(shot.load(), alpha=np.ones((HIGH, WIDE), np.float32))))


def test_cameras_and_pictures_are_those_of_the_canonical_frame(rig_head, rig):
    alignment = align_rig(rig, FRONT, portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT]))
    assert alignment.scale == pytest.approx(1 / PER_UNIT, rel=1e-4)
    np.testing.assert_allclose(alignment.center, WORLD[:3, 3], atol=1e-3)
    assert_the_same_cameras(alignment, rig, [RADIUS] * 8)
    for shot, true in zip(rig.shots, places(), strict=True):
        assert_the_same_picture(alignment, shot, render(rig_head, true, SIZE))


def test_a_picture_keeps_the_perspective_of_its_shot(rig_head):
    distances = [RADIUS * by for by in (0.8, 1.1, 0.9, 0.75, 1.3, 1.0, 0.85, 1.2)]
    rig = shots_of(rig_head, distances)
    alignment = align_rig(rig, FRONT, portrait_of(rig.shots[FRONT], true_poses(distances)[FRONT]))
    assert_the_same_cameras(alignment, rig, distances)
    for shot in rig.shots[::3]:
        assert_the_same_picture(alignment, shot, render(rig_head, alignment.camera(shot), SIZE))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_it_does_not_matter_how_the_photo_lay(rig, quarters):
    pose = true_poses([RADIUS] * 8)[FRONT]
    straight = align_rig(rig, FRONT, portrait_of(rig.shots[FRONT], pose))
    turned = align_rig(rig, FRONT, portrait_of(rig.shots[FRONT], pose, quarters))
    for name in ("center", "rotation", "scale"):
        np.testing.assert_allclose(getattr(turned, name), getattr(straight, name), atol=1e-9)


def test_a_turned_photo_has_its_crop_where_the_portrait_says(rig):
    """The look-alike's own idea of quarters, against the one by which pictures are turned."""
    photo = rig.shots[FRONT].load()
    pose = true_poses([RADIUS] * 8)[FRONT]
    for quarters in (1, 2, 3):
        first, then = (portrait_of(rig.shots[FRONT], pose, q) for q in (0, quarters))
        crop = cut(photo.rgb, CropSquare(first.corner, first.side), 64)
        turned = cut(photo.rotate(quarters).rgb, CropSquare(then.corner, then.side), 64)
        np.testing.assert_allclose(np.rot90(crop, quarters), turned, atol=0.02)


def test_the_portraits_own_shot_gives_its_crop_back(rig):
    """Where the camera looks at the crop's middle, turning it there does nothing."""
    shot = rig.shots[FRONT]
    ahead = shot.K[:2, 2] + 0.5
    side = 150.0
    portrait = replace(portrait_of(shot, true_poses([RADIUS] * 8)[FRONT]), corner=tuple(ahead - side / 2), side=side)
    view = align_rig(rig, FRONT, portrait).view(shot, 96)
    photo = shot.load()
    assert psnr(view.rgb, cut(photo.rgb, CropSquare(portrait.corner, side), 96)) > 45
    assert psnr(view.alpha, cut(photo.alpha, CropSquare(portrait.corner, side), 96)) > 45


def test_beyond_the_photo_nothing_is_there(rig):
    portrait = portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT])
    alignment = replace(align_rig(rig, FRONT, portrait), focal=FOCAL / 3)  # a wide view
    view = alignment.view(rig.shots[FRONT], SIZE)
    for values in (view.alpha, view.known_mask):
        assert max(values[edge].max() for edge in (np.s_[:8], np.s_[-8:], np.s_[:, :8], np.s_[:, -8:])) == 0
    assert view.known_mask[SIZE // 2 - 10 : SIZE // 2 + 10, SIZE // 2 - 10 : SIZE // 2 + 10].min() > 0.999


def test_a_missing_matte_is_found(rig):
    shot = rig.shots[FRONT]
    alignment = align_rig(rig, FRONT, portrait_of(shot, true_poses([RADIUS] * 8)[FRONT]))
    bare = replace(shot, load=partial(same, replace(shot.load(), alpha=None)))
    found, given = alignment.view(bare, SIZE).alpha > 0.5, alignment.view(shot, SIZE).alpha > 0.5
    assert (found & given).sum() > 0.9 * (found | given).sum()


def test_a_crop_of_something_else_is_refused(rig):
    portrait = portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT])
    with pytest.raises(UserError, match="look at"):
        align_rig(rig, FRONT, replace(portrait, corner=(1e6, 0.0)))


def test_the_portrait_is_made_from_the_front(rig):
    assert nearest_front(rig) == FRONT
    assert nearest_front(CameraRig("two", (rig.shots[FRONT + 1], rig.shots[FRONT + 4], rig.shots[FRONT]))) == 2
    with pytest.raises(UserError, match="No face"):
        nearest_front(CameraRig("behind", (rig.shots[(FRONT + 4) % 8],)))


def test_a_recording_is_judged_from_its_folder(tmp_path, rig, monkeypatch):
    """The coarse head made from the front shot is more like the other shots than the front shot itself is."""
    pytest.importorskip("h5py")
    few = Protocol("few-v1", "For tests.", "renderme360", size=96, portrait=256, most=3)
    monkeypatch.setitem(protocols.PROTOCOLS, few.name, few)
    write_renderme(tmp_path / "data", rig)
    (job,) = plan_jobs(few, [tmp_path / "data"], ())
    run_job(job, tmp_path / "cases")
    found = gather_results([job], tmp_path / "cases")
    assert found.failures == {"repeat": {}, "mirror": {}, "proxy": {}}
    proxy, repeat = found.means["proxy"], found.means["repeat"]
    assert proxy["PSNR inside/all"] > repeat["PSNR inside/all"] + 1 and proxy["IoU/all"] > 0.8
