"""Imported weight folders: find them, verify them, and load them into networks."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from portrait360.models.panohead import GAN3D
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.installed import find_size_mismatches, read_manifest
from portrait360.models.weights.registry import COMPONENTS, ModelSpec
from portrait360.models.weights.tensor_files import TensorFile, load_into
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256

T = TypeVar("T")


def verify(folder: Path, on_bytes: Callable[[int], None] = lambda count: None) -> list[str]:
    """Check the sizes and checksums of an import and return a sentence for each problem."""
    problems = find_size_mismatches(folder)
    for name, record in read_manifest(folder)["files"].items():
        has_problem = any(problem.startswith(f"{name} ") for problem in problems)
        if not has_problem and sha256(folder / name, on_bytes) != record["sha256"]:
            problems.append(f"{name} was changed: its SHA-256 is not the manifest's")
    return problems


def from_plain(kind: type[T], value: Any) -> T:
    """Rebuild a (nested) frozen dataclass from the JSON of its `dataclasses.asdict`."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    names = {field.name for field in fields}
    required = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if not required <= set(value) <= names:
        differ = sorted((set(value) - names) | (required - set(value)))
        raise UserError(
            f"The file's {kind.__name__} settings do not match this version of portrait360; missing or unknown: "
            f"{', '.join(differ)}."
        )
    return kind(**{name: _plain_field(hints[name], value[name]) for name in value})


def _plain_field(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    inner = next((o for o in options if dataclasses.is_dataclass(o)), None)
    if inner is not None and value is not None:
        return from_plain(typing.cast(type, inner), value)
    return _freeze(value)


def _freeze(value: Any) -> Any:
    """Turn the lists of JSON into tuples, also within a dictionary."""
    if isinstance(value, dict):
        return {name: _freeze(inner) for name, inner in value.items()}
    return tuple(_freeze(inner) for inner in value) if isinstance(value, list) else value


def load_spec(folder: Path) -> ModelSpec:
    return from_plain(ModelSpec, read_manifest(folder)["config"])


def load_view_denoiser(folder: Path) -> ViewDenoiser:
    """Load the view denoiser of an import, in the precision of its files."""
    system = load_spec(folder)
    if system.denoiser is None:
        raise UserError(f"{folder} contains {system.name}, which has no view denoiser.")
    with torch.device("meta"):
        network = ViewDenoiser(system.denoiser)
    parts = ("unet", "appearance", "control")
    state = {COMPONENTS[part] + n: v for part in parts for n, v in read_part(folder, part).items()}
    load_into(network, state, str(folder))
    return network.eval().requires_grad_(False)


def load_vae(folder: Path) -> VAE:
    with torch.device("meta"):
        network = VAE(load_spec(folder).vae)
    load_into(network, read_part(folder, "vae"), str(folder / "vae.safetensors"))
    return network.eval().requires_grad_(False)


def load_generator(folder: Path) -> GAN3D:
    """Load the generator of an imported 3D GAN, such as PanoHead."""
    config = load_spec(folder).gan
    if config is None:
        raise UserError(f"{folder} contains no 3D GAN.")
    with torch.device("meta"):
        network = GAN3D(config)
    load_into(network, read_part(folder, "generator"), str(folder / "generator.safetensors"))
    return network.eval().requires_grad_(False)


def load_empty_prompt(folder: Path) -> Tensor:
    """Load the embedding (1 tokens width) of the empty prompt."""
    return read_part(folder, "empty_prompt")["empty_prompt"]


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """The networks of an import, each loaded on demand."""

    folder: Path

    def vae(self) -> VAE:
        return load_vae(self.folder)

    def denoiser(self) -> ViewDenoiser:
        return load_view_denoiser(self.folder)

    def prompt(self) -> Tensor:
        return load_empty_prompt(self.folder)


def read_part(folder: Path, part: str) -> dict[str, Tensor]:
    file = TensorFile(folder / f"{part}.safetensors")
    return {name: file.read(name) for name in file.specs}
