"""The folders that imports made: found, verified, and loaded into networks."""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from portrait360.checkpoints import TensorFile, load_into
from portrait360.errors import UserError
from portrait360.files import sha256
from portrait360.models.gan3d import GAN3D
from portrait360.models.unet import UNet
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.weights.folder import MANIFEST
from portrait360.weights.systems import COMPONENTS, System

T = TypeVar("T")


def home() -> Path:
    """Where weights lie unless the user says otherwise."""
    default = Path.home() / ".cache" / "portrait360" / "weights"
    return Path(os.environ.get("PORTRAIT360_WEIGHTS", default))


def folders(where: Path) -> list[Path]:
    """All imports in a folder, or the folder itself if it is one."""
    if (where / MANIFEST).is_file():
        return [where]
    return sorted(path.parent for path in where.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))


def manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text())
        files = {name: {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in found["files"].items()}
        plain = {"system": str(found["system"]), "dtype": str(found["dtype"]), "source": dict(found["source"])}
        return {**found, **plain, "files": files, "config": dict(found["config"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is no folder of weights: it has no {MANIFEST}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged; import the weights again.") from error


def found(system: str) -> Path | None:
    """The import of a system among the user's, if it is there."""
    there = ((folder, manifest(folder)) for folder in folders(home()))
    return next((folder for folder, said in there if said["system"] == system and trained(said)), None)


def trained(said: dict[str, Any]) -> bool:
    """What `train init` makes, by its manifest, is only where a training begins."""
    return said.get("origin") != "init"


def needed(systems: Sequence[str], what: str) -> list[Path]:
    """The imports of several systems; all that are missing are told at once."""
    places = {system: found(system) for system in systems}
    missing = [system for system, place in places.items() if place is None]
    if missing:
        raise UserError(
            f"{what} needs the weights of {' and '.join(missing)}, which are not in {home()}; "
            "bring the published files with `portrait360 weights import FILE` (`portrait360 doctor` says where)."
        )
    whole = [place for place in places.values() if place is not None]
    wrong = [f"{place}: {problem}" for place in whole for problem in of_other_size(place)]
    if wrong:
        raise UserError(f"{wrong[0]}; import these weights again.")
    return whole


def of_other_size(folder: Path) -> list[str]:
    """Files of an import that are not whole, as can be told at once, each in words."""
    problems = []
    for name, said in manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != said["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes, expected {said['bytes']}")
    return problems


def verify(folder: Path, on_bytes: Callable[[int], None] = lambda count: None) -> list[str]:
    """What is wrong with an import, each in words; an empty list if nothing is."""
    problems = of_other_size(folder)
    for name, said in manifest(folder)["files"].items():
        known = any(problem.startswith(f"{name} ") for problem in problems)
        if not known and sha256(folder / name, on_bytes) != said["sha256"]:
            problems.append(f"{name} was changed: its SHA-256 is not the manifest's")
    return problems


def from_plain(kind: type[T], value: Any) -> T:
    """Rebuild a (nested) frozen dataclass from what `dataclasses.asdict` and JSON made of it."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    names = {field.name for field in fields}
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if not needed <= set(value) <= names:
        differ = sorted((set(value) - names) | (needed - set(value)))
        raise UserError(f"A {kind.__name__} in the file does not fit this version: {', '.join(differ)}.")
    return kind(**{name: _plain_field(hints[name], value[name]) for name in value})


def _plain_field(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    inner = next((o for o in options if dataclasses.is_dataclass(o)), None)
    if inner is not None and value is not None:
        return from_plain(typing.cast(type, inner), value)
    return tuple(value) if isinstance(value, list) else value


def system_of(folder: Path) -> System:
    return from_plain(System, manifest(folder)["config"])


def load_view_denoiser(folder: Path) -> ViewDenoiser:
    """R, C, V and the U-Net of an import, in the precision of its files."""
    system = system_of(folder)
    if system.denoiser is None:
        raise UserError(f"{folder} holds {system.name}, which has no view denoiser.")
    with torch.device("meta"):
        network = ViewDenoiser(system.denoiser)
    parts = ("unet", "appearance", "control")
    state = {COMPONENTS[part] + n: v for part in parts for n, v in read_part(folder, part).items()}
    load_into(network, state, str(folder))
    return network.eval().requires_grad_(False)


def load_unet(folder: Path) -> UNet:
    """The U-Net alone: of Stable Diffusion 1.5, which is where training starts, or of any other system."""
    system = system_of(folder)
    denoiser = system.denoiser
    with torch.device("meta"):
        network = UNet(denoiser.unet, denoiser.cross_view) if denoiser else UNet(system.unet)
    load_into(network, read_part(folder, "unet"), str(folder / "unet.safetensors"))
    return network.eval().requires_grad_(False)


def load_vae(folder: Path) -> VAE:
    with torch.device("meta"):
        network = VAE(system_of(folder).vae)
    load_into(network, read_part(folder, "vae"), str(folder / "vae.safetensors"))
    return network.eval().requires_grad_(False)


def load_generator(folder: Path) -> GAN3D:
    """PanoHead's, or another of its kind."""
    config = system_of(folder).gan
    if config is None:
        raise UserError(f"{folder} holds no 3D GAN.")
    with torch.device("meta"):
        network = GAN3D(config)
    load_into(network, read_part(folder, "generator"), str(folder / "generator.safetensors"))
    return network.eval().requires_grad_(False)


def load_empty_prompt(folder: Path) -> Tensor:
    """(1 tokens width)"""
    return read_part(folder, "empty_prompt")["empty_prompt"]


@dataclasses.dataclass(frozen=True)
class Imported:
    """An import's networks, loaded when they are asked for."""

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
