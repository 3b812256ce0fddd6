"""The page, made with gradio. The only file that imports it; it turns clicks into jobs and jobs into panels."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.apps.web import panels
from portrait360.apps.web.jobs import Jobs
from portrait360.apps.web.uploads import prune_uploads
from portrait360.models.presets import PRESETS
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.option_fields import OptionInfo, option_fields

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

HERE = Path(__file__).parent
MAX_UPLOAD = "64mb"
REFRESH_SECONDS = 0.7  # between two updates of a job
CLEANUP_SECONDS, MAX_FILE_AGE = 600, 3600  # how often old temporary files are deleted, and their age in seconds
HEAD, VIEWS = "3D head", "Views only"
FROM_FACE = "read from the face"
SHOWN = 3  # inputs of the form; those behind them are below "Advanced"
PLACEHOLDER = "Drop a photo here, or click to choose one"
NEEDS_GRADIO = "`portrait360 serve` needs gradio; install it with: pip install 'portrait360[web]'"


def import_gradio() -> Any:
    """Return the gradio module, or raise a UserError that says how to install it."""
    try:
        import gradio
    except ImportError as error:
        raise UserError(NEEDS_GRADIO) from error
    return gradio


def mount_page(app: FastAPI, jobs: Jobs, uploads: Path) -> FastAPI:
    """Mount the page at / of an app."""
    gr = import_gradio()
    blocks = Page(gr, jobs, uploads).build()
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
        max_file_size=MAX_UPLOAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )


class Page:
    """The components of the page and their handlers. The page is stateless: what a tab shows is stored in the tab."""

    def __init__(self, gradio: Any, jobs: Jobs, uploads: Path) -> None:
        self.gr, self.jobs, self.uploads = gradio, jobs, uploads

    def build(self) -> gr.Blocks:
        gr = self.gr
        self.open_run.__func__.__annotations__["event"] = gr.EventData  # gradio passes the event by this type
        with gr.Blocks(
            title="portrait360", analytics_enabled=False, delete_cache=(CLEANUP_SECONDS, MAX_FILE_AGE)
        ) as blocks:
            gr.HTML(panels.HEADING, js_on_load=_read_script("blind.js"), apply_default_css=False)
            with gr.Row(elem_id="p360-main", equal_height=False):
                with gr.Column(scale=4, min_width=320):
                    form = self._add_form()
                    with gr.Row():
                        make = gr.Button("Make", variant="primary", elem_id="p360-make")
                        cancel = gr.Button("Cancel", visible=False, elem_id="p360-cancel")
                with gr.Column(scale=7, min_width=320):
                    status = gr.HTML("", elem_id="p360-status", apply_default_css=False)
                    stage = gr.HTML(
                        panels.EMPTY,
                        elem_id="p360-result",
                        js_on_load=_read_script("turn.js"),
                        apply_default_css=False,
                    )
            past = gr.HTML("", elem_id="p360-past", js_on_load=_read_script("past.js"), apply_default_css=False)
            run_id = gr.Textbox("", visible=False)  # of the run that this tab shows; an untrusted string
            previous, timer = gr.State(()), gr.Timer(REFRESH_SECONDS, active=False)
            outputs = [run_id, status, stage, past, make, cancel, timer, previous]
            quiet = {"show_progress": "hidden", "queue": False}
            make.click(self.make, form, outputs, api_name="make", **quiet)
            cancel.click(self.cancel, [run_id, previous], outputs, api_name="cancel", **quiet)
            timer.tick(self.refresh, [run_id, previous], outputs, api_visibility="private", **quiet)
            past.click(self.open_run, None, outputs, api_visibility="private", **quiet)
            blocks.load(self.load, None, outputs, api_visibility="private", **quiet)
        return blocks

    def _add_form(self) -> list[Any]:
        """Add the photos and an input for every field of MakeOptions that has a label."""
        gr, inputs = self.gr, {}
        photo = self._add_photo("Photo", 270, "p360-photo")
        for field in form_fields():
            if field[-1].form <= SHOWN:
                inputs[field[0]] = self._add_input(*field)
        with gr.Accordion("The same head from behind", open=False):
            back = self._add_photo("A photo from behind, if you have one", 200, "p360-back")
        with gr.Accordion("Advanced", open=False):
            for field in form_fields():
                if field[-1].form > SHOWN:
                    inputs[field[0]] = self._add_input(*field)
        inputs["fit"].change(
            lambda choice: gr.update(interactive=choice == HEAD),
            inputs["fit"],
            inputs["quick"],
            queue=False,
            api_visibility="private",
        )
        return [photo, back, *(inputs[name] for name, *_ in form_fields())]

    def _add_input(self, name: str, kind: Any, default: Any, info: OptionInfo) -> Any:
        """Add an input for one field; its type and description decide which."""
        gr, id = self.gr, f"p360-{name}"
        if name == "fit":
            return gr.Radio([HEAD, VIEWS], value=HEAD, show_label=False, container=False, elem_id=id)
        if name == "preset":
            return gr.Radio(preset_choices(), value=default, label=info.label, elem_id=id)
        if kind is bool:
            return gr.Checkbox(default, label=f"{info.label}: {info.help}", elem_id=id)
        if info.low is not None:
            return gr.Slider(info.low, info.high, default, step=4, label=info.label, elem_id=id)
        return gr.Textbox("", label=info.label, info=info.help, placeholder=FROM_FACE, max_lines=1, elem_id=id)

    def _add_photo(self, label: str, height: int, id: str) -> gr.Image:
        """Add an input for an upload or a webcam picture. Its value is the path: only the run opens the file."""
        sources = ["upload", "webcam", "clipboard"] if height > 200 else ["upload", "clipboard"]
        photo = self.gr.Image(
            label=label,
            type="filepath",
            sources=sources,
            height=height,
            elem_id=id,
            buttons=[],
            placeholder=PLACEHOLDER,
        )
        photo.preprocess = lambda payload: payload.path if payload else None

        async def require_upload(path: Any) -> str:
            if not Path(str(path)).resolve().is_relative_to(self.uploads.resolve()):
                raise ValueError("only uploads are opened")
            return str(path)  # unchanged: gradio must not download it; Jobs.add reports a missing file

        photo.async_move_resource_to_block_cache = require_upload
        return photo

    def make(self, photo: str | None, back: str | None, *values: Any) -> tuple[Any, ...]:
        """Start a run with the values of the form; the first output is its id."""
        try:
            if not photo:
                raise UserError("Choose a photo first.")
            job = self.jobs.add(Path(photo), read_form(values), Path(back) if back else None)
        except UserError as error:
            return self._update("", (), message=str(error))
        prune_uploads(self.uploads)
        return self._update(job.id, ())

    def cancel(self, run_id: str, previous: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cancel the run with this id."""
        self.jobs.cancel(run_id)
        return self._update(run_id, previous)

    def refresh(self, run_id: str, previous: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._update(run_id, previous)

    def open_run(self, event: gr.EventData) -> tuple[Any, ...]:
        """Show the run whose card was clicked."""
        id = str(event._data.get("run", ""))
        exists = self.jobs.get(id) or self.jobs.store.finished_run(id)
        return self._update(id, (), message="" if exists else "This run is no longer in the folder.")

    def load(self) -> tuple[Any, ...]:
        """Show the running job in a tab that is opened or reloaded."""
        open_jobs = self.jobs.open()
        return self._update(open_jobs[0].id if open_jobs else "", ())

    def _update(self, run_id: str, previous: tuple[Any, ...], message: str = "") -> tuple[Any, ...]:
        """Return the outputs of the page; unchanged ones are skipped, so that nothing flickers."""
        gr, jobs = self.gr, self.jobs
        job, open_jobs = jobs.get(run_id), jobs.open()
        is_open = job is not None and not job.is_over
        views = jobs.store.views(run_id) if is_open else []
        state = job.state if job else ""
        current = (
            (run_id, state, len(views), job.of if job else 0),
            tuple((job.id, job.state) for job in open_jobs),
            is_open,
        )
        same = [a == b for a, b in zip(current, previous or (None, None, None), strict=True)]
        return (
            run_id,
            panels.render_message(message) if message else self._render_status(run_id),
            gr.skip() if same[0] else self._render_stage(run_id, views),
            gr.skip() if same[1] else self._render_gallery(open_jobs),
            gr.skip() if same[2] else gr.update(visible=not is_open),
            gr.skip() if same[2] else gr.update(visible=is_open),
            gr.Timer(active=bool(open_jobs)) if not same[1] or not previous else gr.skip(),
            current,
        )

    def _render_status(self, run_id: str) -> str:
        """Return the progress of a job, or the warnings of a run that an earlier server made."""
        job = self.jobs.get(run_id)
        if job is None:
            return panels.render_warnings(self.jobs.store.warnings(run_id))
        return panels.render_status(job, self.jobs.count_before(job))

    def _render_stage(self, run_id: str, views: list[str]) -> str:
        job, run = self.jobs.get(run_id), self.jobs.store.finished_run(run_id)
        if job is not None and not job.is_over:
            return panels.render_previews(job, views)
        return panels.render_result(run, self.jobs.store.views(run_id)) if run else panels.EMPTY

    def _render_gallery(self, open_jobs: list[Any]) -> str:
        store, open_ids = self.jobs.store, {job.id for job in open_jobs}
        runs, older = store.all()
        runs = [run for run in runs if run.id not in open_ids]
        return panels.render_gallery(open_jobs, runs, [store.card_picture(run.id) for run in runs], older)


def form_fields() -> list[tuple[str, Any, Any, OptionInfo]]:
    """Name, type, default and description of the fields that the form offers: those with a label."""
    fields = [field for field in option_fields(MakeOptions) if field[-1].label]
    return sorted(fields, key=lambda field: field[-1].form)


def read_form(values: Sequence[Any]) -> MakeOptions:
    """The options that the values of the form's inputs say, in the order of `form_fields`."""
    options: dict[str, Any] = {}
    for (name, kind, _, _), value in zip(form_fields(), values, strict=True):
        if name == "fit":
            options[name] = value != VIEWS
        elif kind in (bool, int, str):
            options[name] = kind(value)
        else:
            options[name] = parse_degrees(value)
    return MakeOptions(**options | {"quick": options["quick"] and options["fit"]})


def preset_choices() -> list[tuple[str, str]]:
    """Return the label and name of every preset."""
    return [(f"{name} (needs weights)" if preset.steps else name, name) for name, preset in PRESETS.items()]


def parse_degrees(text: str) -> float | None:
    """Parse a number of degrees; return None if the text is empty."""
    if not text or not text.strip():
        return None
    try:
        number = float(text)
        if not isfinite(number):
            raise ValueError(text)
        return number
    except ValueError as error:
        raise UserError(
            f"{text.strip()[:20]!r} is not a number of degrees; leave the field empty if a face is visible."
        ) from error


def _read_script(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
