"""The Space: its front matter is what the hub reads, its page is built, and a photo becomes files."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from portrait360.pipeline.make import make
from portrait360.utils.errors import UserError
from portrait360.utils.progress import Event
from tests.fixtures.paths import ASTRONAUT, ROOT

SPACE = ROOT / "integrations" / "space"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that the hub knows


@pytest.fixture(scope="module")
def app():
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_front_matter_is_complete():
    text = (SPACE / "README.md").read_text(encoding="utf-8")
    matter = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.S).group(1))
    assert matter["sdk"] == "gradio" and re.fullmatch(r"6\.\d+\.\d+", matter["sdk_version"])
    assert {matter["colorFrom"], matter["colorTo"]} <= COLOURS and len(matter["short_description"]) <= 60
    assert (SPACE / matter["app_file"]).is_file() and matter["license"] == "apache-2.0"
    low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()
    assert int(low) <= int(matter["python_version"].split(".")[1]) < int(high)
    assert tuple(map(int, matter["sdk_version"].split("."))) >= tuple(
        map(int, re.search(r"gradio>=([\d.]+)", (ROOT / "pyproject.toml").read_text()).group(1).split("."))
    )


def test_requirements_are_names_of_packages():
    for name in ("requirements.txt", "packages.txt"):
        lines = (SPACE / name).read_text().splitlines()
        assert lines and all(re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?", line) for line in lines)


def test_the_page_takes_a_photo_and_makes_one_head_at_a_time(app):
    config = app.demo.get_config_file()
    kinds = [part["type"] for part in config["components"]]
    assert {"image", "dropdown", "button", "html", "file"} <= set(kinds)
    (click,) = [fn for fn in app.demo.fns.values() if fn.fn is not None and fn.fn.__name__ == "make_head"]
    assert click.concurrency_limit == 1 and len(click.inputs) == 2 and len(click.outputs) == 3


def test_a_photo_becomes_files(app, tmp_path, monkeypatch):
    seen = {}

    def run(photo, folder, options, on_event):
        seen.update(photo=photo, options=options.validate())
        on_event(Event("proxy", "step", "skin", 1, 4))
        for name in app.FILES:
            (Path(folder) / name).write_text('<p title="a">&</p>')

    monkeypatch.setattr(app, "make", run)
    monkeypatch.setattr(app.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    steps = []
    page, sheet, files = app.make_head(str(ASTRONAUT), "bob", lambda share, desc: steps.append((share, desc)))
    assert seen["options"].hair == "bob" and seen["options"].preset == "small"
    assert 'srcdoc="&lt;p title=&quot;a&quot;&gt;&amp;&lt;/p&gt;"' in page and "allow-same-origin" not in page
    assert steps == [(0.25, "skin")]
    assert [Path(file).name for file in files] == list(app.FILES) and sheet == str(tmp_path / "sheet.png")


def test_what_cannot_be_made_is_said_in_one_sentence(app, tmp_path, monkeypatch):
    import gradio as gr

    with pytest.raises(gr.Error, match="Choose a photo"):
        app.make_head(None, app.ESTIMATED, None)

    def fail(*given):
        raise UserError("There is no head.")

    monkeypatch.setattr(app, "make", fail)
    with pytest.raises(gr.Error, match="There is no head"):
        app.make_head(str(ASTRONAUT), app.ESTIMATED, None)
    monkeypatch.setattr(app, "make", make)
    broken = tmp_path / "photo.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(gr.Error, match="photo.png"):
        app.make_head(str(broken), app.ESTIMATED, lambda *given, **more: SimpleNamespace())
