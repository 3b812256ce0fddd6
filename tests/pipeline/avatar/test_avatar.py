"""The avatar of a portrait: what must hold whatever the portrait."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.avatar import NAME, Avatar, load_coarse_head
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.render.renderer import render
from portrait360.synth.scene import Part
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import FACE_LABELS, Label
from tests.fixtures.photos import FOCAL

SIDE = 256


@pytest.fixture(scope="module")
def avatar(portrait, proxy) -> Avatar:
    return make_avatar(portrait, proxy)


def view_labels(avatar: Avatar, azimuth: float) -> np.ndarray:
    return render(avatar.scene, Camera(look_at(azimuth), FOCAL), SIDE).labels


def test_the_photo_comes_back_at_its_own_camera(avatar, portrait):
    view = avatar.render(avatar.camera, len(portrait.rgb))
    inside = (portrait.alpha > 0.5) & (portrait.inside_photo > 0.5) & (avatar.picture.known > 0.99)
    error = ((view.rgb - avatar.photo)[inside] ** 2).mean()
    assert -10 * np.log10(error) > 37
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
    camera = Camera(look_at(50, 10), FOCAL)
    for a, b in zip(vars(avatar.render(camera, 96)).values(), vars(loaded.render(camera, 96)).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    (tmp_path / NAME).unlink()
    assert isinstance(load_coarse_head(tmp_path), Proxy)


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


def test_a_portrait_without_a_face_becomes_a_completed_proxy(portrait):
    without = replace(portrait, source="matte", landmarks=None)
    assert can_fit_avatar(portrait) and not can_fit_avatar(without)
    assert not can_fit_avatar(replace(portrait, reading=None))
    assert isinstance(build_proxy(without, method="avatar"), Proxy)


@pytest.mark.slow
def test_the_same_portrait_gives_the_same_avatar(avatar, portrait, proxy):
    again = make_avatar(portrait, proxy)
    for a, b in zip(avatar.scene.meshes, again.scene.meshes, strict=True):
        np.testing.assert_array_equal(a.vertices, b.vertices)
        np.testing.assert_array_equal(a.albedo, b.albedo)
    for a, b in zip(avatar.scene.strands, again.scene.strands, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.albedo, b.albedo)
