"""Laws of pictures composed of cutouts: labels, directions and normals move along, and edges stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.synth.photography import compose as composition
from portrait360.synth.photography.backgrounds import BACKGROUNDS, sample_background
from portrait360.synth.photography.compose import (
    VOID,
    Draft,
    Picture,
    compose,
    put_before,
    put_neighbour_before,
    repeat_border,
)
from portrait360.synth.photography.cutout import Cutout
from portrait360.synth.photography.filters import FILTERS, photograph
from portrait360.synth.photography.occluders import OCCLUDERS, draw_occluder, find_site
from portrait360.synth.photography.placement import make_affine, turn_flow, turn_normals, warp_labels
from portrait360.utils.portrait_labels import FACE_LABELS, Label

SIDE, SIZE = 80, 64


def squares(side: int = SIDE) -> Cutout:
    """A body with a face and hair whose strands fall to the lower right."""
    labels = np.zeros((side, side), np.uint8)
    unit = side // 8
    labels[unit : 6 * unit, 2 * unit : 6 * unit] = Label.HAIR
    labels[2 * unit : 5 * unit, 3 * unit : 6 * unit] = Label.FACE
    labels[6 * unit :, unit : 7 * unit] = Label.CLOTHES
    inside = (labels > 0).astype(np.float32)
    colours = np.linspace(0.1, 0.9, 15 * 3, dtype=np.float32).reshape(15, 3)
    strands = (labels == Label.HAIR).astype(np.float32)[..., None]
    flow = strands * np.array([np.cos(np.pi / 3), np.sin(np.pi / 3)], np.float32)
    normals = inside[..., None] * np.array([0.6, 0.0, -0.8], np.float32)
    return Cutout(colours[labels] * inside[..., None], inside, labels, flow, normals)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    person = squares()
    return [compose(np.random.default_rng(seed), person, [person], SIZE) for seed in range(120)]


def test_the_same_seed_gives_the_same_bytes():
    a, b = (compose(np.random.default_rng(5), squares(), [squares()], SIZE) for _ in range(2))
    for name in ("rgb", "alpha", "labels", "flow", "normals", "affine"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert a.flip == b.flip


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 9.0])
def test_labels_follow_the_affine(flip, degrees):
    """The middle of each label goes where the affine puts it, and its area grows by the affine's determinant."""
    labels = squares().labels.copy()
    labels[labels == Label.CLOTHES] = 0  # it touches the edge, where it goes on
    affine = make_affine(SIDE, 96, flip, degrees, 0.9, (0.03, -0.02))
    moved = warp_labels(labels, affine, 96)
    for region in ((Label.FACE,), (Label.FACE, Label.HAIR)):
        before, after = (np.argwhere(np.isin(v, region))[:, ::-1] for v in (labels, moved))
        expected = affine[:, :2] @ before.mean(0) + affine[:, 2]
        np.testing.assert_allclose(after.mean(0), expected, atol=0.5)  # as pixels are whole
        assert len(after) / len(before) == pytest.approx(abs(np.linalg.det(affine[:, :2])), rel=0.05)


def test_an_affine_without_change_keeps_labels():
    labels = squares().labels
    assert np.array_equal(warp_labels(labels, make_affine(SIDE, SIDE, False, 0, 1, (0, 0)), SIDE), labels)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [-70.0, 12.0])
def test_directions_turn_as_the_affine_turns_vectors(flip, degrees):
    linear = make_affine(10, 10, flip, degrees, 1.0, (0, 0))[:, :2]
    angles = np.linspace(0, 3, 9)
    flow = np.stack([np.cos(2 * angles), np.sin(2 * angles)], -1)[None].astype(np.float32)
    x, y = linear @ np.stack([np.cos(angles), np.sin(angles)])
    twice = 2 * np.arctan2(y, x)
    expected = np.stack([np.cos(twice), np.sin(twice)], -1)[None]
    np.testing.assert_allclose(turn_flow(flow, degrees, flip), expected, atol=1e-5)
    normals = np.stack([0.6 * np.cos(angles), 0.6 * np.sin(angles), np.full(9, -0.8)], -1)[None].astype(np.float32)
    turned = turn_normals(normals, degrees, flip)
    np.testing.assert_allclose(turned[0, :, :2], 0.6 * np.stack([x, y], -1), atol=1e-5)
    np.testing.assert_allclose(turned[0, :, 2], -0.8, atol=1e-5)


def test_a_flip_mirrors():
    labels = squares().labels
    mirror = make_affine(SIDE, SIDE, True, 0, 1, (0, 0))
    assert np.array_equal(warp_labels(labels, mirror, SIDE), labels[:, ::-1])


def test_outside_the_person_is_background_or_object(pictures):
    for p in pictures:
        outside = (p.alpha == 0) & (p.labels != VOID)
        assert set(np.unique(p.labels[outside])) <= {Label.BACKGROUND, Label.OBJECT}
        assert not p.flow[outside].any() and not p.normals[outside].any()


