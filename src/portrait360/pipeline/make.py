"""One photo in, a 3D head out: the stages in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portrait360.geometry.camera_files import read_orbit
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.numba_jit import is_cached
from portrait360.geometry.rasterizer_kernels import draw
from portrait360.pipeline.avatar.avatar import Avatar, CoarseHead
from portrait360.pipeline.avatar.from_portrait import can_fit_avatar
from portrait360.pipeline.avatar_stages import (
    run_avatar_files,
    run_avatar_film,
    run_avatar_mesh,
    run_avatar_page,
    run_avatar_splats,
)
from portrait360.pipeline.eta import EtaEstimator
from portrait360.pipeline.loaded_head import LoadedHead
from portrait360.pipeline.options import FITTED_RESULTS, PICTURES, MakeOptions, content_hash
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.run import AVATAR_MESH, AVATAR_PAGE, FILM, FITTED, MESH, PAGE, SHEET, SOLIDS, SPLATS, Run
from portrait360.pipeline.stage_costs import costs_file
from portrait360.pipeline.stages import (
    run_files,
    run_fit,
    run_portrait,
    run_proxy,
    run_references,
    run_refine,
)
from portrait360.pipeline.view_stages import (
    render_views_ahead,
    run_back_photo,
    run_back_view,
    run_published_views,
    run_views,
    subject_inputs,
    view_synthesis_config,
)
from portrait360.pipeline.views.ahead import ViewsAhead
from portrait360.pipeline.views.published import ViewSynthesisConfig
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils.devices import select_device
from portrait360.utils.progress import EventHandler, ignore_event


@dataclass(frozen=True, eq=False)
class MakeResult:
    """What a run made; `head` is None where there is neither an avatar nor a fit, `views` where none are written."""

    folder: Path
    portrait: Portrait
    proxy: CoarseHead
    views: ViewSet | None
    head: LoadedHead | None


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
        overwrite: replace a run for another photo, and files of the same names, in `folder`.

    Raises:
        UserError: something cannot be read, written or made; its text is one plain sentence.
    """
    photo, folder, options = Path(photo), Path(folder), options.validate()
    _check_inputs(photo, options)
    published, overrules = view_synthesis_config(options), options.read_overrules()
    eta = EtaEstimator(options, on_event, costs_file(), compiles=not is_cached(draw))
    with Run.open(folder, str(content_hash(photo)), options.record(), eta, overwrite=overwrite) as run:
        portrait = run_portrait(run, photo, options)
        eta.plan(from_avatar=published is None and options.proxy_method == "avatar" and can_fit_avatar(portrait))
        others = run_references(run, options) + ([run_back_photo(run, options.back)] if options.back else [])
        proxy = run_proxy(run, portrait, others, options, overrules)
        if published is None and isinstance(proxy, Avatar):
            views, head = _run_avatar(run, portrait, proxy, options, title=photo.stem)
        else:
            views, head = _run_fitted(run, portrait, proxy, others, options, published, title=photo.stem)
    return MakeResult(folder, portrait, proxy, views, head)


def _run_avatar(
    run: Run, portrait: Portrait, avatar: Avatar, options: MakeOptions, *, title: str
) -> tuple[ViewSet | None, LoadedHead]:
    """Files straight from the avatar; a fit to its views only where it is asked for."""
    results, fits = options.chosen_results(from_avatar=True), options.fits(from_avatar=True)
    if not options.makes_views(from_avatar=True):
        _forget_views(run, options)
        splats = _run_avatar_head(run, portrait, avatar, options, results, title=title)
        return None, LoadedHead(run.folder, avatar, Head(), splats)
    with render_views_ahead(run, avatar, options, fits=fits) as ahead:
        splats = _run_avatar_head(run, portrait, avatar, options, results, ahead, title=title)
        if fits and (run.folder / PAGE).is_file():
            announce_page(run, PAGE, before="fit")
        if not options.back:
            run_back_view(run, portrait, avatar)
        views, fitted = run_views(run, portrait, avatar, options, fits=fits, ahead=ahead), None
    if splats is not None:
        run_avatar_film(run, avatar, splats)
    if fits:
        fitted = run_refine(run, run_fit(run, views, options, FITTED_RESULTS), options, FITTED_RESULTS)
    run_avatar_files(run, views, fitted, film=splats is None)
    return views, LoadedHead(run.folder, avatar, fitted or Head(), splats)


