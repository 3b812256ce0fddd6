"""What each stage of a run reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from portrait360.models.presets import PRESETS
from portrait360.pipeline.avatar.avatar import Avatar, CoarseHead, load_coarse_head
from portrait360.pipeline.avatar.methods import build_proxy, cache_inputs, explain_no_effect
from portrait360.pipeline.avatar.overrules import Overrules
from portrait360.pipeline.export.contact_sheet import run_sheet, save_view_turntable
from portrait360.pipeline.export.writer import write_head
from portrait360.pipeline.memory_budget import BASE_BYTES, BYTES_PER_PIXEL
from portrait360.pipeline.options import CROP, MakeOptions
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.reference_photos import reference_portrait
from portrait360.pipeline.reconstruction.fit import QUICK, FitSettings, fit_head, fit_settings
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.refinement.stage import refine_folder
from portrait360.pipeline.run import WRITTEN, Run
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils import memory
from portrait360.utils.devices import select_device
from portrait360.utils.images import load_picture, save_picture
from portrait360.utils.parallel.threads import run_beside

FULL = 0.45  # of the work of `portrait360 fit`: photo to files in three minutes on two slow cores
FORMATS = {"field": ("field",), "mesh": ("glb",)}


def run_portrait(run: Run, photo: Path, options: MakeOptions) -> Portrait:
    folder = run.folder / "portrait"
    settings = {"face": options.face, "azimuth": options.azimuth, "elevation": options.elevation}
    settings["size"] = PRESETS[options.preset].crop

    def compute() -> None:
        make_portrait(load_picture(photo), **settings).save(folder)

    inputs = {"photo": run.record["photo"], **settings}
    portrait = run.stage("portrait", inputs, (), compute, lambda: Portrait.load(folder), outputs=("portrait",))
    for text in portrait.warnings:
        run.warn("portrait", text)
    return portrait


def run_references(run: Run, options: MakeOptions) -> list[Portrait]:
    """The user's other photos of the same head."""
    if not options.references:
        run.forget("references", ("references",))
        return []
    folders = [run.folder / "references" / f"{i}" for i in range(len(options.references))]

    def compute() -> None:
        for photo, folder in zip(options.references, folders, strict=True):
            reference_portrait(photo, CROP).save(folder)

    def load() -> list[Portrait]:
        return [Portrait.load(folder) for folder in folders]

    inputs = {"photos": run.record["settings"]["references"]}
    return run.stage("references", inputs, (), compute, load, outputs=("references",))


def run_proxy(
    run: Run, portrait: Portrait, others: Sequence[Portrait], options: MakeOptions, overrules: Overrules
) -> CoarseHead:
    depends_on = ["portrait", *["references"] * bool(options.references), *["back"] * bool(options.back)]
    folder = run.folder / "proxy"
    saved: list[Avatar] = []  # an avatar is the same as its files give it back

    def compute() -> None:
        memory.require_memory("proxy", BASE_BYTES["proxy"], "use a machine with more memory")
        head = build_proxy(
            portrait,
            others,
            method=options.proxy_method,
            seed=options.seed,
            faithful=options.faithful,
            folder=folder,
            device=select_device(options.device),
            on_step=lambda what, done, total, loss: run.step("proxy", what, done, total),
            overrules=overrules,
        )
        if isinstance(head, Avatar):
            run_beside(lambda: head.save(folder), head.prepare)
            saved.append(head)
        else:
            head.save(folder)

    inputs = cache_inputs(options.proxy_method, options.seed, options.faithful, overrules)
    head = run.stage(
        "proxy",
        inputs,
        depends_on,
        compute,
        lambda: saved.pop() if saved else load_coarse_head(folder),
        outputs=("proxy",),
        clear_outputs=False,
    )
    if warning := explain_no_effect(head, overrules):
        run.warn("proxy", warning)
    return head


def run_fit(run: Run, views: ViewSet, options: MakeOptions, results: Sequence[str]) -> Head:
    folder, share = run.folder / "head", QUICK if options.quick else FULL
    pixels = sum(view.size**2 for view in views.all)

    def fit(settings: FitSettings, device: str | None) -> Head:
        return fit_head(
            views,
            settings,
            folder=folder,
            results=results,
            device=select_device(device),
            on_step=lambda what, done, total: run.step("fit", what, done, total),
        )

    def compute() -> None:
        advice = "make fewer views, make smaller ones, or skip the fit with `fit=False`"
        memory.require_memory("fit", BASE_BYTES["fit"] + BYTES_PER_PIXEL * pixels, advice)
        settings = fit_settings(options.seed, share)
        attempts = [("", lambda: fit(settings, options.device))]
        if select_device(options.device).type == "cuda":
            fewer = replace(settings, field=replace(settings.field, samples=settings.field.samples // 4))
            attempts += [
                ("with fewer rays at a time", lambda: fit(fewer, options.device)),
                ("on the CPU", lambda: fit(settings, "cpu")),
            ]
        memory.with_oom_fallbacks(attempts, lambda text: run.warn("fit", text))

    inputs = {"seed": options.seed, "share": share, "results": results}
    return run.stage(
        "fit", inputs, ("views",), compute, lambda: Head.load(folder), outputs=("head",), clear_outputs=False
    )


def run_refine(run: Run, head: Head, options: MakeOptions, results: Sequence[str]) -> Head:
    """The refined head, beside the one that was fitted; later stages use it."""
    if not options.refine:
        run.forget("refine", ("refined",))
        return head
    folder, request = run.folder / "refined", options.refine_request

    def compute() -> None:
        memory.require_memory("refine", BASE_BYTES["refine"], "leave `refine=True` out")
        refine_folder(
            run.folder,
            folder,
            request,
            settings=fit_settings(options.seed, QUICK if options.quick else FULL),
            results=tuple(results),
            device=options.device,
            on_step=lambda what, done, total: run.step("refine", what, done, total),
        )

    def load() -> Head:
        return Head.load(folder / "head")

    inputs = request.cache_inputs()
    return run.stage("refine", inputs, ("fit",), compute, load, outputs=("refined",), clear_outputs=False)


def run_files(run: Run, views: ViewSet, head: Head | None, options: MakeOptions, results: Sequence[str]) -> None:
    """The files that other programs open of a head that was fitted to its views, and the sheet."""
    results = results if head else ()
    endings = {**FORMATS, "splats": options.splat_formats}
    formats = [name for result in results for name in endings[result]]
    formats += ["html"] * bool({"splats", "mesh"} & set(results)) + ["mp4"] * bool(results)
    numbers = iter(range(1, len(formats) + 3))

    def on_file(name: str) -> None:
        run.step("files", name, next(numbers), len(formats) + 2)

    def compute() -> None:
        if head is None:
            save_view_turntable(run.folder / "turntable.mp4", views)
            on_file("turntable.mp4")
        else:
            requested = Head(**{name: getattr(head, name) for name in results})
            write_head(requested, run.folder, formats, on_file=on_file)
        save_picture(run.folder / "sheet.png", run_sheet(views, head))
        on_file("sheet.png")

    depends_on = ("refine",) if options.refine else ("fit",) if head else ("views",)
    inputs = {"results": results, "formats": options.splat_formats}
    run.stage("files", inputs, depends_on, compute, lambda: None, outputs=WRITTEN)
