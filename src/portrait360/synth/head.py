"""The naked head: blended, framed, restyled, posed, subdivided; its eyes, landmarks and distance field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from portrait360.synth import folk, toon
from portrait360.synth.field import DistanceField, distance_field
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.noise import smoothstep
from portrait360.synth.pack import HeadPack, load_pack, macro_weights
from portrait360.synth.parameters import HeadParameters, Pose
from portrait360.synth.reference import frame, reference
from portrait360.synth.scene import F32, I32

HEIGHT = 0.46  # chin to crown, canonical units
PIVOT = np.array([0.0, -0.5, -0.1], np.float32)  # where the head turns on the neck, in head heights


@dataclass(frozen=True, eq=False)
class Eyeball:
    center: F32  # (3,)
    radii: F32  # (3,) a toon's eye is no sphere
    side: int  # 1 the subject's left


@dataclass(frozen=True, eq=False)
class Head:
    pack: HeadPack
    level: int
    base: F32  # (n, 3) every part of the pack, canonical
    body: F32  # (m, 3) the subdivided skin
    normals: F32  # (m, 3)
    rest: F32  # (m, 3) the same vertices on the average head, in head heights: where features are placed
    triangles: I32
    eyes: tuple[Eyeball, Eyeball]  # left, right
    field: DistanceField  # of the skin without the ears
    landmarks: dict[str, F32]

    def mask(self, name: str) -> F32:
        return self.pack.mask(name, self.level)

    def part(self, name: str) -> tuple[F32, I32]:
        """A part's vertices and triangles."""
        quads = self.pack.part_quads[name]
        return self.base[self.pack.parts[name]], np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def make_head(parameters: HeadParameters, level: int = 1) -> Head:
    pack, average = load_pack(), reference()
    shape = parameters.shape
    weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
    for name, w in shape.morphs.items():
        weights[name] = weights.get(name, 0.0) + w
    neutral = pack.blend(weights)
    moved = {f"unit/{name}": w for name, w in shape.expression.items()}
    vertices = frame(pack, pack.blend(weights | moved), neutral)
    neutral = frame(pack, neutral, neutral)
    both = [vertices, neutral]
    if parameters.toon is not None:
        both = [toon.restyle(v, average.base, pack, parameters.toon) for v in both]
    elif parameters.fantasy is not None:
        both = [folk.restyle(v, average.base, pack, parameters.fantasy) for v in both]
    elif parameters.animal is not None:
        both = [folk.thick_neck(v, average.base, 1.0) for v in both]
    vertices = frame(pack, both[0], both[1])
    posed = HEIGHT * _turn_shoulders(vertices, average.base, parameters.pose)
    body = pack.subdivide(posed[: pack.body], level)
    triangles = pack.subdivision(level).triangles
    normals = vertex_normals(body, triangles)
    return Head(
        pack=pack,
        level=level,
        base=posed,
        body=body,
        normals=normals,
        rest=average.fine[level],
        triangles=triangles,
        eyes=(_eyeball(pack, posed, "left_eye", 1), _eyeball(pack, posed, "right_eye", -1)),
        field=_field(pack, posed),
        landmarks={name: body[i] for name, i in pack.landmarks.items()},
    )


def head_share(rest: F32) -> F32:
    """1 on the head, 0 on the shoulders, smooth along the neck."""
    return smoothstep(-0.88, -0.46, rest[:, 1] + 0.5 * np.maximum(rest[:, 2], 0))


def _turn_shoulders(vertices: F32, rest: F32, pose: Pose) -> F32:
    """The face keeps its direction: what turns is the body beneath it, the other way."""
    vector = -np.radians([pose.nod, pose.turn, pose.tilt]).astype(np.float32)
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return vertices
    axis = vector / angle
    theta = (angle * (1 - head_share(rest)))[:, None]
    arm = vertices - PIVOT
    turned = (
        arm * np.cos(theta) + np.cross(axis, arm) * np.sin(theta) + axis * (arm @ axis)[:, None] * (1 - np.cos(theta))
    )
    return (PIVOT + turned).astype(np.float32)


def _eyeball(pack: HeadPack, vertices: F32, name: str, side: int) -> Eyeball:
    points = vertices[pack.parts[name]]
    points = points[np.unique(pack.part_quads[name])]
    low, high = points.min(0), points.max(0)
    radii = (high - low) / 2
    radii[2] = radii[:2].mean()
    center = (low + high) / 2
    center[2] = high[2] - radii[2] * 1.06  # the cornea bulges out of the sphere
    return Eyeball(center.astype(np.float32), radii.astype(np.float32), side)


@lru_cache(maxsize=1)
def _field_rows() -> np.ndarray:
    """Vertices (level 1) of the outer skin: no ears, mouth or eye sockets."""
    pack, rest = load_pack(), reference()
    fine = rest.fine[1]
    inner = (pack.mask("ears") > 0.08) | (pack.mask("inside_mouth") > 0.25)
    x, y, z = fine.T
    inner |= (np.abs(x) > 0.335) & (np.abs(y + 0.1) < 0.3) & (np.abs(z) < 0.25)  # what moves with a drawn-out ear
    for name in ("left_eye", "right_eye"):
        points = rest.base[pack.parts[name]][np.unique(pack.part_quads[name])]
        center, radius = (points.min(0) + points.max(0)) / 2, np.ptp(points[:, 1]) / 2
        inner |= (np.linalg.norm(fine - center, axis=1) < 1.7 * radius) & (fine[:, 2] < center[2] + 0.4 * radius)
    return np.where(~inner)[0]


def _field(pack: HeadPack, posed: F32) -> DistanceField:
    body = pack.subdivide(posed[: pack.body])
    normals = vertex_normals(body, pack.subdivision(1).triangles)
    rows = _field_rows()
    return distance_field(body[rows], normals[rows])
