"""Refined heads against those that were fitted, on synthetic identities; and what each part of the method is worth.

python -m benchmarks.refine WEIGHTS -o DIR [--variants whole fig5 fig6 bounds] [--restorer WEIGHTS] [--count 20]
    [--steps 4] [--processes 2]

The first identities of synthetic-v1, 12 views each. `fitted` is the head that `make` fits, other rows what refining
makes of it; `fig5` and `fig6` are the ablations of Portrait Diffusion's figures 5 and 6; `bounds` tell how far the
head goes where it is led, by priors that know the proxy or the truth (turned as the portrait says). In DIR every head
leaves its fitted field and what was measured of each row, with which a stopped one goes on; take another one for
other weights or steps. `sheet.png` there has a line of views a row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.small import FIGURES, Row, print_means, render_views, run_for_all
from portrait360.evaluation.cases import Case, make_synthetic_case
from portrait360.evaluation.measure import (
    compare_with_truth,
    composite_over_grey,
    measure_feature_distances,
    measure_reference,
)
from portrait360.evaluation.methods import Method
from portrait360.evaluation.protocols import PROTOCOLS, band_of
from portrait360.geometry.cameras import Camera
from portrait360.geometry.volumes.radiance_field import RadianceField
from portrait360.models.hybrid_priors import BranchWeights
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.fit import fit_head, fit_settings
from portrait360.pipeline.refinement.denoising_guide import GuideView, SmallGuide
from portrait360.pipeline.refinement.noise_resampling import RefineConfig
from portrait360.pipeline.refinement.stage import RefineRequest, load_guide, refine_views
from portrait360.pipeline.views.pixel_latents import premultiply
from portrait360.pipeline.views.proxy_views import render_proxy_views
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.files import atomic_write
from portrait360.utils.images import load_picture, save_picture

PROTOCOL = replace(PROTOCOLS["synthetic-v1"], orbit=12)
WHOLE = RefineConfig()
NOISY = replace(WHOLE, strength=1.0)
VARIANTS = {
    "whole": {"whole": WHOLE},
    "fig5": {  # what the denoiser is led by
        "explicit alone": replace(WHOLE, led=BranchWeights(geometry=False, implicit=False)),
        "and geometry": replace(WHOLE, led=BranchWeights(implicit=False)),
        "whole": WHOLE,  # and the implicit branch
    },
    "fig6": {  # where noise comes from
        "fixed noise": replace(NOISY, noise="fixed", optimised=False),
        "random, low control": replace(NOISY, noise="random", optimised=False, led=BranchWeights(weight=0.5)),
        "random, high control": replace(NOISY, noise="random", optimised=False, led=BranchWeights(weight=1.5)),
        "anchors stay": replace(NOISY, optimised=False),
        "anchors move": NOISY,
    },
    "bounds": {"led by the proxy": WHOLE, "led by the truth": WHOLE},
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Knowing(SmallGuide):
    """Priors that know what every view is to become."""

    look: Method
    portrait: Portrait

    def priors(self, view: GuideView, driving: GuideView, driving_picture: Tensor) -> Any:
        (known,) = self.look(self.portrait, [view.camera], view.picture.shape[-1])
        return premultiply(known.rgb, known.alpha)[None]

    def denoise(self, latents: Tensor, level: float, priors: Any, coarse: Tensor, branches: BranchWeights) -> Tensor:
        return self.latents(priors, coarse)


def measure(
    index: int, weights: Path, variants: Sequence[str], restorer: Path | None, steps: int, output: Path
) -> dict[str, Row]:
    place = output / f"{index:03d}"
    asked = {name: replace(how, steps=steps) for one in variants for name, how in VARIANTS[one].items()}
    names = ("proxy", "fitted", *asked)
    if missing := [name for name in names if not (place / f"{name}.json").is_file()]:
        case = make_synthetic_case(PROTOCOL, index)
        make = maker(case, place, weights, restorer, asked)
        keep_line(place / "truth.png", case.targets)
        for name in missing:
            views = make(name)
            keep_line(place / f"{name}.png", views)
            with atomic_write(place / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(judge_views(case, views)))
    lines = [load_picture(place / f"{name}.png").rgb for name in ("truth", *names)]
    save_picture(place / "sheet.png", np.concatenate(lines))
    return {name: json.loads((place / f"{name}.json").read_text()) for name in names}


def maker(
    case: Case, place: Path, weights: Path, restorer: Path | None, asked: dict[str, RefineConfig]
) -> Callable[[str], list[View]]:
    """What gives the views of a row: at the targets' cameras, and the last at the photo's."""
    proxy = build_proxy(case.portrait, method="completed")
    sheet = render_proxy_views(case.portrait, proxy)
    cameras = [*(view.camera for view in case.targets), case.portrait.camera]
    field, guide = fit_field(sheet, place / "head"), load_guide(weights)
    assert case.oracle is not None
    looks = {
        "led by the proxy": lambda _, cameras, size: render_views(proxy, cameras, size),
        "led by the truth": case.oracle,
    }
    guides = {name: Knowing(network=guide.network, portrait=case.portrait, look=look) for name, look in looks.items()}

    def make(name: str) -> list[View]:
        if name == "proxy":
            return render_views(proxy, cameras)
        if name == "fitted":
            return [View(*field.render_image(camera, PROTOCOL.size)[:2], camera) for camera in cameras]
        refinery = RefineRequest(asked[name], weights, restorer)
        return list(refine_views(field, blank_views(sheet, cameras), guides.get(name, guide), refinery).views)

    return make


def keep_line(path: Path, views: Sequence[View]) -> None:
    save_picture(path, np.concatenate([composite_over_grey(view) for view in views[: PROTOCOL.orbit]], 1))


def fit_field(sheet: ViewSet, folder: Path) -> RadianceField:
    field = fit_head(sheet, fit_settings(0), folder=folder, results=()).field
    assert field is not None
    return field


def blank_views(sheet: ViewSet, cameras: Sequence[Camera]) -> ViewSet:
    """The views that are to be judged, whose pictures are not asked."""
    nothing = np.zeros((PROTOCOL.size, PROTOCOL.size, 3), np.float32)
    return replace(sheet, views=tuple(View(nothing, nothing[..., 0], camera) for camera in cameras))


def judge_views(case: Case, views: Sequence[View]) -> Row:
    """Of the views at the targets' cameras, and the last at the photo's."""
    own, bands = views[:-1], [band_of(view.camera.azimuth) for view in case.targets]
    ours, truth = ([composite_over_grey(view) for view in some] for some in (own, case.targets))
    return (
        compare_with_truth(own, case.targets)
        | measure_feature_distances(ours, truth, bands)
        | measure_reference(case, views[-1])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["whole"])
    parser.add_argument("--restorer", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--steps", type=int, default=WHOLE.steps)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    one = partial(
        measure, weights=a.weights, variants=a.variants, restorer=a.restorer, steps=a.steps, output=a.output
    )
    rows = run_for_all(one, a.count, a.processes)
    print(f"{a.count} heads, {PROTOCOL.orbit} views; front / side / back")
    print_means(rows, FIGURES)
    for name in rows[0]:
        at_photo = float(np.mean([row[name]["reference PSNR"] for row in rows]))
        print(f"{name:20s} reference PSNR {at_photo:.2f} dB")


if __name__ == "__main__":
    main()
