"""Turn any photo into an aligned portrait: find the head, fit the camera, cut the head out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, HEAD_HEIGHT, RADIUS
from portrait360.models.portrait_reader import SIDE
from portrait360.pipeline.portrait import check_crop
from portrait360.pipeline.portrait.crop import CropPadding, CropSquare, Garment, cut_centre
from portrait360.pipeline.portrait.crop_reading import READ_SCALE, find_reading_warnings, read_crop, resample_alpha
from portrait360.pipeline.portrait.face_detection import Face, FaceLandmarks, face_features, find_upright_faces
from portrait360.pipeline.portrait.face_fitting import FaceFit
from portrait360.pipeline.portrait.face_gender import settle_gender
from portrait360.pipeline.portrait.matting import (
    Matte,
    crop_colours,
    crop_scale_for_hair,
    extend_matte,
    is_below_neck,
    photo_matte,
    picture_over_grey,
)
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.portrait.other_people import leave_out_others
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.pose_regression import (
    crop_upright_head,
    fit_options_from_prediction,
    load_pose_readout,
)
from portrait360.pipeline.portrait.silhouette import HeadSilhouette, find_head_in_matte
from portrait360.pipeline.reading.reading import Reading, shows_animal
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.images import Picture, load_picture, to_uint8
from portrait360.utils.portrait_labels import Label

SMALL_FACE = 40  # pixels
SURE_EYE = 0.5  # probability from which a pixel shows an eye
MAX_FACES = 9  # faces counted in a crowd
WARN_AZIMUTH, MAX_AZIMUTH = 30.0, 100.0  # degrees between the user's azimuth and the one that the face shows
POOR_FIT = 0.01  # crop sides: median landmark error; well-fitted faces stay below 0.006
CENTER_HALF_SIDE = 0.12  # crop sides: half side of the square in the middle of the crop
SURE_CLOTH = 0.8  # probability from which a pixel lends its colour to cloth beyond the photo
MIN_CENTER_COVER = 0.3  # share of that square that a head covers at least


def make_portrait(
    photo: Path | Picture,
    *,
    face: int | None = None,
    azimuth: float | None = None,
    elevation: float | None = None,
    size: int = 512,
    focal: float = focal_from_fov(FOV),
) -> Portrait:
    """Find the head in a photo, estimate the camera and cut out an aligned crop.

    Args:
        photo: A picture, or the path of one.
        face: Which face to use, counted from 1 (the largest); the largest by default.
        azimuth: Degrees in -360..360 that override the estimate; 0 is the front, 90 the subject's left.
        elevation: Degrees in -89..89 that override the estimate.
        size: Side of the crop in pixels, 64..2048.
        focal: Focal length of the crop's camera, in crop sides.
    """
    check_crop(azimuth, elevation, size)
    picture = photo if isinstance(photo, Picture) else load_picture(photo)
    quarters, faces = find_upright_faces(picture_over_grey(picture), max(MAX_FACES, face or 0))
    picture = picture.rotate(quarters)
    warnings = picture.warnings + (("the photo was rotated to make the face upright",) if quarters else ())
    if face is not None and not 1 <= face <= len(faces):
        count = {0: "is no face", 1: "is 1 face"}.get(len(faces), f"are {len(faces)} faces")
        raise UserError(
            f"There {count} in {picture.name}, but `face={face}` was given; choose another, or leave it out."
        )
    if faces:
        warnings += _face_warnings(faces, face)
        points = faces[(face or 1) - 1][1].points[:, :2].astype(np.float64)
        placement = _place_by_face(picture_over_grey(picture), points, azimuth, elevation, focal)
    else:
        placement = _place_by_outline(picture, azimuth, elevation, focal)
    others = tuple(found.points for i, (_, found) in enumerate(faces) if i != (face or 1) - 1)
    placement = replace(placement, warnings=warnings + placement.warnings, others=others)
    portrait = _cut_out(picture, placement, size)
    return replace(portrait, quarter_turns=quarters)


@dataclass(frozen=True, eq=False)
class _Placement:
    """The position of the crop in the photo and the pose of its camera, before anything is cut."""

    square: CropSquare
    camera: Camera
    source: str
    points: Floats | None  # landmarks in photo pixels
    shape: Floats
    expression: Floats
    warnings: tuple[str, ...]
    others: tuple[Floats, ...] = ()  # landmarks of the other faces, in photo pixels


def _face_warnings(faces: list[tuple[Face, FaceLandmarks]], face: int | None) -> tuple[str, ...]:
    warnings, width = [], faces[(face or 1) - 1][0].box[2]
    if len(faces) > 1 and face is None:
        count = f"{len(faces)} faces" if len(faces) < MAX_FACES else f"{MAX_FACES} faces or more"
        warnings.append(f"{count} were found and the largest was used; choose another with `face=N`")
    if width < SMALL_FACE:
        warnings.append(f"the face is only {width:.0f} pixels wide, so it shows little detail")
    return tuple(warnings)


def fit_face_and_pose(
    rgb: Floats, points: Floats, focal: float, azimuth: float | None = None, elevation: float | None = None
) -> tuple[FaceFit, FaceFit]:
    """Fit a face to landmarks (n, 2): from the landmarks alone, then also from the appearance of the whole head.

    In the second fit, `azimuth` and `elevation` override the predicted angles.
    """
    model = load_morphable()
    raw = model.fit(points, focal)
    head = crop_upright_head(rgb, raw)
    prediction = load_pose_readout()(face_features(head), face_features(head[:, ::-1]), raw)
    options = fit_options_from_prediction(model, prediction, raw)
    assert options.hold is not None
    predicted = options.hold
    pose = (predicted[0] if azimuth is None else azimuth, predicted[1] if elevation is None else elevation)
    return raw, model.fit(points, focal, replace(options, hold=pose))


def _place_by_face(
    rgb: Floats, points: Floats, azimuth: float | None, elevation: float | None, focal: float
) -> _Placement:
    raw, fit = fit_face_and_pose(rgb, points, focal, azimuth, elevation)
    warnings = _fit_warnings(raw, fit)
    return _Placement(
        CropSquare(fit.corner, fit.side), fit.camera, "face", points, fit.shape, fit.expression, warnings
    )


def _fit_warnings(raw: FaceFit, fit: FaceFit) -> tuple[str, ...]:
    """Compare the final fit with the one from landmarks alone, and return warnings for the user."""
    measured, final = azimuth_between(0, raw.camera.azimuth), azimuth_between(0, fit.camera.azimuth)
    if abs(azimuth_between(measured, final)) > MAX_AZIMUTH:
        raise UserError(
            f"Judging by the face, the azimuth is about {measured:+.0f} degrees, but it was set to "
            f"{final:+.0f}; do not set `azimuth=` when a face is visible."
        )
    if abs(azimuth_between(measured, final)) > WARN_AZIMUTH:
        return (
            f"judging by the face, the azimuth is about {measured:+.0f} degrees, but it was set to "
            f"{final:+.0f}; if in doubt, do not set `azimuth=`",
        )
    if fit.error > POOR_FIT:
        return (
            "the 3D face does not match the photo well, so check how the head is turned; for a profile, add "
            "`azimuth=90` or `azimuth=-90`",
        )
    return ()


def _place_by_outline(picture: Picture, azimuth: float | None, elevation: float | None, focal: float) -> _Placement:
    """Place the crop by the matte of the whole picture: the centre of the head becomes the origin."""
    matte = photo_matte(picture)
    head = _find_animal_head(picture, matte) or find_head_in_matte(matte.values)
    if head is None:
        raise _no_head_error(picture)
    x, y = (coordinate / matte.scale for coordinate in head.center)
    side = head.height / matte.scale * RADIUS / (focal * HEAD_HEIGHT)
    model = load_morphable().skin
    warning = "no face found; the head was located by its outline"
    if azimuth is None:
        warning += (
            ". Use `azimuth=` and `elevation=` to say where the camera was (a profile: 90 or -90, from behind: 180)"
        )
    return _Placement(
        CropSquare((x - side / 2, y - side / 2), side),
        Camera(look_at(azimuth or 0.0, elevation or 0.0), focal),
        "matte",
        None,
        np.zeros(len(model.shape)),
        np.zeros(len(model.expression)),
        (warning,),
    )


def _find_animal_head(picture: Picture, matte: Matte) -> HeadSilhouette | None:
    """Find the head of an animal in the matte of a whole photo, without clothes; ears are no head above a neck."""
    height, width = picture.rgb.shape[:2]
    square = CropSquare((0.0, 0.0), float(max(height, width)))
    reading = read_crop(picture, square)
    if not shows_animal(reading, has_face=False):
        return None
    values = matte.cut(square, SIDE, cv2.BORDER_CONSTANT) * (1 - smoothstep(0.3, 0.7, reading.share(Label.CLOTHES)))
    rows = np.flatnonzero((reading.share(Label.EYE) > SURE_EYE).any(1))
    head = find_head_in_matte(values, float(rows.mean()) if len(rows) else 0.0)
    pixel = square.side * matte.scale / SIDE
    return head and HeadSilhouette((head.center[0] * pixel, head.center[1] * pixel), head.height * pixel)


def _no_head_error(picture: Picture) -> UserError:
    return UserError(f"No head was found in {picture.name}: use a picture that clearly shows a head.")


def _cut_out(picture: Picture, placement: _Placement, size: int) -> Portrait:
    """Matte the subject, enlarge the crop for hair, cut it out, and fill it where it extends beyond the photo."""
    camera, read_square = placement.camera, placement.square.scale(READ_SCALE)
    reading = read_crop(picture, read_square)
    matte = photo_matte(picture, placement.square, partial(resample_alpha, reading, read_square))
    if placement.points is not None:
        matte = leave_out_others(matte, placement.points, placement.others, picture.rgb)
    factor = crop_scale_for_hair(matte, placement.square, camera)
    square = placement.square.scale(factor)
    if factor > READ_SCALE:  # hair reaches beyond what was read
        read_square = square
        reading = read_crop(picture, read_square)
    height, width = picture.rgb.shape[:2]
    padding = CropPadding(square, (height, width), size)
    # the subject of the whole photo may turn out to be nothing in the close-up
    if matte.cut(placement.square.scale(2 * CENTER_HALF_SIDE), 64, cv2.BORDER_CONSTANT).mean() < MIN_CENTER_COVER:
        raise _no_head_error(picture)
    alpha = extend_matte(matte.cut(square, size, cv2.BORDER_REPLICATE), padding, camera, factor)
    scale = read_square.side / square.side
    garment = _find_garment(reading, scale, alpha, padding, is_below_neck(size, factor, camera))
    rgb = padding.fill(crop_colours(picture, square, size), alpha, garment)
    has_face = placement.source == "face"
    landmarks = None if placement.points is None else square.normalise(placement.points)
    if landmarks is not None:
        reading = settle_gender(reading, rgb, landmarks, camera.azimuth)
    cuts = find_reading_warnings(reading, read_square, (height, width), camera.azimuth, has_face=has_face)
    return Portrait(
        rgb=_quantize(rgb),
        alpha=_quantize(alpha),
        inside_photo=_quantize(padding.inside_photo),
        camera=camera,
        source=placement.source,
        corner=square.corner,
        side=square.side,
        landmarks=landmarks,
        shape=placement.shape,
        expression=placement.expression,
        warnings=placement.warnings + cuts,
        crop_scale=factor,
        reading=reading,
        reading_scale=scale,
    )


def _find_garment(
    reading: Reading, scale: float, alpha: Floats, padding: CropPadding, below_neck: NDArray[np.bool_]
) -> Garment:
    """Return what the crop shows of the clothes, and where they go on: not under hair, and not on animals."""
    shares = np.stack([reading.share(Label.CLOTHES), reading.share(Label.HAIR)])
    cloth, hair = cut_centre(shares, scale, padding.size)
    dressed = below_neck & (padding.repeat_edges(hair) < 0.5)
    if reading.best("kind")[0] == "animal":
        dressed = np.zeros_like(dressed)
    return Garment((cloth > SURE_CLOTH) * alpha, dressed)


def _quantize(values: Floats) -> Floats:
    """Round to 8-bit values, as saving and loading a PNG does."""
    return to_uint8(values).astype(np.float32) / 255
