"""The commands, as a user meets them: surface, sentences, exit codes, speed."""

import os
import pickle
import re
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
from portrait360.pipeline.export import FORMATS
from portrait360.synth.sampling.style_descriptor import ALL_STYLES
from portrait360.utils.progress import Event, ProgressBar, event_printer
from tests.fixtures import tiny
from tests.fixtures.cli_surface import SURFACE
from tests.fixtures.photos import ASTRONAUT


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
        (["weights", "import", "FILE", "--as", "sdxl"], "'sdxl' is not a known kind of file"),
        (["weights", "import", "FILE", "--as", "diffportrait3d"], "does not fit"),
        (["weights", "import", "GARBAGE"], "not a complete torch checkpoint"),
        (["weights", "import", "TEXT"], "not a complete torch checkpoint"),
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


HIDDEN = "\x1b[2J\nportrait360: done\u202e\udcff"  # clears the screen, begins a line, turns the rest around


def test_names_from_outside_neither_move_the_cursor_nor_begin_a_line(monkeypatch, capsys, tmp_path):
    pickled = pickle.dumps({"a": 1}, 2)[:-1] + b"cos\n\x1b[2J\n."
    (tmp_path / "x.ckpt").write_bytes(pickled)
    torch.save({HIDDEN[:10]: torch.eye(2).to_sparse()}, tmp_path / "x.th")
    for words in (
        ["make", f"{HIDDEN}.png", "-o", str(tmp_path / "out")],
        ["align", f"{HIDDEN}.png", f"b{HIDDEN}.png", "-o", str(tmp_path / "out")],
        ["weights", "import", str(tmp_path / "x.ckpt")],
        ["weights", "import", str(tmp_path / "x.th")],
    ):
        code, out, err = run(monkeypatch, capsys, *words)
        assert code == 2 and err and "\\x1b[2J" in err, err
        assert all(c.isprintable() or c == "\n" for c in out + err), err
        assert all(not line.startswith("portrait360: done") for line in err.splitlines()), err


def test_events_and_bars_show_no_controls(capsys):
    with event_printer("lines") as on_event:
        on_event(Event("portrait", "warning", HIDDEN))
    ProgressBar(None, "Photos", 3)._print_line("Photos", HIDDEN, 1, 3)
    bar = ProgressBar(None, "Photos", 3)
    bar._last_line = -1e9
    bar.advance(HIDDEN)
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and all(c.isprintable() or c == "\n" for c in err)


@pytest.mark.parametrize("words", [["make", "LONG", "-o", "out"], ["make", "PHOTO", "-o", "LONG"], ["fit", "LONG"],
                                   ["align", "PHOTO", "-o", "LONG"], ["synth", "-o", "LONG", "--count", "1"],
                                   ["weights", "import", "LONG"], ["batch", "LONG", "-o", "out"]])  # fmt: skip
def test_a_name_that_is_too_long_is_one_sentence(monkeypatch, capsys, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    names = {"LONG": "x" * 300, "PHOTO": str(ASTRONAUT)}
    code, _, err = run(monkeypatch, capsys, *[names.get(word, word) for word in words])
    assert code == 2 and "name" in err and err.count("\n") == 1, err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
@pytest.mark.parametrize("megabytes", [600, 1200])
def test_under_too_small_a_limit_of_memory_it_is_said_how_much_is_needed(tmp_path, megabytes):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20,) * 2)"
    program = f"{limit}; from portrait360.apps.cli.main import main; main()"
    command = [sys.executable, "-c", program, "make", str(ASTRONAUT), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "needs about 2.7 GB of address space" in done.stderr, done.stderr


def test_too_little_memory_is_told_without_a_limit(monkeypatch, capsys):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(doctor, "report", full)
    assert run(monkeypatch, capsys, "doctor")[::2] == (
        2, "portrait360: There is not enough memory; close other programs, or use smaller settings.\n"
    )  # fmt: skip


def test_a_photo_in_place_of_a_command_gets_a_hint(monkeypatch, capsys, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"")
    code, _, error = run(monkeypatch, capsys, str(photo))
    assert code == 2 and f"did you mean `portrait360 make {photo}`?" in error
    for missing in ("missing.jpg", str(tmp_path / "missing"), "\x1b[2J.png"):
        code, _, error = run(monkeypatch, capsys, missing)
        assert code == 2 and "type `portrait360 make PHOTO`" in error and "\x1b" not in error
    code, _, error = run(monkeypatch, capsys, "mkae")  # no file's name
    assert code == 2 and "portrait360 make" not in error


def test_a_missing_option_value_exits_with_2(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "weights", "import")[0] == 2


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("make a.jpg --views lots", "a whole number: 4 to 360, or 1 or more with --no-fit"),
        ("make a.jpg --views=3", "4 to 360, or 1 or more with --no-fit"),
        ("make a.jpg --hair-length long", "a number: 0.1 to 4"),
        ("make a.jpg --face 0", "1 for the largest face, 2 for the next one, and so on"),
        ("make a.jpg --as gltf", "mesh, splats, nerf, views, or several of these, separated by commas"),
        ("make a.jpg --formats=obj", "from ply, splat, spz, splats.glb, usdz, stl"),
        ("make a.jpg --preset large", "from small, sd15, diffportrait3d"),
        ("views a --size big", "a whole number: 64 to 1024 pixels"),
        ("batch a -o b --workers 0", "1 or more"),
        ("view a --port x", "a whole number: 1 to 65535"),
        ("align a -o b --crop x", "a whole number: 64 to 2048"),
        ("fit . --only sphere", "from field, splats, mesh"),
        ("export a --detail 9", "0.25 to 8"),
        ("export . --format docx", f"from {', '.join(FORMATS)}"),
        ("export . --sh 2", "0, 1 or 3"),
        ("export . --up z", "y or -y"),
        ("export . --spz-version 3", "2 or 4"),
        ("refine . -o b --begin magic", "from field, proxy, gan, avatar"),
        ("refine a -o b --steps many", "a whole number: 0 to 1000"),
        ("synth -o a --size big", "a whole number"),
        ("animate a -o a.mp4 --preset talk --size big", "a whole number: 64 to 2048"),
        ("animate a -o a.mp4 --preset talk --size 5", "an even number of pixels from 64 to 2048"),
        ("animate a -o a.mp4 --preset talk --rate 99", "1 to 60 frames per second"),
    ],
)
def test_a_wrong_value_is_answered_by_the_option_and_its_values(monkeypatch, capsys, words, choices):
    flag, value = words.replace("=", " ").split()[-2:]
    sentence = f"portrait360: {flag} {value} is not valid; choose {choices}.\n"
    assert run(monkeypatch, capsys, *words.split()) == (2, "", sentence)


