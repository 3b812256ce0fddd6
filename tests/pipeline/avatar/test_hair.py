"""Hair of an avatar: what covers the scalp, how locks lie, whose colours they take, what a photo says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.pipeline.avatar.hair.baldness import share_of_hair, uncover_scalp
from portrait360.pipeline.avatar.hair.depth import (
    drop_loops,
    find_hanging,
    find_side_reach,
    settle_behind,
    tidy_nape,
)
from portrait360.pipeline.avatar.hair.donors import borrow_colours, fold
from portrait360.pipeline.avatar.hair.locks import form_locks
from portrait360.pipeline.avatar.hair.outline import clean_hair, make_frame, trace_outline
from portrait360.pipeline.avatar.hair.search import choose_styles, find_hair, read_target, soften_style
from portrait360.pipeline.avatar.hair.texture import add_curls, find_hidden_knot, order_strands, size_curls
from portrait360.pipeline.avatar.hair.undercoat import lay_undercoat
from portrait360.pipeline.avatar.photo.pixels import VOID
from portrait360.pipeline.reading.reading import Reading, Value
from portrait360.synth.hair.hairdo import LOCK, size_locks
from portrait360.synth.sampling.hairstyles import HairStyle, find_style
from portrait360.synth.sampling.parameters import Hair, HeadParameters, Wear
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import CAMERA, SIDE, grow, photograph, read


@pytest.mark.parametrize(("hat", "style"), [("none", "receding"), ("headphones", "receding"), ("turban", "bald")])
def test_a_hat_that_shows_no_hair_has_none_below_it(head, hat, style):
    photo = photograph(head, "bald")
    reading = replace(read(0.5), answers={"style": {"receding": 0.6, "bald": 0.1}})
    assert find_hair(head, photo, HeadParameters(wear=Wear(hat=hat)), reading).hair.style == style


@pytest.mark.parametrize("woman", [0.05, 0.8])
def test_no_man_gets_a_bun_that_the_photo_does_not_show(head, woman):
    """The reader often takes a man's hair that is swept back for a bun behind the head."""
    styles = {"man_bun": 0.3, "low_ponytail": 0.2, "bun": 0.2, "slick_back": 0.1}
    reading = replace(
        read(woman), answers={**read(woman).answers, "style": styles, "family": {"bun": 0.8, "short": 0.2}}
    )
    chosen = choose_styles(reading, read_target(photograph(head, "slick_back")))
    assert "slick_back" in chosen
    assert ("bun" in chosen) == ("low_ponytail" in chosen) == (woman > 0.5)


def test_an_undercoat_lies_on_the_scalp_among_the_roots(head):
    group = grow(head, "crew")
    coat = np.concatenate([g.points for g in lay_undercoat([group], head)])
    height = head.field.distance(coat)
    assert len(coat) > 5000
    assert height.min() > -0.004
    assert height.max() < 0.02
    roots = group.points[:, 0]
    assert (coat[:, 0].min(0) > roots.min(0) - 0.04).all()
    assert (coat[:, 0].max(0) < roots.max(0) + 0.04).all()


def test_locks_leave_roots_and_what_hangs_before_the_head(head):
    group = grow(head, "long")
    moved = form_locks(group, head, 0).points
    before = (group.points[..., 2] > 0.09).all(1)
    assert before.any()
    np.testing.assert_allclose(moved[before], group.points[before], atol=1e-4)
    np.testing.assert_array_equal(moved[:, 0], group.points[:, 0])
    behind = (group.points[:, -1, 2] < -0.03) & (group.points[:, -1, 1] < -0.2)
    assert np.linalg.norm(moved - group.points, axis=-1)[behind].max() > 0.01


def make_curtain(count: int = 400) -> F32:
    """Return straight strands that hang in a ring."""
    around = np.linspace(-np.pi, np.pi, count, endpoint=False)
    roots = np.stack([0.2 * np.sin(around), np.full(count, 0.1), 0.2 * np.cos(around)], -1)
    return (roots[:, None] - np.linspace(0, 0.4, 9)[None, :, None] * np.array([0, 1, 0])).astype(np.float32)


