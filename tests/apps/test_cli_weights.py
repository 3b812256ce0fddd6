"""`weights fetch` and `weights export`, as commands."""

import hashlib
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from portrait360.apps.cli import weights
from portrait360.apps.cli.main import app
from portrait360.models.weights import download, importer, published_files, registry
from portrait360.models.weights.download import explain_status
from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.published_files import PublishedFile
from portrait360.pipeline.proxy.learned_completion import COMPLETER
from portrait360.utils.errors import UserError
from tests.fixtures import tiny
from tests.fixtures.hub_server import serve

FILES = {"back-head": "back.th", "sd15": "sd.th"}
REPOSITORY = "somebody/heads"


def run(*arguments: object, **options):
    return CliRunner().invoke(app, [str(a) for a in arguments], **options)


def error_of(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    made = {}
    for name in FILES:
        buffer = BytesIO()
        torch.save(tiny.state_of(tiny.system(name)), buffer)
        made[name] = buffer.getvalue()
    return made


@pytest.fixture
def hub(monkeypatch, contents, tmp_path):
    with serve() as server:
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path / "weights"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(download, "WAITS", ())
        for name, file in FILES.items():
            size = len(contents[name])
            server.files[f"/{REPOSITORY}/resolve/main/{file}"] = server.files[f"/{file}"] = contents[name]
            licence = f"licence of {name}"
            entry = PublishedFile(name, file, size, size // 2, licence, REPOSITORY)
            monkeypatch.setitem(published_files.PUBLISHED, name, entry)
            monkeypatch.setitem(registry.MODEL_SPECS, name, tiny.system(name))
        monkeypatch.setattr(importer, "MODEL_SPECS", registry.MODEL_SPECS)
        yield server


def test_one_command_brings_several_files(hub, contents, tmp_path):
    result = run("weights", "fetch", "back-head", "sd15", "--yes", "--delete")
    assert result.exit_code == 0, result.output
    assert "licence of back-head" in result.output and "licence of sd15" in result.output
    listed = run("weights", "list").output
    assert "back-head" in listed and "sd15" in listed and run("weights", "verify").exit_code == 0
    assert list((tmp_path / "weights" / "downloads").iterdir()) == []
    manifest = json.loads((tmp_path / "weights" / "sd15" / "manifest.json").read_text())
    assert manifest["source"]["sha256"] == hashlib.sha256(contents["sd15"]).hexdigest()
    hub.seen.clear()
    again = run("weights", "fetch", "sd15", "--yes")
    assert again.exit_code == 0 and "sd15 is already there" in again.output and hub.seen == []


def test_a_dry_run_says_all_and_does_nothing(hub, contents, tmp_path):
    result = run("weights", "fetch", "back-head", "--dry-run")
    digest = hashlib.sha256(contents["back-head"]).hexdigest()
    for words in ("back.th", f"{len(contents['back-head'])} bytes", digest, "licence of back-head", REPOSITORY):
        assert words in result.output
    assert str(tmp_path / "weights" / "back-head") in result.output
    assert result.exit_code == 0 and not (tmp_path / "weights").exists() and hub.ranges == []
    offline = run("weights", "fetch", "back-head", "--dry-run", "--offline")
    assert offline.exit_code == 0 and "not known here" in offline.output and "licence of back-head" in offline.output


def test_nothing_is_downloaded_before_the_licence_is_agreed_to(hub, monkeypatch):
    assert "or pass --yes" in error_of("weights", "fetch", "back-head")
    monkeypatch.setattr(weights, "is_terminal", lambda: True)
    refused = run("weights", "fetch", "back-head", input="n\n")
    assert "licence of back-head" in refused.output and "Nothing was downloaded" in str(refused.exception)
    assert hub.ranges == []
    assert run("weights", "fetch", "back-head", input="y\n").exit_code == 0
    assert len(hub.ranges) == 1


def test_a_mirror_and_a_folder(hub, contents, tmp_path):
    assert run("weights", "fetch", "back-head", "--from", hub.url, "--yes", "-o", tmp_path / "a").exit_code == 0
    (tmp_path / "sd.th").write_bytes(contents["sd15"])
    assert run("weights", "fetch", "sd15", "--from", tmp_path, "--yes", "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "a" / "manifest.json").is_file() and (tmp_path / "b" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "There is no published file 'nothing'; choose from diffportrait360"),
        (["back-head", "sd15", "-o", "x"], "one file at a time"),
        (["back-head", "sd15", "--from", "FILE"], "--from is a single file"),
        (["back-head", "--from", "FILE", "--delete"], "delete your own files yourself"),
        (["back-head", "--from", "/nowhere"], "There is no file or folder /nowhere"),
        (["diffportrait3d"], "with a browser, from https://drive.google.com"),
        (["back-head", "--offline"], "downloads are disabled"),
    ],
)
def test_what_cannot_work_is_one_sentence(hub, tmp_path, arguments, words):
    (tmp_path / "back.th").write_bytes(b"x")
    text = error_of("weights", "fetch", *[tmp_path / "back.th" if a == "FILE" else a for a in arguments])
    assert words in text and "\n" not in text and hub.seen == []


def test_a_wrong_name_needs_no_torch():
    program = (
        "import sys\nfrom portrait360.apps.cli.main import main\n"
        "sys.argv = ['portrait360', 'weights', 'fetch', 'nothing']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "2 False\n"


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 500])
def test_every_status_has_a_sentence_that_says_what_to_do(status):
    assert str(status) in explain_status(status, "URL") and "--from" in explain_status(status, "URL")


@pytest.fixture
def imported(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path / "weights"))
    system = tiny.system("back-head")
    source = tiny.save(tiny.state_of(system), tmp_path / "x.th")
    import_weights(source, tmp_path / "weights" / "back-head", system)
    return tmp_path / "weights" / "back-head"


@pytest.mark.parametrize("by", ["name", "folder"])
def test_export_to_diffusers(imported, tmp_path, by):
    result = run("weights", "export", "back-head" if by == "name" else imported, "--diffusers", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {"model_index.json", "unet", "vae", "appearance"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_export_with_a_card(imported, tmp_path):
    assert run("weights", "export", "back-head", "--pretrained", tmp_path / "out").exit_code == 0
    assert run("weights", "verify", tmp_path / "out").exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: ") and "OpenRAIL" in card
    assert run("weights", "export", COMPLETER, "--pretrained", tmp_path / "completer").exit_code == 0
    assert {path.name for path in (tmp_path / "completer").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }


def test_export_says_what_is_wrong(imported, tmp_path):
    assert "either --diffusers DIR or --pretrained DIR" in error_of("weights", "export", "back-head")
    assert "There are no weights 'sd15'" in error_of("weights", "export", "sd15", "--diffusers", tmp_path / "out")
    assert "has no diffusion network" in error_of(
        "weights", "export", motion(tmp_path), "--diffusers", tmp_path / "out"
    )


def motion(tmp_path: Path) -> Path:
    """A folder of weights that holds no U-Net."""
    folder = tmp_path / "motion"
    folder.mkdir()
    record = {"system": "animatediff", "dtype": "float16", "source": {"name": "x"}, "files": {}, "config": {}}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder
