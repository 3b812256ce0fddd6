"""Choose the hat of an avatar, and how it is worn: that whose outline agrees best with the photo's labels.

How high it sits, how far it is tilted and how wide its brim is are found step by step, for a portrait shows hats at
all angles. What the photo shows of hair before the head is no hat: a brim that hides it sits too low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.clothes.collar import SIDE, weigh
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.hats import EXTRA_HATS, find_hat
from portrait360.synth.sampling.parameters import HatFit, HeadParameters, Wear
from portrait360.synth.wear.hat_fit import fit_hat
from portrait360.synth.wear.hat_meshes import hat_meshes
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

HATS_OF_FAMILY = {
    "knit": ("beanie", "slouch", "bobble", "pillbox", "watch_cap", "fur_hat", "fez"),
    "cap": ("cap", "visor_back", "newsboy", "trucker", "peaked_cap"),
    "brim": (
        "fedora", "sun_hat", "bowler", "top_hat", "cowboy", "straw", "boater", "bucket", "wide_brim", "floppy_hat",
        "felt_hat", "western", "cloche",
    ),
    "beret": ("beret", "painter_beret", "flat_bonnet"),
    "helmet": ("helmet",),
    "turban": ("turban", "bandana", "chef", "wound_turban", "crossed_turban", "tailed_turban", "kerchief"),
    "band": ("headband", "wide_band", "tied_band", "wreath"),
    "crown": ("crown",),
    "hood": ("hood", "long_veil", "mantle", "cowl"),
    "hijab": ("hijab", "headscarf", "shawl"),
    "headphones": ("headphones",),
}  # fmt: skip
BEST, VARIATIONS = 3, 6  # hats of which variations are tried, and how many of each
ALIKE = 2  # hats of the best family that are worn otherwise
NEAR, LIKELY = 0.1, 0.2  # score by which hats of other families may be worse, and their families' least probability
WIDTH = 0.3  # weight of how far a hat reaches to the sides: it tells brims, which the crown's area does not
COVERS = 1.0  # weight of the share of a hat that hides what the photo shows: a hood, where there are neck and shirt
MOVES: tuple[Mapping[str, float], ...] = (
    {"front": 0.06, "back": 0.06},
    {"front": 0.08, "back": -0.16},
    {"brim": 0.08},
    {"curl": 0.10},
    {"rise": 0.06},
    {"flare": 0.08},
    {"tilt": 5.0},
)
"""What is tried: higher, further tilted back, ..."""
SCALES = (1.0, 1.0, 0.5, 0.25)
LIMITS = {"front": 0.5, "back": 0.6, "rise": 0.2, "brim": 0.3, "curl": 0.5, "flare": 0.25, "tilt": 25.0}
UNSEEN = 0.015  # overlap that what lies on the far side of a head may cost
STRANGE = 0.02  # overlap that each measure at its limit costs: what makes no difference stays as it is


def choose_hat(head: Head, photo: Photo, parameters: HeadParameters, families: dict[str, float]) -> Wear:
    """Return what is worn, with a hat; `families` holds the reader's probabilities."""
    search = HatSearch(head, photo, parameters, families)
    found = sorted((search.rate(name) for name in search.family_of), reverse=True, key=lambda f: f[0])
    varied = [f"{name}:{i}" for _, name, _ in found[:BEST] if _can_vary(name) for i in range(VARIATIONS)]
    best = max([found[0], *(search.rate(name) for name in varied)], key=lambda f: f[0])[1]
    alike = [name for _, name, _ in found if search.find_family(name) == search.find_family(best)]
    tried = dict.fromkeys([best, *alike[:ALIKE], *search.find_rivals(found, best)]) if _can_fit(best) else [best]
    _, name, fit = max((search.refine(name) for name in tried if _can_fit(name) or name == best), key=lambda f: f[0])
    return replace(parameters.wear, hat=name, fit=search.even_out(name, fit))


def _can_vary(name: str) -> bool:
    """Return whether a hat has variations that are more than another `HatFit`."""
    return name in EXTRA_HATS and not _can_fit(name)


def _can_fit(name: str) -> bool:
    """Return whether a hat can be worn otherwise: cloth that hangs about a face cannot."""
    hat = None if name == "headphones" else find_hat(name)
    return hat is not None and hat.opening is None and hat.drape is None


