"""`portrait360 serve`: the queue and its processes, what may be seen of a folder, and the page in a real browser."""

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.web import Server
from portrait360.apps.web import jobs as machinery
from portrait360.apps.web import page, panels, uploads
from portrait360.apps.web.jobs import MOST_WAITING, REMEMBERED, Job, Jobs
from portrait360.apps.web.page import (
    HEAD,
    VIEWS,
    form_fields,
    parse_degrees,
    preset_choices,
    read_form,
)
from portrait360.apps.web.run_store import RunStore
from portrait360.apps.web.unfinished import REQUEST, read_request, save_request
from portrait360.apps.web.uploads import LATEST, PREFIX, YOUNG, UploadLimit, prune_uploads, remove_stale_folders
from portrait360.models.presets import PRESETS
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.entry_point import PARENT
from portrait360.utils.errors import UserError
from portrait360.utils.files import lock_folder
from portrait360.utils.local_server import free_port
from portrait360.utils.option_fields import to_arguments
from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.photos import ASTRONAUT, IMAGE

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
say(stage="portrait", state="begin", done=0, of=0, left=8.0)
print("no event")
if "bad" in words:
    print("a warning", file=sys.stderr)
    print(f"portrait360: {photo} is no picture.", file=sys.stderr)
    sys.exit(2)
if "long" in words:
    for i in range(600):
        say(stage="fit", state="step", what="field", done=i, of=600, left=60.0)
        time.sleep(0.1)
(folder / "views").mkdir()
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


def until(true, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


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
    assert "Fitting the 3D head: field" in shown and "about 1 min 00 s left" in shown and "reduced" in shown
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


def test_failure_gives_the_sentence_without_places_and_the_next_job_works(queue):
    bad, good = queue("bad"), queue("good")
    assert until(lambda: bad.is_over and good.is_over)
    assert (bad.state, bad.sentence) == ("failed", "photo.jpg is no picture.") and not bad.folder.exists()
    assert good.state == "done" and (good.folder / "input" / "photo.jpg").read_text() == "good"
    queue.jobs.command = ["/no/such/program"]
    none = queue("none")
    assert until(lambda: none.is_over) and "could not be started" in none.sentence
    queue.jobs.command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    killed = queue("killed")
    assert until(lambda: killed.is_over) and "memory" in killed.sentence


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
    with pytest.raises(UserError, match="waiting already"):
        queue("one more")
    for _ in range(4):
        for job in waiting:
            queue.jobs.cancel(job.id)
        waiting = [queue("waits") for _ in range(MOST_WAITING)]
    assert len(queue.jobs._ended) == REMEMBERED
    with pytest.raises(UserError, match="no longer there"):
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
        (folder / "input").mkdir(parents=True)
        (folder / "input" / "photo.png").write_text(word)
        save_request(folder, MakeOptions(views=8, fit=False, azimuth=-90.0))
    assert read_request(folder) == (
        folder / "input" / "photo.png",
        None,
        MakeOptions(views=8, fit=False, azimuth=-90.0),
    )
    evil = [b"[" * 9999, b"[]", b'{"method": "gan"}', b'{"parameters": "/etc/passwd"}', b'{"preset": ["x"]}', b"{}"]
    for i, request in enumerate(evil):
        (tmp_path / "runs" / f"evil{i}" / "input").mkdir(parents=True)
        (tmp_path / "runs" / f"evil{i}" / REQUEST).write_bytes(request)
        (tmp_path / "runs" / f"evil{i}" / "input" / "photo.png").symlink_to("/etc/passwd")
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
    words = to_arguments(MakeOptions(views=8, fit=False, azimuth=-90.0))
    assert words == ["--views=8", "--azimuth=-90.0", "--no-fit"]
    assert to_arguments(MakeOptions(quick=True, elevation=3)) == ["--elevation=3", "--quick"]
    assert parse_degrees(" -12.5 ") == -12.5 and parse_degrees(" ") is parse_degrees("") is None
    for said in ("left", "nan", "1e999"):
        with pytest.raises(UserError, match="degrees"):
            parse_degrees(said)


def test_what_is_offered_can_run_and_what_is_not_cannot():
    assert [name for _, name in preset_choices()] == list(PRESETS)
    for label, name in preset_choices():
        if "needs weights" in label:
            with pytest.raises(UserError):
                MakeOptions(preset=name).validate()
        else:
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
            shelf.run_folder(id)
            is shelf.file(id, "sheet.png")
            is shelf.finished_run(id)
            is shelf.zip_views(id)
            is None
        ), id
    hidden = ["run.json", "input/photo.jpg", "../a run/sheet.png", "views/../run.json", "views/0.jpg", "head.ply", ""]
    for name in [*hidden, "views/000.png/", "/etc/passwd", "views/٣.png"]:
        assert shelf.file("a run", name) is None, name