def test_strands_behind_take_the_colours_of_their_side():
    points = make_curtain()
    x, z = points[:, 0, 0], points[:, 0, 2]
    known = np.repeat((z > 0.0)[:, None], 9, 1).astype(np.float32)
    profile = np.zeros((*points.shape[:2], 3), np.float32)
    profile[..., 0] = np.sign(x)[:, None]  # the sides differ in one channel, roots and tips in another
    profile[..., 2] = np.linspace(-1, 1, 9)
    gain = borrow_colours(points, known, profile)
    assert gain is not None
    hue = gain - gain.mean(-1, keepdims=True)
    behind = (z < -0.05) & (np.abs(x) > 0.03)
    side = hue[behind][..., 0] - hue[behind][..., 1]
    assert (np.sign(side.mean(1)) == np.sign(x[behind])).mean() > 0.95
    assert (hue[behind][:, -1, 2] > hue[behind][:, 0, 2] + 0.5).all()


def test_few_strands_lend_no_colours():
    points = make_curtain(60)
    known = np.zeros(points.shape[:2], np.float32)
    known[:20] = 1.0
    assert borrow_colours(points, known, np.zeros((*points.shape[:2], 3), np.float32)) is None


def test_the_back_is_folded_to_the_front():
    folded = fold(np.array([0.4, 1.0, np.pi, -np.pi, -1.2]), np.array([0.3, 1.2]))
    np.testing.assert_allclose(folded, [0.4, 1.0, 0.3, -0.3, -1.2], atol=1e-6)


def test_short_hair_is_no_thicker_behind_than_at_the_sides(head):
    group = grow(head, "crew")
    points = group.points.copy()
    behind = (points[..., 2] < -0.12) & (points[..., 1] < 0.08)
    points[..., 2] -= 0.08 * behind
    side = find_side_reach([group], head)
    settled = settle_behind(replace(group, points=points), head, side).points
    inner = behind & (np.arange(points.shape[1]) > 1)
    assert head.field.distance(points)[inner].max() > 0.08
    assert head.field.distance(settled)[inner].max() < 0.06


def test_a_bob_hangs_as_straight_behind_as_beside_the_neck(head):
    assert find_hanging([grow(head, "bob")]) == 1
    assert find_hanging([grow(head, "crew")]) == 0
    group = grow(head, "bob")
    behind = (group.points[..., 2] < -0.10) & (group.points[..., 1] < -0.09)
    assert behind.sum() > 100
    for hanging in (0.0, 1.0):
        tidy = tidy_nape(settle_behind(group, head, 0.04, hanging), head, hanging).points
        moved = np.linalg.norm(tidy - group.points, axis=-1)[behind].mean()
        assert moved > 0.02 if hanging == 0 else moved < 0.004


def test_loops_of_drawn_back_hair_are_dropped(head):
    group = grow(head, "bun")
    points = group.points.copy()
    points[7, 3:-3] = head.field.push_out(points[7, 3:-3], 0.2)
    kept = drop_loops(replace(group, points=points), head)
    assert len(kept.points) > 0.6 * len(points)
    assert not (kept.points == points[7]).all((1, 2)).any()


@pytest.mark.parametrize(
    ("name", "woman", "is_knot"),
    [("low_bun", 0.8, True), ("low_bun", 0.2, False), ("bob", 0.8, False), ("afro_medium", 0.8, False)],
)
def test_a_hidden_knot_is_a_womans_whose_neck_and_forehead_are_bare(head, name, woman, is_knot):
    found = find_hidden_knot(photograph(head, name), head, read(woman))
    assert (found is not None) == is_knot
    assert found is None or found.ties


def test_a_drawing_has_no_hidden_knot(head):
    assert find_hidden_knot(photograph(head, "low_bun"), head, read(0.8, toon=0.9)) is None


@pytest.mark.parametrize("family", ["curly", "locks", "bald"])
def test_hair_that_the_reader_is_sure_of_is_not_drawn_back(head, family):
    photo = photograph(head, "low_bun")
    sure, unsure = (
        replace(read(0.8), answers={**read(0.8).answers, "family": {family: odds}}) for odds in (0.9, 0.5)
    )
    assert find_hidden_knot(photo, head, sure) is None
    assert find_hidden_knot(photo, head, unsure) is not None


