"""`portrait360 serve`: the queue and its processes, what may be seen of a folder, and the page in a real browser."""

import asyncio
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.web import Server
from portrait360.apps.web import app as web_app
from portrait360.apps.web import check_panel, markup, page, panels, result_panel, uploads
from portrait360.apps.web import checks as checking
from portrait360.apps.web import jobs as machinery
from portrait360.apps.web.archive import stream_zip
from portrait360.apps.web.checks import BUSY, Checks, Choice
from portrait360.apps.web.compare import find_part
from portrait360.apps.web.form import (
    fill_form,
    form_fields,
    parse_degrees,
    preset_choices,
    read_form,
    render_presets,
)
from portrait360.apps.web.jobs import MOST_WAITING, REMEMBERED, Job, Jobs
from portrait360.apps.web.requests import (
    REQUEST,
    SETTINGS,
    Request,
    clean_name,
    close_request,
    read_request,
    save_request,
)
from portrait360.apps.web.run_store import PastRun, RunStore
from portrait360.apps.web.uploads import LATEST, PREFIX, YOUNG, UploadLimit, prune_uploads, remove_stale_folders
from portrait360.pipeline.export import AVATAR_FORMATS, SPLAT_FORMATS
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.countdown import LEAST_SHARE
from portrait360.utils.entry_point import PARENT
from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.files import lock_folder
from portrait360.utils.local_server import free_port
from portrait360.utils.option_fields import to_arguments
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.photos import ASTRONAUT, IMAGE
from tests.fixtures.web_page import (
    appears,
    box,
    choose,
    nothing_left_the_machine,
    press,
    seen,
    start_server,
    until,
)

RUN = {"begun": "2026-01-02T03:04:05+00:00", "settings": {"views": 2, "results": []}}
browsing = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")

# A command that does what its photo says, in words, and writes down when it began and ended.
SCRIPT = """
import json, signal, subprocess, sys, time
from pathlib import Path
photo, folder = Path(sys.argv[2]), Path(sys.argv[4])
words = photo.read_text().split()
log = (folder.parent / "log.txt").open("a", buffering=1)
say = lambda **event: print(json.dumps(event), flush=True)
if "deaf" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in words:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (folder.parent / "child.txt").write_text(str(child.pid))
log.write(f"begin {words[-1]}\\n")
say(stage="portrait", state="warning", what="the picture was reduced")
say(stage="portrait", state="begin", done=0, of=0, left=64.0)
print("no event")
if "bad" in words:
    print("a warning", file=sys.stderr)
    print(f"portrait360: {photo} is no picture.", file=sys.stderr)
    sys.exit(2)
if "long" in words:
    for i in range(600):
        say(stage="fit", state="step", what="field", done=i, of=600, left=60.0)
        time.sleep(0.1)
(folder / "views").mkdir(exist_ok=True)
if "slow" in words:
    (folder / "viewer.html").write_text("<p>The head.</p>")
    words = words if (folder / "input" / "stopped").exists() else [*words, "waits"]
    (folder / "input" / "stopped").touch()
for i in range(400 * ("waits" in words)):
    say(stage="splats", state="step", what="view", done=i, of=400, left=60.0)
    time.sleep(0.1)
for i in range(2):
    (folder / "views" / f"{i:03d}.png").write_bytes(b"png")
    say(stage="views", state="step", what="view", done=i + 1, of=2, left=1.0)
(folder / "sheet.png").write_bytes(b"png")
(folder / "run.json").write_text('RECORD')
log.write(f"end {words[-1]}\\n")
""".replace("RECORD", json.dumps(RUN))


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Jobs of the command above; call it with words to add one. Nothing outlives the test."""
    monkeypatch.setattr(machinery, "GRACE", 0.3)
    script = tmp_path / "fake.py"
    script.write_text(SCRIPT)
    jobs = Jobs(RunStore(tmp_path / "runs"), [sys.executable, "-S", str(script)])

    def add(words: str, **options) -> Job:
        photo = tmp_path / "upload.jpg"
        photo.write_text(words)
        return jobs.add(photo, MakeOptions(**options))

    add.jobs, add.folder = jobs, tmp_path / "runs"
    yield add
    jobs.close()


def log(queue) -> list[str]:
    return (queue.folder / "log.txt").read_text().split("\n")[:-1] if (queue.folder / "log.txt").exists() else []


def test_jobs_run_one_at_a_time_in_their_order(queue):
    jobs = [queue(f"job {i}") for i in range(4)]
    assert [queue.jobs.count_before(job) for job in jobs] == sorted(queue.jobs.count_before(job) for job in jobs)
    assert until(lambda: all(job.state == "done" for job in jobs))
    assert log(queue) == [f"{word} {i}" for i in range(4) for word in ("begin", "end")]
    assert queue.jobs.open() == [] and len(queue.jobs.store.all()[0]) == 4


def test_events_are_heard_and_anything_else_is_not(queue):
    job = queue("long one")
    assert until(lambda: job.stage == "fit")
    assert (job.what, job.of, list(job.warnings)) == ("field", 600, ["the picture was reduced"])
    assert 55 < job.seconds_left() <= 60 and 0 < job.fraction_done() < 0.2
    shown = panels.render_status(job, 0)
    assert "upload.jpg: fitting the 3D head: field" in shown and "about 60 s left" in shown
    for line in (
        b"",
        b"[1]",
        b'"x"',
        b'{"stage": 1}',
        b"\xff",
        b"[" * 9999,
        b'{"stage":"a","state":"step","done":"x"}',
    ):
        job.on_output(line)
    assert job.stage == "fit"


def test_cancel_ends_the_process_and_all_that_it_started_and_keeps_nothing(queue):
    job = queue("long deaf parent")
    child = queue.folder / "child.txt"
    assert until(lambda: child.exists() and child.read_text() and job.stage == "fit")
    pids = [job.process.pid, int(child.read_text())]
    after = queue("next")
    waiting = queue("never")
    queue.jobs.cancel(waiting.id)
    queue.jobs.cancel(job.id)
    assert until(lambda: job.state == "cancelled" and after.state == "done")
    assert until(lambda: not any(map(psutil.pid_exists, pids)))
    assert waiting.state == "cancelled" and "begin never" not in log(queue)
    assert [entry.name for entry in queue.folder.iterdir() if entry.is_dir()] == [after.id]
    queue.jobs.cancel(after.id)
    queue.jobs.cancel("nobody")
    assert after.state == "done"


def test_a_cancelled_run_keeps_what_it_had_made_and_can_be_finished_or_deleted(queue):
    job = queue("slow one", hair="bob", formats=("ply", "spz"))
    assert until(lambda: job.stage == "splats")
    queue.jobs.cancel(job.id)
    assert until(lambda: job.state == "cancelled")
    (run,) = queue.jobs.store.all()[0]
    assert (run.id, run.is_partial, run.name, set(run.files)) == (job.id, True, "upload.jpg", {"viewer.html"})
    assert "Finish this run" in result_panel.render_result(run, [], []) and queue.jobs.store.find_unfinished() == []
    request = queue.jobs.store.request(job.id)
    assert (
        request.options == MakeOptions(hair="bob", formats=("ply", "spz")) and request.photo.read_text() == "slow one"
    )
    again = queue.jobs.finish(job.id)
    with pytest.raises(UserError, match="still in progress"):
        queue.jobs.delete(job.id)
    assert until(lambda: again.state == "done") and again.folder == job.folder
    (run,) = queue.jobs.store.all()[0]
    assert not run.is_partial and queue.jobs.store.request(job.id).options == request.options
    with pytest.raises(UserError, match="no longer be finished"):
        queue.jobs.finish(job.id)
    queue.jobs.delete(job.id)
    assert queue.jobs.store.all() == ([], 0) and not job.folder.exists() and queue.jobs.get(job.id) is None
    for id in (job.id, "nobody", "..", ""):
        with pytest.raises(UserError, match="no longer exists"):
            queue.jobs.delete(id)


def test_the_bar_never_goes_back_and_no_stage_is_called_run():
    job = Job("1", Path("1"), [], state="running", start=time.monotonic() - 10)
    shares = []
    for left in (30.0, 10.0, 40.0, None, 11.0, 5.0):
        event = {"stage": "splats", "state": "step", "done": 1, "of": 2}
        job.on_output(json.dumps(event | ({} if left is None else {"left": left})).encode())
        shares.append(job.fraction_done())
    assert shares == sorted(shares) and shares[-1] > shares[0] > 0
    job.on_output(b'{"stage": "run", "state": "done", "what": "/home/me/out", "left": 0.0}')
    shown = panels.render_status(job, 0)
    assert job.stage == "splats" and "Making the splats" in shown and "/home" not in shown
    job.stage = "something new"
    assert "Working" in panels.render_status(job, 0)


def test_the_time_left_runs_down_between_reports_and_hardly_rises(monkeypatch):
    job, now = Job("1", Path("1"), [], state="running"), 0.0
    monkeypatch.setattr(machinery.time, "monotonic", lambda: now)
    assert job.seconds_left() is None
    seen, titles = [], []
    for second in range(400):
        now = float(second)
        if second in (0, 60, 90):
            left = {0: 200.0, 60: 180.0, 90: 30.0}[second]  # slower than expected, then faster
            job.on_output(json.dumps({"stage": "splats", "state": "step", "left": left}).encode())
        seen.append(job.seconds_left())
        titles.append(re.search(r"<span>(.*) left", panels.render_status(job, 0))[1])
    assert (np.array(seen)[1:] <= 1.1 * np.minimum.accumulate(seen)[:-1]).all() and seen[0] == 200 and seen[90] == 30
    assert seen[59] == 141 and seen[89] < seen[60]  # as a clock
    assert seen[-1] == 30 * LEAST_SHARE  # a stage that takes long does not seem to be over
    assert titles[:2] == ["about 3 min 20 s"] * 2 and "about 3 min" in titles and titles[-1] == "about 10 s"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Grandma 1962.JPG", "Grandma 1962.jpg"),
        ("Ядвига.png", "Ядвига.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("x.svg", "x.svg"),
        ("-o.jpg", "o.jpg"),
        ("..", "photo"),
        ("", "photo"),
        (".png", "photo.png"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("<b>$(x)`.webp", "_b__(x)_.webp"),
    ],
)
def test_photos_keep_the_names_that_their_owners_gave_them(given, expected):
    assert clean_name(given) == expected


@pytest.mark.parametrize("name", ["漢" * 300 + ".jpeg", "x" * 5000, "a b" * 200 + ".png"])
def test_long_names_fit_into_a_file_system(name):
    assert 0 < len(clean_name(name).encode()) < 255 and "/" not in clean_name(name)


def test_an_archive_is_sent_while_it_is_written(tmp_path):
    """It needs no more memory than a piece, and what it holds is what lies in the folder."""
    contents = {"head.ply": os.urandom(5 << 20), "viewer.html": b"<p>" * 999_999, "views/000.png": b"png"}
    (tmp_path / "views").mkdir()
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    parts = list(stream_zip(tmp_path, contents))
    assert max(map(len, parts)) < 2 << 20
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None and {name: archive.read(name) for name in archive.namelist()} == contents
    assert sum(map(len, parts)) < 6 << 20


CHECK = """
import json, sys, time
from pathlib import Path
photo = Path(sys.argv[-1])
words = photo.read_text()
with (photo.parent / "log.txt").open("a") as log:
    log.write("+" + " ".join(sys.argv[1:-2]) + "\\n")
