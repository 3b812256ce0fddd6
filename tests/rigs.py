"""Look-alikes of recorded heads: synthetic ones before many cameras, in a frame of their own, and on the disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from portrait360.cameras import RADIUS, Camera, focal_from_fov, look_at
from portrait360.evaluate.rigs import Rig, RigShot
from portrait360.images import Picture, eight_bits
from portrait360.portrait import Portrait
from portrait360.synth.prepare import Prepared
from portrait360.synth.render import render

FOCAL = focal_from_fov(18.8)
WIDE, HIGH, SIZE = 360, 300, 160  # of the photos, and of the canonical pictures
FRONT = 3  # the shot that the portrait is made from
PER_UNIT = 1.7  # of the rig's frame for one of the canonical frame
WORLD = np.eye(4)  # canonical to the rig's frame, but for the scale
WORLD[:3, :3] = look_at(200, 40, roll=77)[:3, :3]
WORLD[:3, 3] = 12, -5, 30


def places() -> list[Camera]:
    """The canonical cameras of eight shots."""
    turns = [(45.0 * (i - FRONT) + 4, [5, -12, 9][i % 3], [2, -6, 9, 0, 17][i % 5]) for i in range(8)]
    return [Camera(look_at(azimuth, elevation, roll=roll), FOCAL) for azimuth, elevation, roll in turns]


def true_poses(distances: list[float]) -> list[np.ndarray]:
    """Of cameras that look past the head, all at one point beside it which the portrait's shot sees as far away as
    the head itself."""
    beside = places()[FRONT].cam2world[:3, :2] @ [0.11, -0.06]
    out = []
    for camera, distance in zip(places(), distances, strict=True):
        pose = camera.cam2world.copy()
        pose[:3, 3] *= distance / RADIUS
        ahead = beside - pose[:3, 3]
        ahead /= np.linalg.norm(ahead)
        axis = np.cross(pose[:3, 2], ahead)
        turn, _ = cv2.Rodrigues(axis / np.linalg.norm(axis) * np.arcsin(np.linalg.norm(axis)))
        pose[:3, :3] = turn @ pose[:3, :3]
        out.append(pose)
    return out


def in_the_world(pose: np.ndarray) -> np.ndarray:
    out = WORLD @ pose
    out[:3, 3] = WORLD[:3, :3] @ pose[:3, 3] * PER_UNIT + WORLD[:3, 3]
    return out


def shots_of(head: Prepared, distances: list[float]) -> Rig:
    """Oblong photos with the principal point off their middle; each camera has its own zoom."""
    shots = []
    for i, (pose, distance) in enumerate(zip(true_poses(distances), distances, strict=True)):
        zoom = [1.15, 0.95, 1.3][i % 3] * distance / RADIUS
        camera = Camera(pose, FOCAL * zoom * 300 / WIDE, (0.47, 0.49))
        seen = render(head, camera, WIDE)
        K = camera.intrinsics(WIDE)
        K[:2, 2] -= 0.5, 40.5  # rows above are cut off; OpenCV counts from the first pixel's centre
        rgb = np.where(seen.alpha[..., None] > 0, seen.rgb, 0.3)[40 : 40 + HIGH]
        picture = Picture(eight_bits(rgb) / np.float32(255), eight_bits(seen.alpha[40 : 40 + HIGH]) / np.float32(255))
        shots.append(RigShot(f"{i:02d}", in_the_world(pose), K, None, partial(same, picture)))
    return Rig("look-alike", tuple(shots))


def same(picture: Picture) -> Picture:
    return picture


def portrait_of(shot: RigShot, pose: np.ndarray, quarters: int = 0) -> Portrait:
    """With a crop around the head's middle, and the camera that sees it so: nothing is detected."""
    camera, small = places()[FRONT], 1e-4
    around = np.array([[0, 0, 0], *camera.cam2world[:3, :2].T]) * small  # the head's middle, and beside and below it
    seen = ((around - pose[:3, 3]) @ pose[:3, :3]) @ (shot.K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).T
    middle, right, below = seen[:, :2] / seen[:, 2:]
    magnified = np.sqrt(np.linalg.det(np.stack([right - middle, below - middle]))) / small
    side = magnified / (camera.focal / RADIUS)
    for i in range(quarters):
        middle = middle[1], (WIDE, HIGH)[i % 2] - middle[0]
        turned = camera.cam2world.copy()
        turned[:3, 0], turned[:3, 1] = camera.cam2world[:3, 1], -camera.cam2world[:3, 0]
        camera = replace(camera, cam2world=turned)
    blank, none = np.zeros((64, 64), np.float32), np.zeros(0)
    corner = middle[0] - side / 2, middle[1] - side / 2
    rgb = np.zeros((64, 64, 3), np.float32)
    return Portrait(rgb, blank, blank, camera, "face", corner, float(side), None, none, none, quarters=quarters)


def png(values: np.ndarray) -> np.ndarray:
    values = eight_bits(values)
    return cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1].reshape(-1)


def write_renderme(folder: Path, rig: Rig, *, part: str = "e0", inverse: bool = False, lens=None) -> Path:
    """With `lens`, the photos are bent as such a lens bends them."""
    lens = np.zeros(5) if lens is None else lens
    for kind in ("raw", "anno"):
        (folder / kind / "0026").mkdir(parents=True, exist_ok=True)
    import h5py

    raw, anno = smc(folder, part)
    with h5py.File(raw, "w") as pictures, h5py.File(anno, "w") as known:
        for shot in rig.shots:
            photo = shot.load()
            for file, kind, values in ((pictures, "color", photo.rgb), (known, "mask", photo.alpha)):
                file[f"Camera/{shot.name}/{kind}/0"] = png(bent(values, shot.K, lens))
            pose = np.linalg.inv(shot.cam2world) if inverse else shot.cam2world
            for name, values in (("K", shot.K), ("D", lens), ("RT", pose)):
                known[f"Calibration/{shot.name}/{name}"] = values
    return folder


def smc(folder: Path, part: str = "e0") -> list[Path]:
    return [folder / kind / "0026" / f"0026_{part}_{kind}.smc" for kind in ("raw", "anno")]


def bent(values: np.ndarray, K: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """What a lens makes of a pinhole's picture: each of its pixels looks up where it would be without."""
    if not lens.any():
        return values
    y, x = np.indices(values.shape[:2], np.float32)
    straight = cv2.undistortPoints(np.stack([x, y], -1).reshape(-1, 1, 2), K, lens, P=K).reshape(*x.shape, 2)
    return cv2.remap(values, straight.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
