"""What README and docs promise: every command and every block of Python in them runs, the API's examples hold."""

import doctest
import re
import shlex
import shutil
from dataclasses import fields, replace

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import portrait360
from benchmarks import hairstyles
from portrait360.apps.cli import main, photo_stages
from portrait360.evaluation import evaluate
from portrait360.evaluation.consistency import RefitSettings
from portrait360.evaluation.protocols import PROTOCOLS
from portrait360.evaluation.runner import run_job
from portrait360.pipeline import avatar_stages, make, stages
from portrait360.pipeline.avatar import methods
from portrait360.pipeline.avatar.overrules import find_choices
from portrait360.pipeline.export import writer
from portrait360.pipeline.export.avatar_glb import file
from portrait360.pipeline.export.avatar_splats import build
from portrait360.pipeline.export.avatar_usdz import file as usdz
from portrait360.pipeline.options import MakeOptions
from portrait360.synth.sampling.parameters import Clothes, Facial, Wear
from portrait360.synth.sampling.style_descriptor import ALL_STYLES, FAMILIES
from tests.fixtures.cli_surface import SURFACE
from tests.fixtures.paths import ROOT
from tests.fixtures.photos import ASTRONAUT
from tests.fixtures.runs import CROP, use_small_crops, use_tiny_fits

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVERS = ("view", "serve")  # they do not end by themselves; tests of their own open them in a browser
LITTLE = RefitSettings(size=32, steps=5, samples=512)
BROUGHT = "weights"  # these are about files that only the user has; tests of their own import small ones


