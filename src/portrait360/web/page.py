"""The page. The only file that knows gradio; it turns clicks into jobs and jobs into panels."""

from __future__ import annotations

import shutil
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.errors import UserError
from portrait360.web import panels
from portrait360.web.jobs import Ask, Jobs

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

HERE = Path(__file__).parent
LARGEST = "64mb"  # upload
LATEST = 8  # uploads that stay, so that Make can be pressed again
EVERY = 0.7  # seconds between two looks at a job
OFTEN, OLD = 600, 3600  # seconds: how often temporary files are looked through, and which of them go
PRESETS = {"small": "small", "sd15": "sd15 (needs weights)", "diffportrait3d": "diffportrait3d (needs weights)"}
HEAD, VIEWS = "3D head", "Views only"
QUICK = "Quick: less work for the head, for a first look"
SIDE = "Where the camera stands in a picture without a face: 0 in front, 90 on the subject's left, 180 behind"
HEIGHT = "How high it stands: 0 level, 89 above, -89 below"
BY_ITSELF = "the face tells it"
DROP = "Drop a photo here, or click to choose one"
NEEDED = "`portrait360 serve` needs gradio; install it with: pip install 'portrait360[web]'"


def library() -> Any:
    """What draws the page, where it is installed."""
    try:
        import gradio
    except ImportError as error:
        raise UserError(NEEDED) from error
    return gradio


def mounted(app: FastAPI, jobs: Jobs, uploads: Path) -> FastAPI:
    """The page at / of an app."""
    gr = library()
    blocks = Page(gr, jobs, uploads).blocks()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    theme = gr.themes.Default(primary_hue="slate", neutral_hue="slate", radius_size="lg", **fonts)
    theme.set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name="127.0.0.1",
        theme=theme,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        max_file_size=LARGEST,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )


