"""The frame in which the published networks know heads: PanoHead's crop and its camera labels.

Everything that they are shown or that they show lives there: the photo, its references, generated heads, hints, and
the cameras of views. Ours and theirs differ by one similarity, measured on crops that PanoHead's authors labelled: a
head fills more of their square, their cameras stand higher, and their centre lies lower. Their square is of the same
size for every head, whatever it cuts off, and level with the eyes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.geometry.canonical_frame import FOCAL_SD15, RADIUS
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.array_types import F64, Floats

SCALE = 1.131  # side of our square in sides of theirs, both of a camera with FOCAL_SD15 (spread 0.028)
RAISED = 5.9  # degrees by which their label of a photo stands higher than our camera (spread 1.3)
LOWERED = 0.042  # sides of their square by which its centre lies lower in the photo (spread 0.021)
# landmarks that stand for those of the 68 by which PanoHead levels: around each eye, and the corners of the mouth
RIGHT_EYE, LEFT_EYE, MOUTH = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (61, 291)


@dataclass(frozen=True, eq=False)
class PublishedFrame:
    """The similarity from the canonical frame of a portrait: X_published = scale turn (X - centre)."""

    scale: float
    turn: F64  # (3, 3) rotation
    centre: F64  # (3,) their origin, in our frame

    @classmethod
    def of(cls, portrait: Portrait) -> PublishedFrame:
        """Return the frame for the head of a portrait. Where its crop was enlarged for hair, the head is smaller."""
        return cls.for_scale(portrait.crop_scale)

    @classmethod
    def for_scale(cls, crop_scale: float = 1.0) -> PublishedFrame:
        """Return the frame for a head in a crop that is enlarged by a factor."""
        scale, angle = SCALE * crop_scale, math.radians(RAISED)
        turn = np.eye(3)
        turn[1:, 1:] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        return cls(scale, turn, np.array([0.0, -LOWERED * RADIUS / (FOCAL_SD15 * scale), 0.0]))

    def to_published(self, camera: Camera) -> Camera:
        """Move a camera of our frame into theirs."""
        pose = camera.cam2world.copy()
        pose[:3, :3] = self.turn @ pose[:3, :3]
        pose[:3, 3] = self.points_to_published(camera.position)
        return replace(camera, cam2world=pose)

    def from_published(self, camera: Camera) -> Camera:
        """Move a camera of their frame into ours, where it sees the same picture."""
        pose = camera.cam2world.copy()
        pose[:3, :3] = self.turn.T @ pose[:3, :3]
        pose[:3, 3] = self.points_from_published(camera.position)
        return replace(camera, cam2world=pose)

    def points_to_published(self, points: Floats) -> F64:
        return self.scale * (np.asarray(points, np.float64) - self.centre) @ self.turn.T

    def points_from_published(self, points: Floats) -> F64:
        return np.asarray(points, np.float64) @ self.turn / self.scale + self.centre

    def directions_from_published(self, directions: Floats) -> F64:
        return np.asarray(directions, np.float64) @ self.turn


@dataclass(frozen=True, eq=False)
class PublishedCrop:
    """A photo as the published networks are shown it."""

    rgb: Floats  # (s, s, 3)
    alpha: Floats  # (s, s)
    camera: Camera  # in their frame: its label is that of the crop


def crop_as_published(portrait: Portrait, focal: float, size: int) -> PublishedCrop:
    """Cut a portrait as PanoHead cuts photos: level with the eyes, around its own centre, at its own scale.

    Its camera looks at their origin from their usual distance. The crop and that camera agree in the plane through
    the origin; elsewhere they differ as much as photos taken from slightly different distances do.
    """
    frame, camera = PublishedFrame.of(portrait), portrait.camera
    centre, depth = camera.project(frame.centre)
    side = camera.focal / float(depth) * RADIUS / (frame.scale * focal)
    angle = find_levelling_angle(portrait)
    across = np.array([math.cos(angle), math.sin(angle)])
    axes = np.stack([across, [-across[1], across[0]]])  # of the square, in the portrait's picture
    samples = max(1, math.ceil(side * portrait.rgb.shape[0] / size - 0.01))  # along each axis of a pixel
    uv = centre + side * (pixel_centres(size * samples, size * samples) - 0.5) @ axes
    values = sample_bicubic(np.concatenate([portrait.rgb, portrait.alpha[..., None]], -1), uv)
    values = values.reshape(size, samples, size, samples, 4).mean((1, 3)).clip(0, 1).astype(np.float32)
    rotation = frame.turn @ camera.cam2world[:3, :3]
    pose = np.eye(4)
    pose[:3, :2] = rotation[:, :2] @ axes.T
    pose[:3, 2] = rotation[:, 2]
    pose[:3, 3] = -RADIUS * rotation[:, 2]
    return PublishedCrop(values[..., :3], values[..., 3], Camera(pose, focal))


def sample_bicubic(picture: Floats, uv: Floats) -> F64:
    """Sample a picture (s s c) at uv (h w 2), in units of its side; outside it the border pixels continue."""
    channels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, -1, 0), np.float64))[None]
    places = torch.from_numpy(2 * np.asarray(uv, np.float64) - 1)[None]
    sampled = F.grid_sample(channels, places, mode="bicubic", padding_mode="border", align_corners=False)
    return np.moveaxis(sampled[0].numpy(), 0, -1)


def find_levelling_angle(portrait: Portrait) -> float:
    """Return by how many radians the level square is turned clockwise in the portrait's picture.

    Faces are levelled as in FFHQ: halfway between the line through the eyes and the one across the line from the eyes
    to the mouth. Without a face the camera's own roll is removed.
    """
    if portrait.landmarks is None:
        right, down = (PublishedFrame.of(portrait).turn @ portrait.camera.cam2world[:3, :3])[1, :2]
        return math.atan2(right, -down)
    right_eye, left_eye, mouth = (portrait.landmarks[list(ids)].mean(0) for ids in (RIGHT_EYE, LEFT_EYE, MOUTH))
    down = mouth - (right_eye + left_eye) / 2
    across = left_eye - right_eye + np.array([down[1], -down[0]])
    return math.atan2(across[1], across[0])


def describe_published_frame() -> tuple[float, float, float]:
    """Return what results in this frame depend on, for keys of caches."""
    return SCALE, RAISED, LOWERED