if "slow" in words:
    time.sleep(60)
if "bad" in words:
    sys.exit(f"portrait360: {photo} is no picture.")
print("no JSON" if "odd" in words else json.dumps({"azimuth": 3.0}))
"""


def test_a_check_tells_what_the_user_said_and_is_remembered(tmp_path, monkeypatch):
    (tmp_path / "check.py").write_text(CHECK)
    checks = Checks([sys.executable, "-S", str(tmp_path / "check.py")])
    photos = {name: tmp_path / name for name in ("good", "bad", "odd", "slow")}
    for name, path in photos.items():
        path.write_text(name)
    for choice in (Choice(), Choice(face=2, azimuth=-30.0), Choice()):
        assert checks.check(photos["good"], choice) == {"azimuth": 3.0}
    assert (tmp_path / "log.txt").read_text().splitlines() == ["+", "+--face=2 --azimuth=-30.0"]
    with pytest.raises(UserError, match=r"^bad is no picture\.$"):
        checks.check(photos["bad"], Choice())
    with pytest.raises(UserError, match="could not be checked"):
        checks.check(photos["odd"], Choice())
    monkeypatch.setattr(checking, "SECONDS", 0.5)
    with pytest.raises(UserError, match="too long"):
        checks.check(photos["slow"], Choice())
    monkeypatch.setattr(checking, "MOST_WAITING", 0)
    with pytest.raises(UserError, match=BUSY):
        checks.check(photos["bad"], Choice())
    checks.close()


def test_a_server_that_closes_starts_no_check_for_those_who_wait(tmp_path):
    """Their threads would hold it back until these checks have ended, too."""
    (tmp_path / "check.py").write_text(CHECK)
    checks, photos = Checks([sys.executable, "-S", str(tmp_path / "check.py")]), [tmp_path / str(i) for i in range(3)]
    for photo in photos:
        photo.write_text("slow")
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(checks.check, photo, Choice()) for photo in photos]
        assert until(lambda: (tmp_path / "log.txt").is_file())
        began = time.monotonic()
        checks.close()
        for answer in asked:
            with pytest.raises(UserError, match="could not be checked"):
                answer.result(30)
    assert time.monotonic() - began < 30 and (tmp_path / "log.txt").read_text().splitlines() == ["+"]


def test_failure_gives_the_sentence_without_places_and_the_next_job_works(queue):
    bad, good = queue("bad"), queue("good")
    assert until(lambda: bad.is_over and good.is_over)
    assert (bad.state, bad.error) == ("failed", "upload.jpg is no picture.") and not bad.folder.exists()
    assert good.state == "done" and (good.folder / "input" / "photo" / "upload.jpg").read_text() == "good"
    queue.jobs.command = ["/no/such/program"]
    none = queue("none")
    assert until(lambda: none.is_over) and "could not be started" in none.error
    queue.jobs.command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    killed = queue("killed")
    assert until(lambda: killed.is_over) and "memory" in killed.error


def test_closing_leaves_no_process_and_no_half_run(queue):
    jobs = [queue("long deaf"), queue("waits")]
    assert until(lambda: jobs[0].stage == "fit")
    process = jobs[0].process.pid
    queue.jobs.close()
    assert not psutil.pid_exists(process) and all(job.state == "cancelled" for job in jobs)
    assert queue("late").state == "cancelled"
    assert not [entry for entry in queue.folder.iterdir() if entry.is_dir()]


def test_a_job_whose_server_was_killed_ends_by_itself(tmp_path):
    (tmp_path / "fake.py").write_text(SCRIPT)
    (tmp_path / "photo").write_text("long")
    program = f"""
