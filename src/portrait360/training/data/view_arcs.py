"""Arcs of views, as the small view denoiser is trained on them: of a coarse head, and of the true one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.portrait.matting import downscale
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import PortraitFrame
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.render.bake import PreparedScene
from portrait360.synth.render.renderer import Rendering, render
from portrait360.training.data.head_map_samples import FOCAL, Arrays
from portrait360.training.data.picture_archive import (
    read_archive,
    split_views,
    stack_views,
    with_alpha,
    write_archive,
)
from portrait360.utils.errors import UserError
from portrait360.utils.images import to_uint8

SIZE, VIEWS = 256, 8
STEPS = (5.0, 22.5)  # degrees between two views of an arc
HIGH = 50.0  # degrees: elevation of the highest arcs
LEVEL = 0.6  # share of arcs at elevation 0
DEPTH_UNIT = 1 / 512  # of the depths in a file
COLOURED = ("rgba", "hint", "references")  # a file's pictures with alpha
See = Callable[[Camera], Rendering]
SeeCoarse = Callable[[Camera], ProxyView]


@dataclass(frozen=True, eq=False)
class ViewSample(Arrays):
    """An arc of views in 8 bits; cameras as labels of 25 numbers."""

    suffix: ClassVar[str] = ".tar"

    rgba: NDArray[np.uint8]  # (v, s, s, 4) the true head
    hint: NDArray[np.uint8]  # (v, s, s, 8) the coarse head: colours, visibility, cover, normals
    depth: NDArray[np.float16]  # (v, s, s) the coarse head
    photo: NDArray[np.uint8]  # (s, s, 4)
    behind: NDArray[np.uint8]  # (s, s, 4) the coarse head from behind
    cameras: NDArray[np.float32]  # (v, 25)

    def save(self, path: Path) -> None:
        """Write a WebDataset shard with one sample."""
        hint = stack_views(self.hint)
        depth = np.rint(stack_views(self.depth).astype(np.float32) / DEPTH_UNIT).astype(np.uint16)
        arrays = {
            "rgba.webp": stack_views(self.rgba),
            "hint.webp": np.ascontiguousarray(hint[..., [0, 1, 2, 4]]),
            "visibility.png": np.ascontiguousarray(hint[..., 3]),
            "normals.jpg": np.ascontiguousarray(hint[..., 5:]),
            "depth.png": depth,
            "references.webp": np.concatenate([self.photo, self.behind]),
            "cameras.npy": self.cameras,
        }
        write_archive(path, arrays)

    @classmethod
    def load(cls, path: Path) -> ViewSample:
        cls.check_kind(path)
        found = read_archive(path)
        try:
            rgba, cover, references = (split_views(with_alpha(found[f"{name}.webp"])) for name in COLOURED)
            visibility, normals = split_views(found["visibility.png"]), split_views(found["normals.jpg"])
            hint = np.concatenate([cover[..., :3], visibility[..., None], cover[..., 3:], normals], -1)
            depth = (split_views(found["depth.png"]) * np.float32(DEPTH_UNIT)).astype(np.float16)
            photo, behind = references
            return cls(rgba, hint, depth, photo, behind, found["cameras.npy"])
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} is damaged; delete it and its .done file, and make it again.") from error


def sample_arcs(
    head: PreparedScene,
    frame: PortraitFrame,
    portrait: Portrait,
    coarse: CoarseHead,
    arcs: list[list[Camera]],
    size: int = SIZE,
) -> list[ViewSample]:
    """Return a sample of each arc around a portrait's head, of pictures (size, size)."""
    photo = shrink_photo(portrait.rgb, portrait.alpha, size)

    def see(camera: Camera) -> Rendering:
        return render(head, frame.camera(camera), size)

    return render_arcs(see, lambda camera: coarse.render(camera, size), photo, arcs)


def random_arc(rng: np.random.Generator) -> list[Camera]:
    """Return the cameras of a random arc: even steps in either direction from a random azimuth."""
    start, step = rng.uniform(0, 360), rng.uniform(*STEPS) * rng.choice([-1, 1])
    elevation = 0.0 if rng.random() < LEVEL else rng.uniform(-HIGH / 2, HIGH)
    return [Camera(look_at((start + i * step) % 360, elevation), FOCAL) for i in range(VIEWS)]


def render_arcs(
    see_head: See, see_coarse: SeeCoarse, photo: NDArray[np.uint8], arcs: list[list[Camera]]
) -> list[ViewSample]:
    """Return a sample of each arc: what both heads show its cameras, and the references."""
    back = see_coarse(Camera(look_at(180), FOCAL))
    behind, samples = to_rgba(back.rgb, back.mask), []
    for cameras in arcs:
        views, hints = [see_head(camera) for camera in cameras], [see_coarse(camera) for camera in cameras]
        rgba = np.stack([to_rgba(view.rgb, view.alpha) for view in views])
        depth = np.stack([hint.depth for hint in hints]).astype(np.float16)
        labels = np.stack([camera.label() for camera in cameras]).astype(np.float32)
        samples.append(ViewSample(rgba, stack_hints(hints), depth, photo, behind, labels))
    return samples


def stack_hints(views: list[ProxyView]) -> NDArray[np.uint8]:
    channels = [(v.rgb, v.visibility[..., None], v.mask[..., None], v.normals / 2 + 0.5) for v in views]
    return np.stack([to_uint8(np.concatenate(arrays, -1)) for arrays in channels])


def shrink_photo(rgb: NDArray[np.floating], alpha: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """Return a photo and its matte as a reference (size, size, 4)."""
    return to_rgba(downscale(rgb, size)[0], downscale(alpha, size)[0])


def to_rgba(rgb: NDArray[np.floating], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
    return to_uint8(np.concatenate([rgb, alpha[..., None]], -1))
