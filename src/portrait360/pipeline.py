"""The stages in order: one photo in, a head that can be seen from all sides out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from portrait360 import memory
from portrait360.cameras import Camera, look_at, orbit
from portrait360.completer import find_proxy, made_by
from portrait360.export.head import write_head
from portrait360.files import sha256
from portrait360.fit.command import QUICK, fit_settings
from portrait360.fit.head import FitSettings, fit_head
from portrait360.head import Head, device_of
from portrait360.images import load_picture, save_picture
from portrait360.models.presets import PRESETS
from portrait360.more_photos import BEHIND, back_portrait, reference_portrait, seen_behind
from portrait360.network_stages import check_memory, made_with, source_of, way_of
from portrait360.network_views import Source, Way, network_views, view_from_behind
from portrait360.orbit_file import read_orbit
from portrait360.portrait import Portrait, make_portrait
from portrait360.progress import Event, Tell
from portrait360.proxy import Proxy
from portrait360.refined_head import refine_folder
from portrait360.run import WRITTEN, Run
from portrait360.sheet import run_film, run_sheet
from portrait360.small_views import STEPS, load_views, shipped, small_views
from portrait360.time_left import TimeLeft
from portrait360.view_sheet import View, ViewSheet
from portrait360.views import proxy_views, usual_cameras, with_photo
from portrait360.wish import CROP, Wish, content

USUAL = 0.45  # of the work of `portrait360 fit`: photo to files in three minutes on two slow cores
FORMATS = {"field": ("field",), "splats": ("ply",), "mesh": ("glb",)}
FEW = 12  # cameras
PIXEL = 120  # bytes that a fit needs for a pixel of its views
BASE = {
    "proxy": 300 << 20,
    "views": 150 << 20,
    "fit": 700 << 20,
    "refine": 2 << 30,
}  # bytes that a stage needs besides, and torch and the networks


@dataclass(frozen=True, eq=False)
class Made:
    """What a run has made; `head` is None if none was asked for."""

    folder: Path
    portrait: Portrait
    proxy: Proxy
    views: ViewSheet
    head: Head | None


def make(
    photo: str | Path,
    folder: str | Path,
    wish: Wish = Wish(),  # noqa: B008 (frozen)
    tell: Tell = lambda event: None,
    *,
    over: bool = False,
) -> Made:
    """The whole way. What a stopped run of the same photo and wish has finished is taken up again."""
    photo, folder, wish = Path(photo), Path(folder), wish.checked()
    device_of(wish.device)
    for other in (*wish.references, wish.back):
        if other:
            load_picture(other)  # what cannot be opened is told before anything is made
    if wish.orbit:
        read_orbit(wish.orbit, 1.0)
    way = way_of(wish)
    with Run.opened(folder, str(content(photo)), wish.settings(), TimeLeft(wish, tell), over=over) as run:
        portrait = _portrait(run, photo, wish)
        others = _references(run, wish) + ([_photo_from_behind(run, wish.back)] if wish.back else [])
        proxy = _proxy(run, portrait, others, wish)
        if way is not None:
            source = source_of(way, portrait, proxy, others, folder / "proxy")
            views = _views_by_network(run, source, way, wish)
        else:
            if not wish.back:
                _proxy_from_behind(run, portrait, proxy)
            views = _views(run, portrait, proxy, wish)
        head = _refined(run, _head(run, views, wish), wish) if wish.fit else None
        _files(run, views, head, wish)
    return Made(folder, portrait, proxy, views, head)


def _portrait(run: Run, photo: Path, wish: Wish) -> Portrait:
    place = run.folder / "portrait"
    asked = {"face": wish.face, "azimuth": wish.azimuth, "elevation": wish.elevation}
    asked["size"] = PRESETS[wish.preset].crop

    def work() -> None:
        make_portrait(load_picture(photo), **asked).save(place)

    made_of = {"photo": run.record["photo"], **asked}
    portrait = run.stage("portrait", made_of, (), work, lambda: Portrait.load(place), places=("portrait",))
    for note in portrait.notes:
        run.tell(Event("portrait", "note", note))
    return portrait


def _references(run: Run, wish: Wish) -> list[Portrait]:
    """The user's other photos of the same head."""
    places = [run.folder / "references" / f"{i}" for i in range(len(wish.references))]

    def work() -> None:
        for photo, place in zip(wish.references, places, strict=True):
            reference_portrait(photo, CROP).save(place)

    if not places:
        run.forget("references", ("references",))
        return []
    made_of = {"photos": run.record["settings"]["references"]}
    load = lambda: [Portrait.load(place) for place in places]  # noqa: E731 (one line says it)
    return run.stage("references", made_of, (), work, load, places=("references",))


