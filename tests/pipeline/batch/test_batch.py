"""Batches: every photo once, whatever happens to one of them."""

from __future__ import annotations

import csv
import gc
import io
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from portrait360.apps.cli import batch as cli_batch
from portrait360.apps.cli import main
from portrait360.pipeline.batch import inputs as batch_inputs
from portrait360.pipeline.batch import runner
from portrait360.pipeline.batch.forecast import Forecast
from portrait360.pipeline.batch.inputs import Item, read_items
from portrait360.pipeline.batch.runner import ROW, Batch, make_all, run_batch
from portrait360.pipeline.batch.table import Row
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.countdown import Countdown
from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.images import check_picture
from portrait360.utils.parallel.activity import ActivityBoard
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.parallel.scheduler import JobResult
from portrait360.utils.progress import Event, ignore_event
from portrait360.utils.storage import Storage
from tests.fixtures.engines import Here
from tests.fixtures.photos import ASTRONAUT


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@dataclass(frozen=True)
class Stub:
    """Stands for `make`: writes what it was asked."""

    said: str = ""

    def __call__(self, photo: str, folder: Path, wish: MakeOptions, on_event=ignore_event) -> None:
        text = Path(photo).read_text()
        if text == "bad":
            raise UserError("No head was found.")
        if text == "torn":
            raise UserError(f"{photo} is damaged.")
        if text == "odd":
            raise ZeroDivisionError("division by zero")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "head").write_text(f"{text} {wish.seed} {wish.views}{self.said}")


def run_and_read_report(batch: Batch) -> list[dict]:
    """The table that a batch leaves."""
    run_batch(batch, Here())
    return parquet.read_table(io.BytesIO(batch.storage.read("report.parquet") or b"")).to_pylist()


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_text({3: "bad", 4: "odd"}.get(i, f"photo {i}"))
    (folder / "notes.md").write_text("no picture")
    return folder


@pytest.mark.parametrize("where", ["out", "memory://heads"])
def test_one_bad_photo_is_a_row_and_a_stopped_batch_goes_on(photos, tmp_path, where):
    place = Storage(where if "://" in where else str(tmp_path / where))
    batch = Batch(str(photos), place, MakeOptions(), Stub())
    rows = {Path(row["photo"]).name: row for row in run_and_read_report(batch)}
    assert len(rows) == 6 and [row["state"] for row in rows.values()].count("done") == 4
    assert rows["3.png"]["error"] == "No head was found."
    earlier = Row("a", "a.png", "done", key="k").pack().replace(b'"error"', b'"sentence"')  # of an earlier version
    assert Row.unpack(earlier, "k") == Row("a", "a.png", "done", key="k")
    assert rows["4.png"]["error"] == "ZeroDivisionError: division by zero"
    assert place.read(f"{rows['1.png']['name']}/head") == b"photo 1 0 32"
    (photos / "3.png").write_text("a head after all")
    os.utime(photos / "1.png", (1, 1))
    place.write(f"{rows['2.png']['name']}/{ROW}", b'{"cut')  # as a kill leaves it
    again = {Path(row["photo"]).name: row["state"] for row in run_and_read_report(batch)}
    made = {"1.png": "done", "2.png": "done", "3.png": "done", "4.png": "failed"}
    assert again == made | {"0.png": "kept", "5.png": "kept"}
    other = run_and_read_report(Batch(str(photos), place, MakeOptions(seed=1), Stub()))
    assert [row["state"] for row in other].count("done") == 5  # another wish


def test_lists_say_what_is_wished_for_a_photo_alone(photos, tmp_path):
    (photos / "list.csv").write_text("photo,views,seed\n0.png,8,\n1.png,,5\n0.png,8,\n2.png,many,\n")
    rows = run_and_read_report(Batch(str(photos / "list.csv"), Storage(str(tmp_path / "out")), MakeOptions(), Stub()))
    heads = sorted((tmp_path / "out" / row["name"] / "head").read_text() for row in rows if row["state"] == "done")
    assert heads == ["photo 0 0 8", "photo 1 5 32"] and len(rows) == 3  # none twice
    assert [row["error"] for row in rows if row["state"] == "failed"] == [
        "views 'many' is not a valid number; correct it."
    ]
    listed = pa.table({"photo": ["0.png", "1.png"], "views": [8, None], "seed": [None, 5]})
    parquet.write_table(listed, photos / "list.parquet")
    of = {name: sorted(map(repr, read_items(str(photos / name)))) for name in ("list.csv", "list.parquet")}
    assert of["list.parquet"] == sorted({i for i in of["list.csv"] if "many" not in i})
    (photos / "list.txt").write_text("0.png\n\n1.png\n")
    assert [item.photo for item in read_items(str(photos / "list.txt"))] == [str(photos / f"{i}.png") for i in (0, 1)]
    assert len(list(read_items(str(photos / "[01]*")))) == 2 and len(list(read_items(str(photos)))) == 6


