"""Refine the avatar of a run into another folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portrait360.pipeline.avatar import NAME
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.refinement.avatar_refinement import refine_with_priors
from portrait360.pipeline.refinement.denoising_guide import SmallGuide
from portrait360.pipeline.refinement.noise_resampling import RefineConfig
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256
from portrait360.utils.progress import ProgressCallback
from portrait360.utils.resume import RecordFile

ROUNDS = "rounds.json"  # beside the avatar: what it was made from, and after how many rounds


def hash_avatar(folder: Path) -> str:
    """Hash the avatar of a run."""
    path = folder / "proxy" / NAME
    if not path.is_file():
        raise UserError(
            f"{folder} contains no avatar; begin with a run of `portrait360 make` on a photo with a face."
        )
    return sha256(path)


def refine_avatar_folder(
    folder: Path,
    output: Path,
    view_set: ViewSet,
    guide: SmallGuide,
    config: RefineConfig,
    inputs: dict[str, Any],
    on_step: ProgressCallback,
) -> None:
    """Write the refined avatar of a run into `output`, and its views from the run's cameras.

    An interrupted refinement resumes after the last of its rounds."""
    begun, record = Avatar.load(folder / "proxy"), RecordFile(output / ROUNDS)
    known = record.load(inputs, results=("rounds",))
    first = int(known["rounds"]) if known else 0
    avatar = Avatar.load(output / "proxy") if first else begun

    def keep(done: int, of: int, avatar: Avatar) -> None:
        record.delete()
        avatar.save(output / "proxy")
        record.save(inputs, rounds=done)
        on_step("refine", done, of)

    on_step("refine", first, config.steps)
    if not config.steps:
        keep(0, 0, begun)
    avatar = refine_with_priors(begun, avatar, guide, config, keep, first)
    write_views(avatar, view_set, output)
    Portrait.load(folder / "portrait").save(output / "portrait")


def write_views(avatar: Avatar, view_set: ViewSet, output: Path) -> None:
    """Write the avatar's views from the cameras of a view set."""
    seen = ((view, avatar.render(view.camera, view.size)) for view in view_set.views)
    views = tuple(View(found.rgb, found.mask, view.camera) for view, found in seen)
    ViewSet(views, view_set.reference, view_set.seed).save(output / "views")
