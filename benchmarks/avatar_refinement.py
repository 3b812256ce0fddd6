"""What refining an avatar could gain, if the priors knew the truth: its layers moved towards 13 true views.

python -m benchmarks.avatar_refinement [--count 6] [--rounds 4] [--processes 2]

Human heads of the seeds of `benchmarks.small`. The figures compare other views than those that the layers follow.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from benchmarks.small import PROTOCOL, Row, print_means, render_views, run_for_all
from portrait360.evaluation.cases import cameras_for_crop, make_synthetic_case, render_synthetic_photo
from portrait360.evaluation.measure import compare_with_truth
from portrait360.evaluation.protocols import Heads
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.from_portrait import make_avatar
from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
from portrait360.pipeline.refinement.avatar_colours import refine_colours
from portrait360.pipeline.refinement.avatar_refinement import refine_avatar
from portrait360.pipeline.refinement.avatar_shape import refine_shape
from portrait360.pipeline.refinement.view_schedule import outward_schedule
from portrait360.pipeline.views.view_set import View
from portrait360.synth.render.renderer import render

SIZE = 256
HUMAN_HEADS = Heads(first=5_000_018, kinds=("human",))
HUMANS = replace(PROTOCOL, heads=HUMAN_HEADS)
FIGURES = ("PSNR inside", "SSIM inside", "IoU", "sharpness")


def measure(index: int, rounds: int) -> dict[str, Row]:
    case = make_synthetic_case(HUMANS, index)
    head, _, true, _ = render_synthetic_photo(HUMAN_HEADS, index, PROTOCOL.portrait)
    cameras = [scheduled.camera for scheduled in outward_schedule(case.portrait.camera)[1:]]
    placed = cameras_for_crop(cameras, case.portrait, true, PROTOCOL.portrait)
    seen = [render(head, camera, SIZE) for camera in placed]
    views = [View(found.rgb, found.alpha, camera) for found, camera in zip(seen, cameras, strict=True)]
    avatar = make_avatar(case.portrait, proxy_from_photo(case.portrait))
    made: dict[str, Avatar] = {
        "avatar": avatar,
        "true colours": replace(avatar, scene=refine_colours(avatar.scene, views, rounds)),
        "true outlines": replace(avatar, scene=refine_shape(avatar.scene, views, rounds)),
    }
    both = avatar
    for _ in range(rounds):
        both = refine_avatar(both, views)
    made["both"] = both
    targets = [view.camera for view in case.targets]
    return {name: compare_with_truth(render_views(one, targets), case.targets) for name, one in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    rows = run_for_all(partial(measure, rounds=a.rounds), a.count, a.processes)
    print(f"{a.count} heads; front / side / back")
    print_means(rows, FIGURES)


if __name__ == "__main__":
    main()
