"""Read expression and head pose from the landmarks of a video: one shape for all frames, weights for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import azimuth_between
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.pipeline.animate.face_tracking import follow_face
from portrait360.pipeline.animate.neck import LIMITS
from portrait360.pipeline.animate.performance import Performance, resample, smooth, unit_names
from portrait360.pipeline.animate.video_source import open_video
from portrait360.pipeline.portrait.face_fitting import FaceFit, FitOptions, LinearPoints, fit_face
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.errors import UserError

KEYS, SHAPE_PRIOR, NOISE, STEPS = 16, 1.5, 0.004, 8  # frames for the shape; of the fits
PRIORS = {  # of the units' weights: those that landmarks tell apart, those that they do less, and all others
    0.3: ("jawOpen", "mouthSmile", "eyeBlink", "browInnerUp", "browDown"),
    1.0: ("browOuterUp",),
    4.0: ("mouthFunnel", "mouthPucker"),
    8.0: ("mouthUpperUp", "mouthLowerDown", "mouthFrown", "mouthStretch", "jawLeft", "jawRight", "mouthLeft",
          "mouthRight"),
}  # fmt: skip
UNLIKELY = 20.0
UNSEEN = ("cheekPuff", "mouthShrug", "noseSneer", "mouthRoll", "tongueOut", "eyeLook", "jawForward", "mouthPress",
          "eyeWide", "eyeSquint", "eyeBlink")  # fmt: skip
"""Units that the fit leaves out: eyes are read on their own, and of the others landmarks say too little."""
GAINS = {"jawOpen": 1.4, "mouthSmile": 1.3}  # the landmark network answers less than fully
LIDS = {"Left": ((386, 374), (385, 380), (387, 373)), "Right": ((159, 145), (158, 153), (160, 144))}
OPEN, SHUT, WIDE = 0.8, 0.1, (1.06, 1.4)  # quantile of the gap that counts as open; of it when shut and when wide
IRIS = {"Left": (263, 362, 473), "Right": (33, 133, 468)}  # outer and inner corner, middle of the iris
BALL, LOOK, STEADY = (
    0.40,
    (30.0, 25.0),
    0.06,
)  # radius of an eyeball in widths of the eye; degrees at weight 1; jitter
SEEN_GAP = 0.5  # of an open eye's from which its iris is seen
DROOP = 0.05  # share of the gap that lids may fall without a blink
MOST_LOST = 0.9  # share of frames without the face from which a video has none
MUCH_LOST = 0.15


def read_video(
    path: Path, rate: float | None = None, on_frame: Callable[[int], None] = lambda total: None
) -> Performance:
    """Read what the face in a video does.

    Args:
        path: The video.
        rate: Frames per second of the result; that of the video if None.
        on_frame: Called with the expected number of frames after each.
    """
    video = open_video(path)

    def watch():
        for picture in video.read():
            yield picture
            on_frame(video.frames or round((video.seconds or 0) * video.rate))

    landmarks = follow_face(watch())
    if len(landmarks) == 0:
        raise UserError(f"{path} has no readable frame; use an .mp4, .mov, .webm or .mkv.")
    lost = np.isnan(landmarks.sum((1, 2))) if landmarks.size else np.ones(len(landmarks), bool)
    if lost.mean() > MOST_LOST:
        raise UserError(f"No face was found in {path}: use a video in which one face looks at the camera.")
    seen = landmarks[~lost]
    weights, neck = read_landmarks(seen)
    times, notes = np.array(video.times), video.find_notes()
    if lost.mean() > MUCH_LOST:
        notes += (
            f"The face was lost in {lost.mean():.0%} of the frames of {path}; its movement is interpolated there.",
        )
    rate = rate or float(round(video.rate))  # films have whole rates
    values = resample(times, _bridge(np.concatenate([weights, neck], 1), np.asarray(~lost, bool)), rate)
    weights, neck = smooth(values[:, :-3], values[:, -3:], rate)
    return Performance(rate, weights, neck, notes, path if video.has_sound else None)


def _bridge(values: F64, seen: NDArray[np.bool_]) -> F64:
    """Return values for all frames, from those of the frames that have been seen."""
    frames = np.arange(len(seen))
    return np.stack([np.interp(frames, frames[seen], column) for column in values.T], 1)


def read_landmarks(landmarks: F32) -> tuple[F64, F64]:
    """Return weights (n, 52) and turns of the head (n, 3), in degrees, around its usual pose."""
    model = load_morphable()
    points = landmarks[:, : len(model.spread), :2].astype(np.float64)
    face = _find_face(points)
    options = _options(1.0)
    fits = [fit_face(frame, model.weights, face, FOCAL_SD15, options) for frame in points]
    weights = np.stack([fit.expression for fit in fits]).astype(np.float64)
    names = unit_names()
    for start, gain in GAINS.items():
        weights[:, [name.startswith(start) for name in names]] *= gain
    for side in LIDS:
        gap = _measure_gap(points, face, fits, side)
        for unit, weight in read_gaze(landmarks, side, gap).items():
            weights[:, names.index(f"{unit}{side}")] = weight
        weights[:, names.index(f"eyeBlink{side}")] = (1 - DROOP - gap) / (1 - DROOP - SHUT)
        weights[:, names.index(f"eyeWide{side}")] = (gap - WIDE[0]) / (WIDE[1] - WIDE[0])
    turns = np.array([[-azimuth_between(0, f.camera.azimuth), -f.camera.elevation, f.camera.roll] for f in fits])
    turns = turns - np.median(turns, 0)
    return np.clip(weights, 0, 1), np.clip(turns, -np.array(LIMITS), LIMITS)


def _find_face(points: Floats) -> LinearPoints:
    """Return the landmarks of this person: the face of all frames, and where landmarks are always off the model."""
    model = load_morphable()
    known, chosen = _known_points(), np.unique(np.linspace(0, len(points) - 1, KEYS).astype(int))
    fits = [fit_face(points[i], model.weights, known, FOCAL_SD15, _options(SHAPE_PRIOR)) for i in chosen]
    mean = known.at(np.mean([fit.shape for fit in fits], 0), np.zeros(len(known.expression)))
    face = LinearPoints(mean, known.shape[:0], known.expression)
    for _ in range(2):
        fits = [fit_face(points[i], model.weights, face, FOCAL_SD15, _options(1.0)) for i in chosen]
        face = replace(face, mean=face.mean + np.median([_residuals_in_space(face, fit) for fit in fits], 0))
    return face


@lru_cache(maxsize=1)
def _known_points() -> LinearPoints:
    """Return the model's landmarks with the units that are fitted."""
    points = load_morphable().landmarks
    unseen = [name.startswith(UNSEEN) and not name.startswith("eyeBlink") for name in unit_names()]
    return replace(points, expression=np.where(np.array(unseen)[:, None, None], 0, points.expression))


