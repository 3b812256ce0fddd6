"""Writing synthetic heads to disk: views with alpha, depth, normals, and cameras in nerfstudio's format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portrait360 import transforms
from portrait360.cameras import Camera, focal_from_fov, orbit
from portrait360.engine import Engine, sure
from portrait360.errors import UserError
from portrait360.files import whole, writing_to
from portrait360.progress import step_bar
from portrait360.synth.build import build
from portrait360.synth.dataset import FINE_FROM, random_camera, split_of
from portrait360.synth.framing import FOV
from portrait360.synth.parameters import KINDS
from portrait360.synth.prepare import prepare
from portrait360.synth.render import Rendering, render
from portrait360.synth.sample import sample

DEPTH_UNIT = 1e-4  # of the 16-bit depth pictures, in canonical units
FORMATS = ("png", "webp")
LAST_SEED = 2**31
ALL_AROUND = 30.0  # degrees up and down within which random cameras lie unless told
SHARDS = "heads.json"  # of a place that holds tars: settings, and heads a shard
MARK = ".unfinished"  # holds the settings of a folder that is being written


@dataclass(frozen=True)
class WriteSettings:
    """What decides the files of one identity, next to its seed."""

    views: int = 24
    size: int = 256
    kind: str = "any"
    format: str = "png"
    depth: bool = False
    normals: bool = False
    random_cameras: bool = False
    elevation: float = 0.0  # of the orbit, or the bound of random cameras

    def __post_init__(self) -> None:
        if not -89 <= self.elevation <= 89:
            raise UserError(
                f"--elevation {self.elevation:g} does not work; choose -89 (from below) to 89 (from above)."
            )
        if self.random_cameras and self.elevation < 0:
            raise UserError("With --random-cameras, --elevation bounds them up and down: choose 0 to 89.")
        if self.views < 1 or not 16 <= self.size <= 4096:
            raise UserError("Ask for at least 1 view, of a size between 16 and 4096 pixels.")
        if self.kind not in ("any", *KINDS):
            raise UserError(f"There is no kind {self.kind!r}; choose one of: any, {', '.join(KINDS)}.")
        if self.format not in FORMATS:
            raise UserError(f"Pictures can be written as {' or '.join(FORMATS)}, not as {self.format!r}.")

    def cameras(self, seed: int) -> list[Camera]:
        if self.random_cameras:
            rng = np.random.default_rng([seed, 30])
            return [random_camera(rng, elevation=self.elevation) for _ in range(self.views)]
        return orbit(self.views, elevation=self.elevation, focal=focal_from_fov(FOV))


def chosen_of(
    *, count: int, seed: int = 0, elevation: float | None = None, **settings: Any
) -> tuple[range, WriteSettings]:
    """Which heads are asked for, and how they are to be written."""
    if elevation is None:
        elevation = ALL_AROUND if settings.get("random_cameras") else 0.0
    chosen = WriteSettings(elevation=elevation, **settings)
    if count < 1:
        raise UserError("Ask for at least 1 head.")
    if not 0 <= seed <= LAST_SEED - count:
        raise UserError(f"Seeds go from 0 to {LAST_SEED}.")
    return range(seed, seed + count), chosen


def write_dataset(output: Path, *, engine: Engine | None = None, **asked: Any) -> list[Path]:
    """Write identities (`chosen_of`), one folder each; what is already there is kept. Without an engine they are made
    one after the other, with all threads."""
    seeds, chosen = chosen_of(**asked)
    if (output / SHARDS).exists():
        raise UserError(f"{output} holds heads in tars; go on with --shard, or choose another folder.")
    with writing_to(output):
        return _write_all(output, seeds, engine, chosen)


def _write_all(output: Path, seeds: range, engine: Engine | None, chosen: WriteSettings) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    folders = {s: output / f"{s:06d}" for s in seeds}
    missing = {s: folder for s, folder in folders.items() if not _finished(folder, chosen)}
    with step_bar("Heads", len(missing)) as advance:
        if engine is None or len(missing) <= 1:
            for s, folder in missing.items():
                write_identity(folder, s, chosen)
                advance(folder.name)
        else:
            work = partial(_write_one, settings=chosen)
            for (_, folder), _ in sure(engine.run(work, missing.items())):
                advance(folder.name)
    return list(folders.values())


def _write_one(one: tuple[int, Path], settings: WriteSettings) -> None:
    write_identity(one[1], one[0], settings)


def write_identity(folder: Path, seed: int, settings: WriteSettings) -> None:
    """All views of one head; transforms.json comes last and says that the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / MARK, json.dumps(asdict(settings)).encode())
    parameters = sample(seed, settings.kind)
    prepared = prepare(build(parameters, 2 if settings.size >= FINE_FROM else 1))
    frames = []
    for i, camera in enumerate(settings.cameras(seed)):
        frames.append(_write_view(folder, i, render(prepared, camera, settings.size), camera, settings))
    _replace(folder / "parameters.json", parameters.to_json().encode())
    _replace(folder / "transforms.json", _transforms(frames, seed, settings).encode())
    (folder / MARK).unlink()


def _write_view(folder: Path, i: int, picture: Rendering, camera: Camera, settings: WriteSettings) -> dict[str, Any]:
    frame = transforms.frame(f"{i:03d}.{settings.format}", camera, settings.size, settings.size)
    rgba = np.concatenate([picture.rgb, picture.alpha[..., None]], -1)
    _save(folder / frame["file_path"], Image.fromarray(np.round(rgba * 255).astype(np.uint8)))
    if settings.depth:
        frame["depth_file_path"] = f"{i:03d}_depth.png"
        depth = np.clip(np.round(picture.depth / DEPTH_UNIT), 0, 65535).astype(np.uint16)
        _save(folder / frame["depth_file_path"], Image.fromarray(depth))
    if settings.normals:
        frame["normal_file_path"] = f"{i:03d}_normal.png"
        normals = np.round((picture.normals * 0.5 + 0.5) * 255).astype(np.uint8)
        _save(folder / frame["normal_file_path"], Image.fromarray(normals))
    return frame


def _transforms(frames: list[dict[str, Any]], seed: int, settings: WriteSettings) -> str:
    head = {"camera_model": "OPENCV", "seed": seed, "split": split_of(seed), "settings": asdict(settings)}
    if settings.depth:
        head["depth_unit_scale_factor"] = DEPTH_UNIT
    return json.dumps(head | {"frames": frames}, indent=1)


def _finished(folder: Path, settings: WriteSettings) -> bool:
    """Whether the folder holds exactly this, whole; other settings in the same place are refused, not mixed."""
    path, mark = folder / "transforms.json", folder / MARK
    if not path.exists() and not mark.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} holds other files; choose an empty folder.")
        return False
    try:
        said = json.loads((path if path.exists() else mark).read_text())
        found = said["settings"] if path.exists() else said
        names = [frame[key] for frame in said.get("frames", []) for key in frame if key.endswith("file_path")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not one of ours; choose an empty folder.") from error
    if found != asdict(settings):
        raise UserError(f"{folder} holds heads of other settings; choose another folder or remove it.")
    return path.exists() and all((folder / name).is_file() for name in names)


def _save(path: Path, image: Image.Image) -> None:
    options = {"quality": 92, "method": 4} if path.suffix == ".webp" else {"compress_level": 4}
    with whole(path) as temporary:
        image.save(temporary, path.suffix[1:].upper(), **options)


def _replace(path: Path, data: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(data)
