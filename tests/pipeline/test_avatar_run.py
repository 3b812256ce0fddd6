"""Files straight from an avatar: which a run writes, that they come back the same, and what Python does with them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh
from plyfile import PlyData
from typer.testing import CliRunner

from portrait360.apps.cli.main import app
from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline import avatar_stages, loaded_head, stages
from portrait360.pipeline.avatar import NAME, methods
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export import writer
from portrait360.pipeline.export.avatar_glb import file
from portrait360.pipeline.export.avatar_splats import build
from portrait360.pipeline.export.writer import open_head
from portrait360.pipeline.loaded_head import LoadedHead, load_head
from portrait360.pipeline.make import make
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.run import AVATAR_MESH, AVATAR_PAGE, MESH, PAGE, SPLATS
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256
from portrait360.utils.progress import Event
from tests.fixtures.paths import ASTRONAUT
from tests.fixtures.runs import left, use_small_crops, use_tiny_fits

WISH = MakeOptions(views=4, size=64)
OURS = {MESH, PAGE, "head.ply", "sheet.png", "turntable.mp4"}


@pytest.fixture(scope="module")
def photo() -> Path:
    return ASTRONAUT


def remember(function, key):
    """What a function returned or wrote once for a key is there again the next time."""
    known: dict = {}

    def call(*given, **options):
        name = key(*given, **options)
        if name not in known:
            made = function(*given, **options)
            known[name] = made if made is not None else given[0].read_bytes()
        if isinstance(known[name], bytes):
            given[0].write_bytes(known[name])
            return None
        return known[name]

    return call


@pytest.fixture(scope="module", autouse=True)
def small(light_avatars):
    """Small crops, films, fits and splats; light avatars; and what takes long is done once."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_crops(patch)
        use_tiny_fits(patch)
        patch.setattr(methods, "make_avatar", light_avatars)
        load = remember(stages.load_coarse_head, lambda folder: "".join(map(sha256, sorted(folder.glob("*.npz")))))
        patch.setattr(stages, "load_coarse_head", load)
        splats = remember(avatar_stages.splats_from_avatar, lambda avatar, **options: avatar.photo.tobytes())
        patch.setattr(avatar_stages, "splats_from_avatar", splats)
        parts = remember(partial(file.make_parts, detail=0.5), lambda avatar, **options: avatar.photo.tobytes())
        patch.setattr(file, "make_parts", lambda avatar, **options: parts(avatar))
        page = remember(avatar_stages.save_viewer, lambda path, splats=None, glb=None, **about: (splats is None, glb))
        patch.setattr(avatar_stages, "save_viewer", page)
        for name, value in (("FILM", 64), ("FRAMES", 4), ("CELL", 48)):
            patch.setattr(writer, name, value)
        patch.setattr(build, "SIZE", 64)
        patch.setattr(build, "SMALL", 32)
        yield


@pytest.fixture(scope="module")
def made(photo, tmp_path_factory) -> tuple[Path, LoadedHead]:
    folder = tmp_path_factory.mktemp("run") / "out"
    head = make(photo, folder, WISH).head
    assert head is not None
    return folder, head


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "out"))


def top_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} - {"run.json"}


def test_a_face_becomes_an_animatable_mesh_splats_a_page_and_a_film_without_a_fit(made):
    folder, head = made
    record = json.loads((folder / "run.json").read_text())
    assert top_files(folder) == OURS and "fit" not in record["stages"] and not (folder / "head").exists()
    assert {name: d for stage in record["stages"].values() for name, d in stage["files"].items()} == left(folder)
    scene = trimesh.load(folder / MESH)
    assert isinstance(scene, trimesh.Scene) and {"skin", "eye_left", "hair"} <= set(scene.geometry)
    assert len(PlyData.read(folder / "head.ply")["vertex"]) == len(head.splats) > 1000
    assert b"jawOpen" in (folder / MESH).read_bytes() and "three.js" in (folder / PAGE).read_text()


def test_a_nerf_comes_beside_them_and_changes_none(photo, folder):
    before = {name: sha256(folder / name) for name in (MESH, PAGE, "head.ply", "turntable.mp4")}
    head = make(photo, folder, replace(WISH, results=("field",))).head
    assert head is not None and head.field is not None and head.mesh is None
    assert top_files(folder) == OURS | {"field.safetensors", "fitted.ply"}
    assert {name: sha256(folder / name) for name in before} == before
    assert len(PlyData.read(folder / "fitted.ply")["vertex"]) != len(head.splats)
    loaded = load_head(folder)
    assert loaded.field is not None and loaded.fitted.splats is not None and loaded.avatar is not None
    make(photo, folder, WISH)
    assert top_files(folder) == OURS


