"""Laws of varied hair: a field at zero changes nothing, each does what its name says, and hair stays outside."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.face_guard import covers_face, shorten
from portrait360.synth.hair.hairdo import Hairdo, make_hair
from portrait360.synth.head.bare_head import Head, make_head
from portrait360.synth.sampling.hair_variation import diversify_hair
from portrait360.synth.sampling.hairstyles import EXTRA_STYLES, STYLES
from portrait360.synth.sampling.hats import HATS
from portrait360.synth.sampling.parameters import Hair, Hairline, HeadParameters
from portrait360.synth.sampling.sampler import hair_blocks_hat, sample
from portrait360.synth.sampling.style_descriptor import ALL_STYLES, DESCRIPTOR, FAMILY_OF, describe_style

FIELDS: dict[str, object] = {
    "sweep": 1.0,
    "tuck_left": 1.0,
    "tuck_right": 1.0,
    "wet": 1.0,
    "flyaway": 1.0,
    "messy": 1.0,
    "wind": -1.0,
    "hairline": Hairline(peak=1.0, height=0.5, temples=1.0),
    "streaks": (0.6, 0.4, 0.2),
    "roots": (0.3, 0.1, 0.02),
}
DESCRIBED = {"sweep": "sweep", "tuck_left": "tuck_left", "tuck_right": "tuck_right", "wet": "clump"}


@cache
def bald_head() -> Head:
    return make_head(HeadParameters(seed=4))


def comb_hair(**fields) -> Hairdo:
    person = HeadParameters(seed=4, hair=Hair(**fields))
    return make_hair(bald_head(), person, np.random.default_rng(1))


def join_points(hair: Hairdo) -> np.ndarray:
    return np.concatenate([s.points.reshape(-1, 3) for s in hair.strands])


def assert_equal(one: Hairdo, two: Hairdo) -> None:
    assert len(one.strands) == len(two.strands)
    for a, b in zip(one.strands, two.strands, strict=True):
        for name in ("points", "widths", "albedo"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(one.tint, two.tint)


def deepest(hair: Hairdo) -> float:
    """How deep in the skin one point of 500 above the shoulders lies, at least."""
    points = join_points(hair)
    return -float(np.quantile(bald_head().field.distance(points[points[:, 1] > -0.2]), 0.002))


@pytest.mark.parametrize("style", ["long_fringe", "crop", "ponytail"])
def test_a_field_that_is_zero_draws_no_random_number(style: str):
    plain = comb_hair(style=style)
    zero = dict.fromkeys(("sweep", "tuck_left", "tuck_right", "wet", "flyaway", "messy", "wind"), 0.0)
    assert_equal(plain, comb_hair(style=style, hairline=Hairline(), streaks=None, roots=None, **zero))
    coloured = comb_hair(style=style, streaks=(0.6, 0.4, 0.2), roots=(0.02, 0.01, 0.01), flyaway=0.5)
    for a, b in zip(plain.strands, coloured.strands, strict=False):  # colours and loose strands are only added
        np.testing.assert_array_equal(a.points, b.points)


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_changes_hair_and_is_as_certain_as_its_seed(field: str):
    plain, other = comb_hair(style="bob_fringe"), comb_hair(style="bob_fringe", **{field: FIELDS[field]})
    assert_equal(other, comb_hair(style="bob_fringe", **{field: FIELDS[field]}))
    same_points = plain.strands[0].points.shape == other.strands[0].points.shape and np.array_equal(
        plain.strands[0].points, other.strands[0].points
    )
    assert same_points == (field in ("streaks", "roots", "flyaway"))
    if field in ("streaks", "roots"):
        assert np.abs(plain.strands[0].albedo - other.strands[0].albedo).mean() > 0.003
    if field == "flyaway":
        assert len(other.strands) > len(plain.strands)


@pytest.mark.parametrize("field", ["sweep", "tuck_left", "wet", "messy", "wind", "flyaway"])
def test_hair_stays_outside_the_head_and_the_face(field: str):
    plain, other = comb_hair(style="long"), comb_hair(style="long", **{field: FIELDS[field]})
    assert deepest(other) < deepest(plain) + 0.004
    for strands in other.strands:
        assert not covers_face(bald_head(), strands.points).any()


def cover_of_ear(hair: Hairdo, azimuth: float) -> float:
    """The share of the ear's points before which there is hair, seen from this side."""
    head = bald_head()
    ear = head.body[(head.mask("ears") > 0.6) & (head.body[:, 0] * np.sign(azimuth) > 0)]
    camera = Camera(look_at(azimuth, 0))
    seen, depth = camera.project(ear)
    points = np.concatenate([s.points[:, 1:].reshape(-1, 3) for s in hair.strands])
    uv, near = camera.project(points)
    cells = {(int(u * 100), int(v * 100)) for u, v in uv[near < np.median(depth)]}
    return float(np.mean([(int(u * 100), int(v * 100)) in cells for u, v in seen]))