def test_lists_as_other_programs_save_them(photos):
    (photos / "excel.csv").write_bytes("\ufeffphoto,views,back\n0.png,8.0,1.png\n".encode())
    (item,) = read_items(str(photos / "excel.csv"))
    wish = item.apply_to(MakeOptions())
    assert (wish.views, wish.back) == (8, photos / "1.png")
    with pytest.raises(UserError, match="views '8.5' is not a valid number"):
        Item("x.png", (("views", "8.5"),)).apply_to(MakeOptions())
    for name, values, words in (
        ("comma.csv", b"photo,views\na,b.png,8\n", "line 2, has more cells than columns"),
        ("latin.csv", "photo\n\u00e9.png\n".encode("latin-1"), "save it again, as UTF-8"),
        ("cut.parquet", b"PAR1", "cannot be read"),
    ):
        (photos / name).write_bytes(values)
        with pytest.raises(UserError, match=words):
            list(read_items(str(photos / name)))


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e999", "9" * 5000, "seven"])
def test_numbers_that_are_none_are_one_short_sentence(text):
    for name in ("views", "seed", "azimuth"):
        with pytest.raises(UserError, match=rf"^{name} '{text[:40]}' is not a valid number; correct it.$"):
            Item("x.png", ((name, text),)).apply_to(MakeOptions())


def test_a_parquet_file_that_unpacks_to_more_than_it_is_is_refused(tmp_path, monkeypatch):
    """A text that is repeated stays one in a file, and thousands of rows of it would fill the memory."""
    texts = {"long": "x" * 20_000, "plain": "photo.png"}
    for name, text in texts.items():
        parquet.write_table(pa.table({"photo": [text] * 4000}), tmp_path / f"{name}.parquet", compression="zstd")
    assert (tmp_path / "long.parquet").stat().st_size < 10**5
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    with pytest.raises(UserError, match="a cell of more than 8192 bytes"):
        next(read_items(str(tmp_path / "long.parquet")))
    assert tracemalloc.get_traced_memory()[1] < 10**7 and pa.total_allocated_bytes() - before < 10**7
    tracemalloc.stop()
    assert len({item.name for item in read_items(str(tmp_path / "plain.parquet"))}) == 1
    monkeypatch.setattr(batch_inputs, "MAX_COLUMN_BYTES", 10)
    with pytest.raises(UserError, match="write smaller row groups"):
        next(read_items(str(tmp_path / "plain.parquet")))
    parquet.write_table(pa.table({"photo": [["a", "b"]]}), tmp_path / "nested.parquet")
    with pytest.raises(UserError, match="save it as text or numbers"):
        next(read_items(str(tmp_path / "nested.parquet")))


def test_a_head_that_is_made_anew_is_whole_or_nothing(photos, tmp_path):
    """What an earlier batch said of a folder does not outlive the first change in it."""
    place, one = Storage(str(tmp_path / "out")), str(photos / "0.png")
    (first,) = run_and_read_report(Batch(one, place, MakeOptions(), Stub()))
    (second,) = run_and_read_report(Batch(one, place, MakeOptions(seed=1), Halfway()))
    assert (first["state"], second["state"]) == ("done", "failed")
    (third,) = run_and_read_report(Batch(one, place, MakeOptions(), Stub()))
    assert third["state"] == "done" and place.read(f"{first['name']}/head") == b"photo 0 0 32"


def test_a_place_that_fails_once_costs_one_photo(photos, tmp_path, monkeypatch):
    place, times, write = Storage(str(tmp_path / "out")), iter(range(100)), Storage.write

    def fails(self, name, values):
        if next(times) == 1:
            raise OSError("gone for a moment")
        write(self, name, values)

    monkeypatch.setattr(Storage, "write", fails)
    rows = run_and_read_report(Batch(str(photos), place, MakeOptions(), Stub()))
    assert len(rows) == 6 and [row["state"] for row in rows].count("failed") == 3


