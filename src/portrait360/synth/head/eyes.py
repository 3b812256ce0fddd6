"""Eyeballs with iris, pupil and limbus; eyelashes; teeth and tongue."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Eyeball, Head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import grid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Material, Mesh, Part, Strands

RINGS, SPOKES = 30, 44
SCLERA = np.array([0.80, 0.76, 0.73])


def eye_meshes(head: Head, parameters: HeadParameters) -> list[Mesh]:
    azimuth, elevation = np.radians(parameters.pose.gaze)
    gaze = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    return [_eye_mesh(eye, gaze, parameters) for eye in head.eyes]


def _eye_mesh(eye: Eyeball, gaze: np.ndarray, parameters: HeadParameters) -> Mesh:
    """Make a polar grid about the line of sight; the cornea bulges over the iris."""
    gaze = unit(gaze + np.array([-0.025 * eye.side, 0, 0]))  # the lines of sight converge a few steps ahead
    across = unit(np.cross([0.0, 1.0, 0.0], gaze))
    up = np.cross(gaze, across)
    theta = (np.linspace(0, 1, RINGS) ** 1.4 * 0.72 * np.pi)[:, None]
    phi = (np.arange(SPOKES) / SPOKES * 2 * np.pi)[None]
    theta, phi = np.broadcast_arrays(theta, phi)
    direction = np.cos(theta)[..., None] * gaze + np.sin(theta)[..., None] * (
        np.cos(phi)[..., None] * across + np.sin(phi)[..., None] * up
    )
    iris = parameters.eyes.iris_size
    bulge = 1 + 0.05 * np.exp(-((theta / iris) ** 4))
    vertices = eye.center + (direction * bulge[..., None]).reshape(-1, 3) * eye.radii
    colour = _eye_colour(theta.ravel(), phi.ravel(), parameters)
    height = direction[..., 1].ravel()  # the upper lid and its lashes cast a shadow on the eyeball
    shade = 0.55 if parameters.toon is None else 0.30
    colour = colour * (1 - shade * smoothstep(0.15, 0.62, height))[:, None]
    return make_mesh(vertices, grid(RINGS, SPOKES, closed=True), colour, Material.EYE, Part.EYES)


def _eye_colour(theta: np.ndarray, phi: np.ndarray, parameters: HeadParameters) -> np.ndarray:
    eyes = parameters.eyes
    size, soft = eyes.iris_size, 0.035
    position = np.stack([np.cos(phi) * 4, np.sin(phi) * 4, theta * 3], 1)
    fibres = noise(position, 3.0, parameters.seed) - 0.5
    inner = theta / size
    iris = np.array(eyes.iris) * (1.05 + 0.9 * fibres[:, None])
    iris = iris * (1 + 0.9 * smoothstep(0.75, 0.45, inner) * smoothstep(0.3, 0.5, inner))[:, None]
    below = 0.5 - 0.5 * np.sin(phi)
    iris = iris * (0.75 + 0.6 * below * smoothstep(0.2, 0.8, inner))[:, None]  # light pools under the pupil
    iris = iris * (1 - 0.72 * smoothstep(0.78, 1.0, inner))[:, None]  # limbal ring
    blood = smoothstep(0.5, 1.25, theta)[:, None]
    white = SCLERA * (1 - blood * np.array([0.10, 0.30, 0.30]))
    colour = _mix(white, iris, smoothstep(size + soft, size - soft, theta))
    round_pupil = theta
    slit = np.hypot(np.cos(phi) * theta * 2.6, np.sin(phi) * theta * 0.75)
    pupil = eyes.pupil * size
    dark = smoothstep(pupil + soft, pupil - soft, round_pupil * (1 - eyes.slit) + slit * eyes.slit)
    colour = _mix(colour, np.array([0.004, 0.004, 0.005]), dark)
    if parameters.toon is not None or parameters.animal is not None:
        colour = _paint_catchlights(colour, theta, phi, size)
    return colour


def _paint_catchlights(colour: np.ndarray, theta: np.ndarray, phi: np.ndarray, size: float) -> np.ndarray:
    """Paint a large highlight above and a small one below the pupil."""
    x, y = np.cos(phi) * theta / size, np.sin(phi) * theta / size
    for cx, cy, radius in ((-0.34, 0.42, 0.30), (0.36, -0.40, 0.15)):
        spot = smoothstep(radius + 0.08, radius - 0.05, np.hypot(x - cx, y - cy))
        colour = _mix(colour, np.array([1.0, 1.0, 1.0]), spot * 0.95)
    return colour


def _mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return a + (b - a) * t[:, None]


def make_lashes(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> Strands | None:
    """Make fine curved strands from the lid line, longer above and towards the outer corner; None for no lashes."""
    if parameters.eyes.lashes <= 0:
        return None
    curves, widths = [], []
    lids = ((True, 44), (False, 26))[: 2 if parameters.toon is None else 1]  # toons have no lower lashes
    spread, width_exponent = (0.55, 1.0) if parameters.toon is None else (1.3, 0.4)
    for eye, name in zip(head.eyes, ("left_lashes", "right_lashes"), strict=True):
        points, _ = head.part(name)
        roots, tips, upper = _lash_guides(name)
        roots, tips = points[roots], points[tips]
        if parameters.toon is not None:  # the lids were scaled and smoothed, the lash cards were not
            shift = _project_to_lid_rim(head, eye, roots) - roots
            roots, tips = roots + shift, tips + shift
        for top, share in lids:
            rows = np.where(upper == top)[0]
            position = np.sort(rng.uniform(0, len(rows) - 1, share))
            i, f = np.minimum(position.astype(int), len(rows) - 2), (position % 1.0)[:, None]
            root = roots[rows][i] * (1 - f) + roots[rows][i + 1] * f
            tip = tips[rows][i] * (1 - f) + tips[rows][i + 1] * f
            direction = unit((tip - root) * np.array([spread, 1.0, 1.0]) + np.array([0, 0, 0.004]))
            length = eye.radii[1] * (0.15 + 0.38 * parameters.eyes.lashes) * (1.0 if top else 0.45)
            length *= 1.0 if parameters.toon is None else 0.7
            length = length * np.exp(rng.normal(0, 0.12, (share, 1, 1)))
            t = np.linspace(0, 1, 4)[None, :, None]
            curl = np.array([0, (0.45 if top else -0.1), 0])
            curves.append(root[:, None] + length * (direction[:, None] * t + curl * t**2))
            widths.append(np.full((share, 1), 0.0013 if top else 0.0008) * (eye.radii[0] / 0.029) ** width_exponent)
    points = np.concatenate(curves).astype(np.float32)
    width = np.concatenate(widths) * np.array([1.0, 0.9, 0.65, 0.25])
    colour = np.array(parameters.facial.brow_colour) * 0.35
    n = len(points)
    return Strands(
        points=points,
        widths=width.astype(np.float32),
        albedo=np.broadcast_to(np.clip(colour, 0.002, 1), points.shape).astype(np.float32),
        part=np.full(n, Part.EYES, np.uint8),
        material=np.full(n, Material.HAIR, np.uint8),
    )


def _project_to_lid_rim(head: Head, eye: Eyeball, roots: np.ndarray) -> np.ndarray:
    """Move points (k, 3), in the front view, radially onto the edge of the lids."""
    lid = head.body[head.mask("eyelids") > 0.2]
    offset = (lid - eye.center) / eye.radii
    in_front = (np.linalg.norm(offset, axis=1) > 1.0) & (offset[:, 2] > 0.15) & (np.hypot(*offset.T[:2]) < 1.5)
    lid, offset = lid[in_front], offset[in_front]
    around, distance = np.arctan2(offset[:, 1], offset[:, 0]), np.hypot(offset[:, 0], offset[:, 1])
    angles = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    is_near = np.abs((around - angles[:, None] + np.pi) % (2 * np.pi) - np.pi) < 0.12
    edge = lid[np.argmin(np.where(is_near, distance, np.inf), axis=1)]
    edge = gaussian_filter1d(edge, 1.0, axis=0, mode="wrap")
    directions = (roots - eye.center) / eye.radii
    root_angles = np.arctan2(directions[:, 1], directions[:, 0])
    return np.stack([np.interp(root_angles, angles, edge[:, a], period=2 * np.pi) for a in range(3)], 1)


@lru_cache(maxsize=2)
def _lash_guides(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the vertices at the roots and tips of the pack's lash cards, and which belong to the upper lid."""
    pack, base = load_pack(), load_average_head().base
    points, quads = base[pack.parts[name]], pack.part_quads[name]
    ball = base[pack.parts[name.replace("lashes", "eye")]][np.unique(pack.part_quads[name.replace("lashes", "eye")])]
    center, radius = (ball.min(0) + ball.max(0)) / 2, np.ptp(ball[:, 1]) / 2
    sides = np.concatenate([quads[:, [0, 1]], quads[:, [1, 2]], quads[:, [2, 3]], quads[:, [3, 0]]])
    sides = np.unique(np.sort(sides, axis=1), axis=0)
    distance = np.linalg.norm(points - center, axis=1) / radius
    rise = distance[sides[:, 1]] - distance[sides[:, 0]]
    outward = np.where(rise[:, None] > 0, sides, sides[:, ::-1])
    outward = outward[(np.abs(rise) > 0.10) & (distance[outward[:, 0]] < 1.28)]
    outward = outward[np.argsort(points[outward[:, 0], 0])]  # from one corner of the eye to the other
    return outward[:, 0], outward[:, 1], points[outward[:, 1], 1] > center[1] + 0.02 * radius


def mouth_meshes(head: Head) -> list[Mesh]:
    colours = {
        "upper_teeth": (0.72, 0.66, 0.55),
        "lower_teeth": (0.66, 0.60, 0.50),
        "tongue": (0.36, 0.10, 0.09),
    }
    meshes = []
    for name, colour in colours.items():
        vertices, triangles = head.part(name)
        material = Material.SKIN if name == "tongue" else Material.EYE
        meshes.append(make_mesh(vertices, triangles, colour, material, Part.SKIN))
    return meshes