@pytest.mark.parametrize("linked", ["views/000.png", "views/transforms.json", "views", "sheet.png"])
def test_links_in_a_run_lead_nowhere(shelf, linked):
    run, secret = shelf.folder / "a run", shelf.folder.parent / "secret"
    for name in ("000.png", "transforms.json"):
        (secret / "views" / name).write_text("secret")
        (run / "views" / name).write_text("open")
    path = run / linked
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(secret / linked)
    archive = shelf.zip_views("a run")
    if archive is not None:
        with zipfile.ZipFile(archive) as members:
            assert linked not in members.namelist()
            assert all(b"secret" not in members.read(name) for name in members.namelist())
    assert (linked == "views") == (archive is None)
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
    panels.render_gallery([], runs, [shelf.card_picture(run.id) for run in runs], 0).encode()
    for id in ("a run", "odd"):
        assert all(run.views < 10_000 for run in [shelf.finished_run(id)] if run)
        shelf.warnings(id), shelf.views(id), shelf.zip_views(id)
    if odd.exists():
        odd.chmod(0o700)


def test_a_damaged_record_is_shown_as_what_is_known(shelf):
    (shelf.folder / "a run" / "run.json").write_text("[" * 99_999)
    assert shelf.finished_run("a run").views == 0 and "a run" in panels.render_gallery([], shelf.all()[0], [None], 3)


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
        panels.render_gallery([job], [run], [shelf.card_picture(evil)], 0),
        panels.render_result(run, []),
        panels.render_status(job, 0),
        panels.render_message(evil),
        panels.render_warnings(shelf.warnings(evil)),
    ):
        assert "<img src=x" not in shown and not re.search(r"[{}$`@]|onerror=alert\(1\)>", shown)


def test_warnings_are_a_list_that_has_a_name_and_outlast_the_server(shelf):
    """A job shows them whatever becomes of it; of a run of an earlier day the record has them, if it is whole."""
    job = Job("1", Path("1"), [], state="running")
    job.on_output(b'{"stage": "portrait", "state": "warning", "what": "say --azimuth"}')
    for state in ("running", "failed", "done"):
        job.state = state
        shown = panels.render_status(job, 0)
        assert 'role="note" aria-labelledby="p360-warnings"' in shown and 'id="p360-warnings"' in shown
        assert "Warnings</h3>" in shown and "<li>Say --azimuth.</li>" in shown
    assert panels.render_warnings([]) == ""
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


