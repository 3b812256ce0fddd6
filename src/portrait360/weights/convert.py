"""`portrait360 weights import`: a file from outside becomes a folder of fp16 safetensors, or nothing changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from portrait360.checkpoints import Spec, TensorFile, describe, load_into, one_precision, require_same
from portrait360.errors import UserError
from portrait360.models.text import TextEncoder
from portrait360.models.unet import UNet
from portrait360.weights.diffusers_layout import DiffusersFolder
from portrait360.weights.folder import Parts, Progress, new_folder
from portrait360.weights.gan_pickle import GanFile
from portrait360.weights.motion import motion_name, motion_specs
from portrait360.weights.systems import MOTION, MOTION_CONFIG, PANOHEAD, SYSTEMS, TEXT, System, recognise


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
    specs = _open(source, chosen).specs
    names = _components(specs, chosen, str(source))
    with new_folder(target, "import") as folder:
        return _write(source, chosen, specs, names, folder, dtype, on_progress)


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
    total = sum(_bytes(brought, names, dtype) for names in components.values())
    parts = Parts(folder, system, total, on_progress)
    for part, names in components.items():
        reader = _Reader(source, system)
        theirs = {_own_name(part, name, system): name for name in names}
        specs = {own: Spec(brought[name].shape, dtype) for own, name in theirs.items()}
        parts.write(
            part, specs, lambda own, reader=reader, theirs=theirs: _fitting(reader.read(theirs[own]), own, dtype)
        )
    if system.name != MOTION and system.gan is None:
        prompt = _empty_prompt(_open(source, system), system)
        parts.write("empty_prompt", describe({"empty_prompt": prompt}), lambda name: prompt)
    return parts.finish({"name": source.name, "bytes": _size(source)}, dtype, "import")


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
