"""A folder of networks, as imports and trainings write it: either it is written completely, or nothing changes."""

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

from portrait360.models.weights.installed import MANIFEST
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.tensor_files import Spec, write_safetensors
from portrait360.utils.errors import UserError
from portrait360.utils.version import __version__

Progress = Callable[[str, int, int], None]  # (part, bytes just written, total bytes of all parts)
Origin = Literal["import", "init", "training", "export"]  # only a folder of the same origin may be replaced


class Parts:
    """Writes a file for each network and finally the manifest that lists them."""

    def __init__(self, folder: Path, system: ModelSpec, total: int, on_progress: Progress) -> None:
        require_space(folder, total)
        self.folder, self.system, self.total, self.on_progress = folder, system, total, on_progress
        self.files: dict[str, dict[str, object]] = {}

    def write(self, part: str, specs: Mapping[str, Spec], read: Callable[[str], Tensor]) -> None:
        path = self.folder / f"{part}.safetensors"
        config = json.dumps(asdict(self.system))
        metadata = {"format": "portrait360", "system": self.system.name, "part": part, "config": config}

        def report_bytes(count: int) -> None:
            self.on_progress(part, count, self.total)

        digest = write_safetensors(path, specs, read, metadata, report_bytes)
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


def require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size * 1.01 + (1 << 20):
        raise UserError(
            f"The disk that holds {folder.parent} has {free / 1e9:.1f} GB free; {size / 1e9:.1f} GB are needed."
        )


def require_free_name(target: Path, origin: Origin) -> None:
    """Raise unless the target is free, empty, or holds only files that the same command wrote there."""
    try:
        if target.is_dir() and not target.is_symlink():
            names = {path.name for path in target.iterdir()}
            if not names or names <= _replaceable_names(origin, target):
                return
        if target.exists() or target.is_symlink():
            raise UserError(f"{target} contains other files; choose another folder.")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}); choose another folder.") from error


def _replaceable_names(origin: Origin, folder: Path) -> set[str]:
    """Return the file names in the manifest of a folder of this origin; none if the folder is of another kind."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        same_origin = "portrait360" in manifest and manifest.get("origin", "import") == origin
        return {MANIFEST, *manifest["files"]} if same_origin else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


@contextmanager
def new_folder(target: Path, origin: Origin) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` at the end.

    On an error it is deleted, and the previous content of `target` is restored.
    """
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
            raise UserError(f"The disk that holds {target.parent} is full; nothing was changed there.") from error
        reason = error.strerror or type(error).__name__
        raise UserError(f"{target} cannot be written ({reason}); choose another folder.") from error
    finally:
        if os.path.isdir(old) and not os.path.exists(target):
            old.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
