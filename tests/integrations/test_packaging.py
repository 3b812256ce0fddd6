"""What is published: the size and contents of the wheel, the images, and the files of CI hosts."""

import json
import re
import shlex
import zlib

import pytest
import yaml

from tests.fixtures.paths import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WHEEL = 40 << 20  # bytes
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CI = [*WORKFLOWS, ROOT / ".gitlab-ci.yml"]
SECRETS = re.compile(r"password|passwd|secrets\.|api[_-]?key|token *[:=] *['\"]?\w|BEGIN [A-Z ]*PRIVATE KEY", re.I)
REGISTRIES = re.compile(r"pypi\.org|pythonhosted|download\.pytorch|registry\.npmjs|deb\.debian|test\.pypi", re.I)


def read_steps(path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile, joined over lines."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def test_the_wheel_can_be_published():
    """Wheels are compressed file by file, as zlib does it."""
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(len(zlib.compress(path.read_bytes())) + 2 * len(str(path)) + 150 for path in files) < WHEEL
    dev = [path for path in files if re.search(r"(^|/)(test_|conftest|\.git)|\.(ipynb|orig|log|pkl|psd)$", str(path))]
    assert dev == []


def test_the_command_is_in_the_wheel():
    module, name = re.search(r'^portrait360 = "([\w.]+):(\w+)"', PROJECT, re.M).groups()
    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_the_sdist_holds_what_its_tests_need():
    include = re.search(r"\[tool\.hatch\.build\.targets\.sdist\]\ninclude = \[(.*?)\]", PROJECT, re.S).group(1)
    listed = re.findall(r'"([^"]+)"', include)
    assert {"src", "tests", "docs", "examples", "integrations", "docker", ".github", ".gitlab-ci.yml"} <= set(listed)
    assert [name for name in listed if not list(ROOT.glob(name))] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_run_as_a_user(path):
    steps = read_steps(path)
    words = [word for word, _ in steps]
    assert words[0] == "FROM" and words[-1] == "ENTRYPOINT"
    bases = [rest for word, rest in steps if word == "FROM"]
    assert all(re.search(r":[\w.-]*\d+\.\d+[\w.-]*$", base) and not base.endswith(":latest") for base in bases)
    users = [rest for word, rest in steps if word == "USER"]
    assert users and users[-1] not in ("root", "0")
    assert "ADD" not in words and set(words) <= {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT"}
    assert json.loads(steps[-1][1]) == ["portrait360"]
    for word, rest in steps:
        assert not SECRETS.search(rest) and not REGISTRIES.search(rest), rest
        if word == "RUN":
            assert "sudo" not in rest and "curl" not in rest and "wget" not in rest
            for install in re.findall(r"apt-get install[^&;]*", rest):
                assert (
                    "--no-install-recommends" in install and "-y" in install and "rm -rf /var/lib/apt/lists" in rest
                )
            for install in re.findall(r"pip install[^&;]*", rest):
                assert "--no-cache-dir" in install


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_context_of_an_image_holds_what_it_copies_and_little_else(path):
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[0] == "*" and "**/__pycache__" in ignore
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = {name for word, rest in read_steps(path) if word == "COPY" for name in shlex.split(rest)[:-1]}
    assert copied == let_in and all((ROOT / name).exists() for name in copied)


def test_every_step_of_an_image_is_known_to_the_script_that_tries_them():
    text = (ROOT / "docker" / "build_steps.sh").read_text()
    for path in DOCKERFILES:
        for word, _ in read_steps(path):
            assert re.search(rf"^ +(?:{word}\)|{word} \|)", text, re.M), word


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
def test_ci_files_hold_no_secrets_and_name_no_registry(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    assert not REGISTRIES.search(text)
    assert not SECRETS.search(re.sub(r"#.*|id-token: write|PYPI_ID_TOKEN", "", text))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_end(path):
    flow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    for name, job in flow["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert job.get("permissions", {}) == ({"id-token": "write"} if name == "publish" else {})
        for step in job["steps"]:
            assert "run" in step or re.search(r"@(v\d+|release/v\d+|[0-9a-f]{40})$", step["uses"])


@pytest.mark.parametrize("path", [WORKFLOWS[-1], CI[-1]], ids=lambda path: path.name)
def test_ci_executes_the_notebook_and_builds_the_site(path):
    """What is slow, or needs packages of its own, is in none of the tests that `make test` runs."""
    flow = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = flow.get("jobs", flow)
    commands = " ".join(str(jobs.get(name)) for name in ("notebook", "docs"))
    assert "-m slow tests/integrations/test_notebook.py" in commands and "make docs" in commands
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()


def test_ci_runs_supported_versions_of_python():
    low, high = (int(n) for n in re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PROJECT).groups())
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    versions = [int(version.split(".")[1]) for version in flow["jobs"]["test"]["strategy"]["matrix"]["python"]]
    assert [min(versions), max(versions)] == [low, high - 1]
    systems = flow["jobs"]["wheel"]["strategy"]["matrix"]["system"]
    assert {system.split("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}


def test_only_tags_publish_and_without_a_token():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert flow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as a truth value
    publish = flow["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["environment"] == "release"
    assert [step.get("with", {}).get("password") for step in publish["steps"]] == [None, None]
    lab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))["publish"]
    assert lab["id_tokens"] == {"PYPI_ID_TOKEN": {"aud": "pypi"}} and "CI_COMMIT_TAG" in lab["rules"][0]["if"]