import sys, time
from pathlib import Path
from portrait360.apps.web.jobs import *
here = Path({str(tmp_path)!r})
jobs = Jobs(RunStore(here / "runs"), [sys.executable, "-S", str(here / "fake.py")])
job = jobs.add(here / "photo", MakeOptions())
while job.stage != "fit": time.sleep(.01)
print(job.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as server:
        pid = int(server.stdout.readline())
        assert psutil.pid_exists(pid)
        server.kill()
    assert until(lambda: not psutil.pid_exists(pid))


def test_neither_the_queue_nor_its_memory_grows_without_end(queue, tmp_path):
    queue("long")
    assert until(lambda: queue.jobs.open()[0].state == "running")
    waiting = [queue("waits") for _ in range(MOST_WAITING)]
    with pytest.raises(UserError, match="already waiting"):
        queue("one more")
    for _ in range(4):
        for job in waiting:
            queue.jobs.cancel(job.id)
        waiting = [queue("waits") for _ in range(MOST_WAITING)]
    assert len(queue.jobs._ended) == REMEMBERED
    with pytest.raises(UserError, match="no longer available"):
        queue.jobs.cancel(waiting[0].id) or queue.jobs.add(tmp_path / "gone.jpg", MakeOptions())


def test_uploads_are_kept_while_they_are_young_or_the_latest(tmp_path, monkeypatch):
    """However many others come meanwhile, and although some vanish while they are looked at."""
    now = time.time()
    ages = [*range(0, 3 * LATEST), *(int(YOUNG) + i for i in range(1, 6))]  # seconds
    for age in ages:
        (tmp_path / f"{age:064d}").mkdir()
        os.utime(tmp_path / f"{age:064d}", (now - age, now - age))
    (tmp_path / "cut_off").write_text("an upload that never ended")
    os.utime(tmp_path / "cut_off", (0, 0))
    listdir = os.listdir
    monkeypatch.setattr(uploads.os, "listdir", lambda folder: [*listdir(folder), "gone" * 16])
    prune_uploads(tmp_path)
    monkeypatch.undo()
    assert sorted(int(entry.name) for entry in tmp_path.iterdir()) == list(range(3 * LATEST))
    for entry in tmp_path.iterdir():
        os.utime(entry, (int(entry.name),) * 2)
    prune_uploads(tmp_path)
    assert sorted(int(entry.name) for entry in tmp_path.iterdir()) == list(range(2 * LATEST, 3 * LATEST))


def test_folders_of_killed_servers_are_deleted_and_no_others(tmp_path):
    names = [PREFIX + "stale", PREFIX + "living", PREFIX + "young", "somebody's"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo").write_text("photo")
        if "young" not in name:
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / (PREFIX + "link")).symlink_to(tmp_path / "somebody's")
    with lock_folder(tmp_path / names[1]):
        remove_stale_folders(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*names[1:], PREFIX + "link"])
    assert (tmp_path / "somebody's" / "photo").is_file()


def test_what_a_killed_server_left_is_done_by_the_next_one(tmp_path):
    (tmp_path / "fake.py").write_text(SCRIPT)
    for word in ("first", "second", "third"):
        folder = tmp_path / "runs" / word
        (folder / "input" / "photo").mkdir(parents=True)
        (folder / "input" / "photo" / "me.png").write_text(word)
        save_request(folder, MakeOptions(views=8, results=(), azimuth=-90.0))
    assert read_request(folder) == Request(
        folder / "input" / "photo" / "me.png",
        None,
        MakeOptions(views=8, results=(), azimuth=-90.0),
    )
    evil = [b"[" * 9999, b"[]", b'{"method": "gan"}', b'{"parameters": "/etc/passwd"}', b'{"preset": ["x"]}', b"{}"]
    for i, request in enumerate(evil):
        photos = tmp_path / "runs" / f"evil{i}" / "input" / "photo"
        photos.mkdir(parents=True)
        (tmp_path / "runs" / f"evil{i}" / REQUEST).write_bytes(request)
        (photos / "me.png").symlink_to("/etc/passwd")
    jobs = Jobs(RunStore(tmp_path / "runs"), [sys.executable, "-S", str(tmp_path / "fake.py")])
    jobs.resume()
    try:
        resumed = jobs.open()
        assert until(lambda: all(job.state == "done" for job in resumed))
        assert {job.id for job in resumed} == {"first", "second", "third"}
        assert "--views=8" in resumed[0].arguments and not (folder / REQUEST).exists()
        jobs.resume()
        assert jobs.open() == []
    finally:
        jobs.close()


