"""What each step of the avatar contributes: the heads of synthetic-v1 with one left out, or with the truth told.

python -m benchmarks.avatar_ablations [--without STEP]... [--with TRUTH]... [--limit 12] [-o DIR]

Without options all of them are measured beside the full avatar, in one process. The table is that of
`portrait360 eval`, by the same code; it is printed, and written to DIR with a sheet. What has been measured is not
measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.evaluation.cases import Case, render_synthetic_photo
from portrait360.evaluation.methods import Method
from portrait360.evaluation.protocols import Protocol, find_protocol
from portrait360.evaluation.report import write_report
from portrait360.evaluation.runner import Job, image_strip, load_result, save_result, try_measure
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.ablation import FULL, Ablation, to_probabilities
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar, make_avatar
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.avatar.overrules import HAIR_COLOURS, NOTHING, Overrules, check_tree
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import portrait_frame
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.views.view_set import View
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import over_grey, save_picture

STEPS = tuple(field.name for field in fields(Ablation))
TRUTHS = {"parameters": "true hair, beard, hat, glasses and clothes", "labels": "true labels of all pixels"}
NAMED: dict[str, tuple[str, ...]] = {  # what the true parameters tell: shapes, for the photo shows the colours
    "hair": tuple(field.name for field in fields(Hair) if field.name not in HAIR_COLOURS),
    "facial": ("brow_weight", "brow_arch", "beard", "beard_length"),
    "wear": ("hat", "glasses", "earrings", "nose_stud"),
    "clothes": ("collar", "pattern", "necklace", "drop"),
}

Change = Callable[[Portrait], Portrait]


def render_avatar(
    portrait: Portrait,
    cameras: Sequence[Camera],
    size: int,
    *,
    ablation: Ablation = FULL,
    overrules: Overrules = NOTHING,
    change: Change = lambda portrait: portrait,
) -> list[View]:
    """Render the avatar with a step left out or told the truth; what has no face becomes the usual proxy."""
    if not can_fit_avatar(portrait):
        head = build_proxy(portrait)
    else:
        head = make_avatar(change(portrait), proxy_from_photo(portrait), overrules=overrules, ablation=ablation)
    renders = [(head.render(camera, size), camera) for camera in cameras]
    return [View(rendered.rgb, rendered.mask, camera) for rendered, camera in renders]


def find_true_overrules(protocol: Protocol, index: int) -> Overrules:
    """Return what a synthetic case is, as far as it can be named; nothing of animals."""
    heads = protocol.heads
    assert heads is not None
    parameters = sample(heads.first + heads.step * index, heads.kinds[index % len(heads.kinds)])
    return NOTHING if parameters.animal is not None else Overrules(name_shapes(parameters), is_shown=True)


def name_shapes(parameters: HeadParameters) -> dict[str, Any]:
    """Return the part of the tree that says what a head has, not its colours."""
    tree = json.loads(parameters.to_json())
    return check_tree({part: {n: tree[part][n] for n in names} for part, names in NAMED.items()}, "the true head")


def tell_true_labels(portrait: Portrait, protocol: Protocol, index: int) -> Portrait:
    """Return the portrait of a synthetic case with the true labels of its pixels; all else is as it was read."""
    assert protocol.heads is not None and portrait.reading is not None
    head, _, photo_camera, _ = render_synthetic_photo(protocol.heads, index, protocol.portrait)
    size, reading = len(portrait.rgb), portrait.reading
    frame = portrait_frame(portrait, photo_camera, protocol.portrait)
    labels = np.asarray(render(head, frame.camera(portrait.camera), size).labels, np.uint8)
    flow = np.moveaxis(cut_centre(np.moveaxis(reading.flow, -1, 0), portrait.reading_scale, size), 0, -1)
    reading = replace(reading, probabilities=to_probabilities(labels), flow=flow)
    return replace(portrait, reading=reading, reading_scale=1.0)


def find_methods(without: Sequence[str], truths: Sequence[str]) -> dict[str, Callable[[Protocol, int], Method]]:
    """Return for each name what makes the method of a case."""
    methods: dict[str, Callable[[Protocol, int], Method]] = {"full": lambda protocol, index: render_avatar}
    for step in without:
        methods[f"no {step}"] = partial(_leave_out, Ablation(**{step: False}))
    if "parameters" in truths:
        methods["true parameters"] = lambda protocol, index: partial(
            render_avatar, overrules=find_true_overrules(protocol, index)
        )
    if "labels" in truths:
        methods["true labels"] = lambda protocol, index: partial(
            render_avatar, change=partial(tell_true_labels, protocol=protocol, index=index)
        )
    return methods


def _leave_out(ablation: Ablation, protocol: Protocol, index: int) -> Method:
    return partial(render_avatar, ablation=ablation)


def save_pictures(case: Case, folder: Path) -> None:
    """Save what the sheet shows beside the methods."""
    save_picture(folder / "photo.png", image_strip([over_grey(case.portrait.rgb, case.portrait.alpha)]))
    save_picture(folder / "truth.png", image_strip([over_grey(view.rgb, view.alpha) for view in case.targets]))


def measure_all(
    protocol: Protocol, methods: dict[str, Callable[[Protocol, int], Method]], limit: int, output: Path
) -> str:
    """Measure all methods on the first cases, and return the report."""
    jobs = [Job(protocol.name, f"{i:03d}", "synthetic", None, i, tuple(methods)) for i in range(limit)]
    cases, command = output / "cases", f"python -m benchmarks.avatar_ablations --limit {limit}"
    for job in jobs:
        folder = cases / job.name
        missing = [name for name in methods if load_result(folder, name, job.key) is None]
        if not missing:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        case = job.load_case()
        save_pictures(case, folder)
        for name in missing:
            outcome = try_measure(protocol, case, methods[name](protocol, job.index))
            save_result(folder, name, job.key, case.kind, outcome)
            print(f"{job.name} {case.kind}: {name}", flush=True)
    write_report(protocol, jobs, cases, output, command)
    return (output / "report.md").read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", action="append", choices=STEPS, help="can be repeated", default=None)
    parser.add_argument(
        "--with", dest="truths", action="append", choices=TRUTHS, default=None,
        help="; ".join(f"{name}: {text}" for name, text in TRUTHS.items()),
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, default=Path("ablations"))
    a = parser.parse_args()
    asked = a.without is not None or a.truths is not None
    methods = find_methods((a.without or ()) if asked else STEPS, (a.truths or ()) if asked else tuple(TRUTHS))
    protocol = find_protocol("synthetic-v1")
    run_entry_point(lambda: print(measure_all(protocol, methods, a.limit, a.output)))


if __name__ == "__main__":
    main()
