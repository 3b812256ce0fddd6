"""What `--help` says: examples that can be typed, one meaning for each option, and what cannot be used here."""

from __future__ import annotations

import json
import re
import shlex
import time
from itertools import pairwise

import pytest
import typer
from typer.testing import CliRunner

from portrait360.apps.cli import command_options, main
from portrait360.models.presets import PRESETS
from portrait360.utils import progress
from portrait360.utils.progress import Event, ProgressBar, event_printer, progress_bar
from tests.fixtures.cli_surface import SURFACE
from tests.fixtures.paths import ROOT

OF_MAKE = ("make", "batch", "align", "proxy", "views", "fit", "refine")
OTHER_MEANING = {("refine", "--steps")}  # its rounds; what it does in each is its own
FEW = 8  # options that need no groups


def find_command(name):
    command = typer.main.get_command(main.app)
    for word in name.split():
        command = command.commands[word]
    return command


def show_help(name):
    return CliRunner().invoke(main.app, [*name.split(), "--help"]).output


def list_examples():
    for name in SURFACE:
        lines = [line.strip().removeprefix("Example: ") for line in find_command(name).help.splitlines()]
        yield from ((name, line) for line in lines if line.startswith("portrait360 "))


@pytest.mark.parametrize(("name", "line"), list(list_examples()), ids=lambda text: text)
def test_every_example_of_the_help_is_a_command_that_parses(name, line):
    words = shlex.split(line)[1:]
    assert words[: len(name.split())] == name.split()
    rest = words[len(name.split()) :]
    command = find_command(name)
    context = command.make_context(name, rest)  # raises for an option or a value that does not exist
    assert not context.args and line in show_help(name)  # in one piece, to be copied


def test_every_command_has_an_example():
    assert {name for name, _ in list_examples()} == set(SURFACE)


def test_an_option_has_one_meaning_and_one_default_wherever_it_is_offered():
    texts, defaults = {}, {}
    for name in OF_MAKE:
        for param in find_command(name).params:
            flag = param.opts[0]
            if param.param_type_name == "argument" or (name, flag) in OTHER_MEANING or flag in ("-o", "--help"):
                continue
            by, default = defaults.setdefault(flag, (name, param.default))
            assert default == param.default, f"{flag} of {by} and of {name}"
            if (param.name, param.help) not in command_options.REWORDED:  # which name no option that is not there
                by, text = texts.setdefault(flag, (name, param.help))
                assert text == param.help, f"{flag} of {by} and of {name}"
    assert {"--method", "--hair", "--face", "--seed", "--quick"} <= set(defaults)


def test_long_helps_are_grouped_and_every_option_is_explained():
    for name in SURFACE:
        options = [param for param in find_command(name).params if param.param_type_name == "option"]
        text = show_help(name)
        titles = re.findall(r"(?m)^(\S[^:\n]*):$", text)
        assert all(param.help for param in options)
        assert len(options) < FEW or len(titles) >= 3 + ("Arguments" in titles), (name, titles)
        assert not re.search(r"[<{}]|\[\[", text), name  # how Typer writes types and arguments


@pytest.mark.parametrize("installed", [True, False])
def test_presets_and_methods_without_weights_are_marked(monkeypatch, tmp_path, installed):
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    if installed:
        monkeypatch.setattr(command_options, "find_weights", lambda system: tmp_path)
        monkeypatch.setattr(command_options, "VIEW_DENOISER", ROOT / "pyproject.toml")
    for name in ("make", "batch"):
        text = " ".join(show_help(name).split())
        missing = ", ".join(preset for preset in PRESETS if PRESETS[preset].steps)
        assert (f"Not installed: {missing} " in text) is not installed
        assert (
            "Not installed: gan (see panohead in `portrait360 doctor`), denoised (has to be trained)" in text
        ) is not installed
    assert "Not installed" not in show_help("animate")  # whose --preset is another


