"""The metrics for which networks describe pictures: the papers' own where their weights are installed, and stand-ins
on EfficientNet-Lite0. Nothing is ever downloaded: a metric whose weights are missing says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np

from portrait360.evaluation import efficientnet_metrics, pretrained_networks
from portrait360.evaluation.pretrained_networks import Pictures
from portrait360.utils.array_types import Floats

Better = Literal["higher", "lower"]

EFFNET, READER = "EffNet-lite0", "portrait reader"
# where ArcFace (Deng et al. 2019) expects the eyes, the nose and the corners of the mouth, in its 112 x 112 pixels;
# counted from the centre of the first one
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@dataclass(frozen=True)
class Needs:
    """A metric that cannot be computed on this machine."""

    name: str
    better: Better
    how: str  # one sentence: what to install, and which file belongs where


@dataclass(frozen=True)
class Pairwise:
    """A distance between pictures of equal size, pair by pair."""

    name: str
    better: Better
    measure: Callable[[Pictures, Pictures], Floats]  # (n,)


@dataclass(frozen=True)
class Embedding:
    """One vector per picture. `better` is the direction of the figure computed from them (a cosine, a Fréchet
    distance)."""

    name: str
    better: Better
    describe: Callable[[Pictures], Floats]  # (n, d)


Metric = TypeVar("Metric", Pairwise, Embedding)


def pairwise(backbones: int = 1) -> list[Pairwise | Needs]:
    """List the distances between two pictures of the same subject; with two backbones, the portrait reader's too."""
    own = [Pairwise(f"{READER} feature distance", "lower", efficientnet_metrics.READER.measure)]
    return [
        _make_metric(
            Pairwise,
            f"{EFFNET} feature distance",
            "lower",
            efficientnet_metrics.EFFNET.measure,
            efficientnet_metrics.check_effnet(),
        ),
        *own[: backbones - 1],
        _make_metric(Pairwise, "LPIPS", "lower", pretrained_networks.lpips, pretrained_networks.check_lpips()),
        _make_metric(Pairwise, "DISTS", "lower", pretrained_networks.dists, pretrained_networks.check_dists()),
    ]


def spreads(backbones: int = 1) -> list[Embedding | Needs]:
    """List the embeddings for Fréchet distances between two sets of pictures; with two backbones, the portrait
    reader's too."""
    own = [Embedding(f"{READER} Fréchet distance", "lower", efficientnet_metrics.READER.pool)]
    return [
        _make_metric(
            Embedding,
            f"{EFFNET} Fréchet distance",
            "lower",
            efficientnet_metrics.EFFNET.pool,
            efficientnet_metrics.check_effnet(),
        ),
        *own[: backbones - 1],
        _make_metric(Embedding, "FID", "lower", pretrained_networks.inception, pretrained_networks.check_inception()),
    ]


def likenesses() -> list[Embedding | Needs]:
    """List the embeddings for cosines between two whole pictures."""
    return [
        _make_metric(
            Embedding,
            f"{EFFNET} similarity",
            "higher",
            efficientnet_metrics.EFFNET.pool,
            efficientnet_metrics.check_effnet(),
        ),
        _make_metric(Embedding, "CLIP-I", "higher", pretrained_networks.clip, pretrained_networks.check_clip()),
    ]


def identities() -> list[Embedding | Needs]:
    """List the embeddings for cosines between two faces, both from `align_face`."""
    return [
        _make_metric(
            Embedding,
            f"{EFFNET} face similarity",
            "higher",
            efficientnet_metrics.EFFNET.pool,
            efficientnet_metrics.check_effnet(),
        ),
        _make_metric(Embedding, "CSIM", "higher", pretrained_networks.arcface, pretrained_networks.check_arcface()),
    ]


def list_missing_metrics() -> list[Needs]:
    """List all metrics that cannot be computed on this machine."""
    return [m for m in (*pairwise(), *spreads(), *identities(), *likenesses()) if isinstance(m, Needs)]


def _make_metric(
    kind: type[Metric], name: str, better: Better, function: Callable[..., Floats], missing: str
) -> Metric | Needs:
    return Needs(name, better, f"{name} {missing}") if missing else kind(name, better, function)


def align_face(rgb: Floats, five_points: Floats, size: int = pretrained_networks.ARCFACE_SIDE) -> Floats:
    """Rotate, scale and shift a face so that its points (as in `Face.points`) lie nearest to ArcFace's. Outside the
    picture is black, and the picture is sampled without smoothing, as ArcFace's authors do."""
    # Umeyama 1991 in the plane, where a rotation with a scale is one complex number: least squares in closed form
    source, target = (points @ [1, 1j] for points in (np.asarray(five_points, float), ARCFACE_POINTS + 0.5))
    centered, scaled = source - source.mean(), target * (size / pretrained_networks.ARCFACE_SIDE)
    rotation = (centered.conj() * scaled).sum() / (np.abs(centered) ** 2).sum()
    shift = scaled.mean() - rotation * source.mean()
    shift += (rotation - 1) * (0.5 + 0.5j)  # OpenCV counts from the centre of the first pixel, points from its edge
    matrix = np.array([[rotation.real, -rotation.imag, shift.real], [rotation.imag, rotation.real, shift.imag]])
    face = cv2.warpAffine(rgb.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return face.astype(np.float32, copy=False)


def frechet_distance(a: Floats, b: Floats) -> float:
    """Return the squared Fréchet distance between the normal distributions with the means and covariances of two sets
    of features, (n, d) and (m, d): |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2)."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a Fréchet distance needs sets of at least two pictures, got {len(a)} and {len(b)}")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    factor_a, factor_b = _covariance_factor(a), _covariance_factor(b)
    # with S = F'F, the eigenvalues of S_a S_b are the squared singular values of F_a F_b', however few pictures
    # there are; no root is taken of a matrix that rounding has made indefinite
    root_trace = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    mean_distance = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return max(float(mean_distance + (factor_a**2).sum() + (factor_b**2).sum() - 2 * root_trace), 0.0)


def _covariance_factor(features: Floats) -> Floats:
    """Return F (at most d rows) such that F'F is the unbiased covariance."""
    return np.linalg.qr((features - features.mean(0)) / np.sqrt(len(features) - 1)).R


def cosine(a: Floats, b: Floats) -> Floats:
    """Return the cosine of each row, (n, d) and (n, d) -> (n,); 0 for a row that is all 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
