"""An animal's head: skull, cheeks, muzzle and jaw sculpted as one, ears, nose pad, lids, eyes, coat and whiskers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.synth import palettes
from portrait360.synth.eyes import eye_meshes
from portrait360.synth.head import Eyeball, Head
from portrait360.synth.meshes import ellipsoid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.parameters import Animal, HeadParameters
from portrait360.synth.scene import F32, I32, Material, Mesh, Part, Strands
from portrait360.synth.sculpt import Solid, ball, cone, distances, mirrored, sculpt
from portrait360.synth.species import SPECIES, Species
from portrait360.synth.strands import Dye, dress

STEP = 0.0085  # of the sculpture's grid
INNER_EAR = np.array([0.62, 0.36, 0.32])


@dataclass(frozen=True, eq=False)
class Sculpture:
    vertices: F32
    triangles: I32
    normals: F32
    near: dict[str, F32]  # distance of every vertex from every named solid
    eyes: tuple[Eyeball, Eyeball]


def animal_head(
    head: Head, parameters: HeadParameters, rng: np.random.Generator
) -> tuple[list[Mesh], list[Strands]]:
    style = parameters.animal
    assert style is not None
    kind = SPECIES[style.species]
    solids = _solids(kind, style)
    vertices, triangles, normals = sculpt(solids, (-0.30, -0.40, -0.26), (0.30, 0.56, 0.42), STEP)
    form = Sculpture(vertices, triangles, normals, distances(solids, vertices), _eyes(kind))
    colour = coat_colour(form, kind, style, parameters.seed)
    meshes = [make_mesh(vertices, triangles, colour, Material.FUR, Part.SKIN, normals=normals)]
    meshes += _nose(kind, style)
    meshes += eye_meshes(replace(head, eyes=form.eyes), _looking(parameters))
    strands = [_fur(form, kind, style, colour, rng)]
    if kind.mane:
        strands.append(_mane(form, kind, style, rng))
    if kind.whiskers:
        strands.append(_whiskers(kind, style, rng))
    return meshes, strands


def _looking(parameters: HeadParameters) -> HeadParameters:
    return replace(parameters, eyes=replace(parameters.eyes, iris_size=0.74, pupil=0.42))


def animal_landmarks(kind: Species) -> dict[str, F32]:
    """The same names as on a human face, where an animal has them."""
    out = {"nose_tip": np.array(kind.tip) + [0, kind.tip_radius * 0.5, kind.tip_radius + kind.nose[2]]}
    out["chin"] = np.array(kind.jaw) + [0, -kind.jaw_radius, 0]
    for side, name in ((1, "left"), (-1, "right")):
        flip = np.array([side, 1, 1])
        x, y, z = kind.eye
        r = kind.eye_radius
        out[f"{name}_eye_inner"], out[f"{name}_eye_outer"] = (
            np.array([x - r, y, z]) * flip,
            np.array([x + r, y, z]) * flip,
        )
        out[f"{name}_ear_top"] = np.array(kind.ear_tip) * flip
    return {name: point.astype(np.float32) for name, point in out.items()}


def _eyes(kind: Species) -> tuple[Eyeball, Eyeball]:
    center, radius = np.array(kind.eye, np.float32), np.full(3, kind.eye_radius, np.float32)
    return Eyeball(center, radius, 1), Eyeball(center * np.array([-1, 1, 1], np.float32), radius, -1)


def _solids(kind: Species, style: Animal) -> list[Solid]:
    reach = np.array([1, 1, style.muzzle])
    tip = (np.array(kind.tip) - kind.bridge) * reach + kind.bridge
    jaw_root = np.array([0.0, -0.075, 0.05])
    drop = np.radians(20 * style.mouth_open)
    jaw = np.array(kind.jaw) * reach - jaw_root
    jaw = jaw_root + np.array(
        [0, jaw[1] * np.cos(drop) - jaw[2] * np.sin(drop), jaw[2] * np.cos(drop) + jaw[1] * np.sin(drop)]
    )
    cheek = np.array(kind.cheek) * np.array([style.cheeks, 1, 1])
    both = [ball("cheek", kind.cheek_at, cheek, blend=0.06)]
    both.append(
        ball(
            "brow",
            np.array(kind.eye) + [-0.006, kind.eye_radius * 0.95, -0.012],
            (0.042, 0.022, 0.035),
            blend=kind.brow,
        )
    )
    if kind.pads:
        pad = tip + np.array([kind.pads * 0.72, -kind.tip_radius * 0.45, -kind.pads * 0.35])
        both.append(ball("pad", pad, (kind.pads, kind.pads * 0.85, kind.pads * 0.9), blend=0.022))
    solids = [
        cone("neck", (0, -0.03, -0.045), (0, -0.48, -0.065), (kind.neck * 1.12, kind.neck * 0.80), blend=0.05),
        ball("skull", kind.skull_at, kind.skull, blend=0.05),
        *both, *map(mirrored, both),
        cone("muzzle", kind.bridge, tip, (kind.bridge_radius, kind.tip_radius), wide=kind.muzzle_width, blend=0.055),
        cone("jaw", jaw_root, jaw, (kind.jaw_radius + 0.022, kind.jaw_radius), wide=kind.muzzle_width * 1.1, blend=0.007),
    ]  # fmt: skip
    lids = [_lid(kind), _opening(kind)]
    ears = _ear(kind, style)
    for group in (lids, ears):
        for solid in group:
            solids += [solid, mirrored(solid)]
    return solids


def _lid(kind: Species) -> Solid:
    return ball("lid", kind.eye, kind.eye_radius * 1.16, blend=0.030)


def _opening(kind: Species) -> Solid:
    """The almond between the lids, cut to the eyeball."""
    r, slant = kind.eye_radius, np.radians(kind.eye_slant)
    axes = np.array([[np.cos(slant), np.sin(slant), 0], [-np.sin(slant), np.cos(slant), 0], [0, 0, 1]])
    outward = unit(np.array([kind.eye[0] * 0.55, 0.02, 0.12]))
    center = np.array(kind.eye) + outward * r * 1.02
    return ball("opening", center, (1.02 * r, kind.eye_open * r, 0.92 * r), blend=0.004, cut=True, axes=axes)


def _ear(kind: Species, style: Animal) -> list[Solid]:
    root = np.array(kind.ear_at)
    tip = root + (np.array(kind.ear_tip) - root) * style.ears
    width = kind.ear_width
    if kind.ear == "round":
        face = unit(np.array([0.35, 0.1, 1.0]))
        center = (root + tip) / 2 + (tip - root) * 0.25
        axes = np.stack(
            [unit(np.cross([0, 1, 0], face)), np.cross(face, unit(np.cross([0, 1, 0], face))), face]
        )
        return [
            ball("ear", center, (width, width, 0.026), blend=0.022, axes=axes),
            ball(
                "inner_ear",
                center + 0.026 * face,
                (width * 0.66, width * 0.66, 0.026),
                blend=0.010,
                cut=True,
                axes=axes,
            ),
        ]
    if kind.ear == "flop":
        bend = root + np.array([0.050, 0.022, 0.0])
        return [
            cone("ear", root - [0.02, 0, 0], bend, (0.030, 0.028), flat=1.0, blend=0.03),
            cone(
                "ear",
                bend - [0.004, 0.01, 0],
                tip,
                (0.026, width * 0.78),
                side=(0.15, 0, 1.0),
                wide=1.0,
                flat=0.32,
                blend=0.022,
            ),
        ]
    # the cup opens forwards and a little outwards
    ahead = np.array([0.025, -0.01, 0.055]) if kind.ear == "point" else np.array([0.012, 0.0, 0.040])
    across = unit(np.cross(tip - root, ahead))
    narrow = 0.15 if kind.ear == "point" else 0.55
    return [
        cone("ear", root, tip, (width, width * narrow), side=across, flat=0.48, blend=0.030),
        cone(
            "inner_ear", root + 0.55 * ahead + (tip - root) * 0.10, root + (tip - root) * 0.93 + 0.42 * ahead,
            (width * 0.80, width * narrow * 0.55), side=across, flat=0.46, blend=0.008, cut=True,
        ),
    ]  # fmt: skip


def coat_colour(form: Sculpture, kind: Species, style: Animal, seed: int) -> np.ndarray:
    v, near = form.vertices, form.near
    x, y, z = v.T
    coat, belly, mark = (np.array(c) for c in (style.coat, style.belly, style.marking))
    colour = coat * (0.86 + 0.28 * noise(v, 18.0, seed, 2))[:, None]

    def paint(other: np.ndarray, amount: np.ndarray) -> None:
        colour[:] += (other * (0.9 + 0.2 * noise(v, 40.0, seed + 2))[:, None] - colour) * np.clip(
            amount, 0, 1
        )[:, None]

    below = smoothstep(0.012, -0.028, y - (kind.tip[1] + 0.25 * (z - kind.tip[2])))
    muzzle = smoothstep(0.03, 0.0, np.minimum(near["muzzle"], near["jaw"])) * smoothstep(0.09, 0.15, z)
    if "pad" in near:
        muzzle = np.maximum(muzzle * 0.6, smoothstep(0.022, 0.004, near["pad"]))
    throat = smoothstep(-0.085, -0.125, y + 0.35 * np.abs(x) - 0.15 * (z - 0.1)) * smoothstep(-0.04, 0.05, z)
    painter = _PATTERNS[style.pattern]
    painter(paint, form, kind, coat, belly, mark, seed)
    if style.pattern in ("fox",):
        paint(belly, np.maximum(muzzle * below, throat))
    elif style.pattern != "points":
        paint(
            belly,
            np.maximum(
                muzzle * (1.0 if kind.ear == "round" and not kind.pads else 0.3 + 0.7 * below), throat * 0.8
            ),
        )
    ear = smoothstep(0.006, -0.002, -near["inner_ear"] - 0.004) if "inner_ear" in near else np.zeros(len(v))
    if "inner_ear" in near:
        ear = smoothstep(0.007, 0.0, np.abs(near["inner_ear"])) * smoothstep(0.02, 0.0, near["ear"])
        paint(0.5 * belly + 0.5 * INNER_EAR, ear)
    seam = np.maximum(
        smoothstep(0.013, 0.004, np.abs(near["muzzle"])) * smoothstep(0.013, 0.004, np.abs(near["jaw"])), 0
    )
    paint(np.array([0.035, 0.015, 0.014]), seam * smoothstep(0.07, 0.11, z))
    rim = smoothstep(0.010, 0.002, np.abs(near["opening"])) * smoothstep(0.02, 0.006, near["lid"])
    paint(np.array([0.015, 0.011, 0.010]), rim)
    return colour


def _plain(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    y = form.vertices[:, 1]
    paint(coat * 0.72, smoothstep(0.02, 0.2, y) * 0.5)


def _fox(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    cheeks = (
        smoothstep(0.055, 0.10, np.abs(x))
        * smoothstep(0.012, -0.035, y - 0.25 * (np.abs(x) - 0.1))
        * smoothstep(-0.09, 0.0, z)
    )
    paint(belly, cheeks)
    tips = smoothstep(0.02, 0.0, form.near["ear"]) * smoothstep(0.20, 0.25, y)
    paint(mark, tips)
    paint(
        0.6 * coat + 0.4 * mark,
        0.5
        * smoothstep(0.016, 0.0, np.abs(np.abs(x) - 0.03 - 0.1 * np.maximum(y, 0)))
        * smoothstep(0.1, 0.16, z)
        * (y > -0.03),
    )


def _tabby(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    waver = 3.5 * (noise(form.vertices, 9.0, seed + 4) - 0.5)
    forehead = smoothstep(0.07, 0.12, y) * smoothstep(-0.05, 0.08, z)
    stripes = smoothstep(0.15, 0.7, np.sin(np.abs(x) * 150 / kind.pattern_scale + 1.2 + waver)) * forehead
    sides = smoothstep(0.05, 0.10, np.abs(x)) * (1 - forehead)
    bands = smoothstep(0.2, 0.7, np.sin((y - 0.5 * np.abs(x)) * 120 / kind.pattern_scale + waver)) * sides
    back = smoothstep(0.1, 0.7, np.sin(y * 95 / kind.pattern_scale + waver)) * smoothstep(0.0, -0.08, z)
    paint(mark, 0.85 * np.maximum(np.maximum(stripes, bands * smoothstep(0.16, 0.02, z)), back))


def _tiger(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    cheeks = smoothstep(0.06, 0.11, np.abs(x)) * smoothstep(0.02, -0.05, y) * smoothstep(-0.06, 0.02, z)
    paint(
        belly,
        np.maximum(
            cheeks,
            smoothstep(0.035, 0.02, np.hypot(np.abs(x) - kind.eye[0], y - kind.eye[1] - 0.045)) * (z > 0.05),
        ),
    )
    _tabby(paint, form, kind, coat, belly, mark, seed)


def _points(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    mask = smoothstep(0.12, 0.04, np.hypot(x * 0.9, y + 0.01)) * smoothstep(0.05, 0.12, z)
    paint(0.45 * mark, np.maximum(mask * 0.85, smoothstep(0.02, 0.0, form.near["ear"])))


def _patches(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    spot = smoothstep(0.09, 0.065, np.hypot(x - kind.eye[0], (y - kind.eye[1] - 0.02) * 0.9)) * (z > 0)
    blots = smoothstep(0.56, 0.62, noise(form.vertices, 6.5, seed + 6, 2)) * smoothstep(0.06, -0.02, z)
    paint(mark, np.maximum(np.maximum(spot, blots), smoothstep(0.02, 0.0, form.near["ear"])))


def _panda(paint, form, kind, coat, belly, mark, seed) -> None:  # noqa: ANN001
    x, y, z = form.vertices.T
    ax = np.abs(x) - kind.eye[0] - 0.010
    drop = np.hypot(ax + 0.5 * (y - kind.eye[1] + 0.012), (y - kind.eye[1] + 0.012) * 0.8)
    patch = smoothstep(0.056, 0.044, drop) * smoothstep(0.0, 0.06, z)
    paint(
        mark,
        np.maximum(np.maximum(patch, smoothstep(0.02, 0.004, form.near["ear"])), smoothstep(-0.20, -0.24, y)),
    )


_PATTERNS = {"plain": _plain, "fox": _fox, "tabby": _tabby, "tiger": _tiger, "points": _points, "patches": _patches, "panda": _panda}  # fmt: skip


def _nose(kind: Species, style: Animal) -> list[Mesh]:
    """A leathery pad with two nostrils."""
    tip = (np.array(kind.tip) - kind.bridge) * [1, 1, style.muzzle] + kind.bridge
    center = tip + np.array([0, kind.tip_radius * 0.52, kind.tip_radius * 0.80])
    vertices, triangles = ellipsoid(np.zeros(3), np.ones(3), 20, 30)
    x, y, z = vertices.T
    shaped = np.stack([x * (1 + 0.28 * y), y * (1 - 0.12 * np.abs(x)), z], 1)  # broad above, narrow below
    colour = np.broadcast_to(np.array(palettes.linear(kind.nose_colour)), vertices.shape)
    hole = np.exp(-(((np.abs(x) - 0.48) / 0.20) ** 2) - ((y + 0.12) / 0.26) ** 2) * (z > 0.2)
    groove = np.exp(-((x / 0.10) ** 2)) * smoothstep(0.1, -0.4, y) * (z > 0)
    shaped = shaped * (1 - 0.18 * hole - 0.08 * groove)[:, None]
    colour = colour * (1 - 0.85 * np.maximum(hole, 0.6 * groove))[:, None]
    return [make_mesh(center + shaped * np.array(kind.nose), triangles, colour, Material.PLASTIC, Part.SKIN)]


def _fur(
    form: Sculpture, kind: Species, style: Animal, colour: np.ndarray, rng: np.random.Generator
) -> Strands:
    v, t, near = form.vertices, form.triangles, form.near
    x, y, z = v.T
    bare = smoothstep(0.022, 0.006, np.abs(near["opening"])) * smoothstep(0.02, 0.01, near["lid"])
    tip = np.array(kind.tip) * np.array([1, 1, style.muzzle])
    bare = np.maximum(
        bare, smoothstep(0.045, 0.02, np.linalg.norm(v - tip - [0, 0.01, kind.tip_radius], axis=1))
    )
    bare = np.maximum(
        bare, smoothstep(0.012, 0.003, np.abs(near["muzzle"]) + np.abs(near["jaw"])) * (z > 0.08)
    )
    share = (1 - bare) * (y > -0.36)
    area = np.linalg.norm(np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]]), axis=1) * share[t].mean(
        1
    )
    chosen = rng.choice(len(t), 11000, p=area / area.sum())
    bary = rng.dirichlet([1, 1, 1], 11000)[:, :, None]
    root, normal, tint = ((values[t[chosen]] * bary).sum(1) for values in (v, form.normals, colour))
    front = smoothstep(0.10, 0.22, root[:, 2])
    ruff = (
        smoothstep(0.07, 0.13, np.abs(root[:, 0]))
        * smoothstep(0.06, -0.03, root[:, 1])
        * smoothstep(-0.22, -0.12, root[:, 1])
    )
    low = smoothstep(-0.12, -0.24, root[:, 1])
    ears = smoothstep(0.13, 0.2, root[:, 1]) * smoothstep(0.07, 0.11, np.abs(root[:, 0]))
    length = kind.fur * (1 - 0.72 * front) * (1 - 0.45 * ears) + kind.ruff * ruff + 0.014 * low
    length = length * style.fluff * np.exp(rng.normal(0, 0.18, len(root)))
    flow = unit(root - [0, -0.02, 0.34]) + np.stack(
        [0.5 * np.sign(root[:, 0]) * ruff, -0.45 - 0.6 * low - 0.5 * ruff + 1.5 * ears, 0 * low], 1
    )
    flow = flow - (flow * normal).sum(1, keepdims=True) * normal
    heading = unit(unit(flow) + (0.42 + 0.2 * ruff)[:, None] * normal + rng.normal(0, 0.16, root.shape))
    s = np.linspace(0, 1, 5)[None, :, None]
    bend = unit(flow)[:, None] * 0.35 + np.array([0, -0.18, 0])
    points = (
        root[:, None] - 0.002 * normal[:, None] + length[:, None, None] * (heading[:, None] * s + bend * s**2)
    )
    return dress(
        points,
        0.0042,
        Dye(tint, vary=0.14, root=0.82),
        rng,
        part=Part.HAIR,
        material=Material.FUR,
        taper=0.2,
        normals=normal,
    )


def _mane(form: Sculpture, kind: Species, style: Animal, rng: np.random.Generator) -> Strands:
    """A thick wreath about the face, over neck and breast."""
    v = form.vertices
    x, y, z = v.T
    wreath = smoothstep(0.07, 0.02, z + 0.25 * np.maximum(y, 0)) * (form.near["ear"] > 0.012) * (y > -0.34)
    rows = np.where(wreath > 0.2)[0]
    chosen = rng.choice(rows, 5200, p=wreath[rows] / wreath[rows].sum())
    root, normal = v[chosen] + rng.normal(0, 0.004, (5200, 3)), form.normals[chosen]
    length = (
        kind.mane
        * style.fluff
        * np.exp(rng.normal(0, 0.2, 5200))
        * (0.75 + 0.5 * smoothstep(0.05, -0.2, root[:, 1]))
    )
    out = unit(root * np.array([1, 1, 0.2]) - [0, -0.02, 0]) + 0.8 * normal + np.array([0, 0, 0.25])
    heading = unit(out + rng.normal(0, 0.2, root.shape))
    s = np.linspace(0, 1, 9)[None, :, None]
    sag = np.array([0, -0.75, -0.35])
    points = root[:, None] + length[:, None, None] * (heading[:, None] * s + sag * s**2 * 0.7)
    points += 0.008 * np.sin(s * 9 + rng.uniform(0, 6, (5200, 1, 1))) * s
    mix = rng.random((5200, 1)) < smoothstep(-0.12, 0.05, -root[:, 2:3] - 0.1 * rng.random((5200, 1)))
    tint = np.where(mix, np.array(style.marking), 0.5 * np.array(style.marking) + 0.5 * np.array(style.coat))
    return dress(points, 0.0070, Dye(tint, vary=0.2), rng, material=Material.FUR, taper=0.25)


def _whiskers(kind: Species, style: Animal, rng: np.random.Generator) -> Strands:
    tip = np.array(kind.tip) * np.array([1, 1, style.muzzle])
    curves = []
    for side in (1, -1):
        for i in range(7):
            start = tip + np.array(
                [
                    side * (kind.tip_radius * 0.9 + kind.pads * 0.85),
                    -0.012 - 0.008 * (i % 3),
                    -0.012 - 0.010 * (i // 3),
                ]
            )
            heading = unit(np.array([side * 1.0, 0.22 - 0.10 * i + rng.normal(0, 0.05), 0.10 - 0.06 * i]))
            s = np.linspace(0, 1, 9)[:, None]
            reach = 0.115 * np.exp(rng.normal(0, 0.15))
            curves.append(start + reach * (heading * s + np.array([0, -0.30, -0.22]) * s**2))
    return dress(
        np.stack(curves),
        0.0013,
        Dye((0.75, 0.74, 0.72), vary=0.05, root=0.9),
        rng,
        material=Material.FUR,
        taper=0.15,
    )
