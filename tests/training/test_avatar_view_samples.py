"""The view denoiser's samples over the avatar: their errors, their seeds and their files."""

from __future__ import annotations

import tarfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks import proxy, small
from portrait360.evaluation.protocols import PROTOCOLS
from portrait360.synth.data.clips import SPLITS, identity_seed
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.sampling.parameters import Hair, Wear
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.sampling.style_descriptor import FAMILY_OF
from portrait360.training.data.avatar_errors import AvatarErrors, align, find_shape_error, summarise_errors
from portrait360.training.data.avatar_view_samples import RESERVED, make_avatar_view_samples
from portrait360.training.data.disturbed_avatar import ERRORS, disturb_hair, disturb_head, disturb_parameters
from portrait360.training.data.view_arcs import DEPTH_UNIT, ViewSample
from portrait360.utils.errors import UserError
from tests.fixtures.view_samples import fake

NONE = AvatarErrors(1.0, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0)


def test_no_seed_of_a_protocol_or_benchmark_is_trained_on():
    heads = [protocol.heads for protocol in (*PROTOCOLS.values(), small.PROTOCOL) if protocol.heads is not None]
    judged = [head.first + head.step * i for head in heads for i in range(head.count)]
    judged += [proxy.FIRST + i for i in range(1000)]
    assert heads and min(judged) >= RESERVED
    last = {split: next(i for i in range(20_000, 10**6) if identity_seed(split, i) >= RESERVED) for split in SPLITS}
    for split, index in last.items():
        with pytest.raises(UserError, match="choose a lower `--first`"):
            make_avatar_view_samples(identity_seed(split, index))


def test_errors_occur_as_often_and_are_as_large_as_measured():
    rng, truth = np.random.default_rng(0), Hair(style="lob", parting=0.02)
    found = [disturb_hair(truth, rng, ERRORS) for _ in range(3000)]
    same, related = (hair.style == "lob" for hair in found), (FAMILY_OF[hair.style] == "long" for hair in found)
    shares = np.mean(list(same)), np.mean(list(related))
    np.testing.assert_allclose(shares, (ERRORS.same_style, ERRORS.same_style + ERRORS.same_family), atol=0.03)
    for name, deviation in zip(("length", "volume", "curl"), ERRORS.factors, strict=True):
        logs = np.log([getattr(hair, name) for hair in found])
        assert abs(logs.std() - deviation) < 0.05 * deviation and abs(logs.mean()) < 0.1 * deviation


def test_without_errors_nothing_that_can_be_named_changes():
    for seed in range(6):
        truth = sample(seed, "human")
        found = disturb_parameters(truth, np.random.default_rng(seed), NONE)
        assert found.shape == truth.shape and found.hair.style == truth.hair.style
        assert (found.hair.length, found.hair.volume) == (truth.hair.length, truth.hair.volume)
        assert (found.wear.hat, found.facial.beard) == (truth.wear.hat, truth.facial.beard)
        assert found.clothes.collar == truth.clothes.collar and found.skin.tone == truth.skin.tone
        assert found.seed != truth.seed  # strands and skin are its own
    head = make_head(sample(5, "human"), 1)
    np.testing.assert_allclose(disturb_head(head, np.random.default_rng(0), NONE).body, head.body, atol=1e-6)


def test_an_avatar_is_wrong_in_the_same_way_each_time():
    truth, errors = replace(sample(3, "human"), wear=Wear()), replace(ERRORS, same_style=0.0)
    first, again = (disturb_parameters(truth, np.random.default_rng(5), errors) for _ in range(2))
    assert first == again and first.hair.style != truth.hair.style


def test_size_and_place_of_a_skin_are_no_errors_and_its_shape_is():
    head = make_head(sample(4, "human"), 1)
    turn = Rotation.from_euler("xyz", [5, -9, 3], degrees=True).as_matrix()
    moved = 1.07 * head.base @ turn.T + [0.02, -0.01, 0.05]
    np.testing.assert_allclose(align(moved, head.base, np.ones(len(moved))), head.base, atol=1e-6)
    assert find_shape_error(head.base, moved) < 1e-6
    for seed in range(3):
        found = disturb_head(head, np.random.default_rng(seed), ERRORS)
        assert abs(find_shape_error(head.base, found.base) - ERRORS.shape) < 0.05 * ERRORS.shape


def test_a_table_of_errors_counts_what_is_wrong():
    named = {"style": "lob", "length": 1.0, "volume": 1.0, "curl": 1.0, "parting": 0.0, "sweep": 0.0}
    named |= {"beard": "none", "glasses": "round", "hat": "none", "collar": "crew"}
    pairs = [
        ({}, {"length": np.e}),
        ({}, {"style": "long", "collar": "polo"}),
        ({}, {"style": "crew", "beard": "full", "glasses": "none"}),
        ({"hat": "cap", "glasses": "none"}, {"hat": "beanie", "glasses": "none"}),
    ]
    rows = [{"true": named | true, "found": named | found, "shape": 0.02} for true, found in pairs]
    table = summarise_errors(rows)
    np.testing.assert_allclose((table.same_style, table.same_family), (1 / 3, 1 / 3))
    np.testing.assert_allclose((*table.factors, *table.places), (1, 0, 0, 0, 0), atol=1e-12)
    np.testing.assert_allclose(
        (table.shape, table.beard, table.glasses, table.hat, table.collar), (0.02, 1 / 4, 1 / 3, 1, 1 / 4)
    )


def test_a_file_is_a_webdataset_shard_and_keeps_what_must_be_exact(tmp_path):
    sample, paths = fake(3), [tmp_path / "a" / "0000003-0.tar", tmp_path / "b" / "0000003-0.tar"]
    for path in paths:
        path.parent.mkdir()
        sample.save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with tarfile.open(paths[0]) as tar:
        assert {name.split(".", 1)[0] for name in tar.getnames()} == {"0000003-0"}
    again = ViewSample.load(paths[0])
    for name in ("rgba", "photo", "behind"):
        np.testing.assert_array_equal(getattr(again, name)[..., 3], getattr(sample, name)[..., 3])
    np.testing.assert_array_equal(again.hint[..., 3:5], sample.hint[..., 3:5])
    np.testing.assert_array_equal(again.cameras, sample.cameras)
    assert np.abs(again.depth.astype(np.float32) - sample.depth).max() <= DEPTH_UNIT
    covered = sample.rgba[..., 3] > 0
    error = np.float32(again.rgba[covered]) - np.float32(sample.rgba[covered])
    assert np.sqrt((error**2).mean()) < 8 and again.rgba.dtype == np.uint8


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "0000003-0.tar"
    fake(3).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    with pytest.raises(UserError, match="0000003-0.tar is damaged"):
        ViewSample.load(path)
    path.write_bytes(whole.replace(b"depth.png", b"dEpth.png"))
    with pytest.raises(UserError, match="0000003-0.tar is damaged"):
        ViewSample.load(path)
    with pytest.raises(UserError, match="another kind"):
        ViewSample.load(tmp_path / "0000003-0.npz")


@pytest.mark.slow
def test_samples_are_the_same_each_time_and_their_avatars_are_near_the_truth():
    first, again = (make_avatar_view_samples(7, arcs=1, real=0)[0] for _ in range(2))
    for name in ("rgba", "hint", "depth", "photo", "behind", "cameras"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    true, found = first.rgba[..., 3] > 127, first.hint[..., 4] > 127
    overlap = (true & found).sum() / (true | found).sum()
    assert 0.7 < overlap < 1 and (first.hint[..., 3] > 0).any()
