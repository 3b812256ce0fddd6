"""What the published networks are shown and how they compute: as in the authors' programs where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from portrait360.diffusion.multiview import circular_windows
from portrait360.diffusion.schedule import sqrt_linear_schedule
from portrait360.geometry.cameras import Camera, look_at, orbit
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.presets import PRESETS
from portrait360.pipeline import view_stages
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import PublishedFrame, crop_as_published
from portrait360.pipeline.view_stages import view_synthesis_config
from portrait360.pipeline.views import published
from portrait360.pipeline.views.hint_pictures import HintPictures
from portrait360.pipeline.views.multiview_sampler import START_TIMESTEP, WINDOW, ComputeConfig, SamplerConfig
from portrait360.pipeline.views.published import SubjectInputs, ViewSynthesisConfig, load_stranger, prepare_photo
from portrait360.utils.array_types import Floats
from portrait360.utils.images import composite_over_white

SIZE = 128
FRONT = Camera(look_at(0), FOCAL_SD15)


def config(faithful: bool) -> ViewSynthesisConfig:
    machine = ComputeConfig(torch.device("cpu"), torch.float32)
    return ViewSynthesisConfig(PRESETS["sd15"], (), SIZE, 2, faithful, 0, machine)


def subject(portrait: Portrait, **changes) -> SubjectInputs:
    return SubjectInputs(portrait, load_stranger(), **changes)


def as_array(pictures: torch.Tensor) -> Floats:
    return (pictures[0].permute(1, 2, 0).numpy() + 1) / 2


def test_photos_and_the_view_from_behind_keep_their_background_only_as_published(portrait):
    """A view from behind is a portrait, too, with a camera behind the head and without a face."""
    camera = replace(FRONT, cam2world=look_at(180))
    for photo in (portrait, replace(portrait, camera=camera, landmarks=None, source="proxy")):
        crop = crop_as_published(photo, FOCAL_SD15, SIZE)
        around = crop.alpha < 1e-3
        assert around.mean() > 0.1 and crop.rgb[around].mean() < 0.9
        assert np.array_equal(prepare_photo(photo, config(True)), crop.rgb)
        over_white = prepare_photo(photo, config(False))
        np.testing.assert_allclose(over_white[around], 1, atol=2e-3)
        np.testing.assert_allclose(over_white[crop.alpha == 1], crop.rgb[crop.alpha == 1], atol=1e-6)


@pytest.mark.parametrize("faithful", [True, False])
def test_generated_hints_keep_their_background_only_as_published(portrait, monkeypatch, faithful):
    class Head:
        def render(self, camera: Camera, size: int, *, behind: float | None) -> Floats:
            return np.full((size, size, 3), 0.25 if behind is None else behind, np.float32)

    monkeypatch.setattr(published, "generate_stranger", lambda weights, device: Head())
    hints = published.render_hints(subject(portrait, generator=Path("panohead")), config(faithful), [FRONT])
    np.testing.assert_allclose(as_array(hints), 0.25 if faithful else 1, atol=1e-6)


def test_the_synthetic_hint_is_on_white_in_the_frame_of_the_networks(portrait):
    """In our own frame it would be smaller than the heads that they know."""
    hint = as_array(published.render_hints(subject(portrait), config(True), [FRONT]))
    np.testing.assert_allclose(hint[:8, :8], 1, atol=1e-3)  # a corner
    ours, theirs = (
        load_stranger().render(c, SIZE) for c in (FRONT, PublishedFrame.for_scale().from_published(FRONT))
    )
    np.testing.assert_allclose(hint, composite_over_white(theirs.rgb, theirs.mask), atol=1e-6)
    assert theirs.mask.sum() > 1.05 * ours.mask.sum()


def test_what_is_transparent_in_a_hint_of_the_user_becomes_white(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = 51, 102, 153, 255
    pixels[:, 32:] = 9, 9, 9, 0
    Image.fromarray(pixels).save(tmp_path / "0.png")
    (hint,) = HintPictures.open(tmp_path).load([FRONT], 64)
    np.testing.assert_allclose(hint[:, :32], np.broadcast_to([0.2, 0.4, 0.6], (64, 32, 3)), atol=1e-6)
    np.testing.assert_allclose(hint[:, 32:], 1, atol=1e-6)
    half = composite_over_white(np.full((1, 1, 3), 0.2), np.full((1, 1), 0.5))
    np.testing.assert_allclose(half, 0.6)


def test_windows_stand_side_by_side_only_as_published():
    assert (WINDOW, SamplerConfig(50, faithful=True).overlap, SamplerConfig(20, faithful=False).overlap) == (8, 0, 2)
    whole = circular_windows(32, WINDOW)
    assert [window.views.tolist() for window in whole] == [list(range(i, i + 8)) for i in range(0, 32, 8)]
    assert all((window.weights == 1).all() for window in whole)
    remainder = circular_windows(36, WINDOW)  # of which the published program leaves four out
    assert len(remainder) == 5 and set(torch.cat([window.views for window in remainder]).tolist()) == set(range(36))


def test_noise_leaves_little_of_the_renders_that_it_begins_with():
    """So little that a video file between them, as in the published programs, does not matter."""
    tables = sqrt_linear_schedule(dtype=torch.float16)
    assert START_TIMESTEP == 999 and float(tables.forward_alpha[START_TIMESTEP]) == pytest.approx(0.0682, abs=1e-4)


def test_the_orbit_is_the_published_one_but_for_their_pi():
    """They write 3.14, so the angles of their 32 views differ from even steps by up to 0.22 degrees."""
    theirs = np.degrees(3.14 / 2 + 2 * 3.14 * np.arange(32) / 32) - 90
    apart = (np.array([camera.azimuth for camera in orbit(32)]) - theirs + 180) % 360 - 180
    assert 0.1 < np.abs(apart).max() < 0.23


@pytest.mark.parametrize("faithful", [True, False])
def test_make_computes_on_a_card_as_the_authors_do_where_that_is_asked_for(monkeypatch, faithful):
    monkeypatch.setattr(view_stages, "select_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(view_stages, "require_weights", lambda names, what: [Path(name) for name in names])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    made = view_synthesis_config(MakeOptions(preset="sd15", faithful=faithful))
    assert made is not None
    assert made.steps == (50 if faithful else 20)
    half, encoder = (torch.float16, torch.float32) if faithful else (torch.bfloat16, torch.bfloat16)
    assert (made.compute.dtype, made.compute.vae_dtype, made.compute.mixed) == (half, encoder, faithful)
