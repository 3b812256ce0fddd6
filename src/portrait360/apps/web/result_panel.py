"""A run as HTML: its head, the slider between photo and head, hair to change, and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

from portrait360.apps.web.jobs import Job
from portrait360.apps.web.markup import escape, render_warnings, run_url
from portrait360.apps.web.requests import PICTURES
from portrait360.apps.web.run_store import COMPARISON, EVERYTHING, FILES, PAGE, SHEET, ZIP, PastRun, name_download

EMPTY = """<div class="p360-stage p360-empty"><p>The result will appear here.</p>
<p>Choose a photo with a clearly visible face, then press Make.</p></div>"""
HEAD_TO_COME = "Your 3D head will appear here as soon as it is ready."
COMING = """<p class="p360-note">You can already turn the head and try expressions. The other files are still being
written.</p>"""
STYLE_NAMES = {  # of hairstyles whose own names read badly
    "afro_small": "Small afro",
    "afro_medium": "Medium afro",
    "afro_big": "Big afro",
    "bob_fringe": "Bob with fringe",
    "braids_tied": "Tied-back braids",
    "curly_fringe": "Curls with fringe",
    "curly_short": "Short curls",
    "curly_top": "Curls on top",
    "flow": "Brushed-back flow",
    "locs_tied": "Tied-back locs",
    "long_fringe": "Long with fringe",
    "puff": "Afro puff",
    "puffs": "Two afro puffs",
    "swept": "Swept to one side",
    "undercut_back": "Undercut, combed back",
    "victory": "Victory rolls",
}
LENGTHS = ((0.5, "half as long"), (0.75, "shorter"), (1.0, "unchanged"), (1.35, "longer"), (2.0, "twice as long"))


def render_viewer(id: str) -> str:
    return (
        f'<iframe class="p360-stage" src="{run_url(id, PAGE)}" sandbox="allow-scripts allow-downloads" '
        f'allow="fullscreen" title="The head in 3D"></iframe>'
    )


def render_previews(job: Job, names: Sequence[str]) -> str:
    """Return the views so far in a grid, with empty cells for those to come."""
    if not names:
        said = "The pictures will appear here one by one." if job.kind == PICTURES else HEAD_TO_COME
        return f'<div class="p360-stage p360-empty"><p>{said}</p></div>'
    remaining = max((job.of if job.stage == "views" else 0) - len(names), 0)
    images = "".join(f'<img src="{run_url(job.id, name)}" alt="View {i + 1}">' for i, name in enumerate(names))
    across = ceil((1.4 * (len(names) + remaining)) ** 0.5)  # columns, so that all fit into the box, which is wide
    return f'<div class="p360-stage p360-grid" style="--across:{across}">{images}{"<i></i>" * remaining}</div>'


def render_turntable(id: str, names: Sequence[str]) -> str:
    """Return the views as a turntable: one is visible at a time, and dragging changes which."""
    images = "".join(
        f'<img src="{run_url(id, name)}" alt="View {i + 1}" draggable="false"{" class=on" * (i == 0)}>'
        for i, name in enumerate(names)
    )
    return (
        f'<div class="p360-stage p360-turn" tabindex="0" role="img" aria-label="The head; drag to turn">{images}'
        "<span>Drag to turn<i>, or use the arrow keys</i></span></div>"
    )


def render_result(run: PastRun, views: Sequence[str], styles: Sequence[str], warnings: Iterable[str] = ()) -> str:
    """Return what stands below the head of a run that is over."""
    sheet = f'<a href="{run_url(run.id, SHEET)}" target="_blank" rel="noopener"><img class="p360-sheet" '
    sheet += f'src="{run_url(run.id, SHEET)}" alt="All views on one sheet"></a>'
    captions = {name: caption for name, caption in FILES.items() if name in run.files}
    links = [_link(run, name, caption, run.files[name]) for name, caption in captions.items()]
    links += [_link(run, ZIP, "All views and cameras", None)] * bool(views)
    files = f'<h3>Files</h3><div class="p360-files">{"".join(links)}</div>' if links else ""
    sheet = f"<h3>From all sides</h3>{sheet}" if SHEET in run.files else ""
    said = render_warnings(warnings)
    return f"{_render_bar(run)}{said}{_render_comparison(run)}{_render_hair(run, styles)}{files}{sheet}"


def _render_bar(run: PastRun) -> str:
    """Return what can be done with the whole run."""
    title = escape(run.name or run.date)
    note = (
        '<p class="p360-note">This run was stopped early; the files written so far are kept.</p>'
        if run.is_partial
        else ""
    )
    buttons = [_action("finish", run.id, "Finish this run")] * (run.is_partial and bool(run.name))
    buttons += [_action("again", run.id, "Reuse this photo and these settings")] * bool(run.name)
    packed = escape(_name_download(run, EVERYTHING))
    share = f'<a href="{run_url(run.id, EVERYTHING)}" download="{packed}">Download everything</a>'
    buttons += [share, _action("delete", run.id, "Delete")]
    return f"""<div class="p360-bar-line"><strong title="{title}">{title}</strong>
<div class="p360-actions">{"".join(buttons)}</div></div>{note}"""


def _action(name: str, id: str, text: str) -> str:
    return f'<button type="button" data-do="{name}" data-run="{escape(id)}">{text}</button>'


def _render_comparison(run: PastRun) -> str:
    if not run.compares:
        return ""
    photo, head = (run_url(run.id, name) for name in COMPARISON)
    return f"""<h3>Compare with the photo</h3><div class="p360-compare" style="--cut:50%">
<img src="{head}" alt="The head"><img src="{photo}" alt="The photo"><i></i>
<input type="range" min="0" max="100" value="50"
aria-label="How much of the photo is shown"></div>"""


def _render_hair(run: PastRun, styles: Sequence[str]) -> str:
    """Return controls that make the head again with other hair."""
    if not (run.style and run.name and styles):
        return ""
    now = f"Keep the current style ({name_style(run.style).lower()})"
    options = f'<option value="">{escape(now)}</option>'
    options += "".join(f'<option value="{escape(style)}">{escape(name_style(style))}</option>' for style in styles)
    lengths = "".join(
        f'<option value="{factor:g}"{" selected" * (factor == 1)}>{text}</option>' for factor, text in LENGTHS
    )
    return f"""<h3>Change the hair</h3>
<div class="p360-hair"><label>Style<select data-style>{options}</select></label>
<label>Length<select data-length>{lengths}</select></label>{_action("hair", run.id, "Make a new head")}</div>
<p class="p360-note">This makes a new head; the current one stays in the list below.</p>"""


def name_style(style: str) -> str:
    """Return a hairstyle as the page names it."""
    return STYLE_NAMES.get(style, style.replace("_", " ").capitalize())


def _name_download(run: PastRun, name: str) -> str:
    return name_download(run.name, name) if run.name else name


def _link(run: PastRun, name: str, caption: str, size: int | None) -> str:
    size_text = "zip" if size is None else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size / 1e3, 1):.0f} kB"
    return (
        f'<a href="{run_url(run.id, name)}" download="{escape(_name_download(run, name))}"><b>{name}</b>'
        f"<span>{caption}</span><small>{size_text}</small></a>"
    )