@pytest.mark.parametrize(("field", "azimuth"), [("tuck_left", 75), ("tuck_right", -75)])
def test_hair_tucked_behind_an_ear_uncovers_it(field: str, azimuth: float):
    plain, other = comb_hair(style="bob"), comb_hair(style="bob", **{field: 1.0})
    assert cover_of_ear(plain, azimuth) > 0.8
    assert cover_of_ear(other, azimuth) < 0.35
    assert cover_of_ear(other, -azimuth) > 0.8


@pytest.mark.parametrize("style", ["bob_fringe", "crop"])
def test_a_fringe_combed_aside_lies_on_that_side(style: str):
    means = []
    for sweep in (-1.0, 0.0, 1.0):
        points = join_points(comb_hair(style=style, sweep=sweep))
        means.append(points[(points[:, 2] > 0.15) & (points[:, 1] > 0.1 * HEAD_HEIGHT), 0].mean())
    assert means[0] < means[1] - 0.005 and means[2] > means[1] + 0.005


def test_shortened_strands_are_the_beginnings_of_the_long_ones():
    line = np.linspace([0, 0, 0], [0, 1, 0], 9)[None].astype(np.float32)
    short = shorten(np.repeat(line, 2, 0), np.array([8.0, 3.5]))
    np.testing.assert_allclose(short[0], line[0], atol=1e-6)
    np.testing.assert_allclose(short[1, -1], [0, 3.5 / 8, 0], atol=1e-6)


def test_new_styles_leave_the_catalogue_of_the_sampler_alone():
    assert not set(EXTRA_STYLES) & set(STYLES)
    assert set(FAMILY_OF) == set(ALL_STYLES) and len(set(FAMILY_OF.values())) == 9


@pytest.mark.parametrize("part", range(3))
def test_new_styles_grow_finite_hair_outside_the_face(part: int):
    for style in list(EXTRA_STYLES)[part::3]:
        hair = comb_hair(style=style)
        points = join_points(hair)
        assert np.isfinite(points).all() and len(points) > 5000
        x, y, z = points.T
        eyes = (np.abs(y + 0.008) < 0.012) & (np.abs(x) < 0.075) & (z > 0.19)
        assert eyes.mean() < 2e-3, style


def test_people_differ_evenly_and_the_same_generator_gives_the_same_person():
    people = [diversify_hair(np.random.default_rng([s, 3]), sample(s, "human")) for s in range(500)]
    assert people[0] == diversify_hair(np.random.default_rng([0, 3]), sample(0, "human"))
    assert all(HeadParameters.from_json(p.to_json()) == p for p in people[:20])
    families = [FAMILY_OF[p.hair.style] for p in people]
    assert all(0.06 < families.count(f) / 500 < 0.17 for f in set(FAMILY_OF.values()))
    assert not any(hair_blocks_hat(p.hair, p.wear.hat) for p in people)
    assert 0.19 < np.mean([p.wear.hat != "none" for p in people]) < 0.31
    hats = {diversify_hair(np.random.default_rng([s, 4]), people[s % 500]).wear.hat for s in range(1500)}
    assert hats == {"none", "headphones", *HATS}
    for field in ("sweep", "tuck_left", "wet", "flyaway", "messy", "wind"):
        assert 0.4 < np.mean([getattr(p.hair, field) == 0 for p in people]) < 0.62, field
    men = [p for p in people if p.shape.gender >= 0.5 and p.shape.age >= 0.38]
    assert 0.25 < np.mean([p.facial.beard == "none" for p in men]) < 0.45
    assert all(p.facial.beard == "none" for p in people if p not in men)


def test_the_descriptor_names_finite_numbers_that_follow_the_hair():
    table = {name: describe_style(Hair(style=name)) for name in ALL_STYLES}
    assert all(row.shape == (len(DESCRIPTOR),) and np.isfinite(row).all() for row in table.values())
    assert len({row.tobytes() for row in table.values()}) == len(table)
    for field, number in DESCRIBED.items():
        plain, other = (describe_style(replace(Hair(style="bob"), **f)) for f in ({}, {field: 1.0}))
        assert other[DESCRIPTOR.index(number)] > plain[DESCRIPTOR.index(number)]
    short, long = (describe_style(Hair(style="long", length=f)) for f in (0.6, 1.4))
    assert long[DESCRIPTOR.index("end_left")] < short[DESCRIPTOR.index("end_left")]
    assert table["braid"][DESCRIPTOR.index("end_back")] < table["bun"][DESCRIPTOR.index("end_back")]
