"""Build a proxy with a 3D GAN: invert the photo, scan the generated head from all sides, and unwrap it.

The generator works in the frame of the published networks (`portrait.published_frame`); the proxy is in ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.canonical_frame import FOCAL_SD15
from portrait360.models.panohead import GAN3D, SHIFTED, GAN3DConfig, GanRenderer, GeneratedHead
from portrait360.models.perceptual_loss import load_feature_extractor
from portrait360.models.trigrid import Uniform
from portrait360.models.weights.store import from_plain
from portrait360.models.weights.tensor_files import TensorFile, describe, load_into, write_safetensors
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.published_frame import PublishedCrop, PublishedFrame, crop_as_published
from portrait360.pipeline.proxy.from_portrait import fit_to_silhouette, paste_photo, sample_photos
from portrait360.pipeline.proxy.gan_inversion import (
    InversionResult,
    InversionSettings,
    InversionTarget,
    OnStep,
    invert,
)
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.proxy.unwrap import unwrap_points
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write
from portrait360.utils.image_ops import look_up

GAN_SIZE = 512  # pixels of a generated picture
SCANS = ((0.0, 24), (35.0, 12), (65.0, 6))  # elevation in degrees, number of cameras
SCAN_SIZE = 128  # pixels of a scan
MIN_COVER = 0.5  # pixels of a scan with less cover are ignored
MIN_POINTS = 1000  # fewer scanned points are not a head
HEAD_FILE = "gan.safetensors"


class GanHead:
    """A generated head in the frame of the published networks; `frame` leads there from the portrait's."""

    def __init__(self, head: GeneratedHead, shift: Floats, frame: PublishedFrame) -> None:
        self.head, self.shift, self.frame = head, np.asarray(shift, np.float64), frame

    def label(self, camera: Camera, *, shifted: bool = True) -> Tensor:
        """Return the label (1 25) of a camera of that frame, shifted as the generator wants it."""
        label = camera.label()
        label[list(SHIFTED)] += self.shift * shifted
        return torch.from_numpy(label).float()[None].to(self.head.grids.device)

    @torch.inference_mode()
    def render(
        self,
        camera: Camera,
        size: int,
        *,
        shifted: bool = True,
        uniform: Uniform | None = None,
        behind: float | None = None,
    ) -> Floats:
        """Render (size size 3) in [0, 1] for a camera of the published frame, over the generator's background or the
        grey value `behind`."""
        rendered = self.head.render(self.label(camera, shifted=shifted), uniform=uniform)
        rgb = resize(as_picture(rendered.rgb[0]), size)
        if behind is None:
            return rgb
        cover = resize(rendered.cover[0, 0].clamp(0, 1).cpu().numpy(), size)
        return np.asarray(behind + cover[..., None] * (rgb - behind), np.float32)

    def save(self, path: Path) -> None:
        head, generator = self.head, self.head.generator
        names = make_renderer(generator.config).state_dict()
        state = {f"seeing.{name}": generator.state_dict()[name] for name in names}
        state |= {"grids": head.grids, "w": head.ws[:, -1:], "shift": torch.from_numpy(self.shift)}
        placing = {"scale": np.array([self.frame.scale]), "turn": self.frame.turn, "centre": self.frame.centre}
        state |= {f"frame.{name}": torch.from_numpy(values) for name, values in placing.items()}
        if generator.config.background:
            state["behind"] = head.background()
        state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        metadata = {"config": json.dumps(asdict(generator.config))}
        with atomic_write(path) as temporary:
            write_safetensors(temporary, describe(state), state.__getitem__, metadata)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> GanHead:
        file = TensorFile(path)
        renderer = make_renderer(from_plain(GAN3DConfig, json.loads(file.metadata["config"])))
        prefix = "seeing."
        weights = {name.removeprefix(prefix): file.read(name) for name in file.specs if name.startswith(prefix)}
        load_into(renderer, weights, str(path))
        renderer.eval().requires_grad_(False).to(device)
        grids, w = (file.read(name).to(device) for name in ("grids", "w"))
        behind = file.read("behind").to(device) if "behind" in file.specs else None
        scale, turn, centre = (file.read(f"frame.{name}").numpy() for name in ("scale", "turn", "centre"))
        frame = PublishedFrame(float(scale[0]), turn, centre)
        return cls(GeneratedHead(renderer, w, grids, behind), file.read("shift").numpy(), frame)


def make_renderer(config: GAN3DConfig) -> GanRenderer:
    """Build the rendering part of a generator on the meta device, without weights."""
    with torch.device("meta"):
        return GanRenderer(config)


