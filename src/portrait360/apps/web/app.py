"""`portrait360 serve`: a server for the page and the files of runs, open to this machine only."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from portrait360.apps.web.archive import stream_zip
from portrait360.apps.web.checks import Checks
from portrait360.apps.web.jobs import Jobs
from portrait360.apps.web.panels import describe_job
from portrait360.apps.web.run_store import RunStore
from portrait360.apps.web.uploads import UploadLimit, answer, create_uploads_folder, remove_stale_folders
from portrait360.utils.errors import Interrupted, UserError
from portrait360.utils.files import lock_folder
from portrait360.utils.local_server import HOST, free_port
from portrait360.utils.progress import progress_bar

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST_NAMES = (HOST, "localhost")
LIBRARY_ENVIRONMENT = {  # set before the libraries are loaded, so that they make no requests
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
FORWARDING = (b"x-forwarded-", b"forwarded")  # headers of proxies, which nobody runs before this server
TOKEN = "token"  # noqa: S105 (the name of a parameter)
# for a head's page: its scripts reach neither this server nor the main page
SANDBOX_POLICY = "sandbox allow-scripts allow-downloads"
MANIFEST = b'<link rel="manifest" href="/manifest.json" />'  # gradio's; browsers ask for it without cookies, in vain
VIEW_CACHING = "private, max-age=600"


def serve(folder: Path, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; then cancel all jobs and delete the uploads.

    A server that was killed could do neither: the next one deletes its uploads and goes on with its jobs.
    """
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # closing the terminal acts like Ctrl-C
    os.environ |= LIBRARY_ENVIRONMENT
    remove_stale_folders(Path(tempfile.gettempdir()))
    uploads = create_uploads_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    jobs, checks = None, Checks()
    try:
        store = RunStore(Path(folder))
        jobs = Jobs(store)
        with lock_folder(uploads), _resume_jobs(jobs):
            with contextlib.suppress(KeyboardInterrupt, Interrupted):  # the usual way to stop the server
                token = secrets.token_urlsafe(24)
                with progress_bar():  # its libraries take seconds to load
                    app = create_app(jobs, uploads, token, checks)
                _run_server(app, free_port(port), store.folder, token)
            jobs.close()
            with contextlib.suppress(OSError):  # the terminal may be closed
                print(f"Stopped. Finished runs are in {store.folder}.", flush=True)
    finally:
        checks.close()
        if jobs is not None:
            jobs.close()
        shutil.rmtree(uploads, ignore_errors=True)


@contextlib.contextmanager
def _resume_jobs(jobs: Jobs) -> Iterator[None]:
    """Go on with the jobs of a killed server, unless another server is at work in the folder of runs."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(UserError):
            stack.enter_context(lock_folder(jobs.store.folder))
            jobs.resume()
        yield


def create_app(jobs: Jobs, uploads: Path, token: str, checks: Checks) -> FastAPI:
    """Create the app: the page at /, files of runs under /runs, and the states of jobs under /jobs."""
    from portrait360.apps.web.page import EXAMPLES, import_gradio, mount_page

    import_gradio()
    app = mount_page(_create_routes(jobs, EXAMPLES), jobs, uploads, checks)
    app.add_middleware(UploadLimit, uploads=uploads)  # type: ignore[arg-type]
    app.add_middleware(Guard, token=token)  # type: ignore[arg-type]
    return app


def _run_server(app: FastAPI, port: int, folder: Path, token: str) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            address = f"http://{HOST}:{port}/?{TOKEN}={token}"
            print(f"Open {address} in a browser; press Ctrl-C to stop. Runs are saved in {folder}.", flush=True)

    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        log_level="error" if os.environ.get("PORTRAIT360_DEBUG") else "critical",
        timeout_graceful_shutdown=2,
    )
    Server(config).run()


def _create_routes(jobs: Jobs, examples: Mapping[str, Path]) -> FastAPI:
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

    app, store = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), jobs.store

    def get_run_file(id: str, name: str) -> Response:
        folder = store.run_folder(id)
        if folder is not None and (members := store.members(id, name)):
            called = quote(store.download_name(id, name), safe="")
            headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{called}"}
            return StreamingResponse(stream_zip(folder, members), media_type="application/zip", headers=headers)
        file = store.file(id, name)
        if file is None:
            return Response(status_code=404)
        headers = {"Cache-Control": VIEW_CACHING if name.startswith("views/") else "no-cache"}
        return FileResponse(
            file, headers=headers | ({"Content-Security-Policy": SANDBOX_POLICY} if name.endswith(".html") else {})
        )

    def get_example(name: str) -> Response:
        if name not in examples:
            return Response(status_code=404)
        return FileResponse(examples[name], headers={"Cache-Control": VIEW_CACHING})

    def get_job(id: str) -> Response:
        job = jobs.get(id)
        if job is None:
            return Response(status_code=404)
        said = {"state": job.state, "stage": job.stage, "left": job.seconds_left(), "error": job.error}
        return JSONResponse(said | {"caption": describe_job(job, jobs.count_before(job))})

    app.add_api_route("/runs/{id}/{name:path}", get_run_file, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/examples/{name}.jpg", get_example, response_model=None)
    app.add_api_route("/jobs/{id}", get_job, response_model=None)
    return app


class Guard:
    """ASGI middleware: answers only this server's own pages, and forbids them requests to other servers.

    The address that `serve` prints holds a token, which the browser then keeps as a cookie: other accounts of this
    machine, which can reach the port, do not know it.
    """

    def __init__(self, app: Any, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)

        async def send_secured(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _add_security_headers(message.get("headers", []))
            elif scope["path"] == "/" and message.get("body"):
                message["body"] = message["body"].replace(MANIFEST, b" " * len(MANIFEST))  # as long as was announced
            await send(message)

        cookie = f"portrait360-{scope['server'][1]}"  # cookies do not tell ports apart
        given = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN, [""])[0]
        if not _is_own_request(scope):
            return await answer(send_secured, 403, "Forbidden.")
        if scope["path"] == "/" and secrets.compare_digest(given.encode(), self.token.encode()):
            setting = f"{cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax".encode()
            return await answer(send_secured, 303, "", [(b"location", b"/"), (b"set-cookie", setting)])
        if not _has_cookie(scope, f"{cookie}={self.token}"):
            return await answer(send_secured, 403, "Open the complete address that `portrait360 serve` printed.")
        headers = [(name, v) for name, v in scope["headers"] if not name.lower().startswith(FORWARDING)]
        await self.app({**scope, "headers": headers}, receive, send_secured)


def _has_cookie(scope: Any, wanted: str) -> bool:
    """Return whether a request has this cookie, name=value."""
    lines = [value for name, value in scope["headers"] if name.lower() == b"cookie"]
    cookies = [cookie.strip() for line in lines for cookie in line.split(b";")]
    return any(secrets.compare_digest(cookie, wanted.encode()) for cookie in cookies)


def _is_own_request(scope: Any) -> bool:
    """Return False for another host name of this machine (DNS rebinding) and for pages of other sites."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if scope["type"] != "http" or host.rsplit(":", 1)[0] not in HOST_NAMES or "/proxy=" in scope["path"]:
        return False
    return origin is None or origin == f"http://{host}"


def _add_security_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers with a content security policy, and without permission for other sites to read them."""
    headers = [(name, value) for name, value in headers if name.lower() != b"access-control-allow-origin"]
    added = {
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
    }
    if not any(name.lower() == b"content-security-policy" for name, _ in headers):
        added[b"content-security-policy"] = POLICY.encode()
    return headers + list(added.items())