def test_void_is_a_border_and_repeats_the_last_row(pictures):
    some = 0
    for p in pictures:
        void = p.labels == VOID
        rows, columns = np.flatnonzero(~void.all(1)), np.flatnonzero(~void.all(0))
        inner = np.zeros_like(void)
        inner[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert np.array_equal(inner, ~void)
        assert len(rows) >= 0.48 * SIZE and len(columns) >= 0.48 * SIZE
        for row in (*range(rows[0]), *range(rows[-1] + 1, SIZE)):
            assert np.array_equal(p.rgb[row], p.rgb[np.clip(row, rows[0], rows[-1])])
        some += void.any()
    assert 0.2 < some / len(pictures) < 0.5


def test_affine_and_flip_tell_where_the_face_went(pictures):
    face = np.argwhere(squares().labels == Label.FACE)[:, ::-1].mean(0)
    for p in pictures:
        x, y = np.rint(p.affine[:, :2] @ face + p.affine[:, 2]).astype(int)
        assert p.labels[y, x] in (Label.FACE, Label.OBJECT, Label.CLOTHES, VOID)
        assert (np.linalg.det(p.affine[:, :2]) < 0) == p.flip


def test_the_share_of_heads_that_leave_at_the_top(pictures):
    cut = np.mean([np.isin(p.labels[0], (Label.HAIR, Label.FACE)).any() for p in pictures])
    assert 0.03 < cut < 0.25


@pytest.mark.parametrize("name", [*BACKGROUNDS, ""])
def test_backgrounds_are_pictures(name):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        picture = BACKGROUNDS[name][0](rng, SIZE) if name else sample_background(rng, SIZE)
        assert picture.shape == (SIZE, SIZE, 3) and np.isfinite(picture).all()
        assert picture.min() >= -0.05 and picture.max() <= 1.4


@pytest.mark.parametrize("name", OCCLUDERS)
def test_objects_cover_a_part(name):
    person, covers = squares(), []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        occluder = OCCLUDERS[name](rng, find_site(rng, person.rgb, person.labels))
        assert occluder.rgb.shape == (SIDE, SIDE, 3) and np.isfinite(occluder.rgb).all()
        assert occluder.alpha.min() >= 0 and occluder.alpha.max() <= 1
        covers.append(occluder.alpha.mean())
    assert 0.002 < np.mean(covers) < 0.6


def test_an_object_hides_the_person_and_a_garment_does_not():
    person = squares()
    scene = Draft(person.rgb, person.alpha, person.labels, person.flow, person.normals)
    seen = set()
    for seed in range(40):
        occluder = draw_occluder(np.random.default_rng(seed), scene.rgb, scene.labels)
        after, hidden = put_before(scene, occluder), occluder.alpha > 0.5
        assert (after.labels[hidden] == occluder.label).all()
        assert np.array_equal(after.labels[~hidden], scene.labels[~hidden])
        assert not after.flow[hidden].any()
        assert ((after.alpha[hidden] > 0.5) == occluder.is_subject).all()
        seen.add(occluder.label)
    assert seen == {Label.OBJECT, Label.CLOTHES}


def test_a_neighbour_hides_a_shoulder_and_is_not_the_person():
    person, hidden_shares = squares(), []
    scene = Draft(person.rgb, person.alpha, person.labels, person.flow, person.normals)
    face = np.isin(scene.labels, FACE_LABELS)
    for seed in range(40):
        after = put_neighbour_before(np.random.default_rng(seed), scene, [person])
        hidden = after.labels != scene.labels
        assert (after.labels[hidden] == Label.BACKGROUND).all() and not after.alpha[hidden].any()
        assert not after.flow[hidden].any() and not after.normals[hidden].any()
        assert hidden[face].mean() <= 0.25
        hidden_shares.append(hidden[scene.labels > 0].mean())
    assert np.mean(np.array(hidden_shares) > 0.02) > 0.5


def test_a_neighbour_comes_from_numbers_of_its_own(monkeypatch):
    """The rest of the picture, to the border that is drawn last, is as it would be without."""
    person, differ = squares(), []
    for seed in range(25):
        pictures = []
        for share in (0.0, 1.0):
            monkeypatch.setattr(composition, "NEIGHBOUR_SHARE", share)
            pictures.append(compose(np.random.default_rng(seed), person, [person], SIZE, "photo"))
        without, beside = pictures
        assert np.array_equal(without.affine, beside.affine)
        assert np.array_equal(without.labels == VOID, beside.labels == VOID)
        differ.append(not np.array_equal(without.rgb, beside.rgb))
    assert np.mean(differ) > 0.5


@pytest.mark.parametrize("name", [*FILTERS, "photograph"])
def test_filters_keep_pictures_and_their_edges(name):
    """A step at column 32.5, averaged over rows: the gradient's centre of mass moves less than 1.5 pixels."""
    step = np.full((SIZE, SIZE, 3), 0.3, np.float32)
    step[:, SIZE // 2 :] = (0.75, 0.7, 0.65)
    found = []
    for seed in range(8):
        filtered = np.clip((FILTERS | {"photograph": photograph})[name](np.random.default_rng(seed), step), 0, 1)
        assert filtered.shape == step.shape and np.isfinite(filtered).all()
        profile = filtered.mean((0, 2))[SIZE // 2 - 7 : SIZE // 2 + 7].astype(np.float64)
        slope = np.abs(np.diff(profile))
        slope = np.where(slope > 0.5 * slope.max(), slope, 0)
        if slope.max() > 0.05:  # some filters whiten one side, or drown it in noise
            found.append((slope * np.arange(-6, 7)).sum() / slope.sum())
    assert len(found) >= 2
    assert np.abs(found).max() < 1.5


def test_a_border_repeats_within_its_limits():
    labels = np.zeros((SIZE, SIZE), np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    for seed in range(20):
        rgb, _, marked = repeat_border(np.random.default_rng(seed), noise, noise[..., 0].copy(), labels)
        assert (marked == VOID).any()
        assert np.array_equal(rgb[marked != VOID], noise[marked != VOID])