def test_without_gradio_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install 'portrait360\[web\]'"):
        page.import_gradio()
    naming = [p.name for p in Path(page.__file__).parents[1].rglob("*.py") if "import gradio" in p.read_text()]
    assert naming == ["page.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("web") / "runs", free_port(8871)) as server:
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
    assert all(server.ended(id)["state"] in ("failed", "cancelled") for id in ids)


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
        press(tab, "make")
        assert "not a whole JPEG" in seen(tab, ".p360-bad")
        tab.run("document.querySelector('#p360-photo button[aria-label=Clear], #p360-photo .icon-button').click()")
        choose(tab, ASTRONAUT)
        press(tab, "make")
        assert "left" in seen(tab, ".p360-line span:not(:empty)")
        assert any(tab.run(appears(".p360-turn")) for _ in range(3))  # an avatar takes its time on a busy machine
        assert "turn" in seen(tab, ".p360-turn")
        turned = "[...document.querySelectorAll('.p360-turn img')].findIndex(i => i.classList.contains('on'))"
        assert tab.run(turned) == 0
        x, y, width, height = box(tab, ".p360-turn")
        tab.drag((x + width // 2, y + height // 2), (x + width // 2 - 150, y + height // 2))
        assert tab.run(turned) > 2
        files = tab.run("[...document.querySelectorAll('.p360-files a')].map(a => a.getAttribute('href'))")
        assert [Path(f).name for f in files] == [
            "avatar.html",
            "avatar.glb",
            "turntable.mp4",
            "sheet.png",
            "views.zip",
        ]
        assert all(status_of(server, file) == 200 for file in files)
        assert "32 views only" in seen(tab, "#p360-past [data-run]")
        nothing_left_the_machine(browser, server)


def nothing_left_the_machine(browser: Chromium, server: Server) -> None:
    urls = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert urls and all(url.startswith((server.address, "data:", "blob:")) for url in urls), urls
    thrown = [e["params"] for e in browser.events if e["method"] == "Runtime.exceptionThrown"]
    assert thrown == []


def choose(tab: Tab, file: Path) -> None:
    """As a hand does: the file picker's field gets a file, and its preview comes."""
    field = "#p360-photo input[type=file]"
    assert tab.run(appears("#p360-photo button"))
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector=field)["nodeId"]
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
    assert tab.run(appears("#p360-photo img"))


def press(tab: Tab, name: str) -> None:
    tab.run(f"{appears(f'#p360-{name}')}.then(() => document.querySelector('#p360-{name}').click())")


def seen(tab: Tab, selector: str) -> str:
    """The text of a part, once it is there."""
    assert tab.run(appears(selector)), selector
    return tab.run(f"document.querySelector({selector!r}).innerText")


def box(tab: Tab, selector: str) -> list[int]:
    """Where a part is: left, top, width, height."""
    found = f"(b => [b.x, b.y, b.width, b.height])(document.querySelector({selector!r}).getBoundingClientRect())"
    return [int(number) for number in tab.run(found)]


def appears(selector: str, seconds: int = 55) -> str:
    return f"""new Promise(done => {{
        const end = Date.now() + {seconds}000;
        const look = () => {{
            const there = document.querySelector({selector!r})?.checkVisibility();
            there || Date.now() > end ? done(!!there) : setTimeout(look, 50);
        }};
        look();
    }})"""


@browsing
def test_a_past_heads_page_opens_in_its_sandbox(server, tmp_path):
    run = server.folder / "past"
    (run / "views").mkdir(parents=True)
    for name in ("sheet.png", "views/000.png"):
        shutil.copy(ASTRONAUT, run / name)
    (run / "run.json").write_text(json.dumps(RUN | {"settings": {"views": 1, "results": ["mesh"]}}))
    (run / "viewer.html").write_text("<p>The head turns.</p>")
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
    shutil.rmtree(run)


def test_a_server_that_is_ended_ends_what_is_at_work(tmp_path):
    with Server(tmp_path / "runs", free_port(8872)) as server:
        server.make(server.upload(ASTRONAUT.read_bytes()), what="3D head")
        assert until(server.children)
        at_work = server.children()
        assert len(at_work) == 1 and server.end() == 0
        assert not psutil.pid_exists(at_work[0].pid) and list((tmp_path / "runs").iterdir()) == []


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
        assert server.ended(id)["state"] == "cancelled" and list((tmp_path / "runs").iterdir()) == []


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
    return {
        "empty.jpg": b"",
        "text.jpg": b"This is a text.",
        "half.png": ASTRONAUT.read_bytes()[:20_000],
        "bomb.png": bomb.getvalue(),
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
        job = server.ended(server.make(server.upload(picture, name)))
        ends[name] = job["state"]
        assert bool(job["sentence"]) == (job["state"] == "failed") and "\n" not in job["sentence"], job
        assert "mistake" not in job["sentence"] and str(server.folder) not in job["sentence"], job
    bad = ["empty.jpg", "text.jpg", "half.png", "bomb.png", "dot.png", "nobody.png"]
    assert [name for name, end in ends.items() if end == "failed"] == bad, ends


@browsing
@pytest.mark.slow
def test_a_quick_head_turns_in_the_page(server, tmp_path):
    with Chromium(tmp_path / "profile", seconds=600) as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.entrance)
        choose(tab, ASTRONAUT)
        tab.run("document.querySelector('#p360-quick input').click()")
        press(tab, "make")
        assert tab.run(appears("iframe", 500))
        time.sleep(8)
        x, y, width, height = box(tab, "iframe")
        middle = (x + width // 2, y + height // 2)
        pictures = []
        for way in (0, 120):
            tab.drag(middle, (middle[0] + way, middle[1]))
            time.sleep(4)
            pictures.append(tab.picture()[y : y + height, x : x + width])
        coloured = [(np.ptp(picture, axis=-1) > 0.1).mean() for picture in pictures]
        assert min(coloured) > 0.05 and np.abs(pictures[0] - pictures[1]).mean() > 0.01
        assert tab.run("document.querySelector('iframe').sandbox.value") == "allow-scripts"
        assert tab.run("document.querySelectorAll('.p360-files a').length") == 7
        nothing_left_the_machine(browser, server)


def test_the_form_says_what_it_shows():
    """Its inputs at their defaults are the defaults of the options, and every labelled field has one."""
    shown = {"fit": HEAD, "azimuth": "", "elevation": ""}
    values = [shown.get(name, default) for name, _, default, _ in form_fields()]
    assert read_form(values) == MakeOptions()
    changed = [{"fit": VIEWS, "views": 8.0, "quick": True, "azimuth": "-90"}.get(name, v) for (name, *_), v in
               zip(form_fields(), values, strict=True)]  # fmt: skip
    assert read_form(changed) == MakeOptions(fit=False, views=8, azimuth=-90.0)
