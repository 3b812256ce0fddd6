"""One case: what a method makes of it, and every figure of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, look_at, orbit
from portrait360.evaluate.cases import Case
from portrait360.evaluate.consistency import consistency
from portrait360.evaluate.face_measures import FaceSeen, faces_behind, look, pose_error
from portrait360.evaluate.features import (
    Embedding,
    Pairwise,
    aligned_face,
    cosine,
    identities,
    likenesses,
    pairwise,
    spreads,
)
from portrait360.evaluate.methods import Method, reduced
from portrait360.evaluate.metrics import overlap, psnr, sharpness, ssim, ssim_map, ssim_within
from portrait360.evaluate.protocol import Protocol, band_of
from portrait360.images import over_grey
from portrait360.view_sheet import View

Floats = NDArray[np.floating]
Row = dict[str, float]  # "PSNR/front" and so on


@dataclass(frozen=True, eq=False)
class Measured:
    row: Row
    features: dict[str, Floats] = field(default_factory=dict)  # for distances between sets: "FID/front/ours"
    shown: tuple[Floats, ...] = ()  # pictures of the sheet


@dataclass(frozen=True, eq=False)
class _Asked:
    """All cameras of a case in one row, and which of them serve what."""

    cameras: list[Camera]
    targets: slice
    orbit: slice
    faces: slice
    beside: slice
    own: int  # the photo's own camera


def asked(protocol: Protocol, case: Case) -> _Asked:
    """Each camera once: where the truth is an orbit, that is the orbit."""
    focal = case.portrait.camera.focal
    cameras = [view.camera for view in case.targets]
    targets = slice(0, len(cameras))
    around = targets
    if protocol.orbit and len(case.targets) != protocol.orbit:
        around = slice(len(cameras), len(cameras) + protocol.orbit)
        cameras += orbit(protocol.orbit, focal=focal)
    parts = []
    for azimuths in (protocol.faces_at, protocol.beside_photo):
        parts.append(slice(len(cameras), len(cameras) + len(azimuths)))
        cameras += [Camera(look_at(azimuth), focal) for azimuth in azimuths]
    return _Asked([*cameras, case.portrait.camera], targets, around, *parts, own=len(cameras))


def measure(protocol: Protocol, case: Case, method: Method) -> Measured:
    wanted = asked(protocol, case)
    views = method(case.portrait, wanted.cameras, protocol.size)
    pictures = [on_grey(view) for view in views]
    row: Row = {}
    features: dict[str, Floats] = {}
    if case.targets:
        bands = [band_of(view.camera.azimuth) for view in case.targets]
        ours, truth = pictures[wanted.targets], [on_grey(view) for view in case.targets]
        true = [filled(goal, p, view.known) for goal, p, view in zip(truth, ours, case.targets, strict=True)]
        row |= against_truth(views[wanted.targets], case.targets)
        row |= distances(ours, true, bands)
        features = described(ours, true, bands)
    if protocol.orbit:
        around, shown = views[wanted.orbit], pictures[wanted.orbit]
        row["faces behind"] = faces_behind(shown, [view.camera.azimuth for view in around])
        if protocol.refit:
            agree = consistency(around, protocol.refit)
            bands = [band_of(view.camera.azimuth) for view in around]
            row |= banded("refit PSNR", bands[1::2], agree.unseen) | banded("warp error", bands, agree.jumps)
            row["seam"] = agree.seam
    row |= of_the_photo(case, views[wanted.own])
    row |= of_faces(case, [views[i] for i in range(*wanted.faces.indices(len(views)))])
    row |= beside_the_photo(case, pictures[wanted.beside], protocol.size)
    shown = wanted.orbit if protocol.orbit else wanted.targets if case.targets else wanted.beside
    return Measured(row, features, tuple(pictures[shown]))


def against_truth(views: Sequence[View], truth: Sequence[View]) -> Row:
    found: dict[str, list[float]] = defaultdict(list)
    for view, goal in zip(views, truth, strict=True):
        known = np.ones(goal.alpha.shape, bool) if goal.known is None else goal.known > 0.5
        ours, inside = on_grey(view), (goal.alpha > 0.5) & known
        true = filled(on_grey(goal), ours, goal.known)
        found["PSNR"].append(psnr(ours, true, known))
        found["PSNR inside"].append(psnr(ours, true, inside))
        similar = ssim_map(ours, true)
        found["SSIM"].append(ssim_within(similar, known))
        found["SSIM inside"].append(ssim_within(similar, inside))
        found["sharpness"].append(sharpness(ours, true, inside))
        found["IoU"].append(overlap((view.alpha > 0.5) & known, inside))
    bands = [band_of(view.camera.azimuth) for view in truth]
    return {key: value for name, values in found.items() for key, value in banded(name, bands, values).items()}


def banded(name: str, bands: Sequence[str], values: Sequence[float] | Floats) -> Row:
    """The mean over each band's views, and over all; what is not a number does not count."""
    given = np.asarray(values, np.float64)
    groups = {band: [i for i, other in enumerate(bands) if other == band] for band in dict.fromkeys(bands)}
    chosen = {**groups, "all": range(len(given))}
    finite = {band: given[list(which)][np.isfinite(given[list(which)])] for band, which in chosen.items()}
    return {f"{name}/{band}": float(some.mean()) if len(some) else float("nan") for band, some in finite.items()}


