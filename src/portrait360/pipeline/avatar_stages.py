"""The stages that write files straight from an avatar: mesh, splats, page, sheet and film."""

from __future__ import annotations

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_files import write_avatar_file
from portrait360.pipeline.export.avatar_glb.file import write_avatar_glb
from portrait360.pipeline.export.avatar_splats.build import splats_from_avatar
from portrait360.pipeline.export.contact_sheet import run_sheet, save_view_turntable
from portrait360.pipeline.export.html_viewer import save_viewer
from portrait360.pipeline.export.ply import write_ply
from portrait360.pipeline.export.splat_options import SplatFileOptions
from portrait360.pipeline.export.writer import open_head, write_head, write_splat_file
from portrait360.pipeline.memory_budget import BASE_BYTES
from portrait360.pipeline.options import MakeOptions
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.run import (
    AVATAR_MESH,
    AVATAR_PAGE,
    FILM,
    FITTED,
    FITTED_SPLATS,
    MESH,
    PAGE,
    SHEET,
    SOLIDS,
    SPLATS,
    Run,
)
from portrait360.pipeline.views.framing import frame_focal
from portrait360.pipeline.views.view_set import ViewSet
from portrait360.utils import memory
from portrait360.utils.images import save_picture


def run_avatar_mesh(
    run: Run, avatar: Avatar, *, formats: tuple[str, ...] = (), page: tuple[Portrait, str] | None = None
) -> None:
    """Write the avatar as a mesh with expressions, and in more of AVATAR_FORMATS.

    Beside a head that is fitted to other views, it has names and a page of its own; `page` is its photo and title.
    """
    mesh = run.folder / (AVATAR_MESH if page else MESH)
    steps = 1 + len(formats) + bool(page)

    def compute() -> None:
        write_avatar_glb(mesh, avatar)
        run.step("avatar", mesh.name, 1, steps)
        for i, name in enumerate(formats):
            file = write_avatar_file(run.folder, avatar, name)
            run.step("avatar", file.name, 2 + i, steps)
        if page:
            save_viewer(run.folder / AVATAR_PAGE, glb=mesh.read_bytes(), portrait=page[0], title=page[1])
            run.step("avatar", AVATAR_PAGE, steps, steps)

    inputs = {"file": mesh.name, "title": page and page[1], "formats": formats}
    outputs = (mesh.name, *SOLIDS, AVATAR_MESH, AVATAR_PAGE)  # earlier versions always wrote these
    run.stage("avatar", inputs, ("proxy",), compute, lambda: None, outputs=tuple(dict.fromkeys(outputs)))


def run_avatar_splats(run: Run, avatar: Avatar, options: MakeOptions) -> GaussianSplats:
    """Write the avatar as splats; what later stages draw is what the first file holds."""

    def compute() -> None:
        memory.require_memory("splats", BASE_BYTES["splats"], "leave splats out of `results=`")

        def on_view(done: int, total: int) -> None:
            run.step("splats", "view", done, total + total // 2)  # colouring them takes half as long again

        splats = splats_from_avatar(avatar, seed=options.seed, on_view=on_view)
        for name in options.splat_formats:
            write_splat_file(run.folder / f"head.{name}", splats, name, SplatFileOptions())

    def load() -> GaussianSplats:
        splats = open_head(run.folder / f"head.{options.splat_formats[0]}").splats
        assert splats is not None
        return splats

    inputs = {"seed": options.seed, "formats": options.splat_formats}
    return run.stage("splats", inputs, ("proxy",), compute, load, outputs=SPLATS)


def run_avatar_film(run: Run, avatar: Avatar, splats: GaussianSplats) -> None:
    """Write a turn around the splats, framed as the views are."""

    def compute() -> None:
        write_head(Head(splats=splats), run.folder, ("mp4",), focal=frame_focal(avatar))

    run.stage("film", {}, ("splats",), compute, lambda: None, outputs=(FILM,))


def run_avatar_page(run: Run, portrait: Portrait, splats: GaussianSplats | None, *, title: str, mesh: bool) -> None:
    """Write the page with the mesh, the splats or both, as soon as they are there."""

    def compute() -> None:
        glb = (run.folder / MESH).read_bytes() if mesh else None
        save_viewer(run.folder / PAGE, splats=splats, glb=glb, portrait=portrait, title=title)

    depends_on = [*["splats"] * (splats is not None), *["avatar"] * mesh]
    run.stage("page", {"title": title}, depends_on, compute, lambda: None, outputs=(PAGE,))


def run_avatar_files(run: Run, views: ViewSet, fitted: Head | None, *, film: bool) -> None:
    """Write the sheet, what was fitted to the views, and, if there is no film of splats, one of the views."""

    def compute() -> None:
        if film:
            save_view_turntable(run.folder / FILM, views)
        if fitted is not None:
            write_head(Head(field=fitted.field), run.folder, ("field",))
            assert fitted.splats is not None
            write_ply(run.folder / FITTED_SPLATS, fitted.splats)
        save_picture(run.folder / SHEET, run_sheet(views, None))

    depends_on = ["views"]
    depends_on += [] if fitted is None else ["refine" if "refine" in run.record["stages"] else "fit"]
    run.stage("files", {"film": film}, depends_on, compute, lambda: None, outputs=(SHEET, *FITTED, *[FILM] * film))
