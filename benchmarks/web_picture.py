"""The picture of docs/web.md: the web app's page with the astronaut's head, in a real Chromium.

python -m benchmarks.web_picture -o docs/img/web.webp [--runs DIR]   DIR may hold a finished run, which is shown then
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.web import Server
from portrait360.utils.local_server import free_port
from tests.fixtures.chromium import Chromium, Frame, Tab
from tests.fixtures.web_page import appears

SIZE = 1280, 860
SECONDS = 1800  # that a run may take on a busy machine


def take_picture(runs: Path, profile: Path) -> np.ndarray:
    """Open the run that is there, or make the head of the example, and return the page with it."""
    with Server(runs, free_port(8880)) as server, Chromium(profile, seconds=SECONDS) as browser:
        tab = Tab(browser, *SIZE, online=True)
        tab.open(server.entrance)
        tab.run(appears(".p360-past"))  # it comes with the list of runs
        is_made = tab.run("!!document.querySelector('[data-run]')")
        tab.run("document.querySelector('[data-example=astronaut]').click()")
        tab.run(appears(".p360-trio", SECONDS))
        tab.run(f"document.querySelector({'[data-run]' if is_made else '#p360-make'!r}).click()")
        tab.run(appears(".p360-compare", SECONDS))
        frame = Frame(tab)
        while frame.run("window.portrait360?.mode()") != "splats":
            time.sleep(0.5)
        frame.run("portrait360.ready")
        still = "portrait360.setIdle(false).then(() => { document.getElementById('idle').checked = true; })"
        frame.run(still)  # on a slow machine what moves is drawn coarsely
        tab.run("scrollTo({top: 0, behavior: 'instant'})")
        time.sleep(2)  # the page of the head fades its controls in
        return tab.picture()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = take_picture(arguments.runs or Path(folder) / "runs", Path(folder) / "profile")
    Image.fromarray((255 * picture).astype(np.uint8)).save(arguments.output, quality=84, method=6)


if __name__ == "__main__":
    main()