class HatSearch:
    """Rates hats on one head against one photo."""

    def __init__(self, head: Head, photo: Photo, parameters: HeadParameters, families: dict[str, float]) -> None:
        self.head, self.camera, self.parameters, self.families = head, photo.camera, parameters, families
        self.family_of = {name: family for family, names in HATS_OF_FAMILY.items() for name in names}
        labels = cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        self.depth = rasterizer.rasterise(head.body, head.triangles, photo.camera, SIDE).depth
        self.is_hat, self.is_bare = labels == Label.HAT, np.isin(labels, (*SKIN_LABELS, Label.CLOTHES))
        self.counts = ~np.isin(labels, (VOID, Label.BEARD, Label.OBJECT))
        self.is_hair = labels == Label.HAIR

    def find_family(self, name: str) -> str:
        return self.family_of[name.partition(":")[0]]

    def find_rivals(self, found: list[tuple[float, str, HatFit]], best: str) -> list[str]:
        """Return the best hats of likely other families, which may agree better once they are worn otherwise."""
        least = max(score for score, _, _ in found) - NEAR
        firsts: dict[str, str] = {}
        for score, name, _ in found:
            family = self.find_family(name)
            if score > least and self.families.get(family, 0.0) > LIKELY and family != self.find_family(best):
                firsts.setdefault(family, name)
        return list(firsts.values())[:ALIKE]

    def rate(self, name: str, fit: HatFit | None = None) -> tuple[float, str, HatFit]:
        """Return how well a hat agrees, and the hat.

        As it is usually worn, it may lie on what is hair: which hat it is, is not told by how it is worn.
        """
        before = self.depth > 0  # beside the head, a brim lies behind the hair
        counts = self.counts & ~(self.is_hair & ~before if fit is not None else self.is_hair)
        fit = HatFit() if fit is None else fit
        shown = self._draw(name, fit)
        columns = self.is_hat.any(0), shown.any(0)
        wide = float((columns[0] & columns[1]).sum() / max((columns[0] | columns[1]).sum(), 1))
        covers = float((shown & self.is_bare).sum() / max(shown.sum(), 1))
        overlap = float((shown & self.is_hat).sum() / max(((shown | self.is_hat) & counts).sum(), 1))
        usual = weigh(self.families, self.find_family(name))
        strange = sum(abs(getattr(fit, key)) / limit for key, limit in LIMITS.items())
        return overlap + WIDTH * wide - COVERS * covers + usual - STRANGE * strange, name, fit

    def refine(self, name: str) -> tuple[float, str, HatFit]:
        """Wear a hat otherwise, as long as that helps."""
        best = self.rate(name, HatFit())
        if not _can_fit(name):
            return best
        moves = [move for move in MOVES if find_hat(name).brim or not {"brim", "curl"} & set(move)]
        for scale in SCALES:
            for move in moves:
                options = [_move(best[2], move, scale * sign) for sign in (-1, 1)]
                best = max([best, *(self.rate(name, option) for option in options)], key=lambda f: f[0])
        return best

    def even_out(self, name: str, fit: HatFit) -> HatFit:
        """Let the rim come down as far on both sides, unless the photo shows that it does not.

        From the side, one sees how far cloth covers a temple; on the other one it is the same.
        """
        even = replace(fit, even=1.0)
        uneven = fit.tilt and not find_hat(name).brim
        return even if uneven and self.rate(name, even)[0] > self.rate(name, fit)[0] - UNSEEN else fit

    def _draw(self, name: str, fit: HatFit) -> Bools:
        """Return where a hat is seen before the head (SIDE, SIDE)."""
        worn = replace(self.parameters, wear=replace(self.parameters.wear, hat=name, fit=fit))
        shell = None if name == "headphones" else fit_hat(self.head, name, fit)
        meshes = hat_meshes(self.head, shell, worn)
        firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        triangles = [mesh.triangles + first for mesh, first in zip(meshes, firsts[:-1], strict=True)]
        vertices = np.concatenate([mesh.vertices for mesh in meshes])
        hat = rasterizer.rasterise(vertices, np.concatenate(triangles), self.camera, SIDE)
        return (hat.ids >= 0) & ((self.depth == 0) | (hat.depth < self.depth))


def _move(fit: HatFit, move: Mapping[str, float], scale: float) -> HatFit:
    """Return how a hat is worn after a move, within limits."""
    changed = {name: getattr(fit, name) + scale * step for name, step in move.items()}
    return replace(
        fit, **{name: round(float(np.clip(v, -LIMITS[name], LIMITS[name])), 4) for name, v in changed.items()}
    )
