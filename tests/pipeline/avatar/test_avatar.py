"""The avatar of a portrait: what must hold whatever the portrait."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.gaussians.rasterizer import render_image
from portrait360.pipeline.avatar import NAME, methods
from portrait360.pipeline.avatar import avatar as avatar_file
from portrait360.pipeline.avatar.ablation import PLAINEST, Ablation, skip_search
from portrait360.pipeline.avatar.avatar import Avatar, load_coarse_head
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, fit_photo, make_avatar
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.avatar.overrules import FILE, Overrules, check_tree, make_overrules
from portrait360.pipeline.avatar.unwrapping import unwrap_head
from portrait360.pipeline.export.avatar_splats import build
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.style_descriptor import ALL_STYLES
from portrait360.synth.scene import Part
from portrait360.utils.errors import UserError
from portrait360.utils.images import over_grey
from portrait360.utils.portrait_labels import FACE_LABELS, Label
from tests.fixtures.photos import ASTRONAUT, FOCAL

SIDE = 256


pytestmark = pytest.mark.usefixtures("few_styles")


@pytest.fixture(scope="module")
def steps() -> list[float]:
    """How much of the work was done, whenever the maker of the avatar said so."""
    return []


@pytest.fixture(scope="module")
def avatar(portrait, proxy, few_styles, steps) -> Avatar:
    return make_avatar(portrait, proxy, on_step=lambda done, total: steps.append(done / total))


def view_labels(avatar: Avatar, azimuth: float) -> np.ndarray:
    return render(avatar.scene, Camera(look_at(azimuth), FOCAL), SIDE).labels


def test_the_photo_comes_back_at_its_own_camera(avatar, portrait):
    view = avatar.render(avatar.camera, len(portrait.rgb))
    inside = (portrait.alpha > 0.5) & (portrait.inside_photo > 0.5) & (avatar.picture.known > 0.99)
    error = ((view.rgb - avatar.photo)[inside] ** 2).mean()
    assert -10 * np.log10(max(error, 1e-12)) > 37
    known = avatar.picture.known > 0.99
    shown, true = view.mask > 0.5, portrait.alpha > 0.5
    assert (shown & true & known).sum() / ((shown | true) & known).sum() > 0.98


def test_from_behind_there_is_no_face(avatar):
    labels = view_labels(avatar, 180)
    assert np.isin(labels, [label for label in FACE_LABELS if label != Label.EAR]).mean() < 0.002
    assert (labels == Label.HAIR).mean() > 0.03 and (labels == Label.CLOTHES).mean() > 0.03


def test_hair_is_of_strands_and_the_skin_has_eyes_and_ears(avatar):
    assert any(group.part[0] == Part.HAIR for group in avatar.scene.strands)
    assert any(mesh.part[0] == Part.EYES for mesh in avatar.scene.meshes)
    bare = replace(avatar.scene, strands=())
    for azimuth in (-90, 90):
        ear = render(bare, Camera(look_at(azimuth), FOCAL), SIDE).labels == Label.EAR
        assert ear.sum() > 60


def test_between_two_near_views_little_changes(avatar):
    """Near the photo's direction layers and matte meet: no part of the head appears or disappears at once."""
    first, second = (avatar.render(Camera(look_at(azimuth), FOCAL), SIDE) for azimuth in (8, 10))
    assert np.abs(first.mask - second.mask).mean() < 0.01
    assert np.abs(first.rgb - second.rgb).mean() < 0.02


