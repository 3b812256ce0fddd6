"""A proxy from a 3D GAN: a generated head that looks like the photo, scanned from all around and unwrapped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from portrait360.cameras import FOCAL_SD15, Camera, look_at, pixel_centres
from portrait360.checkpoints import TensorFile, describe, load_into, write_safetensors
from portrait360.errors import UserError
from portrait360.files import whole
from portrait360.geometry.completion import look_up
from portrait360.geometry.scanned import unwrapped
from portrait360.inversion import Goal, InversionSettings, Inverted, OnStep, invert
from portrait360.models.gan3d import GAN3D, SHIFTED, GAN3DConfig, Head, Seeing
from portrait360.models.trigrid import Uniform
from portrait360.perceptual import best_looks
from portrait360.portrait import Portrait
from portrait360.proxy import LAYOUT, Proxy, on_surface, pasted, to_outline
from portrait360.weights.library import from_plain

Floats = NDArray[np.floating]

GAN_SIZE = 512  # pixels of a generator's picture
SCANS = ((0.0, 24), (35.0, 12), (65.0, 6))  # elevation, cameras
SCANNED = 128  # pixels of a scan
SOLID = 0.5  # cover from which a pixel counts
LEAST = 1000  # points: with fewer there is no head
HEAD_FILE = "gan.safetensors"


class GanHead:
    """A generated head in the portrait's frame."""

    def __init__(self, head: Head, shift: Floats) -> None:
        self.head, self.shift = head, np.asarray(shift, np.float64)

    def label(self, camera: Camera, *, shifted: bool = True) -> Tensor:
        """(1 25) of the camera in the generator's frame."""
        label = camera.label()
        label[list(SHIFTED)] += self.shift * shifted
        return torch.from_numpy(label).float()[None].to(self.head.grids.device)

    @torch.inference_mode()
    def seen(
        self,
        camera: Camera,
        size: int,
        *,
        shifted: bool = True,
        uniform: Uniform | None = None,
        behind: float | None = None,
    ) -> Floats:
        """(size size 3) in [0, 1], before the generator's background or a plain one."""
        seen = self.head.seen(self.label(camera, shifted=shifted), uniform=uniform)
        rgb = resized(as_picture(seen.rgb[0]), size)
        if behind is None:
            return rgb
        cover = resized(seen.cover[0, 0].clamp(0, 1).cpu().numpy(), size)
        return np.asarray(behind + cover[..., None] * (rgb - behind), np.float32)

    def save(self, path: Path) -> None:
        head, parts = self.head, self.head.generator
        state = {f"seeing.{name}": parts.state_dict()[name] for name in seeing(parts.config).state_dict()}
        state |= {"grids": head.grids, "w": head.ws[:, -1:], "shift": torch.from_numpy(self.shift)}
        if parts.config.background:
            state["behind"] = head.background()
        state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        about = {"config": json.dumps(asdict(parts.config))}
        with whole(path) as temporary:
            write_safetensors(temporary, describe(state), state.__getitem__, about)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> GanHead:
        file = TensorFile(path)
        parts = seeing(from_plain(GAN3DConfig, json.loads(file.metadata["config"])))
        prefix = "seeing."
        own = {name.removeprefix(prefix): file.read(name) for name in file.specs if name.startswith(prefix)}
        load_into(parts, own, str(path))
        parts.eval().requires_grad_(False).to(device)
        grids, w = (file.read(name).to(device) for name in ("grids", "w"))
        behind = file.read("behind").to(device) if "behind" in file.specs else None
        return cls(Head(parts, w, grids, behind), file.read("shift").numpy())


def seeing(config: GAN3DConfig) -> Seeing:
    with torch.device("meta"):
        return Seeing(config)