def test_a_page_that_is_there_long_before_the_end_is_announced_once_with_its_place(photo, folder):
    told, existing = [], []

    def on_event(event):
        told.append((event.stage, event.state, event.what if event.state == "ready" else ""))
        existing.extend([Path(event.what).is_file()] * (event.state == "ready"))

    ready = ("page", "ready", str(folder / PAGE))
    make(photo, folder, replace(WISH, results=("mesh", "splats", "field")), on_event)
    assert told.count(ready) == len(existing) == 1 and all(existing)
    assert told.index(ready) < told.index(("fit", "begin", ""))
    for options in (replace(WISH, results=("mesh", "splats", "field")), WISH):  # all is there, or ends seconds later
        told.clear()
        make(photo, folder, options, on_event)
        assert ready not in told


def test_only_what_is_asked_for_is_written(photo, folder):
    make(photo, folder, replace(WISH, formats=("spz", "splats.glb")))
    assert top_files(folder) == OURS - {"head.ply"} | {"head.spz", "head.splats.glb"}
    make(photo, folder, replace(WISH, results=("mesh", "views")))
    assert top_files(folder) == OURS - {"head.ply"} and (folder / "views").is_dir()
    result = make(photo, folder, replace(WISH, results=("mesh",)))
    assert top_files(folder) == {MESH, PAGE} and result.views is None
    assert not (folder / "views").exists() and not (folder / "back").exists()
    page = (folder / PAGE).read_text()
    assert '"jawOpen":' in page and '"splats":' not in page
    make(photo, folder, replace(WISH, results=("splats",)))
    page = (folder / PAGE).read_text()
    assert top_files(folder) == {PAGE, "head.ply"} and '"jawOpen":' not in page and '"splats":' in page
    make(photo, folder, replace(WISH, results=()))
    assert top_files(folder) == {"sheet.png", "turntable.mp4"}


def test_options_of_views_that_are_not_written_are_named(photo, folder):
    plain = MakeOptions(results=("mesh",))
    for options, named in (
        (plain, []),
        (replace(plain, views=8), ["`views=8`"]),
        (replace(plain, size=64), ["`size=64`"]),
    ):
        warnings = [text for text in make_and_warn(photo, folder, options) if "has no effect" in text]
        assert [text.split()[0] for text in warnings] == named


def make_and_warn(photo: Path, folder: Path, options: MakeOptions) -> list[str]:
    events: list[Event] = []
    make(photo, folder, options, events.append)
    return [event.what for event in events if event.state == "warning"]


def test_a_run_goes_back_to_the_same_bytes(photo, made, folder):
    """After other options, with a file gone, and where an earlier version named its files otherwise."""
    make(photo, folder, replace(WISH, results=("splats",), formats=("splat",)))
    make(photo, folder, replace(WISH, method="proxy", fit=False))
    assert not (folder / MESH).exists() and not any((folder / name).exists() for name in SPLATS)
    assert not (folder / "proxy" / NAME).exists()
    for name in (AVATAR_MESH, AVATAR_PAGE):
        (folder / name).write_text("of an earlier version")
    make(photo, folder, WISH)
    (folder / "head.ply").unlink()
    make(photo, folder, WISH)
    assert left(folder) == left(made[0])


def test_a_run_stopped_anywhere_ends_with_the_same_bytes(photo, made, tmp_path):
    class Stop(Exception):
        pass

    stopped, stops = tmp_path / "stopped", 0
    shutil.copytree(made[0] / "portrait", stopped / "portrait")
    shutil.copytree(made[0] / "proxy", stopped / "proxy")
    record = json.loads((made[0] / "run.json").read_text())
    record["stages"] = {name: record["stages"][name] for name in ("portrait", "proxy")}
    (stopped / "run.json").write_text(json.dumps(record))
    for stage in ("avatar", "splats", "page", "back", "film", "files"):

        def stop(event, stage=stage):
            if event.stage == stage and event.state in ("step", "begin"):
                raise Stop

        with pytest.raises(Stop):
            make(photo, stopped, WISH, stop)
        stops += 1
    make(photo, stopped, WISH)
    assert stops == 6 and left(stopped) == left(made[0])


def test_the_time_left_falls_to_nothing(photo, folder):
    events: list = []
    shutil.rmtree(folder / "views")
    make(photo, folder, WISH, events.append)
    lefts = [event.left for event in events if event.left is not None]
    assert lefts and lefts[-1] == 0


