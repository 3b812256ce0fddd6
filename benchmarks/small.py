"""The small model's networks on identities that they have not learnt from: views against the truth, band by band.

python -m benchmarks.small [WEIGHTS...] [--views WEIGHTS...] [--plain] [--count 12] [--steps 1] [--processes 2]
    [--arcs DIR] [--sheets DIR]

Portraits as those of synthetic-v1, but of the split for validation: what is chosen by these is judged by others.
Every weights file is one row beside the proxy and the oracle (the true head, turned as the portrait says). Those of
`--views` are view denoisers, which are shown the head as the package's own weights complete it; with `--plain` they
have another row each, in which they are shown the proxy as it is. With `--arcs` they are judged on samples instead,
beside the heads that these show them, like the avatars of `portrait360 train samples avatar-views --real 1`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.ablations import ablate_inputs, denoise_without, read_ablations
from portrait360.evaluation.cases import make_synthetic_case
from portrait360.evaluation.consistency import downscale_view, warp_error
from portrait360.evaluation.measure import (
    band_means,
    compare_with_truth,
    composite_over_grey,
    measure_feature_distances,
)
from portrait360.evaluation.protocols import BANDS, PROTOCOLS, Heads, band_of
from portrait360.geometry.cameras import Camera, orbit
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.learned_completion import STEPS, complete_with_network, load_completer
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.views.small_denoiser import STEPS as VIEW_STEPS
from portrait360.pipeline.views.small_denoiser import ViewInputs, as_view, denoise_prepared, load_view_weights
from portrait360.pipeline.views.view_set import View
from portrait360.training.data.identity_sampler import list_samples
from portrait360.training.data.view_arcs import VIEWS as ARC
from portrait360.training.data.view_arcs import ViewSample
from portrait360.training.tasks.view_denoiser import as_tensors, decode_views
from portrait360.utils.images import save_picture
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.parallel.scheduler import require_all

VIEWS, CLOSER = 12, 3
WARPED = 128  # pixels of a view that is compared with its neighbour
PROTOCOL = replace(PROTOCOLS["synthetic-v1"], heads=Heads(first=5_000_018), orbit=VIEWS)
FIGURES = ("PSNR inside", "SSIM inside", "IoU", "sharpness", "EffNet-lite0 feature distance")
Row = dict[str, float]


def measure(
    index: int, weights: list[Path], views: list[Path], plain: bool, steps: int, levels: int, sheets: Path | None
) -> dict[str, Row]:
    case = make_synthetic_case(PROTOCOL, index)
    cameras = [view.camera for view in case.targets]
    proxy = proxy_from_photo(case.portrait)
    assert case.oracle is not None
    made = {"oracle": case.oracle(case.portrait, cameras, PROTOCOL.size), "proxy": render_views(proxy, cameras)}
    for path in weights:
        better = complete_with_network(case.portrait, proxy, network=load_completer(path), steps=steps)
        made[name_weights(path)] = render_views(better, cameras)
    completed = complete_with_network(case.portrait, proxy) if views else proxy
    for path in views:
        made[name_weights(path)] = denoise_with(case.portrait, completed, cameras, path, levels)
        if plain:
            made[f"{name_weights(path)}, plain"] = denoise_with(case.portrait, proxy, cameras, path, levels)
    if sheets:
        rows = [
            np.concatenate([composite_over_grey(view) for view in row], 1) for row in (case.targets, *made.values())
        ]
        save_picture(sheets / f"{index:03d}.png", np.concatenate(rows))
    bands = [band_of(camera.azimuth) for camera in cameras]
    truth = [composite_over_grey(view) for view in case.targets]
    return {
        name: compare_with_truth(row, case.targets)
        | measure_feature_distances([composite_over_grey(view) for view in row], truth, bands, PROTOCOL.backbones)
        for name, row in made.items()
    }


def measure_arc(path: Path, views: list[Path], levels: int, sheets: Path | None) -> dict[str, Row]:
    """Compare the coarse head's views of a training sample, and what denoisers make of them, with the true ones."""
    arc = ViewSample.load(path)
    cameras = [Camera.from_label(label) for label in arc.cameras]
    row = as_tensors(arc, np.arange(len(cameras)))
    inputs = ViewInputs(row["proxy"], row["base"], row["hints"][:, 3:4], row["hints"], row["references"])
    true, coarse, _ = decode_views(row, row["changes"])
    truth, made = list(map(as_view, true, cameras)), {"coarse": list(map(as_view, coarse, cameras))}
    for weights in views:
        ablated = ablate_inputs(inputs, read_ablations(weights))
        made[name_weights(weights)] = denoise_prepared(ablated, cameras, load_view_weights(weights), steps=levels)
    if sheets:
        rows = [np.concatenate([composite_over_grey(view) for view in views], 1) for views in (truth, *made.values())]
        save_picture(sheets / f"{path.stem}.png", np.concatenate(rows))
    bands, pictures = [band_of(c.azimuth) for c in cameras], [composite_over_grey(view) for view in truth]
    return {
        name: compare_with_truth(row, truth)
        | measure_feature_distances([composite_over_grey(view) for view in row], pictures, bands, PROTOCOL.backbones)
        | band_means("warp error", bands[1:], measure_warps(row, arc.depth))
        for name, row in made.items()
    }


