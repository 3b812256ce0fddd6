"""The portrait reader's samples, task and network."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.models.portrait_reader import SIDE, PortraitReader, load_reader
from portrait360.pipeline.reading.reading import Reading, read_picture
from portrait360.synth.photography.compose import VOID
from portrait360.synth.sampling.hair_variation import diversify_hair
from portrait360.synth.sampling.hats import HATS
from portrait360.synth.sampling.sampler import BEARDS as SAMPLED_BEARDS
from portrait360.synth.sampling.sampler import sample, sample_person
from portrait360.training.data.reader_pictures import take_picture
from portrait360.training.data.reader_samples import make_samples, sample_head
from portrait360.training.data.reader_targets import (
    BEARDS,
    CLASSES,
    HAT_FAMILIES,
    NUMBERS,
    UNKNOWN,
    mirror_numbers,
)
from portrait360.training.tasks.reader import ReaderTask, head_loss, pixel_loss
from portrait360.training.trainer import LoopOptions, train
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label
from tests.fixtures.reader_samples import fake
from tests.fixtures.samples import written

QUICK = LoopOptions(rate=2e-3, warm=2, validate_every=10**6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("reader"), map(fake, range(6)))


@pytest.fixture(scope="module")
def task(folder) -> ReaderTask:
    return ReaderTask(folder, folder, batch=2)


@pytest.fixture(scope="module")
def weights(task, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    torch.manual_seed(0)
    task.save(task.network(), path, {"recipe": "reader"})
    return path


def test_samples_say_what_the_head_is():
    samples = make_samples(11, 2)
    p = sample_head(11)
    names = dict(zip(CLASSES, samples[0].classes, strict=True))
    assert len(samples) == 2 and names["kind"] == CLASSES["kind"].index(p.kind)
    for s in samples:
        assert s.labels[s.rgba[..., 3] == 0].max() == Label.BACKGROUND
        assert s.numbers.shape == (len(NUMBERS),) and np.isfinite(s.numbers).mean() > 0.5
    again = make_samples(11, 2)[1]
    assert all(np.array_equal(getattr(again, f.name), getattr(samples[1], f.name), equal_nan=f.name == "numbers")
               for f in fields(again))  # fmt: skip


def test_people_are_of_all_ages_and_tones():
    people = [p for p in (sample_head(seed) for seed in range(60)) if p.kind == "human"]
    ages, tones = np.array([p.shape.age for p in people]), np.array([np.mean(p.skin.tone) for p in people])
    assert (ages < 0.36).mean() > 0.1 and (ages > 0.76).mean() > 0.1
    assert (tones < 0.1).mean() > 0.15 and (tones > 0.35).mean() > 0.15


def test_a_person_stays_the_same_but_for_hair():
    rng = np.random.default_rng(3)
    person = sample_person(rng, 3)
    assert diversify_hair(np.random.default_rng(5), person).shape == person.shape
    assert sample(3, "human") == sample(3, "human")


def test_every_hat_and_beard_has_a_family():
    assert set(HAT_FAMILIES) == {*HATS, "headphones", "none"} and set(BEARDS) == set(SAMPLED_BEARDS)


def test_mirroring_twice_changes_nothing():
    numbers = np.arange(len(NUMBERS), dtype=np.float32)
    np.testing.assert_array_equal(mirror_numbers(mirror_numbers(numbers)), numbers)
    assert not np.array_equal(mirror_numbers(numbers), numbers)


def test_pictures_mirror_what_is_true_of_them():
    s = fake(1)
    taken = [take_picture(s, [], np.random.default_rng(seed), SIDE) for seed in range(12)]
    odd = NUMBERS.index("parting")
    values = {t.picture.flip: t.numbers[odd] for t in taken}
    assert len(values) == 2 and values[True] == -values[False] == -s.numbers[odd]
    assert all(t.picture.rgb.shape == (SIDE, SIDE, 3) for t in taken)


def test_nothing_is_learnt_from_what_is_unknown(task):
    batch = task.sample(0, 0)
    network = task.network().eval()
    pixels, head = network(batch["rgb"].float())
    unknown = {"classes": torch.full_like(batch["classes"], UNKNOWN), "numbers": batch["numbers"] * torch.nan}
    assert head_loss(head, batch) != 0 and head_loss(head, batch | unknown) == 0
    labels = batch["labels"].clone()
    labels[..., : SIDE // 2] = VOID
    other = {name: batch[name].clone() for name in ("alpha", "flow", "normals")}
    for values in other.values():
        values[..., : SIDE // 2] = 100 - values[..., : SIDE // 2]
    void = batch | {"labels": labels}
    assert pixel_loss(pixels, void) == pixel_loss(pixels, void | other)
    assert pixel_loss(pixels, batch) != pixel_loss(pixels, batch | other)


def test_labels_are_learnt(task, tmp_path):
    batch = task.sample(100, 0)

    def error(network) -> float:
        with torch.inference_mode():
            return float(pixel_loss(network.eval()(batch["rgb"].float())[0], batch))

    before = error(task.network())
    assert error(train(task, tmp_path, QUICK, steps=10)) < 0.8 * before


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been(task, tmp_path):
    whole = train(task, tmp_path / "whole", QUICK, steps=3)
    train(task, tmp_path / "parts", QUICK, steps=1)
    parts = train(task, tmp_path / "parts", QUICK, steps=3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_the_first_blocks_keep_the_weights_of_imagenet(task, tmp_path):
    trained, fresh = train(task, tmp_path, QUICK, steps=1), task.network()
    assert isinstance(trained, PortraitReader) and isinstance(fresh, PortraitReader)
    assert torch.equal(trained.encoder._conv_stem.weight, fresh.encoder._conv_stem.weight)
    assert not torch.equal(trained.encoder._conv_head.weight, fresh.encoder._conv_head.weight)


def test_weights_hold_what_they_read(weights):
    network = load_reader(weights)
    assert network.outputs.classes == CLASSES and network.outputs.numbers == NUMBERS
    assert weights.stat().st_size < 16e6


def test_a_file_that_is_no_reader_is_refused(tmp_path):
    from portrait360.models.weights.tensor_files import write_half

    write_half(torch.nn.Linear(2, 2), tmp_path / "other.safetensors", {})
    with pytest.raises(UserError, match="contains no portrait reader"):
        load_reader(tmp_path / "other.safetensors")


def test_a_mirrored_picture_is_read_as_the_mirror(weights):
    network = load_reader(weights)
    rgb = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    a, b = read_picture(rgb, network), read_picture(np.ascontiguousarray(rgb[:, ::-1]), network)
    np.testing.assert_allclose(a.probabilities, b.probabilities[..., ::-1], atol=0.01)
    np.testing.assert_allclose(a.flow, b.flow[:, ::-1] * [1, -1], atol=0.02)
    np.testing.assert_allclose(a.normals, b.normals[:, ::-1] * [-1, 1, 1], atol=0.02)
    assert a.values["parting"].mean == pytest.approx(-b.values["parting"].mean, abs=1e-3)
    assert a.values["end_left"].mean == pytest.approx(b.values["end_right"].mean, abs=1e-3)


def test_a_reading_comes_back_from_its_file(weights, tmp_path):
    rgb = np.random.default_rng(1).random((100, 100, 3)).astype(np.float32)
    reading = read_picture(rgb, load_reader(weights))
    reading.save(tmp_path / "reading.npz")
    again = Reading.load(tmp_path / "reading.npz")
    for f in fields(Reading):
        a, b = getattr(reading, f.name), getattr(again, f.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, f.name
    assert sum(reading.answers["style"].values()) == pytest.approx(1, abs=1e-4)
    (tmp_path / "reading.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        Reading.load(tmp_path / "reading.npz")
