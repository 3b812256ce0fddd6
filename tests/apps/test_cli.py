"""The commands, as a user meets them: surface, sentences, exit codes, speed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from portrait360.apps.cli import doctor, main
from portrait360.models.weights import importer, registry
from tests.fixtures import tiny
from tests.fixtures.cli_surface import SURFACE


def surface(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from surface(command, f"{prefix}{name} ")
        else:
            shown = (p.metavar if p.param_type_name == "argument" else "/".join(p.opts) for p in command.params)
            yield prefix + name, list(shown)


def test_the_surface_is_frozen():
    """Changing what users type is a decision, not an accident."""
    assert dict(surface(typer.main.get_command(main.app))) == SURFACE


@pytest.mark.parametrize("command", SURFACE)
def test_every_command_shows_an_example(command):
    shown = CliRunner().invoke(main.app, [*command.split(), "--help"]).output
    assert f"portrait360 {command}" in shown.split("Example", 1)[1]


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["portrait360", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def small_back_head(monkeypatch, tmp_path):
    """A tiny file of F; and the command line believes that F is that small."""
    system = tiny.system("back-head")
    monkeypatch.setitem(registry.MODEL_SPECS, "back-head", system)
    monkeypatch.setattr(importer, "MODEL_SPECS", registry.MODEL_SPECS)
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path / "home"))
    return tiny.save(tiny.state_of(system), tmp_path / "back.th")


def test_import_list_verify(monkeypatch, capsys, tmp_path, small_back_head):
    code, out, _ = run(monkeypatch, capsys, "weights", "import", str(small_back_head))
    assert code == 0 and out == f"back-head: {tmp_path / 'home' / 'back-head'}\n"
    code, out, _ = run(monkeypatch, capsys, "weights", "list")
    assert code == 0 and "back-head" in out and "float16" in out and "back.th" in out
    assert run(monkeypatch, capsys, "weights", "verify")[0] == 0
    (tmp_path / "home" / "back-head" / "unet.safetensors").unlink()
    code, _, err = run(monkeypatch, capsys, "weights", "verify")
    assert code == 2 and "unet.safetensors is missing" in err


def test_one_damaged_import_does_not_hide_the_others(monkeypatch, capsys, tmp_path, small_back_head):
    run(monkeypatch, capsys, "weights", "import", str(small_back_head))
    (tmp_path / "home" / "aaa").mkdir()
    (tmp_path / "home" / "aaa" / "manifest.json").write_text("{}")
    for command in (["weights", "list"], ["doctor"]):
        code, out, _ = run(monkeypatch, capsys, *command)
        assert code == 0 and "aaa" in out and "damaged" in out
    assert "back.th" in run(monkeypatch, capsys, "weights", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weights", "import", "/nowhere.th"], "There is no file or folder /nowhere.th."),
        (["weights", "import", "FILE", "--as", "sdxl"], "'sdxl' is not a kind of file known here"),
        (["weights", "import", "FILE", "--as", "diffportrait3d"], "does not fit"),
        (["weights", "import", "GARBAGE"], "not a whole torch checkpoint"),
        (["weights", "import", "TEXT"], "not a whole torch checkpoint"),
        (["weights", "verify", "/nowhere"], "No weights in /nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(monkeypatch, capsys, tmp_path, small_back_head, arguments, words):
    (tmp_path / "garbage.th").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "text.th").write_text("this is not a checkpoint")
    names = {"FILE": small_back_head, "GARBAGE": tmp_path / "garbage.th", "TEXT": tmp_path / "text.th"}
    code, out, err = run(monkeypatch, capsys, *[str(names.get(a, a)) for a in arguments])
    assert code == 2 and words in err and out == ""
    assert err.startswith("portrait360: ") and err.count("\n") == 1


def test_an_unforeseen_error_is_one_sentence_and_exit_code_1(monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(doctor, "report", broken)
    code, _, err = run(monkeypatch, capsys, "doctor")
    assert code == 1 and "first line" in err and "Traceback" not in err and err.count("\n") == 1


def test_a_missing_option_value_exits_with_2(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "weights", "import")[0] == 2


def test_doctor_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    code, out, _ = run(monkeypatch, capsys, "doctor")
    assert code == 0
    assert f"torch {torch.__version__.split('+')[0]}" in out
    assert "sd15: needs diffportrait360 and back-head" in out
    assert "model_state-340000.th, 10.8 GB" in out and "0.2 GB, from the PanoHead repository" in out


def test_doctor_sees_imported_weights(monkeypatch, capsys, tmp_path, small_back_head):
    run(monkeypatch, capsys, "weights", "import", str(small_back_head))
    _, out, _ = run(monkeypatch, capsys, "doctor")
    assert "sd15: needs diffportrait360 in" in out and "back-head: is here" in out


def seconds(*command: str) -> float:
    """Best of three, so that a busy machine does not decide."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_start_is_quick_and_needs_no_torch():
    code = "import sys, portrait360.apps.cli.main; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    empty = seconds(sys.executable, "-c", "")
    assert seconds(sys.executable, "-c", "import portrait360") - empty < 0.3
    assert seconds(sys.executable, "-m", "portrait360", "--help") < 0.5


def test_the_console_script_is_there():
    script = Path(sys.executable).with_name("portrait360")
    out = subprocess.run([script, "--version"], check=True, capture_output=True, text=True).stdout
    assert out.startswith("portrait360 ")


WRONG = [
    ("make", "no.jpg", "-o", "x"),
    ("make", "photo.png", "-o", "x", "--views", "0"),
    ("make", "photo.png", "-o", "x", "--preset", "sd15"),
    ("make", "photo.png", "-o", "x", "--back", "no.jpg"),
    ("batch", "no.csv", "-o", "x"),
    ("align", "no.jpg", "-o", "x"),
    ("align", "photo.png", "-o", "x", "--size", "3"),
    ("proxy", "photo.png", "-o", "x", "--method", "magic"),
    ("proxy", "photo.png", "-o", "x", "--hair", "magic"),
    ("make", "photo.png", "-o", "x", "--hair", "bob", "--method", "completed"),
    ("make", "photo.png", "-o", "x", "--hair-length", "0"),
    ("batch", "photo.png", "-o", "x", "--parameters", "no.json"),
    ("views", "nowhere"),
    ("fit", "nowhere", "-o", "x"),
    ("refine", "nowhere", "-o", "x"),
    ("export", "nowhere", "-o", "x"),
    ("view", "nowhere"),
    ("eval", "no.jpg", "--protocol", "wild", "-o", "x"),
    ("train", "run", "map", "--samples", "nowhere", "--validation", "nowhere", "-o", "x"),
    ("train", "init", "--from", "no.safetensors", "-o", "x"),
    ("weights", "import", "no.th"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_argument_is_an_error_before_anything_heavy_is_loaded(arguments, tmp_path):
    """So it comes within a second, however slow the disk is."""
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    program = (
        "import sys\nfrom portrait360.apps.cli.main import main\n"
        f"sys.argv = {['portrait360', *arguments]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, *sorted({'torch', 'scipy', 'cv2', 'numba'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PORTRAIT360_WEIGHTS": str(tmp_path / "none")}
    run = [sys.executable, "-c", program]
    ended = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "2\n" and ended.stderr.startswith("portrait360: ") and not (tmp_path / "x").exists()
