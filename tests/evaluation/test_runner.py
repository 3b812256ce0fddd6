"""An evaluation from portraits to a report: what it keeps, that it resumes, and whom it lets in."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from portrait360.apps.cli import main
from portrait360.evaluation import protocols, runner
from portrait360.evaluation.cases import (
    cameras_for_crop,
    list_truth_cameras,
    make_synthetic_case,
    render_synthetic_photo,
)
from portrait360.evaluation.consistency import RefitSettings
from portrait360.evaluation.evaluate import plan_jobs
from portrait360.evaluation.measure import compare_with_truth, plan_cameras
from portrait360.evaluation.methods import find_method, mirror, render_finished_run, repeat
from portrait360.evaluation.protocols import PROTOCOLS, Heads, Protocol, find_protocol
from portrait360.evaluation.report import common_cases, gather_results, write_report
from portrait360.evaluation.runner import Job, fingerprint, load_result, run_job
from portrait360.geometry.cameras import azimuth_between, focal_from_fov, orbit
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.synth.data.clips import split_of
from portrait360.synth.render.renderer import render
from portrait360.utils.errors import UserError
from portrait360.utils.parallel import ray_pool
from tests.fixtures.engines import Here
from tests.fixtures.photos import ASTRONAUT, IMAGE

TINY = Protocol(
    "tiny-v1",
    "For tests.",
    "synthetic",
    size=64,
    portrait=256,
    orbit=8,
    heads=Heads(count=2),
    faces_at=(0.0,),
    refit=RefitSettings(size=32, steps=10, samples=1024),
)


make_case = cache(make_synthetic_case)


@pytest.fixture(scope="module", autouse=True)
def remember_cases():
    """What has been made of a seed is not made again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_synthetic_case", make_case)
        yield


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(protocols.PROTOCOLS, TINY.name, TINY)
    return TINY


def tiny_job(index: int, *methods: str) -> Job:
    return Job(TINY.name, f"{index:03d}", "synthetic", None, index, methods or ("repeat", "proxy"))


@pytest.fixture(scope="module")
def case():
    return make_case(TINY, 0)


@pytest.fixture(scope="module")
def portrait():
    return make_portrait(ASTRONAUT, size=256)


# what is asked of a method


def test_the_truth_is_seen_where_the_crop_shows_it():
    """A method that knew the head and the photo's angles exactly would be without fault."""
    head, _, true, photo = render_synthetic_photo(TINY.heads, 0, 256)
    portrait = make_portrait(photo, size=256, azimuth=true.azimuth, elevation=true.elevation)
    (camera,) = cameras_for_crop([true], portrait, true, 256)
    seen = render(head, camera, 256)
    both = (seen.alpha > 0.95) & (portrait.alpha > 0.95) & (portrait.inside_photo > 0.5)
    assert both.sum() > 0.8 * (portrait.alpha > 0.95).sum()
    assert np.abs(seen.rgb - portrait.rgb)[both].mean() < 0.03


def test_every_camera_is_asked_for_once_and_in_its_place(case):
    wanted = plan_cameras(TINY, case)
    assert len(wanted.cameras) == 8 + 1 + 1 and wanted.targets == wanted.orbit
    assert [round(c.azimuth) for c in wanted.cameras[wanted.orbit]] == list(range(0, 360, 45))
    assert wanted.cameras[wanted.own] == case.portrait.camera
    wild = plan_cameras(replace(TINY, beside_photo=(90.0,)), replace(case, targets=()))
    assert wild.orbit == slice(0, 8) and [round(c.azimuth) for c in wild.cameras[wild.beside]] == [90]


def test_baselines_are_what_they_are_called(portrait):
    cameras = orbit(4)
    same = repeat(portrait, cameras, 64)
    assert all(np.array_equal(view.rgb, same[0].rgb) for view in same)
    front, left, behind, right = mirror(portrait, cameras, 64)
    assert np.array_equal(front.rgb, same[0].rgb) and np.array_equal(behind.rgb, same[0].rgb[:, ::-1])
    assert np.array_equal(left.rgb, right.rgb)


