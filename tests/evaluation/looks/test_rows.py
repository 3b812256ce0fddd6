"""Rows of looks on heads that were broken on purpose: each fault is caught by its own row."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.evaluation.looks.rows import ROWS, measure_rows
from portrait360.evaluation.looks.score import load_model
from portrait360.evaluation.looks.sheet import FOCAL, SIZE, ReadView, Sheet, read_view
from portrait360.geometry.cameras import Camera, look_at
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.portrait_labels import Label
from tests.fixtures.broken_looks import break_sheet, make_synthetic_sheet

OTHER = 14  # seed of another person
LEAST = {  # by how much the row of a painted fault rises at least
    "ears removed": 0.5,
    "band in the nape": 0.05,
    "corduroy": 0.3,
    "background stripe": 0.03,
    "collar torn": 0.05,
    "half darkened": 8.0,
    "identity swapped": 0.1,
}


@pytest.fixture(scope="module")
def sheet(rig_head) -> Sheet:
    return make_synthetic_sheet(rig_head)


@pytest.fixture(scope="module")
def stranger(sheet) -> Sheet:
    """The same photo, with another person in front."""
    head = prepare_scene(build(sample(OTHER, "human")))
    seen = {v.azimuth: render(head, Camera(look_at(v.azimuth), FOCAL), SIZE) for v in sheet.near(0, 65)}
    views = [
        read_view(a, seen[a].rgb, seen[a].alpha, read=lambda rgb: np.zeros(rgb.shape[:2], np.uint8)) for a in seen
    ]
    return replace(sheet, views=(*views, *sheet.near(66)))


@pytest.fixture(scope="module")
def broken(sheet, stranger) -> dict[str, tuple[str, Sheet]]:
    return break_sheet(sheet, stranger, reread=False)


def change(sheet: Sheet, **changes) -> Sheet:
    """Change the same things of every view; a value is computed from the view."""
    views = (replace(view, **{name: value(view) for name, value in changes.items()}) for view in sheet.views)
    return replace(sheet, views=tuple(views))


def relabel(view: ReadView, old: Label, new: Label, where: np.ndarray | bool = True) -> np.ndarray:
    return np.where((view.labels == old) & where, np.uint8(new), view.labels)


@pytest.mark.parametrize("fault", LEAST)
def test_a_painted_fault_is_caught_by_its_row(sheet, broken, fault):
    row, faulty = broken[fault]
    assert ROWS[row](faulty) > ROWS[row](sheet) + LEAST[fault]


@pytest.mark.parametrize("row", ["skin in hair behind", "corduroy", "background leakage", "collar torn"])
def test_the_whole_head_has_none_of_them(sheet, row):
    assert ROWS[row](sheet) < 0.03


def test_ears_of_the_whole_head_are_in_place(sheet):
    assert ROWS["ears missing"](sheet) < 0.1
    ears = change(sheet, labels=lambda view: np.roll(view.labels, -SIZE // 5, 0))
    assert ROWS["ears missing"](ears) > 0.9


def test_hidden_ears_are_not_missed(sheet):
    photo = replace(sheet.photo, labels=relabel(sheet.photo, Label.EAR, Label.HAIR))
    assert np.isnan(ROWS["ears missing"](replace(sheet, photo=photo)))


def test_the_photo_all_around_differs_in_nothing_from_itself(sheet):
    same = replace(sheet, views=tuple(replace(sheet.photo, azimuth=view.azimuth) for view in sheet.views))
    rows = {name: ROWS[name](same) for name in ("hair drift", "skin drift", "cloth drift", "blur", "wax", "unlike")}
    rows |= {name: ROWS[name](same) for name in ("hair contrast", "corduroy", "collar torn", "background leakage")}
    assert all(abs(value) < 1e-4 for value in rows.values()), rows
    assert ROWS["faces behind"](same) == 1 and ROWS["faces behind"](sheet) == 0


def test_a_hard_border_of_the_photo_is_a_seam(sheet):
    half = np.repeat(np.arange(SIZE)[None] < SIZE / 2, SIZE, 0).astype(np.float32)
    known = change(sheet, photo_share=lambda view: half)
    dark = change(known, rgb=lambda view: view.rgb * (1 - 0.4 * half[..., None]))
    assert np.isnan(ROWS["seam energy"](sheet))
    assert ROWS["seam energy"](dark) > ROWS["seam energy"](known) + 0.3


def test_blur_and_flat_hair_are_counted_in_octaves(sheet):
    soft = change(sheet, rgb=lambda view: cv2.GaussianBlur(view.rgb, (0, 0), 2.5))
    for row in ("blur", "wax", "hair contrast"):
        assert ROWS[row](soft) > ROWS[row](sheet) + 0.5, row


@pytest.mark.parametrize("region, label", [("hair", Label.HAIR), ("cloth", Label.CLOTHES)])
def test_drift_is_the_distance_of_the_shift(sheet, region, label):
    """A region of one colour in the photo and of another in all views lies as far from it as the two colours do."""
    colours = np.float32([[[0.4, 0.3, 0.2], [0.6, 0.2, 0.3]]])
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2Lab)[0]
    flat = [lambda view, c=c: np.where(view.shows(label)[..., None], c, view.rgb) for c in colours[0]]
    other = replace(change(sheet, rgb=flat[1]), photo=replace(sheet.photo, rgb=flat[0](sheet.photo)))
    assert ROWS[f"{region} drift"](other) == pytest.approx(np.linalg.norm(lab[1] - lab[0]), rel=1e-4)


def test_labels_tell_of_lost_headwear_bare_chests_and_islands(sheet):
    hat = replace(sheet, photo=replace(sheet.photo, labels=relabel(sheet.photo, Label.HAIR, Label.HAT)))
    assert ROWS["headwear lost"](hat) > 0.9 > 0.1 > ROWS["headwear lost"](sheet)
    bare = change(sheet, labels=lambda view: relabel(view, Label.CLOTHES, Label.SKIN))
    assert ROWS["bare chest"](bare) > 0.5 > 0.1 > ROWS["bare chest"](sheet)
    dots = (np.indices((SIZE, SIZE)) % 16 < 8).all(0)
    spots = change(sheet, labels=lambda view: relabel(view, Label.CLOTHES, Label.SKIN, dots))
    assert ROWS["islands"](spots) > ROWS["islands"](sheet) + 0.01


def test_what_no_head_looks_like_from_there_is_unnatural(sheet):
    """The photo all around, and a head upside down; the whole head is like others from all sides."""
    same = replace(sheet, views=tuple(replace(sheet.photo, azimuth=view.azimuth) for view in sheet.views))
    fallen = change(sheet, rgb=lambda view: np.ascontiguousarray(view.rgb[::-1]))
    whole = ROWS["unnatural"](sheet)
    assert whole < 1 and ROWS["unnatural"](same) > whole + 1 and ROWS["unnatural"](fallen) > whole + 0.2


def test_flecks_are_loose_pieces_and_holes(sheet):
    def spot(view: ReadView, value: float, y: int, x: int) -> np.ndarray:
        alpha = (view.alpha > 0.5).astype(np.float32)
        alpha[y : y + 5, x : x + 5] = value
        return alpha

    clean = change(sheet, alpha=lambda view: cv2.morphologyEx(
        (view.alpha > 0.5).astype(np.float32), cv2.MORPH_CLOSE, np.ones((7, 7))
    ))  # fmt: skip
    area = np.mean([1 / (view.alpha > 0.5).sum() for view in clean.views])
    loose, hole = (change(clean, alpha=lambda v, s=s: spot(v, *s)) for s in ((1, 2, 2), (0, 128, 128)))
    before = ROWS["flecks"](clean)
    assert ROWS["flecks"](loose) - before == pytest.approx(25e3 * area, rel=0.05)
    assert ROWS["flecks"](hole) - before == pytest.approx(25e3 * area, rel=0.1)


@pytest.mark.slow
def test_every_painted_fault_costs_half_a_point(sheet):
    model, other = load_model(), make_synthetic_sheet(prepare_scene(build(sample(OTHER, "human"))))
    whole = model.score(measure_rows(sheet))
    falls = {
        name: whole - model.score(measure_rows(b)) for name, (_, b) in break_sheet(sheet, other, reread=True).items()
    }
    assert min(falls.values()) > 0.5, falls