def _options(factor: float) -> FitOptions:
    priors = np.full(len(unit_names()), UNLIKELY)
    for value, starts in PRIORS.items():
        priors[[name.startswith(starts) for name in unit_names()]] = value
    return FitOptions(noise=NOISE, expression_prior=factor * priors, steps=STEPS)


def _residuals_in_space(face: LinearPoints, fit: FaceFit) -> F64:
    """Return the residuals of a fit as offsets (468, 3), parallel to the picture."""
    axes = fit.camera.cam2world[:3, :2]
    depth = fit.camera.project(face.at(fit.shape, fit.expression))[1]
    return fit.residuals @ axes.T * (depth / fit.camera.focal)[:, None]


def read_gaze(landmarks: F32, side: str, gap: F64) -> dict[str, F64]:
    """Return the weights (n,) of the units that turn an eye, around where it usually looks.

    Args:
        landmarks: All landmarks (n, 478, 3); without those of the iris, eyes look ahead.
        side: Left or Right.
        gap: Between the lids, against an open eye: shut ones say nothing.
    """
    outer, inner, iris = IRIS[side]
    sure = gap > SEEN_GAP
    if landmarks.shape[1] <= iris or sure.sum() < 2:
        return {}
    place = landmarks[:, iris, :2] - (landmarks[:, outer, :2] + landmarks[:, inner, :2]) / 2
    across = (landmarks[:, outer, :2] - landmarks[:, inner, :2]) * (1 if side == "Left" else -1)  # to its left
    width = np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    right = across / width
    down = np.stack([-right[:, 1], right[:, 0]], 1)
    moved = np.stack([(place * right).sum(1), (place * down).sum(1)], 1) / (BALL * width)
    moved = _bridge(moved[sure] - np.median(moved[sure], 0), sure)
    yaw, pitch = np.degrees(np.arcsin(np.clip(moved, -0.8, 0.8))).T / np.array(LOOK)[:, None]
    outward = yaw if side == "Left" else -yaw
    values = {"eyeLookOut": outward, "eyeLookIn": -outward, "eyeLookDown": pitch, "eyeLookUp": -pitch}
    return {unit: np.clip(value - STEADY, 0, 1) for unit, value in values.items()}


def _measure_gap(points: Floats, face: LinearPoints, fits: list[FaceFit], side: str) -> F64:
    """Return the gap between the lids of an eye in each frame (n,), against that of the open eye in the same pose."""
    upper, lower = (list(rows) for rows in zip(*LIDS[side], strict=True))
    eyes = np.array([name.startswith("eye") for name in unit_names()])
    ratios = []
    for frame, fit in zip(points, fits, strict=True):
        model = fit.camera.project(face.at(fit.shape, np.where(eyes, 0, fit.expression)))[0] * fit.side
        seen, usual = (np.linalg.norm(p[upper] - p[lower], axis=1).mean() for p in (frame, model))
        ratios.append(seen / max(float(usual), 1e-6))
    return np.array(ratios) / max(float(np.quantile(ratios, OPEN)), 1e-6)
