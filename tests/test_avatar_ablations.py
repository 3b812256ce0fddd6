"""The ablations of the avatar are measured as `portrait360 eval` measures, and the truth they are told is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.avatar_ablations import (
    STEPS,
    TRUTHS,
    find_methods,
    find_true_overrules,
    measure_all,
    name_shapes,
    tell_true_labels,
)
from portrait360.evaluation.cases import make_synthetic_case
from portrait360.evaluation.methods import repeat
from portrait360.evaluation.protocols import PROTOCOLS, Protocol
from portrait360.pipeline.avatar.overrules import Overrules
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.portrait_labels import Label

NAME = "synthetic-v1"


@pytest.fixture
def little(monkeypatch) -> Protocol:
    protocol = replace(PROTOCOLS[NAME], size=64, orbit=4, refit=None, faces_at=())
    monkeypatch.setitem(PROTOCOLS, NAME, protocol)
    return protocol


def test_every_step_can_be_left_out():
    methods = find_methods(STEPS, tuple(TRUTHS))
    assert list(methods) == [
        "full",
        *(f"no {step}" for step in ("reader", "search", "snap", "warp", "light", "cover")),
        "true parameters",
        "true labels",
    ]
    assert list(find_methods((), ())) == ["full"]


def test_the_truth_names_shapes_and_no_colours(little):
    parameters = sample(3, "human")
    told = Overrules(name_shapes(parameters)).apply(HeadParameters())
    assert told.hair.style == parameters.hair.style and told.hair.colour == HeadParameters().hair.colour
    assert told.clothes.collar == parameters.clothes.collar and told.wear.hat == parameters.wear.hat
    kinds = little.heads.kinds  # pyright: ignore[reportOptionalMemberAccess]
    animal, human = kinds.index("animal"), kinds.index("human")
    assert not find_true_overrules(little, animal) and find_true_overrules(little, human).is_shown


def test_true_labels_lie_where_the_reader_sees_them(little):
    portrait = make_synthetic_case(little, 0).portrait
    told = tell_true_labels(portrait, little, 0)
    assert portrait.reading is not None and told.reading is not None
    size = len(portrait.rgb)
    read, true = (cut_centre(p.reading.probabilities, p.reading_scale, size).argmax(0) for p in (portrait, told))
    inside = (portrait.alpha > 0.9) & (portrait.inside_photo > 0.5)
    assert (read == true)[inside].mean() > 0.8
    assert np.isin(true[~inside], Label.BACKGROUND).mean() > 0.8
    assert told.reading.flow.shape == (size, size, 2)


def test_figures_are_those_of_the_evaluation_and_are_kept(little, tmp_path):
    calls = []

    def find(protocol: Protocol, index: int):
        calls.append(index)
        return repeat

    report = measure_all(little, {"full": find, "no search": find}, 1, tmp_path)
    assert "| PSNR inside, front, dB | higher |" in report and "| full | no search |" in report
    assert (tmp_path / "sheet.png").is_file() and calls == [0, 0]
    assert measure_all(little, {"full": find, "no search": find}, 1, tmp_path) == report and calls == [0, 0]
