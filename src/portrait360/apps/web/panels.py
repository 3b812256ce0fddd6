"""Jobs and runs as HTML. All untrusted strings pass through `escape` or `run_url`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from math import ceil
from urllib.parse import quote

from portrait360.apps.web.jobs import Job
from portrait360.apps.web.run_store import FILES, PAGE, SHEET, ZIP, PastRun

HEADING = """<header class="p360-head"><h1>portrait360</h1>
<p>One portrait in, a head that can be seen from all sides out. Nothing leaves this machine.</p></header>"""
EMPTY = """<div class="p360-stage p360-empty"><p>The head appears here.</p>
<p>Choose a photo with a clearly visible face, then press Make.</p></div>"""
STAGES = {
    "portrait": "Finding the head",
    "references": "Reading the other photos",
    "back": "Making the view from behind",
    "proxy": "Shaping the head",
    "avatar": "Writing the animated mesh",
    "views": "Making the views",
    "fit": "Fitting the 3D head",
    "files": "Writing the files",
}
WARNING_SIGN = """<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1 15.5 14.5H.5Z"/>
<path d="M8 6v4M8 11.6v1.2"/></svg>"""
STATE_LABELS = {"waiting": "Waiting", "running": "Running"}


def escape(text: str) -> str:
    """Escape HTML, and the characters that the page's template language would expand."""
    entities = {"{": "&#123;", "}": "&#125;", "$": "&#36;", "@": "&#64;", "`": "&#96;"}
    return "".join(entities.get(letter, letter) for letter in html.escape(text))


def run_url(id: str, name: str) -> str:
    return f"/runs/{quote(id, safe='')}/{quote(name)}"


def render_message(message: str, kind: str = "bad") -> str:
    return f'<div class="p360-said p360-{kind}" role="alert">{escape(message)}</div>'


def render_status(job: Job, before: int) -> str:
    """Return the progress of a job: a bar or its error message, and its warnings."""
    if job.state == "failed":
        return render_message(job.sentence) + render_warnings(job.warnings)
    if job.state == "cancelled":
        return render_message("The run was cancelled; its files are deleted.", "mild")
    if job.state == "done":
        return render_warnings(job.warnings)
    if before:
        title, left = "Waiting", "1 run comes first" if before == 1 else f"{before} runs come first"
    else:
        title, left = _describe_progress(job), _format_time_left(job.seconds_left())
    share = 100 * min(job.fraction_done(), 0.995)
    line = f'<div class="p360-line"><strong>{escape(title)}</strong><span>{left}</span></div>'
    return f"""<div class="p360-status">{line}
<div class="p360-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100"
aria-label="Progress"><i style="width:{share:.1f}%"></i></div></div>{render_warnings(job.warnings)}"""


def _describe_progress(job: Job) -> str:
    title = STAGES.get(job.stage, job.stage) or "Starting"
    if job.stage == "fit" and job.what:
        title += f": {job.what}"
    return title + (f", {job.done} of {job.of}" if job.stage == "views" and job.of else "")


def _format_time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    return f"about {minutes} min {seconds:02d} s left" if minutes else f"about {max(seconds, 1)} s left"


def render_warnings(texts: Iterable[str]) -> str:
    """Return warnings as a list under a heading; for example that the picture was reduced or turned.

    Its role is "note" and not "alert": the panel is renewed every second, and a screen reader would begin anew each
    time.
    """
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}.</li>" for text in texts)
    if not items:
        return ""
    heading = f'<h3 id="p360-warnings">{WARNING_SIGN}Warnings</h3>'
    return f'<div class="p360-warnings" role="note" aria-labelledby="p360-warnings">{heading}<ul>{items}</ul></div>'


def render_previews(job: Job, names: Sequence[str]) -> str:
    """Return the views so far in a grid, with empty cells for those to come."""
    if not names:
        return '<div class="p360-stage p360-empty"><p>Views appear here as they are made.</p></div>'
    remaining = max((job.of if job.stage == "views" else 0) - len(names), 0)
    images = "".join(f'<img src="{run_url(job.id, name)}" alt="View {i + 1}">' for i, name in enumerate(names))
    across = ceil((1.4 * (len(names) + remaining)) ** 0.5)  # columns, so that all fit into the box, which is wide
    return f'<div class="p360-stage p360-grid" style="--across:{across}">{images}{"<i></i>" * remaining}</div>'


def render_result(run: PastRun, views: Sequence[str]) -> str:
    """Return the head to turn, the files to download, and the contact sheet."""
    if PAGE in run.files:
        viewer = (
            f'<iframe class="p360-stage" src="{run_url(run.id, PAGE)}" sandbox="allow-scripts" allow="fullscreen" '
            f'title="The head in 3D"></iframe>'
        )
    else:
        viewer = _turntable(run.id, views)
    sheet = f'<a href="{run_url(run.id, SHEET)}" target="_blank" rel="noopener"><img class="p360-sheet" '
    sheet += f'src="{run_url(run.id, SHEET)}" alt="All views on one sheet"></a>'
    captions = {name: caption for name, caption in FILES.items() if name in run.files}
    links = [_link(run.id, name, caption, run.files[name]) for name, caption in captions.items()]
    links += [_link(run.id, ZIP, "All views and cameras", None)] * bool(views)
    return f"""{viewer}<h3>Files</h3><div class="p360-files">{"".join(links)}</div><h3>Contact sheet</h3>{sheet}"""


def _turntable(id: str, names: Sequence[str]) -> str:
    """Return the views as a turntable: one is visible at a time, and dragging changes which."""
    images = "".join(
        f'<img src="{run_url(id, name)}" alt="View {i + 1}" draggable="false"{" class=on" * (i == 0)}>'
        for i, name in enumerate(names)
    )
    return (
        f'<div class="p360-stage p360-turn" tabindex="0" role="img" aria-label="The head; drag to turn">{images}'
        "<span>Drag to turn<i>, or use the arrow keys</i></span></div>"
    )


def _link(id: str, name: str, caption: str, size: int | None) -> str:
    size_text = "zip" if size is None else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size / 1e3, 1):.0f} kB"
    return (
        f'<a href="{run_url(id, name)}" download="{name}"><b>{name}</b><span>{caption}</span>'
        f"<small>{size_text}</small></a>"
    )


def render_gallery(
    open_jobs: Sequence[Job], runs: Sequence[PastRun], pictures: Sequence[str | None], older: int
) -> str:
    """Return cards of the open jobs and the past runs."""
    cards = [_card(job.id, None, STATE_LABELS.get(job.state, job.state), "") for job in open_jobs]
    for run, picture in zip(runs, pictures, strict=True):
        views = f"{run.views} views" if run.views else "Views"
        cards.append(_card(run.id, picture, run.date, f"{views}, 3D head" if run.head else f"{views} only"))
    if not cards:
        return '<section class="p360-past"><h2>Runs</h2><p>Your runs will appear here.</p></section>'
    more = f"<p>{older} older runs are in the folder.</p>" if older else ""
    return f'<section class="p360-past"><h2>Runs</h2><div class="p360-cards">{"".join(cards)}</div>{more}</section>'


def _card(id: str, picture: str | None, title: str, caption: str) -> str:
    image = f'<img src="{run_url(id, picture)}" alt="" loading="lazy">' if picture else "<i></i>"
    return (
        f'<button type="button" data-run="{escape(id)}" title="{escape(id)}">{image}'
        f"<b>{escape(title)}</b><small>{escape(caption)}</small></button>"
    )