def test_views_only_make_no_head(photo, folder):
    result = make(photo, folder, replace(WISH, results=()))
    assert result.head is not None and isinstance(result.proxy, Avatar)  # which renders all the same


# Python


@pytest.fixture(scope="module")
def head(made) -> LoadedHead:
    return load_head(made[0])


def pixels(head: LoadedHead, *given, **options) -> np.ndarray:
    picture = np.asarray(head.render(*given, **options)).astype(float) / 255
    return picture[..., :3] * picture[..., 3:]


def test_a_head_says_briefly_what_it_is(made, head):
    text = repr(head)
    assert "avatar with 52 expressions" in text and len(text) < 60 + len(str(made[0]))


def test_it_renders_as_its_avatar_does(head):
    assert head.avatar is not None
    front = Camera(look_at(0), head.focal)
    view = head.avatar.render(front, 96)
    assert np.abs(pixels(head, (0, 0), 96) - view.rgb * view.mask[..., None]).max() < 0.01
    assert np.array_equal(pixels(head, front, 96), pixels(head, (0, 0), 96))


def test_an_open_jaw_changes_the_lower_face_alone(head):
    change = np.abs(pixels(head, size=128, expression={"jawOpen": 1.0}) - pixels(head, size=128)).max(-1)
    rows = np.nonzero(change > 0.1)[0]
    assert len(rows) > 40 and rows.min() > 60 and change[:50].max() < 0.05


def test_light_comes_from_where_it_stands(head):
    lefts, rights = [], []
    for azimuth, warmth in ((80, 1), (-80, -1)):
        picture = pixels(head, size=128, light=(azimuth, 0, warmth))
        lefts.append(picture[:, 64:].sum((0, 1)))  # the subject's left
        rights.append(picture[:, :64].sum((0, 1)))
    assert lefts[0].sum() > 1.3 * lefts[1].sum() and rights[1].sum() > 1.3 * rights[0].sum()
    warm, cold = lefts[0] + rights[0], lefts[1] + rights[1]
    assert warm[0] / warm[2] > 1.08 * cold[0] / cold[2]


def test_what_cannot_be_rendered_is_one_sentence(made, head, tmp_path):
    for wish in ({"expression": {"smirk": 1.0}}, {"size": 0}, {"size": 10**6}, {"light": (np.nan, 0, 0)}):
        with pytest.raises(UserError):
            head.render(**wish)
    with pytest.raises(UserError, match="only an avatar"):
        load_head(made[0] / "head.ply").render(size=32, expression={"jawOpen": 1.0})
    with pytest.raises(UserError, match="does not have the extension"):
        head.export(tmp_path / "head.doc")
    with pytest.raises(UserError, match="no fitted head"):
        load_head(tmp_path)


def test_it_is_written_as_the_ending_says(made, head, tmp_path):
    folder = made[0]
    for name in ("a.ply", "b.spz", "c.splats.glb"):
        assert len(open_head(head.export(tmp_path / "new" / name)).splats) == len(head.splats)
    files = tmp_path / "new" / "a.ply", folder / "head.ply"
    written, before = (PlyData.read(path)["vertex"].data for path in files)
    assert all(np.allclose(written[name], before[name], atol=1e-5) for name in before.dtype.names)
    glb = head.export(tmp_path / "d.glb", detail=0.5)
    assert b"jawOpen" in glb.read_bytes()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a.ply", "b.spz", "c.splats.glb"}


def test_the_command_writes_the_avatar(made, tmp_path):
    line = ["export", str(made[0]), "-o", str(tmp_path), "--format", "spz", "--format", "obj", "--format", "mp4"]
    run = CliRunner().invoke(app, line)
    assert run.exit_code == 0 and "No obj: this head has no mesh" in run.output
    assert {path.name for path in tmp_path.iterdir()} == {"head.spz", "turntable.mp4"}


def test_it_shows_its_page(made, head, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(loaded_head.webbrowser, "open", opened.append)
    head.show()
    assert opened == [(made[0] / PAGE).resolve().as_uri()]


def test_a_run_of_an_earlier_version_opens(made, folder):
    """Its mesh was avatar.glb, and head.ply held splats that were fitted."""
    (folder / MESH).rename(folder / AVATAR_MESH)
    record = json.loads((folder / "run.json").read_text())
    del record["stages"]["splats"]
    (folder / "run.json").write_text(json.dumps(record))
    fitted = made[1].splats[np.arange(100)]
    Head(splats=fitted).save(folder / "head")
    head = load_head(folder)
    assert head.avatar is not None and head.fitted.splats is not None and len(head.fitted.splats) == 100