def gan_proxy(
    portrait: Portrait,
    generator: GAN3D,
    others: Sequence[Portrait] = (),
    *,
    settings: InversionSettings = InversionSettings(),  # noqa: B008 (frozen)
    seed: int = 0,
    folder: Path | None = None,
    on_step: OnStep = lambda what, done, of, loss: None,
) -> tuple[Proxy, GanHead]:
    """The generator's device is where it is done; in `folder` it keeps what a killed inversion goes on with."""
    device = next(generator.parameters()).device
    goal = goal_of(narrowed(portrait, FOCAL_SD15, GAN_SIZE), device)
    found = invert(generator, goal, best_looks(device), settings, seed=seed, folder=folder, on_step=on_step)
    head = in_frame(found, goal)
    return proxy_of(portrait, head, others), head


def in_frame(found: Inverted, goal: Goal) -> GanHead:
    shift = (found.label - goal.label)[0, list(SHIFTED)].cpu().numpy()
    with torch.inference_mode():
        return GanHead(found.generator.head(found.ws), shift)


def narrowed(portrait: Portrait, focal: float, size: int) -> Portrait:
    """As another lens sees it from the same place: the published networks look more closely."""
    camera = replace(portrait.camera, focal=focal, center=(0.5, 0.5))
    uv = portrait.camera.project(camera.unproject(pixel_centres(size, size), np.ones((size, size))))[0]
    finer = max(1, round(portrait.rgb.shape[0] * focal / portrait.camera.focal / size))  # its pixels in one of ours
    sharp = lambda values: look_up(cv2.blur(values, (finer, finer)) if finer > 1 else values, uv)  # noqa: E731
    rgb, alpha, known = (sharp(values) for values in (portrait.rgb, portrait.alpha, portrait.known))
    return replace(portrait, rgb=rgb, alpha=alpha, known=known, camera=camera, landmarks=None)


def goal_of(portrait: Portrait, device: torch.device) -> Goal:
    label = torch.from_numpy(portrait.camera.label()).float()[None]
    alpha = torch.from_numpy(np.asarray(portrait.alpha, np.float32))[None, None]
    return Goal(as_tensor(portrait.rgb).to(device), alpha.to(device), label.to(device))


def as_tensor(rgb: Floats) -> Tensor:
    """(s s 3) in [0, 1] -> (1 3 s s) in [-1, 1]."""
    return torch.from_numpy(2 * np.asarray(rgb, np.float32) - 1).permute(2, 0, 1)[None]


def as_picture(values: Tensor) -> Floats:
    """(3 s s) in [-1, 1] -> (s s 3) in [0, 1]."""
    return ((values + 1) / 2).clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()


def resized(picture: Floats, size: int) -> Floats:
    how = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_CUBIC
    same = picture if picture.shape[0] == size else cv2.resize(picture, (size, size), interpolation=how)
    return np.clip(np.asarray(same, np.float32), 0, 1)


def proxy_of(portrait: Portrait, head: GanHead, others: Sequence[Portrait] = ()) -> Proxy:
    """The generated head's shape and colours; where the photo can be trusted, its own."""
    points, towards, rgb = (np.concatenate(part) for part in zip(*scans(head), strict=True))
    if len(points) < LEAST:
        raise UserError(
            "The 3D GAN found no head that looks like this photo; use --method proxy, or another photo of it."
        )
    found = unwrapped(LAYOUT, points, towards, list(rgb.T))
    radius = to_outline(portrait, found.radius)
    photos = on_surface(portrait, radius, others)
    return photos.proxy(portrait, radius, pasted(found.values, photos.all))


@torch.inference_mode()
def scans(head: GanHead) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Points, unit directions to the camera, and colours, of camera after camera."""
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), FOCAL_SD15)
            seen = head.head.seen(head.label(camera), size=SCANNED)
            origin, directions = camera.rays(SCANNED, SCANNED)
            far = seen.depth[0, 0].cpu().numpy()
            there = (seen.cover[0, 0] > SOLID).cpu().numpy() & np.isfinite(far)
            rgb = resized(as_picture(seen.rgb[0]), SCANNED)
            yield origin + far[there, None] * directions[there], -directions[there], rgb[there]
