"""A fitted head: the radiance field, splats and mesh that were fitted to one view set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize_arrays
from safetensors.torch import save as serialize_tensors

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.geometry.volumes.radiance_field import FieldOptions, RadianceField
from portrait360.pipeline.reconstruction import RESULTS
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, translate_write_errors


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
            raise UserError(f"{folder} holds no fitted head; make one with `portrait360 fit VIEWS -o {folder}`.")
        return cls(**{name: _READERS[name](folder / f"{name}.safetensors") for name in names})


def head_folder(folder: Path) -> Path | None:
    """Return the folder of a run's head: the refined one if there is one, else the fitted one, else None."""
    candidates = (Path(folder) / "refined" / "head", Path(folder) / "head")
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def _pack(value: RadianceField | GaussianSplats | TexturedMesh) -> bytes:
    if isinstance(value, RadianceField):
        metadata = {"options": json.dumps(asdict(value.options))}
        return serialize_tensors({k: v.cpu().contiguous() for k, v in value.state_dict().items()}, metadata)
    return serialize_arrays({f.name: getattr(value, f.name) for f in fields(value)})


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "np") as file:
            if set(file.keys()) != set(names):
                raise ValueError("other tensors than expected")
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged_error(path) from error


def _damaged_error(path: Path) -> UserError:
    return UserError(f"{path} is damaged; make it again with `portrait360 fit`.")


def _read_field(path: Path) -> RadianceField:
    try:
        with safe_open(path, "pt") as file:
            options = FieldOptions(**json.loads((file.metadata() or {})["options"]))
            field = RadianceField(options)
            field.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise _damaged_error(path) from error
    return field


def _read_splats(path: Path) -> GaussianSplats:
    try:
        return GaussianSplats(**_read_arrays(path, tuple(f.name for f in fields(GaussianSplats))))
    except ValueError as error:
        raise _damaged_error(path) from error


def _read_mesh(path: Path) -> TexturedMesh:
    mesh = TexturedMesh(**_read_arrays(path, tuple(f.name for f in fields(TexturedMesh))))
    faces, count = mesh.triangles, len(mesh.vertices)
    if faces.ndim != 2 or (len(faces) and not (faces.min() >= 0 and faces.max() < count)):
        raise _damaged_error(path)
    return mesh


_READERS = {"field": _read_field, "splats": _read_splats, "mesh": _read_mesh}
