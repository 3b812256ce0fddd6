"""The stage `fit`: from a view set to a radiance field, splats and a mesh."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.volumes.radiance_field import FieldOptions, RadianceField
from portrait360.pipeline.reconstruction import RESULTS, check_results
from portrait360.pipeline.reconstruction.fit_record import FitRecord, hash_views
from portrait360.pipeline.reconstruction.gaussians import SplatFit, fit_splats, init_splats
from portrait360.pipeline.reconstruction.head import Head
from portrait360.pipeline.reconstruction.mesh import MeshFit, fit_mesh
from portrait360.pipeline.reconstruction.radiance_field import FieldFit, fit_field
from portrait360.pipeline.reconstruction.view_corrections import correct_views
from portrait360.pipeline.views.proxy_views import load_or_render_views
from portrait360.pipeline.views.view_set import View, ViewSet, require_views
from portrait360.utils.devices import select_device
from portrait360.utils.progress import ProgressCallback, ignore_progress, progress_bar

PHOTO_RAYS = 2.0  # weight of the photo's pixels in the field, where other views have 1
KNOWN_PHOTO_RAYS = 6.0  # the same where the views are renders of one surface, which agree with the photo
PHOTO_TURNS = 3  # times that the splats train on the photo for each time that they train on another view
PHOTO_TEXELS = 20_000.0  # weight of the photo in the texture: it wins everywhere but at grazing angles
USUAL_FIELD = FieldOptions()
FINE_FIELD = FieldOptions(levels=10, finest=512, rows=1 << 18)  # where no room is spent on places off the surface
SURFACE_VIEWS = 24  # views from which the field is rendered to place the first splats


@dataclass(frozen=True)
class FitSettings:
    field: FieldFit = FieldFit()
    splats: SplatFit = SplatFit()
    mesh: MeshFit = MeshFit()

    def scale_work(self, share: float) -> FitSettings:
        """Scale the number of steps; below 1, use fewer samples a step as well, which costs 0.1 dB."""
        samples = self.field.samples * 2 // 3 if share < 1 else self.field.samples
        return replace(
            self,
            field=replace(self.field, steps=max(round(self.field.steps * share), 1), samples=samples),
            splats=replace(self.splats, steps=max(round(self.splats.steps * share), 1)),
        )


def fit_head(
    view_set: ViewSet,
    settings: FitSettings = FitSettings(),  # noqa: B008 (frozen)
    *,
    folder: Path | None = None,
    results: Sequence[str] = RESULTS,
    device: torch.device | str = "cpu",
    on_step: ProgressCallback = ignore_progress,
) -> Head:
    """Fit the wanted results to a view set; splats and mesh are fitted to views corrected against the field.

    Each result is saved in `folder` as soon as it is fitted, and loaded from there if an earlier run of the same fit
    saved it.
    """
    require_views(len(view_set.all), "The view set")
    record = FitRecord(folder, hash_views(view_set), asdict(settings))
    saved, corrections = record.load()
    field = saved.field
    if field is None:
        known = view_set.surface is not None
        views, fixed = weight_views(view_set, KNOWN_PHOTO_RAYS if known else PHOTO_RAYS)
        on_field_step = _step_counter(on_step, "field", settings.field.steps)
        field, corrections = fit_field(
            views,
            settings.field.for_known_surface() if known else settings.field,
            fixed=fixed,
            sizes=FINE_FIELD if known else USUAL_FIELD,
            device=device,
            on_step=on_field_step,
            surface=view_set.surface,
        )
        record.save(Head(field=field), corrections)
    field = field.to(device)
    view_set = replace(view_set, views=correct_views(view_set.views, corrections[: len(view_set.views)]))
    splats, mesh = saved.splats, saved.mesh
    if "splats" in results and splats is None:
        splats = _fit_splats(field, view_set, settings.splats, device, on_step)
        record.save(Head(splats=splats), corrections)
    if "mesh" in results and mesh is None:
        views, _ = weight_views(view_set, PHOTO_TEXELS)
        parts = iter(range(1, 4))
        mesh = fit_mesh(field, views, settings.mesh, on_step=lambda _: on_step("mesh", next(parts), 3))
        record.save(Head(mesh=mesh), corrections)
    return Head(field, splats, mesh)


def weight_views(view_set: ViewSet, weight: float) -> tuple[tuple[View, ...], int | None]:
    """Return all views, the photo last with this weight, and the index of the view that must not be corrected."""
    if view_set.reference is None:
        return view_set.views, None
    return (*view_set.views, replace(view_set.reference, weight=weight)), len(view_set.views)


def _fit_splats(
    field: RadianceField, view_set: ViewSet, options: SplatFit, device: torch.device | str, on_step: ProgressCallback
) -> GaussianSplats:
    points, colours = sample_surface(field, view_set.views)
    start = init_splats(points, colours, options.count, np.random.default_rng(options.seed))
    photo = () if view_set.reference is None else (view_set.reference,) * PHOTO_TURNS
    on_splat_step = _step_counter(on_step, "splats", options.steps)
    return fit_splats(start, (*view_set.views, *photo), options, device=device, on_step=on_splat_step)


def sample_surface(field: RadianceField, views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 3) and colours (n, 3) of the field's surface, as seen from some of the views."""
    points, colours = [], []
    for view in views[:: max(len(views) // SURFACE_VIEWS, 1)]:
        rgb, alpha, depth = field.render_image(view.camera, view.size)
        row, column = np.nonzero((depth > 0) & (alpha > 0.5))
        uv = np.stack([column + 0.5, row + 0.5], -1) / view.size
        points.append(view.camera.unproject(uv, depth[row, column]))
        colours.append(rgb[row, column])
    return np.concatenate(points), np.concatenate(colours)


def _step_counter(on_step: ProgressCallback, stage: str, total: int) -> Callable[[int, float], None]:
    return lambda step, loss: on_step(stage, step + 1, total)


QUICK = 0.25  # share of the usual work in a quick fit


def fit_settings(seed: int, share: float = 1.0) -> FitSettings:
    """Return the usual settings with this seed and this share of the usual work."""
    settings = FitSettings()
    return replace(
        settings, field=replace(settings.field, seed=seed), splats=replace(settings.splats, seed=seed)
    ).scale_work(share)


def fit_folder(
    views: Path, output: Path, *, quick: bool, only: tuple[str, ...], seed: int, device: str | None
) -> str:
    """Fit the views of a folder, save the head in `output`/head, and return a summary for the user."""
    check_results(only)
    torch_device, view_set = select_device(device), load_or_render_views(views)
    settings = fit_settings(seed, QUICK if quick else 1)
    start = time.perf_counter()
    with progress_bar() as bar:
        head = fit_head(
            view_set,
            settings,
            folder=output / "head",
            results=only or RESULTS,
            device=torch_device,
            on_step=bar.update,
        )
    parts = [f"{len(head.splats):,} splats"] if head.splats else []
    parts += [f"a mesh of {len(head.mesh.triangles):,} faces"] if head.mesh else []
    seconds = time.perf_counter() - start
    results = ", ".join(["a field", *parts])
    return f"{views}: {results} from {len(view_set.all)} views in {seconds:.0f} s -> {output / 'head'}"
