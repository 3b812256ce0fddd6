"""Fit the strands of a hairstyle to a photo: its outline, its depth, its hairline, and nothing astray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.behind import lead_behind
from portrait360.pipeline.avatar.hair.bends import bend_locks, measure_bends
from portrait360.pipeline.avatar.hair.bridge import bridge_gap
from portrait360.pipeline.avatar.hair.buns import find_masses, hide_masses
from portrait360.pipeline.avatar.hair.cover import cover_skin
from portrait360.pipeline.avatar.hair.crown import cover_whorl, fill_crown
from portrait360.pipeline.avatar.hair.curl_size import CurlSize
from portrait360.pipeline.avatar.hair.depth import (
    close_gap,
    drape,
    drop_loops,
    drop_strays,
    find_hanging,
    find_side_reach,
    recede,
    settle_behind,
    tidy_nape,
)
from portrait360.pipeline.avatar.hair.drawn import tauten_edge
from portrait360.pipeline.avatar.hair.edges import drop_islands, taper_edges
from portrait360.pipeline.avatar.hair.ends import end_strands, fray_ends
from portrait360.pipeline.avatar.hair.grade import grade_back
from portrait360.pipeline.avatar.hair.line import soften_line
from portrait360.pipeline.avatar.hair.line_hairs import grow_line_hairs
from portrait360.pipeline.avatar.hair.locks import form_locks
from portrait360.pipeline.avatar.hair.nape import grow_nape
from portrait360.pipeline.avatar.hair.outline import (
    clean_hair,
    make_frame,
    meet_outline,
    trace_outline,
    trim_strands,
)
from portrait360.pipeline.avatar.hair.profile import round_profile
from portrait360.pipeline.avatar.hair.ringlets import wind
from portrait360.pipeline.avatar.hair.split import split_strands
from portrait360.pipeline.avatar.hair.texture import curl_tied, read_grain
from portrait360.pipeline.avatar.hair.top import hold_within_outline
from portrait360.pipeline.avatar.hair.undercoat import STEPS, lay_undercoat
from portrait360.pipeline.avatar.hair.waves import Waves, sway
from portrait360.pipeline.avatar.hair.wisps import fray_edges
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.parameters import Wear
from portrait360.synth.scene import Strands
from portrait360.synth.wear.hat_fit import fit_hat
from portrait360.synth.wear.mantles import Mantle
from portrait360.synth.wear.shells import Shell
from portrait360.utils.image_ops import smoothstep

HELD = 0.035  # canonical: strands that begin further than this from the skin belong to a bun
BETWEEN = 0.5  # share of the strands beside the parting over a shoulder that fall down on it
BENEATH, WIDER, FREED = 0.35, 0.3, (1.2, 1.9)
"""Share of a hat's thickness; head heights that hair may stand off further per angle to the hat's edge; shares of
that angle at which it is free."""
SHORT = -0.20  # height that no strand of short hair reaches


def fit_strands(
    strands: Sequence[Strands],
    head: Head,
    photo: Photo,
    *,
    trust: float = 1.0,
    waves: Waves | None = None,
    curls: CurlSize | None = None,
    end: float | None = None,
) -> list[Strands]:
    """Return strands that agree with the photo, and hang in waves.

    `trust` (0..1) is how far they may be moved to meet its outline; below `end`, a height, none hang.
    """
    groups = [group for group in strands if len(group.points)]
    held = [group for group in groups if _is_held(group, head)]
    loose = [group for group in groups if not _is_held(group, head)]
    if not loose:
        return groups
    loose = loose if end is None else end_strands(loose, end)
    is_short = all(group.points[..., 1].min() > SHORT for group in loose)
    seen = hide_masses(photo, find_masses(photo, head)) if held else photo
    if held:
        loose = [drop_loops(group, head) for group in loose]
    loose = meet_outline(loose, head, seen, trust=trust)
    loose = [recede(group if held else close_gap(group), head, photo.camera) for group in loose]
    loose = round_profile(loose, head, photo.camera, find_side_reach(loose, head))
    bends = 0.0 if held or waves or curls else measure_bends(photo)
    if bends > 0:  # strands leave the outline when they bend
        loose = meet_outline([bend_locks(group, head, bends, 0) for group in loose], head, seen, trust=trust)
    loose = loose if held else fill_crown(loose, head)
    if held:
        grain = read_grain(photo)[0]
        loose = [tauten_edge(curl_tied(group, head, grain), head) for group in loose]
    # hair under tension lies as it is drawn, and is densest at its knot
    loose = (
        trim_strands(loose, head, photo)
        if held
        else _arrange(loose, head, photo, waves, curls, trust=trust, is_short=is_short)
    )
    bridge = [group for group in trim_strands(bridge_gap(loose, head, photo), head, photo) if len(group.points)]
    nape = grow_nape(loose, head) if is_short and not held else []
    undercoat = trim_strands([*nape, *lay_undercoat([*loose, *bridge], head)], head, photo)
    cover = trim_strands(cover_skin([*loose, *held], head, photo, lies=bool(held)), head, photo)
    fine = [split_strands(group, seed) for seed, group in enumerate([*loose, *cover, *bridge])]
    # a bridge comes last: it must not lead to a tuft, nor be one
    first, under = len(fine) - len(bridge), len(undercoat) - len(bridge)
    hair = drop_islands([*drop_islands([*fine[:first], *undercoat[:under]]), *fine[first:], *undercoat[under:]])
    fringe = trim_strands(grow_line_hairs([*loose, *bridge], head), head, photo)
    soft = fray_edges(soften_line(hair, head, drawn=bool(held)), head, photo)
    return [*merge_alike([*soft, *fringe]), *held]


def merge_alike(groups: Sequence[Strands]) -> list[Strands]:
    """Return groups in which short strands with as many points are one: each group is coloured by itself, slowly."""
    short = [g for g in groups if len(g.points) and g.points.shape[1] == STEPS + 1 and g.normals is not None]
    rest = [g for g in groups if not any(g is other for other in short)]
    if len({(int(g.material[0]), int(g.part[0]), g.label) for g in short}) != 1:
        return list(groups)
    names = ("points", "widths", "albedo", "part", "material", "normals")
    columns = {name: np.concatenate([getattr(g, name) for g in short]) for name in names}
    return [*rest, replace(short[0], **columns)]


def fit_below_hat(strands: Sequence[Strands], head: Head, photo: Photo, wear: Wear) -> list[Strands]:
    """Return strands of which the photo sees only what a hat leaves: its outline says nothing, but bare skin does."""
    loose = [group for group in strands if len(group.points)]
    is_short = all(group.points[..., 1].min() > SHORT for group in loose)
    loose = drape_strands(loose if is_short else fray_ends(lead_behind(loose, head, photo)), head, photo)
    loose = drop_islands(drop_strays(trim_strands(loose, head, photo)))
    hair = [*loose, *trim_strands(lay_undercoat(loose, head), head, photo)]
    shell = fit_hat(head, wear.hat, wear.fit)
    return hair if shell.hat.hoop or isinstance(shell, Mantle) else [tuck(group, shell) for group in hair]


def tuck(group: Strands, shell: Shell) -> Strands:
    """Return strands beneath a hat, below whose edge they come out little by little."""
    distance, share, turn = shell.polar(group.points)
    most = BENEATH * shell.hat.thick + WIDER * np.maximum(share - 1, 0)
    inner = shell.radius(shell.head, share, turn) + most * HEAD_HEIGHT
    held = 1 - smoothstep(*FREED, share)
    squeeze = 1 - held * (1 - np.minimum(1, inner / np.maximum(distance, 1e-6)))
    points = shell.center + (group.points - shell.center) * squeeze[..., None]
    return replace(group, points=points.astype(np.float32))


def _arrange(
    strands: list[Strands],
    head: Head,
    photo: Photo,
    waves: Waves | None,
    curls: CurlSize | None,
    *,
    trust: float,
    is_short: bool,
) -> list[Strands]:
    """Return hair in locks, over the shoulders or close to the neck, without what strays."""
    strands = sway([form_locks(group, head, seed) for seed, group in enumerate(strands)], head, waves)
    strands = strands if is_short else fray_ends(lead_behind(strands, head, photo))
    strands = drape_strands(strands, head, photo)
    if is_short:
        side, hanging = find_side_reach(strands, head), find_hanging(strands)
        strands = [tidy_nape(settle_behind(group, head, side, hanging), head, hanging) for group in strands]
    if curls is not None:  # strands leave the outline when they curl
        strands = meet_outline(wind(strands, head, curls), head, photo, trust=trust, rounds=1)
    strands = drop_strays(trim_strands(hold_within_outline(strands, head, photo), head, photo))
    strands = fill_crown(strands, head)  # which all this has opened once more
    return taper_edges(grade_back(strands, head), head) if is_short else cover_whorl(strands, head)


def drape_strands(strands: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Let hair fall over the shoulders before or behind them, as the photo shows it."""
    frame = make_frame(photo.camera)
    in_front = trace_outline(clean_hair(photo.labels), frame).in_front
    return [drape(group, head, in_front, frame.axes[0], between=BETWEEN) for group in strands]


def _is_held(group: Strands, head: Head) -> bool:
    return float(np.median(head.field.distance(group.points[:, 0]))) > HELD
