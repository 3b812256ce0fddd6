"""Write synthetic heads to disk: views with alpha, depth, normals, and cameras in nerfstudio's format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portrait360.geometry import camera_files
from portrait360.geometry.cameras import Camera, focal_from_fov, orbit
from portrait360.geometry.canonical_frame import FOV
from portrait360.synth.build import build
from portrait360.synth.data.clips import FINE_FROM, random_camera, split_of
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import Rendering, render
from portrait360.synth.sampling.parameters import KINDS
from portrait360.synth.sampling.sampler import sample
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.parallel.scheduler import Engine, require_all
from portrait360.utils.progress import progress_bar

DEPTH_UNIT = 1e-4  # canonical units per step of the 16-bit depth images
FORMATS = ("png", "webp")
LAST_SEED = 2**31
ALL_AROUND = 30.0  # degrees; random cameras lie within +- this elevation by default
SHARDS = "heads.json"  # file next to tars: settings, and heads per shard
MARK = ".unfinished"  # file with the settings of a folder that is incomplete


@dataclass(frozen=True)
class WriteSettings:
    """The settings that, together with the seed, determine the files of one identity."""

    views: int = 24
    size: int = 256
    kind: str = "any"
    format: str = "png"
    depth: bool = False
    normals: bool = False
    random_cameras: bool = False
    elevation: float = 0.0  # degrees; elevation of the orbit, or the bound of random cameras

    def __post_init__(self) -> None:
        if not -89 <= self.elevation <= 89:
            raise UserError(
                f"`elevation={self.elevation:g}` is not valid; choose -89 (from below) to 89 (from above)."
            )
        if self.random_cameras and self.elevation < 0:
            raise UserError(
                "With `random_cameras=True`, `elevation=` is the limit above and below the head: choose 0 to 89."
            )
        if self.views < 1 or not 16 <= self.size <= 4096:
            raise UserError("Choose at least 1 view and a size from 16 to 4096 pixels.")
        if self.kind not in ("any", *KINDS):
            raise UserError(f"There is no kind {self.kind!r}; choose one of: any, {', '.join(KINDS)}.")
        if self.format not in FORMATS:
            raise UserError(f"Images can be written as {' or '.join(FORMATS)}, not as {self.format!r}.")

    def cameras(self, seed: int) -> list[Camera]:
        if self.random_cameras:
            rng = np.random.default_rng([seed, 30])
            return [random_camera(rng, elevation=self.elevation) for _ in range(self.views)]
        return orbit(self.views, elevation=self.elevation, focal=focal_from_fov(FOV))


def write_options(
    *, count: int, seed: int = 0, elevation: float | None = None, **options: Any
) -> tuple[range, WriteSettings]:
    """Validate the options and return the seeds to write and their settings."""
    if elevation is None:
        elevation = ALL_AROUND if options.get("random_cameras") else 0.0
    settings = WriteSettings(elevation=elevation, **options)
    if count < 1:
        raise UserError("Choose at least 1 head.")
    if not 0 <= seed <= LAST_SEED - count:
        raise UserError(f"Seeds range from 0 to {LAST_SEED}; choose `seed=` and `count=` within that range.")
    return range(seed, seed + count), settings


def write_dataset(output: Path, *, engine: Engine | None = None, **options: Any) -> list[Path]:
    """Write identities into one folder each, keep complete ones, and return all folders.

    The options are those of `write_options`. Without an engine, heads are rendered one by one on all threads.
    """
    seeds, settings = write_options(**options)
    if (output / SHARDS).exists():
        raise UserError(f"{output} contains heads in tar files; continue with `shard=`, or choose another folder.")
    with translate_write_errors(output):
        return _write_all(output, seeds, engine, settings)


def _write_all(output: Path, seeds: range, engine: Engine | None, settings: WriteSettings) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    folders = {seed: output / f"{seed:06d}" for seed in seeds}
    missing = {seed: folder for seed, folder in folders.items() if not _is_complete(folder, settings)}
    with progress_bar("Heads", len(missing)) as bar:
        if engine is None or len(missing) <= 1:
            for seed, folder in missing.items():
                write_identity(folder, seed, settings)
                bar.advance(folder.name)
        else:
            work = partial(_write_job, settings=settings)
            for (_, folder), _ in require_all(engine.run(work, missing.items())):
                bar.advance(folder.name)
    return list(folders.values())


def _write_job(job: tuple[int, Path], settings: WriteSettings) -> None:
    write_identity(job[1], job[0], settings)


def write_identity(folder: Path, seed: int, settings: WriteSettings) -> None:
    """Write all views of one head; transforms.json is written last and marks the folder as complete."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_bytes(folder / MARK, json.dumps(asdict(settings)).encode())
    parameters = sample(seed, settings.kind)
    prepared = prepare_scene(build(parameters, 2 if settings.size >= FINE_FROM else 1))
    frames = []
    for i, camera in enumerate(settings.cameras(seed)):
        frames.append(_write_view(folder, i, render(prepared, camera, settings.size), camera, settings))
    _write_bytes(folder / "parameters.json", parameters.to_json().encode())
    _write_bytes(folder / "transforms.json", _transforms(frames, seed, settings).encode())
    (folder / MARK).unlink()


def _write_view(folder: Path, i: int, view: Rendering, camera: Camera, settings: WriteSettings) -> dict[str, Any]:
    frame = camera_files.frame_entry(f"{i:03d}.{settings.format}", camera, settings.size, settings.size)
    rgba = np.concatenate([view.rgb, view.alpha[..., None]], -1)
    _save(folder / frame["file_path"], Image.fromarray(np.round(rgba * 255).astype(np.uint8)))
    if settings.depth:
        frame["depth_file_path"] = f"{i:03d}_depth.png"
        depth = np.clip(np.round(view.depth / DEPTH_UNIT), 0, 65535).astype(np.uint16)
        _save(folder / frame["depth_file_path"], Image.fromarray(depth))
    if settings.normals:
        frame["normal_file_path"] = f"{i:03d}_normal.png"
        normals = np.round((view.normals * 0.5 + 0.5) * 255).astype(np.uint8)
        _save(folder / frame["normal_file_path"], Image.fromarray(normals))
    return frame


def _transforms(frames: list[dict[str, Any]], seed: int, settings: WriteSettings) -> str:
    header = {"camera_model": "OPENCV", "seed": seed, "split": split_of(seed), "settings": asdict(settings)}
    if settings.depth:
        header["depth_unit_scale_factor"] = DEPTH_UNIT
    return json.dumps(header | {"frames": frames}, indent=1)


def _is_complete(folder: Path, settings: WriteSettings) -> bool:
    """Return whether the folder holds all files of these settings; refuse a folder of other settings or files."""
    path, marker = folder / "transforms.json", folder / MARK
    if not path.exists() and not marker.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} contains other files; choose an empty folder.")
        return False
    try:
        record = json.loads((path if path.exists() else marker).read_text())
        existing = record["settings"] if path.exists() else record
        names = [frame[key] for frame in record.get("frames", []) for key in frame if key.endswith("file_path")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} was not written by `portrait360 synth`; choose an empty folder.") from error
    if existing != asdict(settings):
        raise UserError(f"{folder} contains heads made with other settings; choose another folder or delete it.")
    return path.exists() and all((folder / name).is_file() for name in names)


def _save(path: Path, image: Image.Image) -> None:
    options = {"quality": 92, "method": 4} if path.suffix == ".webp" else {"compress_level": 4}
    with atomic_write(path) as temporary:
        image.save(temporary, path.suffix[1:].upper(), **options)


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