@pytest.mark.parametrize("command", ["make", "proxy", "views", "batch"])
def test_every_command_that_takes_a_hairstyle_lists_all_of_them(monkeypatch, capsys, command):
    code, out, _ = run(monkeypatch, capsys, command, "--hair", "list")
    assert code == 0 and set(ALL_STYLES) <= set(re.findall(r"\w+", out))


def test_doctor_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    code, out, _ = run(monkeypatch, capsys, "doctor")
    assert code == 0
    assert f"torch {torch.__version__.split('+')[0]}" in out
    assert (
        "sd15: needs diffportrait360 and back-head (20.0 GB to download, 9.5 GB when imported): "
        "`portrait360 weights fetch diffportrait360 back-head`" in out
    )
    assert "`portrait360 weights fetch diffportrait3d --from FILE`" in out and "drive.google.com" in out
    assert (
        "model_state-340000.th, 10.8 GB" in out
        and "panohead: easy-khair-180-gpc0.8-trans10-025000.pkl, 0.6 GB" in out
    )


def test_doctor_names_every_extra_that_users_may_want_and_its_packages(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^([\w-]+) = \[(.*?)\] *(?:#[^\n]*)?$", project, re.M | re.S)
    declared = {name: sorted(re.findall(r'"([\w.-]+)[^"]*"', text)) for name, text in lists}
    assert declared["dependencies"] == sorted(doctor.REQUIRED)
    table = project.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    assert set(re.findall(r"^(\w+) = \[", table, re.M)) == {*doctor.EXTRAS, "docs", "dev"}
    assert all(declared[extra] == sorted(packages) for extra, (_, packages) in doctor.EXTRAS.items())
    found = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "gradio" else found(name))
    _, out, _ = run(monkeypatch, capsys, "doctor")
    assert (
        "  --  web (the web app, `portrait360 serve`): gradio not installed; pip install 'portrait360[web]'\n" in out
    )
    headings = [line for line in out.splitlines() if line and not line.startswith("  ")]
    assert len(headings) == 6 and headings[-1] == doctor.LEGEND


def test_doctor_sees_imported_weights(monkeypatch, capsys, tmp_path, small_back_head):
    run(monkeypatch, capsys, "weights", "import", str(small_back_head))
    _, out, _ = run(monkeypatch, capsys, "doctor")
    assert "sd15: needs diffportrait360 (10.8 GB" in out and "back-head: installed" in out


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
    ("make", "text.jpg", "-o", "x"),
    ("make", "photo.png", "-o", "x", "--back", "text.jpg"),
    ("make", "photo.png", "-o", "x", "--views", "0"),
    ("make", "photo.png", "-o", "x", "--preset", "sd15"),
    ("make", "photo.png", "-o", "x", "--back", "no.jpg"),
    ("batch", "no.csv", "-o", "x"),
    ("batch", "text.jpg", "-o", "x"),
    ("batch", "photo.png", "-o", "text.jpg"),
    ("align", "no.jpg", "-o", "x"),
    ("align", "text.jpg", "-o", "x"),
    ("align", "photo.png", "-o", "x", "--crop", "3"),
    ("proxy", "text.jpg", "-o", "x"),
    ("proxy", "photo.png", "-o", "x", "--method", "magic"),
    ("proxy", "photo.png", "-o", "x", "--hair", "magic"),
    ("make", "photo.png", "-o", "x", "--hair", "bob", "--method", "completed"),
    ("make", "photo.png", "-o", "x", "--hair-length", "0"),
    ("batch", "photo.png", "-o", "x", "--parameters", "no.json"),
    ("views", "nowhere"),
    ("views", "text.jpg"),
    ("animate", "text.jpg", "--preset", "talk", "-o", "x"),
    ("animate", "text.jpg", "--preset", "talk", "-o", "x.mp4"),
    ("animate", ".", "--preset", "sing", "-o", "x.mp4"),
    ("make", "photo.png", "-o", "taken"),
    ("fit", "nowhere", "-o", "x"),
    ("fit", "text.jpg", "-o", "x"),
    ("refine", "nowhere", "-o", "x"),
    ("export", "nowhere", "-o", "x"),
    ("export", "text.jpg", "-o", "x"),
    ("view", "nowhere"),
    ("view", "text.jpg"),
    ("eval", "no.jpg", "--protocol", "wild", "-o", "x"),
    ("train", "run", "map", "--samples", "nowhere", "--validation", "nowhere", "-o", "x"),
    ("train", "init", "--from", "no.safetensors", "-o", "x"),
    ("weights", "import", "no.th"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_argument_is_an_error_before_anything_heavy_is_loaded(arguments, tmp_path):
    """So it comes within a second, however slow the disk is."""
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    (tmp_path / "text.jpg").write_text("This is a text.")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "sheet.png").write_text("the user's own")
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
