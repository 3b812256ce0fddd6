"""The benchmark of a graphics card: it goes on where it ended, survives what fails, and compares like with like."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange

from benchmarks import bare, gpu_steps, gpu_views
from benchmarks.gpu import FILE, TRIES, Record, format_table, run_steps
from benchmarks.gpu_bench import TINY, Bench, relative_difference
from benchmarks.gpu_steps import STEPS, Measurement
from benchmarks.gpu_views import FEW, denoise_as_published, note_attention
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, SamplerConfig, denoise_views
from portrait360.utils.progress import ignore_progress
from tests.fixtures.paths import ROOT

BENCH = Bench(torch.device("cpu"), TINY)


def step(name: str, work: Callable[[], Any], seconds: float = 1) -> Measurement:
    return Measurement(name, seconds, lambda bench: {"value": work()})


def fail() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. GPU 0 has nothing left")


def test_a_step_that_fails_is_a_result_and_the_next_call_goes_on(tmp_path):
    calls: list[str] = []
    steps = [step("first", lambda: calls.append("first")), step("second", fail), step("third", lambda: 3.0, 1000)]
    assert run_steps(steps, Record.load(tmp_path, tiny=True), BENCH, minutes=1) == ["third"]
    written = json.loads((tmp_path / FILE).read_text())["steps"]
    assert [entry["state"] for entry in written.values()] == ["done", "failed"]
    assert written["second"]["error"].startswith("out of memory")
    record = Record.load(tmp_path, tiny=True)
    assert run_steps(steps, record, BENCH, minutes=100) == [] and calls == ["first"]
    assert "| third | value | 3 |" in format_table(record.values)


def test_a_step_that_ends_the_process_is_not_tried_for_ever(tmp_path):
    def die() -> None:
        raise KeyboardInterrupt

    for _ in range(TRIES):
        with pytest.raises(KeyboardInterrupt):
            run_steps([step("deadly", die)], Record.load(tmp_path, tiny=True), BENCH, minutes=1)
    record = Record.load(tmp_path, tiny=True)
    run_steps([step("deadly", die)], record, BENCH, minutes=1)
    assert record.steps["deadly"]["state"] == "failed"


def test_a_step_that_lasts_too_long_is_stopped(tmp_path):
    def last() -> None:
        while True:
            torch.zeros(1).sum()

    record = Record.load(tmp_path, tiny=True)
    run_steps([step("endless", last, seconds=0.1)], record, BENCH, minutes=0.2 / 60)
    assert record.steps["endless"]["state"] == "stopped"


def test_results_in_miniature_are_not_mixed_with_others(tmp_path):
    Record.load(tmp_path, tiny=True).save()
    with pytest.raises(SystemExit, match="another folder"):
        Record.load(tmp_path, tiny=False)


def test_one_call_has_time_for_all_steps_and_no_two_have_one_name():
    assert len({measurement.name for measurement in STEPS}) == len(STEPS)
    assert sum(measurement.seconds for measurement in STEPS) <= 8 * 60


@pytest.mark.parametrize(("mixed", "views", "limit"), [(False, FEW + 2, 1e-4), (True, 2, 2e-3)])
def test_the_published_loop_gives_our_faithful_pictures(mixed, views, limit):
    """In single precision, and in the half precision of a card, which rounds what is computed in another order."""
    inputs, config = BENCH.draw_inputs(views), SamplerConfig(2, faithful=True)
    compute = ComputeConfig(BENCH.device, torch.float16 if mixed else torch.float32, mixed=mixed)
    ours = denoise_views(inputs, BENCH.networks, config, compute)
    theirs = denoise_as_published(inputs, BENCH.networks, config, compute)
    assert relative_difference(theirs, ours) < limit


def test_what_is_measured_on_a_card_has_the_precision_that_make_has_there(monkeypatch):
    """Faithful runs, and the published loop that they are compared with: fp16 by autocast, autoencoder in fp32."""
    card = Bench(torch.device("cuda"), TINY)
    assert card.compute_for(True) == ComputeConfig.for_device(card.device, faithful=True) != card.compute_for(False)
    assert gpu_views.name_precision(card.compute_for(True)) == "float16 by autocast, autoencoder in float32"
    used = []

    def note(inputs, networks, config, compute, **options):
        used.append((config.faithful, compute.mixed))
        return torch.zeros(len(inputs.hints), 3, 2, 2)

    monkeypatch.setattr(gpu_views, "denoise_views", note)
    monkeypatch.setattr(gpu_views, "denoise_as_published", note)
    monkeypatch.setattr(Bench, "networks", None)
    ours, theirs = gpu_views.sample_ours(card), gpu_views.sample_as_published(card)
    for sample, faithful in ((ours, True), (ours, False), (theirs, True)):
        sample(FEW, SamplerConfig(1, faithful), ignore_progress)
    assert used == [(True, True), (False, False), (True, True)]


def test_two_networks_have_the_same_random_weights():
    pictures = [gpu_steps.sample_tiny(BENCH.device, faithful=False) for _ in range(2)]
    assert torch.equal(*pictures)


def test_all_attention_is_noted():
    q = torch.randn(1, 2, 5, 8)
    with note_attention() as (calls, chosen):
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert dict(calls) == {((1, 2, 5, 8), (1, 2, 5, 8)): 1} and len(chosen) == 1


def test_the_substitute_of_einops_does_the_same_with_every_pattern_of_the_networks():
    sources = "".join(path.read_text() for path in (ROOT / "src" / "portrait360" / "models").glob("*.py"))
    patterns = set(re.findall(r'"([\w() ]+ -> [\w() ]+)"', sources))
    assert len(patterns) > 10
    for pattern in patterns:
        groups = bare.parse_pattern(pattern)[0]
        axes = sorted({axis for group in groups for axis in group})
        sizes = dict(zip(axes, (2, 3, 4, 5, 6, 7, 8), strict=False))
        shape = [int(torch.tensor([sizes[axis] for axis in group]).prod()) for group in groups]
        x = torch.arange(int(torch.tensor(shape).prod())).reshape(shape)
        assert torch.equal(bare.rearrange(x, pattern, **sizes), rearrange(x, pattern, **sizes)), pattern
