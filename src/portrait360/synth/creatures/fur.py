"""Fur, manes and whiskers of animals."""

from __future__ import annotations

import numpy as np

from portrait360.synth.creatures.coats import inside_mouth
from portrait360.synth.creatures.implicit_surface import Sculpture
from portrait360.synth.hair.strands import Dye, make_strands
from portrait360.synth.meshes import unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Animal
from portrait360.synth.sampling.species import Species
from portrait360.synth.scene import Material, Part, Strands


def _coat_density(form: Sculpture, kind: Species, style: Animal) -> np.ndarray:
    """Return the share of the full fur density at every vertex: none on lids, nose, lips and in the mouth."""
    v, near = form.vertices, form.near
    bare = smoothstep(0.022, 0.006, np.abs(near["opening"])) * smoothstep(0.02, 0.01, near["lid"])
    tip = np.array(kind.tip) * np.array([1, 1, style.muzzle])
    bare = np.maximum(bare, smoothstep(0.045, 0.02, np.linalg.norm(v - tip - [0, 0.01, kind.tip_radius], axis=1)))
    lips = smoothstep(0.012, 0.003, np.abs(near["muzzle"]) + np.abs(near["jaw"])) * (v[:, 2] > 0.08)
    bare = np.maximum(np.maximum(bare, lips), inside_mouth(form, style))
    return (1 - bare) * (v[:, 1] > -0.36)


def grow_coat(form: Sculpture, kind: Species, style: Animal, colour: np.ndarray, rng: np.random.Generator) -> Strands:
    """Grow short fur over the head, longer on the cheeks and the neck."""
    v, t = form.vertices, form.triangles
    share = _coat_density(form, kind, style)
    area = np.linalg.norm(np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]]), axis=1) * share[t].mean(1)
    faces = rng.choice(len(t), 11000, p=area / area.sum())
    bary = rng.dirichlet([1, 1, 1], 11000)[:, :, None]
    root, normal, tint = ((values[t[faces]] * bary).sum(1) for values in (v, form.normals, colour))
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
    points = root[:, None] - 0.002 * normal[:, None] + length[:, None, None] * (heading[:, None] * s + bend * s**2)
    dye = Dye(tint, vary=0.14, root=0.82)
    return make_strands(points, 0.0042, dye, rng, part=Part.HAIR, material=Material.FUR, taper=0.2, normals=normal)


def grow_mane(form: Sculpture, kind: Species, style: Animal, rng: np.random.Generator) -> Strands:
    """Grow a thick mane around the face, over neck and chest."""
    v = form.vertices
    x, y, z = v.T
    wreath = smoothstep(0.07, 0.02, z + 0.25 * np.maximum(y, 0)) * (form.near["ear"] > 0.012) * (y > -0.34)
    rows = np.where(wreath > 0.2)[0]
    indices = rng.choice(rows, 5200, p=wreath[rows] / wreath[rows].sum())
    root, normal = v[indices] + rng.normal(0, 0.004, (5200, 3)), form.normals[indices]
    length = (
        kind.mane * style.fluff * np.exp(rng.normal(0, 0.2, 5200)) * (0.75 + 0.5 * smoothstep(0.05, -0.2, root[:, 1]))
    )
    out = unit(root * np.array([1, 1, 0.2]) - [0, -0.02, 0]) + 0.8 * normal + np.array([0, 0, 0.25])
    heading = unit(out + rng.normal(0, 0.2, root.shape))
    s = np.linspace(0, 1, 9)[None, :, None]
    sag = np.array([0, -0.75, -0.35])
    points = root[:, None] + length[:, None, None] * (heading[:, None] * s + sag * s**2 * 0.7)
    points += 0.008 * np.sin(s * 9 + rng.uniform(0, 6, (5200, 1, 1))) * s
    is_dark = rng.random((5200, 1)) < smoothstep(-0.12, 0.05, -root[:, 2:3] - 0.1 * rng.random((5200, 1)))
    tint = np.where(is_dark, np.array(style.marking), 0.5 * np.array(style.marking) + 0.5 * np.array(style.coat))
    return make_strands(points, 0.0070, Dye(tint, vary=0.2), rng, material=Material.FUR, taper=0.25)


def grow_whiskers(kind: Species, style: Animal, rng: np.random.Generator) -> Strands:
    """Grow seven whiskers on each side of the muzzle."""
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
    return make_strands(
        np.stack(curves),
        0.0013,
        Dye((0.75, 0.74, 0.72), vary=0.05, root=0.9),
        rng,
        material=Material.FUR,
        taper=0.15,
    )
