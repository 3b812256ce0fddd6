"""Pictures with transparency in few colours: as PNG they are a third as large, and hair shows no difference."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.cluster.vq import kmeans2
from scipy.spatial import KDTree

from portrait360.utils.array_types import Bytes

COLOURS, SAMPLES, ROUNDS = 255, 20_000, 6
BITS = 5  # of a channel that are told apart before the palette is chosen
SEED = 13
PACKING = 6  # effort of packing


def encode_png(pixels: Bytes) -> bytes:
    """Return a picture (h, w, 4) as PNG with a palette."""
    steps = (pixels >> (8 - BITS)).astype(np.int64)
    codes = (
        (steps[..., 0] << 3 * BITS) | (steps[..., 1] << 2 * BITS) | (steps[..., 2] << BITS) | steps[..., 3]
    ).ravel()
    counts = np.bincount(codes, minlength=1 << 4 * BITS)
    present = np.flatnonzero(counts)
    sums = [np.bincount(codes, channel.ravel(), 1 << 4 * BITS)[present] for channel in np.moveaxis(pixels, -1, 0)]
    means = np.stack(sums, 1) / counts[present, None]
    chance = np.sqrt(counts[present])
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(len(present), min(SAMPLES, 4 * len(present)), p=chance / chance.sum())
    first = np.unique(drawn)
    start = means[rng.permutation(first)[:COLOURS]]
    palette = np.asarray(kmeans2(means[drawn], start, iter=ROUNDS, minit="matrix", missing="warn")[0])
    palette = np.rint(palette).astype(np.uint8)
    index = np.zeros(1 << 4 * BITS, np.uint8)
    index[present] = KDTree(palette).query(means)[1]
    image, file = Image.fromarray(index[codes].reshape(pixels.shape[:2]), "P"), io.BytesIO()
    image.putpalette(palette[:, :3].tobytes())
    image.save(file, format="png", transparency=palette[:, 3].tobytes(), compress_level=PACKING)
    return file.getvalue()
