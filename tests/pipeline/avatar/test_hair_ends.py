"""Where hair ends that a photo doesn't show: behind the neck, and behind a bald head."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.hair.baldness import uncover_scalp
from portrait360.pipeline.avatar.hair.ends import NAPE, UNEVEN, end_strands, measure_end, measure_hidden
from portrait360.pipeline.avatar.hair.outline import make_frame
from portrait360.pipeline.avatar.hair.search import choose_styles, drop_cut, find_hair, read_target
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.parameters import Hair, HeadParameters, Wear
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow, photograph, read


@pytest.mark.parametrize("name", ["crew", "bun", "pixie"])
def test_hair_that_leaves_the_neck_bare_is_short(head, name):
    target = read_target(photograph(head, name))
    assert target.is_short and not target.hangs


def test_a_bob_ends_behind_where_it_does_beside_the_neck(head):
    target, lowest = read_target(photograph(head, "bob")), grow(head, "bob").points[..., 1].min()
    assert target.hangs and not target.is_short
    assert target.end is not None and abs(target.end - lowest) < 0.04


def test_nothing_is_said_of_hair_that_goes_behind_the_shoulders(head):
    target = read_target(photograph(head, "long"))
    assert target.end is None and not target.hangs and not target.is_short


def test_a_shade_beside_the_neck_and_a_patch_on_the_chest_are_no_hair(head):
    photo = photograph(head, "crew")
    right, up = locate_pixels(photo)
    wall = (np.abs(right - 0.14) < 0.03) & (up > -0.22) & (up < 0.2) & ~photo.shows(Label.FACE)
    shaded = np.where(wall, np.uint8(Label.HAIR), photo.labels)
    sure, unsure = (np.where(wall, np.float32(alpha), photo.alpha) for alpha in (1.0, 0.7))
    end = measure_end(replace(photo, labels=shaded, alpha=sure))
    assert end is not None and end < NAPE - 0.02
    assert measure_end(replace(photo, labels=shaded, alpha=unsure)) == measure_end(photo)
    patch = (np.abs(right - 0.05) < 0.04) & (up < -0.3)
    assert measure_end(replace(photo, labels=np.where(patch, np.uint8(Label.HAIR), photo.labels))) == measure_end(
        photo
    )


def locate_pixels(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixels lie right and up of the head's centre, canonical."""
    frame = make_frame(photo.camera)
    pixels = (pixel_centres(photo.size, photo.size) - frame.centre) @ np.linalg.inv(frame.plane)
    return pixels[..., 0], pixels[..., 1]


def test_strands_end_at_a_height_and_others_stay(head):
    group, end = grow(head, "long"), -0.2
    (cut,) = end_strands([group], end)
    assert cut.points[..., 1].min() > end - 4 * UNEVEN
    assert measure_hidden([group], end) > 0.1 > 0.01 > measure_hidden([cut], end)
    above = group.points[..., 1].min(1) > end
    assert above.any() and not above.all()
    np.testing.assert_allclose(cut.points[above], group.points[above], atol=1e-6)
    np.testing.assert_allclose(cut.points[:, 0], group.points[:, 0], atol=1e-6)


def test_hair_that_hardly_hangs_lower_is_cut_as_its_style_is(head):
    group = grow(head, "crew")
    (same,) = end_strands([group], NAPE)
    assert same is group


@pytest.mark.parametrize("name", ["mullet", "shag", "long"])
def test_what_hangs_behind_a_bare_neck_is_measured(head, name):
    assert measure_hidden([grow(head, name)], NAPE) > 0.05
    assert measure_hidden([grow(head, "crew")], NAPE) == 0


def test_all_short_cuts_are_tried_on_short_hair_and_bobs_on_womens(head):
    target, styles = read_target(photograph(head, "crew")), {"mullet": 0.5, "shag": 0.2}
    woman, man = (
        replace(read(odds), answers={**read(odds).answers, "style": styles, "family": {"medium": 0.9, "bald": 0.05}})
        for odds in (0.9, 0.1)
    )
    assert {"crew", "swept_pixie", "pompadour"} <= set(choose_styles(man, target))
    assert "bob_fringe" in choose_styles(woman, target)
    assert "bob_fringe" not in choose_styles(man, target)
    assert "receding" not in choose_styles(man, target)


def test_a_bald_head_with_hair_at_both_sides_has_a_horseshoe(head):
    whole, odds = photograph(head, "tonsure"), {"bald": 0.35, "stubbled": 0.33}
    rim = cv2.dilate(whole.shows(Label.BACKGROUND).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    photo = replace(whole, labels=np.where(whole.shows(Label.HAIR) & ~rim, np.uint8(Label.FACE), whole.labels))
    reading = replace(read(0.1), answers={**read(0.1).answers, "style": odds})
    shaven = replace(reading, answers={**reading.answers, "style": {"bald": 0.9}})
    uncovered = uncover_scalp(photo, reading)
    assert uncovered.shows(Label.HAIR).any()
    base = HeadParameters(wear=Wear(hat="none", glasses="none"))
    assert find_hair(head, uncovered, base, reading).hair.style == "tonsure"
    assert not uncover_scalp(photo, shaven).shows(Label.HAIR).any()
    one_side = photo.labels.copy()
    one_side[:, : photo.size // 2][photo.shows(Label.HAIR)[:, : photo.size // 2]] = Label.FACE
    assert not uncover_scalp(replace(photo, labels=one_side), reading).shows(Label.HAIR).any()


def test_hair_that_goes_behind_the_shoulders_unseen_is_not_cut_blunt(head):
    style, hair = find_style("lob"), Hair(style="lob", length=0.75)
    unseen = replace(read_target(photograph(head, "long")), end=None, lowest=-0.29)
    assert style.cut is not None
    longer = drop_cut(style, hair, unseen)
    assert longer.cut is None
    assert max(longer.lengths) * hair.length >= max(find_style("long").lengths)
    for known in (replace(unseen, end=-0.29), replace(unseen, lowest=-0.2)):
        assert drop_cut(style, hair, known) == style
