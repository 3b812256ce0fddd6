"""`save_pretrained` and `from_pretrained` for the networks that are trained here.

A network becomes a folder of config.json, model.safetensors and a model card, as PyTorchModelHubMixin of
huggingface_hub makes it. Nothing in such a folder is executed: the class is looked up in a list of our own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from portrait360.models.network_sizes import SMALL
from portrait360.models.weights.checkpoint_folder import new_folder, require_space
from portrait360.models.weights.hub import local_folder
from portrait360.models.weights.installed import MANIFEST, find_size_mismatches, read_manifest
from portrait360.models.weights.model_card import ModelCard
from portrait360.models.weights.published_files import PUBLISHED
from portrait360.models.weights.store import from_plain
from portrait360.models.weights.tensor_files import TensorFile, describe, load_into, write_safetensors
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.version import __version__

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MAX_CONFIG = 1 << 20  # bytes
MAX_NUMBER = 1 << 16  # of layers or channels, more than any network here has


@dataclass(frozen=True)
class Kind:
    """A class of networks, and where its configuration is."""

    module: str
    config: str  # name of the configuration's class
    attribute: str  # of a network, that holds its configuration
    about: str


KINDS = {
    "MapCompleter": Kind("completion_unet", "MapCompleterConfig", "config", "completes the unwrapped map of a head"),
    "PortraitReader": Kind("portrait_reader", "ReaderOutputs", "outputs", "reads what a portrait shows"),
    "ViewDenoiser": Kind("view_denoiser", "ViewDenoiserConfig", "config", "denoises the views of a head"),
    "HybridPriors": Kind("hybrid_priors", "HybridConfig", "config", "guides views by a finished neighbour"),
    "Restorer": Kind("geometry_restorer", "RestorerConfig", "config", "restores the shape in a triplane"),
}


def save_pretrained(
    network: nn.Module,
    folder: str | Path,
    *,
    facts: Mapping[str, str] | None = None,
    licence: str = "apache-2.0",
    base_model: str | None = None,
) -> Path:
    """Write a network to a new folder, in its own precision; `facts` stand in the card, as how it was trained."""
    name = type(network).__name__
    if name not in KINDS:
        raise UserError(f"{name} cannot be saved like this; choose from {', '.join(KINDS)}.")
    config = asdict(getattr(network, KINDS[name].attribute))
    record = {"_class_name": name, "_portrait360": __version__, "config": config}
    state, folder = network.state_dict(), Path(folder)
    with new_folder(folder, "export") as partial:
        (partial / CONFIG).write_text(json.dumps(record, indent=2) + "\n")
        write_safetensors(partial / WEIGHTS, describe(state), state.__getitem__, {"format": "pt"})
        _card(name, sum(value.numel() for value in state.values()), licence, base_model, facts or {}).write(partial)
    return folder


def _card(name: str, numbers: int, licence: str, base_model: str | None, facts: Mapping[str, str]) -> ModelCard:
    text = (
        f"A network of portrait360 that {KINDS[name].about}.\n\n"
        "```python\nfrom portrait360.models.weights.pretrained import from_pretrained\n"
        'network = from_pretrained("FOLDER or USER/NAME")\n```\n'
    )
    known = {"class": name, "parameters": f"{numbers / 1e6:.1f} million", "portrait360": __version__}
    return ModelCard(name, text, licence, base_model=base_model, facts=known | dict(facts))


def from_pretrained(source: str | Path, *, revision: str | None = None) -> nn.Module:
    """Load a network from a folder that `save_pretrained` wrote, or from a repository `USER/NAME` of the hub."""
    folder = local_folder(source, revision)
    name, config = _read_config(folder / CONFIG)
    with torch.device("meta"):
        network: nn.Module = getattr(import_module(f"portrait360.models.{KINDS[name].module}"), name)(config)
    file = TensorFile(folder / WEIGHTS)
    load_into(network, {tensor: file.read(tensor) for tensor in file.specs}, str(folder / WEIGHTS))
    return network.eval().requires_grad_(False)


def _read_config(path: Path) -> tuple[str, Any]:
    try:
        record = json.loads(read_limited(path, MAX_CONFIG))
        name, config = record["_class_name"], record["config"]
        kind = KINDS[name]
        _check_numbers(config)
        return name, from_plain(getattr(import_module(f"portrait360.models.{kind.module}"), kind.config), config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not describe a network of this package; save it again.") from error


def _check_numbers(value: Any) -> None:
    """A network of such a size would be built for hours before its weights turn out not to fit."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_numbers(inner)
    elif isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise ValueError(f"{value} is too large")


def save_weights(source: Path, folder: Path) -> Path:
    """Copy a folder of weights, as `weights import` and `train run` write it, to a new folder with a model card."""
    record = read_manifest(source)
    if problems := find_size_mismatches(source):
        raise UserError(f"{source}: {problems[0]}; import these weights again.")
    system, base = record["system"], PUBLISHED["sd15"]
    trained = record.get("origin", "import") != "import"
    licence = f"that of what it was trained from ({base.licence})" if trained else PUBLISHED[system].licence
    text = (
        f"The weights of {system} in half precision, as portrait360 reads them. Licence: {licence}.\n\n"
        "```python\nfrom portrait360 import Portrait360Pipeline\n"
        'views = Portrait360Pipeline.from_pretrained("FOLDER or USER/NAME")("photo.png", views=32).views\n```\n'
    )
    facts = {str(name): str(value) for name, value in record["source"].items()}
    terms, sd15 = "creativeml-openrail-m" if trained else "other", base.repository if system != "panohead" else None
    card = ModelCard(system, text, terms, base_model=sd15, facts=facts)
    with new_folder(folder, "export") as partial:
        require_space(partial, sum(file["bytes"] for file in record["files"].values()))
        for name in (MANIFEST, *map(_plain_name, record["files"])):
            shutil.copyfile(source / name, partial / name)
        card.write(partial)
    return folder


def _plain_name(name: str) -> str:
    """A manifest comes with the weights, so its names are not followed out of the folder."""
    if Path(name).name != name:
        raise UserError(
            f"The manifest names {name!r}, which is not a file in its own folder; import the weights again."
        )
    return name


def load_trained(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """Load a network that `train run` wrote as one file, in the file's precision, and what its header says."""
    file = TensorFile(path)
    name, config = _identify(file)
    module = import_module(f"portrait360.models.{KINDS[name].module}")
    with torch.device("meta"):
        network: nn.Module = getattr(module, name)(config)
    load_into(network, {tensor: file.read(tensor) for tensor in file.specs}, str(path))
    facts = {key: value for key, value in file.metadata.items() if key not in ("config", "outputs", "format")}
    return network.eval().requires_grad_(False), facts


def _identify(file: TensorFile) -> tuple[str, Any]:
    """Return the class and the configuration of a trained network."""
    from portrait360.models.completion_unet import MapCompleterConfig
    from portrait360.models.portrait_reader import ReaderOutputs

    for name, key, kind in (
        ("PortraitReader", "outputs", ReaderOutputs),
        ("MapCompleter", "config", MapCompleterConfig),
    ):
        if key in file.metadata:
            try:
                config = json.loads(file.metadata[key])
                _check_numbers(config)
                return name, from_plain(kind, config)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{file.path} has a damaged header; train or save it again.") from error
    if "together" in file.metadata:
        return "ViewDenoiser", SMALL
    raise UserError(
        f"{file.path} was not written by the recipes map, reader or views; save other networks in Python, with "
        "portrait360.models.weights.pretrained.save_pretrained."
    )
