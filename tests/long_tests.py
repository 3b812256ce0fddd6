"""Which tests are `long`: `make test` leaves them out, so that it takes minutes, and `make test-all` runs them.

    .venv/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" --durations 0 | tee durations.log
    .venv/bin/python -m tests.long_tests durations.log

writes the list anew: tests that take longer than LONGEST_TEST, and whole files whose fixtures take longer than
LONGEST_SETUP. Some stay in `make test` all the same: a photo goes through all stages once, and
published networks are compared with the authors' outputs.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
LONGEST_TEST, LONGEST_SETUP = 1.8, 4.7  # seconds on a quiet core
WHOLE_RUNS = ("tests/pipeline/test_avatar_run.py", "tests/pipeline/avatar/test_avatar.py")  # their fixtures are kept
KEPT = (
    "tests/pipeline/test_avatar_run.py::test_a_face_becomes_an_animatable_mesh_splats_a_page_and_a_film_without_a_fit",
    "tests/pipeline/avatar/test_avatar.py::test_the_photo_comes_back_at_its_own_camera",
    "tests/models/test_golden.py::test_outputs_are_those_of_the_published_networks",
)


def load_long_tests() -> frozenset[str]:
    """Return files and tests, as pytest names them without parameters."""
    return frozenset(LIST.read_text().split())


def is_long(name: str, long_tests: frozenset[str]) -> bool:
    return name.split("::")[0] in long_tests or name.split("[")[0] in long_tests


def find_long_tests(log: str, load: float = 1.0) -> list[str]:
    """Return the long tests of the durations that pytest printed, on a machine that was `load` times slower."""
    calls, setups = defaultdict(float), defaultdict(float)
    for seconds, phase, name in re.findall(r"(?m)^([\d.]+)s (call|setup) +(\S+)", log):
        test = name.split("[")[0]
        if phase == "call":
            calls[test] = max(calls[test], float(seconds) / load)
        else:
            setups[test.split("::")[0]] += float(seconds) / load
    files = [name for name, total in setups.items() if total > LONGEST_SETUP and name not in WHOLE_RUNS]
    tests = [name for name, most in calls.items() if most > LONGEST_TEST and name not in KEPT]
    return sorted([*files, *(name for name in tests if name.split("::")[0] not in files)])


if __name__ == "__main__":
    LIST.write_text("\n".join(find_long_tests(Path(sys.argv[1]).read_text(), *map(float, sys.argv[2:]))) + "\n")
