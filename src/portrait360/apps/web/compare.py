"""Draws an avatar as the photo's camera sees it, for the slider between the photo and the head; a program."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from portrait360.apps.web.run_store import COMPARISON
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.array_types import Floats
from portrait360.utils.entry_point import run_entry_point
from portrait360.utils.images import over_grey, save_picture

SIDE = 512  # pixels


def write_comparison(folder: Path) -> None:
    """Write both pictures into a run's folder."""
    avatar = Avatar.load(folder / "proxy")
    view = avatar.render(avatar.camera, SIDE)
    (folder / COMPARISON[0]).parent.mkdir(exist_ok=True)
    portrait = Portrait.load(folder / "portrait")
    part = find_part(portrait.inside_photo)
    save_picture(folder / COMPARISON[0], over_grey(portrait.rgb, portrait.inside_photo)[part])
    save_picture(folder / COMPARISON[1], over_grey(view.rgb, view.mask)[part])


def find_part(inside: Floats) -> tuple[slice, slice]:
    """Return the rows and columns that the photo fills, at least for the most part: a crop may reach beyond it."""
    rows, columns = (
        np.flatnonzero(share >= 0.5 * share.max()) for share in (inside.mean(axis=1), inside.mean(axis=0))
    )
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


if __name__ == "__main__":
    run_entry_point(lambda: write_comparison(Path(sys.argv[1])))