def test_the_command_of_a_killed_server_ends_within_seconds():
    """Also where it says nothing, and so does not notice that nobody listens."""
    work = "import time; from portrait360.utils.entry_point import run_entry_point as r; r(lambda: time.sleep(60))"
    program = f"""
import os, subprocess, sys, time
environment = os.environ | {{{PARENT!r}: str(os.getpid())}}
process = subprocess.Popen([sys.executable, "-c", {work!r}], env=environment, start_new_session=True)
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as server:
        pid = int(server.stdout.readline())
        time.sleep(1.5)
        assert psutil.pid_exists(pid)
        server.kill()
    assert until(lambda: not psutil.pid_exists(pid), 8)


def ask(app, path: str = "/gradio_api/upload", length: bytes | None = b"10") -> int:
    """The status that an ASGI app answers a POST with."""
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    headers = [] if length is None else [(b"content-length", length)]
    asyncio.run(app({"type": "http", "method": "POST", "path": path, "headers": headers}, None, send))
    return statuses[0]


def test_uploads_have_an_end(tmp_path, monkeypatch):
    async def app(scope, receive, send):
        (tmp_path / f"{len(os.listdir(tmp_path)):064d}").write_bytes(bytes(10))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    limited = UploadLimit(app, tmp_path)
    monkeypatch.setattr(uploads, "MAX_COUNT", 5)
    assert [ask(limited) for _ in range(7)] == [200] * 5 + [503] * 2
    assert ask(limited, "/gradio_api/run/make") == 200
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "MAX_BYTES", 100)
    assert [ask(limited) for _ in range(6)] == [200] * 4 + [503] * 2 and limited.pending == 0
    assert [ask(limited, length=length) for length in (None, b"", b"x", b"9" * 5000, str(66 << 20).encode())] == [
        413
    ] * 5


def test_options_become_the_words_of_the_command():
    assert to_arguments(MakeOptions()) == []
    words = to_arguments(MakeOptions(views=8, results=(), azimuth=-90.0))
    assert words == ["--views=8", "--azimuth=-90.0", "--as=views"]
    chosen = MakeOptions(results=("field",), formats=("ply", "spz"), fit=True)
    assert to_arguments(chosen) == ["--as=field", "--formats=ply,spz", "--fit"]
    assert to_arguments(MakeOptions(quick=True, elevation=3)) == ["--elevation=3", "--quick"]
    assert parse_degrees(" -12.5 ") == -12.5 and parse_degrees(" ") is parse_degrees("") is None
    for said in ("left", "nan", "1e999"):
        with pytest.raises(UserError, match="degrees"):
            parse_degrees(said)


def test_what_is_offered_can_run_and_what_is_not_says_which_command_changes_that(monkeypatch, tmp_path):
    """As `doctor` sees it, and as soon as the weights are there, without a restart."""
    monkeypatch.setenv("PORTRAIT360_WEIGHTS", str(tmp_path))
    assert preset_choices() == ["small"]
    shown = render_presets()
    for name in ("sd15", "diffportrait3d"):
        assert f"<dt>{name}</dt>" in shown
    assert "<code>portrait360 weights fetch diffportrait360 back-head</code>" in shown
    record = {"system": "diffportrait3d", "dtype": "float16", "source": {}, "files": {}, "config": {}}
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "manifest.json").write_text(json.dumps(record))
    assert preset_choices() == ["small", "diffportrait3d"] and "<dt>diffportrait3d" not in render_presets()
    for name in preset_choices():
        MakeOptions(preset=name).validate()


@pytest.fixture
def shelf(tmp_path) -> RunStore:
    """One run, and around it what nobody may see."""
    shelf = RunStore(tmp_path / "runs")
    (tmp_path / "secret").mkdir()
    for place in (shelf.folder / "a run", tmp_path / "secret"):
        (place / "views").mkdir(parents=True)
        for name in ("run.json", "sheet.png", "views/000.png", "views/001.png"):
            (place / name).write_text(json.dumps(RUN))
    (shelf.folder / "a run" / "head.ply").symlink_to(tmp_path / "secret" / "sheet.png")
    (shelf.folder / "link").symlink_to(tmp_path / "secret")
    (shelf.folder / "half").mkdir()
    (shelf.folder / "sheet.png").write_text("no run's")
    return shelf


def test_only_files_of_runs_in_the_folder_can_be_reached(shelf):
    runs, older = shelf.all()
    assert [run.id for run in runs] == ["a run"] and older == 0 and runs[0].views == 2 and not runs[0].head
    assert shelf.file("a run", "sheet.png") and shelf.file("a run", "views/001.png")
    assert shelf.views("a run") == ["views/000.png", "views/001.png"]
    away = [
        "",
        ".",
        "..",
        "../secret",
        str(shelf.folder.parent / "secret"),
        "link",
        "a run/",
        "A RUN",
        "sheet.png",
        "\0",
    ]
    for id in away:
        assert (
            shelf.run_folder(id) is shelf.file(id, "sheet.png") is shelf.finished_run(id) is shelf.request(id) is None
        ), id
        assert shelf.members(id, "head.zip") == []
        with pytest.raises(UserError, match="no longer exists"):
            shelf.delete(id)
    hidden = ["run.json", "input/photo.jpg", "../a run/sheet.png", "views/../run.json", "views/0.jpg", "head.ply", ""]
    for name in [*hidden, "views/000.png/", "/etc/passwd", "views/٣.png"]:
        assert shelf.file("a run", name) is None, name


def test_deleting_a_run_spares_what_is_the_users_and_what_is_in_use(shelf):
    run = shelf.folder / "a run"
    (run / "notes.txt").write_text("mine")
    (run / "portrait").symlink_to(shelf.folder.parent / "secret")
    (shelf.folder.parent / "secret" / "portrait.png").write_text("secret")
    assert shelf.file("a run", "portrait/portrait.png") is None
    with lock_folder(run), pytest.raises(UserError, match="is using this run"):
        shelf.delete("a run")
    assert shelf.finished_run("a run")
    shelf.delete("a run")
    assert [entry.name for entry in run.iterdir()] == ["notes.txt"] and shelf.all() == ([], 0)
    assert (shelf.folder.parent / "secret" / "run.json").is_file()


def test_downloads_are_named_after_their_photo(shelf):
    """Whatever the photo is called; without one, as the files are called."""
    run = shelf.folder / "a run"
    assert shelf.download_name("a run", "head.zip") == "head.zip" == shelf.download_name("../secret", "head.zip")
    (run / "input" / "photo").mkdir(parents=True)
    (run / "input" / "photo" / "Ядвига 1962.jpg").write_text("")
    names = {name: shelf.download_name("a run", name) for name in ("head.zip", "views.zip", "sheet.png")}
    assert names == {
        "head.zip": "Ядвига 1962.zip",
        "views.zip": "Ядвига 1962-views.zip",
        "sheet.png": "Ядвига 1962-sheet.png",
    }
    shown = result_panel.render_result(shelf.finished_run("a run"), ["views/000.png"], [])
    assert set(re.findall('download="(.*?)"', shown)) == set(names.values())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (MakeOptions(), "3D head"),
        (MakeOptions(results=()), "Pictures"),
        (MakeOptions(fit=True), "3D head and NeRF"),
    ],
)
def test_a_card_says_what_is_made_and_how_far_it_is(options, kind, tmp_path):
    """While it waits, while it runs, and afterwards; nothing promises a head where only pictures are made."""
    job = machinery._make_job(tmp_path, Request(tmp_path / "a.jpg", None, options))
    card = panels.render_gallery([Job("0", tmp_path, []), job], [], {}, 0).split("<button")[2]
    assert f"<small>{kind}</small>" in card and "waiting, 1 run ahead" in card
    job.state, job.start = "running", time.monotonic()
    job.on_output(b'{"stage": "views", "state": "step", "done": 1, "of": 9, "left": 40.0}')
    assert "about 40 s left" in panels.render_gallery([job], [], {}, 0)
    head = kind != "Pictures"
    assert ("head" in result_panel.render_previews(job, [])) == head
    files = dict.fromkeys(["viewer.html", *["field.safetensors"] * ("NeRF" in kind)] if head else ["sheet.png"], 1)
    run = PastRun("1", "2 Jan", 8, head, files, name="a.jpg")
    assert f"<small>{kind}, 8 views</small><small>2 Jan</small>" in panels.render_gallery([], [run], {}, 0)


def test_the_slider_shows_what_the_photo_fills():
    """A crop that reaches beyond the photo has no bar of grey on it, on whichever side."""
    for sides in range(16):
        margins = [9 * (sides >> i & 1) for i in range(4)]
        inside = np.zeros((64, 64), np.float32)
        part = slice(margins[0], 64 - margins[1]), slice(margins[2], 64 - margins[3])
        inside[part] = 1
        assert find_part(inside) == part


@pytest.mark.parametrize("linked", ["views/000.png", "views/transforms.json", "views", "sheet.png"])
def test_links_in_a_run_lead_nowhere(shelf, linked):
    run, secret = shelf.folder / "a run", shelf.folder.parent / "secret"
    for name in ("000.png", "transforms.json"):
        (secret / "views" / name).write_text("secret")
        (run / "views" / name).write_text("open")
    path = run / linked
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(secret / linked)
    names = shelf.members("a run", "views.zip")
    for kind in ("views.zip", "head.zip"):
        packed = io.BytesIO(b"".join(stream_zip(run, shelf.members("a run", kind))))
        with zipfile.ZipFile(packed) as members:
            assert linked not in members.namelist() and "head.ply" not in members.namelist()
            assert all(b"secret" not in members.read(name) for name in members.namelist())
    assert (linked == "views") == (names == [])
    assert linked != "sheet.png" or shelf.all() == ([], 0)


RECORDS = {
    "views without end": RUN | {"settings": {"views": float("inf"), "results": []}},
    "ten to the 400": '{"begun": "2026-01-02", "settings": {"views": 1e400, "results": []}}',
    "many digits": '{"begun": "2026-01-02", "settings": {"views": %s, "results": []}}' % ("9" * 400),
    "before the first year": RUN | {"begun": "0001-01-01T00:00:00+14:00"},
    "after the last year": RUN | {"begun": "9999-12-31T23:59:59-14:00"},
}


@pytest.mark.parametrize("what", [*RECORDS, "a name of bytes", "unreadable", "a circle", "deleted"])
def test_one_odd_folder_hides_no_other(shelf, what):
    odd = shelf.folder / "odd"
    if what == "a name of bytes":
        odd = Path(os.fsdecode(os.fsencode(shelf.folder) + b"/\xff"))
    shutil.copytree(shelf.folder / "a run", odd, ignore=shutil.ignore_patterns("head.ply"))
    if what in RECORDS:
        record = RECORDS[what]
        (odd / "run.json").write_text(record if isinstance(record, str) else json.dumps(record))
    elif what == "unreadable":
        odd.chmod(0)
    elif what == "a circle":
        (odd / "sheet.png").unlink()
        (odd / "sheet.png").symlink_to("sheet.png")
    elif what == "deleted":
        shutil.rmtree(odd)
        (shelf.folder / "a run").rename(shelf.folder.parent / "kept")
        shutil.rmtree(shelf.folder)
        assert shelf.all() == ([], 0) and shelf.views("odd") == [] and shelf.create_run_folder().is_dir()
        (shelf.folder.parent / "kept").rename(shelf.folder / "a run")
    runs, _ = shelf.all()
    assert "a run" in [run.id for run in runs]
    panels.render_gallery([], runs, {run.id: shelf.card_picture(run.id) for run in runs}, 0).encode()
    for id in ("a run", "odd"):
        assert all(run.views < 10_000 for run in [shelf.finished_run(id)] if run)
        shelf.warnings(id), shelf.views(id), shelf.members(id, "head.zip")
    if odd.exists():
        odd.chmod(0o700)


def test_a_damaged_record_is_shown_as_what_is_known(shelf):
    (shelf.folder / "a run" / "run.json").write_text("[" * 99_999)
    assert shelf.finished_run("a run").views == 0 and "a run" in panels.render_gallery([], shelf.all()[0], {}, 3)


def test_what_comes_from_outside_stays_text(shelf):
    evil = """<img src=x onerror=alert(1)>"'${alert(2)}{{value}}@children`"""
    (shelf.folder / evil.replace("/", "")).mkdir()
    for name in ("run.json", "sheet.png"):
        shutil.copy(shelf.folder / "a run" / name, shelf.folder / evil)
    record = {"portrait360": {"format": 1}, "stages": {}, "warnings": [{"stage": "portrait", "text": evil}]}
    (shelf.folder / evil / "run.json").write_text(json.dumps(RUN | record))
    assert shelf.warnings(evil) == [evil]
    run = shelf.finished_run(evil)
    job = Job("1", Path("1"), [], state="running", stage=evil)
    job.warnings.append(evil)
    for shown in (
        panels.render_gallery([job], [run], {evil: shelf.card_picture(evil)}, 0),
        result_panel.render_result(replace(run, name=evil, style=evil, compares=True, is_partial=True), [], [evil]),
        panels.render_status(job, 0),
        markup.render_message(evil),
        markup.render_warnings(shelf.warnings(evil)),
        check_panel.render_waiting(evil),
        check_panel.render_problem(evil, Choice(face=2)),
        check_panel.render_check(
            dict.fromkeys(("crop", "labels", "pose"), evil)
            | {"names": {evil: evil, "hair": "#123456"}, "faces": [evil] * 2, "warnings": [evil]},
            Choice(),
        ),
    ):
        assert "<img src=x" not in shown and not re.search(r"[{}$`@]|onerror=alert\(1\)>", shown)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "texts"),
    [
        (0.5, -0.5, ("in front", "level")),
        (0.6, -0.6, ("1° to the subject's left", "1° below")),
        (-179.6, 12.4, ("behind", "12° above")),
    ],
)
def test_an_angle_that_is_shown_as_nothing_has_no_side(azimuth, elevation, texts):
    shown = check_panel.render_check({"azimuth": azimuth, "elevation": elevation}, Choice())
    assert tuple(re.findall(r"<span>([^<]*)</span>", shown)) == texts


