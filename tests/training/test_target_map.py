"""The map that a perfect completion would hold, and the samples that are made of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from portrait360.evaluation.image_metrics import psnr
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame, portrait_frame
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.synth.render.renderer import render
from portrait360.training.data import head_map_samples
from portrait360.training.data.head_map_samples import Sample, make_sample, render_photo, write_samples
from portrait360.training.data.target_map import make_target_map, scan_head
from portrait360.utils.images import over_grey

FOCAL = focal_from_fov(18.8)
SAME = PortraitFrame(np.eye(3), 1.0, np.zeros(3))


@pytest.fixture(scope="module")
def seen(rig_head):
    return scan_head(rig_head, FOCAL)


@pytest.fixture(scope="module")
def taken(rig_head):
    """A portrait whose angles are a little off, as fitted ones are."""
    true = Camera(look_at(12, 4, roll=3), FOCAL)
    photo = render_photo(rig_head, true, np.random.default_rng(3))
    return true, make_portrait(photo, azimuth=15, elevation=2)


def test_a_head_that_is_turned_has_its_map_turned(seen):
    layout = HeadMap(columns=64, rows=44)
    turn = look_at(90)[:3, :3] @ np.diag([1, -1, -1])  # about the vertical axis
    straight, turned = (
        make_target_map(seen, SAME, layout),
        make_target_map(seen, PortraitFrame(turn, 1.0, np.zeros(3)), layout),
    )
    for name in ("rgb", "radius", "seen"):
        one, other = getattr(straight, name), getattr(turned, name)
        assert np.abs(np.roll(one, -16, 1) - other).mean() < 1e-3, name


def test_a_head_twice_as_large_is_twice_as_far_out(seen):
    """Where rays start at one point: in the fan of the crown, if its centre is the origin."""
    layout = HeadMap(columns=64, rows=44, bend=0.0)
    one, other = (
        make_target_map(seen, SAME, layout),
        make_target_map(seen, PortraitFrame(np.eye(3), 0.8, np.zeros(3)), layout),
    )
    cap = slice(2, layout.cap_rows - 1)
    assert np.median(other.radius[cap] / one.radius[cap]) == pytest.approx(1.25, rel=5e-3)
    assert one.kinds.sum(0) == pytest.approx(1, abs=1e-4)


def test_the_frame_keeps_the_photos_pixels_in_place(rig_head, taken):
    true, portrait = taken
    view = render(
        rig_head,
        portrait_frame(portrait, true, head_map_samples.PHOTO).camera(portrait.camera),
        portrait.rgb.shape[0],
    )
    both = (view.alpha > 0.95) & (portrait.alpha > 0.95) & (portrait.inside_photo > 0.5)
    assert both.sum() > 0.8 * (portrait.alpha > 0.95).sum()
    assert np.abs(view.rgb - portrait.rgb)[both].mean() < 0.04


def test_the_truth_seen_from_all_sides_is_the_head(rig_head, seen, taken):
    """What no completion can beat: the proxy's map with the true radius and colours."""
    true, portrait = taken
    proxy, frame = proxy_from_photo(portrait), portrait_frame(portrait, true, head_map_samples.PHOTO)
    truth = make_target_map(seen, frame, LAYOUT)
    perfect = Proxy(LAYOUT, truth.radius.astype(np.float32), truth.rgb.astype(np.float32), 0 * proxy.visible,
                    proxy.photo, proxy.alpha, proxy.camera)  # fmt: skip
    for azimuth in (90, 180, 270):
        camera = Camera(look_at(azimuth), FOCAL)
        goal = render(rig_head, frame.camera(camera), 128)
        errors = [
            psnr(over_grey(view.rgb, view.mask), over_grey(goal.rgb, goal.alpha), goal.alpha > 0.5)
            for view in (proxy.render(camera, 128), perfect.render(camera, 128))
        ]
        assert errors[1] > max(errors[0] + 2, 21), azimuth


def test_a_sample_comes_back_and_a_stopped_run_goes_on(seen, taken, tmp_path: Path):
    true, portrait = taken
    truth = make_target_map(seen, portrait_frame(portrait, true, head_map_samples.PHOTO), LAYOUT)
    one = make_sample(portrait, proxy_from_photo(portrait), truth)
    calls: list[int] = []

    def make(seed: int) -> list[Sample]:
        calls.append(seed)
        return [one]

    assert write_samples(make, tmp_path, "train", 4) == 1 and write_samples(make, tmp_path, "train", 4) == 0
    assert calls == [4]
    back = Sample.load(tmp_path / "0000004-0.npz")
    for entry in fields(Sample):
        a, b = getattr(one, entry.name), getattr(back, entry.name)
        assert a.dtype == b.dtype and np.array_equal(a, b), entry.name
