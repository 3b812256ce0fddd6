"""Large areas of a second colour on cloth: what the photo shows of them goes on around the body, mirrored.

Bands hold what goes all around at one height, and a quilted pattern holds small motifs; patches of paint, blocks of
colour and large flowers are neither.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

CELLS, GRID = (4.0, 0.03), (90, 40)  # degrees and head heights of cells, and their numbers
CALM = 0.7  # cells over which colours are calmed: what is finer is the pattern's, or folds
HUE = 0.1  # deviation of the hue of the cells (logarithms) from which the cloth has areas of two colours
OTHER = 0.4  # of the deviation of their brightness that it must be, too: dark flowers and shade are no second colour
BROAD = 0.5  # share of the variance that must lie between cells, not within them
TWO = 0.94  # share of the variance of hue that lies between two colours: blurred, more of them would be blobs
FEWEST = 60  # cells
OUTERMOST = 0.97  # quantile of the shown azimuths at which they are mirrored
SIDES = (150.0, 180.0)  # degrees over which both sides pass into one another at the back
STEPS = 32  # parts of the shown colours, from one to the other
MOST, STEEP = 1.2, 2.0  # times the deviation that carried colours have, and how much steeper their edges are


def carry_patches(azimuth: F32, down: F32, left: Floats, shown: Bools) -> F32:
    """Return what patches of a second colour add to all places of a garment (n, 3), logarithms.

    Args:
        azimuth: Degrees from the front of every place (n,), and
        down: how far down it lies, head heights.
        left: By what the shown colours (m, 3) differ from bands and light.
        shown: Which places show the outer garment (n,), m of them; what is worn beneath is not repeated.
    """
    axis, strength = find_second_colour(azimuth[shown], down[shown], left)
    if axis is None:
        return np.zeros((len(azimuth), 3), np.float32)
    value = np.clip((left @ axis)[:, None], -2 * strength, 2 * strength)
    table = _spread(*_sum(azimuth[shown], down[shown], value))[..., 0]
    inner, outer = (float(q) for q in np.quantile(np.abs(azimuth[shown]), (1 - OUTERMOST, OUTERMOST)))
    wave = mirror(np.abs(azimuth), min(inner, 0.5 * outer), outer)
    own, other = (_look_up(table, sign * np.sign(azimuth + 1e-6) * wave, down) for sign in (1, -1))
    across = 0.5 * smoothstep(*SIDES, np.abs(azimuth))
    mixed = MOST * strength * np.tanh(STEEP * (own + across * (other - own)) / strength)
    return look_up_colours(mixed, left @ axis, left)


def look_up_colours(wanted: Floats, values: Floats, colours: Floats) -> F32:
    """Return the mean of the colours (m, 3) of about the wanted values (n,): others would be of a third hue."""
    parts = np.array_split(np.argsort(values, kind="stable"), STEPS)
    known = [float(values[part].mean()) for part in parts]
    means = np.stack([colours[part].mean(0) for part in parts])
    return np.stack([np.interp(wanted, known, means[:, i]) for i in range(3)], -1).astype(np.float32)


def mirror(aside: Floats, inner: float, outer: float) -> Floats:
    """Return shown azimuths for all: to and fro between the inner and the outer of what is shown."""
    beyond = np.maximum(aside - outer, 0) % (2 * (outer - inner))
    return np.where(aside <= outer, aside, outer - np.minimum(beyond, 2 * (outer - inner) - beyond))


def find_second_colour(azimuth: F32, down: F32, left: Floats) -> tuple[F32 | None, float]:
    """Return the direction (3,) in which colours differ most from cell to cell, and how far; None if they do not."""
    sums, counts = _sum(azimuth, down, left)
    full = counts > 0.2 * np.median(counts[counts > 0])
    if full.sum() < FEWEST:
        return None, 0.0
    means = (sums / np.maximum(counts, 1)[..., None])[full]
    means = means - np.average(means, 0, counts[full])
    hue = means - means.mean(-1, keepdims=True)
    differ = float(np.sqrt((hue**2).sum(-1).mean()))
    inside = float(((left - left.mean(0)) ** 2).sum(-1).mean())
    if differ < max(HUE, OTHER * float(means.mean(-1).std())) or (means**2).sum(-1).mean() < BROAD * inside:
        return None, 0.0
    _, spread, axes = np.linalg.svd(hue, full_matrices=False)
    if spread[0] ** 2 < TWO * (spread**2).sum():
        return None, 0.0
    score = hue @ axes[0]
    axis = (score @ means) / np.linalg.norm(score @ means)
    return axis.astype(np.float32), float((means @ axis).std())


def _sum(azimuth: F32, down: F32, values: Floats) -> tuple[F32, F32]:
    """Return the sums of values (n, k) in cells (rows, columns, k), and how many there are."""
    row = np.minimum((down / CELLS[1]).astype(int), GRID[1] - 1)
    cell = row * GRID[0] + (azimuth / CELLS[0] % GRID[0]).astype(int) % GRID[0]
    size = GRID[0] * GRID[1]
    sums = np.stack([np.bincount(cell, values[:, i], size) for i in range(values.shape[1])], -1)
    counts = np.bincount(cell, minlength=size).astype(np.float32)
    return sums.reshape(*GRID[::-1], -1).astype(np.float32), counts.reshape(GRID[::-1])


def _spread(sums: F32, counts: F32) -> F32:
    """Return the mean of every cell, of those around where it is empty."""
    total, weight = np.zeros_like(sums), np.full(counts.shape, 1e-9, np.float32)
    for reach, share in ((CALM, 1.0), (3.0, 1e-3), (10.0, 1e-6)):
        both = np.dstack([sums, counts])
        for axis, mode in ((0, "nearest"), (1, "wrap")):
            both = gaussian_filter1d(both, reach, axis=axis, mode=mode)
        total, weight = total + share * both[..., :-1], weight + share * both[..., -1]
    return np.asarray(total / weight[..., None], np.float32)


def _look_up(table: F32, azimuth: Floats, down: Floats) -> F32:
    padded = np.pad(table, ((0, 0), (1, 1)), mode="wrap")
    at = [np.clip(down / CELLS[1] - 0.5, 0, GRID[1] - 1), azimuth / CELLS[0] % GRID[0] + 0.5]
    return map_coordinates(padded, at, order=1, mode="nearest").astype(np.float32)