@pytest.mark.parametrize("name", ["crew", "messy", "short_bob"])
def test_hair_that_is_surely_cut_loose_is_not_drawn_back(head, name):
    """Hair combed forward or up, with a fringe, or hanging to a blunt cut."""
    photo = photograph(head, "low_bun")
    sure, unsure = (
        replace(read(0.8), answers={**read(0.8).answers, "style": {name: odds, "slick_back": 1 - odds}})
        for odds in (0.9, 0.6)
    )
    assert find_hidden_knot(photo, head, sure) is None
    assert find_hidden_knot(photo, head, unsure) is not None


def test_a_tie_that_the_reader_is_sure_of_is_tried_beside_a_hidden_knot(head):
    target = replace(read_target(photograph(head, "low_bun")), knot=find_style("low_bun"))
    styles = {"double_buns": 0.5, "crop": 0.3, "low_bun": 0.2}
    sure, unsure = (
        replace(read(0.8), answers={**read(0.8).answers, "style": styles, "family": {"bun": odds, "short": 1 - odds}})
        for odds in (0.8, 0.3)
    )
    assert choose_styles(sure, target) == ["low_bun", "double_buns"]
    assert choose_styles(unsure, target) == ["low_bun"]


def test_gloss_on_a_bald_head_is_no_hair(head):
    photo = photograph(head, "bald")
    labels = photo.labels.copy()
    row, column = (int(np.median(axis)) for axis in np.nonzero(photo.shows(Label.FACE)))
    labels[row - 30 : row - 20, column : column + 20] = Label.HAIR
    glossy = replace(photo, labels=labels)
    bald, hairy = (
        replace(read(0.3), answers={**read(0.3).answers, "style": {"bald": odds, "stubbled": 0.1}})
        for odds in (0.8, 0.3)
    )
    assert (uncover_scalp(glossy, bald).labels == photo.labels).all()
    assert uncover_scalp(glossy, hairy) is glossy
    crew = photograph(head, "crew")
    assert uncover_scalp(crew, bald) is crew


def test_what_shines_brighter_than_the_face_on_a_head_that_is_probably_bald_is_no_hair(head):
    photo = photograph(head, "bald")
    labels, radiance = photo.labels.copy(), photo.radiance.copy()
    rows, columns = np.nonzero(photo.shows(Label.FACE))
    top = np.s_[rows.min() : rows.min() + 14, int(np.median(columns)) - 20 : int(np.median(columns)) + 20]
    labels[top] = np.where(labels[top] == Label.FACE, Label.HAIR, labels[top])
    bald, short = (replace(read(0.3), answers={**read(0.3).answers, "family": {"bald": p}}) for p in (0.6, 0.3))
    for light, is_hair in ((3.0, False), (0.3, True)):
        radiance[top] = light * np.median(photo.radiance[photo.shows(Label.FACE)], 0)
        seen = replace(photo, labels=labels, radiance=radiance)
        assert uncover_scalp(seen, bald).shows(Label.HAIR).any() == is_hair
        assert uncover_scalp(seen, short) is seen


def test_a_hat_does_not_make_short_hair_below_it_less(head):
    crew = photograph(head, "crew")
    rows = np.arange(len(crew.labels))[:, None]
    top = rows < np.median(np.nonzero(crew.shows(Label.HAIR))[0]) + 2
    worn = replace(crew, labels=np.where(top & crew.shows(Label.HAIR), np.uint8(Label.HAT), crew.labels))
    cut = replace(crew, labels=np.where(worn.shows(Label.HAT), np.uint8(Label.BACKGROUND), worn.labels))
    assert 0 < share_of_hair(cut) == share_of_hair(worn) < share_of_hair(crew)


def test_curls_of_the_photo_stay():
    crew, hair, reading = find_style("crew"), Hair(style="crew", length=1.6), say({"crew": 1.0})

    def add(style: HairStyle, hair: Hair, curl: float) -> HairStyle:
        return add_curls(style, hair, curl, reading, shows_waves=False)

    assert add(crew, hair, 0.25).wave[0] > 0
    assert add(crew, hair, 0.15) == crew
    assert add(crew, replace(hair, length=0.5), 0.25) == crew
    assert add(find_style("afro"), hair, 0.25) == find_style("afro")


