"""Which weights a user has imported; light enough to ask before torch is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from portrait360.utils.errors import UserError

MANIFEST = "manifest.json"


def weights_folder() -> Path:
    """Return the folder of the weights: the variable PORTRAIT360_WEIGHTS, or the default in the user's cache."""
    default = Path.home() / ".cache" / "portrait360" / "weights"
    return Path(os.environ.get("PORTRAIT360_WEIGHTS", default))


_preferred: ContextVar[Path | None] = ContextVar("preferred weights", default=None)


@contextmanager
def prefer_weights(folder: Path | None) -> Iterator[None]:
    """Within the context, find weights in this folder first, and then among the user's."""
    token = _preferred.set(folder)
    try:
        yield
    finally:
        _preferred.reset(token)


def list_imports(root: Path) -> list[Path]:
    """Return all imports in a folder, or the folder itself if it is an import."""
    if (root / MANIFEST).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the validated manifest of an import."""
    try:
        record = json.loads((folder / MANIFEST).read_text())
        files = {name: {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in record["files"].items()}
        plain = {"system": str(record["system"]), "dtype": str(record["dtype"]), "source": dict(record["source"])}
        return {**record, **plain, "files": files, "config": dict(record["config"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder of weights: it has no {MANIFEST}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged; import the weights again.") from error


def find_weights(system: str) -> Path | None:
    """Return the import of a system if there is one."""
    roots = [root for root in (_preferred.get(), weights_folder()) if root is not None]
    imports = ((folder, read_manifest(folder)) for root in roots for folder in list_imports(root))
    return next((folder for folder, record in imports if record["system"] == system and is_trained(record)), None)


def is_trained(record: dict[str, Any]) -> bool:
    """Whether weights can be used: what `train init` writes is only where a training starts."""
    return record.get("origin") != "init"


def require_weights(systems: Sequence[str], what: str) -> list[Path]:
    """Return the imports of several systems; the error names all that are missing."""
    imports = {system: find_weights(system) for system in systems}
    missing = [system for system, path in imports.items() if path is None]
    if missing:
        from portrait360.models.weights.published_files import fetch_command

        raise UserError(
            f"{what} needs the weights {' and '.join(f'`{name}`' for name in missing)}, which are not in "
            f"{weights_folder()}. Get them with `{fetch_command(missing)}`; if you already have the files, "
            "import them with `portrait360 weights import FILE`."
        )
    paths = [path for path in imports.values() if path is not None]
    problems = [f"{path}: {problem}" for path in paths for problem in find_size_mismatches(path)]
    if problems:
        raise UserError(f"{problems[0]}; import these weights again.")
    return paths


def find_size_mismatches(folder: Path) -> list[str]:
    """Return a sentence for each file of an import that is missing or has the wrong size; a quick check."""
    problems = []
    for name, record in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != record["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes, expected {record['bytes']}")
    return problems