def test_it_is_the_same_after_saving_and_loading(avatar, tmp_path):
    avatar.save(tmp_path)
    loaded = load_coarse_head(tmp_path)
    assert isinstance(loaded, Avatar) and loaded.parameters == avatar.parameters
    np.testing.assert_array_equal(avatar.cover._values, loaded.cover._values)
    camera = Camera(look_at(50, 10), FOCAL)
    for a, b in zip(vars(avatar.render(camera, 96)).values(), vars(loaded.render(camera, 96)).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    (tmp_path / NAME).unlink()
    assert isinstance(load_coarse_head(tmp_path), Proxy)


def test_it_is_saved_without_its_light(avatar, tmp_path, monkeypatch):
    """Light takes as long as writing the files; a run computes it beside that."""
    monkeypatch.setattr(avatar_file, "prepare_scene", None)
    replace(avatar, fit=avatar.fit).save(tmp_path)
    assert (tmp_path / NAME).is_file()


def test_damaged_files_are_one_plain_sentence(avatar, proxy, tmp_path):
    avatar.save(tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04" + whole[4:100]):
        (tmp_path / NAME).write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            load_coarse_head(tmp_path)
    (tmp_path / NAME).write_bytes(whole)
    replace(proxy, colours=proxy.colours * 0).save(tmp_path)  # another cover than the avatar's
    with pytest.raises(UserError, match="is damaged"):
        load_coarse_head(tmp_path)


def test_an_avatar_says_how_far_it_is(avatar, steps, portrait, proxy, monkeypatch):
    """It is the longest stage of a run, whose time left would stand still meanwhile."""
    assert len(steps) >= 5 and steps[0] > 0 and steps[-1] < 1 and np.all(np.diff([0, *steps, 1]) < 0.35)
    monkeypatch.setattr(methods, "make_avatar", lambda *_, on_step: on_step(1, 3))
    told = []
    build_proxy(portrait, on_step=lambda *event: told.append(event))
    assert told == [("step", 1, 3, 0.0)]


def test_a_portrait_without_a_face_becomes_a_completed_proxy(portrait):
    without = replace(portrait, source="matte", landmarks=None)
    assert can_fit_avatar(portrait) and not can_fit_avatar(without)
    assert not can_fit_avatar(replace(portrait, reading=None))
    assert isinstance(build_proxy(without, method="avatar"), Proxy)


def test_parameters_that_are_passed_back_change_nothing(avatar, portrait, proxy, tmp_path):
    avatar.save(tmp_path)
    again = make_avatar(portrait, proxy, overrules=make_overrules(None, None, tmp_path / FILE))
    assert again.parameters == avatar.parameters
    np.testing.assert_array_equal(again.picture.labels, avatar.picture.labels)
    for a, b in zip(avatar.scene.strands, again.scene.strands, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.albedo, b.albedo)


def test_what_the_user_says_counts_more_than_the_photo(avatar, portrait, proxy):
    said = {"hair": {"style": "very_long"}, "clothes": {"colour": [0.02, 0.3, 0.02], "collar": "scarf"}}
    other = make_avatar(
        portrait, proxy, overrules=Overrules(check_tree(said | {"wear": {"glasses": "round"}}, "said"))
    )
    wanted = other.parameters
    assert (wanted.hair.style, wanted.clothes.collar, wanted.wear.glasses) == ("very_long", "scarf", "round")
    hair = [(view_labels(one, 180) == Label.HAIR).mean() for one in (avatar, other)]
    assert hair[1] > 1.3 * hair[0]
    view = other.render(Camera(look_at(30), FOCAL), SIDE)
    labels = view_labels(other, 30)
    cloth = view.rgb[(labels == Label.CLOTHES) & (view.mask > 0.9)].mean(0)
    assert cloth[1] > 1.3 * max(cloth[0], cloth[2])
    assert (labels == Label.GLASSES).any()
    own = other.render(other.camera, len(portrait.rgb))
    face = other.picture.shows(Label.FACE) & (other.picture.known > 0.99)
    assert np.abs(own.rgb - other.photo)[face].mean() < 0.02  # at its own camera the photo is the photo


def test_hair_that_is_taken_off_is_only_seen_where_the_photo_is_the_photo(portrait, proxy):
    bald = make_avatar(portrait, proxy, overrules=make_overrules("bald", None, None))
    assert bald.parameters.hair.style == "bald" and not bald.picture.shows(Label.HAIR).any()
    own = bald.render(bald.camera, SIDE)
    azimuth = bald.camera.azimuth
    for angle in (20, 28, -20):
        camera = Camera(look_at(azimuth + angle, bald.camera.elevation), FOCAL)
        shown, drawn = bald.render(camera, SIDE).mask > 0.5, render(bald.scene, camera, SIDE).alpha > 0.5
        top = slice(0, SIDE // 2)
        assert (shown & drawn)[top].sum() / (shown | drawn)[top].sum() > 0.97
        assert shown[top].sum() < 0.9 * (own.mask > 0.5)[top].sum()


@pytest.fixture(scope="module")
def small_portrait():
    return make_portrait(ASTRONAUT, size=128)


@pytest.fixture(scope="module")
def fitted(small_portrait):
    return fit_photo(small_portrait)


@pytest.mark.parametrize("step", [field.name for field in fields(Ablation)])
def test_a_step_that_is_left_out_is_all_that_changes(step, small_portrait, fitted):
    """The parts of an avatar that are cheap to make: the rest is the same program."""
    fit, photo, reading = fit_photo(small_portrait, Ablation(**{step: False}))
    whole, full, _ = fitted
    assert np.array_equal(fit.offset, whole.offset) == (step not in ("snap", "reader"))
    assert np.array_equal(photo.labels, full.labels) == (step != "reader")
    assert photo.shows(Label.HAIR).any() and photo.shows(Label.FACE).any() and photo.shows(Label.CLOTHES).any()
    style = skip_search(HeadParameters(), reading, Ablation(**{step: False})).hair.style
    assert style in ALL_STYLES and (style == PLAINEST or step != "reader")


@pytest.mark.slow
def test_the_same_portrait_gives_the_same_avatar(avatar, portrait, proxy):
    again = make_avatar(portrait, proxy)
    for a, b in zip(avatar.scene.meshes, again.scene.meshes, strict=True):
        np.testing.assert_array_equal(a.vertices, b.vertices)
        np.testing.assert_array_equal(a.albedo, b.albedo)
    for a, b in zip(avatar.scene.strands, again.scene.strands, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.albedo, b.albedo)


def test_unwrapped_it_keeps_its_outline_all_around(avatar):
    head = unwrap_head(avatar)
    for azimuth in (0, 60, 120, 180, 240):
        camera = Camera(look_at(azimuth), FOCAL)
        a, b = (one.render(camera, 128).mask > 0.5 for one in (avatar, head))
        assert (a & b).sum() / (a | b).sum() > 0.93, azimuth
    assert unwrap_head(head) is head


def test_it_becomes_splats_that_look_like_it(avatar, monkeypatch):
    monkeypatch.setattr(build, "SIZE", SIDE)
    cameras = [Camera(look_at(azimuth), FOCAL) for azimuth in (0, 30, 60, 110, 180, 250, 300, 330)]
    views = [(camera, avatar.render(camera, SIDE)) for camera in cameras]
    splats = build.splats_from_avatar(avatar, 60_000, views=views)
    assert len(splats) <= 60_000 and all(np.isfinite(getattr(splats, f.name)).all() for f in fields(splats))
    for camera, least in ((avatar.camera, 25), (Camera(look_at(145), FOCAL), 24)):  # the latter is new to them
        view, (rgb, alpha, _) = avatar.render(camera, SIDE), render_image(splats, camera, SIDE)
        error = np.square(over_grey(rgb, alpha) - over_grey(view.rgb, view.mask)).mean()
        assert -10 * np.log10(error) > least, camera.azimuth


def test_the_same_seed_gives_the_same_splats(avatar, monkeypatch):
    monkeypatch.setattr(build, "SIZE", 64)
    views = [
        (camera, avatar.render(camera, 64)) for camera in (Camera(look_at(azimuth), FOCAL) for azimuth in (0, 180))
    ]
    one, two = (build.splats_from_avatar(avatar, 5_000, views=views) for _ in range(2))
    assert all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
