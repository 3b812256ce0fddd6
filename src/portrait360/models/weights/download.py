"""Downloads of large files: resumed after a cut, no longer than announced, and renamed only when they are whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import IO, Any

from portrait360.utils.errors import UserError
from portrait360.utils.version import __version__

BLOCK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 3.0, 10.0, 30.0)  # seconds before each new attempt; they begin again after every byte that arrived
BUSY = (408, 429, 500, 502, 503, 504)  # statuses of a server that may answer later

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Remote:
    """A file on a server."""

    url: str
    size: int
    sha256: str | None  # as the server or the list of published files says
    version: str | None  # a commit, or any mark that changes with the content; None: a cut download begins again
    headers: Mapping[str, str] = field(default_factory=dict)  # for this server alone, as a token


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections to web servers only, and never from an encrypted one to another kind."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise UserError(f"{req.full_url} redirects to {newurl}, which is not safe to follow; use another source.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, headers: Mapping[str, str], start: int | None = None, end: int | None = None) -> Any:
    """Open a URL from byte `start` on; the headers are not sent to where it may be redirected."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} is not a web address; give one that begins with https://.")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    request.add_header("User-Agent", f"portrait360/{__version__}")
    if start is not None:
        request.add_header("Range", f"bytes={start}-{'' if end is None else end}")
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)


def probe(url: str, sha256: str | None) -> Remote:
    """Ask a server for the size and the version of a file."""
    try:
        with open_url(url, {}, 0, 0) as answer:
            size = _size_in_all(answer)
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    except urllib.error.HTTPError as error:
        raise UserError(explain_status(error.code, url)) from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{url} cannot be reached ({_reason(error)}); check the address and the network.") from error
    if size is None:
        raise UserError(f"{url} does not say how large the file is; use another source.")
    return Remote(url, size, sha256, version)


def _size_in_all(answer: Any) -> int | None:
    size = (answer.headers.get("Content-Range") or "").rpartition("/")[2] if answer.status == 206 else None
    size = answer.headers.get("Content-Length") if size is None else size
    return int(size) if size and size.isdigit() else None


def explain_status(status: int, url: str) -> str:
    if status in (401, 403):
        return (
            f"{url} may not be read without an account ({status}): accept its terms in a browser, then log in with "
            "`hf auth login` or set HF_TOKEN, or give another source with --from."
        )
    if status in (404, 410):
        return (
            f"There is no file at {url} ({status}); its authors may have moved it, so give its location with --from."
        )
    return f"{url} answered with an error ({status}); try again later, or give another source with --from."


def partial_file(remote: Remote, path: Path) -> Path:
    """Return where a download of this very content waits until it is whole."""
    key = remote.sha256 or f"{remote.url} {remote.version} {remote.size}"
    return path.with_name(f".{path.name}.{hashlib.sha256(key.encode()).hexdigest()[:12]}.partial")


def bytes_there(remote: Remote, path: Path) -> int:
    """Return how much of the file an earlier download left."""
    partial = partial_file(remote, path)
    return partial.stat().st_size if partial.is_file() and _can_resume(remote) else 0


def _can_resume(remote: Remote) -> bool:
    return bool(remote.sha256 or remote.version)


def download(remote: Remote, path: Path, on_bytes: OnBytes = lambda count: None) -> str:
    """Download a file to `path` and return its SHA-256; an interrupted download continues where it was."""
    for other in path.parent.glob(f".{escape(path.name)}.*.partial"):
        if other != partial_file(remote, path) or not _can_resume(remote):
            other.unlink()  # of an older version, which cannot be completed any more
    partial = partial_file(remote, path)
    try:
        with partial.open("a+b") as file:
            digest = _complete(remote, file, on_bytes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"The disk that holds {path.parent} is full; make room and run the same command again."
            ) from error
        raise UserError(f"{path.parent} cannot be written ({error.strerror}); choose another folder.") from error
    if remote.sha256 not in (None, digest):
        partial.unlink()
        raise UserError(
            f"{remote.url} had the SHA-256 {digest} instead of {remote.sha256}, so the file was deleted; "
            "download it again, or give another source with --from."
        )
    partial.replace(path)
    return digest


def _complete(remote: Remote, file: IO[bytes], on_bytes: OnBytes) -> str:
    """Append what is missing and return the SHA-256 of the whole."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK):
        digest.update(block)
        on_bytes(len(block))
    if file.tell() > remote.size:
        on_bytes(-file.tell())
        file.truncate(0)
        digest = hashlib.sha256()
    failures, problem = 0, ""
    while (have := file.seek(0, 2)) < remote.size:
        if problem:
            if failures > len(WAITS):
                raise UserError(
                    f"{problem} after {have / 1e9:.2f} of {remote.size / 1e9:.2f} GB; "
                    "run the same command again to continue from there."
                )
            time.sleep(WAITS[max(failures - 1, 0)])
        digest, problem = _append(remote, file, have, digest, on_bytes)
        failures = 0 if file.seek(0, 2) > have else failures + 1
    return digest.hexdigest()


def _append(remote: Remote, file: IO[bytes], have: int, digest: Any, on_bytes: OnBytes) -> tuple[Any, str]:
    """Append what one connection brings; return the hash of the whole, and what ended the connection early."""
    try:
        answer = open_url(remote.url, remote.headers, have)
    except urllib.error.HTTPError as error:
        if error.code not in BUSY:
            raise UserError(explain_status(error.code, remote.url)) from error
        return digest, f"{remote.url} answered with an error ({error.code})"
    except (OSError, http.client.HTTPException) as error:
        return digest, f"{remote.url} cannot be reached ({_reason(error)})"
    with answer:
        if _size_in_all(answer) != remote.size:
            raise UserError(
                f"{remote.url} does not have the size that its server states; run the same command again."
            )
        if answer.status != 206 and have:  # a server that knows no ranges sends all of it again
            file.truncate(0)
            on_bytes(-have)
            have, digest = 0, hashlib.sha256()
        while have < remote.size:
            try:
                block = answer.read(min(BLOCK, remote.size - have))
            except (OSError, http.client.HTTPException) as error:
                return digest, f"The connection was cut ({_reason(error)})"
            if not block:
                return digest, "The connection was cut"
            file.write(block)
            digest.update(block)
            have += len(block)
            on_bytes(len(block))
    return digest, ""


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    return str(reason)
