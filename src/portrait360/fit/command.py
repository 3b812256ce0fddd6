"""What `portrait360 fit` does: find views, fit, tell."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from portrait360.errors import UserError
from portrait360.fit.head import FitSettings, fit_head
from portrait360.head import NAMES, device_of
from portrait360.progress import stage_bar
from portrait360.views import find_views

QUICK = 0.25


def fit_settings(seed: int, share: float = 1.0) -> FitSettings:
    """With so much of the usual work."""
    settings = FitSettings()
    return replace(
        settings, field=replace(settings.field, seed=seed), splats=replace(settings.splats, seed=seed)
    ).shorter(share)


def fit_folder(
    views: Path, output: Path, *, quick: bool, only: tuple[str, ...], seed: int, device: str | None
) -> str:
    """Gives the line that tells the user."""
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise UserError(f"A head has no {unknown[0]!r}; choose from {', '.join(NAMES)}.")
    chosen, sheet = device_of(device), find_views(views)
    settings = fit_settings(seed, QUICK if quick else 1)
    begin = time.perf_counter()
    with stage_bar() as advance:
        head = fit_head(sheet, settings, folder=output / "head", wanted=only or NAMES, device=chosen, on_step=advance)
    parts = [f"{len(head.splats):,} splats"] if head.splats else []
    parts += [f"a mesh of {len(head.mesh.triangles):,} faces"] if head.mesh else []
    took = time.perf_counter() - begin
    return (
        f"{views}: {', '.join(['a field', *parts])} from {len(sheet.all)} views in {took:.0f} s -> {output / 'head'}"
    )
