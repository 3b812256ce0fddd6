"""Parts of a run: cameras from files, memory, time left, more photos."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.geometry import camera_files
from portrait360.geometry.camera_files import read_orbit
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.reference_photos import (
    back_portrait,
    estimate_reference_camera,
    reference_portrait,
)
from portrait360.pipeline.proxy.from_portrait import merge_photo_samples, proxy_from_photo
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples
from portrait360.pipeline.run import Run, read_warnings
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.utils import memory
from portrait360.utils.errors import UserError
from portrait360.utils.images import save_picture
from portrait360.utils.progress import ignore_event
from tests.fixtures.photos import ASTRONAUT

FOCAL = focal_from_fov(18.8)


# cameras from files


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_places_are_read_from_text_and_json_alike(tmp_path):
    text = written(tmp_path / "a.txt", "# a comment\n0, 0\n90 10\n\n180,-20,3.5\n")
    listed = written(tmp_path / "a.json", "[[0, 0], [90, 10], [180, -20, 3.5]]")
    places = [(0, 0, RADIUS), (90, 10, RADIUS), (180, -20, 3.5)]
    for path in (text, listed):
        assert read_orbit(path, FOCAL) == [Camera(look_at(a, e, radius=r), FOCAL) for a, e, r in places]


def test_the_cameras_of_a_run_come_back_from_its_transforms(tmp_path):
    cameras = orbit(5, elevation=12, focal=FOCAL)
    views = tuple(View(np.zeros((16, 16, 3), np.float32), np.ones((16, 16), np.float32), c) for c in cameras)
    ViewSet(views, views[0]).save(tmp_path)
    back = read_orbit(tmp_path / "transforms.json", 1.0)
    assert len(back) == 5
    for one, other in zip(back, cameras, strict=True):
        assert np.allclose(one.label(), other.label(), atol=1e-9)


@pytest.mark.parametrize(
    "text",
    ["", "a,b", "1", "1,2,3,4", "0,95", "0,0,nan", "0,0,0", "[[1]]", "[3]", "{}", '{"frames": []}', "[", "9e9,0",
     '{"portrait360": {}, "frames": [{}]}', '{"portrait360": {}, "frames": [3]}', "\x00\xff"],
)  # fmt: skip
def test_files_that_hold_no_cameras_are_one_sentence(tmp_path, text):
    with pytest.raises(UserError) as told:
        read_orbit(written(tmp_path / "orbit", text), FOCAL)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "text", ["0 0\n" * 10**6, str([[0, 0]] * 1001), '{"portrait360": 1, "frames": [%s]}' % ("0, " * 1001 + "0")]
)
def test_cameras_are_counted_before_any_is_computed(tmp_path, monkeypatch, text):
    monkeypatch.setattr(camera_files, "_orbit_camera", None)
    monkeypatch.setattr(camera_files, "_frame_camera", None)
    with pytest.raises(UserError, match=r"has \d+ cameras; give 1 to 1000"):
        read_orbit(written(tmp_path / "orbit", text), FOCAL)


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_of_many_digits_are_no_cameras(tmp_path, digits):
    number = "1" * digits
    lens = f'"w": 64, "h": 64, "fl_y": {number}, "cx": 32, "cy": 32'
    for text in (f"[[{number}, 0]]", f"{number} 0", f'{{"portrait360": {{}}, "frames": [{{{lens}}}]}}'):
        with pytest.raises(UserError) as told:
            read_orbit(written(tmp_path / "orbit", text), FOCAL)
        assert len(str(told.value)) < 600


def test_a_picture_too_near_or_a_lens_that_cannot_be(tmp_path):
    frame = {"w": 64, "h": 64, "fl_y": 1e-9, "cx": 32, "cy": 32, "transform_matrix": np.eye(4).tolist()}
    with pytest.raises(UserError, match="invalid intrinsics"):
        read_orbit(written(tmp_path / "o", json.dumps({"portrait360": {}, "frames": [frame]})), FOCAL)


# memory


def test_too_little_memory_is_told_before_a_stage(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**9)
    memory.require_memory("fit", 9 * 10**8, "wait")
    with pytest.raises(UserError, match=r"about 2.0 GB of memory, but only 1.0 GB is free; .*fewer --views"):
        memory.require_memory("fit", 2 * 10**9, "ask for fewer --views")


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    free = memory.available_memory()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert memory.available_memory() == 2_000_000
    (tmp_path / "memory.stat").write_text("anon 700000\ninactive_file 250000\nactive_file 50000\n")
    assert memory.available_memory() == 2_250_000  # a cache of files is there for others to take
    (tmp_path / "memory.stat").write_text("inactive_file\n")
    assert memory.available_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert abs(memory.available_memory() - free) < 2**30


def test_a_gpu_that_is_too_small_is_asked_for_less_and_the_user_is_told():
    said: list[str] = []

    def never() -> str:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert (
        memory.with_oom_fallbacks([("", never), ("in tiles", never), ("on the CPU", lambda: "done")], said.append)
        == "done"
    )
    assert [words.split("continues ")[1] for words in said] == ["in tiles", "on the CPU"]
    with pytest.raises(UserError, match="does not have enough memory"):
        memory.with_oom_fallbacks([("", never)], said.append)
    with pytest.raises(ValueError, match="another"):  # other errors are nobody's memory
        memory.with_oom_fallbacks([("", lambda: (_ for _ in ()).throw(ValueError("another")))], said.append)


# more photos


@pytest.fixture(scope="module")
def person():
    return prepare_scene(build(sample(12, "human")))


def photo_of(person, path: Path, azimuth: float) -> Path:
    seen = render(person, Camera(look_at(azimuth, 3), FOCAL), 320)
    save_picture(path, seen.rgb, seen.alpha)
    return path


def test_other_photos_bring_the_proxy_nearer_to_the_truth(person, tmp_path):
    """From behind and from the side; without them both are made up. What the portrait shows hardly changes."""
    front = make_portrait(photo_of(person, tmp_path / "front.png", 5), size=256)
    behind = back_portrait(photo_of(person, tmp_path / "behind.png", 180), 256)
    side = reference_portrait(photo_of(person, tmp_path / "side.png", 60), 256)
    alone, more = proxy_from_photo(front), proxy_from_photo(front, [side, behind])
    assert np.array_equal(alone.radius, more.radius) and np.array_equal(alone.visible, more.visible)
    for azimuth, gain in ((180, 0.2), (75, 0.8), (0, -0.02)):
        camera = Camera(look_at(azimuth), FOCAL)
        goal = render(person, camera, 128)
        errors = []
        shown = alone.render(camera, 128).visibility > 0.9
        for proxy in (alone, more):
            view = proxy.render(camera, 128)
            both = (goal.alpha > 0.9) & (view.mask > 0.9) & (shown if azimuth == 0 else True)
            errors.append(-10 * np.log10(((view.rgb - goal.rgb)[both] ** 2).mean()))
        assert errors[1] - errors[0] > gain, (azimuth, errors)


def test_the_camera_of_another_photo_of_the_same_head_is_its_own(person, tmp_path):
    """A photo given twice stands where it stood, also when the second crop is another one."""
    front = make_portrait(photo_of(person, tmp_path / "front.png", 5), size=256)
    assert front.landmarks is not None
    smaller = replace(front, landmarks=(front.landmarks - 0.5) * 0.8 + 0.55)
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    own, other = (estimate_reference_camera(photo, front, *nothing) for photo in (front, smaller))
    assert abs(own.focal / front.camera.focal - 1) < 0.01 and np.abs(np.subtract(own.center, 0.5)).max() < 0.005
    head = own.unproject(np.array([[0.4, 0.4], [0.6, 0.7]]), np.array([2.6, 2.8]))
    assert np.allclose(other.project(head)[0], (own.project(head)[0] - 0.5) * 0.8 + 0.55)


def test_a_face_is_not_taken_from_behind_and_a_reference_has_a_face(person, tmp_path):
    with pytest.raises(UserError, match="not taken from behind"):
        back_portrait(ASTRONAUT, 64)
    behind = photo_of(person, tmp_path / "behind.png", 180)
    with pytest.raises(UserError, match="No face was found"):
        reference_portrait(behind, 64)


def test_the_first_photo_wins_where_it_is_trusted_and_light_is_matched():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.6, (40, 40, 3))
    sure, unsure = np.ones((40, 40)), np.zeros((40, 40))
    half = np.where(np.arange(40)[:, None] < 25, sure, unsure)
    first, other = SurfaceSamples(truth, half, half), SurfaceSamples(truth * [1.2, 0.9, 1.0], sure[::1], sure)
    both = merge_photo_samples(first, other)
    assert np.allclose(both.rgb, truth, atol=1e-9) and (both.trust == 1).all()
    nothing = merge_photo_samples(first, SurfaceSamples(rng.uniform(size=(40, 40, 3)), unsure, unsure))
    assert np.array_equal(nothing.rgb, first.rgb) and np.array_equal(nothing.trust, first.trust)


def test_a_few_cells_that_show_hair_for_skin_do_not_change_the_light_that_photos_share():
    """Half hair, half skin: a handful of cells decides which of the two a median colour is of."""
    first = np.where(np.arange(40)[:, None, None] % 2, 0.1, 0.7) * np.ones((40, 40, 3))
    other = first.copy()
    other[0, :8], first[1, :8] = 0.1, 0.7
    shown = np.where(np.arange(40)[:, None] < 30, np.ones((40, 40)), 0)
    both = merge_photo_samples(
        SurfaceSamples(first, shown, shown), SurfaceSamples(other, shown * 0 + 1, shown * 0 + 1)
    )
    assert np.allclose(both.rgb[30:], other[30:])


# warnings


def test_a_warning_is_in_the_record_at_once_and_only_once(tmp_path):
    def open_run():
        return Run.open(tmp_path, "photo", {}, ignore_event, overwrite=False)

    with open_run() as run:
        for stage, text in (("portrait", "a"), ("portrait", "a"), ("fit", "a"), ("fit", "b")):
            run.warn(stage, text)
        recorded = json.loads((tmp_path / "run.json").read_text())["warnings"]
        assert [(entry["stage"], entry["text"]) for entry in recorded] == [
            ("portrait", "a"), ("fit", "a"), ("fit", "b"),
        ]  # fmt: skip
    assert read_warnings(tmp_path) == ("a", "b")
    with open_run():
        assert read_warnings(tmp_path) == ()


# what others do to the folder


@pytest.mark.parametrize("deleted", ["portrait", "run.json", "."])
def test_a_run_whose_files_are_deleted_while_it_is_at_work_does_not_end_well(tmp_path, deleted):
    folder = tmp_path / "out"

    def write(name):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)

    def delete_and_write():
        gone = folder / deleted
        gone.unlink() if gone.is_file() else shutil.rmtree(gone)
        write("proxy")

    def make(compute):
        with Run.open(folder, "photo", {}, ignore_event, overwrite=False) as run:
            run.stage("portrait", {}, (), lambda: write("portrait"), lambda: None, outputs=("portrait",))
            run.stage("proxy", {}, ("portrait",), compute, lambda: None, outputs=("proxy",))
            if deleted == "run.json":
                (folder / deleted).unlink()

    with pytest.raises(UserError, match="was deleted from .* while the run was using it; run the same command again"):
        make(delete_and_write)


def test_a_name_of_the_folder_that_is_too_long_is_one_sentence(tmp_path):
    with (
        pytest.raises(UserError, match="is not a valid file name"),
        Run.open(tmp_path / ("x" * 300), "photo", {}, ignore_event, overwrite=False),
    ):
        pass
