"""What the synthetic heads promise, measured over many of them.

python -m benchmarks.heads seeds         [--count 1000]  every kind builds, fits the frame, gives the same bytes twice
python -m benchmarks.heads reprojection  [--count 40]    two views 5 degrees apart agree through their depth
python -m benchmarks.heads faces         [--count 220]   YuNet finds faces in front and none at the back
python -m benchmarks.heads yaw --model face_landmarker.task   MediaPipe's head yaw (needs the mediapipe package)
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, RADIUS
from portrait360.pipeline.portrait.face_detection import STOCK_SCORE, find_faces
from portrait360.synth.build import build
from portrait360.synth.data.clips import random_camera
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import Rendering, render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.parameters import KINDS
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Part

SIZE = 256
COUNTS = {"seeds": 1000, "reprojection": 40, "faces": 220, "yaw": 100}


def view(head: PreparedScene, azimuth: float, elevation: float = 0.0, size: int = SIZE) -> Rendering:
    return render(head, Camera(look_at(azimuth, elevation), focal_from_fov(FOV)), size)


def health(job: tuple[int, str]) -> tuple[str, float, list[str]]:
    """Hash of the channels of a head seen at random, its alpha's share, and what is wrong with it."""
    seed, kind = job
    try:
        head = prepare_scene(build(sample(seed, kind)))
        seen = render(head, random_camera(np.random.default_rng(seed)), SIZE)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
        return "", 0.0, [f"{type(error).__name__}: {error}"]
    channels = (seen.rgb, seen.alpha, seen.depth, seen.normals, seen.parts)
    wrong = [] if all(np.isfinite(c).all() for c in channels) else ["not finite"]
    share = float(seen.alpha.mean())
    if not 0.05 <= share <= 0.8:
        wrong.append(f"alpha {share:.2f}")
    front = view(head, 0)
    if touches_border(front):
        wrong.append("leaves the frame")
    digest = hashlib.blake2b(b"".join(np.ascontiguousarray(c).tobytes() for c in channels)).hexdigest()
    return digest, share, wrong


