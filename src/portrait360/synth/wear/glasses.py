"""Glasses with clear or dark lenses, earrings, nose studs, headphones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.strands import resample
from portrait360.synth.head.bare_head import Eyeball, Head
from portrait360.synth.head.face_points import locate_on_face
from portrait360.synth.meshes import ellipsoid, grid, make_mesh, tube, unit
from portrait360.synth.sampling.hats import hides_ears
from portrait360.synth.sampling.parameters import GlassesFit, HeadParameters
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.jewels import LARGE_EARRINGS, make_large_earring
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.image_ops import smoothstep

RIM_ANGLES = np.linspace(0, 2 * np.pi, 57)[:-1]  # of the points of a lens's rim
RIM_SIDES = 8  # of the tube of a rim
SIDES = 0.6  # how much of what a rim is thicker above its bridge and temples are
FARTHEST, FARTHEST_FITTED = 0.012, 0.022  # by which lenses stand off a face in their way; those of photos cross noses
DOME = 0.55  # slope of a lens's shading normals at its rim


@dataclass(frozen=True)
class Frame:
    """Half width and height of a lens in head heights; its outline is a deformed superellipse."""

    width: float
    height: float
    power: float  # superellipse exponent: 2 round .. 5 square
    droop: float = 0.0  # how far the outer lower corner hangs down, as on aviators
    cat: float = 0.0  # how far the outer upper corner is raised
    taper: float = 0.0  # share by which the lens is narrower at its lower edge
    rim: float = 0.0085
    upper: float = 0.0  # how much thicker the rim is above
    opacity: float = 0.03
    tint: tuple[float, float, float] = (0.20, 0.22, 0.23)
    metal: bool = False
    rimless_below: bool = False
    slip: float = 0.0  # how far they have slipped down the nose, in head heights
    sides: bool = True  # whether they have temples; pince-nez have none


FRAMES: dict[str, Frame] = {
    "round": Frame(0.104, 0.098, 2.0, rim=0.007, metal=True),
    "oval": Frame(0.112, 0.078, 2.2),
    "square": Frame(0.116, 0.080, 4.2, rim=0.011),
    "wayfarer": Frame(0.118, 0.086, 3.2, cat=0.010, rim=0.012),
    "browline": Frame(0.112, 0.080, 3.0, rim=0.010, rimless_below=True),
    "aviator": Frame(0.122, 0.100, 2.5, droop=0.018, rim=0.0055, metal=True),
    "cat_eye": Frame(0.118, 0.078, 2.6, cat=0.032, rim=0.011),
    "reading": Frame(0.096, 0.052, 2.8, rim=0.006, metal=True),
    "sun_round": Frame(0.112, 0.104, 2.0, opacity=0.95, tint=(0.012, 0.011, 0.012)),
    "sun_square": Frame(0.126, 0.090, 3.4, opacity=0.96, tint=(0.010, 0.010, 0.012), rim=0.013),
    "sun_aviator": Frame(
        0.130, 0.106, 2.5, droop=0.020, rim=0.0055, opacity=0.90, tint=(0.035, 0.028, 0.016), metal=True
    ),
    "sun_cat": Frame(0.126, 0.090, 2.6, cat=0.036, rim=0.012, opacity=0.94, tint=(0.014, 0.010, 0.010)),
}

WIRE_FRAMES: dict[str, Frame] = {  # `sample` never draws these
    "wire_round": Frame(0.098, 0.096, 2.0, rim=0.006, metal=True),
    "wire_oval": Frame(0.102, 0.070, 2.1, rim=0.006, metal=True),
    "wire_rect": Frame(0.108, 0.066, 4.0, rim=0.006, metal=True),
    "wire_hexagon": Frame(0.106, 0.088, 2.8, rim=0.006, metal=True),
    "wire_large": Frame(0.124, 0.108, 2.5, rim=0.006, metal=True),
    "half_rim": Frame(0.110, 0.070, 3.2, rim=0.008, metal=True, rimless_below=True),
    "half_moon": Frame(0.096, 0.042, 2.6, rim=0.006, metal=True, slip=0.07),
    "pince_nez": Frame(0.088, 0.078, 2.0, rim=0.006, metal=True, slip=0.02, sides=False),
    "thick_round": Frame(0.104, 0.098, 2.1, rim=0.016),
    "sun_wire": Frame(0.100, 0.094, 2.0, rim=0.006, opacity=0.88, tint=(0.02, 0.018, 0.016), metal=True),
}


WIRE_FRAME, THICK_FRAME = "wire_large", "thick_round"  # which of them a photo's glasses are, by their rims
CLEAR_FRAME = "round"  # which they are if those are not seen


def find_frame(name: str) -> Frame:
    """Return the frame of this name; `name:7` is its seventh variation."""
    kind, _, number = name.partition(":")
    frame = FRAMES[kind] if kind in FRAMES else WIRE_FRAMES[kind]
    if not number:
        return frame
    rng = np.random.default_rng([int(number), 62])
    return replace(
        frame,
        width=frame.width * rng.uniform(0.88, 1.12),
        height=frame.height * rng.uniform(0.84, 1.16),
        power=frame.power * rng.uniform(0.94, 1.12),
        rim=frame.rim * rng.uniform(0.75, 1.45),
        slip=frame.slip + max(0.0, rng.normal(0, 0.02)),
        opacity=min(frame.opacity * rng.uniform(0.6, 2.0), 0.97),
    )


def fit_frame(frame: Frame, fit: GlassesFit) -> Frame:
    """Return a frame of other measures."""
    least = {"width": 0.02, "height": 0.02, "power": 1.0, "droop": 0.0, "rim": 0.002}
    least |= {"cat": 0.0, "taper": 0.0, "upper": 0.0}
    return replace(
        frame, **{name: max(getattr(frame, name) + getattr(fit, name), low) for name, low in least.items()}
    )


def make_glasses(head: Head, parameters: HeadParameters) -> list[Mesh]:
    fit, colour = parameters.wear.glasses_fit, parameters.wear.glasses_colour
    frame = fit_frame(find_frame(parameters.wear.glasses), fit)
    shiny = Material.METAL if frame.metal else Material.PLASTIC
    outlines = [_lens_outline(head, frame, fit, i) for i in (0, 1)]
    meshes, side_rim = [], HEAD_HEIGHT * (frame.rim + SIDES * frame.upper)
    for side, outline in zip((1, -1), outlines, strict=True):
        meshes.append(_make_lens(outline, frame))
        wire = _upper_half(outline) if frame.rimless_below else outline
        thick = 0.5 * HEAD_HEIGHT * (frame.rim + frame.upper * _measure_rise(wire))
        vertices, triangles = tube(wire, thick, RIM_SIDES, closed=not frame.rimless_below)
        meshes.append(make_mesh(vertices, triangles, colour, shiny, Part.ACCESSORY))
        if frame.rimless_below:
            vertices, triangles = tube(outline, 0.0009, 6, closed=True)
            meshes.append(make_mesh(vertices, triangles, (0.5, 0.5, 0.5), Material.METAL, Part.ACCESSORY))
        if not frame.sides:
            continue
        vertices, triangles = tube(_temple_path(head, outline, side), side_rim * 0.42, 7)
        meshes.append(make_mesh(vertices, triangles, colour, shiny, Part.ACCESSORY))
    left, right = (find_bridge_end(outline, side) for side, outline in zip((1, -1), outlines, strict=True))
    arch = arch_bridge(left, right, np.linspace(0, 1, 12))
    vertices, triangles = tube(arch, side_rim * 0.45, 7)
    meshes.append(make_mesh(vertices, triangles, colour, shiny, Part.ACCESSORY))
    return meshes


def trace_lens(measures: Floats, eye: Eyeball) -> F64:
    """Return the rims (.., k, 3) of one lens, flat but for its bend to the temple.

    The last axis of `measures` holds width, height, power, droop, cat and taper of lenses, and how far they lie
    apart, higher, aside and tilted, as in `GlassesFit`, and, if it is that long, how far they lie forward.
    """
    columns = np.moveaxis(np.asarray(measures, np.float64), -1, 0)[..., None]
    width, height, power, droop, cat, taper, apart, rise, aside, tilt, *forward = columns
    scale = max(HEAD_HEIGHT, HEAD_HEIGHT * eye.radii[0] / 0.0285 * 0.82)  # toons wear larger glasses
    c, s = np.cos(RIM_ANGLES), np.sin(RIM_ANGLES)
    x = np.sign(c) * np.abs(c) ** (2 / power) * width
    y = np.sign(s) * np.abs(s) ** (2 / power) * height
    x = x * (1 - taper * np.clip(-y / height, 0, 1) ** 2)
    outer = np.clip(x / width, 0, 1) ** 2
    y = y + cat * outer * (y > 0) * (y / height) - droop * np.where(y < 0, 1, 0) * (0.3 + x / width)
    fit = (abs(eye.center[0]) - 0.004 + apart * HEAD_HEIGHT) / (width * scale)  # the lenses do not meet over the nose
    x, y = x * scale * np.minimum(1.0, fit), y * scale * np.minimum(1.0, fit)
    place = eye.center.astype(np.float64)
    center = place[0] + eye.side * (0.004 + apart * HEAD_HEIGHT)
    x, y = center + eye.side * x, place[1] - 0.004 + rise * HEAD_HEIGHT + y
    front = eye.center[2] + eye.radii[2] * 1.06 + 0.012 + HEAD_HEIGHT * sum(forward)
    z = front - 1.3 * np.maximum(np.abs(x) - abs(center), 0) ** 2 / HEAD_HEIGHT
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    up = y - place[1]
    return np.stack([x * cosine - up * sine + aside * HEAD_HEIGHT, y + (x * sine + up * (cosine - 1)), z], -1)


def trace_rim(rim: Mesh) -> F64:
    """Return the line (k, 3) around which the closed tube of a rim lies."""
    return rim.vertices.reshape(-1, RIM_SIDES, 3).mean(1, dtype=np.float64)[:-1]


def find_bridge_end(outline: F64, side: float) -> F64:
    """Return the points (.., 3) of outlines (.., k, 3) of lenses at which the bridge begins."""
    inner = np.argmin(outline[..., 0] * side - 0.3 * outline[..., 1], -1)
    return np.take_along_axis(outline, inner[..., None, None], -2)[..., 0, :]


def arch_bridge(start: Floats, end: Floats, shares: Floats) -> F64:
    """Return the points (.., k, 3) of the bridge between two lenses at these shares of its way."""
    t = np.asarray(shares)[:, None]
    return start[..., None, :] * (1 - t) + end[..., None, :] * t + np.sin(np.pi * t) * np.array([0, 0.006, 0.005])


def _lens_outline(head: Head, frame: Frame, fit: GlassesFit, side_index: int) -> np.ndarray:
    """Return the rim of one lens (k, 3), just clear of lashes, brow and cheek."""
    rise = fit.rise - frame.slip
    shape = [frame.width, frame.height, frame.power, frame.droop, frame.cat, frame.taper]
    worn = [fit.apart, rise, fit.aside, fit.tilt, fit.forward]
    points = trace_lens(np.array([*shape, *worn]), head.eyes[side_index])
    lack = np.maximum(0.006 - head.field.distance(points), 0).max()
    points[:, 2] += min(lack, FARTHEST if fit == GlassesFit() else FARTHEST_FITTED)
    return points


def _measure_rise(outline: np.ndarray) -> np.ndarray:
    """Return how far points of a rim (k, 3) belong to its upper half, 0..1."""
    height = outline[:, 1] - outline[:, 1].min()
    return smoothstep(0.45, 0.85, height / height.max())


def _upper_half(outline: np.ndarray) -> np.ndarray:
    """Return the upper half of the rim, in order."""
    middle = outline[:, 1].mean()
    start = int(np.argmax((outline[:, 1] >= middle) & (np.roll(outline[:, 1], 1) < middle)))
    rolled = np.roll(outline, -start, axis=0)
    return rolled[rolled[:, 1] >= middle - 1e-9]


def _make_lens(outline: np.ndarray, frame: Frame) -> Mesh:
    """Make a slightly domed fan of three rings, with normals of a stronger dome, so that highlights stay small."""
    center = outline.mean(0)
    half = np.ptp(outline[:, :2], axis=0) / 2
    rings = [center[None]] + [
        center + (outline - center) * r + np.array([0, 0, 0.004 * (1 - r * r)]) for r in (0.4, 0.75, 1.0)
    ]
    vertices = np.concatenate(rings)
    k = len(outline)
    i, j = np.arange(k), (np.arange(k) + 1) % k
    faces = [np.stack([0 * i, 1 + i, 1 + j], 1)]
    for ring in range(2):
        a = 1 + ring * k
        faces += [np.stack([a + i, a + k + i, a + k + j], 1), np.stack([a + i, a + k + j, a + j], 1)]
    triangles = np.concatenate(faces)
    normal = np.cross(vertices[triangles[0, 1]] - vertices[0], vertices[triangles[0, 2]] - vertices[0])
    if normal[2] < 0:
        triangles = triangles[:, ::-1]
    bulge = np.column_stack([DOME * (vertices - center)[:, :2] / half, np.ones(len(vertices))])
    return make_mesh(
        vertices, triangles, frame.tint, Material.GLASS, Part.ACCESSORY, opacity=frame.opacity, normals=unit(bulge)
    )


def _temple_path(head: Head, outline: np.ndarray, side: int) -> np.ndarray:
    """Return a path from the hinge along the head, over the ear and down behind it."""
    name = "left" if side > 0 else "right"
    top, lobe = head.landmarks[f"{name}_ear_top"], head.landmarks[f"{name}_ear_lobe"]
    hinge = outline[np.argmax(outline[:, 0] * side + 0.4 * outline[:, 1])]
    root = np.array([top[0] - side * 0.016, top[1] - 0.002, top[2] + 0.012])
    bend = np.array([top[0] - side * 0.016, top[1] - 0.010, top[2] - 0.022])
    down = np.array([lobe[0] - side * 0.012, (top[1] + lobe[1]) / 2, top[2] - 0.040])
    path = resample([hinge, hinge + np.array([side * 0.006, 0, -0.016]), root, bend, down], 30)
    return head.field.push_out(path, 0.004)


def make_jewellery(head: Head, parameters: HeadParameters) -> list[Mesh]:
    wear = parameters.wear
    meshes = []
    if wear.earrings != "none" and wear.hat not in ("hijab", "hood") and not hides_ears(wear.hat):
        for side, name in ((1, "left"), (-1, "right")):
            meshes.append(_make_earring(head.landmarks[f"{name}_ear_lobe"], side, parameters))
    if wear.nose_stud:
        point, normal = locate_on_face(head, [(0.040, -0.165)])
        vertices, triangles = ellipsoid(point[0] + 0.001 * normal[0], np.full(3, 0.0034), 8, 10)
        meshes.append(make_mesh(vertices, triangles, wear.metal, Material.METAL, Part.ACCESSORY))
    return meshes


def _make_earring(lobe: np.ndarray, side: int, parameters: HeadParameters) -> Mesh:
    wear = parameters.wear
    if wear.earrings in LARGE_EARRINGS:
        return make_large_earring(lobe, side, wear)
    root = lobe + np.array([side * 0.001, 0.006, 0.002])
    if wear.earrings == "stud":
        vertices, triangles = ellipsoid(root + np.array([side * 0.004, 0, 0.002]), np.full(3, 0.0055), 8, 12)
    elif wear.earrings == "hoop":
        angle = np.linspace(0, 2 * np.pi, 29)[:-1, None]
        ring = (
            root
            + np.array([side * 0.003, -0.024, 0])
            + 0.026 * (np.cos(angle) * np.array([0, 0.0, 1.0]) + np.sin(angle) * np.array([0, 1.0, 0]))
        )
        vertices, triangles = tube(ring, 0.0022, 6, closed=True)
    else:  # a drop earring
        t = np.linspace(0, 1, 14)
        path = root + np.outer(t, np.array([side * 0.003, -0.044, 0.0]))
        vertices, triangles = tube(path, 0.0012 + 0.006 * np.exp(-(((t - 0.8) / 0.16) ** 2)), 9)
    return make_mesh(vertices, triangles, wear.metal, Material.METAL, Part.ACCESSORY, normals=None)


def make_headphones(head: Head, colour: tuple[float, float, float], trim: tuple[float, float, float]) -> list[Mesh]:
    """Make cups over the ears and a band over the crown."""
    meshes, ends = [], []
    for side, name in ((1, "left"), (-1, "right")):
        top, lobe = head.landmarks[f"{name}_ear_top"], head.landmarks[f"{name}_ear_lobe"]
        center = (top + lobe) / 2 + np.array([side * 0.010, 0.004, 0])
        for thick, radius, hue, out in ((0.020, 0.050, trim, 0.0), (0.016, 0.044, colour, 0.018)):
            vertices, triangles = ellipsoid(
                center + np.array([side * out, 0, 0]), [thick, radius * 1.12, radius], 14, 26
            )
            meshes.append(make_mesh(vertices, triangles, hue, Material.PLASTIC, Part.ACCESSORY))
        ends.append(center + np.array([side * 0.020, 0.030, 0]))
    angle = np.linspace(0, np.pi, 40)
    middle = (ends[0] + ends[1]) / 2
    half = abs(ends[0][0] - ends[1][0]) / 2
    rise = head.landmarks["crown"][1] - middle[1] + 0.030
    arch = middle + np.stack([half * np.cos(angle), rise * np.sin(angle) ** 0.8, 0 * angle], 1)
    ring, wide = unit(np.gradient(arch, axis=0)), np.array([0, 0, 0.017])
    up = np.cross(ring, np.array([0, 0, -1.0]))
    strip = np.stack([arch - wide, arch - wide + 0.008 * up, arch + wide + 0.008 * up, arch + wide], 1)
    rows, sides = strip.shape[:2]
    meshes.append(
        make_mesh(strip.reshape(-1, 3), grid(rows, sides, closed=True), colour, Material.PLASTIC, Part.ACCESSORY)
    )
    return meshes
