"""The page, made with gradio. The only file that imports it; it turns clicks into jobs and jobs into panels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portrait360.apps.web import check_panel, panels, result_panel
from portrait360.apps.web.checks import Checks, Choice
from portrait360.apps.web.form import (
    FITTED,
    FROM_FACE,
    LARGEST,
    VIEWS,
    fill_form,
    form_fields,
    preset_choices,
    read_choice,
    read_form,
    render_presets,
)
from portrait360.apps.web.jobs import Jobs
from portrait360.apps.web.markup import render_message, render_warnings
from portrait360.apps.web.requests import HEAD
from portrait360.apps.web.run_store import PAGE
from portrait360.apps.web.uploads import add_copy, prune_uploads
from portrait360.pipeline.export import AVATAR_FORMATS, SPLAT_FORMATS
from portrait360.utils.errors import UserError
from portrait360.utils.images import check_signature
from portrait360.utils.option_fields import OptionInfo, name_flags

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

HERE = Path(__file__).parent
EXAMPLES = {name: HERE / "examples" / f"{name}.jpg" for name in check_panel.EXAMPLES}
TITLE = "portrait360: a 3D head from one photo"  # in the browser's tab
MAX_UPLOAD = "64mb"
REFRESH_SECONDS = 0.7  # between two updates of a job
CLEANUP_SECONDS, MAX_FILE_AGE = 600, 3600  # how often old temporary files are deleted, and their age in seconds
SHOWN = 1  # inputs of the form; those behind them are below "More settings"
LENGTHS = (0.3, 3.0)  # of hair, as factors
AS_FOUND = "As in the photo"
PRESETS_INFO = (
    "Which model makes the views (pictures of the head from all sides). “small” is built in; “sd15” "
    "(DiffPortrait360) and “diffportrait3d” (DiffPortrait3D) have to be downloaded and need a GPU."
)
QUICK_INFO = (
    "a shorter, less precise fit (only matters with a NeRF, a photo without a face, or a preset other than “small”)"
)
WHAT = "What to make"
MAKE, QUEUE = "Make", "Add to the queue"  # the button while nothing is being made, and while something is
PLACEHOLDER = "Drop a photo here, or click to choose one"
NEEDS_GRADIO = "`portrait360 serve` needs gradio; install it with: pip install 'portrait360[web]'"


def import_gradio() -> Any:
    """Return the gradio module, or raise a UserError that says how to install it."""
    try:
        import gradio
    except ImportError as error:
        raise UserError(NEEDS_GRADIO) from error
    return gradio


def mount_page(app: FastAPI, jobs: Jobs, uploads: Path, checks: Checks) -> FastAPI:
    """Mount the page at / of an app."""
    gr = import_gradio()
    blocks = Page(gr, jobs, uploads, checks).build()
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

    def __init__(self, gradio: Any, jobs: Jobs, uploads: Path, checks: Checks) -> None:
        self.gr, self.jobs, self.uploads, self.checks = gradio, jobs, uploads, checks

    def build(self) -> gr.Blocks:
        gr = self.gr
        for handler in (self.open_run, self.act, self.choose, self.use_example):
            handler.__func__.__annotations__["event"] = gr.EventData  # gradio passes the event by this type
        with gr.Blocks(
            title=TITLE,
            analytics_enabled=False,
            delete_cache=(CLEANUP_SECONDS, MAX_FILE_AGE),
        ) as blocks:
            gr.HTML(panels.HEADING, js_on_load=_read_script("blind.js"), apply_default_css=False)
            with gr.Row(elem_id="p360-main", equal_height=False):
                with gr.Column(scale=4, min_width=320):
                    make, cancel = self._add_form()
                with gr.Column(scale=7, min_width=320, elem_id="p360-right"):
                    status = self._add_html("p360-status")
                    stage = self._add_html("p360-result", "turn.js", result_panel.EMPTY)
                    details = self._add_html("p360-details", "result.js")
            past = self._add_html("p360-past", "past.js")
            run_id = gr.Textbox("", visible=False)  # of the run that this tab shows; an untrusted string
            previous, timer = gr.State(()), gr.Timer(REFRESH_SECONDS, active=False)
            outputs = [run_id, status, stage, details, past, make, cancel, timer, previous]
            form = [self.photo, self.back, *self.inputs.values()]
            quiet = {"show_progress": "hidden", "queue": False}
            private = {"api_visibility": "private", **quiet}
            make.click(self.make, form, outputs, api_name="make", **quiet)
            cancel.click(self.cancel, [run_id, previous], outputs, api_name="cancel", **quiet)
            timer.tick(self.refresh, [run_id, previous], outputs, **private)
            past.click(self.open_run, None, outputs, **private)
            details.click(self.act, [run_id, previous], [*outputs, *form, self.seen], **private)
            blocks.load(self.load, None, [*outputs, self.inputs["preset"], self.missing], **private)
            self._connect_check(private)
        return blocks

    def _add_html(self, id: str, script: str | None = None, html: str = "") -> Any:
        """Add a panel; a script of it turns clicks into events."""
        code = {} if script is None else {"js_on_load": _read_script(script)}
        return self.gr.HTML(html, elem_id=id, apply_default_css=False, **code)

    def _add_form(self) -> tuple[Any, Any]:
        """Add the photos, an input for every field of MakeOptions that has a label, and the two buttons."""
        gr, inputs = self.gr, {}
        self.photo = self._add_photo("Photo", 270, "p360-photo")
        self.examples = self._add_html("p360-examples", "check.js", check_panel.render_examples())
        self.seen = gr.State("")  # path of the photo that the check shows
        for field in form_fields():
            if field[-1].form <= SHOWN:
                inputs[field[0]] = self._add_input(*field)
        with gr.Row(elem_id="p360-buttons"):
            make = gr.Button(MAKE, variant="primary", elem_id="p360-make")
            cancel = gr.Button("Cancel", visible=False, elem_id="p360-cancel")
        self.check_view = self._add_html("p360-check", "check.js")  # below the buttons, which it must not push away
        with gr.Accordion("Add a photo from behind (optional)", open=False):
            self.back = self._add_photo("Photo from behind", 200, "p360-back")
        with gr.Accordion("More settings", open=False, elem_id="p360-more"):
            for field in form_fields():
                if field[-1].form > SHOWN:
                    inputs[field[0]] = self._add_input(*field)
                if field[0] == "preset":
                    self.missing = self._add_html("p360-missing")
        inputs["fit"].change(
            lambda choice: gr.update(interactive=choice != VIEWS),
            inputs["fit"],
            inputs["quick"],
            queue=False,
            api_visibility="private",
        )
        self.inputs = {name: inputs[name] for name, *_ in form_fields()}
        return make, cancel

    def _connect_check(self, private: dict[str, Any]) -> None:
        """Check a photo as soon as it is there, and again when its face or angles are changed."""
        said = [self.inputs[name] for name in ("face", "azimuth", "elevation")]
        new = self.photo.change(
            self.announce, [self.photo, self.seen, *said], [self.check_view, self.seen, *said], **private
        )
        new.then(self.check, [self.photo, *said], self.check_view, **private)
        chosen = self.check_view.click(self.choose, self.photo, [self.check_view, *said], **private)
        chosen.then(self.check, [self.photo, *said], self.check_view, **private)
        for field in said:
            field.submit(self.check, [self.photo, *said], self.check_view, **private)
        self.examples.click(self.use_example, None, self.photo, **private)

    def _add_input(self, name: str, kind: Any, default: Any, info: OptionInfo) -> Any:
        """Add an input for one field; its type and description decide which."""
        gr, id = self.gr, f"p360-{name}"
        if name == "fit":
            choices = [HEAD, VIEWS, FITTED]  # the label is for screen readers
            return gr.Radio(choices, value=HEAD, label=WHAT, show_label=False, container=False, elem_id=id)
        if name == "preset":
            radio = gr.Radio(preset_choices(), value=default, label=info.label, info=PRESETS_INFO, elem_id=id)
            return self._accept_any(radio)
        if name == "formats":
            return gr.CheckboxGroup(
                [*SPLAT_FORMATS, *AVATAR_FORMATS], value=list(default), label=info.label, elem_id=id
            )
        if name == "hair":
            styles = [(AS_FOUND, ""), *((result_panel.name_style(style), style) for style in list_styles())]
            return gr.Dropdown(styles, value="", label=info.label, elem_id=id)
        if name == "hair_length":
            return gr.Slider(*LENGTHS, 1.0, step=0.05, label=f"{info.label} (1 = as estimated)", elem_id=id)
        if kind is bool:
            return gr.Checkbox(default, label=f"{info.label}: {QUICK_INFO}", elem_id=id)
        if info.low is not None:
            return gr.Slider(info.low, info.high, default, step=4, label=info.label, elem_id=id)
        empty = {"face": LARGEST, "seed": ""}.get(name, FROM_FACE)
        value = "" if default is None else str(default)
        return gr.Textbox(value, label=info.label, info=info.help, placeholder=empty, max_lines=1, elem_id=id)

    def _accept_any(self, radio: Any) -> Any:
        """Let values through that were no choice when the page was built; the run says what cannot work."""
        radio.preprocess = lambda payload: payload
        return radio

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
        image_data = photo.data_model
        photo.preprocess = lambda payload: payload.path if payload else None
        photo.postprocess = lambda path: image_data(path=path, orig_name=Path(path).name) if path else None

        async def require_upload(path: Any) -> str:
            if not Path(str(path)).resolve().is_relative_to(self.uploads.resolve()):
                raise ValueError("only uploads are opened")
            return str(path)  # unchanged: gradio must not download it; Jobs.add reports a missing file

        photo.async_move_resource_to_block_cache = require_upload
        return photo

    def announce(self, photo: str | None, seen: str, *said: str) -> tuple[Any, ...]:
        """Say that a photo is being looked at; what was said about another photo is forgotten."""
        if not photo:
            return "", "", "", "", ""
        view = check_panel.render_waiting(Path(photo).name)
        return (view, photo, *(said if photo == seen else ("", "", "")))

    def check(self, photo: str | None, face: str, azimuth: str, elevation: str) -> str:
        """Return what a photo is read as."""
        if not photo:
            return ""
        choice = Choice()
        try:
            choice = read_choice(face, azimuth, elevation)
            check_signature(Path(photo))  # a moment, where the process of a check takes seconds to start
            return check_panel.render_check(self.checks.check(Path(photo), choice), choice)
        except UserError as error:
            return check_panel.render_problem(name_flags(str(error)), choice)

    def choose(self, photo: str | None, event: gr.EventData) -> tuple[Any, ...]:
        """Take over a face or angles that were clicked; the check follows."""
        said = [str(event._data.get(name) or "")[:20] for name in ("face", "azimuth", "elevation")]
        return (check_panel.render_waiting(Path(photo).name) if photo else "", *said)

    def use_example(self, event: gr.EventData) -> Any:
        example = EXAMPLES.get(str(event._data.get("example")))
        return str(add_copy(example, self.uploads)) if example else self.gr.skip()

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
        """Update what the tab shows by now, which may be another run than when the browser sent this."""
        return self._update(previous[0][0] if previous else run_id, previous)

    def open_run(self, event: gr.EventData) -> tuple[Any, ...]:
        """Show the run whose card was clicked."""
        id = str(event._data.get("run", ""))
        exists = self.jobs.get(id) or self.jobs.store.finished_run(id)
        return self._update(id, (), message="" if exists else "This run no longer exists.")

    def act(self, run_id: str, previous: tuple[Any, ...], event: gr.EventData) -> tuple[Any, ...]:
        """Do what a button below a result says."""
        said = {name: str(event._data.get(name) or "")[:100] for name in ("do", "run", "style", "length")}
        form = (self.gr.skip(),) * (3 + len(form_fields()))
        try:
            if said["do"] == "again":
                return (*self._update(run_id, previous), *self._reuse(said["run"]))
            if said["do"] == "delete":
                self.jobs.delete(said["run"])
                return (*self._update("", ()), *form)
            if said["do"] == "finish":
                return (*self._update(self.jobs.finish(said["run"]).id, ()), *form)
            if said["do"] == "hair":
                return (*self._update(self._change_hair(said).id, ()), *form)
        except UserError as error:
            return (*self._update(run_id, (), message=str(error)), *form)
        return (*self._update(run_id, previous), *form)

    def _reuse(self, id: str) -> tuple[Any, ...]:
        """Return the photos and the form's values of a run, as uploads that are new."""
        request = self.jobs.store.request(id)
        if request is None:
            raise UserError("The photo of this run is no longer in its folder; choose the photo again.")
        photo = str(add_copy(request.photo, self.uploads))
        back = None if request.behind is None else str(add_copy(request.behind, self.uploads))
        return (photo, back, *fill_form(request.options), photo)

    def _change_hair(self, said: dict[str, str]) -> Any:
        """Make a run again with other hair."""
        request = self.jobs.store.request(said["run"])
        if request is None:
            raise UserError("The photo of this run is no longer in its folder; choose the photo again.")
        options = request.options
        if said["style"]:
            options = replace(options, hair=said["style"])
        factor = round(float(said["length"]), 2) if said["length"] in ("0.5", "0.75", "1.35", "2") else 1.0
        if factor != 1.0:
            options = replace(options, hair_length=round(min(max((options.hair_length or 1) * factor, 0.1), 4.0), 2))
        if options == request.options:
            raise UserError("Choose another style or length first.")
        options.read_overrules()
        return self.jobs.add(request.photo, options, request.behind)

    def load(self) -> tuple[Any, ...]:
        """Show the running job in a tab that is opened or reloaded, and offer the presets that can run now."""
        open_jobs = self.jobs.open()
        presets = self.gr.update(choices=preset_choices()), render_presets()
        return (*self._update(open_jobs[0].id if open_jobs else "", ()), *presets)

    def _update(self, run_id: str, previous: tuple[Any, ...], message: str = "") -> tuple[Any, ...]:
        """Return the outputs of the page; unchanged ones are skipped, so that nothing flickers."""
        gr, jobs = self.gr, self.jobs
        job, open_jobs = jobs.get(run_id), jobs.open()
        is_open, is_busy = job is not None and not job.is_over, jobs.is_busy
        views, has_page = jobs.store.views(run_id), jobs.store.file(run_id, PAGE) is not None
        run = None if is_open else jobs.store.finished_run(run_id)
        shown = (run_id, "page") if has_page else (run_id, is_open, len(views), job.of if is_open and job else 0)
        current = (
            shown,
            (run_id, is_open, has_page, run is not None and run.compares, len(job.warnings) if job else 0),
            (tuple((job.id, job.state, jobs.store.card_picture(job.id)) for job in open_jobs), run and run.compares),
            (job.name if is_open and job else None, bool(open_jobs)),
            is_busy,
        )
        same = [a == b for a, b in zip(current, previous or (None,) * len(current), strict=True)]
        is_same = all(same)  # and may be late: it must not bring back the run that was shown before a click
        return (
            gr.skip() if is_same else run_id,
            render_message(message) if message else self._render_status(run_id),
            gr.skip() if same[0] else self._render_stage(run_id, views, has_page=has_page),
            gr.skip() if same[1] else self._render_details(run_id, views, has_page=has_page),
            gr.skip() if same[2] else self._render_gallery(open_jobs),
            gr.skip() if same[3] else gr.update(value=QUEUE if open_jobs else MAKE),
            gr.skip() if same[3] else gr.update(visible=is_open, value=panels.name_cancel(job)),
            gr.Timer(active=is_busy) if not same[4] or not previous else gr.skip(),
            gr.skip() if is_same else current,
        )

    def _render_status(self, run_id: str) -> str:
        """Return the progress of a job."""
        job = self.jobs.get(run_id)
        return "" if job is None else panels.render_status(job, self.jobs.count_before(job))

    def _render_stage(self, run_id: str, views: list[str], *, has_page: bool) -> str:
        """Return the head: the page that shows it, as soon as there is one, or the views."""
        job = self.jobs.get(run_id)
        if has_page:
            return result_panel.render_viewer(run_id)
        if job is not None and not job.is_over:
            return result_panel.render_previews(job, views)
        return result_panel.render_turntable(run_id, views) if views else result_panel.EMPTY

    def _render_details(self, run_id: str, views: list[str], *, has_page: bool) -> str:
        job, run = self.jobs.get(run_id), self.jobs.store.finished_run(run_id)
        warnings = self.jobs.store.warnings(run_id) if job is None else list(job.warnings)
        if run is None or (job is not None and not job.is_over):
            return (result_panel.COMING if has_page else "") + render_warnings(warnings)
        return result_panel.render_result(run, views, list_styles(), warnings)

    def _render_gallery(self, open_jobs: list[Any]) -> str:
        store, open_ids = self.jobs.store, {job.id for job in open_jobs}
        runs, older = store.all()
        runs = [run for run in runs if run.id not in open_ids]
        pictures = {one.id: store.card_picture(one.id) for one in (*open_jobs, *runs)}
        return panels.render_gallery(open_jobs, runs, pictures, older)


def list_styles() -> list[str]:
    """Return the names of all hairstyles."""
    from portrait360.synth.sampling.style_descriptor import ALL_STYLES

    return sorted(ALL_STYLES)


def _read_script(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
