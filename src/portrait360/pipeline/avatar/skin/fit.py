"""Fit the skin of an avatar to a portrait: camera, shape and expression, then what the landmarks are still off by.

The portrait's own fit keeps expressions small, because they easily explain what the pose should. With the pose known,
a softer prior lets faces smile, and scans of heads say how far what lies in view stands out (`scan_model`); the
residuals of the landmarks are then spread smoothly over the skin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.geometry.surfaces.subdivision import mesh_laplacian
from portrait360.pipeline.avatar.skin.lip_edges import UPPER, find_hanging_lips
from portrait360.pipeline.avatar.skin.scan_model import face_coefficients, load_scan_model, straighten_landmarks
from portrait360.pipeline.portrait.face_fitting import FaceFit, FitOptions, LinearPoints
from portrait360.pipeline.portrait.morphable_model import Morphable, load_morphable
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.synth.head.average_head import load_average_head
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.sparse import factorise

NOISE, EXPRESSION_PRIOR = 0.005, 3.0
UNIT = 512.0  # side of the crop in the units of the fit
ALIKE, TURNED = 1.0, (20.0, 35.0)  # weight of both sides being alike, and the degrees over which it grows
SMOOTH, STIFF = 3.0, 1e-3  # weight of the Laplacian and of the offset itself against one landmark
ACROSS = 6.0  # weight across an outline of a landmark that slides along it: no other says where the outline is
FACING = (0.15, 0.45)  # cosine towards the camera at which a landmark begins to count, and counts fully
FAR = 0.05  # crop sides: a landmark further off than this is a mistake of the detector
LARGEST = 100.0  # of any number in a file
UNRELIABLE = (  # expression units that landmarks in one picture cannot tell from shape or pose
    "cheekPuff", "mouthShrug", "mouthPress", "jawLeft", "jawRight", "jawForward", "mouthLeft", "mouthRight",
    "eyeLook", "noseSneer", "mouthRoll", "tongueOut", "mouthPucker", "mouthFunnel",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SkinFit:
    """The skin of the face model as a portrait shows it."""

    camera: Camera  # of the portrait's crop, in the frame of the head at its own size
    shape: Floats  # (60,)
    expression: Floats  # (52,)
    offset: F32  # (n, 3) of the coarse skin from what shape and expression say, canonical units
    error: float  # median distance of the landmarks after all, in crop sides


def fit_skin(portrait: Portrait, units: tuple[str, ...], *, snap: bool = True) -> SkinFit:
    """Fit the skin to the landmarks of a portrait; `units` names the expression units of the face model.

    Without `snap`, landmarks stay where shape and expression put them.
    """
    if portrait.landmarks is None:
        raise ValueError("a portrait without landmarks has no face to fit")
    model = reliable_model(units)
    landmarks = straighten_landmarks(portrait.landmarks[: len(model.spread)], portrait.camera)
    fit = refit_face(portrait, landmarks, model)
    side = fit.side / UNIT
    centre = tuple((corner + fit.side / 2) / UNIT for corner in fit.corner)
    camera = Camera(fit.camera.cam2world, fit.camera.focal * side, (float(centre[0]), float(centre[1])))
    skin = model.skin.at(fit.shape, fit.expression)
    if snap:
        skin = skin + spread_residuals(model, fit.shape, fit.expression, camera, landmarks)
    error = float(np.median(np.linalg.norm(camera.project(model.rows @ skin)[0] - landmarks, axis=1)))
    shape = face_coefficients(fit.shape)
    offset = skin - load_morphable().skin.at(shape, fit.expression)
    return SkinFit(camera, shape, fit.expression, offset.astype(np.float32), error)


@lru_cache(maxsize=1)
def mirror_skin() -> np.ndarray:
    """Return the vertex on the other side of the head of each vertex of the coarse skin."""
    rest = load_average_head().base[: len(load_morphable().skin.mean)]
    return np.asarray(KDTree(rest).query(rest * np.array([-1, 1, 1]))[1])


@lru_cache(maxsize=2)
def reliable_model(units: tuple[str, ...]) -> Morphable:
    """Return the face model of scans without the units that one picture says nothing about."""
    model = load_scan_model()
    expression = model.skin.expression.copy()
    expression[[i for i, name in enumerate(units) if name.startswith(UNRELIABLE)]] = 0
    return replace(model, skin=LinearPoints(model.skin.mean, model.skin.shape, expression))


def refit_face(portrait: Portrait, landmarks: Floats, model: Morphable) -> FaceFit:
    """Fit shape and expression again to landmarks, around the pose that the portrait stage found."""
    camera = portrait.camera
    options = FitOptions(noise=NOISE, expression_prior=EXPRESSION_PRIOR, hold=(camera.azimuth, camera.elevation))
    return model.fit(landmarks * UNIT, camera.focal / portrait.crop_scale, options)


def spread_residuals(model: Morphable, shape: Floats, expression: Floats, camera: Camera, landmarks: Floats) -> F64:
    """Return offsets (n, 3) of the coarse skin, parallel to the picture, that bring landmarks to where they are seen.

    They minimise |w (rows D - d)|^2 + SMOOTH |L D|^2 + STIFF |D|^2, with the uniform Laplacian L of the mesh.
    Landmarks that slide along the skin from face to face count less: to follow them would shear a nose's slope.
    Across an outline they count all the more.
    """
    points = model.rows @ model.skin.at(shape, expression)
    projected, depth = camera.project(points)
    residual = landmarks - projected
    axes = camera.cam2world[:3, :2]  # the picture's x and y in the world
    wanted = residual @ axes.T * (depth / camera.focal)[:, None]
    towards = camera.position - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    facing = (model.landmark_normals * towards).sum(1)
    weight = np.clip((facing - FACING[0]) / (FACING[1] - FACING[0]), 0, 1) * (np.linalg.norm(residual, axis=1) < FAR)
    trust, wanted = _trust_across(wanted, model, camera)
    weight = weight * trust
    hanging, lack = find_hanging_lips(model, model.skin.at(shape, expression), camera, landmarks)
    far = float(np.median(depth[list(UPPER)])) / camera.focal
    wanted = np.concatenate([wanted, far * lack @ axes.T])
    weight = np.concatenate([weight, np.ones(len(lack))])
    rows, count = sp.vstack([model.rows, hanging]).tocsr(), len(model.skin.mean)
    turn = float(smoothstep(*TURNED, np.array(abs(azimuth_between(0, camera.azimuth)))))
    laplacian = mesh_laplacian(model.quads, count)
    system = rows.T @ sp.diags(weight) @ rows + SMOOTH * (laplacian.T @ laplacian) + STIFF * sp.eye(count)
    return solve_alike(system, rows.T @ (weight[:, None] * wanted), turn)


def solve_alike(system: sp.spmatrix, wanted: Floats, turn: float) -> F64:
    """Solve for moves (n, 3) of which both sides are the more alike, the further the face is turned (`turn` is 1).

    A face that is seen aslant shows its near side; what it shows of the far one is mostly how its outline drifts.
    """
    if turn == 0:
        return factorise(system).solve(wanted)
    mirror = mirror_skin()
    swap = sp.csr_matrix((np.ones(len(mirror)), (np.arange(len(mirror)), mirror)), shape=system.shape)
    apart = [sp.eye(len(mirror)) + sign * swap for sign in (1, -1)]  # across, and along the middle of the face
    across, along = (factorise(system + ALIKE * turn * (a.T @ a)) for a in apart)
    return np.concatenate([across.solve(wanted[:, :1]), along.solve(wanted[:, 1:])], 1)


def _trust_across(wanted: Floats, model: Morphable, camera: Camera) -> tuple[Floats, Floats]:
    """Return how far landmarks count, and their moves (n, 3) with less of what lies along the skin in the picture."""
    axes, known = camera.cam2world[:3, :2], model.weights[:, None]
    across = model.landmark_normals @ axes @ axes.T  # short where the skin faces the camera
    sliding = ACROSS * (1 - known)
    trust = known + sliding * (across**2).sum(1, keepdims=True)
    moves = known * wanted + sliding * across * (across * wanted).sum(1, keepdims=True)
    return trust[:, 0], moves / trust


def pack_fit(fit: SkinFit) -> dict[str, np.ndarray]:
    """Return a fit as named arrays for an .npz file."""
    lens = np.array([fit.camera.focal, *fit.camera.center, fit.error], np.float64)
    arrays = {"fit_cam2world": fit.camera.cam2world, "fit_lens": lens, "fit_offset": fit.offset}
    return arrays | {f"fit_{name}": np.asarray(getattr(fit, name), np.float64) for name in ("shape", "expression")}


def unpack_fit(data: Mapping[str, np.ndarray]) -> SkinFit:
    """Return the fit that `pack_fit` packed; raise a ValueError for arrays that are none."""
    model = load_morphable().skin
    shapes = {"cam2world": (4, 4), "lens": (4,), "offset": model.mean.shape}
    shapes |= {"shape": (len(model.shape),), "expression": (len(model.expression),)}
    arrays = {name: np.array(data[f"fit_{name}"]) for name in shapes}
    for name, values in arrays.items():
        if values.dtype != (np.float32 if name == "offset" else np.float64) or values.shape != shapes[name]:
            raise ValueError(f"the fit's {name} has another type or shape")
        if not (np.isfinite(values).all() and np.abs(values).max() <= LARGEST):
            raise ValueError(f"the fit's {name} holds impossible numbers")
    focal, x, y, error = (float(v) for v in arrays["lens"])
    camera = Camera(arrays["cam2world"], focal, (x, y))
    return SkinFit(camera, arrays["shape"], arrays["expression"], arrays["offset"], error)