def test_warnings_are_a_list_that_has_a_name_and_outlast_the_server(shelf):
    """A job shows them whatever becomes of it; of a run of an earlier day the record has them, if it is whole.

    They stand below the head and the buttons, which they would push off the screen.
    """
    job = Job("a run", shelf.folder / "a run", [], state="running")
    job.on_output(b'{"stage": "portrait", "state": "warning", "what": "say --azimuth"}')
    jobs = SimpleNamespace(get={"a run": job}.get, store=shelf, count_before=lambda job: 0)
    shown_page = page.Page(None, jobs, None, None)  # type: ignore[arg-type]
    for state in ("running", "failed", "done"):
        job.state = state
        shown = shown_page._render_details("a run", [], has_page=False)
        assert "Warnings" not in shown_page._render_status("a run")
        assert "data-do" not in shown or shown.index("data-do") < shown.index("Warnings")
        assert 'role="note" aria-labelledby="p360-warnings"' in shown and 'id="p360-warnings"' in shown
        assert "Warnings</h3>" in shown and "<li>Say “Azimuth”.</li>" in shown
    assert markup.render_warnings([]) == ""
    record = {
        "portrait360": {"format": 1},
        "stages": {},
        "warnings": [{"stage": "portrait", "text": "say `azimuth=`"}],
    }
    file = shelf.folder / "a run" / "run.json"
    file.write_text(json.dumps(RUN | record))
    assert shelf.warnings("a run") == ["say --azimuth"] and shelf.warnings("../secret") == shelf.warnings("") == []
    for damaged in (3, ["text"], [{"stage": "portrait"}], {"text": "x"}, None):
        file.write_text(json.dumps(RUN | record | {"warnings": damaged}))
        assert shelf.warnings("a run") == []


def test_a_late_refresh_of_an_unchanged_run_does_not_bring_it_back(queue, tmp_path):
    """Its answer may come after a click on another run: it leaves alone which run the tab shows."""
    gradio = SimpleNamespace(skip=lambda: "skip", update=lambda **what: what, Timer=lambda **what: what)
    shown = page.Page(gradio, queue.jobs, tmp_path, None)  # type: ignore[arg-type]
    first = shown._update("", ())
    assert first[0] == "" and first[-1] != "skip"
    again = shown.refresh("", first[-1])
    assert again[0] == again[-1] == "skip"


