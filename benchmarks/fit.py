"""Field, splats and mesh against the truth: synthetic heads of all kinds, 32 views in, 40 others out.

python -m benchmarks.fit [--count 10] [--first 0] [--damaged] [--sheets DIR]

In: an orbit of 32 views at 256 x 256. Out: the 32 cameras between them, and 8 at elevation +20 and -20, whose tops
and undersides no view has seen. PSNR is over the whole picture on grey; "inside" counts the true matte alone. The
splats begin on the field, so that their seconds do not include its own; the mesh is taken from the field, too.
`--damaged` shifts every view by up to a pixel, changes its colours, and blurs one in ten.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.evaluation.image_metrics import mask_iou, psnr
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.gaussians.rasterizer import render_image
from portrait360.pipeline.export.writer import render_mesh
from portrait360.pipeline.reconstruction.fit import FitSettings, sample_surface
from portrait360.pipeline.reconstruction.gaussians import fit_splats, init_splats
from portrait360.pipeline.reconstruction.mesh import fit_mesh
from portrait360.pipeline.reconstruction.radiance_field import fit_field
from portrait360.pipeline.reconstruction.view_corrections import correct_views
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.images import over_grey, save_picture

FIRST = 400_000  # seeds that nothing else uses
SIZE, HEAD, VIEWS = 256, 0.46, 32
FOCAL = focal_from_fov(FOV)
Row = dict[str, float]


def cameras() -> list[Camera]:
    """32 in, 32 between them, 8 from above and below."""
    tilted = [Camera(look_at(90 * k + (45 if e < 0 else 0), e), FOCAL) for e in (20, -20) for k in range(4)]
    return orbit(VIEWS, focal=FOCAL) + orbit(VIEWS, start=180 / VIEWS, focal=FOCAL) + tilted


def damage_views(views: list[View], rng: np.random.Generator) -> list[View]:
    out = []
    for i, view in enumerate(views):
        both = np.concatenate([view.rgb * view.alpha[..., None], view.alpha[..., None]], -1)
        moved = np.array([[1, 0, rng.uniform(-1, 1)], [0, 1, rng.uniform(-1, 1)]])
        both = cv2.warpAffine(both, moved, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
        if i % 10 == 3:
            both = cv2.GaussianBlur(both, (0, 0), 1.5)
        rgb = both[..., :3] / np.maximum(both[..., 3:], 1e-3) * rng.uniform(0.92, 1.08, 3) + rng.uniform(
            -0.03, 0.03, 3
        )
        out.append(replace(view, rgb=rgb.clip(0, 1).astype(np.float32), alpha=both[..., 3].clip(0, 1)))
    return out


def measure(seed: int, harm: bool, sheet: Path | None) -> Row:
    parameters = sample(seed, "any")
    head = prepare_scene(build(parameters))
    truth = [(c, render(head, c, SIZE)) for c in cameras()]
    views = [View(t.rgb, t.alpha, c) for c, t in truth[:VIEWS]]
    if harm:
        views = damage_views(views, np.random.default_rng(seed))
    settings, row = FitSettings(), {}
    begin = time.perf_counter()
    field, corrections = fit_field(views, settings.field)
    views = correct_views(views, corrections)
    row["field seconds"] = time.perf_counter() - begin
    start = init_splats(*sample_surface(field, views), settings.splats.count, np.random.default_rng(0))
    splats = fit_splats(start, views, settings.splats)
    row["splats seconds"] = time.perf_counter() - begin - row["field seconds"]
    mesh = fit_mesh(field, views, settings.mesh)
    row["mesh seconds"] = time.perf_counter() - begin - row["field seconds"] - row["splats seconds"]
    shows = {
        "field": lambda camera: field.render_image(camera, SIZE),
        "splats": lambda camera: render_image(splats, camera, SIZE),
        "mesh": lambda camera: (*render_mesh(mesh, camera, SIZE), mesh.draw(camera, SIZE).buffers.depth),
    }
    rows = []
    for name, show in shows.items():
        pictures = [show(c) for c, _ in truth[VIEWS:]]
        row |= compare_pictures(name, pictures, [t for _, t in truth[VIEWS:]])
        rows.append(np.concatenate([over_grey(p[0], p[1]) for p in pictures[::6]], 1))
    if sheet:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        rows.append(np.concatenate([over_grey(t.rgb, t.alpha) for _, t in truth[VIEWS::6]], 1))
        save_picture(sheet, np.concatenate(rows).clip(0, 1))
    print(seed, parameters.kind, {k: round(float(v), 4) for k, v in row.items()}, flush=True)
    return row


def compare_pictures(name: str, pictures: list, truth: list) -> Row:
    errors, inside, depths, covers = [], [], [], []
    for (rgb, alpha, depth), goal in zip(pictures, truth, strict=True):
        ours, true, solid = over_grey(rgb, alpha), over_grey(goal.rgb, goal.alpha), goal.alpha > 0.5
        errors.append(psnr(ours, true))
        inside.append(psnr(ours, true, solid))
        both = (alpha > 0.5) & solid & (depth > 0)
        depths.append(float(np.median(np.abs(depth - goal.depth)[both])) / HEAD)
        covers.append(mask_iou(alpha > 0.5, solid))
    mean: NDArray[np.float64] = np.array(errors)
    return {
        f"{name} all": mean.mean(),
        f"{name} between": mean[:VIEWS].mean(),
        f"{name} tilted": mean[VIEWS:].mean(),
        f"{name} inside": float(np.mean(inside)),
        f"{name} depth": float(np.median(depths)),
        f"{name} IoU": float(np.mean(covers)),
    }


def report(rows: list[Row]) -> None:
    print(f"{len(rows)} heads, means      all   between  tilted  inside   IoU    depth    seconds")
    goals = {"field": "30 dB, 120 s", "splats": "30 dB, 120 s", "mesh": "26 dB, 30 s"}
    for name, goal in goals.items():
        of = {key: float(np.mean([row[f"{name} {key}"] for row in rows])) for key in
              ("all", "between", "tilted", "inside", "IoU", "depth", "seconds")}  # fmt: skip
        dB = "  ".join(f"{of[key]:6.2f}" for key in ("all", "between", "tilted", "inside"))
        print(f"{name:20s} {dB}  {of['IoU']:.3f}  {of['depth']:7.2%}  {of['seconds']:6.0f}   ({goal})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--damaged", action="store_true")
    parser.add_argument("--sheets", type=Path)
    a = parser.parse_args()
    chosen = range(a.first, a.first + a.count)
    rows = [measure(FIRST + i, a.damaged, a.sheets and a.sheets / f"{i:02d}.png") for i in chosen]
    report(rows)
    if a.sheets:
        (a.sheets / "rows.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
