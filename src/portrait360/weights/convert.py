"""`portrait360 weights import`: a file from outside becomes a folder of fp16 safetensors, or nothing changes."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from portrait360 import __version__
from portrait360.checkpoints import (
    Spec,
    TensorFile,
    describe,
    load_into,
    one_precision,
    require_same,
    write_safetensors,
)
from portrait360.errors import UserError
from portrait360.models.text import TextEncoder
from portrait360.models.unet import UNet
from portrait360.weights.diffusers_layout import DiffusersFolder
from portrait360.weights.gan_pickle import GanFile
from portrait360.weights.motion import motion_name, motion_specs
from portrait360.weights.systems import MOTION, MOTION_CONFIG, PANOHEAD, SYSTEMS, TEXT, System, recognise

MANIFEST = "manifest.json"
Progress = Callable[[str, int, int], None]  # (what is being written, bytes of it, bytes in all)


class Source(Protocol):
    specs: dict[str, Spec]

    def read(self, name: str) -> Tensor: ...


def import_weights(
    source: Path,
    target: Path,
    system: System | str | None = None,
    *,
    dtype: torch.dtype | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, object]:
    """Convert `source` (a file, or a diffusers folder of SD 1.5) into the folder `target`; returns its manifest."""
    chosen = choose_system(source, system)
    dtype = dtype or chosen.dtype
    target = Path(os.path.abspath(target))
    specs = _open(source, chosen).specs
    names = _components(specs, chosen, str(source))
    try:
        _require_free_name(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}); choose another folder with -o.") from error
    with _folder(target) as folder:
        manifest = _write(source, chosen, specs, names, folder, dtype, on_progress)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def choose_system(source: Path, system: System | str | None) -> System:
    if isinstance(system, System):
        return system
    if system == PANOHEAD or system is None and source.suffix == ".pkl":
        return System(PANOHEAD, None, gan=GanFile(source).config)
    if system is None:
        system = "sd15" if source.is_dir() else recognise(TensorFile(source).specs, str(source))
    known = {**SYSTEMS, MOTION: System(MOTION, None)}
    if system not in known:
        raise UserError(f"{system!r} is not a kind of file known here; choose from {', '.join((*known, PANOHEAD))}.")
    return known[system]


def _open(source: Path, system: System) -> Source:
    if system.gan is not None:
        return GanFile(source)
    if source.is_dir():
        if system.denoiser is not None or system.name == MOTION:
            raise UserError(f"{source} is a folder; a folder can only be Stable Diffusion 1.5 in diffusers' layout.")
        return DiffusersFolder(source, system.unet, system.vae)
    return TensorFile(source)


def _components(specs: Mapping[str, Spec], system: System, what: str) -> dict[str, list[str]]:
    """Our files and the names of the tensors that go into each; strict in both directions."""
    if system.name == MOTION:
        with torch.device("meta"):
            expected = motion_specs(UNet(system.unet, MOTION_CONFIG))
        require_same(expected, {_own_name("motion", n, system): spec for n, spec in specs.items()}, what)
        one_precision(specs, specs, what)
        return {"motion": list(specs)}
    expected = system.expected()
    found = {name: spec for name, spec in specs.items() if name in expected or not system.may_carry(name)}
    expected = {name: spec for name, spec in expected.items() if name in found or not system.may_lack(name)}
    require_same(expected, found, what)
    one_precision(found, found, what)
    by_file = {part: [n for n in expected if n.startswith(prefix)] for part, prefix in system.components.items()}
    return {part: names for part, names in by_file.items() if names}


def _write(
    source: Path,
    system: System,
    brought: Mapping[str, Spec],
    components: Mapping[str, list[str]],
    folder: Path,
    dtype: torch.dtype,
    on_progress: Progress,
) -> dict[str, object]:
    files: dict[str, dict[str, object]] = {}
    total = sum(_bytes(brought, names, dtype) for names in components.values())
    _require_space(folder, total)

    def write(part: str, specs: Mapping[str, Spec], read: Callable[[str], Tensor]) -> None:
        path = folder / f"{part}.safetensors"
        config = json.dumps(asdict(system))
        metadata = {"format": "portrait360", "system": system.name, "part": part, "config": config}
        digest = write_safetensors(path, specs, read, metadata, lambda count: on_progress(part, count, total))
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}

    for part, names in components.items():
        reader = _Reader(source, system)
        theirs = {_own_name(part, name, system): name for name in names}
        specs = {own: Spec(brought[name].shape, dtype) for own, name in theirs.items()}
        write(part, specs, lambda own, reader=reader, theirs=theirs: _fitting(reader.read(theirs[own]), own, dtype))
    if system.name != MOTION and system.gan is None:
        prompt = _empty_prompt(_open(source, system), system)
        write("empty_prompt", describe({"empty_prompt": prompt}), lambda name: prompt)
    return {
        "portrait360": __version__,
        "system": system.name,
        "source": {"name": source.name, "bytes": _size(source)},
        "dtype": str(dtype).removeprefix("torch."),
        "config": asdict(system),
        "files": files,
    }


def _fitting(tensor: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """The tensor in its new type; a value that it cannot hold is an error, not an infinity."""
    converted = tensor.to(dtype)
    if not torch.isfinite(converted).all():
        raise UserError(f"{name} holds values that are no numbers or do not fit into {dtype}; bring a whole file.")
    return converted


class _Reader:
    """Reads tensors in file order; opens the file anew now and then, so that mapped pages are given back."""

    PAGES = 1 << 30

    def __init__(self, source: Path, system: System) -> None:
        self._open = lambda: _open(source, system)
        self._file, self._read = self._open(), 0

    def read(self, name: str) -> Tensor:
        if self._read > self.PAGES:
            self._file, self._read = self._open(), 0
        tensor = self._file.read(name)
        self._read += tensor.numel() * tensor.itemsize
        return tensor


def _own_name(part: str, name: str, system: System) -> str:
    return motion_name(name, system.unet.depth) if part == "motion" else name.removeprefix(system.components[part])


@torch.no_grad()
def _empty_prompt(file: Source, system: System) -> Tensor:
    """The text encoder is run here, once, and left behind."""
    with torch.device("meta"):
        encoder = TextEncoder(system.text)
    state = {name.removeprefix(TEXT): file.read(name) for name in file.specs if name.startswith(TEXT)}
    state.setdefault("embeddings.position_ids", torch.arange(system.text.tokens)[None])
    load_into(encoder, state, "The text encoder")
    return encoder.float().empty_prompt()


def _bytes(specs: Mapping[str, Spec], names: list[str], dtype: torch.dtype) -> int:
    return sum(math.prod(specs[name].shape) * dtype.itemsize for name in names)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * 1.01 + (1 << 20):
        raise UserError(
            f"The disk with {folder.parent} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed."
        )


def _require_free_name(target: Path) -> None:
    """An earlier import with nothing else beside it may be replaced; whatever else lies there is left alone."""
    if target.is_dir() and not target.is_symlink():
        lying = {path.name for path in target.iterdir()}
        if not lying or lying <= _of_an_import(target):
            return
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} holds something else; choose another folder with -o.")


def _of_an_import(folder: Path) -> set[str]:
    """The names that belong to an import, by its own manifest; none if it is not one."""
    try:
        said = json.loads((folder / MANIFEST).read_text())
        return {MANIFEST, *said["files"]} if "portrait360" in said else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A folder to write into that becomes `target` at the end, or vanishes; what was there comes back if it fails."""
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
