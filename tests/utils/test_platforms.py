"""Windows and macOS, as far as they can be simulated: nothing needs what only POSIX has, and locks hold."""

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from portrait360.utils import files
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, lock_folder
from portrait360.utils.parallel.workers import end_process_tree
from tests.fixtures.paths import ROOT, TESTS

SOURCES = sorted((ROOT / "src" / "portrait360").rglob("*.py"))
ONLY_POSIX = re.compile(
    r"\bimport (?:fcntl|resource|pwd|grp|termios)\b|\bos\.(?:fork|kill|killpg|getuid|geteuid|setsid)\b"
    r"|\bos\.sched_getaffinity\b|\bsignal\.(?:SIGKILL|SIGHUP|SIGALRM|SIGUSR\d|alarm|setitimer)\b"
)
GUARD = re.compile(r"\bos\.name\b|\bsys\.platform\b|\bhasattr\(|\bgetattr\(|LOCKS_FOLDERS")
GUARDED_BY_CALLER = {"_lock_by_handle"}  # `lock_folder` asks


def test_what_only_posix_has_is_asked_for_first():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if not ONLY_POSIX.search(text):
            continue
        lines = text.splitlines()
        inside = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                if GUARD.search(body) or node.name in GUARDED_BY_CALLER:
                    inside |= set(range(node.lineno, node.end_lineno + 1))
        found = [n for n, line in enumerate(lines, 1) if ONLY_POSIX.search(line) and n not in inside]
        assert found == [], f"{path}: lines {found}"


def test_nothing_forks_and_nothing_links():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"\.symlink_to\(|os\.(symlink|link)\(|\.hardlink_to\(|get_context\(.fork|preexec_fn", text
        ), path
        for call in re.findall(r"(?:multiprocessing|mp)\.(?:Process|Pool|Queue)\(", text):
            raise AssertionError(f"{path}: {call} forks on Linux; use the context `spawn`")


def test_names_of_our_files_differ_by_more_than_case():
    """macOS and Windows take names that only differ in case for the same file."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    names = tracked or [str(path.relative_to(ROOT)) for path in SOURCES]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert not re.search(r'[<>:"|?*\\]|[. ](/|$)', name), name
        assert not re.search(r"(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)", name, re.I), name


@pytest.mark.slow
def test_every_module_can_be_imported_without_posix():
    done = subprocess.run(
        [sys.executable, str(TESTS / "fixtures" / "windows_check.py")], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "ALL", done.stdout + done.stderr


@pytest.fixture
def no_folder_locks(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "LOCKS_FOLDERS", False)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path / "temp"))


def test_a_lock_of_a_file_keeps_others_out_and_lets_go(tmp_path, no_folder_locks):
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_folder(folder):
        with pytest.raises(UserError, match="Another run is using"), lock_folder(tmp_path / "other" / ".." / "run"):
            pass
        with lock_folder(tmp_path):  # another folder
            pass
        assert list(folder.iterdir()) == []  # so that it can be deleted
    with lock_folder(folder):
        pass


def test_a_lock_of_a_file_ends_with_its_process(tmp_path, no_folder_locks):
    folder = tmp_path / "run"
    folder.mkdir()
    program = (
        "import sys, time; from pathlib import Path\n"
        "from portrait360.utils import files; files.LOCKS_FOLDERS = False\n"
        f"files.tempfile.gettempdir = lambda: {str(tmp_path / 'temp')!r}\n"
        f"with files.lock_folder(Path({str(folder)!r})): print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="Another run"), lock_folder(folder):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with lock_folder(folder):
        pass


def test_stale_files_are_removed_where_processes_cannot_be_signalled(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale, living = (tmp_path / f".head.glb.{pid}" for pid in (ended.pid, os.getppid()))
    for path in (stale, living):
        path.touch()
    monkeypatch.setattr(files, "os", Windows())
    with atomic_write(tmp_path / "head.glb") as temporary:
        temporary.write_bytes(b"glTF")
    assert not stale.exists() and living.exists() and (tmp_path / "head.glb").exists()


class Windows:
    """The module os, but for its name, and without signals."""

    name = "nt"

    def __getattr__(self, name: str) -> object:
        if name == "kill":
            raise AttributeError(name)
        return getattr(os, name)


def test_a_process_ends_with_all_that_it_started():
    program = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    end_process_tree(process.pid)
    process.wait(10)
    process.stdout.close()
    end = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    end_process_tree(process.pid)  # which is no longer there


def test_a_name_that_the_console_cannot_show_is_no_error():
    program = (
        "from portrait360.utils.entry_point import run_entry_point; run_entry_point(lambda: print('f\\u00fc\\u4e2d'))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert done.returncode == 0 and done.stdout.strip() == "fü?".encode("cp1252")


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if re.search(r"\.md|model_card|report", p.name)], ids=lambda p: p.name
)
def test_pages_for_people_are_utf8(path: Path):
    for call in re.findall(r"\.(?:write|read)_text\(.*\)", path.read_text(encoding="utf-8")):
        assert "encoding" in call or "json" in call, f"{path}: {call}"
