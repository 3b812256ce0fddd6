"""How the reading of a crop enters the matte, the padding, the warnings and the files."""

from __future__ import annotations

import io
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest

from portrait360.models.portrait_reader import SIDE
from portrait360.pipeline.portrait.crop import CropPadding, CropSquare, Garment, cut_centre
from portrait360.pipeline.portrait.crop_reading import find_reading_warnings, resample_alpha
from portrait360.pipeline.portrait.matting_network import combine_mattes
from portrait360.pipeline.portrait.portrait import READING, Portrait
from portrait360.pipeline.reading.overlay import draw_labels, draw_legend
from portrait360.pipeline.reading.reading import Reading, Value, describe_reading
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label

SQUARE = CropSquare((0.0, 0.0), float(SIDE))


def read(labels: np.ndarray, kind: str = "human") -> Reading:
    """A reading that is sure of these labels."""
    shares = (np.arange(len(Label))[:, None, None] == labels).astype(np.float32)
    flat = np.zeros((SIDE, SIDE, 3), np.float32)
    alpha = (labels > 0).astype(np.float32)
    return Reading(shares, alpha, flat[..., :2], flat, {"kind": {kind: 1.0}}, {"age": Value(0.5, 0.1)})


def head(top: int, left: int, right: int) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[top:200, left:right] = Label.HAIR
    labels[100:180, 100:150] = Label.FACE
    return labels


def warn(labels: np.ndarray, shape=(SIDE, SIDE), azimuth: float = 0.0, square: CropSquare = SQUARE) -> str:
    return " ".join(find_reading_warnings(read(labels), square, shape, azimuth, has_face=True))


def test_hair_within_the_photo_is_no_reason_to_warn():
    assert warn(head(20, 40, 210)) == ""
    # hair that ends at the crop but not at the photo is not cut either
    assert warn(head(0, 0, SIDE), (3 * SIDE, 3 * SIDE), square=CropSquare((SIDE, SIDE), float(SIDE))) == ""


@pytest.mark.parametrize(
    ("edges", "side"), [((0, 40, 210), "top"), ((20, 0, 210), "left"), ((20, 40, SIDE), "right")]
)
def test_hair_at_the_photos_edge_is_cut_off(edges, side):
    assert f"hair is cut off at the {side} of the photo," in warn(head(*edges))


def test_several_cut_sides_are_a_list_and_animals_have_fur():
    labels = head(0, 0, 210)
    assert "hair is cut off at the top and left of the photo," in warn(labels)
    labels[200:, 40:90] = Label.HAIR
    warnings = find_reading_warnings(read(labels, "animal"), SQUARE, (SIDE, SIDE), 0.0, has_face=False)
    sides = "the top, left and bottom of the photo"
    assert warnings == (f"the fur is cut off at {sides}, so the missing part is estimated",)


@pytest.mark.parametrize("turn", [30.0, 330.0, 40.0, 320.0])
def test_a_face_that_is_turned_far_is_told(turn):
    assert ("its far side is a guess" in warn(head(20, 40, 210), azimuth=turn)) == (turn in {40.0, 320.0})


def test_a_face_in_a_muzzle_is_told():
    for kind, has_face, told in (("animal", True, True), ("animal", False, False), ("human", True, False)):
        texts = find_reading_warnings(read(head(20, 40, 210), kind), SQUARE, (SIDE, SIDE), 0.0, has_face=has_face)
        assert any("an animal's head" in text for text in texts) == told


def test_a_face_at_the_lower_edge_is_cut_off():
    assert "face is cut off at the bottom" in warn(head(20, 40, 210), (150, SIDE))
    assert warn(head(20, 40, 210), (SIDE, SIDE)) == ""


def test_a_repeated_border_does_not_hide_the_cut():
    labels = head(0, 40, 210)  # the photo begins at row 50: above it, hair goes on as a repeated border
    square = CropSquare((0.0, -50.0), float(SIDE))
    assert "top" in warn(labels, (SIDE, SIDE), square=square)


def test_hair_that_leaves_the_photo_below_is_told():
    labels = head(20, 40, 210)
    labels[200:, 40:90] = Label.HAIR
    assert "hair is cut off at the bottom" in warn(labels)


def test_a_hat_is_called_a_hat_and_a_turned_face_is_told():
    labels = np.where(head(0, 40, 210) == Label.HAIR, Label.HAT, 0).astype(np.uint8)
    assert "the hat is cut off at the top" in warn(labels)
    assert "turned by 80 degrees" in warn(head(20, 40, 210), azimuth=280.0)
    assert warn(head(20, 40, 210), azimuth=30.0) == ""


