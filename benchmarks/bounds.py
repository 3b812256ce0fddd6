"""How good views could become if colours or shape of the unwrapped head were known, wholly or roughly.

python -m benchmarks.bounds [--count 12] [--processes 2]

The heads of `benchmarks.small`. Whatever replaces the proxy's own colours or radii, the photo stays where it can be
trusted.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.small import PROTOCOL, Row, for_all, rendered, tell
from portrait360.evaluate.cases import FOCAL, portrayed, synthetic
from portrait360.evaluate.measure import against_truth
from portrait360.geometry.completion import around
from portrait360.portrait import Portrait
from portrait360.proxy import LAYOUT, Proxy, make_proxy, on_surface, pasted
from portrait360.synth.portrayed import frame_of
from portrait360.train.truth_map import scan, truth_map

Floats = NDArray[np.floating]

ROUGH = 12.0  # cells: of the map's 256 columns
FIGURES = ("PSNR inside", "SSIM inside", "IoU", "sharpness")


def measure(index: int) -> dict[str, Row]:
    case = synthetic(PROTOCOL, index)
    head, _, true, _ = portrayed(PROTOCOL.heads, index, PROTOCOL.portrait)  # pyright: ignore[reportArgumentType]
    frame = frame_of(case.portrait, true, PROTOCOL.portrait)
    truth, proxy = truth_map(scan(head, FOCAL), frame, LAYOUT), make_proxy(case.portrait)
    rough = np.stack([around(channel, ROUGH, ROUGH) for channel in np.moveaxis(truth.rgb - proxy.colours, -1, 0)], -1)
    made = {
        "proxy": proxy,
        "true shape": replaced(case.portrait, proxy, truth.radius, proxy.colours),
        "true colours": replaced(case.portrait, proxy, proxy.radius, truth.rgb),
        "roughly true colours": replaced(case.portrait, proxy, proxy.radius, proxy.colours + rough),
        "both": replaced(case.portrait, proxy, truth.radius, truth.rgb),
    }
    cameras = [view.camera for view in case.targets]
    return {name: against_truth(rendered(one, cameras), case.targets) for name, one in made.items()}


def replaced(portrait: Portrait, proxy: Proxy, radius: Floats, colours: Floats) -> Proxy:
    photos = on_surface(portrait, np.asarray(radius, np.float32), clean=proxy.photo)
    return photos.proxy(portrait, radius, pasted(np.clip(colours, 0, 1), photos.all))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    rows = for_all(measure, a.count, a.processes)
    print(f"{a.count} heads; front / side / back")
    tell(rows, FIGURES)


if __name__ == "__main__":
    main()
