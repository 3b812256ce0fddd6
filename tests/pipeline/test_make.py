"""The whole way as one run: what it leaves, that it resumes to the same bytes, that nothing of others is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from portrait360.apps.cli import batch as cli_batch
from portrait360.apps.cli.main import app
from portrait360.apps.web.jobs import Job
from portrait360.apps.web.panels import render_status
from portrait360.geometry.camera_files import read_transforms
from portrait360.models.network_sizes import SMALL
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.tensor_files import write_half
from portrait360.pipeline import make as pipeline_make
from portrait360.pipeline import stages, views
from portrait360.pipeline.batch import runner
from portrait360.pipeline.export import writer
from portrait360.pipeline.export.writer import open_head
from portrait360.pipeline.make import MakeResult, make
from portrait360.pipeline.options import MakeOptions, parse_formats, parse_results
from portrait360.pipeline.proxy import proxy
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.refinement import stage as refinement_stage
from portrait360.pipeline.run import OWN, read_warnings
from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder, sha256
from portrait360.utils.progress import event_printer
from tests.fixtures.engines import Here
from tests.fixtures.paths import QUICK_PROGRAMS
from tests.fixtures.photos import ASTRONAUT, IMAGE
from tests.fixtures.runs import CROP, left, use_small_crops, use_tiny_fits

LOOK = MakeOptions(views=4, size=64, fit=False, method="proxy")  # what a run does takes no hair
TINY = MakeOptions(views=8, size=64, method="proxy")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    IMAGE.resize((256, 256)).save(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def small_crops():
    with pytest.MonkeyPatch.context() as patch:
        use_small_crops(patch)
        yield


@pytest.fixture
def begun(looked, tmp_path) -> Path:
    """A copy of a finished run, from which others go on."""
    return Path(shutil.copytree(looked[0], tmp_path / "begun"))


@pytest.fixture(scope="module")
def looked(photo, tmp_path_factory) -> tuple[Path, MakeResult]:
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, make(photo, folder, LOOK)


@pytest.fixture
def tiny(monkeypatch):
    make_tiny(monkeypatch)
    return TINY


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    use_tiny_fits(patch)
    patch.setattr(writer, "FILM", 64)
    patch.setattr(writer, "FRAMES", 8)
    patch.setattr(stages, "run_sheet", lambda views, head: views.views[0].rgb)


@pytest.fixture(scope="module")
def fitted(photo, looked, tmp_path_factory) -> tuple[Path, MakeResult]:
    """A finished run with a fit."""
    folder = Path(shutil.copytree(looked[0], tmp_path_factory.mktemp("fitted") / "out"))
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        return folder, make(photo, folder, TINY)


@pytest.fixture(scope="module")
def meshed(photo, fitted, tmp_path_factory) -> tuple[Path, MakeResult]:
    """The same run after only its mesh was asked for."""
    folder = Path(shutil.copytree(fitted[0], tmp_path_factory.mktemp("meshed") / "out"))
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        return folder, make(photo, folder, replace(TINY, results=("mesh",)))


def told(into: list):
    return lambda event: into.append((event.stage, event.state))


# the time that is left


def test_a_run_before_which_nothing_was_compiled_says_that_it_takes_longer(photo, tmp_path, monkeypatch):
    """As seen at the beginning of its longest stage, on a machine that nobody has measured."""
    monkeypatch.setattr(pipeline_make, "costs_file", lambda: tmp_path / "none.json")
    lefts = []

    def note(event):
        if event.left is not None:
            lefts.append(event.left)
            raise Stop

    for i, cached in enumerate(
        (True, True, False)
    ):  # the first warms up, which its estimate takes for a slow machine
        monkeypatch.setattr(pipeline_make, "is_cached", lambda kernel, cached=cached: cached)
        with pytest.raises(Stop):
            make(photo, tmp_path / f"{i}", LOOK, note)
    assert lefts[2] > 1.1 * lefts[1]


# what it leaves


def test_the_record_vouches_for_every_file_and_there_are_no_others(looked):
    folder, _ = looked
    record = json.loads((folder / "run.json").read_text())
    files = {name: digest for stage in record["stages"].values() for name, digest in stage["files"].items()}
    assert files == left(folder)
    assert {path.name for path in folder.iterdir()} < set(OWN)
    assert all(stage["peak_memory_mb"] > 50 and stage["seconds"] >= 0 for stage in record["stages"].values())
    assert record["seed"] == 0 and record["photo"] and record["portrait360"]["version"]


def test_views_are_an_orbit_of_the_size_asked_for(looked):
    folder, made = looked
    assert [round(view.camera.azimuth) for view in made.views.views] == [0, 90, 180, 270]
    shots = read_transforms(folder / "views")
    assert [(shot.width, shot.height) for shot in shots] == [(64, 64)] * 4 + [(CROP, CROP)]


def test_with_a_fit_every_file_of_the_design_is_there(fitted, meshed):
    folder, made = fitted
    for name in ("sheet.png", "turntable.mp4", "viewer.html", "head.ply", "head.glb", "field.safetensors"):
        assert (folder / name).stat().st_size > 100, name
    assert made.head is not None and made.head.mesh is not None
    assert (meshed[0] / "head.glb").is_file() and not (meshed[0] / "head.ply").exists()


def test_a_refined_head_is_the_runs_and_goes_with_its_wish(photo, tiny, meshed, tmp_path, monkeypatch):
    """Without --refine what an earlier run refined does not stay."""

    def refine(folder, output, request, *, settings, results, device, on_step):
        on_step("refine", 1, 1)
        mesh = Head.load(folder / "head").mesh
        Head(mesh=replace(mesh, texture=mesh.texture // 2)).save(output / "head")

    monkeypatch.setattr(stages, "refine_folder", refine)
    monkeypatch.setattr(refinement_stage, "load_guide", lambda path: None)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"known by its content")
    wish, events = replace(tiny, results=("mesh",), refine=True, refine_with=weights), []
    begun, before = shutil.copytree(meshed[0], tmp_path / "begun"), meshed[1].head
    plain = sha256(begun / "head.glb")
    after = make(photo, begun, wish, told(events)).head
    assert ("fit", "kept") in events and ("refine", "done") in events and ("files", "done") in events
    assert np.array_equal(after.mesh.texture, before.mesh.texture // 2)
    assert sha256(begun / "head.glb") != plain
    assert np.array_equal(open_head(begun).mesh.texture, after.mesh.texture)
    record = json.loads((begun / "run.json").read_text())
    del record["stages"]["refine"]  # as if it had been killed at work
    (begun / "run.json").write_text(json.dumps(record))
    make(photo, begun, replace(wish, refine=False))
    assert not (begun / "refined").exists() and sha256(begun / "head.glb") == plain
    with pytest.raises(UserError, match="remove `fit=False`"):
        replace(wish, fit=False).validate()
    with pytest.raises(UserError, match="no weights for the hybrid priors"):
        replace(wish, refine_with=None).validate()


def test_views_by_the_small_network(photo, looked, tmp_path, monkeypatch):
    """Untaught it adds noise; the wish says so where there are no weights, or where the size is none of its own."""
    torch.manual_seed(0)
    network, wish = ViewDenoiser(SMALL), replace(LOOK, method="denoised", steps=1)
    for value in network.parameters():
        value.data += 0.02 * torch.randn(value.shape)
    write_half(network, tmp_path / "views.safetensors", {"together": "no", "without": ""})
    monkeypatch.setattr(views, "VIEW_DENOISER", tmp_path / "none")
    with pytest.raises(UserError, match="no weights for the view denoiser"):
        make(photo, tmp_path / "a", wish)
    monkeypatch.setattr(views, "VIEW_DENOISER", tmp_path / "views.safetensors")
    with pytest.raises(UserError, match="multiple of 16"):
        make(photo, tmp_path / "a", replace(wish, size=72))
    with pytest.raises(UserError, match="works only with the preset small"):
        make(photo, tmp_path / "a", replace(wish, preset="sd15", size=None))
    shutil.copytree(looked[0], tmp_path / "a")
    one = make(photo, tmp_path / "a", wish)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "views")  # which is made again
    make(photo, tmp_path / "b", wish)
    assert left(tmp_path / "a") == left(tmp_path / "b") and len(one.views.views) == len(looked[1].views.views)
    assert np.abs(one.views.views[0].rgb - looked[1].views.views[0].rgb).max() > 0.02


# resuming


class Stop(Exception):
    """As if the process had been ended there."""


def test_a_run_stopped_anywhere_ends_with_the_same_bytes(photo, tiny, fitted, tmp_path):
    """One folder is stopped again and again, each time a little later, and goes on every time."""
    whole, stops = left(fitted[0]), 0
    for moment in range(0, 400, 18):
        count = iter(range(1000))

        def stop(event, count=count, moment=moment):
            if next(count) == moment:
                raise Stop

        try:
            make(photo, tmp_path / "stopped", tiny, stop)
        except Stop:
            stops += 1
        else:
            break
    assert stops >= 4 and left(tmp_path / "stopped") == whole


def test_a_finished_run_is_not_done_again_and_what_depends_on_a_change_is(photo, begun):
    folder = begun
    events: list = []
    make(photo, folder, LOOK, told(events))
    assert {state for _, state in events} == {"kept"}
    events.clear()
    make(photo, folder, replace(LOOK, views=3), told(events))
    assert [e for e in events if e[1] in ("kept", "begin")] == [
        ("portrait", "kept"), ("proxy", "kept"), ("back", "kept"), ("views", "begin"), ("files", "begin"),
    ]  # fmt: skip
    assert not (folder / "views" / "003.png").exists()


def test_a_damaged_or_missing_file_is_made_again(photo, looked, begun):
    folder = begun
    (folder / "views" / "001.png").write_bytes(b"damaged")
    (folder / "sheet.png").unlink()
    make(photo, folder, LOOK)
    assert left(folder) == left(looked[0])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"portrait360": 1}', '{"portrait360": {"format": 1}, "stages": 3}'])
def test_a_damaged_record_is_told(photo, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="already contains run.json"):
        make(photo, tmp_path, LOOK)


# nothing that was there is lost


def test_files_of_others_and_runs_of_other_photos_are_left_alone(photo, looked, tmp_path):
    (tmp_path / "sheet.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="already contains sheet.png.*`overwrite=True`"):
        make(photo, tmp_path, LOOK)
    assert (tmp_path / "sheet.png").read_bytes() == b"mine"
    folder, _ = looked
    before = left(folder)
    other = tmp_path / "other.png"
    IMAGE.resize((200, 200)).save(other)
    with pytest.raises(UserError, match="another photo.*`overwrite=True`"):
        make(other, folder, LOOK)
    assert left(folder) == before


def test_a_photo_that_came_to_nothing_blocks_nobody(photo, looked, tmp_path):
    blank = bad_photos(tmp_path)["blank.png"]
    folder = tmp_path / "out"
    with pytest.raises(UserError, match="No head was found"):
        make(blank, folder, LOOK)
    make(photo, folder, LOOK)
    assert left(folder) == left(looked[0])


def test_a_file_is_no_folder(photo):
    with pytest.raises(UserError, match="is a file, not a folder"):
        make(photo, photo, LOOK)


def test_few_cameras_for_a_head_are_told(photo, tiny, begun, tmp_path, monkeypatch):
    (tmp_path / "cameras").write_text("0,0\n90,0\n180,0\n270,0\n")
    monkeypatch.setattr(pipeline_make, "run_fit", lambda *_: None)
    monkeypatch.setattr(pipeline_make, "run_files", lambda *_: None)
    warnings: list[str] = []
    wish = replace(tiny, orbit=tmp_path / "cameras")
    make(photo, begun, wish, lambda event: warnings.append(event.what) if event.state == "warning" else None)
    assert any("4 cameras are few" in text for text in warnings) and read_warnings(begun) == tuple(warnings)


def test_overwriting_leaves_what_is_not_a_runs_and_the_same_photo_and_seed_give_the_same_bytes(
    photo, looked, tmp_path
):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "notes.txt").write_text("of another program")
    (tmp_path / "mine.txt").write_text("mine")
    make(photo, tmp_path, LOOK, overwrite=True)
    assert left(tmp_path) == {**left(looked[0]), "mine.txt": sha256(tmp_path / "mine.txt")}


def test_two_runs_in_one_folder_at_once(photo, tmp_path):
    with lock_folder(tmp_path), pytest.raises(UserError, match="Another run is using"):
        make(photo, tmp_path, LOOK)
    assert list(tmp_path.iterdir()) == []


# warnings


TEXTS = ("no face found; use `azimuth=` to say where the camera was", "the picture was reduced <b>")


def warn_in_portrait(folder: Path, key: str, texts: tuple[str, ...]) -> None:
    """Change a finished run as if its portrait had come with these warnings, under the name `key`."""
    path, record_file = folder / "portrait" / "portrait.json", folder / "run.json"
    portrait = json.loads(path.read_text())
    portrait.pop("warnings", None)
    path.write_text(json.dumps(portrait | {key: texts}))
    record = json.loads(record_file.read_text())
    record["stages"]["portrait"]["files"]["portrait/portrait.json"] = sha256(path)
    record_file.write_text(json.dumps(record))


@pytest.mark.parametrize("key", ["warnings", "notes"])  # runs of earlier versions have notes
def test_every_warning_of_the_portrait_is_told_everywhere(photo, begun, capsys, key):
    """In the record, as lines, as JSON and in the page; also by a run that finds the portrait there already."""
    warn_in_portrait(begun, key, TEXTS)
    with event_printer("json") as on_event:
        made = make(photo, begun, LOOK, on_event)
    with event_printer("lines") as on_event:
        make(photo, begun, LOOK, on_event)
    assert made.portrait.warnings == TEXTS
    warnings = json.loads((begun / "run.json").read_text())["warnings"]
    assert warnings == [{"stage": "portrait", "text": text} for text in TEXTS]
    printed, flagged = capsys.readouterr(), [TEXTS[0].replace("`azimuth=`", "--azimuth"), TEXTS[1]]
    events = [json.loads(line) for line in printed.out.splitlines()]
    assert [(e["stage"], e["what"]) for e in events if e["state"] == "warning"] == [("portrait", t) for t in flagged]
    assert [line for line in printed.err.splitlines() if "warning" in line] == [f"warning: {t}" for t in flagged]
    job = Job("1", begun, [], state="running")
    for line in printed.out.splitlines():
        job.on_output(line.encode())
    shown = render_status(job, 0)
    assert "<li>No face found; use --azimuth" in shown and "<li>The picture was reduced &lt;b&gt;.</li>" in shown


def test_every_warning_of_the_portrait_is_in_the_row_of_a_batch(photo, begun, tmp_path, monkeypatch):
    """Of a head that is made, and of one that is kept; the command counts them."""

    def make_from_copy(photo: str, folder: Path, options: MakeOptions, *, overwrite: bool) -> None:
        shutil.copytree(begun, folder, dirs_exist_ok=True)
        make(photo, folder, options, overwrite=overwrite)

    monkeypatch.setattr(runner, "make", make_from_copy)
    monkeypatch.setattr(cli_batch, "create_engine", lambda *_: Here())
    line = ["batch", str(photo), "-o", str(tmp_path), "--no-fit", "--views", "4", "--size", "64", "--method", "proxy"]
    warn_in_portrait(begun, "warnings", TEXTS)
    for state in ("done", "kept"):
        output = CliRunner().invoke(app, line).output
        (row,) = parquet.read_table(tmp_path / "report.parquet").to_pylist()
        assert (row["state"], row["warnings"]) == (state, "; ".join(TEXTS)) and "1 with warnings" in output
    next(tmp_path.rglob("batch.json")).unlink()
    warn_in_portrait(begun, "warnings", ())
    assert "views of 1 photo in" in (output := CliRunner().invoke(app, line).output) and "warnings" not in output


def test_warnings_are_those_of_the_latest_run(photo, begun):
    warn_in_portrait(begun, "warnings", TEXTS)
    make(photo, begun, LOOK)
    assert read_warnings(begun) == TEXTS
    warn_in_portrait(begun, "warnings", ())
    make(photo, begun, LOOK)
    assert read_warnings(begun) == ()


# what cannot be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preset": "sdxl"}, "`preset=sdxl`"),
        ({"preset": "sd15"}, "needs the weights `diffportrait360` and `back-head`"),
        ({"method": "gan"}, "needs the weights `panohead`"),
        ({"views": 0}, "`views=0`"),
        ({"views": 3, "fit": True}, "`views=3`"),
        ({"views": 10_000}, "`views="),
        ({"size": 8}, "`size=8`"),
        ({"seed": -1}, "`seed=-1`"),
        ({"steps": 5}, "`steps="),
        ({"faithful": True}, "`faithful=True`"),
        ({"results": ("hair",)}, "`results=hair`"),
        ({"formats": ()}, "`formats=`"),
        ({"formats": ("obj",)}, "`formats=obj`"),
        ({"device": "tpu"}, "no device"),
        ({"orbit_elevation": 80.0}, "`orbit_elevation=80`"),
        ({"azimuth": 400.0}, "`azimuth=400`"),
        ({"back": Path("/nowhere.jpg")}, "There is no file /nowhere.jpg"),
        ({"references": (Path("/nowhere.jpg"),)}, "There is no file /nowhere.jpg"),
        ({"orbit": Path("/nowhere.txt")}, "There is no file /nowhere.txt"),
    ],
)
def test_wishes_that_cannot_be_are_one_sentence(photo, tmp_path, change, words):
    with pytest.raises(UserError, match=words) as told:
        make(photo, tmp_path / "out", replace(LOOK, **change))
    assert "\n" not in str(told.value) and str(told.value).endswith(".")


def test_results_by_their_names():
    assert parse_results("nerf,splats,mesh") == ("field", "splats", "mesh")
    assert parse_results(" Mesh ,nerf,") == ("field", "mesh")
    assert parse_results("views") == () and parse_results("views,mesh") == ("mesh", "views")
    for words, named in (("mesh,obj", "`results=obj`"), (",", "`results=`")):
        with pytest.raises(UserError, match=named):
            parse_results(words)
    assert parse_formats("spz, PLY,spz") == ("spz", "ply")
    with pytest.raises(UserError, match="`formats=sog`"):
        parse_formats("sog")


def bad_photos(folder: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in ("text.jpg", "empty.png", "cut.png", "dot.png", "blank.png", "none.jpg")}
    paths["text.jpg"].write_text("this is not a picture")
    paths["empty.png"].write_bytes(b"")
    paths["cut.png"].write_bytes(ASTRONAUT.read_bytes()[:20_000])
    Image.new("RGB", (1, 1)).save(paths["dot.png"])
    Image.new("RGB", (300, 300), (90, 120, 60)).save(paths["blank.png"])
    return {**paths, "a folder": folder}


@pytest.mark.parametrize("name", ["text.jpg", "empty.png", "cut.png", "dot.png", "blank.png", "none.jpg", "a folder"])
def test_bad_photos_are_one_sentence(tmp_path, name):
    photo = bad_photos(tmp_path)[name]
    with pytest.raises(UserError) as told:
        make(photo, tmp_path / "out", LOOK)
    assert "\n" not in str(told.value) and str(told.value).endswith(".")


# the command


def command(*arguments: str, **options) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "portrait360", "make", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, **options)


QUICK = {"PYTHONPATH": os.pathsep.join(filter(None, (str(QUICK_PROGRAMS), os.environ.get("PYTHONPATH"))))}
STAGES = ["portrait", "proxy", "back", "views", "files"]
LITTLE = ("--no-fit", "--views", 3, "--size", 64, "--method", "proxy")


def test_json_lines_tell_everything_and_end_with_nothing_left(photo, tmp_path):
    done = command(photo, "-o", tmp_path / "out", "--json", *LITTLE, env=os.environ | QUICK)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == ""
    assert [e["stage"] for e in events if e["state"] == "done"] == [*STAGES, "run"]
    assert [e["done"] for e in events if e["stage"] == "views" and e["state"] == "step"][-1] == 3
    assert events[-1] == {"stage": "run", "state": "done", "what": str(tmp_path / "out"), "left": 0.0}
    failed = command(tmp_path, "-o", tmp_path / "out", "--json")
    assert failed.returncode == 2 and json.loads(failed.stdout)["state"] == "failed"
    again = CliRunner().invoke(
        app, ["make", *map(str, (photo, "-o", tmp_path / "out", "--quiet", *LITTLE, "--views", 4))]
    )
    assert again.exit_code == 0 and again.stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="no such signals there")
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_to_be_stopped_is_told_and_leaves_nothing_half(photo, tmp_path, signal_):
    line = [
        sys.executable,
        "-m",
        "portrait360",
        "make",
        str(photo),
        "-o",
        str(tmp_path / "out"),
        "--json",
        "--no-fit",
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()  # it has begun
        process.send_signal(signal_)
        assert "Stopped. Run the same command again to resume." in process.stderr.read()
    assert process.returncode == 130
    assert [f for f in (tmp_path / "out").rglob(".*")] == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(photo, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        make(photo, tmp_path / "out", LOOK)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_afterwards(photo, looked, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(proxy.np, "savez_compressed", full)
        with pytest.raises(UserError, match="No space left on device"):
            make(photo, tmp_path, LOOK)
    make(photo, tmp_path, LOOK)
    assert left(tmp_path) == left(looked[0])
