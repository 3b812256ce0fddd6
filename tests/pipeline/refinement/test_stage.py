"""The stage `refine`: from a run's folder to another head, by the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.models.triplane import TriplaneConfig
from portrait360.models.weights.tensor_files import write_half
from portrait360.pipeline import make as pipeline_make
from portrait360.pipeline import refinement
from portrait360.pipeline.make import make
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.refinement import noise_resampling, stage
from portrait360.pipeline.refinement.geometry_restoration import RestoreConfig, make_restoration
from portrait360.pipeline.refinement.noise_resampling import RefineConfig
from portrait360.pipeline.refinement.stage import (
    RefineRequest,
    load_base_volume,
    load_guide,
    prepare_head,
    refine_folder,
    refine_views,
)
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.resume import ResumeFile
from tests.fixtures.photos import IMAGE
from tests.fixtures.runs import TINY, left, use_small_crops, use_small_fields, use_tiny_fits
from tests.fixtures.tiny_priors import TINY_HYBRID, write_tiny_priors

SIZES = TriplaneConfig(side=64, features=16, hidden=16, seen=4, sharper=8)
HOW = RefineConfig(steps=1, views=3, size=64, between=1, levels=1, judged=16, moves=4, photos=1, window=32)


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    """The stage goes the same way with networks of few numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "SMALL_HYBRID", TINY_HYBRID)
        patch.setattr(stage, "TriplaneConfig", lambda: SIZES)
        use_small_fields(patch)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    IMAGE.resize((256, 256)).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        use_small_crops(patch)
        use_tiny_fits(patch)
        patch.setattr(pipeline_make, "run_files", lambda *what: None)
        make(folder / "photo.png", folder / "out", MakeOptions(views=4, size=64, results=("field",), method="proxy"))
    return folder / "out"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_tiny_priors(tmp_path_factory.mktemp("weights"))


def test_a_run_is_refined_into_another_folder_and_goes_on(run, weights, tmp_path, monkeypatch):
    before, asked = left(run), RefineRequest(HOW, weights)
    assert str(tmp_path) in refine_folder(run, tmp_path, asked, settings=TINY)
    assert left(run) == before
    one, other = ViewSet.load(run / "views"), ViewSet.load(tmp_path / "views")
    assert [v.camera.azimuth for v in one.views] == pytest.approx([v.camera.azimuth for v in other.views], abs=1e-3)
    assert any(np.abs(a.rgb - b.rgb).max() > 0.02 for a, b in zip(one.views, other.views, strict=True))
    assert one.reference and other.reference and np.array_equal(one.reference.rgb, other.reference.rgb)
    assert Head.load(tmp_path / "head").mesh is not None
    after = left(tmp_path)
    (tmp_path / "head" / "mesh.safetensors").unlink()
    monkeypatch.setattr(stage, "refine", None)  # what is there is not made again
    refine_folder(run, tmp_path, asked, settings=TINY)
    assert left(tmp_path) == after
    with pytest.raises(TypeError):
        refine_folder(run, tmp_path, replace(asked, how=replace(HOW, seed=1)), settings=TINY)  # it would be


def test_no_steps_give_back_the_views_and_the_head(run, weights, tmp_path):
    sheet, field = ViewSet.load(run / "views"), Head.load(run / "head").field
    asked = RefineRequest(replace(HOW, steps=0), weights)
    assert field and refine_views(field, sheet, load_guide(weights), asked) is sheet
    refine_folder(run, tmp_path, asked, settings=TINY)
    assert left(tmp_path / "head") == {n: d for n, d in left(run / "head").items() if n.endswith(".safetensors")}


def test_what_cannot_be_refined_is_one_sentence(run, weights, tmp_path, monkeypatch):
    asked = RefineRequest(HOW, weights)
    for place in (run, run / "head", run / "views"):
        with pytest.raises(UserError, match="choose another folder"):
            refine_folder(run, place, asked)
    with pytest.raises(UserError, match="contains no views"):
        refine_folder(tmp_path, tmp_path / "out", asked)
    monkeypatch.setattr(refinement, "HYBRID_PRIORS", tmp_path / "none")
    with pytest.raises(UserError, match="no weights for the hybrid priors"):
        refine_folder(run, tmp_path / "out", replace(asked, weights=None))
    with pytest.raises(UserError, match="the photo as well as the views"):
        refine_views(load_base_volume(run, "field"), ViewSet(()), load_guide(weights), asked)
    with pytest.raises(UserError, match="no generated head"):
        refine_folder(run, tmp_path / "out", replace(asked, begin="gan"))
    with pytest.raises(UserError, match=r"no file .*none\.safetensors"):
        refine_folder(run, tmp_path / "out", replace(asked, restorer=tmp_path / "none.safetensors"))
    with pytest.raises(UserError, match="choose from field"):
        refine_folder(run, tmp_path / "out", replace(asked, begin="photo"))
    with pytest.raises(UserError, match="no fitted field"):
        load_base_volume(tmp_path, "field")


def test_without_a_fit_the_proxy_is_refined_and_shape_is_restored_first(run, weights, tmp_path, monkeypatch):
    torch.manual_seed(0)
    restoration, file = make_restoration(SIZES), tmp_path / "restorer.safetensors"
    torch.nn.init.normal_(restoration.last.weight, std=0.3)
    write_half(restoration, file, {})
    short, led = replace(HOW, steps=1, views=2, between=0), load_guide(weights)
    asked, sheet = RefineRequest(short, weights, begin="proxy"), ViewSet.load(run / "views")
    few = replace(sheet, views=sheet.views[:2])
    told: list[str] = []
    volume = load_base_volume(run, "proxy")
    plain = refine_views(volume, few, led, asked, lambda what, done, of: told.append(what))
    restoring = replace(asked, restorer=file, restoring=RestoreConfig(steps=1, size=64))
    kept = ResumeFile(tmp_path / "kept.pt", "this", "")
    monkeypatch.setattr(noise_resampling, "KEEP_SECONDS", 0.0)
    both = refine_views(volume, few, led, restoring, lambda what, done, of: told.append(what), kept)
    assert told == ["refine", "refine", "restore", "refine", "refine"]
    for before, one, other in zip(few.views, plain.views, both.views, strict=True):
        assert np.abs(one.alpha - before.alpha).mean() < 0.05  # the same head
        assert np.abs(other.rgb - one.rgb).max() > 0.02
    assert asked.cache_inputs() != restoring.cache_inputs()
    monkeypatch.setattr(stage, "restore", None)  # what was restored is in what was kept
    photo, camera = sheet.reference, few.views[1].camera
    head = prepare_head(volume, photo, led, restoring, lambda *told: None, kept)
    was, now = (one.render_image(camera, 64)[0] for one in (volume, head.base))
    assert np.abs(was - now).max() > 0.02  # what is refined is the restored head
    assert np.abs(head.render_image(camera, 64)[0] - now).max() < 1e-5
    again = refine_views(volume, few, led, restoring, resume_file=kept)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(again.views, both.views, strict=True))