def test_damaged_weights_do_not_break_the_help(monkeypatch, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text("{")
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    assert "Not installed: sd15" in " ".join(show_help("make").split())


class Clock:
    """Stands for the module `time`."""

    now = 0.0

    def monotonic(self):
        return self.now


def test_without_a_terminal_there_is_a_line_every_few_seconds(monkeypatch, capsys):
    """Of a stage of `make`, and of the bars of `fit`, `align` and `views`."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    bars = ProgressBar(None, "Photos", 300), ProgressBar(None, "", None)
    with event_printer("lines") as on_event:
        ways = (
            lambda i: on_event(Event("views", "step", "view", i, 300, left=60.0 - i / 5)),
            lambda i: bars[0].advance("a.png"),
            lambda i: bars[1].update("field", i, 300),
        )
        for way in ways:
            start = clock.now
            for i in range(1, 301):
                clock.now = start + i / 5
                way(i)
            lines = capsys.readouterr().err.splitlines()
            assert 10 <= len(lines) <= 13 and all(re.search(r"\d+( of |/)300", line) for line in lines), lines


def test_the_time_left_stays_in_a_long_stage_and_passes_nothing_that_comes_later(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    printer = progress._LinePrinter()
    printer(Event("proxy", "begin", left=80.0, later=50.0))
    for second in range(1, 121):  # four times as long as expected, without a step
        clock.now = float(second)
        printer.print_if_due()
    lines = capsys.readouterr().err.splitlines()
    left = [60 * int(m or 0) + int(s) for m, s in re.findall(r"about (?:(\d+) min )?(\d+) s left", "\n".join(lines))]
    assert len(left) == len(lines) == 24
    assert left[0] == 75 and left == sorted(left, reverse=True) and 50 < left[-1] < 60


def test_a_time_that_was_taken_back_limits_none_that_follows():
    clock = Clock()
    shown = progress.RunCountdown(clock.monotonic)
    said = []
    for event in (Event("fit", "step", left=20.0), Event("fit", "step", late=True), Event("fit", "step", left=90.0)):
        shown.report(event)
        said.append(shown.describe())
    assert said == ["about 20 s left", progress.LATE, "about 1 min 30 s left"]


def test_a_file_that_is_ready_early_is_named_in_a_line_and_changes_no_time(capsys):
    shown = progress.RunCountdown()
    for event in (Event("page", "done", left=60.0), Event("page", "ready", "out/viewer.html")):
        shown.report(event)
    assert shown.describe() == "about 1 min 00 s left"
    with event_printer("lines") as on_event:
        on_event(Event("page", "ready", "out/viewer.html"))
    assert capsys.readouterr().err == "out/viewer.html is ready to open; the rest is still being made\n"


def test_a_bar_without_a_terminal_tells_the_time_left_by_its_pace(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    bar = progress.ProgressBar(None, "Loading", None)
    for done in range(1, 101):
        clock.now = 2.0 * done if done < 50 else 10.0 * done - 400  # a frame takes two seconds, later ten
        bar.update("Frames", done, 100)
    lines = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    left = [60 * int(m or 0) + int(s) for m, s in re.findall(r"about (?:(\d+) min )?(\d+) s left", "\n".join(lines))]
    assert len(left) == len(lines) > 50
    assert abs(left[0] - 2 * (100 - 5)) <= 8
    assert all(after <= 1.1 * before + 1 for before, after in pairwise(left))


def test_a_stage_that_reports_no_steps_has_its_lines_too(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.2)
    monkeypatch.setattr(progress, "TICK", 0.05)
    with event_printer("lines") as on_event:
        time.sleep(0.5)
        assert re.match(r"Loading libraries: \d+ s so far\n", capsys.readouterr().err)
        on_event(Event("film", "begin", left=9.0))
        deadline = time.monotonic() + 20
        lines = []
        while len(lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            lines += capsys.readouterr().err.splitlines()
        on_event(Event("film", "done", seconds=1.0))
        capsys.readouterr()
        time.sleep(0.5)
    assert all(re.fullmatch(r"video: \d+ s so far, about \d s left", line) for line in lines) and len(lines) >= 2
    assert capsys.readouterr().err == ""  # nothing runs any more
    with progress_bar("Photos", 1) as bar:
        time.sleep(0.5)
        bar.advance()
    assert re.match(r"Photos: 0 of 1, \d+ s so far\n", capsys.readouterr().err)
    with progress_bar("Writing", unit="bytes") as bar:
        time.sleep(0.3)
        bar.advance("a", 2_500_000_000, 5_000_000_000)
        bar._last_line = 0.0
        bar.print_if_due()
    assert "Writing: 2,500 of 5,000 MB, a, " in capsys.readouterr().err


class Bars:
    """Stands for rich's bars: titles and totals by number."""

    def __init__(self):
        self.shown, self.count = {}, 0

    def add_task(self, title, total=None, left=""):
        self.count += 1
        self.shown[self.count] = (title, total)
        return self.count

    def remove_task(self, number):
        del self.shown[number]

    def update(self, number, **_):
        assert number in self.shown


def test_progress_is_shown_before_the_first_step(monkeypatch, capsys):
    """A command loads networks and a head first, and a single photo is done when its only step is."""
    bars = Bars()
    bar = ProgressBar(bars, "Photos", 1)
    assert list(bars.shown.values()) == [("Photos", 1)]
    bar.advance("a.png")
    assert len(bars.shown) == 1
    stages = ProgressBar(bars := Bars(), progress.LOADING, None)
    assert list(bars.shown.values()) == [(progress.LOADING, None)]
    stages.update("field", 1, 100)
    stages.update("mesh", 1, 3)
    assert list(bars.shown.values()) == [("field", 100), ("mesh", 3)]
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.2)
    monkeypatch.setattr(progress, "TICK", 0.05)
    with progress_bar():
        time.sleep(0.5)
    assert re.match(r"Loading libraries: \d+ s so far\n", capsys.readouterr().err)


def test_the_events_in_the_docs_are_those_that_are_printed(capsys):
    """Each line of the example holds keys that the table explains, and is what the program prints of this event."""
    text = (ROOT / "docs" / "make.md").read_text()
    keys = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"(?m)^\| (`.*?) \|", text.split("**`--json`**")[1]))))
    with event_printer("json") as on_event:
        for line in (lines := re.search(r"```json\n(.*?)```", text, re.S)[1].splitlines()):
            assert set(json.loads(line)) <= keys
            on_event(Event(**json.loads(line)))
    assert capsys.readouterr().out.splitlines() == lines
    assert keys == set(Event.__dataclass_fields__)
