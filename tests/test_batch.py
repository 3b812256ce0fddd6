"""Batches: every photo once, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from portrait360 import cli
from portrait360.batch.inputs import Item, items_of
from portrait360.batch.report import Journal, Row
from portrait360.batch.work import Batch, run_batch
from portrait360.engine import Done, Processes
from portrait360.errors import UserError
from portrait360.wish import Wish


@dataclass(frozen=True)
class Stub:
    """Stands for `make`: writes what it was asked."""

    said: str = ""

    def __call__(self, photo: str, folder: Path, wish: Wish) -> None:
        text = Path(photo).read_text()
        if text == "bad":
            raise UserError("No head was found.")
        if text == "odd":
            raise ZeroDivisionError("division by zero")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "head").write_text(f"{text} {wish.seed} {wish.views}{self.said}")


class Here:
    """An engine without processes."""

    def run(self, function, jobs):
        for job in jobs:
            yield Done(job, function(job))


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_text({3: "bad", 4: "odd"}.get(i, f"photo {i}"))
    (folder / "notes.md").write_text("no picture")
    return folder


def table(path: Path) -> list[dict]:
    return parquet.read_table(path).to_pylist()


def test_one_bad_photo_is_a_row_and_a_stopped_batch_goes_on(photos, tmp_path):
    batch = Batch(str(photos), tmp_path / "out", Wish(), Stub())
    rows = {row["photo"]: row for row in table(run_batch(batch, Here()))}
    assert len(rows) == 6 and [row["state"] for row in rows.values()].count("done") == 4
    assert rows[str(photos / "3.png")]["sentence"] == "No head was found."
    assert rows[str(photos / "4.png")]["sentence"] == "ZeroDivisionError: division by zero"
    assert (tmp_path / "out" / rows[str(photos / "1.png")]["name"] / "head").read_text() == "photo 1 0 32"
    (photos / "3.png").write_text("a head after all")
    os.utime(photos / "1.png", (1, 1))
    again: list[Row] = []
    assert len(table(run_batch(batch, Here(), again.append))) == 6
    assert {Path(row.photo).name: row.state for row in again} == {"1.png": "done", "3.png": "done", "4.png": "failed"}
    other: list[Row] = []
    run_batch(Batch(str(photos), tmp_path / "out", Wish(seed=1), Stub()), Here(), other.append)
    assert len(other) == 6  # another wish


def test_a_line_that_a_kill_has_cut_is_made_again(photos, tmp_path):
    batch = Batch(str(photos), tmp_path / "out", Wish(), Stub())
    run_batch(batch, Here())
    journal = tmp_path / "out" / "report.jsonl"
    journal.write_text(journal.read_text()[:-20])
    again: list[Row] = []
    assert len(table(run_batch(batch, Here(), again.append))) == 6 and len(again) == 3
    assert all(json.loads(line) for line in journal.read_text().splitlines()[-3:])


def test_lists_say_what_is_wished_for_a_photo_alone(photos, tmp_path):
    (photos / "list.csv").write_text("photo,views,seed\n0.png,8,\n1.png,,5\n0.png,8,\n2.png,many,\n")
    rows = table(run_batch(Batch(str(photos / "list.csv"), tmp_path / "out", Wish(), Stub()), Here()))
    heads = sorted((tmp_path / "out" / row["name"] / "head").read_text() for row in rows if row["state"] == "done")
    assert heads == ["photo 0 0 8", "photo 1 5 32"] and len(rows) == 3  # none twice
    assert [row["sentence"] for row in rows if row["state"] == "failed"] == [
        "views 'many' does not work; give a number."
    ]
    listed = pa.table({"photo": ["0.png", "1.png"], "views": [8, None], "seed": [None, 5]})
    parquet.write_table(listed, photos / "list.parquet")
    of = {name: sorted(map(repr, items_of(str(photos / name)))) for name in ("list.csv", "list.parquet")}
    assert of["list.parquet"] == sorted({i for i in of["list.csv"] if "many" not in i})
    (photos / "list.txt").write_text("0.png\n\n1.png\n")
    assert [item.photo for item in items_of(str(photos / "list.txt"))] == [str(photos / f"{i}.png") for i in (0, 1)]
    assert len(list(items_of(str(photos / "[01]*")))) == 2 and len(list(items_of(str(photos)))) == 6


def test_names_are_of_one_photo_and_options_alone():
    names = [Item(p, o).name for p in ("a/x.png", "b/x.png", "b/x y?.png") for o in ((), (("seed", "1"),))]
    assert len(set(names)) == 6 and names[0] == Item("a/x.png").name and "/" not in "".join(names)
    assert names[4].startswith("x-y-")


def test_ten_thousand_cost_little_time_each(tmp_path):
    """What goes around the work itself."""
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(10_000)))
    begun = time.process_time()
    batch = Batch(str(tmp_path / "list.txt"), tmp_path / "out", Wish(), Missing())
    rows = parquet.read_table(run_batch(batch, Here()))
    assert rows.num_rows == 10_000 and time.process_time() - begun < 10_000 * 0.005


class Missing:
    def __call__(self, photo, folder, wish):
        raise UserError("There is none.")


def test_over_processes_the_same(photos, tmp_path):
    for workers in (1, 2):
        run_batch(Batch(str(photos), tmp_path / f"{workers}", Wish(), Stub()), Processes(workers))
    one, two = ({f.relative_to(p): f.read_bytes() for f in p.rglob("head")} for p in (tmp_path / "1", tmp_path / "2"))
    assert one == two and len(one) == 4


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("nothing", "names no photo"), ("none.csv", "There is no file"), ("bad.csv", "has no column 'photo'"),
     ("odd.csv", "a column 'hair'")],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(tmp_path, inputs, words):
    (tmp_path / "bad.csv").write_text("path\nx.png\n")
    (tmp_path / "odd.csv").write_text("photo,hair\nx.png,long\n")
    with pytest.raises(UserError, match=words):
        cli.app(["batch", str(tmp_path / inputs), "-o", str(tmp_path / "out")], standalone_mode=False)


def test_the_journal_tells_the_last_word(tmp_path):
    journal = Journal(tmp_path)
    for state in ("failed", "done"):
        journal.add(Row("a", "a.png", state, key="k"))
    assert journal.finished() == {"a": "k"}
    assert [row["state"] for row in table(journal.write_table())] == ["done"]


@pytest.mark.slow
def test_by_the_command_line(tmp_path):
    done = CliRunner().invoke(
        cli.app, ["batch", "examples", "-o", str(tmp_path / "out"), "--no-fit", "--views", "2", "--size", "64"]
    )
    assert done.exit_code == 0 and "1 heads in" in done.output
