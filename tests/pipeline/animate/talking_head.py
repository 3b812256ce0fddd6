"""A synthetic person who talks: pictures, and the weights and turns that made them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.synth.build import build
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Mesh, Scene, Strands
from portrait360.utils.images import over_grey, to_uint8

PERSON = 15
MOVES = {
    "jawOpen": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
RATE = 12


@dataclass(frozen=True)
class TalkingHead:
    frames: np.ndarray  # (n, s, s, 3) 8-bit
    weights: dict[str, np.ndarray]  # (n,) by the names of MOVES
    neck: np.ndarray  # (n, 3) degrees: to its left, up, to its left shoulder


def make_talking_head(count: int, size: int, person: int = PERSON) -> TalkingHead:
    """Render `count` frames at RATE; each unit's full expression is built once, and mixed linearly."""
    parameters = sample(person, "human")
    parameters = replace(parameters, pose=replace(parameters.pose, gaze=(0.0, 0.0)))

    def build_with(units: tuple[str, ...]) -> Scene:
        return build(replace(parameters, shape=replace(parameters.shape, expression=dict.fromkeys(units, 1.0))))

    neutral, moved = build_with(()), {name: build_with(units) for name, units in MOVES.items()}
    weights, neck = plan(count)
    frames = []
    for i in range(count):
        scene = mix(neutral, [(moved[name], float(values[i])) for name, values in weights.items()])
        yaw, pitch, roll = neck[i]
        camera = Camera(look_at(-yaw, -pitch, roll=roll), focal_from_fov(18.8))
        picture = render(prepare_scene(scene, occlusion=False), camera, size)
        frames.append(to_uint8(over_grey(picture.rgb, picture.alpha)))
    return TalkingHead(np.stack(frames), weights, neck)


def plan(count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return weights and turns that go through their ranges."""
    t = np.arange(count) / RATE
    weights = {
        "jawOpen": np.clip(0.4 * np.sin(2 * np.pi * 0.9 * t) + 0.1, 0, 1),
        "smile": np.clip(0.5 * np.sin(2 * np.pi * 0.35 * t + 2.5) + 0.2, 0, 0.8),
        "blink": np.clip(1.4 - np.abs((t % 1.2) - 0.7) / 0.12, 0, 1),
        "brows": np.clip(0.5 * np.sin(2 * np.pi * 0.5 * t), 0, 1),
    }
    turns = (12 * np.sin(2 * np.pi * 0.3 * t), 5 * np.sin(2 * np.pi * 0.5 * t + 1), 4 * np.sin(2 * np.pi * 0.4 * t))
    return weights, np.stack(turns, 1)


def mix(neutral: Scene, moved: list[tuple[Scene, float]]) -> Scene:
    """Return a scene with its points moved towards those of others, each by a share."""

    def mix_mesh(i: int, mesh: Mesh) -> Mesh:
        vertices = mesh.vertices + sum(w * (scene.meshes[i].vertices - mesh.vertices) for scene, w in moved)
        return replace(mesh, vertices=vertices.astype(np.float32), normals=None)

    def mix_strands(i: int, strands: Strands) -> Strands:
        others = [(scene.strands[i].points, w) for scene, w in moved]
        fitting = [(points, w) for points, w in others if points.shape == strands.points.shape]
        points = strands.points + sum((w * (points - strands.points) for points, w in fitting), np.float32(0))
        return replace(strands, points=points.astype(np.float32))

    meshes = tuple(mix_mesh(i, mesh) for i, mesh in enumerate(neutral.meshes))
    return replace(
        neutral, meshes=meshes, strands=tuple(mix_strands(i, strands) for i, strands in enumerate(neutral.strands))
    )


def write_video(
    path: Path, frames: np.ndarray, rate: int = RATE, *, sound: bool = True, times=None, **options
) -> Path:
    """Write frames as H.264, with a tone; `times`, in milliseconds, sets them apart unevenly."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = round(1000 * i / rate) if times is None else int(times[i])
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if tone is not None:
            wave = (0.2 * np.sin(2 * np.pi * 440 * np.arange(48_000 * len(frames) // rate) / 48_000)).astype(
                np.float32
            )
            samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48_000, 0
            container.mux(tone.encode(samples))
            container.mux(tone.encode())
    return path