def test_without_gradio_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install 'portrait360\[web\]'"):
        page.import_gradio()
    naming = [p.name for p in Path(page.__file__).parents[1].rglob("*.py") if "import gradio" in p.read_text()]
    assert naming == ["page.py"]


def test_the_server_takes_no_memory_for_torch():
    """Only the processes that it starts need it, which would more than double the server's memory."""
    code = (
        "import sys; from portrait360.apps.web import app, page; page.list_styles(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("web") / "runs") as server:
        yield server


def status_of(server, path: str, data: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(server.address + path, data, server.headers | headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_strangers_get_nothing(server):
    assert status_of(server, "/") == 200
    assert status_of(server, "/", Host="evil.example") == 403
    assert status_of(server, "/gradio_api/run/make", b"{}", Origin="http://evil.example") == 403
    assert status_of(server, "/gradio_api/run/make", b"{}", Origin="null") == 403
    for path in (
        "/runs/../../etc/passwd",
        "/runs/%2e%2e/sheet.png",
        "/runs/x%2f..%2fy/sheet.png",
        "/jobs/..",
        "/docs",
    ):
        assert status_of(server, path) == 404, path
    for path in (f"file={ASTRONAUT}", "file=/etc/passwd", "file=http://example.com/", "proxy=http://example.com/"):
        assert status_of(server, f"/gradio_api/{path}") in (403, 404), path
    assert server.make(str(ASTRONAUT)) is server.make("http://example.com/a.jpg") is None  # only uploads are opened
    connections = psutil.Process(server.process.pid).net_connections()
    assert connections and all(c.laddr.ip == "127.0.0.1" for c in connections)


def test_a_file_that_is_no_picture_is_refused_without_starting_a_process(tmp_path):
    (tmp_path / "text.jpg").write_text("This is a text.")
    shown = page.Page(None, None, tmp_path, Checks(["no-such-program"]))  # type: ignore[arg-type]
    html = shown.check(str(tmp_path / "text.jpg"), "", "", "")
    assert "text.jpg is not a JPEG" in html and str(tmp_path) not in html


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_a_server_that_is_stopped_says_so(tmp_path, monkeypatch, capsys, error):
    def stop(*_):
        raise error

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(web_app, "create_app", lambda *_: None)
    monkeypatch.setattr(web_app, "_run_server", stop)
    web_app.serve(tmp_path / "runs", 7860)
    assert capsys.readouterr().out == f"Stopped. Finished runs are in {tmp_path / 'runs'}.\n"


def test_only_who_knows_the_printed_address_gets_in(server):
    for cookie in (
        "",
        "portrait360-1=x",
        f"{server.headers['Cookie']}x",
        server.headers["Cookie"].split("=")[0] + "=",
    ):
        assert status_of(server, "/", Cookie=cookie) == 403
    assert status_of(server, "/?token=x", Cookie="") == status_of(server, "/gradio_api/upload", b"", Cookie="") == 403
    request = urllib.request.Request(server.address + "/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    for name, value in (("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")):
        assert refused.value.headers[name] == value
    assert "default-src 'none'" in refused.value.headers["Content-Security-Policy"]
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(server.entrance) as page, opener.open(server.address + "/config") as again:
        assert page.status == again.status == 200 and page.url == server.address + "/"


def test_many_who_upload_at_once_lose_nothing(server):
    def upload_and_make(i: int) -> str | None:
        return server.make(server.upload(f"This is text {i}.".encode()) or "")

    with ThreadPoolExecutor(12) as clients:
        ids = list(clients.map(upload_and_make, range(12)))
    assert len(set(ids)) == 12 and all(server.job(id) for id in ids if id) and all(ids)
    for id in reversed(ids):
        server.cancel(id)
    assert all(server.wait_for_end(id)["state"] in ("failed", "cancelled") for id in ids)


def test_headers_of_a_proxy_change_nothing_in_the_page(server):
    request = urllib.request.Request(server.address, headers=server.headers | {"X-Forwarded-Host": "evil.example"})
    with urllib.request.urlopen(request) as answer:
        assert b"evil.example" not in answer.read()


@pytest.mark.parametrize("name", ["", ".", "/", "\0", "x" * 3000])
def test_an_odd_name_of_an_upload_is_no_internal_error(server, name):
    border = "x"
    body = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nhello'
    kind = f"multipart/form-data; boundary={border}"
    status = status_of(server, "/gradio_api/upload", f"{body}\r\n--{border}--\r\n".encode(), **{"Content-Type": kind})
    assert status in (200, 400)


def test_an_upload_that_is_too_large_is_refused(server):
    assert server.upload(b"0" * (65 << 20)) is None


@browsing
def test_from_a_bad_upload_and_a_good_one_to_a_head_that_turns(server, tmp_path):
    (tmp_path / "bad.jpg").write_text("This is a text.")
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.entrance)
        choose(tab, tmp_path / "bad.jpg")
        tab.run("document.querySelectorAll('#p360-fit input')[1].click()")
        assert "bad.jpg is not a JPEG" in seen(tab, "#p360-check .p360-bad")
        press(tab, "make")
        assert "bad.jpg is not a JPEG" in seen(tab, "#p360-status .p360-bad")
        tab.run("document.querySelector('#p360-photo button[aria-label=Clear], #p360-photo .icon-button').click()")
        choose(tab, ASTRONAUT)
        assert all(word in seen(tab, ".p360-trio ~ .p360-legend") for word in ("hair", "lips", "clothes"))
        assert seen(tab, ".p360-angles span").endswith("° to the subject's left")
        press(tab, "make")
        assert "left" in seen(tab, ".p360-line span:not(:empty)")
        assert tab.run("document.querySelector('#p360-make').innerText") == "Add to the queue"
        assert tab.run("document.querySelector('#p360-cancel').innerText") == "Cancel astronaut.png"
        assert any(tab.run(appears(".p360-turn")) for _ in range(3))  # an avatar takes its time on a busy machine
        assert "turn" in seen(tab, ".p360-turn")
        turned = "[...document.querySelectorAll('.p360-turn img')].findIndex(i => i.classList.contains('on'))"
        assert tab.run(turned) == 0
        x, y, width, height = box(tab, ".p360-turn")
        tab.drag((x + width // 2, y + height // 2), (x + width // 2 - 150, y + height // 2))
        assert tab.run(turned) > 2
        files = tab.run("[...document.querySelectorAll('.p360-files a')].map(a => a.getAttribute('href'))")
        assert [Path(f).name for f in files] == [
            "turntable.mp4",
            "sheet.png",
            "views.zip",
        ]
        assert all(status_of(server, file) == 200 for file in files)
        assert "astronaut.png" in seen(tab, "#p360-past [data-run]")
        assert "Pictures, 32 views" in seen(tab, "#p360-past [data-run]")
        nothing_left_the_machine(browser, server)


@pytest.mark.parametrize("name", ["a.png", "Grandma 1962.jpg", "x" * 200 + ".jpg", ""])
def test_cancel_names_the_photo_of_the_run_that_is_shown_and_stays_short(name):
    text = panels.name_cancel(Job("1", Path("1"), [], name=name))
    assert text.startswith("Cancel") and text == text.strip() and len(text) <= 32
    assert name in text or (text.endswith("…") and name.startswith(text.removeprefix("Cancel ")[:-1]))
    assert panels.name_cancel(None) == "Cancel"


@browsing
def test_the_page_loads_without_an_error_and_every_control_has_a_name(server, tmp_path):
    named = {"button", "checkbox", "combobox", "group", "image", "link", "radio", "radiogroup", "slider", "textbox"}
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.entrance)
        tab.run(f"{appears('#p360-more button')}.then(() => document.querySelector('#p360-more button').click())")
        assert tab.run(appears("#p360-formats input"))
        assert until(lambda: tab.run("!document.querySelector('fieldset:not([aria-label])')"))
        tab.call("Accessibility.enable")
        nodes = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        names = [(n["role"]["value"], n["name"]["value"]) for n in nodes if n["role"]["value"] in named]
        assert ("group", "What to make") in names and not any("radio" in name.lower() for _, name in names)
        assert [role for role, name in names if not name] in ([], ["group"])  # the details of presets
        said = [e["params"]["entry"] for e in browser.events if e["method"] == "Log.entryAdded"]
        assert [entry for entry in said if entry["level"] in ("error", "warning")] == []
        assert not any(e["method"] == "Runtime.exceptionThrown" for e in browser.events)


@browsing
def test_on_a_phone_make_brings_the_progress_into_view(server, tmp_path):
    """Below the photo and the form, on a page that is too short for it before the run begins."""
    (tmp_path / "bad.jpg").write_text("This is a text.")
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 390, 844, online=True, phone=True)
        tab.open(server.entrance)
        choose(tab, tmp_path / "bad.jpg")
        assert "bad.jpg" in seen(tab, "#p360-check .p360-bad")
        press(tab, "make")
        assert tab.run(appears("#p360-status [class^=p360]"))
        assert until(lambda: 0 <= box(tab, "#p360-status")[1] < 200)
        assert until(lambda: box(tab, "#p360-result")[1] < 844 / 2)


@pytest.fixture
def past(server):
    """A run of an earlier day, with its photo and settings."""
    run = server.folder / "past"
    for name in ("views", "input/photo", "proxy", "compare"):
        (run / name).mkdir(parents=True)
    for name in (
        "sheet.png",
        "views/000.png",
        "input/photo/Aunt Eileen.png",
        "compare/photo.webp",
        "compare/head.webp",
    ):
        shutil.copy(ASTRONAUT, run / name)
    (run / "run.json").write_text(json.dumps(RUN | {"settings": {"views": 1, "results": ["mesh"]}}))
    (run / "viewer.html").write_text("<p>The head turns.</p>")
    (run / "proxy" / "parameters.json").write_text('{"hair": {"style": "messy"}}')
    save_request(run, MakeOptions(views=8, seed=7, azimuth=-10.0, hair="bob", formats=("spz",)))
    close_request(run)
    assert (run / SETTINGS).is_file()
    yield run
    shutil.rmtree(run, ignore_errors=True)


@browsing
def test_every_example_is_a_photo_that_a_click_chooses(server, tmp_path):
    examples = list(check_panel.EXAMPLES)
    assert len(examples) > 2
    for name, expected in (*((name, 200) for name in examples), ("none", 404)):
        assert status_of(server, f"/examples/{name}.jpg") == expected
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 390, 844, online=True, phone=True)
        tab.open(server.entrance)
        assert tab.run(appears("[data-example]"))
        loaded = "[...document.querySelectorAll('[data-example] img')].every(i => i.naturalWidth > 99)"
        assert until(lambda: tab.run(loaded))
        tab.run(f"document.querySelector('[data-example={examples[-1]}]').click()")
        assert f"{examples[-1]}.jpg" in seen(tab, "#p360-check .p360-wait")
        assert tab.run(appears("#p360-photo img"))
        nothing_left_the_machine(browser, server)


@browsing
def test_a_past_heads_page_opens_in_its_sandbox(server, past, tmp_path):
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.entrance)
        assert tab.run(appears("[data-run=past]"))
        tab.run("document.querySelector('[data-run=past]').click()")
        assert tab.run(appears("iframe"))
        until(lambda: tab.run("1") != 1, 2)  # the frame's own request comes after the frame
        answers = [e["params"]["response"] for e in browser.events if e["method"] == "Network.responseReceived"]
        shown = {answer["url"].removeprefix(server.address): answer["status"] for answer in answers}
        assert shown["/runs/past/viewer.html"] == shown["/runs/past/sheet.png"] == 200


@browsing
def test_a_past_run_gives_back_its_photo_and_settings_and_can_be_deleted_on_a_phone(server, past, tmp_path):
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 390, 844, online=True, phone=True)
        tab.open(server.entrance)
        assert tab.run(appears("[data-run=past]"))
        tab.run("document.querySelector('[data-run=past]').click()")
        assert "Aunt Eileen.png" in seen(tab, ".p360-bar-line strong")
        tab.run("document.querySelector('[data-do=again]').click()")
        assert seen(tab, ".p360-angles span") == "10° to the subject's right"
        tab.run("document.querySelector('#p360-more button').click()")
        assert tab.run(appears("#p360-seed textarea, #p360-seed input"))
        fields = {
            name: f"document.querySelector('#p360-{name} :is(input, textarea)').value" for name in ("seed", "views")
        }
        assert {name: tab.run(field) for name, field in fields.items()} == {"seed": "7", "views": "8"}
        chosen = "[...document.querySelectorAll('#p360-formats input')].map(i => i.checked)"
        assert tab.run(chosen) == [name == "spz" for name in (*SPLAT_FORMATS, *AVATAR_FORMATS)]
        assert seen(tab, ".p360-missing summary") == "Not installed: sd15, diffportrait3d"
        tab.run("document.querySelectorAll('.p360-angles button')[0].click()")
        moved = "document.querySelector('#p360-azimuth :is(input, textarea)').value"
        assert until(lambda: tab.run(moved) == "-15")
        assert tab.run("document.documentElement.scrollWidth") == 390
        with (
            urllib.request.urlopen(
                urllib.request.Request(server.address + "/runs/past/head.zip", headers=server.headers)
            ) as answer,
            zipfile.ZipFile(io.BytesIO(answer.read())) as archive,
        ):
            assert sorted(archive.namelist()) == ["sheet.png", "viewer.html", "views/000.png"]
            token = server.headers["Cookie"].split("=")[1].encode()
            assert all(token not in archive.read(name) for name in archive.namelist())
        tab.run("window.confirm = () => true; document.querySelector('[data-do=delete]').click()")
        assert until(lambda: not past.exists())
        assert until(lambda: tab.run("!document.querySelector('[data-run=past], iframe')"))
        nothing_left_the_machine(browser, server)


