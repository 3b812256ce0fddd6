"""A folder of networks in half precision, as an import and a training leave it: written whole, or nothing changes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from portrait360 import __version__
from portrait360.checkpoints import Spec, write_safetensors
from portrait360.errors import UserError
from portrait360.weights.systems import System

MANIFEST = "manifest.json"
Progress = Callable[[str, int, int], None]  # (what is being written, bytes of it, bytes in all)
Origin = Literal["import", "init", "training"]  # only a folder of the same origin is replaced


class Parts:
    """Files, a network each, and at last the manifest that names them."""

    def __init__(self, folder: Path, system: System, total: int, on_progress: Progress) -> None:
        _require_space(folder, total)
        self.folder, self.system, self.total, self.told = folder, system, total, on_progress
        self.files: dict[str, dict[str, object]] = {}

    def write(self, part: str, specs: Mapping[str, Spec], read: Callable[[str], Tensor]) -> None:
        path = self.folder / f"{part}.safetensors"
        config = json.dumps(asdict(self.system))
        metadata = {"format": "portrait360", "system": self.system.name, "part": part, "config": config}
        told = lambda count: self.told(part, count, self.total)  # noqa: E731
        digest = write_safetensors(path, specs, read, metadata, told)
        self.files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}

    def finish(self, source: Mapping[str, object], dtype: torch.dtype, origin: Origin) -> dict[str, object]:
        manifest = {
            "portrait360": __version__,
            "system": self.system.name,
            "origin": origin,
            "source": dict(source),
            "dtype": str(dtype).removeprefix("torch."),
            "config": asdict(self.system),
            "files": self.files,
        }
        (self.folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        return manifest


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * 1.01 + (1 << 20):
        raise UserError(
            f"The disk with {folder.parent} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed."
        )


def require_free_name(target: Path, origin: Origin) -> None:
    """What the same command left there, with nothing else beside it, may be replaced; all else is left alone."""
    try:
        if target.is_dir() and not target.is_symlink():
            lying = {path.name for path in target.iterdir()}
            if not lying or lying <= _left_by(origin, target):
                return
        if target.exists() or target.is_symlink():
            raise UserError(f"{target} holds something else; choose another folder with -o.")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}); choose another folder with -o.") from error


def _left_by(origin: Origin, folder: Path) -> set[str]:
    """The names that belong to such a folder, by its own manifest; none if it is not one."""
    try:
        said = json.loads((folder / MANIFEST).read_text())
        ours = "portrait360" in said and said.get("origin", "import") == origin
        return {MANIFEST, *said["files"]} if ours else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


@contextmanager
def new_folder(target: Path, origin: Origin) -> Iterator[Path]:
    """A folder to write into that becomes `target` at the end, or vanishes; what was there comes back if it fails."""
    target = Path(os.path.abspath(target))
    require_free_name(target, origin)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"The disk with {target.parent} is full; nothing was changed there.") from error
        reason = error.strerror or type(error).__name__
        raise UserError(f"{target} cannot be written ({reason}); choose another folder with -o.") from error
    finally:
        if os.path.isdir(old) and not os.path.exists(target):
            old.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