def _photo_from_behind(run: Run, photo: Path) -> Portrait:
    place = run.folder / "back"
    work = lambda: back_portrait(photo, CROP).save(place)  # noqa: E731
    return run.stage(
        "back", {"photo": run.record["settings"]["back"]}, (), work, lambda: Portrait.load(place), places=("back",)
    )


def _proxy(run: Run, portrait: Portrait, others: Sequence[Portrait], wish: Wish) -> Proxy:
    needs = ["portrait", *["references"] * bool(wish.references), *["back"] * bool(wish.back)]
    place = run.folder / "proxy"

    def work() -> None:
        memory.check("proxy", BASE["proxy"], "use a machine with more memory")
        proxy = find_proxy(
            portrait,
            others,
            method=wish.proxy_method,
            seed=wish.seed,
            faithful=wish.faithful,
            folder=place,
            device=device_of(wish.device),
            on_step=lambda what, done, of, loss: run.tell(Event("proxy", "step", what, done, of)),
        )
        proxy.save(place)

    made_of = made_by(wish.proxy_method, wish.seed, wish.faithful)
    return run.stage("proxy", made_of, needs, work, lambda: Proxy.load(place), places=("proxy",), fresh=False)


def _proxy_from_behind(run: Run, portrait: Portrait, proxy: Proxy) -> Portrait:
    """Without a photo from behind, the view from there is the proxy's."""
    place, camera = run.folder / "back", Camera(look_at(BEHIND), portrait.camera.focal)

    def work() -> None:
        seen = proxy.render(camera, CROP)
        seen_behind(View(seen.rgb, seen.mask, camera), portrait).save(place)

    return run.stage("back", {"size": CROP}, ("proxy",), work, lambda: Portrait.load(place), places=("back",))


def _views(run: Run, portrait: Portrait, proxy: Proxy, wish: Wish) -> ViewSheet:
    place, focal = run.folder / "views", portrait.camera.focal
    high = wish.fit and not wish.orbit  # the fit wants the crown closed
    cameras = read_orbit(wish.orbit, focal) if wish.orbit else usual_cameras(
        wish.views, wish.orbit_elevation, focal, high=high
    )  # fmt: skip

    if wish.fit and len(cameras) < FEW:
        words = f"{len(cameras)} cameras are few for a head; between them it may look torn, {FEW} and more are better"
        run.tell(Event("views", "note", words))

    def show(i: int, of: int, view: View) -> None:
        save_picture(place / f"{i:03d}.png", view.rgb, view.alpha)  # to be looked at while others are made
        run.tell(Event("views", "step", "view", i + 1, of))

    def work() -> None:
        memory.check("views", BASE["views"] + PIXEL * wish.pixels**2 * len(cameras), "ask for fewer --views")
        place.mkdir()
        if wish.denoised:
            told = lambda done, of: run.tell(Event("views", "step", "noise level", done, of))  # noqa: E731
            settings = {"size": wish.pixels, "seed": wish.seed, "steps": wish.steps or STEPS}
            views = small_views(portrait, proxy, cameras, load_views(shipped()), **settings, on_step=told)
            with_photo(views, portrait, proxy, wish.seed).save(place)
        else:
            proxy_views(portrait, proxy, cameras, size=wish.pixels, seed=wish.seed, on_view=show).save(place)

    network = {"weights": sha256(shipped()), "steps": wish.steps or STEPS} if wish.denoised else {}
    made_of = {
        **network,
        "preset": wish.preset,
        "seed": wish.seed,
        "size": wish.pixels,
        "cameras": [[*map(float, camera.label())] for camera in cameras],
    }
    needs = ("portrait", "proxy", "back")
    return run.stage("views", made_of, needs, work, lambda: ViewSheet.load(place), places=("views",))