def commands() -> list[str]:
    """Every line of a shell block that calls portrait360, in the order of the pages."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            lines = [line.split("  #")[0].strip() for line in block.splitlines()]
            found += [line for line in lines if line.startswith("portrait360 ")]
    return list(dict.fromkeys(found))


def shown_commands() -> list[str]:
    """Every command of an indented block: they need weights, a GPU, a cluster or hours, and are not run here."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        lines = re.findall(r"(?m)^ {4}(?:.* -m )?(portrait360 .*)$", re.sub(r"```.*?```", "", text, flags=re.S))
        found += [line.split("  #")[0].removesuffix("…").strip() for line in lines]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """One folder in which all commands run, one after the other, as a reader would type them."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").mkdir()
    for name in ("examples/astronaut.png", "photo.jpg", "second.jpg"):
        shutil.copy(ASTRONAUT, folder / name)
    (folder / "cameras.txt").write_text("0,0\n30,10\n90,0\n180,0\n270,0\n")
    return folder


@pytest.fixture
def inside(shop, light_avatars, monkeypatch):
    """In that folder, with little work for each fit and film. All avatars are the same one, whatever is said of its
    head: tests of their own say that others come of that."""
    monkeypatch.chdir(shop)
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(shop / "weights"))
    use_small_crops(monkeypatch)
    use_tiny_fits(monkeypatch)
    for name, value in (("FILM", 64), ("FRAMES", 4), ("CELL", 64)):
        monkeypatch.setattr(writer, name, value)
    for module in (stages, avatar_stages):
        monkeypatch.setattr(module, "run_sheet", lambda views, head: views.views[0].rgb)
    for name, value in (("SIZE", 64), ("SMALL", 32)):
        monkeypatch.setattr(build, name, value)
    monkeypatch.setattr(make, "make", fewer)
    monkeypatch.setattr(methods, "make_avatar", light_avatars)
    for module in (file, usdz):
        monkeypatch.setattr(module, "make_parts", remember_parts)
    monkeypatch.setattr(photo_stages, "make_portrait", align_small)
    monkeypatch.setattr(photo_stages, "TURNTABLE_FRAMES", 4)
    for name, protocol in PROTOCOLS.items():  # in this process, where they can be made small
        little = replace(
            protocol,
            size=64,
            portrait=CROP,
            orbit=min(protocol.orbit, 4),
            refit=protocol.refit and LITTLE,
            faces_at=(0.0,),
            looks=False,
        )
        monkeypatch.setitem(PROTOCOLS, name, little)
    monkeypatch.setattr(evaluate, "run_jobs", one_by_one)


def fewer(photo, folder, wish=None, *more, made=make.make, **others):
    """Views, and smaller ones, where a reader did not ask for a number."""
    wish = wish or MakeOptions()
    little = replace(wish, views=min(wish.views, 4), size=wish.size or (64 if wish.preset == "small" else None))
    return made(photo, folder, little, *more, **others)


def remember_parts(avatar, *, made=file.make_parts, known={}, **_):  # noqa: B006
    """Make the meshes of an avatar once for all commands, with half as many triangles."""
    key = avatar.photo.tobytes()
    if key not in known:
        known[key] = made(avatar, detail=0.5)
    return known[key]


def align_small(*given, made=photo_stages.make_portrait, **options):
    """Cut the portrait that runs cut."""
    return made(*given, **options | {"size": CROP})


def one_by_one(jobs, folder, engine, advance):
    for job in jobs:
        run_job(job, folder)
        advance(job.name)


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_docs_runs(inside, line):
    words = shlex.split(line)[1:]
    if words[0] in (BROUGHT, *SERVERS):
        words = [*words, "--help"]
    done = CliRunner().invoke(main.app, [small(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_that_the_docs_only_show_parses(line):
    command, words = typer.main.get_command(main.app), shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    given = [word for word in words if word.startswith("--")]
    known = [option for param in command.params for option in (*param.opts, *param.secondary_opts)]
    assert set(given) <= set(known)
    if not line.endswith("--batch 8"):  # shortened in the page
        command.make_context(line, words)  # raises for a value that cannot be, and for what is missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_benchmarks_of_the_docs_have_the_options_that_are_named(page):
    for name, options in re.findall(r"python -m benchmarks\.(\w+)([^`\n#]*)", page.read_text()):
        program = (ROOT / "benchmarks" / f"{name}.py").read_text()
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", options):
            assert f'"{option}"' in program, f"{name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_of_the_docs_runs(inside, page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(compile(block, str(page), "exec"), {})


def small(word: str) -> str:
    """Fewer heads than a reader would make."""
    return {"100": "1", "24": "2", "10": "1"}.get(word, word)


def test_every_command_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [name for name in SURFACE if f"portrait360 {name}" not in text] == []


def test_the_docs_list_every_hairstyle_in_its_family():
    page = (ROOT / "docs" / "avatar.md").read_text(encoding="utf-8")
    table = page.split("## Hairstyles")[1].split("## ")[0]
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", table, re.M)
    assert {family: " ".join(re.findall(r"`(\w+)`", names)) for family, names in rows} == FAMILIES
    rows_of_pictures = -(-len(ALL_STYLES) // hairstyles.IN_A_ROW)
    height = rows_of_pictures * (hairstyles.CELL + hairstyles.CAPTION)
    assert Image.open(ROOT / "docs" / "img" / "hairstyles.webp").height == height
    assert f"one of [these {len(ALL_STYLES)}](#hairstyles)" in page and f"has {len(ALL_STYLES)} styles" in page


def test_the_docs_list_every_name_that_a_parameter_file_can_contain():
    page, parts = (ROOT / "docs" / "avatar.md").read_text(encoding="utf-8"), (Facial, Wear, Clothes)
    keys = [f"{part.__name__.lower()}.{field.name}" for part in parts for field in fields(part)]
    named = {key: [name for name in names if name != "none"] for key in keys if (names := find_choices(key))}
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (`.*`) \|$", page, re.M)
    assert {key: re.findall(r"`(\w+)`", names) for key, names in rows} == named


def test_the_modules_that_make_an_avatar_are_where_the_docs_say():
    page, source = (ROOT / "docs" / "avatar.md").read_text(encoding="utf-8"), ROOT / "src" / "portrait360"
    table = page.split("| step |")[1].split("\n\n")[0]
    names = re.findall(r"`(\w[\w/]*(?:\.py|/))`", table)[1:]  # the first is the folder of them all
    assert len(names) > 25 and all((source / "pipeline/avatar" / n).exists() or (source / n).exists() for n in names)


def test_the_examples_of_the_api_hold(shop, light_avatars, monkeypatch):
    monkeypatch.chdir(shop)
    use_small_crops(monkeypatch)
    monkeypatch.setattr(methods, "make_avatar", light_avatars)
    monkeypatch.setattr(file, "make_parts", remember_parts)
    shutil.rmtree(shop / "out", ignore_errors=True)
    failed, tried = doctest.testmod(portrait360)
    assert tried >= 4 and failed == 0


def test_what_the_package_offers_is_there_and_documented():
    for name in portrait360.__all__:
        assert getattr(portrait360, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = portrait360.nothing
