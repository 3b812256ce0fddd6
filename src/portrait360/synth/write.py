"""Writing synthetic heads to disk: views with alpha, depth, normals, and cameras in nerfstudio's format."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from portrait360.cameras import Camera, focal_from_fov, orbit
from portrait360.errors import UserError
from portrait360.synth.build import build
from portrait360.synth.dataset import FINE_FROM, random_camera, split_of
from portrait360.synth.framing import FOV
from portrait360.synth.parameters import KINDS
from portrait360.synth.prepare import prepare
from portrait360.synth.render import Rendering, render
from portrait360.synth.sample import sample

DEPTH_UNIT = 1e-4  # of the 16-bit depth pictures, in canonical units
FORMATS = ("png", "webp")


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
        if self.views < 1 or not 16 <= self.size <= 4096:
            raise UserError("Ask for at least 1 view, of a size between 16 and 4096 pixels.")
        if self.kind not in ("any", *KINDS):
            raise UserError(f"There is no kind {self.kind!r}; choose one of: any, {', '.join(KINDS)}.")
        if self.format not in FORMATS:
            raise UserError(f"Pictures can be written as {' or '.join(FORMATS)}, not as {self.format!r}.")

    def cameras(self, seed: int) -> list[Camera]:
        if self.random_cameras:
            rng = np.random.default_rng([seed, 30])
            return [random_camera(rng, elevation=self.elevation or 30.0) for _ in range(self.views)]
        return orbit(self.views, elevation=self.elevation, focal=focal_from_fov(FOV))


def write_dataset(
    output: Path, *, count: int, seed: int = 0, workers: int = 1, progress: bool = True, **settings: Any
) -> list[Path]:
    """Write `count` identities, seeds from `seed` on, one folder each; what is already there is kept."""
    chosen = WriteSettings(**settings)
    if count < 1:
        raise UserError("Ask for at least 1 head.")
    output.mkdir(parents=True, exist_ok=True)
    folders = {s: output / f"{s:06d}" for s in range(seed, seed + count)}
    missing = {s: folder for s, folder in folders.items() if not _finished(folder, chosen)}
    columns = TextColumn("heads"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("heads", total=count, completed=count - len(missing))
        if workers <= 1 or len(missing) <= 1:
            for s, folder in missing.items():
                write_identity(folder, s, chosen)
                bar.advance(task)
        else:
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                waiting = [pool.submit(write_identity, folder, s, chosen) for s, folder in missing.items()]
                for done in as_completed(waiting):
                    done.result()
                    bar.advance(task)
    return list(folders.values())


def write_identity(folder: Path, seed: int, settings: WriteSettings) -> None:
    """All views of one head; transforms.json comes last and says that the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = sample(seed, settings.kind)
    prepared = prepare(build(parameters, 2 if settings.size >= FINE_FROM else 1))
    frames = []
    for i, camera in enumerate(settings.cameras(seed)):
        frames.append(_write_view(folder, i, render(prepared, camera, settings.size), camera, settings))
    _replace(folder / "parameters.json", parameters.to_json().encode())
    _replace(folder / "transforms.json", _transforms(frames, seed, settings).encode())


def _write_view(folder: Path, i: int, picture: Rendering, camera: Camera, settings: WriteSettings) -> dict[str, Any]:
    frame: dict[str, Any] = {"file_path": f"{i:03d}.{settings.format}"}
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
    side = settings.size
    k = camera.intrinsics(side)
    frame |= {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2], "cy": k[1, 2], "w": side, "h": side}
    frame |= {"azimuth": camera.azimuth, "elevation": camera.elevation}
    frame["transform_matrix"] = opengl(camera).tolist()
    return frame


def opengl(camera: Camera) -> np.ndarray:
    """cam2world (4, 4) with OpenGL's camera axes, as nerfstudio wants it: x right, y up, z backwards."""
    return camera.cam2world @ np.diag([1.0, -1.0, -1.0, 1.0])


def _transforms(frames: list[dict[str, Any]], seed: int, settings: WriteSettings) -> str:
    head = {"camera_model": "OPENCV", "seed": seed, "split": split_of(seed), "settings": asdict(settings)}
    if settings.depth:
        head["depth_unit_scale_factor"] = DEPTH_UNIT
    return json.dumps(head | {"frames": frames}, indent=1)


def _finished(folder: Path, settings: WriteSettings) -> bool:
    """Whether the folder holds exactly this; other settings in the same place are refused, not mixed."""
    path = folder / "transforms.json"
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text())["settings"]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not one of ours; choose an empty folder.") from error
    if found != asdict(settings):
        raise UserError(f"{folder} holds heads of other settings; choose another folder or remove it.")
    return True


def _save(path: Path, image: Image.Image) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    options = {"quality": 92, "method": 4} if path.suffix == ".webp" else {"compress_level": 4}
    image.save(temporary, path.suffix[1:].upper(), **options)
    temporary.replace(path)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
