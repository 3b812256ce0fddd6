"""The small model's networks on identities that they have not learnt from: views against the truth, band by band.

python -m benchmarks.small [WEIGHTS...] [--views WEIGHTS...] [--plain] [--count 12] [--steps 1] [--processes 2]
    [--sheets DIR]

Portraits as those of synthetic-v1, but of the split for validation: what is chosen by these is judged by others.
Every weights file is one row beside the proxy and the oracle (the true head, turned as the portrait says). Those of
`--views` are view denoisers, which are shown the head as the package's own weights complete it; with `--plain` they
have another row each, in which they are shown the proxy as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from portrait360.cameras import Camera, orbit
from portrait360.completer import STEPS, complete_proxy, load_completer
from portrait360.engine import Processes, sure
from portrait360.evaluate.cases import synthetic
from portrait360.evaluate.measure import against_truth, distances, on_grey
from portrait360.evaluate.protocol import BANDS, PROTOCOLS, Heads, band_of
from portrait360.images import save_picture
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy, make_proxy
from portrait360.small_views import STEPS as VIEW_STEPS
from portrait360.small_views import ViewWeights, load_views, small_views
from portrait360.train.left_out import stranger
from portrait360.view_sheet import View

VIEWS, CLOSER = 12, 3
PROTOCOL = replace(PROTOCOLS["synthetic-v1"], heads=Heads(first=5_000_018), orbit=VIEWS)
FIGURES = ("PSNR inside", "SSIM inside", "IoU", "sharpness", "EffNet-lite0 feature distance")
Row = dict[str, float]


def measure(
    index: int, weights: list[Path], views: list[Path], plain: bool, steps: int, levels: int, sheets: Path | None
) -> dict[str, Row]:
    case = synthetic(PROTOCOL, index)
    cameras = [view.camera for view in case.targets]
    proxy = make_proxy(case.portrait)
    assert case.exact is not None
    made = {"oracle": case.exact(case.portrait, cameras, PROTOCOL.size), "proxy": rendered(proxy, cameras)}
    for path in weights:
        better = complete_proxy(case.portrait, proxy, network=load_completer(path), steps=steps)
        made[named(path)] = rendered(better, cameras)
    completed = complete_proxy(case.portrait, proxy) if views else proxy
    for path in views:
        made[named(path)] = refined(case.portrait, completed, cameras, load_views(path), levels)
        if plain:
            made[f"{named(path)}, plain"] = refined(case.portrait, proxy, cameras, load_views(path), levels)
    if sheets:
        rows = [np.concatenate([on_grey(view) for view in row], 1) for row in (case.targets, *made.values())]
        save_picture(sheets / f"{index:03d}.png", np.concatenate(rows))
    bands = [band_of(camera.azimuth) for camera in cameras]
    truth = [on_grey(view) for view in case.targets]
    return {
        name: against_truth(row, case.targets) | distances([on_grey(view) for view in row], truth, bands)
        for name, row in made.items()
    }


def named(path: Path) -> str:
    return path.parent.name if path.stem == "weights" else path.stem


def rendered(proxy: Proxy, cameras: Sequence[Camera], size: int = PROTOCOL.size) -> list[View]:
    seen = ((proxy.render(camera, size), camera) for camera in cameras)
    return [View(view.rgb, view.mask, camera) for view, camera in seen]


def refined(portrait: Portrait, proxy: Proxy, cameras: list[Camera], weights: ViewWeights, levels: int) -> list[View]:
    """Seen together with neighbours that are as near as those of an orbit are."""
    proxy = stranger() if "hint" in weights.without else proxy
    close = orbit(CLOSER * len(cameras), focal=cameras[0].focal)
    return small_views(portrait, proxy, close, weights, size=PROTOCOL.size, steps=levels)[::CLOSER]


def for_all(one: Callable[[int], dict[str, Row]], count: int, processes: int) -> list[dict[str, Row]]:
    """Of every head, by its place, the figures of all rows."""
    found = dict(sure(Processes(processes).run(one, range(count))))
    return [found[place] for place in range(count)]


def tell(rows: list[dict[str, Row]], figures: Sequence[str]) -> None:
    """Means over the heads, a line each row."""
    for name in rows[0]:
        cells = []
        for figure in figures:
            means = [np.mean([row[name][f"{figure}/{band}"] for row in rows]) for band in BANDS]
            cells.append(f"{figure} " + "/".join(f"{mean:.2f}" if mean > 2 else f"{mean:.3f}" for mean in means))
        print(f"{name:20s} {'   '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", type=Path)
    parser.add_argument("--views", nargs="+", type=Path, default=[])
    parser.add_argument("--plain", action="store_true", help="show view denoisers what is not completed, too")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--levels", type=int, default=VIEW_STEPS, help="of noise, of the view denoisers")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sheets", type=Path)
    a = parser.parse_args()
    if a.sheets:
        a.sheets.mkdir(parents=True, exist_ok=True)
    one = partial(
        measure, weights=a.weights, views=a.views, plain=a.plain, steps=a.steps, levels=a.levels, sheets=a.sheets
    )
    rows = for_all(one, a.count, a.processes)
    print(f"{a.count} heads, {VIEWS} views; front / side / back")
    tell(rows, FIGURES)


if __name__ == "__main__":
    main()