def gan_proxy(
    portrait: Portrait,
    generator: GAN3D,
    others: Sequence[Portrait] = (),
    *,
    settings: InversionSettings = InversionSettings(),  # noqa: B008 (frozen)
    seed: int = 0,
    folder: Path | None = None,
    on_step: OnStep = lambda stage, done, total, loss: None,
) -> tuple[Proxy, GanHead]:
    """Invert the portrait on the generator's device, and build a proxy from the generated head.

    Checkpoints in `folder` let an interrupted inversion resume.
    """
    device = next(generator.parameters()).device
    goal = build_goal(crop_as_published(portrait, FOCAL_SD15, GAN_SIZE), device)
    result = invert(
        generator, goal, load_feature_extractor(device), settings, seed=seed, folder=folder, on_step=on_step
    )
    head = head_from_inversion(result, goal, PublishedFrame.of(portrait))
    return proxy_from_gan_head(portrait, head, others), head


def head_from_inversion(result: InversionResult, goal: InversionTarget, frame: PublishedFrame) -> GanHead:
    """Take the generated head out of an inversion, with the shift that the generator gave its camera."""
    shift = (result.label - goal.label)[0, list(SHIFTED)].cpu().numpy()
    with torch.inference_mode():
        return GanHead(result.generator.generate_head(result.ws), shift, frame)


def reframe(portrait: Portrait, focal: float, size: int) -> Portrait:
    """Resample the portrait for another focal length at the same camera position."""
    camera = replace(portrait.camera, focal=focal, center=(0.5, 0.5))
    uv = portrait.camera.project(camera.unproject(pixel_centres(size, size), np.ones((size, size))))[0]
    width = max(1, round(portrait.rgb.shape[0] * focal / portrait.camera.focal / size))  # old pixels per new pixel

    def resample(values: Floats) -> Floats:
        if width > 1:
            values = np.asarray(cv2.blur(values, (width, width)), np.float32)
        return look_up(values, uv)

    rgb, alpha, known_mask = (resample(values) for values in (portrait.rgb, portrait.alpha, portrait.inside_photo))
    return replace(portrait, rgb=rgb, alpha=alpha, inside_photo=known_mask, camera=camera, landmarks=None)


def build_goal(photo: PublishedCrop, device: torch.device) -> InversionTarget:
    label = torch.from_numpy(photo.camera.label()).float()[None]
    alpha = torch.from_numpy(np.asarray(photo.alpha, np.float32))[None, None]
    return InversionTarget(as_tensor(photo.rgb).to(device), alpha.to(device), label.to(device))


def as_tensor(rgb: Floats) -> Tensor:
    """Convert a picture (s s 3) in [0, 1] to a tensor (1 3 s s) in [-1, 1]."""
    return torch.from_numpy(2 * np.asarray(rgb, np.float32) - 1).permute(2, 0, 1)[None]


def as_picture(values: Tensor) -> Floats:
    """Convert a tensor (3 s s) in [-1, 1] to a picture (s s 3) in [0, 1]."""
    return ((values + 1) / 2).clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()


def resize(picture: Floats, size: int) -> Floats:
    interpolation = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_CUBIC
    resized = picture if picture.shape[0] == size else cv2.resize(picture, (size, size), interpolation=interpolation)
    return np.clip(np.asarray(resized, np.float32), 0, 1)


def proxy_from_gan_head(portrait: Portrait, head: GanHead, others: Sequence[Portrait] = ()) -> Proxy:
    """Build a proxy from the generated head, with the photo's colours where they can be trusted."""
    points, towards, rgb = (np.concatenate(part) for part in zip(*scan_head(head), strict=True))
    if len(points) < MIN_POINTS:
        raise UserError("The 3D GAN found no head that looks like this photo; use `method=proxy` or another photo.")
    unwrapped = unwrap_points(LAYOUT, points, towards, list(rgb.T))
    radius = fit_to_silhouette(portrait, unwrapped.radius)
    photos = sample_photos(portrait, radius, others)
    return photos.proxy(portrait, radius, paste_photo(unwrapped.values, photos.all))


@torch.inference_mode()
def scan_head(head: GanHead) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield points, unit directions to the camera, and colours in the portrait's frame, camera after camera."""
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), FOCAL_SD15)
            rendered = head.head.render(head.label(camera), size=SCAN_SIZE)
            origin, directions = camera.rays(SCAN_SIZE, SCAN_SIZE)
            depth = rendered.depth[0, 0].cpu().numpy()
            solid = (rendered.cover[0, 0] > MIN_COVER).cpu().numpy() & np.isfinite(depth)
            rgb = resize(as_picture(rendered.rgb[0]), SCAN_SIZE)
            points = head.frame.points_from_published(origin + depth[solid, None] * directions[solid])
            yield points, head.frame.directions_from_published(-directions[solid]), rgb[solid]