def test_views_made_before_are_found_by_their_cameras(portrait, tmp_path):
    cameras = orbit(4, focal=portrait.camera.focal)
    disc = cv2.circle(np.zeros((32, 32), np.float32), (16, 16), 12, 1.0, -1)
    grey = [View(np.full((32, 32, 3), (i + 1) / 5, np.float32), disc, c) for i, c in enumerate(cameras)]
    ViewSet(tuple(grey)).save(tmp_path / "views")
    found = render_finished_run(tmp_path, portrait, cameras[::-1], 16)
    assert [round(float(view.rgb[8, 8, 0]) * 5) for view in found] == [4, 3, 2, 1]
    with pytest.raises(UserError, match="no view at azimuth 30.*--views 72"):
        render_finished_run(tmp_path, portrait, [cameras[0].orbit_to(azimuth=30)], 16)


def test_synthetic_portraits_are_what_the_protocol_says():
    heads = PROTOCOLS["synthetic-v1"].heads
    assert heads is not None and len(heads.kinds) == 10 and set(heads.kinds) == {
        "human", "toon", "fantasy", "animal", "statue",
    }  # fmt: skip
    assert {split_of(heads.first + heads.step * i) for i in range(heads.count)} == {"test"}
    _, _, camera, photo = render_synthetic_photo(TINY.heads, 1, 64)
    assert abs(azimuth_between(0, camera.azimuth)) <= 35 and abs(camera.elevation) <= 10
    assert np.array_equal(photo.rgb, render_synthetic_photo(TINY.heads, 1, 64)[3].rgb)


# results are kept


def test_a_changed_photo_or_run_is_another_case(tmp_path):
    path = tmp_path / "photo.png"
    IMAGE.resize((64, 64)).save(path)
    before, whole = fingerprint(path), fingerprint(tmp_path)
    IMAGE.resize((65, 64)).save(path)
    assert fingerprint(path) != before and fingerprint(tmp_path) != whole


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    patch = pytest.MonkeyPatch()
    patch.setitem(protocols.PROTOCOLS, TINY.name, TINY)
    jobs = [tiny_job(0), tiny_job(1)]
    for job in jobs:
        run_job(job, folder / "cases")
    write_report(TINY, jobs, folder / "cases", folder, "portrait360 eval")
    yield folder, jobs
    patch.undo()


def test_the_report_holds_the_means_of_its_rows(report):
    folder, jobs = report
    said = json.loads((folder / "report.json").read_text())
    for name in ("repeat", "proxy"):
        rows = said["cases"][name]
        assert set(rows) == {"000", "001"}
        values = [row["PSNR inside/all"] for row in rows.values()]
        assert said["means"][name]["PSNR inside/all"] == pytest.approx(np.mean(values))
    assert said["means"]["proxy"]["PSNR inside/all"] > said["means"]["repeat"]["PSNR inside/all"] + 2
    text = (folder / "report.md").read_text()
    assert f"{said['means']['proxy']['PSNR inside/front']:.2f}" in text and TINY.digest in text
    assert "Metrics whose weights are not installed" in text and (folder / "sheet.png").is_file()


