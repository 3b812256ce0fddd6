"""One photo in, a 3D head out: the stages in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portrait360.geometry.camera_files import read_orbit
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.eta import EtaEstimator
from portrait360.pipeline.options import MakeOptions, content_hash
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.run import Run
from portrait360.pipeline.stages import (
    run_avatar,
    run_files,
    run_fit,
    run_portrait,
    run_proxy,
    run_references,
    run_refine,
)
from portrait360.pipeline.view_stages import (
    run_back_photo,
    run_back_view,
    run_published_views,
    run_views,
    subject_inputs,
    view_synthesis_config,
)
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils.devices import select_device
from portrait360.utils.images import load_picture
from portrait360.utils.progress import EventHandler, ignore_event


@dataclass(frozen=True, eq=False)
class MakeResult:
    """What a run made; `head` is None with `fit=False`."""

    folder: Path
    portrait: Portrait
    proxy: CoarseHead
    views: ViewSet
    head: Head | None


def make(
    photo: str | Path,
    folder: str | Path,
    options: MakeOptions = MakeOptions(),  # noqa: B008 (frozen)
    on_event: EventHandler = ignore_event,
    *,
    overwrite: bool = False,
) -> MakeResult:
    """Turn a photo into views, a 3D head and files, all in `folder`.

    Stages that an earlier run of the same photo and options finished are loaded instead of computed again.

    Args:
        photo: a picture with a head in it, of any format that Pillow reads.
        folder: where everything is written; created if it is not there.
        options: what to make, and how.
        on_event: called with every `Event`: progress, warnings, and the seconds that are left.
        overwrite: replace a run of another photo, and files of the same names, in `folder`.

    Raises:
        UserError: something cannot be read, written or made; its text is one plain sentence.
    """
    photo, folder, options = Path(photo), Path(folder), options.validate()
    _check_inputs(options)
    published, overrules = view_synthesis_config(options), options.read_overrules()
    eta = EtaEstimator(options, on_event)
    with Run.open(folder, str(content_hash(photo)), options.record(), eta, overwrite=overwrite) as run:
        portrait = run_portrait(run, photo, options)
        others = run_references(run, options) + ([run_back_photo(run, options.back)] if options.back else [])
        proxy = run_proxy(run, portrait, others, options, overrules)
        run_avatar(run, portrait, proxy, title=photo.stem)
        if published is not None:
            subject = subject_inputs(published, portrait, proxy, others, folder / "proxy", options.hints)
            views = run_published_views(run, subject, published, options)
        else:
            if not options.back:
                run_back_view(run, portrait, proxy)
            views = run_views(run, portrait, proxy, options)
        head = run_refine(run, run_fit(run, views, options), options) if options.fit else None
        run_files(run, views, head, options)
    return MakeResult(folder, portrait, proxy, views, head)


def _check_inputs(options: MakeOptions) -> None:
    """Open whatever the options name, so that a bad file is an error before anything is made."""
    select_device(options.device)
    for photo in (*options.references, options.back):
        if photo:
            load_picture(photo)
    if options.orbit:
        read_orbit(options.orbit, 1.0)
    if options.refine:
        options.refine_request.validate()
