"""What the page shows of jobs and runs, as HTML. Everything that comes from outside passes `text` or `address`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from math import ceil
from urllib.parse import quote

from portrait360.web.jobs import Job
from portrait360.web.shelf import FILES, PAGE, SHEET, ZIP, PastRun

HEADING = """<header class="p360-head"><h1>portrait360</h1>
<p>One portrait in, a head that can be seen from all sides out. Nothing leaves this machine.</p></header>"""
EMPTY = """<div class="p360-stage p360-empty"><p>The head appears here.</p>
<p>Choose a photo in which a face can be seen well, then press Make.</p></div>"""
STAGES = {
    "portrait": "Finding the head",
    "references": "Looking at the other photos",
    "back": "Looking from behind",
    "proxy": "Shaping the head",
    "views": "Making the views",
    "fit": "Fitting the 3D head",
    "files": "Writing the files",
}
MARKS = {"waiting": "Waiting", "running": "At work"}


def text(said: str) -> str:
    """As it is read; the page's templates find nothing in it that they would fill in."""
    marks = {"{": "&#123;", "}": "&#125;", "$": "&#36;", "@": "&#64;", "`": "&#96;"}
    return "".join(marks.get(letter, letter) for letter in html.escape(said))


def address(id: str, name: str) -> str:
    return f"/runs/{quote(id, safe='')}/{quote(name)}"


def sentence(said: str, kind: str = "bad") -> str:
    return f'<div class="p360-said p360-{kind}" role="alert">{text(said)}</div>'


def status(job: Job, before: int) -> str:
    """Where a job stands."""
    if job.state == "failed":
        return sentence(job.sentence)
    if job.state == "cancelled":
        return sentence("The run was cancelled; nothing of it is kept.", "mild")
    if job.state == "done":
        return _notes(job)
    if before:
        title, left = "Waiting", "one run comes first" if before == 1 else f"{before} runs come first"
    else:
        title, left = _doing(job), _left(job.left())
    share = 100 * min(job.share(), 0.995)
    return f"""<div class="p360-status"><div class="p360-line"><strong>{text(title)}</strong><span>{left}</span></div>
<div class="p360-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100"
aria-label="Progress"><i style="width:{share:.1f}%"></i></div></div>{_notes(job)}"""


def _doing(job: Job) -> str:
    title = STAGES.get(job.stage, job.stage) or "Starting"
    if job.stage == "fit" and job.what:
        title += f": {job.what}"
    return title + (f", {job.done} of {job.of}" if job.stage == "views" and job.of else "")


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes} min {rest:02d} s left" if minutes else f"about {max(rest, 1)} s left"


def _notes(job: Job) -> str:
    """A picture may have been reduced, or turned: who asked may want to know."""
    items = "".join(f"<li>{text(note[:1].upper() + note[1:])}.</li>" for note in job.notes)
    return f'<ul class="p360-notes">{items}</ul>' if items else ""


def previews(job: Job, names: Sequence[str]) -> str:
    """Views as they come, in the places that they will have."""
    if not names:
        return '<div class="p360-stage p360-empty"><p>Views appear here as they are made.</p></div>'
    rest = max((job.of if job.stage == "views" else 0) - len(names), 0)
    shown = "".join(f'<img src="{address(job.id, name)}" alt="View {i + 1}">' for i, name in enumerate(names))
    across = ceil((1.4 * (len(names) + rest)) ** 0.5)  # so that all fit into the box, which is wider than high
    return f'<div class="p360-stage p360-grid" style="--across:{across}">{shown}{"<i></i>" * rest}</div>'


def result(run: PastRun, views: Sequence[str]) -> str:
    """The head to turn, the sheet, and everything to take away."""
    if PAGE in run.files:
        turn = (
            f'<iframe class="p360-stage" src="{address(run.id, PAGE)}" sandbox="allow-scripts" allow="fullscreen" '
            f'title="The head in 3D"></iframe>'
        )
    else:
        turn = _turner(run.id, views)
    sheet = f'<a href="{address(run.id, SHEET)}" target="_blank" rel="noopener"><img class="p360-sheet" '
    sheet += f'src="{address(run.id, SHEET)}" alt="All views on one sheet"></a>'
    names = {name: words for name, words in FILES.items() if name in run.files}
    links = [_link(run.id, name, words, run.files[name]) for name, words in names.items()]
    links += [_link(run.id, ZIP, "All views and cameras", None)] * bool(views)
    return f"""{turn}<h3>Files</h3><div class="p360-files">{"".join(links)}</div><h3>Sheet</h3>{sheet}"""


def _turner(id: str, names: Sequence[str]) -> str:
    """Views alone turn, too: one of them is seen at a time, and a hand that moves over them goes around."""
    shown = "".join(
        f'<img src="{address(id, name)}" alt="View {i + 1}" draggable="false"{" class=on" * (i == 0)}>'
        for i, name in enumerate(names)
    )
    return (
        f'<div class="p360-stage p360-turn" tabindex="0" role="img" aria-label="The head; drag to turn">{shown}'
        "<span>Drag to turn<i>, or use the arrow keys</i></span></div>"
    )


def _link(id: str, name: str, words: str, size: int | None) -> str:
    about = "" if size is None else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size / 1e3, 1):.0f} kB"
    return (
        f'<a href="{address(id, name)}" download="{name}"><b>{name}</b><span>{words}</span>'
        f"<small>{about or 'zip'}</small></a>"
    )


def gallery(open_jobs: Sequence[Job], runs: Sequence[PastRun], pictures: Sequence[str | None], older: int) -> str:
    """What is at work, and all that was made before."""
    cards = [_card(job.id, None, MARKS.get(job.state, job.state), "") for job in open_jobs]
    for run, picture in zip(runs, pictures, strict=True):
        about = f"{run.views} views" if run.views else "Views"
        cards.append(_card(run.id, picture, run.begun, f"{about}, 3D head" if run.head else f"{about} only"))
    if not cards:
        return '<section class="p360-past"><h2>Runs</h2><p>Whatever you make is kept here.</p></section>'
    more = f"<p>{older} older ones are in the folder.</p>" if older else ""
    return f'<section class="p360-past"><h2>Runs</h2><div class="p360-cards">{"".join(cards)}</div>{more}</section>'


def _card(id: str, picture: str | None, title: str, about: str) -> str:
    image = f'<img src="{address(id, picture)}" alt="" loading="lazy">' if picture else "<i></i>"
    return (
        f'<button type="button" data-run="{text(id)}" title="{text(id)}">{image}'
        f"<b>{text(title)}</b><small>{text(about)}</small></button>"
    )