def test_alpha_goes_back_to_where_it_was_read():
    labels = head(20, 40, 210)
    alpha, weight = resample_alpha(read(labels), SQUARE, np.zeros(2), 1.0, (SIDE, SIDE))
    np.testing.assert_allclose(alpha, labels > 0, atol=1e-5)
    assert weight[SIDE // 2, SIDE // 2] == 1 and weight[0, 0] == 0
    # a part twice as fine that begins elsewhere
    alpha, _ = resample_alpha(read(labels), SQUARE, np.array([30.0, 10.0]), 2.0, (300, 300))
    assert alpha[150, 150] == (labels[10 + 75, 30 + 75] > 0)
    assert abs(float(alpha.mean()) - float((labels[10:160, 30:180] > 0).mean())) < 0.01


def test_where_both_mattes_agree_nothing_changes_sides():
    rng = np.random.default_rng(0)
    a, b, w = (rng.random((40, 40)).astype(np.float32) for _ in range(3))
    both = combine_mattes(a, b, w)
    agree = (a > 0.5) == (b > 0.5)
    assert ((both > 0.5) == (a > 0.5))[agree].all()
    assert ((combine_mattes(a, b, 0 * w) > 0.5) == (a > 0.5)).all()
    sure = combine_mattes(np.full((1, 1), 0.45), np.full((1, 1), 0.99), np.ones((1, 1)))
    assert sure > 0.5


def test_clothes_that_only_the_reader_sees_are_not_half_transparent():
    labels = head(20, 40, 210)
    labels[200:, 20:230] = Label.CLOTHES
    alpha, weight = resample_alpha(read(labels), SQUARE, np.zeros(2), 1.0, (SIDE, SIDE))
    salient = np.where(labels == Label.CLOTHES, 0, alpha).astype(np.float32)  # on a wall of the same colour
    both = combine_mattes(salient, alpha, weight)
    assert both[220, 60:200].min() > 0.9
    assert both[labels == 0].max() < 0.1
    doubtful = combine_mattes(alpha, np.where(labels == Label.CLOTHES, 0.4, alpha).astype(np.float32), weight)
    assert doubtful[220, 60:200].min() > 0.9


def test_shoulders_beyond_the_photo_are_not_bare():
    size, skin, cloth = 64, np.array([0.8, 0.5, 0.4], np.float32), np.array([0.1, 0.2, 0.6], np.float32)
    rgb = np.broadcast_to(skin, (size, size, 3)).copy()
    rgb[40:48, :16] = cloth  # a scrap of a collar is all that the photo shows
    padding = CropPadding(CropSquare((0.0, 0.0), 64.0), (48, 64), size)
    worn = np.zeros((size, size), np.float32)
    worn[40:48, :16] = 1
    below = np.broadcast_to(np.arange(size)[:, None] >= 48, (size, size))
    filled = padding.fill(rgb, np.ones((size, size), np.float32), Garment(worn, below))
    np.testing.assert_allclose(filled[50:], np.broadcast_to(cloth, (14, size, 3)), atol=0.1)
    np.testing.assert_allclose(filled[:48], rgb[:48], atol=1e-6)
    unknown = padding.fill(rgb, np.ones((size, size), np.float32), Garment(0 * worn, below))
    assert np.ptp(unknown[50:], axis=-1).max() < 1e-6  # grey


def test_the_middle_of_a_reading():
    values = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(cut_centre(values, 1.0, 32), values, atol=1e-6)
    np.testing.assert_allclose(cut_centre(values, 2.0, 16), values[:, 8:24, 8:24], atol=1e-6)


def test_a_portrait_keeps_its_reading(portrait, tmp_path):
    portrait.save(tmp_path)
    again = Portrait.load(tmp_path)
    assert again.reading is not None and portrait.reading is not None
    assert np.array_equal(again.reading.probabilities, portrait.reading.probabilities)
    assert np.array_equal(again.labels, portrait.labels)
    assert again.reading.answers == portrait.reading.answers
    (tmp_path / READING).write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        Portrait.load(tmp_path)
    replace(portrait, reading=None).save(tmp_path)  # as folders were that no reader has seen
    assert Portrait.load(tmp_path).labels is None


@pytest.mark.parametrize("shape", [(len(Label), 10**6, 10**6), (len(Label), SIDE, SIDE + 1)])
def test_a_reading_of_another_size_is_refused_before_it_takes_memory(shape, tmp_path):
    path, altered = tmp_path / READING, tmp_path / "altered.npz"
    read(head(20, 40, 210)).save(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with ZipFile(path) as before, ZipFile(altered, "w") as after:
        for name in before.namelist():
            after.writestr(name, header.getvalue() if name == "probabilities.npy" else before.read(name))
    Reading.load(path)
    with pytest.raises(UserError, match="damaged"):
        Reading.load(altered)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_reading_that_is_cut_off_is_refused(share, tmp_path):
    path = tmp_path / READING
    read(head(20, 40, 210)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="damaged"):
        Reading.load(path)


def test_labels_lie_over_the_picture():
    rgb = np.full((128, 128, 3), 0.5, np.float32)
    labels = head(20, 40, 210)
    drawn = draw_labels(rgb, labels)
    assert drawn.shape == rgb.shape and len(np.unique(drawn.reshape(-1, 3), axis=0)) == 3
    assert draw_legend(128, labels).shape[0] == 128


def say(labels: np.ndarray, kind: str) -> str:
    answers = {"kind": {kind: 0.9, "toon": 0.1}, "style": {"low_bun": 0.6, "bob": 0.4}}
    answers |= {name: {"none": 0.75, "other": 0.25} for name in ("beard", "glasses", "hat")}
    return describe_reading(replace(read(labels), answers=answers))


def test_the_reading_in_words_names_the_likeliest_answers():
    said = say(head(20, 40, 210), "human")
    assert said == "human (90 %), hair low bun (60 %), no beard (75 %), no glasses (75 %), no hat (75 %)"


def test_what_is_asked_of_people_is_not_said_of_animals():
    assert say(head(20, 40, 210), "animal") == "animal (90 %)"


def test_a_hat_that_the_labels_show_is_not_denied():
    labels = head(20, 40, 210)
    labels[20:22, 40:44] = Label.HAT  # crumbs are none
    assert "no hat" in say(labels, "human")
    labels[20:60, 40:210] = Label.HAT
    assert say(labels, "human").endswith("no glasses (75 %), hat (from the segmentation)")


def test_crumbs_are_in_no_legend():
    labels = np.full((100, 100), int(Label.HAIR), np.uint8)
    whole = draw_legend(128, labels)
    labels[0, :10] = Label.HAT
    assert np.array_equal(draw_legend(128, labels), whole)
    labels[:10, :10] = Label.HAT
    assert not np.array_equal(draw_legend(128, labels), whole)
