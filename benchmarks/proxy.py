"""The proxy against the truth, on synthetic people that neither the face's nor the hair's model has seen.

python -m benchmarks.proxy [--count 200] [--processes 2] [--sheets DIR]

Every portrait is rendered from azimuth -35..35, elevation -10..10 before a random background, and goes through the
whole path: detector, landmarks, fit, matte, shell, texture. How large a head is and where its middle lies is a
convention that no photo tells, so the truth is brought to the scale and place that the crop gave the portrait (not to
its angles: those errors count), and is then seen by the proxy's cameras.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.evaluation.cases import cameras_for_crop
from portrait360.evaluation.image_metrics import mask_iou, psnr
from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.pipeline.export.contact_sheet import view_over_grey
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.face_detection import STOCK_SCORE, find_faces
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.build import build
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.images import Picture, over_grey, save_picture

FIRST = 300_000  # seeds far from those that anything was built with
PHOTO, SIZE, HEAD = 512, 256, 0.46
FOCAL = focal_from_fov(FOV)
AZIMUTHS = np.arange(0, 360, 30)
BANDS = {"front": [0, 30, 330], "side": [60, 90, 120, 240, 270, 300], "back": [150, 180, 210]}
Row = dict[str, float]


def measure(job: tuple[int, Path | None]) -> Row | None:
    """All figures of one person; None where no face was found."""
    index, sheets = job
    seed = FIRST + index
    rng = np.random.default_rng(seed)
    head = prepare_scene(build(sample(seed, "human")))
    true = Camera(look_at(rng.uniform(-35, 35), rng.uniform(-10, 10), roll=rng.uniform(-8, 8)), FOCAL)
    seen = render(head, true, PHOTO)
    photo = composite_over(seen.rgb, seen.alpha, random_background(rng, PHOTO)).astype(np.float32)
    begin = time.perf_counter()
    portrait = make_portrait(Picture(np.round(photo * 255).astype(np.float32) / 255, None))
    proxy = proxy_from_photo(portrait)
    seconds = time.perf_counter() - begin
    if portrait.source != "face":
        return None
    around = orbit(len(AZIMUTHS), focal=FOCAL)
    truth = [render(head, camera, SIZE) for camera in cameras_for_crop(around, portrait, true, PHOTO)]
    scale = PHOTO / portrait.side
    row = {"seconds": seconds, "azimuth": abs(azimuth_between(true.azimuth, portrait.camera.azimuth))}
    row["elevation"] = abs(true.elevation - portrait.camera.elevation)
    row |= compare_own_view(portrait, proxy)
    return row | compare_views(proxy, truth, scale, sheets and sheets / f"{index:03d}.png")


def compare_own_view(portrait: Portrait, proxy: Proxy) -> Row:
    """The photo given back at its own camera."""
    view, inside = proxy.render(portrait.camera, PHOTO), portrait.alpha > 0.5
    whole = portrait.alpha > 0.9  # softer pixels show the background too
    return {"own": psnr(view.rgb, portrait.rgb, whole), "own IoU": mask_iou(view.mask > 0.5, inside)}


def compare_views(proxy: Proxy, truth: list, scale: float, sheet: Path | None) -> Row:
    row, errors, depths, pictures = {}, {}, [], []
    for azimuth, goal, camera in zip(AZIMUTHS, truth, orbit(len(AZIMUTHS), focal=FOCAL), strict=True):
        view, inside = proxy.render(camera, SIZE), goal.alpha > 0.5
        aim, got = over_grey(goal.rgb, goal.alpha), view_over_grey(view)
        errors[int(azimuth)] = psnr(got, aim, inside)
        if azimuth in (0, 90, 180):
            row[f"IoU {azimuth}"] = mask_iou(view.mask > 0.5, inside)
        if abs(azimuth_between(0, float(azimuth))) <= 90:
            both = inside & (view.mask > 0.5)
            depths.append(float(np.median(np.abs(view.depth - goal.depth * scale)[both])) / HEAD)
        if azimuth in BANDS["back"]:
            row["faces behind"] = (
                row.get("faces behind", 0.0) + bool(find_faces(got.astype(np.float32), STOCK_SCORE)) / 3
            )
        pictures.append(np.concatenate([aim, got]))
    if sheet:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        save_picture(sheet, np.concatenate([np.concatenate(pictures[:6], 1), np.concatenate(pictures[6:], 1)]))
    row |= {band: float(np.mean([errors[a] for a in members])) for band, members in BANDS.items()}
    return row | {"depth": float(np.median(depths))}


def measure_speed(proxy: Proxy, views: int = 24) -> float:
    cameras = orbit(views, focal=FOCAL)
    proxy.render(cameras[0], SIZE)
    begin = time.perf_counter()
    for camera in cameras:
        proxy.render(camera, SIZE)
    return views / (time.perf_counter() - begin)


def report(rows: list[Row], missed: int) -> None:
    def of(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows])

    print(f"{len(rows)} people, {missed} without a face")
    lines = [
        (
            "azimuth error, median / 95 %",
            f"{np.median(of('azimuth')):.1f} / {np.percentile(of('azimuth'), 95):.1f}",
            "3 / 8",
        ),
        (
            "elevation error, median / 95 %",
            f"{np.median(of('elevation')):.1f} / {np.percentile(of('elevation'), 95):.1f}",
            "",
        ),
        ("depth error, front half, of head height", f"{np.median(of('depth')):.2%}", "2.5 %"),
    ]
    for name, goal in (("IoU 0", ".97"), ("IoU 90", ".88"), ("IoU 180", ".90"), ("own IoU", "")):
        lines.append((name, f"{of(name).mean():.3f}", goal))
    for name, goal in (("front", "22"), ("side", "17"), ("back", "17"), ("own", "32")):
        lines.append((f"PSNR {name}", f"{of(name).mean():.1f} dB", goal))
    lines.append(("views at 150, 180, 210 with no face", f"{1 - of('faces behind').mean():.1%}", "99 %"))
    lines.append(("photo to proxy", f"{np.median(of('seconds')):.1f} s, at most {of('seconds').max():.1f}", "12 s"))
    for name, value, goal in lines:
        print(f"{name:42s} {value:>20s}   {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one process is one core; the new processes inherit it
    jobs = [(i, arguments.sheets) for i in range(arguments.count)]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        found = pool.map(measure, jobs, chunksize=2)
    rows = [row for row in found if row is not None]
    report(rows, len(found) - len(rows))
    if arguments.sheets:
        (arguments.sheets / "rows.json").write_text(json.dumps(found, indent=1))
    astronaut = Path(__file__).parent.parent / "examples" / "astronaut.png"
    speed = measure_speed(proxy_from_photo(make_portrait(astronaut)))
    print(f"renders a second at {SIZE} x {SIZE}, one process: {speed:.0f}")


if __name__ == "__main__":
    main()