def measure_warps(views: Sequence[View], depth: np.ndarray) -> list[float]:
    """Return the error of every view of an arc against the one before it, warped by the coarse head's depth."""
    side, nearest = (WARPED, WARPED), cv2.INTER_NEAREST
    depths = [np.asarray(cv2.resize(d.astype(np.float32), side, interpolation=nearest)) for d in depth]
    small = [downscale_view(view, WARPED) for view in views]
    return [warp_error(small[i - 1], small[i], depths[i - 1], depths[i]) for i in range(1, len(views))]


def name_weights(path: Path) -> str:
    return path.parent.name if path.stem == "weights" else path.stem


def render_views(proxy: CoarseHead, cameras: Sequence[Camera], size: int = PROTOCOL.size) -> list[View]:
    seen = ((proxy.render(camera, size), camera) for camera in cameras)
    return [View(view.rgb, view.mask, camera) for view, camera in seen]


def denoise_with(portrait: Portrait, proxy: Proxy, cameras: list[Camera], path: Path, levels: int) -> list[View]:
    """Denoise with the inputs that the weights were trained with, beside neighbours as near as those of an orbit."""
    close, weights = orbit(CLOSER * len(cameras), focal=cameras[0].focal), load_view_weights(path)
    views = denoise_without(portrait, proxy, close, weights, read_ablations(path), size=PROTOCOL.size, steps=levels)
    return views[::CLOSER]


def run_for_all(one: Callable[[int], dict[str, Row]], count: int, processes: int) -> list[dict[str, Row]]:
    """Of every head, by its place, the figures of all rows."""
    found = dict(require_all(ProcessPool(processes).run(one, range(count))))
    return [found[place] for place in range(count)]


def print_means(rows: list[dict[str, Row]], figures: Sequence[str]) -> None:
    """Means over the heads, a line each row."""
    for name in rows[0]:
        cells = []
        for figure in figures:
            found = [[row[name].get(f"{figure}/{band}", np.nan) for row in rows] for band in BANDS]
            means = [np.nanmean(values) if np.isfinite(values).any() else np.nan for values in found]
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
    parser.add_argument("--arcs", type=Path, help="folder of samples on which view denoisers are judged")
    parser.add_argument("--sheets", type=Path)
    a = parser.parse_args()
    if a.sheets:
        a.sheets.mkdir(parents=True, exist_ok=True)
    if a.arcs:
        paths = list_samples(a.arcs, "avatar-views")[: a.count]
        on_arc = partial(measure_arc, views=a.views, levels=a.levels, sheets=a.sheets)
        found = dict(require_all(ProcessPool(a.processes).run(on_arc, paths)))
        print(f"{len(paths)} arcs of {ARC} views; front / side / back")
        print_means([found[path] for path in paths], (*FIGURES, "warp error"))
        return
    one = partial(
        measure, weights=a.weights, views=a.views, plain=a.plain, steps=a.steps, levels=a.levels, sheets=a.sheets
    )
    rows = run_for_all(one, a.count, a.processes)
    print(f"{a.count} heads, {VIEWS} views; front / side / back")
    print_means(rows, FIGURES)


if __name__ == "__main__":
    main()
