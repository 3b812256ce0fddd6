"""Folders that `weights export --diffusers` wrote, read back with the interface of a single published file.

Programs built on diffusers may have trained and saved the networks meanwhile, all of them in one precision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from portrait360.models.weights.checkpoint_folder import Origin
from portrait360.models.weights.diffusers_export import INDEX, PROMPT, WEIGHTS, list_parts, to_diffusers_spec
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.tensor_files import Spec, TensorFile
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited

MAX_INDEX = 1 << 20  # bytes


@dataclass(frozen=True)
class ExportIndex:
    """What the index of an export says of its weights."""

    system: str
    origin: Origin


def read_export_index(folder: Path) -> ExportIndex | None:
    """Return the index of an export; None if the folder was not written by `weights export --diffusers`."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        record = json.loads(read_limited(path, MAX_INDEX))
        if "_portrait360" not in record:
            return None
        system, origin = str(record["_system"]), record["_origin"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged; export the weights again.") from error
    if origin not in get_args(Origin):
        raise UserError(f"{path} gives an unknown origin for the weights, {origin!r}; export them again.")
    return ExportIndex(system, origin)


class ExportedFolder:
    """The tensors of an export under their published names; the text encoder is not among them."""

    def __init__(self, path: Path, system: ModelSpec) -> None:
        self.path, self._system = path, system
        self.specs: dict[str, Spec] = {}
        self._sources: dict[str, tuple[TensorFile, str]] = {}
        expected = system.expected_tensors()
        for part in list_parts(system):
            prefix = system.components[part.source]
            own = (name.removeprefix(prefix) for name in expected if name.startswith(prefix))
            published = {new: prefix + name for name in own if (new := part.rename(name)) is not None}
            file = TensorFile(path / part.folder / WEIGHTS)
            for new, spec in file.specs.items():
                if new not in part.extra:
                    name = published.get(new, f"{part.folder}.{new}")  # the latter is refused as unexpected
                    self._sources[name] = file, new
                    self.specs[name] = self._published_spec(spec, new, expected.get(name))

    @staticmethod
    def _published_spec(spec: Spec, name: str, expected: Spec | None) -> Spec:
        same = expected is not None and to_diffusers_spec(expected, name).shape == spec.shape
        return Spec(expected.shape, spec.dtype) if same and expected is not None else spec

    def read(self, name: str) -> Tensor:
        file, new = self._sources[name]
        return file.read(new).reshape(self.specs[name].shape)

    def read_prompt(self) -> Tensor:
        """Return the embedding of the empty prompt, which stands in for the text encoder."""
        file, shape = TensorFile(self.path / PROMPT), (1, self._system.text.tokens, self._system.text.width)
        if "empty_prompt" not in file.specs or file.specs["empty_prompt"].shape != shape:
            raise UserError(f"{file.path} contains no embedding of the empty prompt; export the weights again.")
        return file.read("empty_prompt")
