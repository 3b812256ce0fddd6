"""The cases of a protocol: a portrait for the method and, where there is a ground truth, the views to be matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from portrait360.evaluation.methods import Method
from portrait360.evaluation.multiview_datasets import CameraRig
from portrait360.evaluation.picture_folders import select_truth
from portrait360.evaluation.protocols import Heads, Protocol
from portrait360.evaluation.rig_alignment import align_rig, nearest_front
from portrait360.evaluation.varied_heads import build_varied_head
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame, make_synthetic_portrait, portrait_frame
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.photography.backgrounds import sample_background
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.errors import UserError
from portrait360.utils.images import Picture, load_picture

FOCAL = focal_from_fov(FOV)
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    kind: str
    portrait: Portrait
    targets: tuple[View, ...] = ()  # the ground truth
    folder: Path | None = None  # of a finished run
    oracle: Method | None = None  # renders the true head from any camera of the portrait's frame


def make_synthetic_case(protocol: Protocol, index: int) -> Case:
    """Render a synthetic head in front of a random background, and its ground-truth views."""
    heads = protocol.heads
    assert heads is not None
    head, kind, photo_camera, photo = render_synthetic_photo(heads, index, protocol.portrait)
    portrait = make_synthetic_portrait(photo, photo_camera, protocol.portrait)
    cameras = list_truth_cameras(protocol)
    truth = [
        render(head, camera, protocol.size)
        for camera in cameras_for_crop(cameras, portrait, photo_camera, protocol.portrait)
    ]
    targets = (View(rendered.rgb, rendered.alpha, camera) for rendered, camera in zip(truth, cameras, strict=True))
    return Case(
        f"{index:03d}",
        kind,
        portrait,
        tuple(targets),
        oracle=partial(render_true_head, head, portrait_frame(portrait, photo_camera, protocol.portrait)),
    )


def list_truth_cameras(protocol: Protocol) -> list[Camera]:
    """List the cameras of the true views: the orbit, then a ring at each further elevation, its views in between."""
    step = 360 / max(protocol.ring, 1)
    rings = [
        orbit(protocol.ring, elevation=elevation, start=(i + 1) * step / (len(protocol.elevations) + 1), focal=FOCAL)
        for i, elevation in enumerate(protocol.elevations)
    ]
    return [*orbit(protocol.orbit, focal=FOCAL), *(camera for ring in rings for camera in ring)]


def render_true_head(
    head: PreparedScene, frame: PortraitFrame, portrait: Portrait, cameras: Sequence[Camera], size: int
) -> list[View]:
    """Render the true head: a method that knows the head but takes its pose from the portrait."""
    renders = ((render(head, frame.camera(camera), size), camera) for camera in cameras)
    return [View(rendered.rgb, rendered.alpha, camera) for rendered, camera in renders]


def render_synthetic_photo(heads: Heads, index: int, size: int) -> tuple[PreparedScene, str, Camera, Picture]:
    """Return the head, its kind, the photo's camera and the photo of a synthetic case."""
    seed, kind = heads.first + heads.step * index, heads.kinds[index % len(heads.kinds)]
    rng = np.random.default_rng(seed)
    head = prepare_scene(build_varied_head(seed, kind) if heads.varied else build(sample(seed, kind)))
    azimuth, elevation, roll = (rng.uniform(-limit, limit) for limit in (heads.azimuth, heads.elevation, heads.roll))
    photo_camera = Camera(look_at(azimuth, elevation, roll=roll), FOCAL)
    rendered = render(head, photo_camera, size)
    background = sample_background(rng, size) if heads.varied else random_background(rng, size)
    photo = composite_over(rendered.rgb, rendered.alpha, background).astype(np.float32)
    picture = Picture(np.round(photo * 255).astype(np.float32) / 255, None, name=f"case {index:03d}")
    return head, kind, photo_camera, picture


def cameras_for_crop(cameras: Sequence[Camera], portrait: Portrait, photo_camera: Camera, size: int) -> list[Camera]:
    """Return cameras that render the truth shifted and scaled as the crop is within the photo.

    How large a head is and where its centre lies is a convention that no photo shows. The angles stay the same:
    their errors count."""
    frame = replace(portrait_frame(portrait, photo_camera, size), turn=np.eye(3))
    return [frame.camera(camera) for camera in cameras]


def make_photo_case(protocol: Protocol, path: Path) -> Case:
    return Case(path.stem, "photo", make_portrait(load_picture(path), size=protocol.portrait))


def load_run_case(folder: Path) -> Case:
    return Case(folder.name, "run", Portrait.load(folder / "portrait"), folder=folder)


def make_rig_case(protocol: Protocol, rig: CameraRig, front: int | None = None) -> Case:
    """Make the portrait from one shot, by default the most frontal one. All other shots are the truth, where they
    show the head."""
    front = nearest_front(rig) if front is None else front
    portrait = make_portrait(rig.shots[front].load(), size=protocol.portrait)
    alignment = align_rig(rig, front, portrait)
    target_shots = (rig.shots[i] for i in select_truth(len(rig.shots), front))
    return Case(rig.name, "recorded", portrait, tuple(alignment.view(shot, protocol.size) for shot in target_shots))


def list_photos(paths: Sequence[Path]) -> list[Path]:
    """List the given files, and the pictures in the given folders in the order of their names."""
    photos: list[Path] = []
    for path in paths:
        if path.is_dir():
            photos += sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTO_SUFFIXES)
        elif path.is_file():
            photos.append(path)
        else:
            raise UserError(f"There is no file or folder {path}.")
    if not photos:
        raise UserError(f"There are no pictures in {', '.join(map(str, paths))}.")
    return photos