class Page:
    """Its parts and what they do. Nothing is kept here of those who look at it: what a tab shows is in the tab."""

    def __init__(self, gradio: Any, jobs: Jobs, uploads: Path) -> None:
        self.gr, self.jobs, self.uploads = gradio, jobs, uploads

    def blocks(self) -> gr.Blocks:
        gr = self.gr
        self.open.__func__.__annotations__["event"] = gr.EventData  # the library asks for it by its type
        with gr.Blocks(title="portrait360", analytics_enabled=False, delete_cache=(OFTEN, OLD)) as blocks:
            gr.HTML(panels.HEADING, js_on_load=_script("blind.js"), apply_default_css=False)
            with gr.Row(elem_id="p360-main", equal_height=False):
                with gr.Column(scale=4, min_width=320):
                    wishes = self._wishes()
                    with gr.Row():
                        make = gr.Button("Make", variant="primary", elem_id="p360-make")
                        cancel = gr.Button("Cancel", visible=False, elem_id="p360-cancel")
                with gr.Column(scale=7, min_width=320):
                    status = gr.HTML("", elem_id="p360-status", apply_default_css=False)
                    stage = gr.HTML(
                        panels.EMPTY, elem_id="p360-result", js_on_load=_script("turn.js"), apply_default_css=False
                    )
            past = gr.HTML("", elem_id="p360-past", js_on_load=_script("past.js"), apply_default_css=False)
            shown = gr.Textbox("", visible=False)  # the run that this tab shows; what it says is not trusted
            seen, clock = gr.State(()), gr.Timer(EVERY, active=False)
            parts = [shown, status, stage, past, make, cancel, clock, seen]
            quiet = {"show_progress": "hidden", "queue": False}
            make.click(self.make, wishes, parts, api_name="make", **quiet)
            cancel.click(self.cancel, [shown, seen], parts, api_name="cancel", **quiet)
            clock.tick(self.look, [shown, seen], parts, api_visibility="private", **quiet)
            past.click(self.open, None, parts, api_visibility="private", **quiet)
            blocks.load(self.begin, None, parts, api_visibility="private", **quiet)
        return blocks

    def _wishes(self) -> list[Any]:
        gr = self.gr
        photo = self._photo("Photo", 270, "p360-photo")
        what = gr.Radio([HEAD, VIEWS], value=HEAD, show_label=False, container=False, elem_id="p360-what")
        quick = gr.Checkbox(False, label=QUICK, elem_id="p360-quick")
        views = gr.Slider(4, 64, 32, step=4, label="Views", elem_id="p360-views")
        with gr.Accordion("The same head from behind", open=False):
            back = self._photo("A photo from behind, if you have one", 200, "p360-back")
        with gr.Accordion("Advanced", open=False):
            choices = [(label, name) for name, label in PRESETS.items()]
            preset = gr.Radio(choices, value="small", label="Preset", elem_id="p360-preset")
            azimuth = gr.Textbox("", label="Azimuth, in degrees", info=SIDE, placeholder=BY_ITSELF, max_lines=1)
            elevation = gr.Textbox("", label="Elevation, in degrees", info=HEIGHT, placeholder=BY_ITSELF, max_lines=1)
        what.change(
            lambda said: gr.update(interactive=said == HEAD), what, quick, queue=False, api_visibility="private"
        )
        return [photo, back, what, quick, views, preset, azimuth, elevation]

    def _photo(self, label: str, height: int, id: str) -> gr.Image:
        """An upload or a picture of the webcam, as the file that it is: the run opens it, this server does not."""
        sources = ["upload", "webcam", "clipboard"] if height > 200 else ["upload", "clipboard"]
        photo = self.gr.Image(
            label=label, type="filepath", sources=sources, height=height, elem_id=id, buttons=[], placeholder=DROP
        )
        photo.preprocess = lambda payload: payload.path if payload else None

        async def local(place: Any) -> str:
            if not Path(str(place)).resolve().is_relative_to(self.uploads.resolve()):
                raise ValueError("only uploads are opened")
            return str(place)  # as it is: nothing is fetched from anywhere, and what is gone is told later

        photo.async_move_resource_to_block_cache = local
        return photo

    def make(
        self,
        photo: str | None,
        back: str | None,
        what: str,
        quick: bool,
        views: float,
        preset: str,
        azimuth: str,
        elevation: str,
    ) -> tuple[Any, ...]:
        """Begin a run; gives its id."""
        try:
            if not photo:
                raise UserError("Choose a photo first.")
            ask = Ask(preset, int(views), what != VIEWS, bool(quick), degrees(azimuth), degrees(elevation))
            job = self.jobs.add(Path(photo), ask, Path(back) if back else None)
        except UserError as error:
            return self._parts("", (), said=str(error))
        keep_latest(self.uploads)
        return self._parts(job.id, ())

    def cancel(self, shown: str, seen: tuple[Any, ...]) -> tuple[Any, ...]:
        """End the run of this id."""
        self.jobs.cancel(shown)
        return self._parts(shown, seen)

    def look(self, shown: str, seen: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._parts(shown, seen)

    def open(self, event: gr.EventData) -> tuple[Any, ...]:
        id = str(event._data.get("run", ""))
        there = self.jobs.get(id) or self.jobs.shelf.finished(id)
        return self._parts(id, (), said="" if there else "This run is no longer in the folder.")

    def begin(self) -> tuple[Any, ...]:
        """A tab that is opened, or opened again: what is at work is shown."""
        at_work = self.jobs.open()
        return self._parts(at_work[0].id if at_work else "", ())

    def _parts(self, shown: str, seen: tuple[Any, ...], said: str = "") -> tuple[Any, ...]:
        """What changes on the page, and what of it this tab then has; the rest is left alone, lest it flicker."""
        gr, jobs = self.gr, self.jobs
        job, at_work = jobs.get(shown), jobs.open()
        open_now = job is not None and not job.over
        views = jobs.shelf.views(shown) if open_now else []
        state = job.state if job else ""
        now = (shown, state, len(views), job.of if job else 0), tuple((j.id, j.state) for j in at_work), open_now
        old = seen or (None, None, None)
        same = [a == b for a, b in zip(now, old, strict=True)]
        return (
            shown,
            panels.sentence(said) if said else panels.status(job, jobs.before(job)) if job else "",
            gr.skip() if same[0] else self._stage(shown, views),
            gr.skip() if same[1] else self._past(at_work),
            gr.skip() if same[2] else gr.update(visible=not open_now),
            gr.skip() if same[2] else gr.update(visible=open_now),
            gr.Timer(active=bool(at_work)) if not same[1] or not seen else gr.skip(),
            now,
        )

    def _stage(self, shown: str, views: list[str]) -> str:
        job, run = self.jobs.get(shown), self.jobs.shelf.finished(shown)
        if job is not None and not job.over:
            return panels.previews(job, views)
        return panels.result(run, self.jobs.shelf.views(shown)) if run else panels.EMPTY

    def _past(self, at_work: list[Any]) -> str:
        shelf, busy = self.jobs.shelf, {job.id for job in at_work}
        runs, older = shelf.all()
        runs = [run for run in runs if run.id not in busy]
        return panels.gallery(at_work, runs, [shelf.picture(run.id) for run in runs], older)


def degrees(said: str) -> float | None:
    """What was typed; nothing if nothing was."""
    if not said or not said.strip():
        return None
    try:
        number = float(said)
        if not isfinite(number):
            raise ValueError(said)
        return number
    except ValueError as error:
        raise UserError(
            f"{said.strip()[:20]!r} is no number of degrees; leave it empty if a face can be seen."
        ) from error


def keep_latest(uploads: Path, count: int = LATEST) -> None:
    """Older uploads go at once: what was asked for has its own copy in its run."""
    folders = [entry for entry in uploads.iterdir() if len(entry.name) == 64]  # named by content
    for folder in sorted(folders, key=lambda entry: entry.stat().st_mtime, reverse=True)[count:]:
        shutil.rmtree(folder, ignore_errors=True)


def _script(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
