"""The Hugging Face hub: what it says of a file, what its own cache holds, and whether it may be asked at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from portrait360.models.weights.download import Remote, explain_status
from portrait360.models.weights.published_files import PublishedFile
from portrait360.utils.errors import UserError
from portrait360.utils.version import __version__

NEEDS_HUB = "`weights fetch` needs huggingface_hub; install it with `pip install 'portrait360[hub]'`, or use --from."
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def is_offline() -> bool:
    """Whether the user's environment forbids the hub; read at every call, as its own library does only once."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE_VARIABLES)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(NEEDS_HUB) from error
    return huggingface_hub


def find_on_hub(file: PublishedFile) -> Remote:
    """Ask the hub (or HF_ENDPOINT) for the size, the SHA-256 and the commit of a published file."""
    hub, endpoint = _library(), os.environ.get("HF_ENDPOINT") or None
    assert file.repository is not None
    url = hub.hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=endpoint)
    headers = hub.utils.build_hf_headers(library_name="portrait360", library_version=__version__)
    try:
        found = hub.get_hf_file_metadata(url, token=_token(hub))
    except Exception as error:  # the errors of a network are those of a library that changes with its version
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            raise UserError(explain_status(status, url)) from error
        reason = type(error).__name__
        raise UserError(f"{url} cannot be reached ({reason}); check the network, or use --from.") from error
    if found.size is None:
        raise UserError(f"{url} does not say how large the file is; use another source with --from.")
    return Remote(url, found.size, _choose_sha256(file, found.etag, url), found.commit_hash, headers)


def _token(hub: Any) -> str | bool:
    return hub.get_token() or False


def _choose_sha256(file: PublishedFile, etag: str | None, url: str) -> str:
    """Return the SHA-256 of a file, on which the hub and our own list must agree."""
    stated = etag.lower() if etag and re.fullmatch(r"[0-9a-fA-F]{64}", etag) else None
    if file.sha256 and stated and file.sha256 != stated:
        raise UserError(
            f"{url} is not the published file: its SHA-256 is {stated}, expected {file.sha256}; "
            "give another source with --from."
        )
    if not (file.sha256 or stated):
        raise UserError(
            f"{url} does not state a SHA-256, so the file cannot be checked; give another source with --from."
        )
    return file.sha256 or stated or ""


def find_in_cache(file: PublishedFile) -> Path | None:
    """Return the file in the cache of huggingface_hub, if it was downloaded by another program."""
    if file.repository is None:
        return None
    try:
        import huggingface_hub as hub
    except ImportError:
        return None
    found = hub.try_to_load_from_cache(file.repository, file.file, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def read_cached_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the hub stated of a cached file: there it is a link to a file with that name."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


def local_folder(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model: the source itself, or where the hub's library keeps a repository `USER/NAME`.

    Only tensors and descriptions are downloaded, nothing that could be executed.
    """
    if Path(source).is_dir():
        return Path(source)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) or str(source).startswith("."):
        raise UserError(f"There is no folder {source}.")
    hub, endpoint = _library(), os.environ.get("HF_ENDPOINT") or None
    try:
        found = hub.snapshot_download(
            str(source),
            revision=revision,
            allow_patterns=["*.safetensors", "*.json", "*.md"],
            endpoint=endpoint,
            local_files_only=is_offline(),
            token=_token(hub),
        )
    except Exception as error:  # as in `find_on_hub`
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            raise UserError(explain_status(status, f"the repository {source}")) from error
        raise UserError(
            f"There is no folder {source}, and no repository of that name could be loaded from the Hub "
            f"({type(error).__name__}); check the name and the network."
        ) from error
    return Path(found)
