"""Measure one case: render a method's views and compute every figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from portrait360.evaluation.cases import Case
from portrait360.evaluation.consistency import measure_consistency
from portrait360.evaluation.face_metrics import FaceObservation, observe_face, pose_error, share_of_faces_behind
from portrait360.evaluation.feature_metrics import (
    Embedding,
    Pairwise,
    align_face,
    cosine,
    identities,
    likenesses,
    pairwise,
    spreads,
)
from portrait360.evaluation.image_metrics import mask_iou, mean_ssim, psnr, sharpness, ssim, ssim_map
from portrait360.evaluation.looks.rows import measure_looks
from portrait360.evaluation.looks.sheet import AZIMUTHS as LOOKS_AZIMUTHS
from portrait360.evaluation.looks.sheet import compose_sheet, read_view
from portrait360.evaluation.methods import Method, downscale
from portrait360.evaluation.protocols import Protocol, band_of
from portrait360.geometry.cameras import Camera, look_at, orbit
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Floats
from portrait360.utils.images import over_grey

Row = dict[str, float]  # "PSNR/front" and so on


@dataclass(frozen=True, eq=False)
class Measurement:
    row: Row
    features: dict[str, Floats] = field(default_factory=dict)  # for distances between sets: "FID/front/ours"
    pictures: tuple[Floats, ...] = ()  # for the sheet


@dataclass(frozen=True, eq=False)
class _CameraPlan:
    """All cameras of a case in one list, and which of them each metric uses."""

    cameras: list[Camera]
    targets: slice
    orbit: slice
    faces: slice
    beside: slice
    looks: slice
    own: int  # the photo's own camera


def plan_cameras(protocol: Protocol, case: Case) -> _CameraPlan:
    """List each camera once: where the truth begins with an orbit, its cameras serve as the orbit, too."""
    focal = case.portrait.camera.focal
    cameras = [view.camera for view in case.targets]
    targets = slice(0, len(cameras))
    orbit_slice = slice(0, protocol.orbit)
    if protocol.orbit and not (case.targets and protocol.heads):
        orbit_slice = slice(len(cameras), len(cameras) + protocol.orbit)
        cameras += orbit(protocol.orbit, focal=focal)
    slices = []
    for azimuths in (protocol.faces_at, protocol.beside_photo, LOOKS_AZIMUTHS if protocol.looks else ()):
        slices.append(slice(len(cameras), len(cameras) + len(azimuths)))
        cameras += [Camera(look_at(azimuth), focal) for azimuth in azimuths]
    return _CameraPlan([*cameras, case.portrait.camera], targets, orbit_slice, *slices, own=len(cameras))


def measure(protocol: Protocol, case: Case, method: Method) -> Measurement:
    plan = plan_cameras(protocol, case)
    views = method(case.portrait, plan.cameras, protocol.size)
    pictures = [composite_over_grey(view) for view in views]
    row: Row = {}
    features: dict[str, Floats] = {}
    if case.targets:
        bands = [band_of(view.camera.azimuth) for view in case.targets]
        ours, targets = pictures[plan.targets], [composite_over_grey(view) for view in case.targets]
        truth = [fill_unknown(t, p, view.known_mask) for t, p, view in zip(targets, ours, case.targets, strict=True)]
        row |= compare_with_truth(views[plan.targets], case.targets)
        row |= measure_feature_distances(ours, truth, bands, protocol.backbones)
        features = describe_sets(ours, truth, bands, protocol.backbones)
    if protocol.orbit:
        orbit_views, orbit_pictures = views[plan.orbit], pictures[plan.orbit]
        row["faces behind"] = share_of_faces_behind(orbit_pictures, [view.camera.azimuth for view in orbit_views])
        if protocol.refit:
            agreement = measure_consistency(orbit_views, protocol.refit)
            bands = [band_of(view.camera.azimuth) for view in orbit_views]
            row |= band_means("refit PSNR", bands[1::2], agreement.held_out_psnr)
            row |= band_means("warp error", bands, agreement.warp_errors)
            row["seam"] = agreement.seam
    row |= measure_reference(case, views[plan.own])
    row |= measure_faces(case, [views[i] for i in range(*plan.faces.indices(len(views)))])
    row |= compare_with_photo(case, pictures[plan.beside], protocol.size)
    if protocol.looks:
        row |= judge_looks(case, views[plan.looks])
    sheet_slice = plan.orbit if protocol.orbit else plan.targets if case.targets else plan.beside
    return Measurement(row, features, tuple(pictures[sheet_slice]))


def compare_with_truth(views: Sequence[View], truth: Sequence[View]) -> Row:
    """Compare views with the true ones, picture by picture; the row holds the means of each band."""
    scores: dict[str, list[float]] = defaultdict(list)
    for view, target in zip(views, truth, strict=True):
        known_mask = np.ones(target.alpha.shape, bool) if target.known_mask is None else target.known_mask > 0.5
        ours, inside = composite_over_grey(view), (target.alpha > 0.5) & known_mask
        target_picture = fill_unknown(composite_over_grey(target), ours, target.known_mask)
        scores["PSNR"].append(psnr(ours, target_picture, known_mask))
        scores["PSNR inside"].append(psnr(ours, target_picture, inside))
        similarity = ssim_map(ours, target_picture)
        scores["SSIM"].append(mean_ssim(similarity, known_mask))
        scores["SSIM inside"].append(mean_ssim(similarity, inside))
        scores["sharpness"].append(sharpness(ours, target_picture, inside))
        scores["IoU"].append(mask_iou((view.alpha > 0.5) & known_mask, inside))
    bands = [band_of(view.camera.azimuth) for view in truth]
    return {key: value for name, values in scores.items() for key, value in band_means(name, bands, values).items()}


def band_means(name: str, bands: Sequence[str], values: Sequence[float] | Floats) -> Row:
    """Return the mean over each band's views, and over all views; NaN and infinity do not count."""
    array = np.asarray(values, np.float64)
    by_band = {band: [i for i, view_band in enumerate(bands) if view_band == band] for band in dict.fromkeys(bands)}
    groups = {**by_band, "all": range(len(array))}
    finite = {band: array[list(indices)][np.isfinite(array[list(indices)])] for band, indices in groups.items()}
    return {f"{name}/{band}": float(x.mean()) if len(x) else float("nan") for band, x in finite.items()}


