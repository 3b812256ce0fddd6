"""Training clips of synthetic heads, rendered on the fly: views, two references, another head's hints."""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.synth.build import build
from portrait360.synth.render.backgrounds import random_background
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.synth.sampling.parameters import KINDS
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.array_types import F32

SPLITS = ("train", "val", "test")
GROUP = 20  # seeds per group; every group contributes to all splits
STRIDE = 4  # slots between the identity of a clip and that of its hints
FINE_FROM = 512  # images of this size and up use the second subdivision level


def split_of(seed: int) -> str:
    """Return the fixed split of an identity: of every 20 seeds 18 are train, then one val, one test."""
    return {18: "val", 19: "test"}.get(seed % GROUP, "train")


def identity_seed(split: str, index: int) -> int:
    """Return the seed of the index-th identity of a split."""
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; choose one of: {', '.join(SPLITS)}")
    if split == "train":
        return GROUP * (index // 18) + index % 18
    return GROUP * index + (18 if split == "val" else 19)


@dataclass(frozen=True)
class ClipSettings:
    """All settings, apart from the seed, that determine a clip."""

    size: int = 256
    views: int = 8
    orbit: int = 72  # steps of a full turn
    steps: tuple[int, ...] = (1, 2, 3, 4)  # possible distances between consecutive views, in steps of the orbit
    kind: str = "any"
    split: str = "train"
    elevation: float = 20.0  # degrees; orbits lie within +- this elevation
    roll: float = 0.0
    focal_jitter: float = 0.03
    fov: float = FOV
    backgrounds: bool = True
    identities: int = 8  # identities in a block; their clips alternate
    clips: int = 6  # clips of each identity in a block

    def __post_init__(self) -> None:
        if self.identities < 2:
            raise ValueError("a block needs at least 2 identities, because hints come from a different head")
        if min(self.size, self.views, self.orbit, self.clips) < 1 or not self.steps:
            raise ValueError("size, views, orbit and clips must be at least 1, and steps must not be empty")
        if self.kind not in ("any", *KINDS) or self.split not in SPLITS:
            raise ValueError(f"kind must be any or one of {KINDS}, and split one of {SPLITS}")
        if self.focal_jitter < 0 or not 0 < self.fov < 120:
            raise ValueError("focal_jitter must not be negative, and fov must lie between 0 and 120 degrees")

    @property
    def block(self) -> int:
        """The number of clips in a block."""
        return self.identities * self.clips


@dataclass(frozen=True, eq=False)
class Clip:
    """One training sample; images are sRGB uint8, composited over a background if there is one."""

    index: int
    seed: int
    hint_seed: int
    views: NDArray[np.uint8]  # (v, h, w, 3)
    alpha: NDArray[np.uint8]  # (v, h, w)
    front: NDArray[np.uint8]  # (h, w, 3)
    back: NDArray[np.uint8]
    hints: NDArray[np.uint8]  # (v, h, w, 3) another head seen by the same cameras
    hint_alpha: NDArray[np.uint8]  # (v, h, w)
    cameras: tuple[Camera, ...]


@dataclass
class _Cache:
    """The last few prepared scenes and rendered images of one process."""

    max_scenes: int = 8  # the identities of a block, whose clips alternate
    max_images: int = 256
    prepared: OrderedDict[tuple[int, str, int], PreparedScene] = field(default_factory=OrderedDict)
    images: OrderedDict[tuple[Any, ...], NDArray[np.uint8]] = field(default_factory=OrderedDict)

    def prepared_scene(self, seed: int, settings: ClipSettings) -> PreparedScene:
        level = 2 if settings.size >= FINE_FROM else 1
        key = (seed, settings.kind, level)
        if key not in self.prepared:
            self.prepared[key] = prepare_scene(build(sample(seed, settings.kind), level))
        return _mark_recent(self.prepared, key, self.max_scenes)

    def image(self, seed: int, settings: ClipSettings, camera: Camera) -> NDArray[np.uint8]:
        """Return a view as straight-alpha RGBA (h, w, 4)."""
        key = (seed, settings.kind, settings.size, camera.focal, camera.cam2world.tobytes())
        if key not in self.images:
            view = render(self.prepared_scene(seed, settings), camera, settings.size)
            rgba = np.concatenate([view.rgb, view.alpha[..., None]], -1)
            self.images[key] = np.round(rgba * 255).astype(np.uint8)
        return _mark_recent(self.images, key, self.max_images)


def _mark_recent(cache: OrderedDict, key: Any, limit: int) -> Any:
    """Mark the entry as the most recent, evict the oldest ones beyond the limit, and return it."""
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
    return cache[key]


def random_camera(rng: np.random.Generator, *, fov: float = FOV, elevation: float = 30.0) -> Camera:
    """Return a camera anywhere around the head, with a little roll and zoom."""
    focal = focal_from_fov(fov) * float(np.exp(rng.uniform(-0.05, 0.05)))
    pose = look_at(
        float(rng.uniform(0, 360)), float(rng.uniform(-elevation, elevation)), roll=float(rng.normal(0, 2))
    )
    return Camera(pose, focal)


class SyntheticClips:
    """An endless sequence of clips: clip k depends on the seed, the settings and k alone.

    Iteration starts at `start`, so a training run can resume. `workers` processes render ahead; with 0 workers
    clips are rendered in this process. Pickling keeps what defines the sequence, not the workers or caches.
    """

    def __init__(
        self,
        settings: ClipSettings | None = None,
        *,
        seed: int = 0,
        start: int = 0,
        workers: int = 0,
        ahead: int = 8,
    ) -> None:
        if start < 0 or workers < 0 or ahead < 1:
            raise ValueError("start and workers must not be negative, and ahead must be at least 1")
        self.settings = settings or ClipSettings()
        self.seed, self.start, self.workers, self.ahead = seed, start, workers, ahead
        self._cache = _Cache()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache = _Cache()

    def clip(self, k: int) -> Clip:
        """Render the k-th clip."""
        settings = self.settings
        block, slot = k // settings.block, self._slot(k)
        seed, hint_seed = (self._identity(block, (slot + i) % settings.identities) for i in (0, self._stride()))
        rng = np.random.default_rng([self.seed, k, 1])
        cameras = self._cameras(block, slot, rng)
        focal = cameras[0].focal
        views = [self._cache.image(seed, settings, camera) for camera in cameras]
        hints = [self._cache.image(hint_seed, settings, camera) for camera in cameras]
        references = [self._cache.image(seed, settings, Camera(look_at(azimuth), focal)) for azimuth in (0.0, 180.0)]
        backdrop = random_background(rng, settings.size) if settings.backgrounds else None
        images = np.stack([_composite(image, backdrop) for image in (*views, *references)])
        return Clip(
            index=k,
            seed=seed,
            hint_seed=hint_seed,
            views=images[: settings.views],
            alpha=np.stack([view[..., 3] for view in views]),
            front=images[-2],
            back=images[-1],
            hints=np.stack([hint[..., :3] for hint in hints]),
            hint_alpha=np.stack([hint[..., 3] for hint in hints]),
            cameras=tuple(cameras),
        )

    def __iter__(self) -> Iterator[Clip]:
        if self.workers == 0:
            k = self.start
            while True:
                yield self.clip(k)
                k += 1
        yield from self._from_workers()

    def _from_workers(self) -> Iterator[Clip]:
        """Render ahead in worker processes; an identity stays with one worker and its cache, clips stay in order."""
        spawn = multiprocessing.get_context("spawn")
        pools = [ProcessPoolExecutor(1, spawn, _init_worker, (self,)) for _ in range(self.workers)]
        pending: deque[Future[Clip]] = deque()
        k = self.start
        try:
            while True:
                while len(pending) < self.ahead:
                    pending.append(pools[self._slot(k) % self.workers].submit(_render_clip, k))
                    k += 1
                yield pending.popleft().result()
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)

    def _stride(self) -> int:
        """Return the slot distance to the identity of the hints; with 2 or 4 workers the same worker renders both."""
        return STRIDE if self.settings.identities > STRIDE else 1

    def _slot(self, k: int) -> int:
        """Return the slot of clip k's identity in its block; the block determines the order of the slots."""
        s = self.settings
        order = np.random.default_rng([self.seed, k // s.block, 2]).permutation(s.block)
        return int(order[k % s.block]) % s.identities

    def _identity(self, block: int, slot: int) -> int:
        return identity_seed(self.settings.split, block * self.settings.identities + slot)

    def _cameras(self, block: int, slot: int, rng: np.random.Generator) -> list[Camera]:
        """Return consecutive cameras on the orbit, which is fixed for an identity within its block."""
        s = self.settings
        orbit_rng = np.random.default_rng([self.seed, block, slot, 3])
        elevation, roll = float(orbit_rng.uniform(-s.elevation, s.elevation)), float(orbit_rng.normal(0, 1) * s.roll)
        focal = focal_from_fov(s.fov) * float(np.exp(orbit_rng.uniform(-s.focal_jitter, s.focal_jitter)))
        first, step = int(rng.integers(s.orbit)), int(rng.choice(s.steps)) * int(rng.choice([-1, 1]))
        positions = [(first + i * step) % s.orbit for i in range(s.views)]
        return [Camera(look_at(360.0 * position / s.orbit, elevation, roll=roll), focal) for position in positions]


def _composite(rgba: NDArray[np.uint8], backdrop: F32 | None) -> NDArray[np.uint8]:
    if backdrop is None:
        return rgba[..., :3]
    image = composite_over(rgba[..., :3] / np.float32(255), rgba[..., 3] / np.float32(255), backdrop)
    return np.round(image * 255).astype(np.uint8)


_worker_clips: SyntheticClips | None = None  # the clips of this worker process


def _init_worker(clips: SyntheticClips) -> None:
    global _worker_clips
    _worker_clips = clips


def _render_clip(k: int) -> Clip:
    assert _worker_clips is not None
    return _worker_clips.clip(k)
