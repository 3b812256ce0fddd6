"""Measure what one reading of a portrait costs on one core: seconds, and memory beyond that of torch.

python -m benchmarks.reader_cost [PHOTO] [--count 9]

On a machine with other work the seconds of CPU time are what a quiet core would take, as nothing waits for anything.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from portrait360.models.portrait_reader import load_reader
from portrait360.pipeline.reading.reading import read_picture
from portrait360.utils.images import load_picture

PHOTO = Path("examples/astronaut.png")
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, nargs="?", default=PHOTO)
    parser.add_argument("--count", type=int, default=9, help="readings, of which the median counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rgb = load_picture(args.photo).rgb
    side = min(rgb.shape[:2])
    square = np.ascontiguousarray(rgb[:side, :side])
    torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 32, 32))  # what torch takes with its first convolution is torch's
    before = psutil.Process().memory_info().rss
    start = time.process_time()
    network = load_reader()
    loading = time.process_time() - start
    seconds = []
    for _ in range(args.count):
        start = time.process_time()
        read_picture(square, network)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(f"loading {loading:.2f} s; a reading {np.median(seconds):.2f} s (first {seconds[0]:.2f} s) of CPU time")
    print(f"{peak / MB:.0f} MB beyond torch, weights included")


if __name__ == "__main__":
    main()