def test_a_case_is_measured_once_and_the_same_again(report, tmp_path):
    """A record that is damaged, as a crash of the machine might leave it, is measured again; the others are taken."""
    folder, jobs = report
    shutil.copytree(folder / "cases", tmp_path / "cases")
    (tmp_path / "cases" / "000" / "proxy.json").write_text("{")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cases").rglob("*.json")}
    for job in jobs:
        run_job(job, tmp_path / "cases")
    changed = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == ["proxy.json"]
    write_report(TINY, jobs, tmp_path / "cases", tmp_path, "portrait360 eval")
    for name in ("cases/000/proxy.json", "report.json", "report.md", "sheet.png"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_another_program_measures_every_case_again(report, monkeypatch):
    folder, (job, _) = report
    key = job.key
    assert load_result(folder / "cases" / "000", "repeat", key) is not None
    monkeypatch.setattr(runner, "package_digest", lambda: "another program")
    assert job.key != key and load_result(folder / "cases" / "000", "repeat", job.key) is None


def test_without_a_fitted_field_all_other_figures_are_the_same(report, tmp_path):
    folder, (job, _) = report
    quick = replace(job, methods=("repeat",), refit=False)
    assert quick.key != job.key
    run_job(quick, tmp_path)
    whole = load_result(folder / "cases" / "000", "repeat", job.key)["row"]
    row = load_result(tmp_path / "000", "repeat", quick.key)["row"]
    missing = {name.split("/")[0] for name in whole.keys() - row.keys()}
    assert missing == {"refit PSNR", "warp error", "seam"} and row == {name: whole[name] for name in row}


def test_workers_that_find_edited_files_keep_their_results(tiny, tmp_path, monkeypatch):
    """What a job depends on is said once, when it is planned: a worker that starts later may hash other files, and
    the report found none of its results (means without a figure)."""
    job = plan_jobs(tiny, [], ())[0]
    job = replace(job, methods=("repeat",))
    monkeypatch.setattr(runner, "package_digest", lambda: "edited meanwhile")
    run_job(job, tmp_path)
    monkeypatch.undo()
    monkeypatch.setitem(protocols.PROTOCOLS, TINY.name, TINY)
    found = gather_results([job], tmp_path)
    assert found.failures == {"repeat": {}} and "reference PSNR" in found.means["repeat"]


def test_humans_have_a_table_of_their_own(report):
    """The second case of the tiny protocol is a toon."""
    folder, jobs = report
    said = json.loads((folder / "report.json").read_text())
    own = said["cases"]["proxy"]["000"]["PSNR inside/all"]
    assert said["humans"]["means"]["proxy"]["PSNR inside/all"] == pytest.approx(own)
    assert said["means"]["proxy"]["PSNR inside/all"] != pytest.approx(own)
    text = (folder / "report.md").read_text()
    assert "## Humans alone (1 cases)" in text and text.count("| PSNR inside, all, dB |") == 2


def test_a_case_that_fails_is_named_and_not_counted(tiny, tmp_path, monkeypatch):
    def broken(portrait, cameras, size):
        raise UserError("no views today")

    monkeypatch.setitem(__import__("portrait360.evaluation.methods", fromlist=["METHODS"]).METHODS, "broken", broken)
    job = tiny_job(0, "repeat", "broken")
    run_job(job, tmp_path)
    found = gather_results([job], tmp_path)
    assert found.failures["broken"] == {"000": "no views today"} and found.rows["broken"]["000"] is None
    assert found.means["broken"] == {} and "PSNR/all" in found.means["repeat"]


def test_who_fails_where_it_is_hard_gains_nothing():
    good, bad = {"PSNR": 30.0}, {"PSNR": 10.0}
    rows = {"repeat": {"a": good, "b": bad, "c": good}, "shy": {"a": good, "b": None, "c": good}}
    assert common_cases(rows) == ["a", "c"]
    assert common_cases(rows | {"never": {"a": None, "b": None, "c": None}}) == ["a", "c"]


def test_the_oracle_is_the_truth_up_to_the_portraits_angles(case):
    assert case.oracle is not None
    cameras = [view.camera for view in case.targets]
    row = compare_with_truth(case.oracle(case.portrait, cameras, TINY.size), case.targets)
    proxy = compare_with_truth(find_method("proxy")(case.portrait, cameras, TINY.size), case.targets)
    assert row["IoU/all"] > 0.95 and row["PSNR inside/all"] > proxy["PSNR inside/all"] + 2
    with pytest.raises(UserError, match="only the synthetic protocols know"):
        plan_jobs(find_protocol("wild"), [ASTRONAUT], ("oracle",))


def test_synthetic_v1_shows_the_heads_that_it_always_showed():
    """The generator is part of the protocol: a change of it is a new version of both."""
    _, _, camera, photo = render_synthetic_photo(PROTOCOLS["synthetic-v1"].heads, 0, 128)
    middle = cv2.resize(photo.rgb, (2, 2), interpolation=cv2.INTER_AREA)
    assert (camera.azimuth, camera.elevation) == pytest.approx(SHOWN_FROM, abs=1e-6)
    np.testing.assert_allclose(middle, SHOWN, atol=0.01)


SHOWN_FROM = (32.826841292954754, 1.0147415557469779)
SHOWN_FROM_2 = (313.1676387550398, 2.6065085635429597)
SHOWN_2 = [[[0.674, 0.682, 0.587], [0.601, 0.621, 0.544]], [[0.610, 0.538, 0.488], [0.614, 0.528, 0.480]]]
SHOWN = [[[0.718, 0.669, 0.607], [0.715, 0.684, 0.632]], [[0.562, 0.455, 0.41], [0.597, 0.537, 0.493]]]


def test_synthetic_v2_shows_heads_from_the_side_and_from_above(case):
    protocol = PROTOCOLS["synthetic-v2"]
    assert protocol.heads is not None and protocol.heads.kinds.count("human") == 7
    assert {split_of(protocol.heads.first + protocol.heads.step * i) for i in range(protocol.heads.count)} == {"test"}
    cameras = list_truth_cameras(protocol)
    assert [round(c.elevation) for c in cameras] == [0] * 12 + [20] * 6 + [-20] * 6
    assert len({(round(c.azimuth) % 60, round(c.elevation)) for c in cameras[12:]}) == 2
    grey = np.zeros((8, 8, 3), np.float32)
    truth = tuple(View(grey, grey[..., 0], camera) for camera in cameras)
    plan = plan_cameras(protocol, replace(case, targets=truth))
    assert plan.targets == slice(0, 24) and plan.orbit == slice(0, 12) and len(plan.cameras) == 24 + 5 + 1
    _, kind, camera, photo = render_synthetic_photo(protocol.heads, 0, 128)
    middle = cv2.resize(photo.rgb, (2, 2), interpolation=cv2.INTER_AREA)
    assert kind == "human" and (camera.azimuth, camera.elevation) == pytest.approx(SHOWN_FROM_2, abs=1e-6)
    np.testing.assert_allclose(middle, SHOWN_2, atol=0.01)


# the command


def test_a_job_can_be_sent_to_another_process():
    work, job = pickle.loads(pickle.dumps((partial(run_job, folder=Path("cases")), tiny_job(0))))
    assert work.func is run_job and job == tiny_job(0)


def test_photos_to_a_report_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_pool, "create_engine", lambda *_, **__: Here())
    photo = tmp_path / "someone.png"
    IMAGE.resize((256, 256)).save(photo)
    out = tmp_path / "report"
    bad = tmp_path / "text.jpg"
    bad.write_text("no picture")
    command = ["eval", str(photo), str(bad), "--protocol", "portrait-diffusion", "--method", "proxy", "-o", str(out)]
    done = CliRunner().invoke(main.app, command)
    assert done.exit_code == 2 and "repeat failed at text: " in done.stderr, done.output
    text = (out / "report.md").read_text()
    assert "| | better | repeat | mirror | proxy |" in text
    assert "other data" in text and "| Portrait Diffusion | 0.9986 | 0.3616 | 0.344 |" in text
    said = json.loads((out / "report.json").read_text())
    assert said["means"]["repeat"]["reference PSNR"] > said["means"]["proxy"]["reference PSNR"] > 25
    assert "EffNet-lite0 feature distance" in text.split("## ")[0]
    assert said["protocol"]["digest"] == find_protocol("portrait-diffusion").digest


@pytest.mark.parametrize(
    ("what", "protocol", "methods", "sentence"),
    [
        ([], "wild", (), "needs photos"),
        ([], "nowhere", (), "no protocol 'nowhere'; choose from synthetic-v1"),
        ([Path("x.png")], "synthetic", (), "makes its own portraits"),
        ([], "synthetic", ("magic",), "no method 'magic'"),
        ([Path("nothing-here")], "wild", (), "no file or folder nothing-here"),
        ([], "nersemble", (), "needs the folder of the dataset"),
    ],
)
def test_what_cannot_be_judged_is_told(what, protocol, methods, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_jobs(find_protocol(protocol), what, methods)


def test_photos_of_one_name_are_told(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        IMAGE.resize((32, 32)).save(tmp_path / kind / "same.png")
    with pytest.raises(UserError, match="Two inputs are called same"):
        plan_jobs(find_protocol("wild"), [tmp_path / "a", tmp_path / "b"], ())


def test_the_focal_length_of_a_portrait_is_that_of_its_truth(case):
    assert case.portrait.camera.focal == pytest.approx(focal_from_fov(18.8))
