"""Progress and past runs as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from portrait360.apps.web.jobs import Job
from portrait360.apps.web.markup import escape, render_message, run_url
from portrait360.apps.web.run_store import PastRun, has_something

HEADING = """<header class="p360-head"><h1>portrait360</h1>
<p>Turn one portrait photo into a 3D head. Nothing leaves this machine.</p></header>"""
LONGEST_NAME = 24  # of a photo, on a button
STAGES = {
    "portrait": "Finding the head",
    "references": "Reading the other photos",
    "back": "Making the view from behind",
    "proxy": "Shaping the head",
    "avatar": "Writing the animatable mesh",
    "splats": "Making the splats",
    "page": "Writing the web page",
    "views": "Making the views",
    "film": "Rendering the video",
    "fit": "Fitting the 3D head",
    "refine": "Refining the 3D head",
    "files": "Writing the files",
}


def render_status(job: Job, before: int) -> str:
    """Return the progress of a job: a bar or its error message."""
    if job.state == "failed":
        return render_message(job.error)
    if job.state == "cancelled":
        lost = "" if job.folder.exists() else " It had not written any files yet."
        return render_message(f"The run was cancelled.{lost}", "mild")
    if job.state == "done":
        return ""
    if before:
        title, left = "Waiting", _count_before(before)
    else:
        title, left = _describe_progress(job), describe_time_left(job)
    title = f"{job.name}: {title[0].lower()}{title[1:]}" if job.name else title
    share = 100 * min(job.fraction_done(), 0.995)
    line = f'<div class="p360-line"><strong>{escape(title)}</strong><span>{left}</span></div>'
    lost = 0 if has_something(job.folder) else round(job.seconds_spent)  # seconds of work, if it were cancelled now
    return f"""<div class="p360-status" data-lost="{lost}">{line}
<div class="p360-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100"
aria-label="Progress"><i style="width:{share:.1f}%"></i></div></div>"""


def describe_job(job: Job, before: int) -> str:
    """Return the state of a job that is not over, for its card."""
    if before or job.state == "waiting":
        return f"waiting, {_count_before(before)}" if before else "waiting"
    progress = _describe_progress(job)
    return describe_time_left(job) or progress[0].lower() + progress[1:]


def name_cancel(job: Job | None) -> str:
    """Return what the button says that cancels a job: others may be waiting, so it names the photo."""
    name = job.name if job else ""
    return f"Cancel {name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + '…'}".strip()


def _count_before(before: int) -> str:
    return "1 run ahead" if before == 1 else f"{before} runs ahead"


def _describe_progress(job: Job) -> str:
    title = STAGES.get(job.stage, "Working") if job.stage else "Starting"
    if job.stage == "fit" and job.what:
        title += f": {job.what}"
    return title + (f", {job.done} of {job.of}" if job.stage == "views" and job.of else "")


def describe_time_left(job: Job) -> str:
    """Return a time no finer than what is known."""
    if job.countdown.is_late:
        return "taking longer than expected"
    seconds = job.seconds_left()
    if seconds is None:
        return ""
    if seconds >= 600:
        return f"about {ceil(seconds / 60)} min left"
    if seconds > 90:
        minutes, rest = divmod(10 * ceil(seconds / 10), 60)
        return f"about {minutes} min {rest} s left" if rest else f"about {minutes} min left"
    return f"about {5 * ceil(seconds / 5)} s left" if seconds > 5 else "a few seconds left"


def render_gallery(
    open_jobs: Sequence[Job], runs: Sequence[PastRun], pictures: Mapping[str, str | None], older: int
) -> str:
    """Return cards of the open jobs and the past runs; the pictures are named by the ids."""
    cards = []
    for before, job in enumerate(open_jobs):
        state = f'<span data-job="{escape(job.id)}">{escape(describe_job(job, before))}</span>'
        cards.append(_card(job.id, pictures.get(job.id), job.name or "Run", [escape(job.kind), state]))
    for run in runs:
        views = [f"{run.views} view{'s' * (run.views > 1)}"] * bool(run.views)
        made = ", ".join(["stopped early"] if run.is_partial else [run.kind, *views])
        lines = [escape(made), *[escape(run.date)] * bool(run.name)]
        cards.append(_card(run.id, pictures.get(run.id), run.name or run.date, lines))
    if not cards:
        return '<section class="p360-past"><h2>Your heads</h2><p>Heads you make will be listed here.</p></section>'
    heads, still = ("head is", "is") if older == 1 else ("heads are", "are")
    more = f"<p>{older} older {heads} not shown here but {still} still in the folder.</p>" if older else ""
    listed = f'<div class="p360-cards">{"".join(cards)}</div>{more}'
    return f'<section class="p360-past"><h2>Your heads</h2>{listed}</section>'


def _card(id: str, picture: str | None, title: str, lines: Sequence[str]) -> str:
    """Return a card; its lines are HTML."""
    image = f'<img src="{run_url(id, picture)}" alt="" loading="lazy">' if picture else "<i></i>"
    return (
        f'<button type="button" data-run="{escape(id)}" title="{escape(id)}">{image}'
        f"<b>{escape(title)}</b>{''.join(f'<small>{line}</small>' for line in lines)}</button>"
    )
