"""Shapes of real heads: their statistics, and that all that lies in a head follows its skin."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.scan_shape import (
    load_scan_shapes,
    replace_morphs,
    sample_scan_shape,
    scan_offset,
    soften_macros,
)
from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling.parameters import HeadParameters, Shape

SEEDS = range(12)


def scan(seed):
    return sample_scan_shape(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def heads():
    return [make_head(HeadParameters(shape=Shape(scan=scan(seed)))) for seed in SEEDS]


def test_the_same_seed_gives_the_same_head():
    assert scan(3) == scan(3) != scan(4)
    neutral = load_average_head().base
    np.testing.assert_array_equal(scan_offset(scan(3), neutral), scan_offset(scan(3), neutral))


def test_without_a_scan_nothing_changes():
    shape = Shape(gender=0.9, origin=(2.0, 1.0, 0.0), morphs={"nose/nose-hump-incr": 0.4})
    assert soften_macros(shape) is shape


def test_samples_have_the_mean_and_covariance_of_the_scans():
    rng, shapes = np.random.default_rng(0), load_scan_shapes()
    samples = np.array([sample_scan_shape(rng) for _ in range(6000)])
    covariance = shapes.factor @ shapes.factor.T
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(samples.mean(0) - shapes.mean) < 5 * spread / np.sqrt(len(samples))).all()
    error = (np.cov(samples.T) - covariance) / np.outer(spread, spread)
    assert np.abs(error).max() < 0.1 and np.sqrt((error**2).mean()) < 0.02


def test_json_keeps_the_scan_and_reads_heads_from_before_it():
    parameters = HeadParameters(shape=Shape(scan=scan(1)))
    assert HeadParameters.from_json(parameters.to_json()) == parameters
    assert HeadParameters.from_json('{"shape": {"gender": 1.0}}').shape.scan == ()


def test_a_scan_of_another_length_is_refused():
    with pytest.raises(ValueError, match="coefficients"):
        scan_offset((0.5, 0.5), load_average_head().base)


def test_a_scan_replaces_the_morphs_of_the_face_alone():
    shape = replace_morphs(Shape(morphs={"nose/nose-hump-incr": 0.4, "ears/l-ear-lobe-incr": 0.2}), scan(1))
    assert shape.morphs == {"ears/l-ear-lobe-incr": 0.2} and shape.scan == scan(1)


def test_lids_keep_their_distance_from_the_eyeballs(heads):
    plain = make_head(HeadParameters())
    for head in heads:
        for before, after in zip(plain.eyes, head.eyes, strict=True):
            body = slice(0, head.pack.body)
            arm = (plain.base[body] - before.center) / before.radii[1]
            clearance = np.linalg.norm(arm, axis=1)
            lids = (clearance < 1.15) & (arm[:, 2] > 0.4)
            now = np.linalg.norm(head.base[body][lids] - after.center, axis=1) / after.radii[1]
            assert lids.sum() > 20 and np.abs(now - clearance[lids]).max() < 0.02
            assert np.abs(after.radii / before.radii - 1).max() < 0.35


def test_the_lips_meet_and_the_teeth_stay_behind_them(heads):
    lips = load_pack().mask("lips")[: load_pack().body] > 0.9
    for head in heads:
        teeth = np.concatenate([head.base[head.pack.parts[name]] for name in ("upper_teeth", "lower_teeth")])
        assert teeth[:, 2].max() < head.base[: head.pack.body][lips][:, 2].max()
        assert np.abs(teeth[:, 0].mean() - head.base[: head.pack.body][lips][:, 0].mean()) < 0.01


def test_scans_leave_the_shoulders_and_differ_in_the_face(heads):
    rest = load_average_head().base[: load_pack().body]
    offset = np.array([scan_offset(scan(seed), load_average_head().base)[: len(rest)] for seed in SEEDS])
    assert np.abs(offset[:, rest[:, 1] < -1.2]).max() == 0
    face = (rest[:, 2] > 0.2) & (np.abs(rest[:, 1]) < 0.45)
    spread = np.linalg.norm(offset - offset.mean(0), axis=-1)[:, face].mean()
    assert 0.008 < spread < 0.04  # in head heights; real faces differ by about 0.013 once they are aligned


def test_children_take_a_part_of_an_offset():
    neutral = load_average_head().base
    child, adult = (np.linalg.norm(scan_offset(scan(1), neutral, age), axis=1).mean() for age in (0.19, 0.5))
    assert child < 0.6 * adult


def test_expressions_move_a_scan_as_they_move_other_heads():
    shape = Shape(scan=scan(5))
    moved = [
        make_head(HeadParameters(shape=s)).base - make_head(HeadParameters(shape=replace(s, expression={}))).base
        for s in (replace(shape, expression={"jawOpen": 0.6}), Shape(expression={"jawOpen": 0.6}))
    ]
    assert np.linalg.norm(moved[0], axis=1).max() == pytest.approx(np.linalg.norm(moved[1], axis=1).max(), rel=0.25)
