"""Reference photos of the same head, also from behind: estimate their cameras in the frame of the first photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.silhouette import find_head_in_matte
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError

BEHIND = 180.0  # degrees of azimuth
OUTLINE_SIZE = 256  # pixels of the compared outlines
MIN_WEIGHT = 0.3  # landmarks with a smaller weight are not used
MIN_FACING = 0.2  # cosine: landmarks on skin that is turned further away are not used


def back_portrait(photo: Path, size: int) -> Portrait:
    """Make the portrait of a photo from behind."""
    try:
        return make_portrait(photo, azimuth=BEHIND, elevation=0.0, size=size)
    except UserError as error:
        if "`azimuth=" not in str(error):
            raise
        raise UserError(
            f"{photo} shows a face, so it was not taken from behind; pass it as `references=`."
        ) from error


def reference_portrait(photo: Path, size: int) -> Portrait:
    """Make the portrait of a further photo, which must show a face so that its camera can be estimated."""
    portrait = make_portrait(photo, size=size)
    if portrait.source != "face":
        raise UserError(f"No face was found in {photo}, so its camera cannot be estimated; leave it out.")
    return portrait


def estimate_reference_camera(
    reference: Portrait, first: Portrait, vertices: Floats, triangles: NDArray[np.int32]
) -> Camera:
    """Estimate the camera of a reference photo around the head that was reconstructed from the first photo."""
    if reference.source == "face" and first.source == "face":
        return _camera_from_landmarks(reference, first)
    return _camera_from_outline(reference, vertices, triangles)


def _camera_from_landmarks(reference: Portrait, first: Portrait) -> Camera:
    """Keep the reference's own pose, and fit the lens so that the first photo's face meets its landmarks.

    The pose of its own fit is more accurate than one from these landmarks.
    """
    assert reference.landmarks is not None
    model, camera = load_morphable(), reference.camera
    points = model.landmarks.at(first.shape, reference.expression) / first.crop_scale
    centered = points - points.mean(0)
    outward = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    usable = (outward @ (camera.position / camera.radius) > MIN_FACING) & (model.weights > MIN_WEIGHT)
    return _fit_lens(camera, camera.project(points[usable])[0], reference.landmarks[: len(points)][usable])


def _fit_lens(camera: Camera, projected: Floats, target: Floats) -> Camera:
    """Change focal length and centre so that projected points (n, 2) meet target points, by least squares."""
    projected_mean, target_mean = projected.mean(0), target.mean(0)
    offsets = projected - projected_mean
    scale = float((offsets * (target - target_mean)).sum() / (offsets**2).sum())
    x, y = scale * (np.array(camera.center) - projected_mean) + target_mean
    return replace(camera, focal=camera.focal * scale, center=(float(x), float(y)))


def _camera_from_outline(reference: Portrait, vertices: Floats, triangles: NDArray[np.int32]) -> Camera:
    """Fit the lens so that crown and chin of the rendered outline meet those of the reference's matte."""
    side = (OUTLINE_SIZE, OUTLINE_SIZE)
    alpha = np.asarray(cv2.resize(reference.alpha, side, interpolation=cv2.INTER_AREA), np.float32)
    rendered = rasterizer.rasterise(vertices, triangles, reference.camera, OUTLINE_SIZE).ids >= 0
    heads = find_head_in_matte(rendered.astype(np.float32)), find_head_in_matte(alpha)
    if heads[0] is None or heads[1] is None:
        return reference.camera
    ends, target = (np.add(h.center, [[0, -h.height / 2], [0, h.height / 2]]) / OUTLINE_SIZE for h in heads if h)
    return _fit_lens(reference.camera, ends, target)
