"""`portrait360 serve`: the page and the files of the runs, for this machine alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.errors import Stopped
from portrait360.local import HOST, free_port
from portrait360.web.jobs import Jobs
from portrait360.web.shelf import PAGE, ZIP, Shelf

if TYPE_CHECKING:
    from fastapi import FastAPI

NAMES = (HOST, "localhost")
TOLD = {  # to the libraries below, before they are loaded: ask nobody, tell nobody
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
ALONE = "sandbox allow-scripts"  # for the page of a head: its scripts can neither ask this server nor see the page
KEPT = "private, max-age=600"


def serve(folder: Path, port: int) -> None:
    """Until Ctrl-C or SIGTERM. What is at work then is ended, and uploads are gone."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # a closed terminal is Ctrl-C, too
    os.environ |= TOLD
    uploads = tempfile.mkdtemp(prefix="portrait360-")  # readable by this user alone
    os.environ["GRADIO_TEMP_DIR"] = uploads
    jobs = None
    try:
        shelf = Shelf(Path(folder))
        jobs = Jobs(shelf)
        with contextlib.suppress(KeyboardInterrupt, Stopped):  # that is how it is stopped
            _listen(application(jobs, Path(uploads)), free_port(port), shelf.folder)
    finally:
        if jobs is not None:
            jobs.close()
        shutil.rmtree(uploads, ignore_errors=True)


def application(jobs: Jobs, uploads: Path) -> FastAPI:
    """The page at /, files of runs below /runs, and where a job stands below /jobs."""
    from portrait360.web.page import library, mounted

    library()
    app = mounted(_routes(jobs), jobs, uploads)
    app.add_middleware(Guard)  # type: ignore[arg-type]
    return app


def _listen(app: FastAPI, port: int, folder: Path) -> None:
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


def _routes(jobs: Jobs) -> FastAPI:
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.background import BackgroundTask

    app, shelf = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), jobs.shelf

    def of_run(id: str, name: str) -> Response:
        if name == ZIP and (zipped := shelf.zipped(id)):
            named = {"Content-Disposition": f'attachment; filename="{ZIP}"'}
            done = BackgroundTask(zipped.close)
            return StreamingResponse(zipped, media_type="application/zip", headers=named, background=done)
        file = shelf.file(id, name)
        if file is None:
            return Response(status_code=404)
        headers = {"Cache-Control": KEPT if name.startswith("views/") else "no-cache"}
        return FileResponse(file, headers=headers | ({"Content-Security-Policy": ALONE} if name == PAGE else {}))

    def of_job(id: str) -> Response:
        job = jobs.get(id)
        if job is None:
            return Response(status_code=404)
        return JSONResponse({"state": job.state, "stage": job.stage, "left": job.left(), "sentence": job.sentence})

    app.add_api_route("/runs/{id}/{name:path}", of_run, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/jobs/{id}", of_job, response_model=None)
    return app


class Guard:
    """Before everything else: only this machine's own pages are answered, and they can ask nobody else."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if not _own(scope):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            return await send({"type": "http.response.body", "body": b"Not from here."})

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _guarded(message.get("headers", []))
            await send(message)

        await self.app(scope, receive, answer)


def _own(scope: Any) -> bool:
    """Another name for this machine, or another site's page, is how a stranger would reach in."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if scope["type"] != "http" or host.rsplit(":", 1)[0] not in NAMES or "/proxy=" in scope["path"]:
        return False
    return origin is None or origin == f"http://{host}"


def _guarded(headers: Any) -> list[tuple[bytes, bytes]]:
    given = [(name, value) for name, value in headers if name.lower() != b"access-control-allow-origin"]
    own = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"same-origin"}
    if not any(name.lower() == b"content-security-policy" for name, _ in given):
        own[b"content-security-policy"] = POLICY.encode()
    return given + list(own.items())
