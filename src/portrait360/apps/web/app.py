"""`portrait360 serve`: a server for the page and the files of runs, open to this machine only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.apps.web.jobs import Jobs
from portrait360.apps.web.run_store import PAGE, ZIP, RunStore
from portrait360.utils.errors import Interrupted
from portrait360.utils.local_server import HOST, free_port

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
SANDBOX_POLICY = "sandbox allow-scripts"  # for a head's page: its scripts reach neither this server nor the main page
VIEW_CACHING = "private, max-age=600"


def serve(folder: Path, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; then cancel all jobs and delete the uploads."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # closing the terminal acts like Ctrl-C
    os.environ |= LIBRARY_ENVIRONMENT
    uploads = tempfile.mkdtemp(prefix="portrait360-")  # readable by this user only
    os.environ["GRADIO_TEMP_DIR"] = uploads
    jobs = None
    try:
        store = RunStore(Path(folder))
        jobs = Jobs(store)
        with contextlib.suppress(KeyboardInterrupt, Interrupted):  # the usual way to stop the server
            _run_server(create_app(jobs, Path(uploads)), free_port(port), store.folder)
    finally:
        if jobs is not None:
            jobs.close()
        shutil.rmtree(uploads, ignore_errors=True)


def create_app(jobs: Jobs, uploads: Path) -> FastAPI:
    """Create the app: the page at /, files of runs under /runs, and the states of jobs under /jobs."""
    from portrait360.apps.web.page import import_gradio, mount_page

    import_gradio()
    app = mount_page(_create_routes(jobs), jobs, uploads)
    app.add_middleware(Guard)  # type: ignore[arg-type]
    return app


def _run_server(app: FastAPI, port: int, folder: Path) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"Open http://{HOST}:{port} in a browser; stop with Ctrl-C. Runs are in {folder}.", flush=True)

    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        log_level="error" if os.environ.get("PORTRAIT360_DEBUG") else "critical",
        timeout_graceful_shutdown=2,
    )
    Server(config).run()


def _create_routes(jobs: Jobs) -> FastAPI:
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.background import BackgroundTask

    app, store = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), jobs.store

    def get_run_file(id: str, name: str) -> Response:
        if name == ZIP and (archive := store.zip_views(id)):
            headers = {"Content-Disposition": f'attachment; filename="{ZIP}"'}
            close = BackgroundTask(archive.close)
            return StreamingResponse(archive, media_type="application/zip", headers=headers, background=close)
        file = store.file(id, name)
        if file is None:
            return Response(status_code=404)
        headers = {"Cache-Control": VIEW_CACHING if name.startswith("views/") else "no-cache"}
        return FileResponse(
            file, headers=headers | ({"Content-Security-Policy": SANDBOX_POLICY} if name == PAGE else {})
        )

    def get_job(id: str) -> Response:
        job = jobs.get(id)
        if job is None:
            return Response(status_code=404)
        return JSONResponse(
            {"state": job.state, "stage": job.stage, "left": job.seconds_left(), "sentence": job.sentence}
        )

    app.add_api_route("/runs/{id}/{name:path}", get_run_file, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/jobs/{id}", get_job, response_model=None)
    return app


class Guard:
    """ASGI middleware: answers only this server's own pages, and forbids them requests to other servers."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if not _is_own_request(scope):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            return await send({"type": "http.response.body", "body": b"Forbidden."})

        async def send_secured(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _add_security_headers(message.get("headers", []))
            await send(message)

        await self.app(scope, receive, send_secured)


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
    added = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"same-origin"}
    if not any(name.lower() == b"content-security-policy" for name, _ in headers):
        added[b"content-security-policy"] = POLICY.encode()
    return headers + list(added.items())
