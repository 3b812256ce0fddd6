"""A fitted head: the radiance field, splats and mesh that were fitted to one view set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize_arrays
from safetensors.torch import save as serialize_tensors

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.geometry.volumes.radiance_field import FieldOptions, RadianceField
from portrait360.pipeline.reconstruction import RESULTS
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors

MAX_LEVELS, MAX_OPTION = 64, 1 << 24  # of a field
MESH_TYPES = [np.dtype(kind) for kind in ("f4", "f4", "f4", "i4", "u1")]  # in the order of a mesh's fields


@dataclass(frozen=True, eq=False)
class Head:
    """A head. Results that were not requested are None."""

    field: RadianceField | None = None
    splats: GaussianSplats | None = None
    mesh: TexturedMesh | None = None

    def save(self, folder: Path) -> None:
        """Write one file for each result; no file is ever left incomplete."""
        folder = Path(folder)
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in RESULTS:
                value = getattr(self, name)
                if value is not None:
                    with atomic_write(folder / f"{name}.safetensors") as temporary:
                        temporary.write_bytes(_pack(value))

    @classmethod
    def load(cls, folder: Path) -> Head:
        folder = Path(folder)
        names = [name for name in RESULTS if (folder / f"{name}.safetensors").is_file()]
        if not names:
            raise UserError(f"{folder} contains no fitted head; make one with `portrait360 fit VIEWS -o {folder}`.")
        return cls(**{name: _READERS[name](folder / f"{name}.safetensors") for name in names})


def head_folder(folder: Path) -> Path | None:
    """Return the folder of a run's head: the refined one if there is one, else the fitted one, else None."""
    candidates = (Path(folder) / "refined" / "head", Path(folder) / "head")
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def _pack(value: RadianceField | GaussianSplats | TexturedMesh) -> bytes:
    if isinstance(value, RadianceField):
        metadata = {"options": json.dumps(asdict(value.options))}
        return serialize_tensors({k: v.cpu().contiguous() for k, v in value.state_dict().items()}, metadata)
    return serialize_arrays({name: getattr(value, name) for name in _name_arrays(type(value))})


def _name_arrays(kind: type[GaussianSplats] | type[TexturedMesh]) -> tuple[str, ...]:
    """Return the arrays of a file; those of splats that are fitted to views have no slopes."""
    return tuple(field.name for field in fields(kind) if field.name != "slopes")


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "np") as file:
            if set(file.keys()) != set(names):
                raise ValueError("other tensors than expected")
            arrays = {name: file.get_tensor(name) for name in names}
        for name, values in arrays.items():
            if not values.size or not np.isfinite(values).all():
                raise ValueError(f"{name} is empty or not finite")
        return arrays
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged_error(path) from error


def _damaged_error(path: Path) -> UserError:
    return UserError(f"{path} is damaged; make it again with `portrait360 fit`.")


def _read_field(path: Path) -> RadianceField:
    try:
        with safe_open(path, "pt") as file:
            options = _read_options((file.metadata() or {})["options"])
            with torch.device("meta"):  # its shapes, without its memory
                expected = {name: list(v.shape) for name, v in RadianceField(options).state_dict().items()}
            if expected != {name: file.get_slice(name).get_shape() for name in file.keys()}:  # noqa: SIM118 (no mapping)
                raise ValueError("other shapes than its options say")
            state = {name: file.get_tensor(name) for name in expected}
        if not all(values.isfinite().all() for values in state.values()):
            raise ValueError("numbers that are not finite")
        field = RadianceField(options)
        field.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise _damaged_error(path) from error
    return field


def _read_options(text: str) -> FieldOptions:
    """Read a field's options; a ValueError for those that no field has."""
    options = FieldOptions(**json.loads(text))
    if not all(type(value) is int and 1 <= value <= MAX_OPTION for value in asdict(options).values()):
        raise ValueError("options out of range")
    if options.levels > MAX_LEVELS or options.coarsest > options.finest:
        raise ValueError("options out of range")
    return options


def _read_splats(path: Path) -> GaussianSplats:
    try:
        splats = GaussianSplats(**_read_arrays(path, _name_arrays(GaussianSplats)))
    except ValueError as error:
        raise _damaged_error(path) from error
    turns = np.linalg.norm(splats.rotations, axis=1)
    if splats.scales.min() < 0 or turns.min() <= 0 or splats.opacities.min() < 0 or splats.opacities.max() > 1:
        raise _damaged_error(path)
    return splats


def _read_mesh(path: Path) -> TexturedMesh:
    mesh = TexturedMesh(**_read_arrays(path, _name_arrays(TexturedMesh)))
    faces, count = mesh.triangles, len(mesh.vertices)
    shapes = [values.shape for values in (mesh.vertices, mesh.normals, mesh.uv)]
    kinds = [getattr(mesh, f.name).dtype for f in fields(mesh)]
    if shapes != [(count, 3), (count, 3), (count, 2)] or kinds != MESH_TYPES or faces.shape[1:] != (3,):
        raise _damaged_error(path)
    if mesh.texture.ndim != 3 or mesh.texture.shape[2] != 3 or not 0 <= faces.min() <= faces.max() < count:
        raise _damaged_error(path)
    return mesh


_READERS = {"field": _read_field, "splats": _read_splats, "mesh": _read_mesh}
