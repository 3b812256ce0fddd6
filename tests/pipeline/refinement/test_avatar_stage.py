"""The stage `refine` over an avatar: shape and colours of its layers follow views that the priors have denoised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait360.geometry.cameras import orbit
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.refinement import avatar_refinement, avatar_stage, stage
from portrait360.pipeline.refinement.avatar_refinement import refine_with_priors
from portrait360.pipeline.refinement.noise_resampling import RefineConfig
from portrait360.pipeline.refinement.stage import RefineRequest, load_guide, refine_folder
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.errors import UserError
from tests.fixtures.photos import ASTRONAUT
from tests.fixtures.runs import CROP, left
from tests.fixtures.tiny_priors import TINY_HYBRID, write_tiny_priors

HOW = RefineConfig(steps=2, views=3, size=64)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def small_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "SMALL_HYBRID", TINY_HYBRID)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, light_avatars) -> Path:
    """A run with a small portrait, its avatar and three views."""
    folder = tmp_path_factory.mktemp("run")
    portrait = make_portrait(ASTRONAUT, size=CROP)
    avatar = light_avatars(portrait, proxy_from_photo(portrait))
    avatar.save(folder / "proxy")
    portrait.save(folder / "portrait")
    seen = ((camera, avatar.render(camera, 64)) for camera in orbit(3))
    photo = View(portrait.rgb, portrait.alpha, portrait.camera)
    ViewSet(tuple(View(v.rgb, v.mask, camera) for camera, v in seen), photo).save(folder / "views")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_tiny_priors(tmp_path_factory.mktemp("weights"))


def darken(avatar: Avatar, views: list[View]) -> Avatar:
    meshes = tuple(replace(mesh, albedo=np.float32(0.9) * mesh.albedo) for mesh in avatar.scene.meshes)
    return replace(avatar, scene=replace(avatar.scene, meshes=meshes))


@pytest.mark.slow  # the same law holds in test_stage.py for fields, in less time
def test_a_stopped_refinement_of_an_avatar_resumes_and_equals_an_undisturbed_one(run, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(avatar_refinement, "refine_avatar", darken)  # its rounds are soon done
    request, before = RefineRequest(HOW, weights, begin="avatar"), left(run)
    refine_folder(run, tmp_path / "whole", request)
    assert left(run) == before

    def stop(what: str, done: int, of: int) -> None:
        if done == 1:
            raise Stopped

    with pytest.raises(Stopped):
        refine_folder(run, tmp_path / "parts", request, on_step=stop)
    seen: list[int] = []
    refine_folder(run, tmp_path / "parts", request, on_step=lambda what, done, of: seen.append(done))
    assert seen == [1, 2]
    assert left(tmp_path / "parts") == left(tmp_path / "whole")
    assert len(ViewSet.load(tmp_path / "whole" / "views").views) == 3


def test_the_avatar_moves_towards_what_the_priors_say(run, weights, monkeypatch):
    """Priors that know a darker head make the avatar's layers darker, and its photo stays."""
    avatar, goals = Avatar.load(run / "proxy"), []

    def predict(avatar, photo, guide, start, config, number):
        views = [
            View(0.7 * v.picture[:3].permute(1, 2, 0).numpy(), v.picture[3].numpy(), v.camera)
            for v in start.views[1:]
        ]
        goals.extend(views)
        return views

    monkeypatch.setattr(avatar_refinement, "denoise_views", predict)
    refined = refine_with_priors(avatar, avatar, load_guide(weights), replace(HOW, steps=1))

    def brightness(head: Avatar) -> float:
        views = [head.render(goal.camera, 64) for goal in goals]
        return float(np.mean([v.rgb[v.mask > 0.9].mean() for v in views]))

    assert brightness(refined) < 0.92 * brightness(avatar)
    np.testing.assert_array_equal(refined.picture.rgb, avatar.picture.rgb)
    before, after = (head.render(avatar.camera, 64) for head in (avatar, refined))
    clear = (before.visibility > 0.99) & (after.visibility > 0.99)
    assert clear.any() and np.abs(before.rgb - after.rgb)[clear].max() < 0.02


def test_a_run_without_an_avatar_is_one_sentence(run, weights, tmp_path):
    ViewSet.load(run / "views").save(tmp_path / "run" / "views")
    with pytest.raises(UserError, match="contains no avatar"):
        refine_folder(tmp_path / "run", tmp_path / "out", RefineRequest(HOW, weights, begin="avatar"))
    assert avatar_stage.hash_avatar(run)
