"""A Hugging Face Space: a portrait becomes a head, on the CPU."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from portrait360 import MakeOptions, UserError, make
from portrait360.pipeline.avatar.overrules import find_choices
from portrait360.utils.progress import Event

ESTIMATED = "as in the photo"
VIEWS = 8
KEPT = 3600  # seconds that files stay on the server
WAITING = 20  # people in the queue
LARGEST_UPLOAD = "20mb"
FILES = ("head.glb", "viewer.html", "sheet.png")
HEIGHT = 600  # pixels of the viewer
INTRODUCTION = """# portrait360
One portrait photo becomes a 3D head with hair, eyes, teeth and 52 expressions. A frontal photo with soft light and
the whole head in the picture works best. Use photos of people who agree to it. Photos and heads are deleted within
two hours.
"""


def show_progress(progress: Any) -> Any:
    """Return a handler of a run's events that moves gradio's bar."""

    def on_event(event: Event) -> None:
        if event.state in ("begin", "step") and event.stage != "run":
            done = event.done / event.of if event.of else 0.0
            progress(min(max(done, 0.0), 1.0), desc=event.what or event.stage)

    return on_event


def make_head(photo: str | None, hair: str, progress: Any = gr.Progress()) -> tuple[str, str, list[str]]:  # noqa: B008
    """Return the viewer, the contact sheet, and the files to download."""
    if not photo:
        raise gr.Error("Choose a photo first.", print_exception=False)
    folder = Path(tempfile.mkdtemp(prefix="portrait360-space-"))
    options = MakeOptions(views=VIEWS, results=("mesh", "views"), hair=None if hair == ESTIMATED else hair)
    try:
        make(photo, folder, options, show_progress(progress))
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
    files = [str(folder / name) for name in FILES if (folder / name).is_file()]
    return embed_page(folder / "viewer.html"), str(folder / "sheet.png"), files


def embed_page(page: Path) -> str:
    """Return the head's page as a frame that may run its own scripts and nothing else."""
    if not page.is_file():
        return "<p>This head has no page; download its files instead.</p>"
    text = html.escape(page.read_text(encoding="utf-8"), quote=True)
    return (
        f'<iframe srcdoc="{text}" style="width:100%;height:{HEIGHT}px;border:0" '
        'sandbox="allow-scripts allow-downloads" allow="fullscreen"></iframe>'
    )


def build_page() -> gr.Blocks:
    with gr.Blocks(title="portrait360", delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1):
                photo = gr.Image(type="filepath", label="Photo", sources=["upload", "webcam", "clipboard"])
                hair = gr.Dropdown(
                    [ESTIMATED, *(find_choices("hair.style") or ())], value=ESTIMATED, label="Hairstyle"
                )
                button = gr.Button("Make the head", variant="primary")
            with gr.Column(scale=2):
                viewer = gr.HTML(label="Head")
                sheet = gr.Image(label="From all sides", interactive=False)
                files = gr.File(label="Files", file_count="multiple", interactive=False)
        button.click(make_head, [photo, hair], [viewer, sheet, files], concurrency_limit=1, show_progress_on=[viewer])
    return page.queue(max_size=WAITING)


demo = build_page()

if __name__ == "__main__":
    demo.launch(max_file_size=LARGEST_UPLOAD)