@browsing
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_buttons_are_on_the_screen_whatever_the_check_says(server, past, tmp_path, width, height):
    """Make below the photo, and those of a result below its head, above all warnings; each warning is there once."""
    warnings = [f"no face was found, and this is warning {i} of a photo that has many" for i in range(6)]
    record = {"portrait360": {"format": 1}, "stages": {}}
    record["warnings"] = [{"stage": "portrait", "text": text} for text in warnings]
    (past / "run.json").write_text(json.dumps(RUN | record | {"settings": {"views": 1, "results": ["mesh"]}}))
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, width, height, online=True, phone=width < 720)
        tab.open(server.entrance)
        choose(tab, ASTRONAUT)
        assert tab.run(appears("#p360-make"))
        check = check_panel.render_check({"warnings": [*warnings[1:], "the check alone says this"]}, Choice())
        tab.run(f"document.querySelector('#p360-check').innerHTML = {json.dumps(check)}")
        assert box(tab, "#p360-make")[1] + box(tab, "#p360-make")[3] < height
        tab.run("document.querySelector('[data-run=past]').click()")
        assert seen(tab, "#p360-details .p360-warnings").count("warning") == len(warnings)
        assert seen(tab, "#p360-check .p360-warnings").split("\n")[1:] == ["The check alone says this."]
        tab.run("document.querySelector('#p360-result').scrollIntoView({behavior: 'instant'})")
        assert until(lambda: box(tab, "#p360-result")[1] <= 1)
        assert box(tab, "[data-do=delete]")[1] + box(tab, "[data-do=delete]")[3] < height


