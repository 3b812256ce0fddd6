"""Renders a second of the rasteriser and of the synthetic renderer, in one process on one thread.

    python benchmarks/raster.py [--size 256] [--repeat 10]

The mesh is a ball of about 30,000 textured triangles, as a photo's proxy has; the scene is a ball of 25,000
triangles of skin under 8,000 strands of 14 points, lit by three keys, as a synthetic head has.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.synth.render import lights
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.scene import Material, Mesh, Part, Scene, Strands


def ball(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit points (n, 3), triangles and uv."""
    t, p = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    points = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1).reshape(-1, 3)
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quads = np.stack([i, i + columns, i + columns + 1, i + 1], 1)
    uv = np.stack([p / (2 * np.pi), t / np.pi], -1).reshape(-1, 2)
    return points, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32), uv


def head_like() -> Scene:
    points, faces, _ = ball(112, 113)
    points = (points * [0.19, 0.27, 0.23]).astype(np.float32)
    albedo = np.full_like(points, 0.5)
    ones, labels = np.ones(len(points), np.float32), np.ones(len(faces), np.uint8)
    skin = Mesh(points, faces, albedo, labels * Material.SKIN, labels * Part.SKIN, ones, points, None, ones)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(8000, 3))
    root[:, 1] = abs(root[:, 1])
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    along = np.linspace(0, 1, 14)[:, None]
    fall = root[:, None] * (1 + 0.15 * along) + np.array([0, -1.0, 0]) * along**2 * rng.uniform(0.3, 1, (8000, 1, 1))
    hair = (fall * [0.2, 0.28, 0.24]).astype(np.float32)
    label = np.ones(8000, np.uint8)
    colour = np.broadcast_to(np.float32([0.12, 0.06, 0.03]), hair.shape).copy()
    width = np.full(hair.shape[:2], 0.004, np.float32)
    light = lights.light_of(lights.MOODS["softbox"], np.random.default_rng(1))
    return Scene((skin,), (Strands(hair, width, colour, label * Part.HAIR, label * Material.HAIR),), light)


def seconds(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Of the first call, which may compile, and the median of the others."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times[0], float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Renders a second of the rasteriser and the synthetic renderer.")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=10)
    options = parser.parse_args()
    points, faces, uv = ball(123, 124)
    texture = np.random.default_rng(0).random((512, 512, 3)).astype(np.float32)
    camera = Camera(look_at(30, 10), focal_from_fov(18.8))

    def proxy() -> object:
        return rasterizer.draw(points * 0.3, faces, camera, options.size, uv=uv, texture=texture)

    scene = head_like()
    prepared = prepare_scene(scene)
    rows = [
        (f"textured mesh, {len(faces)} triangles, {options.size}²", proxy),
        ("prepare a scene", lambda: prepare_scene(scene)),
        (f"render it, all channels, {options.size}²", lambda: render(prepared, camera, options.size)),
    ]
    for name, work in rows:
        first, then = seconds(work, options.repeat)
        print(f"{name:48s} {1e3 * then:8.1f} ms  {1 / then:7.1f} a second   (first: {first:.2f} s)")


if __name__ == "__main__":
    main()
