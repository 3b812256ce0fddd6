"""The head: what was fitted to one view sheet, as field, splats and mesh."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as packed
from safetensors.torch import save as packed_tensors

from portrait360.errors import UserError
from portrait360.files import whole, writing_to
from portrait360.geometry.field import Field, FieldOptions
from portrait360.geometry.splats import Splats
from portrait360.geometry.textured import TexturedMesh

NAMES = ("field", "splats", "mesh")


@dataclass(frozen=True, eq=False)
class Head:
    """What was not asked for is absent."""

    field: Field | None = None
    splats: Splats | None = None
    mesh: TexturedMesh | None = None

    def save(self, folder: Path) -> None:
        """A file for each result, whole or absent."""
        folder = Path(folder)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in NAMES:
                value = getattr(self, name)
                if value is not None:
                    with whole(folder / f"{name}.safetensors") as temporary:
                        temporary.write_bytes(_packed(value))

    @classmethod
    def load(cls, folder: Path) -> Head:
        folder = Path(folder)
        there = [name for name in NAMES if (folder / f"{name}.safetensors").is_file()]
        if not there:
            raise UserError(f"{folder} holds no fitted head; make one with `portrait360 fit VIEWS -o {folder}`.")
        return cls(**{name: _READERS[name](folder / f"{name}.safetensors") for name in there})


def head_folder(folder: Path) -> Path | None:
    """Where a run's head lies, the refined one, if there is one."""
    places = (Path(folder) / "refined" / "head", Path(folder) / "head")
    return next((place for place in places if place.is_dir()), None)


def _packed(value: Field | Splats | TexturedMesh) -> bytes:
    if isinstance(value, Field):
        metadata = {"options": json.dumps(asdict(value.options))}
        return packed_tensors({k: v.cpu().contiguous() for k, v in value.state_dict().items()}, metadata)
    return packed({f.name: getattr(value, f.name) for f in fields(value)})


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "np") as file:
            if set(file.keys()) != set(names):
                raise ValueError("other tensors than expected")
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; make it again with `portrait360 fit`.")


def _read_field(path: Path) -> Field:
    try:
        with safe_open(path, "pt") as file:
            options = FieldOptions(**json.loads((file.metadata() or {})["options"]))
            field = Field(options)
            field.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise _damaged(path) from error
    return field


def _read_splats(path: Path) -> Splats:
    try:
        return Splats(**_arrays(path, tuple(f.name for f in fields(Splats))))
    except ValueError as error:
        raise _damaged(path) from error


def _read_mesh(path: Path) -> TexturedMesh:
    mesh = TexturedMesh(**_arrays(path, tuple(f.name for f in fields(TexturedMesh))))
    faces, count = mesh.triangles, len(mesh.vertices)
    if faces.ndim != 2 or (len(faces) and not (faces.min() >= 0 and faces.max() < count)):
        raise _damaged(path)
    return mesh


_READERS = {"field": _read_field, "splats": _read_splats, "mesh": _read_mesh}


def device_of(name: str | None) -> torch.device:
    """The device asked for, or CUDA where it is there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name not in there:
        raise UserError(f"There is no device {name!r} here; choose {' or '.join(there)}.")
    return torch.device(name)
