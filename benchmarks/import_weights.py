"""Peak memory and time of `weights import` on a full-size file with random weights.

    python -m benchmarks.import_weights [--system back-head] [--folder DIR]

Needs disk for the file and its fp16 copy (diffportrait360: 10.9 + 5.2 GB) and, to make the file, as much memory.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from portrait360.models.weights.importer import import_weights
from portrait360.models.weights.registry import COMPONENTS, MODEL_SPECS, TEXT


def group_bytes(system: str) -> dict[str, int]:
    """Bytes of each tensor group in the fp32 file."""
    expected = MODEL_SPECS[system].expected_tensors()
    prefixes = {**COMPONENTS, "text": TEXT}
    return {
        group: sum(math.prod(s.shape) * s.dtype.itemsize for name, s in expected.items() if name.startswith(prefix))
        for group, prefix in prefixes.items()
    }


def make_file(system: str, path: Path) -> None:
    state = {
        name: torch.full(s.shape, 0.01, dtype=s.dtype) for name, s in MODEL_SPECS[system].expected_tensors().items()
    }
    torch.save(state, path)


def peak_memory() -> int:
    """Bytes; counted from this program's start, which ru_maxrss is not."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def measure(path: Path, target: Path) -> None:
    before = peak_memory()
    start = time.perf_counter()
    import_weights(path, target)
    print(f"{time.perf_counter() - start} {peak_memory()} {before}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="diffportrait360", choices=sorted(MODEL_SPECS))
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(*arguments.measure)
    groups = group_bytes(arguments.system)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "model.th"
        run = [sys.executable, "-m", "benchmarks.import_weights", "--system", arguments.system]
        subprocess.run([sys.executable, "-c", MAKE, arguments.system, str(path)], check=True)
        size = path.stat().st_size
        out = subprocess.run(
            [*run, "--measure", str(path), f"{folder}/out"], check=True, capture_output=True, text=True
        )
        seconds, peak, before = (float(word) for word in out.stdout.split())
    largest = max(groups, key=lambda name: groups[name])
    print("groups in the file, GB:", ", ".join(f"{name} {size / 1e9:.2f}" for name, size in groups.items()))
    print(f"file {size / 1e9:.2f} GB, {seconds:.0f} s, {size / seconds / 1e6:.0f} MB/s")
    print(f"peak resident memory {peak / 1e9:.2f} GB, of which {before / 1e9:.2f} GB before the import began")
    print(f"peak / largest group ({largest}): {peak / groups[largest]:.2f} (limit 1.3)")


MAKE = "import sys; from pathlib import Path; from benchmarks.import_weights import make_file; "
MAKE += "make_file(sys.argv[1], Path(sys.argv[2]))"

if __name__ == "__main__":
    main()
