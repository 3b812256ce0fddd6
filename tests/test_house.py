"""What must hold of the source as a whole."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.paths import ROOT, TESTS

PACKAGE = ROOT / "src" / "portrait360"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LINES = 600
ENTRIES = 13  # in the root of the package
# past participles that do not end in -ed
IRREGULAR = set(
    [
        "asked",
        "begun",
        "bound",
        "bought",
        "brought",
        "built",
        "chosen",
        "come",
        "done",
        "drawn",
        "driven",
        "fallen",
        "found",
        "given",
        "gone",
        "grown",
        "heard",
        "held",
        "hidden",
        "hit",
        "kept",
        "known",
        "laid",
        "led",
        "left",
        "lent",
        "lit",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "put",
        "said",
        "seen",
        "sent",
        "set",
        "shaken",
        "shown",
        "shut",
        "sought",
        "sold",
        "spent",
        "split",
        "spread",
        "struck",
        "stuck",
        "sung",
        "sunk",
        "taken",
        "taught",
        "thought",
        "thrown",
        "told",
        "torn",
        "understood",
        "won",
        "worn",
        "wound",
        "written",
    ]
)
NO_PARTICIPLES = {
    "embed",
    "feed",
    "need",
    "seed",
    "speed",
    "spread",
    "put",
    "set",
    "split",
    "shut",
    "hit",
}  # also verbs
PREPOSITIONS = set(
    ["as", "at", "before", "behind", "by", "from", "in", "of", "on", "out", "to", "together", "up", "with"]
)
FIELD_TERMS = {"compiled"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def is_participle(name: str) -> bool:
    """Whether a name is a past participle (`told`, `made_by`); one before a noun is an adjective (`padded_crop`)."""
    word, *rest = name.strip("_").split("_")
    found = word not in NO_PARTICIPLES and (word in IRREGULAR or (len(word) > 3 and word.endswith("ed")))
    return found and (not rest or rest[0] in PREPOSITIONS)


def test_no_silent_loading_and_no_code_execution():
    """Loading is strict and never runs what lies in a file, anywhere in the package."""
    for path in SOURCES:
        text = path.read_text()
        assert "strict=False" not in text, path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, path
        assert not re.search(r"\bpickle\.(load|loads)\b|(?<![.\w])(eval|exec)\(", text), path
        if path.name != "stylegan_pickle.py":  # whose unpickler knows the names that it may, and no other
            assert "Unpickler" not in text, path


def test_files_hold_one_idea_and_the_root_can_be_read_at_a_glance():
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= LINES, path
    assert len([entry for entry in PACKAGE.iterdir() if entry.name != "__pycache__"]) <= ENTRIES


@pytest.mark.parametrize("name", ["told", "_made", "reduced", "kept", "made_by", "seen_from_behind", "denoised"])
def test_participles_are_recognised(name: str):
    assert is_participle(name)


@pytest.mark.parametrize("name", ["render", "embed", "read_record", "expected_tensors", "split", "need_weights"])
def test_verbs_and_nouns_are_no_participles(name: str):
    assert not is_participle(name)


def test_functions_are_verbs():
    names = {(str(path.relative_to(PACKAGE)), node.name) for path in SOURCES for node in functions(path)}
    assert sorted(f"{path}: {name}" for path, name in names if is_participle(name) and name not in FIELD_TERMS) == []


def test_every_package_says_what_it_holds():
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_tests_share_fixtures_and_not_test_files():
    for path in TESTS.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) tests(\.\w+)*\.test_", text, re.M), path
        assert not re.search(r"setattr\(\s*[\"']portrait360", text), path


def test_the_docs_list_every_file_with_slow_tests():
    page = (ROOT / "docs" / "testing.md").read_text()
    for mark in ("slow", "gpu"):
        marked = {
            str(p.relative_to(ROOT)) for p in TESTS.rglob("test_*.py") if re.search(rf"mark\.{mark}\b", p.read_text())
        }
        table = page.split(f"| marked `{mark}` |")[1].split("\n\n")[0]
        assert set(re.findall(r"`(tests/[^`]+)`", table)) == marked
