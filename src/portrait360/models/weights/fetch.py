"""`portrait360 weights fetch`: a published file from the hub, a mirror or a folder, checked and imported at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from portrait360.models.weights.download import Remote, bytes_there, download, probe
from portrait360.models.weights.hub import find_in_cache, find_on_hub, is_offline, read_cached_sha256
from portrait360.models.weights.installed import MANIFEST, find_size_mismatches, is_trained, read_manifest
from portrait360.models.weights.published_files import PublishedFile
from portrait360.utils.errors import UserError
from portrait360.utils.files import create_folder, lock_folder, sha256, translate_write_errors

DOWNLOADS = "downloads"  # folder of the downloaded files, within that of the weights

OnBytes = Callable[[str, int, int], None]  # what is being done, bytes just done, bytes in all


@dataclass(frozen=True)
class Order:
    """A published file that is to be imported, and from where."""

    file: PublishedFile
    downloads: Path  # folder for what is downloaded
    target: Path  # folder of the import
    source: str | None = None  # a URL, a folder or a file, instead of the hub
    offline: bool = False

    @property
    def url(self) -> str | None:
        """The address of the file on a mirror; None where the source is none."""
        if self.source is None or "://" not in self.source:
            return None
        parts = urlsplit(self.source)
        if parts.path.endswith(f"/{self.file.file}"):
            return self.source
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{self.file.file}"))

    @property
    def download_path(self) -> Path:
        return self.downloads / self.file.file

    @property
    def place(self) -> str:
        """Where the file comes from, in words."""
        if self.source is not None:
            return (self.url or self.source).partition("?")[0]  # what follows may be a password
        revision = f" at revision {self.file.revision}" if self.file.repository else ", with a browser"
        return self.file.page + revision


@dataclass(frozen=True)
class Found:
    """A file that lies on a disk of this machine, or on a server."""

    path: Path | None
    remote: Remote | None
    cached_sha256: str | None = None  # what the hub said of a file in the cache of its library

    @property
    def digest(self) -> str | None:
        """The SHA-256 as the hub says."""
        return self.cached_sha256 if self.remote is None else self.remote.sha256


def is_imported(order: Order) -> bool:
    """Whether the target holds these weights already."""
    if not (order.target / MANIFEST).is_file():
        return False
    record = read_manifest(order.target)
    is_whole = not find_size_mismatches(order.target)
    return is_whole and record["system"] == order.file.name and is_trained(record)


def find_file(order: Order) -> Found:
    """Find the file on this machine or, unless offline, on a server."""
    file = order.file
    if order.source is not None and order.url is None:
        return Found(_find_local(order, Path(order.source)), None)
    if order.download_path.is_file():
        return Found(order.download_path, None)
    if order.source is None and (cached := find_in_cache(file)) is not None:
        return Found(cached, None, cached_sha256=read_cached_sha256(cached))
    if file.repository is None and order.source is None:
        raise UserError(
            f"{file.file} ({file.gigabytes:.1f} GB) can only be downloaded with a browser, from {file.page}; "
            f"then run `portrait360 weights fetch {file.name} --from FILE`."
        )
    if order.offline or is_offline():
        raise UserError(
            f"{file.file} is not on this machine, and downloads are disabled; give its location with --from."
        )
    remote = probe(order.url, file.sha256) if order.url else find_on_hub(file)
    _require_size(file, remote.size, remote.url)
    return Found(None, remote)


def _find_local(order: Order, source: Path) -> Path:
    path = source / order.file.file if source.is_dir() else source
    if not path.is_file():
        raise UserError(f"There is no file {path}; download {order.file.file} from {order.file.page}.")
    return path


def _require_size(file: PublishedFile, size: int, where: object) -> None:
    if not file.has_size(size):
        raise UserError(
            f"{where} is {size / 1e9:.3f} GB, but {file.file} should be {file.gigabytes:.3f} GB; it is incomplete "
            "or a different file, so download it again or give another source with --from."
        )


def require_disk(orders: Sequence[tuple[Order, Found]]) -> None:
    """Raise a UserError before anything is downloaded, unless the disks can hold downloads and imports."""
    needs: dict[int, tuple[Path, int]] = {}
    for order, found in orders:
        missing = 0 if found.remote is None else found.remote.size - bytes_there(found.remote, order.download_path)
        for folder, size in ((order.downloads, missing), (order.target.parent, order.file.imported)):
            folder = existing_parent(folder)
            device = folder.stat().st_dev
            needs[device] = (folder, needs.get(device, (folder, 0))[1] + size)
    for folder, size in needs.values():
        free = shutil.disk_usage(folder).free
        if free < size * 1.01 + (1 << 20):
            raise UserError(
                f"The disk that holds {folder} has {free / 1e9:.1f} GB free; {size / 1e9:.1f} GB are needed, "
                "so make room or set PORTRAIT360_WEIGHTS to a folder on another disk."
            )


def existing_parent(folder: Path) -> Path:
    """Return the folder, or the closest one above it that exists."""
    folder = folder.absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def fetch(order: Order, found: Found, on_bytes: OnBytes, *, delete: bool = False) -> dict[str, Any]:
    """Download what is not on this machine, check it, import it, and return the import's manifest."""
    from portrait360.models.weights.importer import choose_system, import_weights

    path, digest = bring_file(order, found, on_bytes)
    origin: dict[str, object] = {"sha256": digest, "from": order.place if order.url else order.file.page}
    if found.remote is not None and found.remote.version and order.url is None:
        origin["revision"] = found.remote.version
    system = choose_system(path, order.file.name)
    manifest = import_weights(
        path,
        order.target,
        system,
        origin=origin,
        on_progress=lambda part, count, total: on_bytes("Converting", count, total),
    )
    if delete and path == order.download_path:
        path.unlink()
    return manifest


def bring_file(order: Order, found: Found, on_bytes: OnBytes) -> tuple[Path, str]:
    """Return the checked file and its SHA-256."""
    if found.path is not None:
        _require_size(order.file, size := found.path.stat().st_size, found.path)
        digest = sha256(found.path, lambda count: on_bytes("Checking", count, size))
        expected = order.file.sha256 or found.digest
        if expected not in (None, digest):
            raise UserError(
                f"{found.path} has the SHA-256 {digest}, but {order.file.file} has {expected}; "
                "delete it and download it again."
            )
        return found.path, digest
    assert found.remote is not None
    remote = replace(found.remote, sha256=order.file.sha256 or found.remote.sha256)
    with translate_write_errors(order.downloads):
        create_folder(order.downloads)
    with lock_folder(order.downloads):
        digest = download(remote, order.download_path, lambda count: on_bytes("Downloading", count, remote.size))
    return order.download_path, digest


def describe_order(order: Order, found: Found | None) -> list[str]:
    """Return what the user should know before anything is done."""
    file = order.file
    size = f"{file.gigabytes:.2f} GB" if found is None or found.remote is None else f"{found.remote.size} bytes"
    digest = file.sha256 or (found.digest if found else None)
    stated = f"{digest}{'' if file.sha256 else ', as the Hub states'}" if digest else "not known here"
    if digest is None and file.repository and order.source is None:
        stated += "; it will be requested from the Hub"
    return [
        f"{file.name}: {file.file}",
        f"  size     {size}, {file.imported / 1e9:.2f} GB when imported",
        f"  SHA-256  {stated}",
        f"  licence  {file.licence}",
        f"  from     {found.path if found and found.path else order.place}",
        f"  to       {order.target}",
    ]