@browsing
def test_cancelling_asks_before_it_throws_away_work(server, tmp_path):
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.entrance)
        assert tab.run(appears("#p360-make"))
        tab.run("""
            document.body.insertAdjacentHTML("beforeend", '<div id="p360-status"><i data-lost></i></div>');
            const button = document.body.appendChild(document.createElement("button"));
            [button.id, window.asked, window.cancelled] = ["p360-cancel", 0, 0];
            document.querySelector("#p360-cancel").addEventListener("click", () => window.cancelled++);
            window.confirm = () => (window.asked++, window.agrees);
        """)
        for lost, agrees, asked, cancelled in ((0, 0, 0, 1), (4, 0, 0, 1), (40, 0, 1, 0), (40, 1, 1, 1)):
            tab.run(f"""[window.asked, window.cancelled, window.agrees] = [0, 0, {agrees}];
                document.querySelector("[data-lost]").dataset.lost = {lost};
                document.querySelector("#p360-cancel").click()""")
            assert tab.run("[window.asked, window.cancelled]") == [asked, cancelled], lost


def test_a_run_that_has_written_something_loses_nothing_by_a_cancel(tmp_path):
    job = Job("1", tmp_path, [], state="running", start=time.monotonic() - 60)
    assert 'data-lost="60"' in panels.render_status(job, 0)
    (tmp_path / "viewer.html").write_text("")
    assert 'data-lost="0"' in panels.render_status(job, 0)
    job.state = "waiting"
    (tmp_path / "viewer.html").unlink()
    assert 'data-lost="0"' in panels.render_status(job, 1)


@pytest.mark.slow
def test_a_killed_server_is_followed_by_one_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # in which the killed server leaves its uploads
    with Server(tmp_path / "runs", free_port(8873)) as server:
        id = server.make(server.upload(ASTRONAUT.read_bytes()))
        assert until(server.children)
        (at_work,) = server.children()
        server.process.kill()
        assert until(lambda: not at_work.is_running(), 5)
    with Server(tmp_path / "runs", free_port(8873)) as server, Server(tmp_path / "runs", free_port(8874)) as other:
        assert server.job(id)["state"] in ("waiting", "running") and other.job(id) == {}
        server.cancel(id)
        assert server.wait_for_end(id)["state"] == "cancelled" and list((tmp_path / "runs").iterdir()) == []


def odd_pictures() -> dict[str, Image.Image | bytes]:
    """Of what people bring by mistake or on purpose."""
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    turned = Image.Exif()
    turned[274] = 6
    exif, animated = io.BytesIO(), io.BytesIO()
    IMAGE.transpose(Image.Transpose.ROTATE_90).save(exif, "JPEG", exif=turned)
    IMAGE.convert("P").save(animated, "GIF", save_all=True, append_images=[IMAGE.convert("P")] * 2)
    deep = np.asarray(IMAGE.convert("L")).astype(np.uint16) * 257
    see_through = IMAGE.convert("RGBA")
    see_through.putalpha(200)
    written = io.BytesIO()
    IMAGE.save(written, "JPEG")
    jpeg = written.getvalue()
    sides = jpeg.index(b"\xff\xc0") + 5  # where the header tells height and width
    return {
        "empty.jpg": b"",
        "text.jpg": b"This is a text.",
        "half.png": ASTRONAUT.read_bytes()[:20_000],
        "bomb.png": bomb.getvalue(),
        "claims.jpg": jpeg[:sides] + b"\xff\xdc\xff\xdc" + jpeg[sides + 4 :],
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(99),
        "clip.mp4": b"\0\0\0\x18ftypisom" + bytes(99),
        "dot.png": Image.new("RGB", (1, 1)),
        "nobody.png": Image.new("RGB", (300, 300), "teal"),
        "cmyk.tiff": IMAGE.convert("CMYK"),
        "deep.png": Image.fromarray(deep),
        "turned.jpg": exif.getvalue(),
        "animated.gif": animated.getvalue(),
        "alpha.png": see_through,
    }


@pytest.mark.slow
def test_odd_pictures_end_in_a_result_or_in_one_sentence(server, tmp_path):
    ends = {}
    for name, picture in odd_pictures().items():
        if isinstance(picture, Image.Image):
            picture.save(tmp_path / name)
            picture = (tmp_path / name).read_bytes()
        job = server.wait_for_end(server.make(server.upload(picture, name)))
        ends[name] = job["state"]
        assert bool(job["error"]) == (job["state"] == "failed") and "\n" not in job["error"], job
        assert "mistake" not in job["error"] and str(server.folder) not in job["error"], job
    good = ["cmyk.tiff", "deep.png", "turned.jpg", "animated.gif", "alpha.png"]
    assert [name for name, end in ends.items() if end != "failed"] == good, ends
    assert set(ends.values()) == {"done", "failed"}
    assert until(lambda: not server.children(), 120)  # the last one's comparison is drawn after it is done


def test_the_form_says_what_it_shows():
    """Its inputs at their defaults are the defaults of the options, and every labelled field has one."""
    assert read_form(fill_form(MakeOptions())) == MakeOptions()
    for said in (
        {"results": (), "views": 8, "azimuth": -90.0, "elevation": 12.5},
        {"fit": True, "quick": True, "face": 3, "seed": 7},
        {"hair": "bob", "hair_length": 1.35, "formats": ("spz", "ply")},
    ):
        assert read_form(fill_form(MakeOptions(**said))) == MakeOptions(**said)
    names = [name for name, *_ in form_fields()]
    for name, wrong in (("seed", "x"), ("seed", "-1"), ("face", "0"), ("face", "9" * 5000), ("azimuth", "left")):
        values = fill_form(MakeOptions())
        values[names.index(name)] = wrong
        with pytest.raises(UserError, match="choose|degrees"):
            read_form(values)


def test_a_server_that_is_ended_ends_what_is_at_work(server):
    """It comes last: no server is there afterwards."""
    before = {entry.name for entry in server.folder.iterdir()}
    id = server.make(server.upload(ASTRONAUT.read_bytes()), what="3D head")
    assert until(lambda: server.job(id)["state"] == "running" and server.children())
    at_work = server.children()
    assert server.end() == 0
    assert not any(psutil.pid_exists(process.pid) for process in at_work)
    assert {entry.name for entry in server.folder.iterdir()} == before