def test_long_hair_has_the_small_curls_that_the_reader_sees_unless_the_photo_shows_waves():
    style, hair, curly = find_style("layered"), Hair(style="layered"), say({"long_curly": 0.5, "layered": 0.3})
    assert add_curls(style, hair, 0.12, curly, shows_waves=False).wave[1] > style.wave[1]
    assert add_curls(style, hair, 0.12, curly, shows_waves=True) == style
    assert add_curls(style, hair, 0.0, curly, shows_waves=False) == style
    assert add_curls(style, hair, 0.12, say({"layered": 0.8}), shows_waves=False) == style


def say(styles: dict[str, float]) -> Reading:
    reading = read(woman=0.5)
    return replace(reading, answers=reading.answers | {"style": styles})


def read_curls(turns: float, coily: float, curly: float = 0.9) -> Reading:
    values = {"curl_turns": turns, "coily": coily, "clump": 0.7, "gravity": 0.2}
    reading = read(0.5)
    return replace(
        reading,
        answers={**reading.answers, "family": {"curly": curly}},
        values={name: Value(value, 0.1) for name, value in values.items()},
    )


@pytest.mark.parametrize("name", ["afro", "curly_fringe"])
@pytest.mark.parametrize("factor", [0.65, 1.3])
def test_curls_have_the_size_that_is_read_however_much_hair_is_curled(name, factor):
    hair = Hair(style=name, curl=factor)
    wide, tight = (size_curls(find_style(name), hair, 0.26, read_curls(t, 0.4)) for t in (6.0, 12.0))
    assert wide.wave[0] * factor * wide.wave[1] == pytest.approx(0.26)
    assert wide.wave[0] > 1.5 * tight.wave[0]


def test_only_curls_that_are_read_are_sized():
    hair = Hair(style="afro")
    assert size_curls(find_style("afro"), hair, 0.26, read_curls(6.0, 0.4, curly=0.2)) == find_style("afro")
    assert size_curls(find_style("long"), hair, 0.26, read_curls(6.0, 0.4)) == find_style("long")
    assert size_curls(find_style("afro"), hair, 0.26, read_curls(12.0, 0.95)).lift == find_style("afro").lift


def test_as_many_strands_wind_together_as_grow_over_the_width_of_a_curl():
    assert size_locks(16000, 0.03, 0.6) == pytest.approx(2 * size_locks(8000, 0.03, 0.6), abs=1)
    assert size_locks(8000, 0.044, 0.6) == pytest.approx(1.21 * size_locks(8000, 0.04, 0.6), abs=1)
    assert size_locks(8000, 0.04, 0.8) < size_locks(8000, 0.04, 0.5)
    assert size_locks(8000, 0.0, 0.6) == size_locks(100, 0.04, 0.6) == LOCK


def test_hair_that_is_combed_alike_lies_in_order():
    messy = find_style("messy")
    assert order_strands(messy, Hair(), 0.1, 0.0) == messy
    assert order_strands(messy, Hair(), 0.1, 1.0).frizz < 0.5 * messy.frizz
    assert order_strands(find_style("long"), Hair(), 0.1, 1.0) == find_style("long")


def test_short_hair_that_is_combed_alike_has_neither_tufts_nor_short_waves():
    messy = find_style("messy")
    smooth = order_strands(messy, Hair(), 0.1, 1.0)
    assert max(smooth.clump / messy.clump, smooth.wave[0] / messy.wave[0]) < 0.5
    for other in (order_strands(messy, Hair(), 0.25, 1.0), order_strands(messy, Hair(length=2.0), 0.1, 1.0)):
        assert (other.clump, other.wave) == (messy.clump, messy.wave)  # curled in the photo, or long


@pytest.mark.parametrize("name", ["quiff", "side_part", "comb_over", "pompadour"])
def test_hair_behind_is_no_stubble_below_long_hair_and_falls(name):
    style = soften_style(find_style(name))
    top, side, back, nape = style.lengths
    assert top > back >= max(side, nape, 0.35 * top)
    assert style.gravity > 0.1  # from where on hair behind is combed down


def test_hair_that_the_photo_cuts_off_hangs_before_the_shoulders(head):
    labels = photograph(head, "long").labels.copy()
    frame = make_frame(CAMERA)
    row = int(frame.place(np.array(0.0), np.array(-0.30))[1] * SIDE)
    labels[row:] = VOID
    assert trace_outline(clean_hair(labels), frame).in_front == (True, True)
