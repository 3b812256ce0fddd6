"""`portrait360 serve`: the queue and its processes, what may be seen of a folder, and the page in a real browser."""

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
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.web import Server
from portrait360.apps.web import jobs as machinery
from portrait360.apps.web import page, panels
from portrait360.apps.web.jobs import MOST_WAITING, REMEMBERED, Job, Jobs
from portrait360.apps.web.page import (
    HEAD,
    LATEST,
    VIEWS,
    form_fields,
    keep_latest,
    parse_degrees,
    preset_choices,
    read_form,
)
from portrait360.apps.web.run_store import RunStore
from portrait360.models.presets import PRESETS
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.errors import UserError
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
    for i in range(LATEST + 3):
        folder = tmp_path / "uploads" / f"{i:064d}"
        folder.mkdir(parents=True)
        os.utime(folder, (i, i))
    keep_latest(tmp_path / "uploads")
    assert sorted(int(entry.name) for entry in (tmp_path / "uploads").iterdir()) == list(range(3, LATEST + 3))


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
    request = urllib.request.Request(server.address + path, data, headers)
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


def test_an_upload_that_is_too_large_is_refused(server):
    assert server.upload(b"0" * (65 << 20)) is None


@browsing
def test_from_a_bad_upload_and_a_good_one_to_a_head_that_turns(server, tmp_path):
    (tmp_path / "bad.jpg").write_text("This is a text.")
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 1280, 800, online=True)
        tab.open(server.address)
        choose(tab, tmp_path / "bad.jpg")
        tab.run("document.querySelectorAll('#p360-fit input')[1].click()")
        press(tab, "make")
        assert "not a whole JPEG" in seen(tab, ".p360-bad")
        tab.run("document.querySelector('#p360-photo button[aria-label=Clear], #p360-photo .icon-button').click()")
        choose(tab, ASTRONAUT)
        press(tab, "make")
        assert "left" in seen(tab, ".p360-line span:not(:empty)")
        assert "turn" in seen(tab, ".p360-turn")
        turned = "[...document.querySelectorAll('.p360-turn img')].findIndex(i => i.classList.contains('on'))"
        assert tab.run(turned) == 0
        x, y, width, height = box(tab, ".p360-turn")
        tab.drag((x + width // 2, y + height // 2), (x + width // 2 - 150, y + height // 2))
        assert tab.run(turned) > 2
        files = tab.run("[...document.querySelectorAll('.p360-files a')].map(a => a.getAttribute('href'))")
        assert [Path(f).name for f in files] == ["turntable.mp4", "sheet.png", "views.zip"]
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


def test_a_server_that_is_ended_ends_what_is_at_work(tmp_path):
    with Server(tmp_path / "runs", free_port(8872)) as server:
        server.make(server.upload(ASTRONAUT.read_bytes()), what="3D head")
        assert until(server.children)
        at_work = server.children()
        assert len(at_work) == 1 and server.end() == 0
        assert not psutil.pid_exists(at_work[0].pid) and list((tmp_path / "runs").iterdir()) == []


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
        tab.open(server.address)
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
