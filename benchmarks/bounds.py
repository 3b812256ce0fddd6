"""How good views could become if colours or shape of the unwrapped head were known, wholly or roughly.

python -m benchmarks.bounds [--count 12] [--processes 2]

The heads of `benchmarks.small`. Whatever replaces the proxy's own colours or radii, the photo stays where it can be
trusted.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.small import PROTOCOL, Row, print_means, render_views, run_for_all
from portrait360.evaluation.cases import FOCAL, make_synthetic_case, render_synthetic_photo
from portrait360.evaluation.measure import compare_with_truth
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import portrait_frame
from portrait360.pipeline.proxy.from_portrait import paste_photo, proxy_from_photo, sample_photos
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.proxy.texture_completion import map_gaussian
from portrait360.training.data.target_map import make_target_map, scan_head

Floats = NDArray[np.floating]

ROUGH = 12.0  # cells: of the map's 256 columns
FIGURES = ("PSNR inside", "SSIM inside", "IoU", "sharpness")


def measure(index: int) -> dict[str, Row]:
    case = make_synthetic_case(PROTOCOL, index)
    head, _, true, _ = render_synthetic_photo(PROTOCOL.heads, index, PROTOCOL.portrait)  # pyright: ignore[reportArgumentType]
    frame = portrait_frame(case.portrait, true, PROTOCOL.portrait)
    truth, proxy = make_target_map(scan_head(head, FOCAL), frame, LAYOUT), proxy_from_photo(case.portrait)
    rough = np.stack(
        [map_gaussian(channel, ROUGH, ROUGH) for channel in np.moveaxis(truth.rgb - proxy.colours, -1, 0)], -1
    )
    made = {
        "proxy": proxy,
        "true shape": change_proxy(case.portrait, proxy, truth.radius, proxy.colours),
        "true colours": change_proxy(case.portrait, proxy, proxy.radius, truth.rgb),
        "roughly true colours": change_proxy(case.portrait, proxy, proxy.radius, proxy.colours + rough),
        "both": change_proxy(case.portrait, proxy, truth.radius, truth.rgb),
    }
    cameras = [view.camera for view in case.targets]
    return {name: compare_with_truth(render_views(one, cameras), case.targets) for name, one in made.items()}


def change_proxy(portrait: Portrait, proxy: Proxy, radius: Floats, colours: Floats) -> Proxy:
    photos = sample_photos(portrait, np.asarray(radius, np.float32), clean=proxy.photo)
    return photos.proxy(portrait, radius, paste_photo(np.clip(colours, 0, 1), photos.all))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    rows = run_for_all(measure, a.count, a.processes)
    print(f"{a.count} heads; front / side / back")
    print_means(rows, FIGURES)


if __name__ == "__main__":
    main()
