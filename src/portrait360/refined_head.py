"""The stage `refine`: a fitted head, mended by what a view denoiser knows, becomes views again, and they a head."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from portrait360.checkpoints import TensorFile, load_single
from portrait360.errors import UserError
from portrait360.files import locked, read_limited, sha256, whole, writing_to
from portrait360.fit.command import QUICK, fit_settings
from portrait360.fit.head import FitSettings, fit_head
from portrait360.geometry.field import Field
from portrait360.head import Head
from portrait360.models.hybrid import HybridPriors
from portrait360.models.triplane import TriplaneConfig
from portrait360.refine.guide import SMALL_HYBRID, Guide, SmallGuide
from portrait360.refine.loop import Refining, refined
from portrait360.refine.start import begun
from portrait360.view_sheet import View, ViewSheet
from portrait360.views import own_views

WEIGHTS = Path(__file__).parent / "assets" / "small" / "hybrid.safetensors"
MADE_OF = "refined.json"  # beside the views
MAX_BYTES = 1 << 20
OnStep = Callable[[str, int, int], None]


def load_guide(path: Path | None) -> SmallGuide:
    """The hybrid priors of a file, or those of this package."""
    if path is None and not WEIGHTS.is_file():
        raise UserError(
            "This package holds no weights of the hybrid priors yet, so nothing can be refined without --weights; "
            "`portrait360 train run hybrid` makes some."
        )
    file, network = TensorFile(path or WEIGHTS), HybridPriors(SMALL_HYBRID)
    load_single(network, file, str(path or WEIGHTS))
    return SmallGuide(network=network.eval().requires_grad_(False))


def refined_sheet(
    field: Field,
    sheet: ViewSheet,
    guide: Guide,
    how: Refining,
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> ViewSheet:
    """The same cameras and the same photo; what they see of the refined field."""
    if sheet.reference is None:
        raise UserError("Refining needs the photo beside the views; begin with a run of `portrait360 make`.")
    if not how.steps:
        return sheet
    triplane = begun(field, TriplaneConfig(), torch.Generator().manual_seed(how.seed))
    triplane = refined(triplane, sheet.reference, guide, how, on_step)
    seen = [(*triplane.picture(view.camera, view.size)[:2], view.camera) for view in sheet.views]
    return replace(sheet, views=tuple(View(rgb, alpha, camera) for rgb, alpha, camera in seen))


def refine_folder(
    folder: Path,
    output: Path,
    *,
    weights: Path | None,
    how: Refining,
    quick: bool,
    on_step: OnStep = lambda what, done, of: None,
    settings: FitSettings | None = None,
) -> str:
    """Of a run, into another folder; gives the line that tells the user. A stopped one goes on: with the views, if
    they are there, or with the fit."""
    if output.resolve() == folder.resolve():
        raise UserError(f"{output} holds the head that is to be refined; choose another folder with -o.")
    sheet, begin = own_views(folder), time.perf_counter()
    if sheet is None:
        raise UserError(f"{folder} holds no views; begin with a run of `portrait360 make`.")
    field = Head.load(folder / "head").field
    if field is None:
        raise UserError(f"{folder} holds no fitted field; begin with a run of `portrait360 make`.")
    guide, made_of = load_guide(weights), _made_of(folder, weights or WEIGHTS, how)
    with writing_to(output):
        output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        if _said(output) != made_of:
            (output / MADE_OF).unlink(missing_ok=True)
            refined_sheet(field, sheet, guide, how, lambda done, of: on_step("refine", done, of)).save(
                output / "views"
            )
            with whole(output / MADE_OF) as temporary:
                temporary.write_text(json.dumps(made_of))
        settings = settings or fit_settings(how.seed, QUICK if quick else 1)
        fit_head(ViewSheet.load(output / "views"), settings, folder=output / "head", on_step=on_step)
    return f"{folder}: refined in {time.perf_counter() - begin:.0f} s -> {output}"


def _made_of(folder: Path, weights: Path, how: Refining) -> dict[str, object]:
    told = {"field": sha256(folder / "head" / "field.safetensors"), "weights": sha256(weights), **asdict(how)}
    return json.loads(json.dumps(told))


def _said(output: Path) -> object:
    try:
        return json.loads(read_limited(output / MADE_OF, MAX_BYTES))
    except (UserError, ValueError, RecursionError):
        return None
