"""Synthetic heads: time of the first picture from a cold start, and views a second over two processes.

python benchmarks/synth.py [--identities 8] [--views 24] [--size 256] [--processes 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time

for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # one process is one core

FIRST = """
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.synth.build import build
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
render(build(sample(3, "human")), Camera(look_at(0), focal_from_fov(18.8)), 256)
"""


def views_of(seed: int, views: int, size: int) -> tuple[float, float, float]:
    """Seconds spent building, preparing and rendering one identity with all channels."""
    from portrait360.geometry.cameras import focal_from_fov, orbit
    from portrait360.synth.build import build
    from portrait360.synth.render.bake import prepare_scene
    from portrait360.synth.render.renderer import render
    from portrait360.synth.sampling.sampler import sample

    start = time.perf_counter()
    scene = build(sample(seed))
    built = time.perf_counter()
    prepared = prepare_scene(scene)
    ready = time.perf_counter()
    for camera in orbit(views, focal=focal_from_fov(18.8)):
        render(prepared, camera, size)
    return built - start, ready - built, time.perf_counter() - ready


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--identities", type=int, default=16)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST], check=True)
    print(f"first picture from a cold start: {time.perf_counter() - start:.1f} s")
    with multiprocessing.get_context("spawn").Pool(a.processes) as pool:
        pool.starmap(views_of, [(s, 1, a.size) for s in range(2 * a.processes)])  # warm
        start = time.perf_counter()
        times = pool.starmap(views_of, [(s, a.views, a.size) for s in range(a.identities)], chunksize=1)
        wall = time.perf_counter() - start
    built, prepared, rendered = (sum(t[i] for t in times) / a.identities for i in range(3))
    print(f"build {built * 1e3:.0f} ms, prepare {prepared * 1e3:.0f} ms an identity,", end=" ")
    print(f"render {rendered / a.views * 1e3:.1f} ms a view")
    print(f"{a.identities * a.views / wall:.1f} views/s at {a.size} x {a.size} over {a.processes} processes")


if __name__ == "__main__":
    main()