def touches_border(seen: Rendering) -> bool:
    """Whether anything but clothes (or what hangs down on them) reaches the border of the picture."""
    head = (seen.alpha > 0.5) & (seen.parts != Part.CLOTHES)
    edges = np.concatenate([head[0], head[: SIZE * 2 // 3, 0], head[: SIZE * 2 // 3, -1]])
    return bool(edges.any())


def seeds(arguments: argparse.Namespace, pool: Pool) -> None:
    jobs = [(seed, KINDS[seed % len(KINDS)]) for seed in range(arguments.count)]
    first = pool.map(health, jobs, chunksize=8)
    again = pool.map(health, jobs[:: arguments.twice][::-1], chunksize=3)[::-1]  # in another order: other processes
    changed = sum(a[0] != b[0] for a, b in zip(first[:: arguments.twice], again, strict=True))
    bad = [(job, wrong) for job, (_, _, wrong) in zip(jobs, first, strict=True) if wrong]
    shares = [share for _, share, _ in first]
    print(
        f"{len(jobs)} heads of {len(KINDS)} kinds: {len(bad)} with something wrong, alpha {min(shares):.2f}", end=""
    )
    print(f"–{max(shares):.2f}; {changed} of {len(again)} with other bytes the second time")
    for job, wrong in bad:
        print(" ", *job, *wrong)


def agreement(job: tuple[int, str, float]) -> tuple[float, float]:
    """PSNR over the co-visible pixels and median |depth difference| of two views 5 degrees apart."""
    seed, kind, azimuth = job
    head = prepare_scene(build(sample(seed, kind)))
    cameras = [Camera(look_at(azimuth + turn), focal_from_fov(FOV)) for turn in (0.0, 5.0)]
    here, there = (render(head, camera, SIZE) for camera in cameras)
    grid = (np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) + 0.5) / SIZE
    solid = here.alpha > 0.99
    uv, depth = cameras[1].project(cameras[0].unproject(grid, np.where(solid, here.depth, RADIUS)))
    x, y = np.moveaxis(uv * SIZE - 0.5, -1, 0).astype(np.float32)

    def look_up(channel: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.remap(channel, x, y, how)

    known = solid & (look_up((there.alpha > 0.99).astype(np.float32)) > 0.999)
    off = np.abs(look_up(there.depth) - depth)
    visible = known & (off < 0.01)  # two per cent of a head's height: what differs by more is hidden from one
    error = (look_up(there.rgb, cv2.INTER_LINEAR) - here.rgb)[visible]
    return float(-10 * np.log10((error**2).mean())), float(np.median(off[known]))


def reprojection(arguments: argparse.Namespace, pool: Pool) -> None:
    jobs = [(seed, arguments.kind, float(seed * 77 % 360)) for seed in range(arguments.count)]
    found = np.array(pool.map(agreement, jobs, chunksize=2))
    for (seed, kind, azimuth), (psnr, off) in zip(jobs, found, strict=True):
        if psnr < 36 or off > 3e-4:
            p = sample(seed, kind)
            print(f"  {seed} {p.kind} {p.hair.style} {azimuth:.0f}: {psnr:.1f} dB, {off:.1e}")
    low, off = np.percentile(found[:, 0], [0, 5, 50]), found[:, 1]
    print(f"{len(jobs)} pairs: {low[0]:.1f} dB at least, {low[1]:.1f} at 5 %, {low[2]:.1f} median;", end=" ")
    print(f"{(found[:, 0] >= 36).mean():.1%} reach 36 dB; |dz| median {np.median(off):.1e}, at most {off.max():.1e}")


def faces_of(job: tuple[int, str]) -> tuple[bool, bool]:
    """Whether a face is found in front, and at the back."""
    seed, kind = job
    head = prepare_scene(build(sample(seed, kind)))
    pictures = [composite_over(v.rgb, v.alpha, np.full_like(v.rgb, 0.6)) for v in (view(head, 0), view(head, 180))]
    front, back = (bool(find_faces(picture.astype(np.float32), STOCK_SCORE)) for picture in pictures)
    return front, back


def faces(arguments: argparse.Namespace, pool: Pool) -> None:
    for kind in ("human", "toon"):
        found = np.array(pool.map(faces_of, [(seed, kind) for seed in range(arguments.count)], chunksize=4))
        front, back = found.mean(0)
        print(f"{kind}: found in {front:.1%} of {len(found)} views from the front, in {back:.1%} at 180 degrees")


def yaw(arguments: argparse.Namespace, pool: Pool) -> None:
    import mediapipe as mp  # type: ignore[import-not-found]  # not a dependency: bring it along for this measure
    from mediapipe.tasks.python import BaseOptions, vision  # type: ignore[import-not-found]

    options = vision.FaceLandmarkerOptions(
        BaseOptions(model_asset_path=str(arguments.model)), output_facial_transformation_matrixes=True
    )
    off: list[float] = []
    missed = 0
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for seed, turn, picture in pool.imap_unordered(render_turned, range(arguments.count)):
            answer = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture))
            if not answer.facial_transformation_matrixes:
                missed += 1
                continue
            axis = answer.facial_transformation_matrixes[0][:3, 2]  # where the face looks, in the camera's frame
            off.append(abs(float(np.degrees(np.arctan2(-axis[0], axis[2]))) - turn))
            if off[-1] > 6:
                print(f"  {seed}: {off[-1]:.1f} degrees off at {turn:.0f}")
    print(f"{len(off)} heads, {missed} missed: yaw off by {np.median(off):.1f} degrees (median),", end=" ")
    print(f"{np.percentile(off, 95):.1f} (95 %); {np.mean(np.array(off) <= 6):.1%} within 6")


def render_turned(seed: int) -> tuple[int, float, np.ndarray]:
    turn = float(np.random.default_rng(seed).uniform(-40, 40))
    seen = view(prepare_scene(build(sample(seed, "human"))), turn, size=512)
    return (
        seed,
        turn,
        (composite_over(seen.rgb, seen.alpha, np.full_like(seen.rgb, 0.6)) * 255).round().astype(np.uint8),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=("seeds", "reprojection", "faces", "yaw"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--twice", type=int, default=4, help="every n-th seed is built a second time")
    parser.add_argument("--kind", default="human")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    arguments.count = arguments.count or COUNTS[arguments.measure]
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one process is one core; the new processes inherit it
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        globals()[arguments.measure](arguments, pool)


if __name__ == "__main__":
    main()
