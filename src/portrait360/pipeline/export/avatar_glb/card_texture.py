"""The texture of cards of hair: on its own place of it, each card shows the strands that it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.numba_jit import njit_fast
from portrait360.pipeline.export.avatar_glb.light import show
from portrait360.pipeline.export.avatar_glb.texture import encode
from portrait360.utils.array_types import F32, I32, Bytes

SIDES = ((600, 512), (5000, 1024))  # most segments of cards, and the side of their texture in texels
SIDE = 1536  # for more
WIDE = (12, 64)  # texels of a card and its margins
LONG = 3.2  # length of a card's place against its width, at least
MARGIN = 1.5  # texels beside a card that stay clear, so that its neighbour is not seen
LEAST, MOST, COPIES = 11, 26, 3  # hairs on a card, and how often a strand may be on it to make them so many
COVER = 1.5  # their widths together, against that of the card
WIDTHS = (0.05, 0.25)  # half the width of a hair, in halves of that of its card
SPREAD, TONES = 0.72, 0.16  # how far hairs that stand in for missing ones lie apart, and how much they differ
RAGGED = (0.06, 0.22)  # shares of the length over which hairs begin and end
THIN = 0.6  # of the width that a hair loses toward its tip
EDGE, CLOSER = 0.12, 0.35  # margin beside the hairs, and share of the width that they lose toward the tip
OWN, OWN_SHARE = 0.5, 0.3  # how far a strand leaves its place at most, and the share of it that its card shows
CUTOFF = 0.35  # alpha from which a texel is hair
STEPS, ALPHA_STEPS = 40, 7  # levels of colours and of alpha: more make files large, and are not seen
SEED = 41


@dataclass(frozen=True, eq=False)
class Hairs:
    """Strands as they lie on their cards."""

    card: I32 | NDArray[np.intp]  # (h,)
    across: F32 | None  # (h, k) from -1, the left side of the card, to 1
    colours: F32  # (h, k, 3) linear


@dataclass(frozen=True)
class Places:
    """Where the cards lie in their texture: in columns, one below the other."""

    side: int
    columns: int
    wide: int
    high: int

    def uv(self, card: NDArray[np.integer], across: F32, along: F32) -> F32:
        """Return texture coordinates (n, 2) of points of cards, which lie at -1 to 1 across and 0 to 1 along them."""
        row, column = np.divmod(card, self.columns)
        x = (column + 0.5) * self.wide + across * (self.wide / 2 - MARGIN)
        y = row * self.high + MARGIN + along * (self.high - 2 * MARGIN)
        return (np.stack([x, y], -1) / self.side).astype(np.float32)


def place_cards(count: int, segments: int) -> Places:
    """Return places for this many cards of so many segments together, as large as the texture allows."""
    side = next((side for most, side in SIDES if segments <= most), SIDE)
    wide = int(np.clip(np.sqrt(side * side / (LONG * max(count, 1))), *WIDE))
    columns = side // wide
    rows = -(-count // columns)
    return Places(side, columns, wide, max(side // max(rows, 1), 2))


def draw_cards(hairs: Hairs, count: int, places: Places) -> F32:
    """Return linear colours and alpha (side, side, 4) of this many cards."""
    rng = np.random.default_rng(SEED)
    hairs, number = _complete(hairs, count, rng)
    size = len(hairs.card)
    order = rng.permutation(size)
    order = order[np.argsort(hairs.card[order], kind="stable")]
    across = _lay_side_by_side(hairs, number, rng)
    width = np.clip(COVER / number[hairs.card], *WIDTHS) * rng.uniform(0.75, 1.25, size)
    aside = np.abs(across.mean(1))
    ends = np.stack([rng.uniform(0, RAGGED[0], size), 1 - RAGGED[1] * (0.4 * aside + 0.6 * rng.random(size))], 1)
    mean = np.zeros((count, 3))
    np.add.at(mean, hairs.card, hairs.colours.mean(1))
    mean /= np.maximum(number, 1)[:, None]
    texture = np.zeros((places.side, places.side, 4), np.float32)
    _draw(
        texture, hairs.card[order].astype(np.int64), across[order].astype(np.float32), hairs.colours[order],
        width[order].astype(np.float32), ends[order].astype(np.float32), mean.astype(np.float32),
        places.columns, places.wide, places.high, MARGIN, THIN,
    )  # fmt: skip
    return texture


def _complete(hairs: Hairs, count: int, rng: np.random.Generator) -> tuple[Hairs, NDArray[np.int64]]:
    """Return hairs of which every card has enough and none too many, and their numbers (count,)."""
    assert hairs.across is not None
    order = rng.permutation(len(hairs.card))
    order = order[np.argsort(hairs.card[order], kind="stable")]
    number = np.bincount(hairs.card, minlength=count)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
    order = order[rank < MOST]
    number = np.minimum(number, MOST)
    copies = np.minimum(np.ceil(LEAST / np.maximum(number, 1)), COPIES).astype(int)[hairs.card[order]]
    rows = np.repeat(order, copies)
    card, across, colours = hairs.card[rows], hairs.across[rows], hairs.colours[rows]
    extra = np.repeat(copies, copies) > 1
    shift = rng.uniform(-SPREAD, SPREAD, (len(rows), 1)) + rng.normal(0, 0.12, (len(rows), 1)) * np.linspace(
        -1, 1, across.shape[1]
    )
    across = np.where(extra[:, None], 0.3 * across + shift, across)
    tone = np.exp(np.clip(rng.normal(0, TONES, (len(rows), 1, 1)), -2 * TONES, 2 * TONES))
    colours = colours * np.where(extra[:, None, None], tone, tone**0.5)
    full = Hairs(card, across.astype(np.float32), colours.astype(np.float32))
    return full, np.bincount(card, minlength=count)


def _lay_side_by_side(hairs: Hairs, number: NDArray[np.int64], rng: np.random.Generator) -> F32:
    """Return where hairs lie across their cards (h, k): in their order, evenly, and closer to each other at the tip.

    As strands cross, as they do in a bundle, cards would be full of holes.
    """
    assert hairs.across is not None
    mean = hairs.across.mean(1)
    order = np.lexsort((mean, hairs.card))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
    place = (rank + rng.uniform(0.1, 0.9, len(order))) / number[hairs.card] * 2 - 1
    along = np.linspace(0, 1, hairs.across.shape[1])
    own = np.clip(hairs.across - mean[:, None], -OWN, OWN)
    return ((1 - EDGE) * place[:, None] * (1 - CLOSER * along**2) + OWN_SHARE * own).astype(np.float32)


@njit_fast
def _draw(texture, card, across, colours, width, ends, mean, columns, wide, high, margin, thin):
    """Lay hairs, which come card by card, over one another in premultiplied colours, then divide by alpha."""
    k = across.shape[1]
    for h in range(len(card)):
        top, left = card[h] // columns * high, card[h] % columns * wide
        for y in range(high):
            t = min(max((y + 0.5 - margin) / (high - 2 * margin), 0.0), 1.0)
            if t < ends[h, 0] or t > ends[h, 1]:
                continue
            i = min(int(t * (k - 1)), k - 2)
            f = t * (k - 1) - i
            s = (t - ends[h, 0]) / max(ends[h, 1] - ends[h, 0], 1e-6)
            half = width[h] * min(0.45 + 6 * s, 1.0) * (1 - thin * s * s) * (0.5 * wide - margin)
            x = (across[h, i] * (1 - f) + across[h, i + 1] * f) * (0.5 * wide - margin) + 0.5 * wide
            low, end = max(x - half, margin), min(x + half, wide - margin)
            for column in range(int(low), min(int(end) + 1, wide)):
                cover = min(end, column + 1.0) - max(low, float(column))
                if cover <= 0:
                    continue
                texel = texture[top + y, left + column]
                for c in range(3):
                    colour = colours[h, i, c] * (1 - f) + colours[h, i + 1, c] * f
                    texel[c] = texel[c] * (1 - cover) + colour * cover
                texel[3] = texel[3] * (1 - cover) + cover
    for n in range(len(mean)):
        top, left = n // columns * high, n % columns * wide
        for y in range(top, top + high):
            for x in range(left, left + wide):
                texel = texture[y, x]
                for c in range(3):  # a little of the mean, where no hair lies only that
                    texel[c] = (texel[c] + 0.02 * mean[n, c]) / (texel[3] + 0.02)


def finish_texture(texture: F32, *, shown: bool) -> Bytes:
    """Return a texture of cards (side, side, 4) in sRGB; `shown` colours are light, others albedo."""
    flat = np.ascontiguousarray(texture[..., :3].reshape(-1, 3), np.float32)
    colours = (show(flat) if shown else encode(flat)).reshape(*texture.shape[:2], 3)
    values = np.concatenate(
        [np.rint(colours * STEPS) / STEPS, np.rint(texture[..., 3:] * ALPHA_STEPS) / ALPHA_STEPS], -1
    )
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
