"""`portrait360 weights import`: convert a published file to a folder of safetensors, or change nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from portrait360.models.clip_text import TextEncoder
from portrait360.models.unet import UNet
from portrait360.models.weights.animatediff import motion_name, motion_specs
from portrait360.models.weights.checkpoint_folder import Origin, Parts, Progress, new_folder
from portrait360.models.weights.diffusers_names import DiffusersFolder
from portrait360.models.weights.exported_folder import ExportedFolder, read_export_index
from portrait360.models.weights.registry import (
    MODEL_SPECS,
    MOTION,
    MOTION_CONFIG,
    PANOHEAD,
    TEXT,
    ModelSpec,
    identify_system,
)
from portrait360.models.weights.stylegan_pickle import GanFile
from portrait360.models.weights.tensor_files import (
    Spec,
    TensorFile,
    describe,
    load_into,
    require_one_precision,
    require_same,
)
from portrait360.utils.errors import UserError


class Source(Protocol):
    specs: dict[str, Spec]

    def read(self, name: str) -> Tensor: ...


def import_weights(
    source: Path,
    target: Path,
    system: ModelSpec | str | None = None,
    *,
    dtype: torch.dtype | None = None,
    origin: Mapping[str, object] | None = None,
    on_progress: Progress = lambda part, count, total: None,
) -> dict[str, object]:
    """Convert `source` to the folder `target` and return its manifest.

    The source is a published file, a diffusers folder of SD 1.5, or what `weights export --diffusers` wrote.

    `origin` is what the manifest should say of the source besides its name and size.
    """
    spec = choose_system(source, system)
    dtype = dtype or spec.dtype
    opened = _open(source, spec)
    components = _match_components(opened, spec, str(source))
    export = read_export_index(source) if source.is_dir() else None
    kind: Origin = "import" if export is None else export.origin
    with new_folder(target, kind) as folder:
        parts = _write(source, spec, opened.specs, components, folder, dtype, on_progress)
        record = {"name": source.name, "bytes": _file_size(source), **(origin or {})}
        return parts.finish(record, dtype, kind)


def choose_system(source: Path, system: ModelSpec | str | None) -> ModelSpec:
    """Return the spec of the source: that of the given name, or the one that its content matches."""
    if isinstance(system, ModelSpec):
        return system
    if system == PANOHEAD or system is None and source.suffix == ".pkl":
        return ModelSpec(PANOHEAD, None, gan=GanFile(source).config)
    if system is None and source.is_dir():
        export = read_export_index(source)
        system = "sd15" if export is None else export.system
    elif system is None:
        system = identify_system(TensorFile(source).specs, str(source))
    specs = {**MODEL_SPECS, MOTION: ModelSpec(MOTION, None)}
    if system not in specs:
        raise UserError(f"{system!r} is not a known kind of file; choose from {', '.join((*specs, PANOHEAD))}.")
    return specs[system]


def _open(source: Path, system: ModelSpec) -> Source:
    if system.gan is not None:
        return GanFile(source)
    if source.is_dir():
        if (export := read_export_index(source)) is not None:
            if export.system != system.name:
                raise UserError(f"{source} contains {export.system}, not {system.name}; import it without --as.")
            return ExportedFolder(source, system)
        if system.denoiser is not None or system.name == MOTION:
            raise UserError(
                f"{source} is a folder; use a file, an export, or Stable Diffusion 1.5 in diffusers' layout."
            )
        return DiffusersFolder(source, system.unet, system.vae)
    return TensorFile(source)


def _match_components(source: Source, system: ModelSpec, what: str) -> dict[str, list[str]]:
    """Return the names of the tensors for each of our files; missing and unexpected tensors are errors."""
    specs = source.specs
    if system.name == MOTION:
        with torch.device("meta"):
            expected = motion_specs(UNet(system.unet, MOTION_CONFIG))
        require_same(expected, {_stored_name("motion", n, system): spec for n, spec in specs.items()}, what)
        require_one_precision(specs, specs, what)
        return {"motion": list(specs)}
    expected = system.expected_tensors()
    if isinstance(source, ExportedFolder):  # which has what the text encoder says, instead of the encoder
        expected = {name: spec for name, spec in expected.items() if not name.startswith(TEXT)}
    relevant = {name: spec for name, spec in specs.items() if name in expected or not system.may_carry(name)}
    expected = {name: spec for name, spec in expected.items() if name in relevant or not system.may_lack(name)}
    require_same(expected, relevant, what)
    require_one_precision(relevant, relevant, what)
    by_file = {part: [n for n in expected if n.startswith(prefix)] for part, prefix in system.components.items()}
    return {part: names for part, names in by_file.items() if names}


def _write(
    source: Path,
    system: ModelSpec,
    source_specs: Mapping[str, Spec],
    components: Mapping[str, list[str]],
    folder: Path,
    dtype: torch.dtype,
    on_progress: Progress,
) -> Parts:
    total = sum(_count_bytes(source_specs, names, dtype) for names in components.values())
    parts = Parts(folder, system, total, on_progress)
    for part, names in components.items():
        reader = _Reader(source, system)
        source_names = {_stored_name(part, name, system): name for name in names}
        specs = {name: Spec(source_specs[source_name].shape, dtype) for name, source_name in source_names.items()}

        def read(name: str, reader: _Reader = reader, source_names: Mapping[str, str] = source_names) -> Tensor:
            return _convert(reader.read(source_names[name]), name, dtype)

        parts.write(part, specs, read)
    if system.name != MOTION and system.gan is None:
        prompt = _empty_prompt(_open(source, system), system)
        parts.write("empty_prompt", describe({"empty_prompt": prompt}), lambda name: prompt)
    return parts


def _convert(tensor: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """Convert a tensor to another type; a value that does not fit is an error instead of becoming infinite."""
    result = tensor.to(dtype)
    if not torch.isfinite(result).all():
        raise UserError(f"{name} contains values that are not finite or do not fit into {dtype}; use an intact file.")
    return result


class _Reader:
    """Reads tensors in file order; reopens the file now and then to release its memory-mapped pages."""

    MAX_MAPPED = 1 << 30  # bytes read before the file is reopened

    def __init__(self, source: Path, system: ModelSpec) -> None:
        self._source, self._system = source, system
        self._file, self._bytes_read = _open(source, system), 0

    def read(self, name: str) -> Tensor:
        if self._bytes_read > self.MAX_MAPPED:
            self._file, self._bytes_read = _open(self._source, self._system), 0
        tensor = self._file.read(name)
        self._bytes_read += tensor.numel() * tensor.itemsize
        return tensor


def _stored_name(part: str, name: str, system: ModelSpec) -> str:
    return motion_name(name, system.unet.depth) if part == "motion" else name.removeprefix(system.components[part])


@torch.no_grad()
def _empty_prompt(file: Source, system: ModelSpec) -> Tensor:
    """Run the text encoder once; it is not stored."""
    if isinstance(file, ExportedFolder):
        return file.read_prompt()
    with torch.device("meta"):
        encoder = TextEncoder(system.text)
    state = {name.removeprefix(TEXT): file.read(name) for name in file.specs if name.startswith(TEXT)}
    state.setdefault("embeddings.position_ids", torch.arange(system.text.tokens)[None])
    load_into(encoder, state, "The text encoder")
    return encoder.float().empty_prompt()


def _count_bytes(specs: Mapping[str, Spec], names: list[str], dtype: torch.dtype) -> int:
    return sum(math.prod(specs[name].shape) * dtype.itemsize for name in names)


def _file_size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