def _run_avatar_head(
    run: Run,
    portrait: Portrait,
    avatar: Avatar,
    options: MakeOptions,
    results: Sequence[str],
    ahead: ViewsAhead | None = None,
    *,
    title: str,
) -> GaussianSplats | None:
    """The avatar's mesh, its splats and the page with both, as far as they are wanted; return the splats."""
    if "mesh" in results:
        run_avatar_mesh(run, avatar, formats=options.avatar_formats)
    else:
        run.forget("avatar", (MESH, *SOLIDS, AVATAR_MESH, AVATAR_PAGE))
    splats = None
    if "splats" in results:
        if ahead is not None:
            ahead.stop()  # the views that splats are made of take its memory
        splats = run_avatar_splats(run, avatar, options)
    else:
        run.forget("splats", SPLATS)
        run.forget("film", ())
    if "mesh" in results or splats is not None:
        run_avatar_page(run, portrait, splats, title=title, mesh="mesh" in results)
    else:
        run.forget("page", (PAGE,))
    return splats


def _forget_views(run: Run, options: MakeOptions) -> None:
    """Remove what is made of views that are not wanted, and say which options have no effect without them."""
    for stage, outputs in (("views", ("views",)), ("film", (FILM,)), ("files", (SHEET, *FITTED))):
        run.forget(stage, outputs)
    if not options.back:
        run.forget("back", ("back",))
    if unused := options.find_unused_views():
        run.warn("views", f"`{unused}` has no effect, because no views are written; add {PICTURES} to `results=`")


def _run_fitted(
    run: Run,
    portrait: Portrait,
    proxy: CoarseHead,
    others: list[Portrait],
    options: MakeOptions,
    published: ViewSynthesisConfig | None,
    *,
    title: str,
) -> tuple[ViewSet, LoadedHead | None]:
    """A head fitted to its views: those of published networks, or of a head that is no avatar."""
    for stage in ("splats", "page", "film"):
        run.forget(stage, ())
    if isinstance(proxy, Avatar):
        run_avatar_mesh(run, proxy, page=(portrait, title))
        announce_page(run, AVATAR_PAGE, before="views")
    else:
        run.forget("avatar", (AVATAR_MESH, AVATAR_PAGE))
    results, fits = options.chosen_results(from_avatar=False), options.fits(from_avatar=False)
    if published is not None:
        subject = subject_inputs(published, portrait, proxy, others, run.folder / "proxy", options.hints)
        views = run_published_views(run, subject, published, options)
    else:
        if not options.back:
            run_back_view(run, portrait, proxy)
        views = run_views(run, portrait, proxy, options, fits=fits)
    head = run_refine(run, run_fit(run, views, options, results), options, results) if fits else None
    run_files(run, views, head, options, results)
    return views, None if head is None else LoadedHead(run.folder, None, head)


def announce_page(run: Run, name: str, *, before: str) -> None:
    """Say that the page can be opened, unless an earlier run has finished the slow stage that follows."""
    if before not in run.record["stages"]:
        run.announce("page", name)


def _check_inputs(photo: Path, options: MakeOptions) -> None:
    """Open whatever is named, so that a bad file is an error before anything is made."""
    options.check_pictures(photo)
    select_device(options.device)
    if options.orbit:
        read_orbit(options.orbit, 1.0)
    if options.refine:
        options.refine_request.validate()
