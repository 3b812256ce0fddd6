"""The rows of a table in which pictures are judged by networks: the papers' own where their weights are here, and
stand-ins on EfficientNet-Lite0. Nothing is ever downloaded: a row whose weights are not here says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np

from portrait360.evaluate import published, standin
from portrait360.evaluate.batches import Floats, Pictures

Better = Literal["higher", "lower"]

EFFNET = "EffNet-lite0"
# where ArcFace (Deng et al. 2019) wants the eyes, the nose and the corners of the mouth, in its 112 x 112 pixels;
# counted from the centre of the first one
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@dataclass(frozen=True)
class Needs:
    """A row that cannot be measured here."""

    name: str
    better: Better
    how: str  # one sentence: what to install, and which file belongs where


@dataclass(frozen=True)
class Pairwise:
    """A distance of pictures to pictures of the same sizes, pair by pair."""

    name: str
    better: Better
    measure: Callable[[Pictures, Pictures], Floats]  # (n,)


@dataclass(frozen=True)
class Embedding:
    """One vector a picture; what is done with them (a cosine, a Fréchet distance) is `better` so."""

    name: str
    better: Better
    describe: Callable[[Pictures], Floats]  # (n, d)


Row = TypeVar("Row", Pairwise, Embedding)


def pairwise() -> list[Pairwise | Needs]:
    """Distances of two pictures of the same thing."""
    return [
        _row(Pairwise, f"{EFFNET} feature distance", "lower", standin.effnet_distances, standin.effnet_lacks()),
        _row(Pairwise, "LPIPS", "lower", published.lpips, published.lpips_lacks()),
        _row(Pairwise, "DISTS", "lower", published.dists, published.dists_lacks()),
    ]


def spreads() -> list[Embedding | Needs]:
    """What the Fréchet distance of two sets of pictures is taken of."""
    return [
        _row(Embedding, f"{EFFNET} Fréchet distance", "lower", standin.effnet_pooled, standin.effnet_lacks()),
        _row(Embedding, "FID", "lower", published.inception, published.inception_lacks()),
    ]


def likenesses() -> list[Embedding | Needs]:
    """What the cosine of two whole pictures is taken of."""
    return [
        _row(Embedding, f"{EFFNET} similarity", "higher", standin.effnet_pooled, standin.effnet_lacks()),
        _row(Embedding, "CLIP-I", "higher", published.clip, published.clip_lacks()),
    ]


def identities() -> list[Embedding | Needs]:
    """What the cosine of two faces, each as `aligned_face` gives it, is taken of."""
    return [
        _row(Embedding, f"{EFFNET} face similarity", "higher", standin.effnet_pooled, standin.effnet_lacks()),
        _row(Embedding, "CSIM", "higher", published.arcface, published.arcface_lacks()),
    ]


def lacking() -> list[Needs]:
    """All rows that cannot be measured here."""
    return [m for m in (*pairwise(), *spreads(), *identities(), *likenesses()) if isinstance(m, Needs)]


def _row(kind: type[Row], name: str, better: Better, function: Callable[..., Floats], lacks: str) -> Row | Needs:
    return Needs(name, better, f"{name} {lacks}") if lacks else kind(name, better, function)


def aligned_face(rgb: Floats, five_points: Floats, size: int = published.ARCFACE_SIDE) -> Floats:
    """A face turned, scaled and moved so that its points (as in `Face.points`) lie nearest to ArcFace's; outside the
    picture is black, and the picture is sampled without smoothing, as its authors do."""
    # Umeyama 1991 in the plane, where a turn with a scale is one complex number: least squares in closed form
    source, target = (points @ [1, 1j] for points in (np.asarray(five_points, float), ARCFACE_POINTS + 0.5))
    around, scaled = source - source.mean(), target * (size / published.ARCFACE_SIDE)
    turn = (around.conj() * scaled).sum() / (np.abs(around) ** 2).sum()
    shift = scaled.mean() - turn * source.mean()
    shift += (turn - 1) * (0.5 + 0.5j)  # OpenCV counts from the centre of the first pixel, points from its edge
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    face = cv2.warpAffine(rgb.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return face.astype(np.float32, copy=False)


def frechet(a: Floats, b: Floats) -> float:
    """The squared Fréchet distance of the normal distributions with the means and covariances of two sets of
    features, (n, d) and (m, d): |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2)."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a spread needs at least two pictures, got {len(a)} and {len(b)}")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    left, right = _factor(a), _factor(b)
    # with S = F'F, the eigenvalues of S_a S_b are the squared singular values of F_a F_b', however few pictures
    # there are; no root is taken of a matrix that rounding has made indefinite
    shared = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return max(float(apart + (left**2).sum() + (right**2).sum() - 2 * shared), 0.0)


def _factor(features: Floats) -> Floats:
    """F (at most d rows) with F'F the unbiased covariance."""
    return np.linalg.qr((features - features.mean(0)) / np.sqrt(len(features) - 1)).R


def cosine(a: Floats, b: Floats) -> Floats:
    """(n, d) and (n, d) -> (n,), row by row; 0 for a row that is all 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
