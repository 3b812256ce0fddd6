"""The stage `fit`: one view sheet in, field, splats and mesh out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from portrait360.files import whole, writing_to
from portrait360.fit.field import FieldFit, fit_field
from portrait360.fit.mesh import MeshFit, fit_mesh
from portrait360.fit.splats import SplatFit, fit_splats, on_surface
from portrait360.geometry.field import Field
from portrait360.head import NAMES, Head
from portrait360.view_sheet import View, ViewSheet

PHOTO_RAYS = 2.0  # how much the photo's pixels count in the field beside those of other views
PHOTO_TURNS = 3  # how often it is shown to the splats while every view is shown once
PHOTO_TEXELS = 50.0  # how much it counts in the texture
LOOKS = 24  # views whose pictures of the field the splats begin on
MARK = "fit.json"

OnStep = Callable[[str, int, int], None]  # what is worked on, steps done, steps in all


@dataclass(frozen=True)
class FitSettings:
    field: FieldFit = FieldFit()
    splats: SplatFit = SplatFit()
    mesh: MeshFit = MeshFit()

    def shorter(self, share: float) -> FitSettings:
        """The same with so much less work."""
        return replace(
            self,
            field=replace(self.field, steps=max(round(self.field.steps * share), 1)),
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
    done = _begun(folder, sheet, settings)
    field = done.field
    if field is None:
        views, fixed = weighted(sheet, PHOTO_RAYS)
        field, _ = fit_field(
            views,
            settings.field,
            fixed=fixed,
            device=device,
            on_step=_counted(on_step, "field", settings.field.steps),
        )
        done = _keep(Head(field=field), folder)
    field = field.to(device)
    splats, mesh = done.splats, done.mesh
    if "splats" in wanted and splats is None:
        splats = _splats(field, sheet, settings.splats, device, on_step)
        done = _keep(replace(done, splats=splats), folder)
    if "mesh" in wanted and mesh is None:
        views, _ = weighted(sheet, PHOTO_TEXELS)
        parts = iter(range(1, 4))
        mesh = fit_mesh(field, views, settings.mesh, on_step=lambda _: on_step("mesh", next(parts), 3))
        done = _keep(replace(done, mesh=mesh), folder)
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


def _keep(head: Head, folder: Path | None) -> Head:
    if folder is not None:
        head.save(folder)
    return head


def _begun(folder: Path | None, sheet: ViewSheet, settings: FitSettings) -> Head:
    """What is there of the same views and settings; anything else is removed."""
    if folder is None:
        return Head()
    own = json.dumps({"views": digest(sheet), "settings": asdict(settings)}, indent=1)
    mark = folder / MARK
    same = mark.is_file() and mark.read_text() == own
    files = [folder / f"{name}.safetensors" for name in NAMES]
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not same:
            for file in files:
                file.unlink(missing_ok=True)
            with whole(mark) as temporary:
                temporary.write_text(own)
    return Head.load(folder) if same and any(file.is_file() for file in files) else Head()


def digest(sheet: ViewSheet) -> str:
    """SHA-256 of all that a fit looks at."""
    total = hashlib.sha256()
    for view in sheet.all:
        for values in (view.rgb, view.alpha, view.camera.label(), view.known):
            if values is not None:
                total.update(np.ascontiguousarray(values, np.float32).tobytes())
    return total.hexdigest()
