"""The pipeline of the API is `make`: the same pictures, of a file or from memory, with the weights of a folder."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait360 import MakeOptions, Portrait360Pipeline, make
from portrait360.models.weights import importer, registry
from portrait360.models.weights.diffusers_export import export_diffusers
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.installed import find_weights, prefer_weights
from portrait360.models.weights.store import verify
from portrait360.pipeline import portrait360_pipeline
from portrait360.utils.errors import UserError
from portrait360.utils.progress import Event
from tests.fixtures import tiny
from tests.fixtures.photos import IMAGE
from tests.fixtures.runs import use_small_crops

LOOK = {"size": 64, "method": "proxy"}


@pytest.fixture(scope="module", autouse=True)
def small_crops():
    with pytest.MonkeyPatch.context() as patch:
        use_small_crops(patch)
        yield


def test_views_are_those_of_make(tmp_path):
    """The run of `make` is finished, so the pipeline only loads it: it asked for the very same."""
    IMAGE.resize((256, 256)).save(tmp_path / "photo.png")
    made = make(tmp_path / "photo.png", tmp_path / "run", MakeOptions(views=4, fit=False, **LOOK))
    events: list[Event] = []
    pipeline = Portrait360Pipeline.from_pretrained("small")
    out = pipeline(tmp_path / "photo.png", views=4, folder=tmp_path / "run", on_event=events.append, **LOOK)
    assert {event.state for event in events if event.stage == "views"} == {"kept"}
    assert len(out.views) == len(out.images) == len(out.cameras) == 4 and out.head is None
    for view, other, image in zip(out.views, made.views.views, out.images, strict=True):
        assert np.array_equal(view.rgb, other.rgb) and np.array_equal(view.alpha, other.alpha)
        pixels = np.asarray(image) / 255
        assert image.mode == "RGBA" and np.abs(pixels[..., :3] - view.rgb).max() <= 0.5 / 255 + 1e-6
        assert np.abs(pixels[..., 3] - view.alpha).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("kind", ["image", "array", "floats"])
def test_a_picture_in_memory_arrives_whole_and_nothing_is_left(tmp_path, monkeypatch, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 4), np.uint8)
    given = {"image": Image.fromarray(pixels), "array": pixels, "floats": pixels / np.float32(255)}[kind]

    def see(photo, folder, options, on_event):
        assert np.array_equal(np.asarray(Image.open(photo)), pixels)
        Path(folder).mkdir()
        raise UserError("seen")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(portrait360_pipeline, "make", see)
    with pytest.raises(UserError, match="seen"):
        Portrait360Pipeline()(given, views=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (0, 8, 3)])
def test_an_array_that_is_no_picture(shape):
    with pytest.raises(UserError, match="is not a picture"):
        Portrait360Pipeline()(np.zeros(shape, np.uint8), views=4)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A folder that a training wrote, of tiny networks, and none of the user's own."""
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path / "none"))
    for name in ("diffportrait360", "back-head"):
        system = tiny.system(name)
        source = tiny.save(tiny.state_of(system), tmp_path / f"{name}.th")
        import_weights(source, tmp_path / "trained" / name, system)
    return tmp_path / "trained"


def test_the_preset_is_that_of_the_weights_in_a_folder(weights, tmp_path, monkeypatch):
    pipeline = Portrait360Pipeline.from_pretrained(weights)
    assert (pipeline.preset, pipeline.weights) == ("sd15", weights)
    saved = pipeline.save_pretrained(tmp_path / "saved")
    again = Portrait360Pipeline.from_pretrained(saved)
    assert again.preset == "sd15" and verify(saved / "diffportrait360") == []
    assert (saved / "back-head" / "README.md").is_file()
    seen = []

    def see(photo, folder, options, on_event):
        seen.append((options.preset, options.results, find_weights("diffportrait360"), options.device))
        raise UserError("seen")

    monkeypatch.setattr(portrait360_pipeline, "make", see)
    with pytest.raises(UserError, match="seen"):
        again.to("cpu")("photo.png", views=8)
    assert seen == [("sd15", (), saved / "diffportrait360", "cpu")]
    assert find_weights("diffportrait360") is None  # outside of the call nothing has changed


@pytest.mark.parametrize(("results", "expected"), [(("mesh",), ("mesh", "views")), (None, None), ((), ())])
def test_views_are_always_made(monkeypatch, results, expected):
    """They are what it returns."""
    seen = []

    def see(photo, folder, options, on_event):
        seen.append(options.results)
        raise UserError("seen")

    monkeypatch.setattr(portrait360_pipeline, "make", see)
    with pytest.raises(UserError, match="seen"):
        Portrait360Pipeline.from_pretrained("small")("photo.png", results=results)
    assert seen == [expected]


def test_one_network_of_a_folder_is_completed_by_the_users_own(weights, monkeypatch):
    with pytest.raises(UserError, match=r"needs the weights `back-head`.*weights fetch back-head"):
        Portrait360Pipeline.from_pretrained(weights / "diffportrait360")
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(weights))
    pipeline = Portrait360Pipeline.from_pretrained(weights / "diffportrait360")
    assert pipeline.preset == "sd15"
    with prefer_weights(pipeline.weights):
        assert find_weights("diffportrait360") == weights / "diffportrait360"


def test_weights_in_diffusers_folders_come_back_by_an_import(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.MODEL_SPECS, "diffportrait360", tiny.system("diffportrait360"))
    monkeypatch.setattr(importer, "MODEL_SPECS", registry.MODEL_SPECS)
    export_diffusers(weights / "diffportrait360", tmp_path / "exported")
    with pytest.raises(UserError, match=f"weights import {tmp_path / 'exported'}"):
        Portrait360Pipeline.from_pretrained(tmp_path / "exported")
    home = tmp_path / "home"
    import_weights(tmp_path / "exported", home / "diffportrait360")
    shutil.copytree(weights / "back-head", home / "back-head")
    saved = Portrait360Pipeline.from_pretrained(home).save_pretrained(tmp_path / "saved")
    for name in ("diffportrait360", "back-head"):
        for path in (weights / name).glob("*.safetensors"):
            assert path.read_bytes() == (saved / name / path.name).read_bytes()


def test_what_cannot_be_loaded_is_said(tmp_path):
    with pytest.raises(UserError, match=r"contains no imported weights for any preset.*weights import FILE"):
        Portrait360Pipeline.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="There is no folder nowhere"):
        Portrait360Pipeline.from_pretrained("nowhere")
    with pytest.raises(UserError, match="There is no preset 'sdxl'"):
        Portrait360Pipeline("sdxl")
    with pytest.raises(UserError, match="nothing to save"):
        Portrait360Pipeline().save_pretrained(tmp_path / "x")
