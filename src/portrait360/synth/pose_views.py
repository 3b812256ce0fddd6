"""Photos of synthetic people whose pose and skin are known, as the readout of the pose is to see them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Camera, azimuth_between, focal_from_fov, look_at
from portrait360.faces import Face, face_features, find_landmarks
from portrait360.geometry.morphable import Morphable
from portrait360.geometry.pose_view import upright
from portrait360.images import eight_bits
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.face_model import NECK
from portrait360.synth.framing import FOV
from portrait360.synth.head import HEIGHT
from portrait360.synth.pack import load_pack, macro_weights
from portrait360.synth.parameters import Shape
from portrait360.synth.prepare import prepare
from portrait360.synth.reference import frame, reference
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.scene import Scene
from portrait360.synth.tone import over

Floats = NDArray[np.floating]

FOCAL = focal_from_fov(FOV)
SIDE = 288  # of the rendered pictures
ASTRAY = 35  # degrees
FACE = 0.36  # canonical: what a face's box spans
OTHERS = {17: "toon", 18: "statue", 19: "fantasy"}  # every twentieth seed; their skin is not a person's


class KnownView(NamedTuple):
    """What is seen, and what should be said of it."""

    features: Floats  # (2, FEATURES) of the head and of its mirror image
    fitted: tuple[float, float]  # azimuth and elevation
    angles: tuple[float, float]  # of the true camera
    shape: Floats  # true coefficients; NaN where the skin is not a person's


def known_views(seed: int, count: int, model: Morphable) -> list[KnownView]:
    """Some views of one person; those on which no face is believed are left out."""
    rng, kind = np.random.default_rng([seed, 31]), OTHERS.get(seed % 20, "human")
    person = sample(seed, kind)
    scene = build(person)
    head = prepare(scene)
    true = true_shape(person.shape, model) if kind == "human" else np.full(len(model.skin.shape), np.nan)
    out = []
    for _ in range(count):
        camera = random_camera(rng)
        view = render(head, camera, SIDE)
        picture = photographed(over(view.rgb, view.alpha, background(rng, SIDE)), rng)
        marks = find_landmarks(picture, seen_face(scene, camera), passes=2)
        if marks.presence < 0.5:
            continue
        fit = model.fit(marks.points[:, :2], FOCAL)
        fitted, angles = ((azimuth_between(0, c.azimuth), c.elevation) for c in (fit.camera, camera))
        if np.abs(np.subtract(fitted, angles)).sum() > ASTRAY:
            continue  # the landmarks lie elsewhere
        crop = upright(picture, fit)
        features = np.array([face_features(crop), face_features(crop[:, ::-1])])
        out.append(KnownView(features, fitted, angles, true))
    return out


def random_camera(rng: np.random.Generator) -> Camera:
    """Often the usual distance, which the fit takes for granted; otherwise nearer or farther."""
    radius = RADIUS if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(1.6), np.log(5))))
    pose = look_at(rng.uniform(-50, 50), rng.uniform(-24, 24), roll=rng.uniform(-15, 15), radius=radius)
    return Camera(pose, FOCAL * radius / RADIUS)


def seen_face(scene: Scene, camera: Camera) -> Face:
    """What a detector would say; the landmarks hardly depend on it."""
    names = ("right_eye_outer", "left_eye_outer", "nose_tip", "right_mouth", "left_mouth")
    points = camera.project(np.array([scene.landmarks[name] for name in names]))[0] * SIDE
    side = FACE * camera.focal / camera.radius * SIDE
    x, y = points.mean(0) - side / 2
    return Face((float(x), float(y), side, side), points.astype(np.float32), 1.0)


def photographed(picture: Floats, rng: np.random.Generator) -> Floats:
    """As cameras and the web leave pictures: other colours, less sharp, noisy, compressed."""
    out = picture ** np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.4:
        small = int(rng.uniform(0.4, 1) * SIDE)
        out = cv2.resize(cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    if rng.random() < 0.5:
        out = out + rng.normal(0, rng.uniform(0, 0.04), out.shape)
    out = eight_bits(np.clip(out, 0, 1))
    if rng.random() < 0.5:
        code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])[1]
        out = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED))
    return (out / np.float32(255)).astype(np.float32)


def true_shape(shape: Shape, model: Morphable) -> Floats:
    """The coefficients with which the modes come nearest to a person's neutral skin."""
    pack = load_pack()
    weights = macro_weights(shape.gender, shape.age, shape.muscle, shape.weight, shape.origin)
    for name, weight in shape.morphs.items():
        weights[name] = weights.get(name, 0.0) + weight
    vertices = pack.blend(weights)
    body = HEIGHT * frame(pack, vertices, vertices)[: pack.body]
    counts = np.where(reference().base[: pack.body, 1] > NECK, 1.0, 0.2)[:, None]
    design = (model.skin.shape * counts).reshape(len(model.skin.shape), -1).T
    return np.linalg.lstsq(design, ((body - model.skin.mean) * counts).ravel(), rcond=None)[0]
