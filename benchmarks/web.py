"""The web app under many uploads: does its memory grow, does a process stay behind, does every good upload end well?

python -m benchmarks.web [--count 50] [--views 4] [--folder DIR]

One upload after the other through the page's own API, views only: every tenth is no picture, every tenth is cancelled
while it is at work. A server that leaks with every upload shows it between the fifth and the last.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from portrait360.apps.web.form import VIEWS, fill_form
from portrait360.pipeline.options import MakeOptions

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.png"
BORDER = "portrait360-upload"


class Server:
    """`portrait360 serve` in a process of its own, and what a page says to it."""

    def __init__(self, folder: Path, port: int = 8870) -> None:
        command = [sys.executable, "-m", "portrait360", "serve", str(folder), "--port", str(port)]
        self.folder = folder
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        self.entrance = found[0]  # with the token that makes a browser known
        self.address, token = self.entrance.split("/?token=")
        self.headers = {"Cookie": f"portrait360-{self.address.rsplit(':', 1)[1]}={token}"}

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        """As Ctrl-C or a service manager does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def upload(self, data: bytes, name: str = "photo.png") -> str | None:
        """Where the server has put it; nothing if it was refused."""
        head = f'--{BORDER}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        body = head + data + f"\r\n--{BORDER}--\r\n".encode()
        answer = self._ask("/gradio_api/upload", body, f"multipart/form-data; boundary={BORDER}")
        return answer[0] if answer else None

    def make(self, place: str, views: int = 4, what: str = VIEWS, quick: bool = False) -> str | None:
        """The id of the run that was begun."""
        file = {"path": place, "meta": {"_type": "gradio.FileData"}}
        options = MakeOptions(views=views, quick=quick, results=() if what == VIEWS else None)
        return self._press("make", [file, None, *fill_form(options)])

    def cancel(self, id: str) -> None:
        self._press("cancel", [id, None])

    def job(self, id: str) -> dict[str, Any]:
        return self._ask(f"/jobs/{id}") or {}

    def wait_for_end(self, id: str, seconds: float = 120) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (job := self.job(id)).get("state") in ("waiting", "running") and time.monotonic() < end:
            time.sleep(0.1)
        return job

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def _press(self, button: str, data: list[Any]) -> str | None:
        answer = self._ask(f"/gradio_api/run/{button}", json.dumps({"data": data}).encode(), "application/json")
        return answer["data"][0] if answer else None

    def _ask(self, path: str, body: bytes | None = None, kind: str = "") -> Any:
        headers = self.headers | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):  # refused, perhaps before all was sent
            return None


def photos(count: int) -> list[tuple[str, bytes]]:
    """What is to become of them, and their bytes: no two are the same, so that nothing can be remembered."""
    out = []
    for i in range(count):
        kind = {3: "bad", 7: "cancelled"}.get(i % 10, "good")
        file = io.BytesIO()
        with Image.open(PHOTO) as image:
            picture = image.convert("RGB")
        picture.putpixel((0, 0), (i % 256, i // 256, 7))
        picture.save(file, "PNG")
        out.append((kind, f"This is text {i}.".encode() if kind == "bad" else file.getvalue()))
    return out


def measure(server: Server, count: int, views: int) -> None:
    ends: Counter[tuple[str, str]] = Counter()
    begin = time.perf_counter()
    for i, (kind, data) in enumerate(photos(count)):
        place = server.upload(data)
        id = server.make(place, views) if place else None
        if id is None:
            raise SystemExit(f"upload {i} was refused")
        if kind == "cancelled":
            while server.job(id).get("stage") != "proxy" and server.job(id).get("state") in ("waiting", "running"):
                time.sleep(0.1)
            server.cancel(id)
        ends[kind, server.wait_for_end(id).get("state", "lost")] += 1
        if i in (0, 4, count // 2, count - 1):
            print(
                f"{i + 1:4d} uploads: {server.memory() / 1e6:.0f} MB, {time.perf_counter() - begin:.0f} s", flush=True
            )
    for (kind, state), number in sorted(ends.items()):
        print(f"{number:4d} that were to be {kind} are {state}")
    kept = [entry for entry in server.folder.iterdir() if (entry / "sheet.png").is_file()]
    print(f"{len(kept):4d} runs in the folder, {len(list(server.folder.iterdir())) - len(kept)} other entries")
    print(f"{len(server.children()):4d} processes left over while it runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "runs"
        with Server(folder) as server:
            measure(server, options.count, options.views)
            place = server.upload(PHOTO.read_bytes())
            id = server.make(place, options.views) if place else None
            while id and not server.children():
                time.sleep(0.05)
            at_work = server.children()
            code = server.end()
            left = [process for process in at_work if psutil.pid_exists(process.pid)]
            print(
                f"{len(left):4d} of {len(at_work)} processes left over after it was ended at work (exit code {code})"
            )


if __name__ == "__main__":
    main()