def _views_by_network(run: Run, source: Source, way: Way, wish: Wish) -> ViewSheet:
    """And the one from behind, which they are shown, if there is no photo from there."""
    place, behind, focal = run.folder / "views", run.folder / "back", way.preset.focal
    assert focal is not None
    told = lambda stage: lambda what, done, of: run.tell(Event(stage, "step", what, done, of))  # noqa: E731
    cameras = read_orbit(wish.orbit, focal) if wish.orbit else orbit(
        wish.views, elevation=wish.orbit_elevation, focal=focal
    )  # fmt: skip
    needs, back = ["portrait", "proxy"], None

    def from_behind() -> None:
        check_memory("back", way, way.preset.back or "", 1)
        seen_behind(view_from_behind(source, way, told("back")), source.portrait).save(behind)

    if way.preset.back and not wish.back:
        made_of = made_with(way, way.preset.back)
        back = run.stage("back", made_of, needs, from_behind, lambda: Portrait.load(behind), places=("back",))
    elif wish.back:
        back, source = Portrait.load(behind), replace(source, others=source.others[:-1])
    else:
        run.forget("back", ("back",))

    def work() -> None:
        check_memory("views", way, way.preset.weights[0], len(cameras))
        network_views(source, back, cameras, way, told("views")).save(place)

    made_of = {
        **made_with(way, way.preset.weights[0]),
        "cameras": [[*map(float, camera.label())] for camera in cameras],
    }
    needs += ["back"] * (back is not None) + ["references"] * bool(wish.references)
    return run.stage("views", made_of, needs, work, lambda: ViewSheet.load(place), places=("views",))


def _head(run: Run, views: ViewSheet, wish: Wish) -> Head:
    place, share = run.folder / "head", QUICK if wish.quick else USUAL
    pixels = sum(view.size**2 for view in views.all)

    def work() -> None:
        memory.check("fit", BASE["fit"] + PIXEL * pixels, "ask for fewer --views or a smaller --size, or --no-fit")
        settings = fit_settings(wish.seed, share)
        ways = [("", lambda: fit(settings, wish.device))]
        if device_of(wish.device).type == "cuda":
            fewer = replace(settings, field=replace(settings.field, samples=settings.field.samples // 4))
            ways += [
                ("with fewer rays at a time", lambda: fit(fewer, wish.device)),
                ("on the CPU", lambda: fit(settings, "cpu")),
            ]
        memory.lighter(ways, lambda words: run.tell(Event("fit", "note", words)))

    def fit(settings: FitSettings, device: str | None) -> Head:
        return fit_head(
            views,
            settings,
            folder=place,
            wanted=wish.results,
            device=device_of(device),
            on_step=lambda what, done, of: run.tell(Event("fit", "step", what, done, of)),
        )

    made_of = {"seed": wish.seed, "share": share, "results": wish.results}
    return run.stage("fit", made_of, ("views",), work, lambda: Head.load(place), places=("head",), fresh=False)


def _refined(run: Run, head: Head, wish: Wish) -> Head:
    """Beside the head that was fitted; from here on it is the run's."""
    place, asked = run.folder / "refined", wish.refinery
    if not wish.refine:
        run.forget("refine", ("refined",))
        return head

    def work() -> None:
        memory.check("refine", BASE["refine"], "leave --refine away")
        told = lambda what, done, of: run.tell(Event("refine", "step", what, done, of))  # noqa: E731
        settings = fit_settings(wish.seed, QUICK if wish.quick else USUAL)
        refine_folder(
            run.folder, place, asked, settings=settings, wanted=wish.results, device=wish.device, on_step=told
        )

    load = lambda: Head.load(place / "head")  # noqa: E731 (one line says it)
    return run.stage("refine", asked.made_of(), ("fit",), work, load, places=("refined",), fresh=False)


def _files(run: Run, views: ViewSheet, head: Head | None, wish: Wish) -> None:
    """What anyone can open."""
    results = wish.results if wish.fit else ()
    formats = [name for result in results for name in FORMATS[result]]
    formats += ["html"] * bool({"splats", "mesh"} & set(results)) + ["mp4"] * bool(results)

    def work() -> None:
        count = iter(range(1, len(formats) + 3))
        step = lambda name: run.tell(Event("files", "step", name, next(count), len(formats) + 2))  # noqa: E731
        if head is None:
            run_film(run.folder / "turntable.mp4", views)
            step("turntable.mp4")
        else:
            shown = Head(**{name: getattr(head, name) for name in results})
            write_head(shown, run.folder, formats, on_file=step)
        save_picture(run.folder / "sheet.png", run_sheet(views, head))
        step("sheet.png")

    needs = ("refine",) if wish.refine else ("fit",) if head else ("views",)
    run.stage("files", {"results": results}, needs, work, lambda: None, places=WRITTEN)