def composite_over_grey(view: View) -> Floats:
    return over_grey(view.rgb, view.alpha).astype(np.float32)


def fill_unknown(truth: Floats, ours: Floats, known: Floats | None) -> Floats:
    """Fill what lies beyond a recording's edge with our own picture: nothing is known there, and nothing counts."""
    return truth if known is None else np.where(known[..., None] > 0.5, truth, ours)


def measure_feature_distances(
    ours: Sequence[Floats], truth: Sequence[Floats], bands: Sequence[str], backbones: int
) -> Row:
    """Measure the feature distances between our pictures and the true ones; the row holds the means of each band."""
    row: Row = {}
    for metric in pairwise(backbones):
        if isinstance(metric, Pairwise):
            row |= band_means(metric.name, bands, metric.measure(ours, truth))
    return row


def describe_sets(
    ours: Sequence[Floats], truth: Sequence[Floats], bands: Sequence[str], backbones: int
) -> dict[str, Floats]:
    """Return the features that sets of pictures are compared by, once all cases are done."""
    features: dict[str, Floats] = {}
    for metric in spreads(backbones):
        if isinstance(metric, Embedding):
            vectors = {"ours": metric.describe(ours), "truth": metric.describe(truth)}
            for band in sorted(set(bands)):
                indices = [i for i, name in enumerate(bands) if name == band]
                features |= {f"{metric.name}/{band}/{side}": v[indices] for side, v in vectors.items()}
    return features


def measure_reference(case: Case, view: View) -> Row:
    """Compare the view from the photo's own camera with the photo."""
    portrait, ours = case.portrait, composite_over_grey(view)
    photo = downscale(over_grey(portrait.rgb, portrait.alpha), view.size)
    inside = downscale(portrait.alpha * portrait.inside_photo, view.size) > 0.5
    return {"reference PSNR": psnr(ours, photo, inside), "reference SSIM": ssim(ours, photo, inside)}


def measure_faces(case: Case, views: Sequence[View]) -> Row:
    """Measure in how many views a face is found, the error of its pose, and how similar it is to the photo's face."""
    if not views:
        return {}
    focal = case.portrait.camera.focal
    photo = downscale(over_grey(case.portrait.rgb, case.portrait.alpha), views[0].size)
    photo_face = observe_face(photo, focal)
    pictures = [composite_over_grey(view) for view in views]
    unique = {picture.tobytes(): picture for picture in pictures}  # detect only once in repeated pictures
    observations = {key: observe_face(picture, focal) for key, picture in unique.items()}
    faces = [observations[picture.tobytes()] for picture in pictures]
    matches = [(f, v.camera.azimuth, p) for f, v, p in zip(faces, views, pictures, strict=True) if f is not None]
    row = {
        "faces found": len(matches) / len(views) if photo_face else float("nan"),
        "pose error, landmarks": pose_error([f.by_landmarks for f, _, _ in matches], [a for _, a, _ in matches]),
        "pose error, own fit": pose_error([f.by_fit for f, _, _ in matches], [a for _, a, _ in matches]),
    }
    if photo_face is not None and matches:
        row |= measure_identity(photo, photo_face, [(f, p) for f, _, p in matches])
    return row


def judge_looks(case: Case, views: Sequence[View]) -> Row:
    """Measure the faults that people see, and the score that they would give; "faces behind" is in the table already,
    over more views."""
    portrait = case.portrait
    read = [read_view(view.camera.azimuth, view.rgb, view.alpha) for view in views]
    row = measure_looks(compose_sheet(portrait.rgb, portrait.alpha, portrait.camera.azimuth, read))
    return {name: value for name, value in row.items() if name != "faces behind"}


def measure_identity(
    photo: Floats, photo_face: FaceObservation, faces: Sequence[tuple[FaceObservation, Floats]]
) -> Row:
    """Return the mean similarity of the faces, each with its picture, to the photo's face."""
    crops = [align_face(picture, face.face.points) for face, picture in faces]
    photo_crop = align_face(photo, photo_face.face.points)
    row = {}
    for metric in identities():
        if isinstance(metric, Embedding):
            photo_vector, vectors = metric.describe([photo_crop]), metric.describe(crops)
            row[metric.name] = float(cosine(np.repeat(photo_vector, len(vectors), 0), vectors).mean())
    return row


def compare_with_photo(case: Case, pictures: Sequence[Floats], size: int) -> Row:
    """Compare renders from several sides with the one photo, although they show different sides."""
    if not pictures:
        return {}
    rgb, alpha = case.portrait.rgb, case.portrait.alpha
    photo = downscale(over_grey(rgb, alpha), size)
    row: Row = {}
    for metric in pairwise():
        if isinstance(metric, Pairwise):
            row[metric.name] = float(metric.measure(pictures, [photo] * len(pictures)).mean())
    for metric in likenesses():
        if isinstance(metric, Embedding):
            photo_vector, vectors = metric.describe([photo]), metric.describe(pictures)
            row[metric.name] = float(cosine(np.repeat(photo_vector, len(vectors), 0), vectors).mean())
    return row
