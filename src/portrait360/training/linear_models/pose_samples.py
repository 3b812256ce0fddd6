"""Training samples of the pose readout: photos of synthetic people whose pose and shape are known."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, HEAD_HEIGHT, RADIUS
from portrait360.pipeline.portrait.face_detection import Face, face_features, find_landmarks
from portrait360.pipeline.portrait.morphable_model import Morphable
from portrait360.pipeline.portrait.pose_regression import crop_upright_head
from portrait360.synth.build import build
from portrait360.synth.head.average_head import load_average_head, to_head_heights
from portrait360.synth.head_pack import load_pack, macro_weights
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.parameters import Shape
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Scene
from portrait360.training.linear_models.face_model import NECK
from portrait360.utils.array_types import Floats
from portrait360.utils.images import to_uint8

FOCAL = focal_from_fov(FOV)
SIDE = 288  # pixels a side of the rendered images
MAX_ERROR = 35  # degrees: fits with a larger error are skipped
FACE = 0.36  # size of a face's box in canonical units
OTHER_KINDS = {17: "toon", 18: "statue", 19: "fantasy"}  # by seed % 20; their skin is not a person's


class KnownView(NamedTuple):
    """The features of a view, its fitted angles, and the true angles and shape."""

    features: Floats  # (2, FEATURES) of the head and of its mirror image
    fitted: tuple[float, float]  # azimuth and elevation of the landmark fit
    angles: tuple[float, float]  # azimuth and elevation of the true camera
    shape: Floats  # true coefficients; NaN where the skin is not a person's


def sample_views(seed: int, count: int, model: Morphable) -> list[KnownView]:
    """Render and fit views of one person; views without a confident face are skipped."""
    rng, kind = np.random.default_rng([seed, 31]), OTHER_KINDS.get(seed % 20, "human")
    person = sample(seed, kind)
    scene = build(person)
    head = prepare_scene(scene)
    shape = project_shape(person.shape, model) if kind == "human" else np.full(len(model.skin.shape), np.nan)
    views = []
    for _ in range(count):
        camera = random_camera(rng)
        view = render(head, camera, SIDE)
        picture = degrade(composite_over(view.rgb, view.alpha, random_background(rng, SIDE)), rng)
        marks = find_landmarks(picture, face_from_landmarks(scene, camera), passes=2)
        if marks.presence < 0.5:
            continue
        fit = model.fit(marks.points[:, :2], FOCAL)
        fitted, angles = ((azimuth_between(0, c.azimuth), c.elevation) for c in (fit.camera, camera))
        if np.abs(np.subtract(fitted, angles)).sum() > MAX_ERROR:
            continue  # the landmarks do not lie on the face
        crop = crop_upright_head(picture, fit)
        features = np.array([face_features(crop), face_features(crop[:, ::-1])])
        views.append(KnownView(features, fitted, angles, shape))
    return views


def random_camera(rng: np.random.Generator) -> Camera:
    """Return a random camera: half of them at the distance that the fit assumes, the others nearer or farther."""
    radius = RADIUS if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(1.6), np.log(5))))
    pose = look_at(rng.uniform(-50, 50), rng.uniform(-24, 24), roll=rng.uniform(-15, 15), radius=radius)
    return Camera(pose, FOCAL * radius / RADIUS)


def face_from_landmarks(scene: Scene, camera: Camera) -> Face:
    """Return a face as a detector would, from the true landmarks; the detected landmarks hardly depend on it."""
    names = ("right_eye_outer", "left_eye_outer", "nose_tip", "right_mouth", "left_mouth")
    points = camera.project(np.array([scene.landmarks[name] for name in names]))[0] * SIDE
    side = FACE * camera.focal / camera.radius * SIDE
    x, y = points.mean(0) - side / 2
    return Face((float(x), float(y), side, side), points.astype(np.float32), 1.0)


def degrade(picture: Floats, rng: np.random.Generator) -> Floats:
    """Degrade an image as cameras and the web do: change colours, then at random blur, add noise, compress."""
    out = picture ** np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.4:
        small = int(rng.uniform(0.4, 1) * SIDE)
        out = cv2.resize(cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    if rng.random() < 0.5:
        out = out + rng.normal(0, rng.uniform(0, 0.04), out.shape)
    out = to_uint8(np.clip(out, 0, 1))
    if rng.random() < 0.5:
        encoded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])[1]
        out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))
    return (out / np.float32(255)).astype(np.float32)


def project_shape(shape: Shape, model: Morphable) -> Floats:
    """Return the least-squares coefficients of a person's neutral skin in the model's shape modes."""
    pack = load_pack()
    weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
    for name, weight in shape.morphs.items():
        weights[name] = weights.get(name, 0.0) + weight
    vertices = pack.blend(weights)
    body = HEAD_HEIGHT * to_head_heights(pack, vertices, vertices)[: pack.body]
    importance = np.where(load_average_head().base[: pack.body, 1] > NECK, 1.0, 0.2)[:, None]
    design = (model.skin.shape * importance).reshape(len(model.skin.shape), -1).T
    return np.linalg.lstsq(design, ((body - model.skin.mean) * importance).ravel(), rcond=None)[0]
