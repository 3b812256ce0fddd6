"""Training clips of synthetic heads, made on the fly: views, two references, another head's hints."""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, focal_from_fov, look_at
from portrait360.synth.backgrounds import background
from portrait360.synth.build import build
from portrait360.synth.framing import FOV
from portrait360.synth.parameters import KINDS
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from portrait360.synth.scene import F32
from portrait360.synth.tone import over

SPLITS = ("train", "val", "test")
GROUP = 20  # seeds, of which each split has its share
STRIDE = 4  # slots between the head of a clip and that of its hints
FINE_FROM = 512  # pictures of this size and up get the second subdivision


def split_of(seed: int) -> str:
    """Which split an identity belongs to, for good: of every 20 seeds 18 train, then one val, one test."""
    return {18: "val", 19: "test"}.get(seed % GROUP, "train")


def identity(split: str, index: int) -> int:
    """The seed of the index-th identity of a split."""
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; there are: {', '.join(SPLITS)}")
    if split == "train":
        return GROUP * (index // 18) + index % 18
    return GROUP * index + (18 if split == "val" else 19)


@dataclass(frozen=True)
class ClipSettings:
    """Everything but the seed that decides what a clip looks like."""

    size: int = 256
    views: int = 8
    orbit: int = 72  # steps of a full turn
    steps: tuple[int, ...] = (1, 2, 3, 4)  # between the views of a clip, in steps of the orbit
    kind: str = "any"
    split: str = "train"
    elevation: float = 20.0  # orbits lie within +- this
    roll: float = 0.0
    focal_jitter: float = 0.03
    fov: float = FOV
    backgrounds: bool = True
    identities: int = 8  # shown together in a block, in turns
    clips: int = 6  # of each identity in a block

    def __post_init__(self) -> None:
        if self.identities < 2:
            raise ValueError("a block needs at least 2 identities: hints come from another one")
        if min(self.size, self.views, self.orbit, self.clips) < 1 or not self.steps:
            raise ValueError("size, views, orbit and clips are at least 1, and there is at least one step")
        if self.kind not in ("any", *KINDS) or self.split not in SPLITS:
            raise ValueError(f"kind is any or one of {KINDS}, split one of {SPLITS}")
        if self.focal_jitter < 0 or not 0 < self.fov < 120:
            raise ValueError(
                "the focal length's jitter is not negative, and the field of view between 0 and 120 degrees"
            )

    @property
    def block(self) -> int:
        return self.identities * self.clips


@dataclass(frozen=True, eq=False)
class Clip:
    """One training sample; pictures are sRGB uint8, before their background if there is one."""

    index: int
    seed: int
    hint_seed: int
    views: NDArray[np.uint8]  # (v, h, w, 3)
    alpha: NDArray[np.uint8]  # (v, h, w)
    front: NDArray[np.uint8]  # (h, w, 3)
    back: NDArray[np.uint8]
    hints: NDArray[np.uint8]  # (v, h, w, 3) another head at the same cameras
    hint_alpha: NDArray[np.uint8]  # (v, h, w)
    cameras: tuple[Camera, ...]


@dataclass
class _Cache:
    """The last few prepared scenes and pictures of one process."""

    scenes: int = 8  # a block's identities: they come in turns
    pictures: int = 256
    prepared: OrderedDict[tuple[int, str, int], Prepared] = field(default_factory=OrderedDict)
    shot: OrderedDict[tuple[Any, ...], NDArray[np.uint8]] = field(default_factory=OrderedDict)

    def scene(self, seed: int, settings: ClipSettings) -> Prepared:
        level = 2 if settings.size >= FINE_FROM else 1
        key = (seed, settings.kind, level)
        if key not in self.prepared:
            self.prepared[key] = prepare(build(sample(seed, settings.kind), level))
        return _recent(self.prepared, key, self.scenes)

    def picture(self, seed: int, settings: ClipSettings, camera: Camera) -> NDArray[np.uint8]:
        key = (seed, settings.kind, settings.size, camera.focal, camera.cam2world.tobytes())
        if key not in self.shot:
            out = render(self.scene(seed, settings), camera, settings.size)
            rgba = np.concatenate([out.rgb, out.alpha[..., None]], -1)
            self.shot[key] = np.round(rgba * 255).astype(np.uint8)
        return _recent(self.shot, key, self.pictures)


def _recent(cache: OrderedDict, key: Any, limit: int) -> Any:
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
    return cache[key]


def random_camera(rng: np.random.Generator, *, fov: float = FOV, elevation: float = 30.0) -> Camera:
    """Anywhere around the head, with a little roll and zoom."""
    focal = focal_from_fov(fov) * float(np.exp(rng.uniform(-0.05, 0.05)))
    place = look_at(
        float(rng.uniform(0, 360)), float(rng.uniform(-elevation, elevation)), roll=float(rng.normal(0, 2))
    )
    return Camera(place, focal)


class SyntheticClips:
    """An endless row of clips: clip k depends on the seed, the settings and k alone.

    Iterating starts at `start`, so a run goes on where it stopped. `workers` processes render ahead; with 0
    all is done here. Pickling keeps what defines the row, not the workers or caches.
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
            raise ValueError("start and workers are not negative, and at least 1 clip is made ahead")
        self.settings = settings or ClipSettings()
        self.seed, self.start, self.workers, self.ahead = seed, start, workers, ahead
        self._cache = _Cache()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache = _Cache()

    def clip(self, k: int) -> Clip:
        """The k-th clip."""
        s = self.settings
        block, slot = k // s.block, self._slot(k)
        seed, other = (self._identity(block, (slot + i) % s.identities) for i in (0, self._stride()))
        rng = np.random.default_rng([self.seed, k, 1])
        cameras = self._cameras(block, slot, rng)
        focal = cameras[0].focal
        views = [self._cache.picture(seed, s, camera) for camera in cameras]
        hints = [self._cache.picture(other, s, camera) for camera in cameras]
        ends = [self._cache.picture(seed, s, Camera(look_at(azimuth), focal)) for azimuth in (0.0, 180.0)]
        behind = background(rng, s.size) if s.backgrounds else None
        pictures = np.stack([_before(picture, behind) for picture in (*views, *ends)])
        return Clip(
            index=k,
            seed=seed,
            hint_seed=other,
            views=pictures[: s.views],
            alpha=np.stack([view[..., 3] for view in views]),
            front=pictures[-2],
            back=pictures[-1],
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
        """An identity always goes to the same worker, whose cache holds it; clips come back in order."""
        spawn = multiprocessing.get_context("spawn")
        pools = [ProcessPoolExecutor(1, spawn, _adopt, (self,)) for _ in range(self.workers)]
        waiting: deque[Future[Clip]] = deque()
        k = self.start
        try:
            while True:
                while len(waiting) < self.ahead:
                    waiting.append(pools[self._slot(k) % self.workers].submit(_work, k))
                    k += 1
                yield waiting.popleft().result()
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)

    def _stride(self) -> int:
        """How far the head of the hints lies from the one shown: with 2 or 4 workers, with the same of them."""
        return STRIDE if self.settings.identities > STRIDE else 1

    def _slot(self, k: int) -> int:
        """Which identity of its block clip k shows: all in turns, in an order of the block's own."""
        s = self.settings
        order = np.random.default_rng([self.seed, k // s.block, 2]).permutation(s.block)
        return int(order[k % s.block]) % s.identities

    def _identity(self, block: int, slot: int) -> int:
        return identity(self.settings.split, block * self.settings.identities + slot)

    def _cameras(self, block: int, slot: int, rng: np.random.Generator) -> list[Camera]:
        """Sequential places on the orbit that the identity keeps throughout its block."""
        s = self.settings
        fixed = np.random.default_rng([self.seed, block, slot, 3])
        elevation, roll = float(fixed.uniform(-s.elevation, s.elevation)), float(fixed.normal(0, 1) * s.roll)
        focal = focal_from_fov(s.fov) * float(np.exp(fixed.uniform(-s.focal_jitter, s.focal_jitter)))
        first, step = int(rng.integers(s.orbit)), int(rng.choice(s.steps)) * int(rng.choice([-1, 1]))
        places = [(first + i * step) % s.orbit for i in range(s.views)]
        return [Camera(look_at(360.0 * place / s.orbit, elevation, roll=roll), focal) for place in places]


def _before(rgba: NDArray[np.uint8], behind: F32 | None) -> NDArray[np.uint8]:
    if behind is None:
        return rgba[..., :3]
    picture = over(rgba[..., :3] / np.float32(255), rgba[..., 3] / np.float32(255), behind)
    return np.round(picture * 255).astype(np.uint8)


_adopted: SyntheticClips | None = None  # the row of this worker process


def _adopt(clips: SyntheticClips) -> None:
    global _adopted
    _adopted = clips


def _work(k: int) -> Clip:
    assert _adopted is not None
    return _adopted.clip(k)