def on_grey(view: View) -> Floats:
    return over_grey(view.rgb, view.alpha).astype(np.float32)


def filled(truth: Floats, ours: Floats, known: Floats | None) -> Floats:
    """Where a recording ends, nothing is known, and nothing counts."""
    return truth if known is None else np.where(known[..., None] > 0.5, truth, ours)


def distances(ours: Sequence[Floats], truth: Sequence[Floats], bands: Sequence[str]) -> Row:
    row: Row = {}
    for metric in pairwise():
        if isinstance(metric, Pairwise):
            row |= banded(metric.name, bands, metric.measure(ours, truth))
    return row


def described(ours: Sequence[Floats], truth: Sequence[Floats], bands: Sequence[str]) -> dict[str, Floats]:
    """What sets of pictures are compared by, kept for when all cases are done."""
    out: dict[str, Floats] = {}
    for metric in spreads():
        if isinstance(metric, Embedding):
            both = {"ours": metric.describe(ours), "truth": metric.describe(truth)}
            for band in sorted(set(bands)):
                chosen = [i for i, name in enumerate(bands) if name == band]
                out |= {f"{metric.name}/{band}/{side}": found[chosen] for side, found in both.items()}
    return out


def of_the_photo(case: Case, view: View) -> Row:
    """How well the view from the photo's own camera is the photo."""
    portrait, ours = case.portrait, on_grey(view)
    photo = reduced(over_grey(portrait.rgb, portrait.alpha), view.size)
    inside = reduced(portrait.alpha * portrait.known, view.size) > 0.5
    return {"reference PSNR": psnr(ours, photo, inside), "reference SSIM": ssim(ours, photo, inside)}


def of_faces(case: Case, views: Sequence[View]) -> Row:
    """Where faces are found, from where they seem to be taken, and how much they are the photo's face."""
    if not views:
        return {}
    focal = case.portrait.camera.focal
    photo = reduced(over_grey(case.portrait.rgb, case.portrait.alpha), views[0].size)
    true = look(photo, focal)
    pictures = [on_grey(view) for view in views]
    unlike = {picture.tobytes(): picture for picture in pictures}  # what is repeated is looked at once
    told = {name: look(picture, focal) for name, picture in unlike.items()}
    faces = [told[picture.tobytes()] for picture in pictures]
    found = [(f, v.camera.azimuth, p) for f, v, p in zip(faces, views, pictures, strict=True) if f is not None]
    row = {
        "faces found": len(found) / len(views) if true else float("nan"),
        "pose error, landmarks": pose_error([f.by_landmarks for f, _, _ in found], [a for _, a, _ in found]),
        "pose error, own fit": pose_error([f.by_fit for f, _, _ in found], [a for _, a, _ in found]),
    }
    if true is not None and found:
        row |= alike(photo, true, [(f, p) for f, _, p in found])
    return row


def alike(photo: Floats, true: FaceSeen, found: Sequence[tuple[FaceSeen, Floats]]) -> Row:
    crops = [aligned_face(picture, face.face.points) for face, picture in found]
    first = aligned_face(photo, true.face.points)
    row = {}
    for metric in identities():
        if isinstance(metric, Embedding):
            own, others = metric.describe([first]), metric.describe(crops)
            row[metric.name] = float(cosine(np.repeat(own, len(others), 0), others).mean())
    return row


def beside_the_photo(case: Case, pictures: Sequence[Floats], size: int) -> Row:
    """Renders from several sides against the one photo, whatever differs between them."""
    if not pictures:
        return {}
    rgb, alpha = case.portrait.rgb, case.portrait.alpha
    photo = reduced(over_grey(rgb, alpha), size)
    row: Row = {}
    for metric in pairwise():
        if isinstance(metric, Pairwise):
            row[metric.name] = float(metric.measure(pictures, [photo] * len(pictures)).mean())
    for metric in likenesses():
        if isinstance(metric, Embedding):
            own, others = metric.describe([photo]), metric.describe(pictures)
            row[metric.name] = float(cosine(np.repeat(own, len(others), 0), others).mean())
    return row
