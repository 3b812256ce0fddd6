"""Many uploads to the web app, some of them bad or cancelled, leave no process, open file or folder behind."""

import os
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.web import Server, photos
from tests.fixtures.web_page import start_server, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="descriptors are read from /proc")]

COUNT, GOOD = 20, 20  # uploads; one in so many is made to its end, the others are bad or cancelled
KINDS = ("bad", "cancelled", "abandoned", "waiting", "cancelled at work")
ENDS = {"good": "done", "bad": "failed"}


def test_many_uploads_leave_nothing_behind(tmp_path, monkeypatch):
    """Counted after one upload of every kind, when what stays open for good has been opened, and at the end."""
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    uploads = [data for kind, data in photos(2 * COUNT) if kind == "good"][: COUNT + 6]
    with start_server(tmp_path / "runs") as server:
        for kind, data in zip(("good", *KINDS), uploads[COUNT:], strict=True):
            use(server, kind, data)
        assert until(lambda: not server.children(), 300)
        before, sockets, ends = take_stock(server, temporary), len(find_sockets(server)), Counter()
        for i, data in enumerate(uploads[:COUNT]):
            kind = "good" if i % GOOD == GOOD - 1 else KINDS[i % len(KINDS)]
            ends[kind, use(server, kind, data)] += 1
        assert set(ends) == {(kind, ENDS.get(kind, "cancelled")) for kind in ("good", *KINDS)}, ends
        same = until(lambda: take_stock(server, temporary) == before, 300, 0.5)
        assert same, (before, take_stock(server, temporary))
        assert len(find_sockets(server)) <= sockets
        runs = [entry.name for entry in server.folder.iterdir()]
        assert len(runs) == 1 + ends["good", "done"], runs  # the others made nothing, and left nothing
        assert server.end() == 0
    assert list(temporary.iterdir()) == []


def use(server: Server, kind: str, data: bytes) -> str:
    """Upload a photo and do with it what its kind says; the state in which that ends."""
    place = server.upload(b"This is no picture: " + data[-200:] if kind == "bad" else data)
    assert place is not None
    if kind == "abandoned":  # nobody presses Make
        return "cancelled"
    id = server.make(place, views=4)
    assert id is not None
    if kind == "waiting":  # behind another one
        second = server.make(place, views=4)
        assert second is not None
        server.cancel(second)
        assert server.wait_for_end(second)["state"] == "cancelled"
    if kind == "cancelled at work":
        assert until(lambda: server.job(id)["stage"], 300, 0.1)
    if kind not in ENDS:
        server.cancel(id)
    return server.wait_for_end(id, 1800)["state"]


def take_stock(server: Server, temporary: Path) -> dict[str, object]:
    """What a server has: processes, open files and pipes, and temporary files that are no uploads."""
    return {
        "processes": len(server.children()),
        "open": [name for name in find_open(server) if not of_a_loop(name)],
        "temporary": sorted(entry.name for entry in temporary.iterdir()),
        "locked": sorted(entry.name for entry in server.folder.rglob(".*")),
    }


def find_sockets(server: Server) -> list[str]:
    """Sockets and what waits for them: those of event loops that only the start needs are freed some time later."""
    return [name for name in find_open(server) if of_a_loop(name)]


def of_a_loop(name: str) -> bool:
    return name.startswith(("socket:", "anon_inode:[eventpoll]"))


def find_open(server: Server) -> list[str]:
    """What the descriptors of a server lead to."""
    out = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            out.append(os.readlink(path))
    return sorted(out)
