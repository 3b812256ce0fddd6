"""The stage `fit`: one view sheet in, field, splats and mesh out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from portrait360.fit.corrections import corrected
from portrait360.fit.field import FieldFit, fit_field
from portrait360.fit.mesh import MeshFit, fit_mesh
from portrait360.fit.record import Record, digest
from portrait360.fit.splats import SplatFit, fit_splats, on_surface
from portrait360.geometry.field import Field
from portrait360.head import NAMES, Head
from portrait360.view_sheet import View, ViewSheet

PHOTO_RAYS = 2.0  # how much the photo's pixels count in the field beside those of other views
PHOTO_TURNS = 3  # how often it is shown to the splats while every view is shown once
PHOTO_TEXELS = 20_000.0  # how much it counts in the texture: it wins wherever it looks at more than an edge
LOOKS = 24  # views whose pictures of the field the splats begin on

OnStep = Callable[[str, int, int], None]  # what is worked on, steps done, steps in all


@dataclass(frozen=True)
class FitSettings:
    field: FieldFit = FieldFit()
    splats: SplatFit = SplatFit()
    mesh: MeshFit = MeshFit()

    def shorter(self, share: float) -> FitSettings:
        """The same with so much less work, and then with fewer samples a step, too, which costs .1 dB."""
        samples = self.field.samples * 2 // 3 if share < 1 else self.field.samples
        return replace(
            self,
            field=replace(self.field, steps=max(round(self.field.steps * share), 1), samples=samples),
            splats=replace(self.splats, steps=max(round(self.splats.steps * share), 1)),
        )


def fit_head(
    sheet: ViewSheet,
    settings: FitSettings = FitSettings(),  # noqa: B008 (frozen)
    *,
    folder: Path | None = None,
    wanted: Sequence[str] = NAMES,
    device: torch.device | str = "cpu",
    on_step: OnStep = lambda what, done, of: None,
) -> Head:
    """Each result is saved in `folder` once it is there; what a stopped run left there is taken up again."""
    record = Record(folder, digest(sheet), asdict(settings))
    done, corrections = record.begun()
    field = done.field
    if field is None:
        views, fixed = weighted(sheet, PHOTO_RAYS)
        counted = _counted(on_step, "field", settings.field.steps)
        field, corrections = fit_field(views, settings.field, fixed=fixed, device=device, on_step=counted)
        record.keep(Head(field=field), corrections)
    field = field.to(device)
    sheet = replace(sheet, views=corrected(sheet.views, corrections[: len(sheet.views)]))
    splats, mesh = done.splats, done.mesh
    if "splats" in wanted and splats is None:
        splats = _splats(field, sheet, settings.splats, device, on_step)
        record.keep(Head(splats=splats), corrections)
    if "mesh" in wanted and mesh is None:
        views, _ = weighted(sheet, PHOTO_TEXELS)
        parts = iter(range(1, 4))
        mesh = fit_mesh(field, views, settings.mesh, on_step=lambda _: on_step("mesh", next(parts), 3))
        record.keep(Head(mesh=mesh), corrections)
    return Head(field, splats, mesh)


def weighted(sheet: ViewSheet, weight: float) -> tuple[tuple[View, ...], int | None]:
    """All views, the photo last with its weight; and which one nothing may correct."""
    if sheet.reference is None:
        return sheet.views, None
    return (*sheet.views, replace(sheet.reference, weight=weight)), len(sheet.views)


def _splats(field: Field, sheet: ViewSheet, options: SplatFit, device: torch.device | str, on_step: OnStep):  # noqa: ANN202
    points, colours = seen_points(field, sheet.views)
    start = on_surface(points, colours, options.count, np.random.default_rng(options.seed))
    photo = () if sheet.reference is None else (sheet.reference,) * PHOTO_TURNS
    counted = _counted(on_step, "splats", options.steps)
    return fit_splats(start, (*sheet.views, *photo), options, device=device, on_step=counted)


def seen_points(field: Field, views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 3) and colours (n, 3) of what some of the views see of the field."""
    places, colours = [], []
    for view in views[:: max(len(views) // LOOKS, 1)]:
        rgb, alpha, depth = field.picture(view.camera, view.size)
        row, column = np.nonzero((depth > 0) & (alpha > 0.5))
        uv = np.stack([column + 0.5, row + 0.5], -1) / view.size
        places.append(view.camera.unproject(uv, depth[row, column]))
        colours.append(rgb[row, column])
    return np.concatenate(places), np.concatenate(colours)


def _counted(on_step: OnStep, what: str, total: int) -> Callable[[int, float], None]:
    return lambda step, loss: on_step(what, step + 1, total)