def test_a_stopped_batch_leaves_the_table_of_what_was_done(photos, tmp_path):
    def stop(row):
        if row.photo.endswith("4.png"):
            raise KeyboardInterrupt

    place = Storage((tmp_path / "out").as_uri())  # file://
    with pytest.raises(KeyboardInterrupt):
        run_batch(Batch(str(photos), place, MakeOptions(), Stub()), Here(), stop)
    rows = parquet.read_table(io.BytesIO(place.read("report.parquet") or b"")).to_pylist()
    assert [row["state"] for row in rows] == ["done"] * 3 + ["failed"]


class Stopped:
    """An engine that is stopped after some photos."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, function, jobs):
        for item in islice(jobs, self.count):
            yield JobResult(item, Row(item.name, item.photo, "done"))
        raise Interrupted


def test_a_stopped_batch_says_how_far_it_came_and_keeps_an_earlier_table(photos, tmp_path):
    with pytest.raises(Interrupted, match=r"^Stopped after 2 of 6 photos; .*report\.csv\. Run the same"):
        make_all(str(photos), str(tmp_path / "out"), MakeOptions(), Stopped(2))
    table = (tmp_path / "out" / "report.csv").read_text()
    with pytest.raises(Interrupted, match=r"^Stopped after 0 of 6 photos\. Run the same command again to resume\.$"):
        make_all(str(photos), str(tmp_path / "out"), MakeOptions(), Stopped(0))
    assert (tmp_path / "out" / "report.csv").read_text() == table and table.count("\n") == 3


@dataclass(frozen=True)
class Halfway:
    def __call__(self, photo: str, folder: Path, wish: MakeOptions, on_event=ignore_event) -> None:
        (folder / "head").write_text("half")
        raise UserError("The disk is full.")


def test_names_are_of_one_photo_and_options_alone():
    names = [Item(p, o).name for p in ("a/x.png", "b/x.png", "b/x y?.png") for o in ((), (("seed", "1"),))]
    assert len(set(names)) == 6 and names[0] == Item("a/x.png").name and "/" not in "".join(names)
    assert names[4].startswith("x-y-")


def test_ten_thousand_cost_little_time_each(tmp_path):
    """What goes around the work itself."""
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(10_000)))
    begun = time.process_time()
    batch = Batch(str(tmp_path / "list.txt"), Storage(str(tmp_path / "out")), MakeOptions(), Missing())
    assert len(run_and_read_report(batch)) == 10_000 and time.process_time() - begun < 10_000 * 0.005


def test_memory_does_not_grow_with_the_list(tmp_path):
    """But for a number an item. Looked at when as many rows wait to be written."""
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(3_600)))
    batch, count, held = (
        Batch(str(tmp_path / "list.txt"), Storage(str(tmp_path / "out")), MakeOptions(), Missing()),
        0,
        [],
    )

    def on_row(row):
        nonlocal count
        count += 1
        if count in (500, 1_500, 2_500, 3_500):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    run_batch(batch, Here(), on_row)
    tracemalloc.stop()
    assert min(held[2] - held[1], held[3] - held[2]) < 1_000 * 150  # a library that is loaded on the way counts once


class Missing:
    def __call__(self, photo, folder, wish, on_event):
        raise UserError("There is none.")


def test_over_processes_the_same(photos, tmp_path):
    for name, engine in (("1", Here()), ("2", ProcessPool(2))):
        run_batch(Batch(str(photos), Storage(str(tmp_path / name)), MakeOptions(), Stub()), engine)
    one, two = ({f.relative_to(p): f.read_bytes() for f in p.rglob("head")} for p in (tmp_path / "1", tmp_path / "2"))
    assert one == two and len(one) == 4


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("nothing", "There is no file or folder"), ("*.none", "contains no photo"),
     ("none.csv", "There is no file"), ("bad.csv", "has no column 'photo'"),
     ("odd.csv", "an unknown column 'nose'"), ("x" * 300, "is not a valid file name")],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(tmp_path, inputs, words):
    (tmp_path / "bad.csv").write_text("path\nx.png\n")
    (tmp_path / "odd.csv").write_text("photo,nose\nx.png,long\n")
    with pytest.raises(UserError, match=words):
        main.app(["batch", str(tmp_path / inputs), "-o", str(tmp_path / "out")], standalone_mode=False)


def test_a_cluster_is_told_whole_paths(photos):
    for words in (["photos", "-o", "/out"], [str(photos), "-o", "out"]):
        with pytest.raises(UserError, match="give its absolute path"):
            main.app(["batch", *words, "--ray", "auto"], standalone_mode=False)


def run_command(monkeypatch, photos, output, *words):
    """Run `batch` in this process; a photo of text "photo 0" has views, others a head."""

    def make(photo, folder, options, on_event, *, overwrite):
        Stub()(photo, folder, options)
        if not Path(photo).read_text().endswith("0"):
            (folder / "head.glb").write_text("")

    monkeypatch.setattr(runner, "make", make)
    monkeypatch.setattr(cli_batch, "create_engine", lambda *_: Here())
    monkeypatch.setattr(cli_batch, "check_pictures", lambda inputs: None)  # the photos of these tests are texts
    return CliRunner().invoke(main.app, ["batch", str(photos), "-o", str(output), *words])


def test_the_command_names_what_it_skips_in_a_folder(photos, tmp_path, monkeypatch):
    for name in ("3.png", "4.png"):
        (photos / name).unlink()
    for name in ("a.mov", ".hidden", "notes.md"):
        (photos / name).write_text("")
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert done.stderr == "skipped 2 files that cannot be read as photos: a.mov, notes.md\n"
    for i in range(6):
        (photos / f"{i}.mov").write_text("")
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert done.exit_code == 0 and "skipped 8 files" in done.stderr and "3.mov, 4.mov and 3 more" in done.stderr


def test_a_photo_of_a_phone_that_cannot_be_read_has_a_row_that_says_what_to_do(tmp_path):
    """It is a photo of somebody: a batch that left it out without a word would look complete."""
    (tmp_path / "in").mkdir()
    shutil.copy(ASTRONAUT, tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    rows = run_and_read_report(Batch(str(tmp_path / "in"), Storage(str(tmp_path / "out")), MakeOptions(), open_photo))
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert "b.HEIC is a HEIC picture" in rows[1]["error"] and "JPEG" in rows[1]["error"]


def open_photo(photo: str, folder: Path, options: MakeOptions, on_event=ignore_event) -> None:
    check_picture(Path(photo))


@settings(max_examples=50, deadline=None)
@given(workers=st.integers(1, 6), count=st.integers(2, 60), kept=st.integers(0, 10), seed=st.integers(0, 999))
def test_the_time_left_of_a_batch_is_true_from_the_first_photo_and_hardly_rises(workers, count, kept, seed):
    """Workers that take the next photo as they are free; what an earlier batch made says nothing of the pace."""
    clock, rng = Clock(), np.random.default_rng(seed)
    countdown, forecast = Countdown(clock), Forecast(kept + count, workers, clock=clock)
    for _ in range(kept):
        forecast.add(Row("", "", "kept", seconds=60.0))
    free, ends = np.zeros(workers), []
    for _ in range(count):
        taken, k = 30 * rng.uniform(0.9, 1.1), int(free.argmin())
        free[k] += taken
        ends.append((free[k], taken))
    seen = []
    for end, taken in sorted(ends):
        while clock.now < end and forecast.made:
            seen.append((countdown.seconds(), free.max() - clock.now))
            clock.now += 1.0
        clock.now = end
        forecast.add(Row("", "", "done", seconds=taken, made="head"))
        countdown.report(*(forecast.seconds_left() or (0.0, 0.0)))
    seen = np.array(seen).reshape(-1, 2)
    assert (seen[1:, 0] <= 1.1 * np.minimum.accumulate(seen[:, 0])[:-1] + 1e-6).all()
    left, true = seen[seen[:, 1] > 18].T  # a photo may take 6 s more than the one before, which is a third of that
    assert (left < 1.5 * true).all() and (left > true / 1.5).all()


def test_a_photo_that_fails_at_once_says_nothing_of_those_in_progress():
    clock = Clock()
    forecast = Forecast(4, 2, guess=40.0, clock=clock)
    assert forecast.seconds_left() == (80.0, 40.0)  # before one has been made
    clock.now = 30.0
    forecast.add(Row("", "", "done", seconds=30.0, made="head"))
    forecast.add(Row("", "", "failed", seconds=0.0))
    assert forecast.rest == 2 and sorted(forecast.starts) == [0.0, 30.0]
    assert forecast.seconds_left() == (30.0, 30.0)
    for _ in range(2):
        forecast.add(Row("", "", "done", seconds=30.0, made="head"))
    assert forecast.seconds_left() == (0.0, 0.0)


def test_the_command_names_each_failed_photo_and_its_reason(photos, tmp_path, monkeypatch):
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert done.exit_code == 2
    assert "3 heads and views of 1 photo in" in done.stdout and "2 photos failed" in done.stdout
    failures = f"{photos / '3.png'}: No head was found.", f"{photos / '4.png'}: ZeroDivisionError: division by zero"
    for failure in failures:  # at once, and with the others at the end
        line = f"failed: {failure}\n"
        assert 0 <= done.output.find(line) < done.output.find(" photo in ") < done.output.rfind(line)
    for name in ("3.png", "4.png", "notes.md"):
        (photos / name).unlink()
    again = run_command(monkeypatch, photos, tmp_path / "out")
    assert again.exit_code == 0 and "4 kept from an earlier batch" in again.stdout and again.stderr == ""


def test_the_line_of_a_batch_says_what_each_living_worker_does(tmp_path):
    board = ActivityBoard(tmp_path)
    with runner._post_progress(board, "photos/anna.jpg") as on_event:
        on_event(Event("film", "begin"))
        assert board.describe() == "anna.jpg: video"
        on_event(Event("film", "step", "frame", 3, 8))  # too soon after the last
        assert board.describe() == "anna.jpg: video"
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        (tmp_path / str(ended.pid)).write_text("bob.jpg: views")
        (tmp_path / str(os.getppid())).write_text("eve.jpg: views")
        assert sorted(board.read()) == ["anna.jpg: video", "eve.jpg: views"]
    assert board.describe() == "eve.jpg: views"
    with runner._post_progress(ActivityBoard(tmp_path / "gone"), "anna.jpg") as on_event:
        on_event(Event("film", "begin"))  # a worker of another machine


def test_both_tables_say_the_same(photos, tmp_path, monkeypatch):
    (photos / 'a "b", c\n.png').write_text("bad")
    run_command(monkeypatch, photos, tmp_path)
    rows = parquet.read_table(tmp_path / "report.parquet").to_pylist()
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert table == [{name: str(value) for name, value in row.items()} for row in rows] and len(rows) == 7
    assert {Path(row["photo"]).name: row["made"] for row in rows} == {
        "0.png": "views", "1.png": "head", "2.png": "head", "3.png": "", "4.png": "", "5.png": "head",
        'a "b", c\n.png': "",
    }  # fmt: skip


def test_a_reason_that_names_the_photo_is_not_preceded_by_its_name(photos, tmp_path, monkeypatch):
    (photos / "3.png").write_text("torn")
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert f"failed: {photos / '3.png'} is damaged.\n" in done.stderr
    sentence = "No head was found in a/b.png: use another picture."
    assert runner.describe_failure("a/b.png", sentence) == f"failed: {sentence}"


def test_the_command_says_which_head_has_which_warning(photos, tmp_path, monkeypatch):
    said = {"1": ["The head is cut off."]}
    monkeypatch.setattr(runner, "read_warnings", lambda folder: said.get(folder.name.split("-")[0], []))
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert "1 with warnings" in done.stdout
    assert f"warning: {photos / '1.png'}: The head is cut off.\n" in done.stderr
    assert done.stderr.count("warning: ") == 1


def test_of_very_many_failures_the_first_are_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "MOST_FAILURES", 1)
    done = run_command(monkeypatch, photos, tmp_path / "out")
    assert done.stderr.count("failed: ") == 2 and "and 1 more; see " in done.stderr


@pytest.mark.slow
def test_by_the_command_line(tmp_path):
    done = CliRunner().invoke(
        main.app, ["batch", "examples", "-o", str(tmp_path / "out"), "--as", "views", "--views", "2", "--size", "64"]
    )
    assert done.exit_code == 0 and "views of 1 photo in" in done.output
