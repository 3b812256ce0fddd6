"""The guard of looks: whether a change makes heads uglier.

python -m benchmarks.looks [--only NAME ...] [--workers 2] [--keep DIR] [--accept] [--rescore]

Makes the heads of the astronaut and of six synthetic portraits, renders each from eight azimuths, scores them
(`portrait360.evaluation.looks`) and compares the mean and every head with the figures that were accepted last
(benchmarks/looks_accepted.json). It ends with 1 where one fell further than the tolerance, or could not be made.
`--accept` writes the new figures: look at the heads first. `--keep` keeps the heads in a folder, and takes those that
are there. `--rescore` makes no heads: it scores the accepted rows by the present regression, after that has changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.evaluation.cases import render_synthetic_photo
from portrait360.evaluation.looks.rows import measure_rows
from portrait360.evaluation.looks.score import load_model
from portrait360.evaluation.looks.sheet import make_sheet
from portrait360.evaluation.protocols import Heads
from portrait360.pipeline.avatar.avatar import CoarseHead, load_coarse_head
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.synthetic_frame import make_synthetic_portrait
from portrait360.utils.files import atomic_write
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.parallel.scheduler import require_all

ACCEPTED = Path(__file__).parent / "looks_accepted.json"
ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
HEADS = Heads(count=6, first=7_000_019, kinds=("human",))  # of the test split, and of no protocol
PHOTO = 512  # pixels
MEAN_TOLERANCE, HEAD_TOLERANCE = 0.1, 0.3  # points that the mean and one head may fall by

Figures = dict[str, dict[str, Any]]  # by head: its score and its rows


def make_synthetic(index: int) -> Portrait:
    _, _, camera, photo = render_synthetic_photo(HEADS, index, PHOTO)
    return make_synthetic_portrait(photo, camera, PHOTO)


PORTRAITS: dict[str, Callable[[], Portrait]] = {
    "astronaut": partial(make_portrait, ASTRONAUT),
    **{f"synthetic {i}": partial(make_synthetic, i) for i in range(HEADS.count)},
}


def score_head(name: str, keep: Path | None = None) -> dict[str, Any]:
    """Make a head and return its score and its rows."""
    portrait = PORTRAITS[name]()
    row = measure_rows(make_sheet(portrait, find_head(name, portrait, keep).render))
    rows = {key: round(value, 4) if np.isfinite(value) else None for key, value in row.items()}
    return score_rows(rows)


def score_rows(rows: Mapping[str, float | None]) -> dict[str, Any]:
    """Return rounded rows with the score of just these, so that kept figures can be scored again to the digit."""
    known = {row: float("nan") if value is None else value for row, value in rows.items()}
    return {"score": round(load_model().score(known), 3), "rows": rows}


def try_head(name: str, keep: Path | None = None) -> dict[str, Any]:
    """Score a head; what goes wrong with one does not hide the others."""
    try:
        return score_head(name, keep)
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


def score_heads(names: Sequence[str], workers: int, keep: Path | None = None) -> Figures:
    """Score heads side by side; each worker has one thread, so that figures do not depend on their number."""
    pool = ProcessPool(min(workers, len(names)))
    found = dict(require_all(pool.run(partial(try_head, keep=keep), names)))
    return {name: found[name] for name in names}


def find_head(name: str, portrait: Portrait, keep: Path | None) -> CoarseHead:
    """Load the head that was kept, or make it."""
    if keep and (keep / name / "proxy.npz").is_file():
        return load_coarse_head(keep / name)
    head = build_proxy(portrait, method="avatar")
    if keep:
        head.save(keep / name)
    return head


def find_falls(found: Figures, accepted: Mapping[str, float]) -> list[str]:
    """Return a sentence for each figure that fell further than the tolerance."""
    falls = [f"{name} was not made ({figures['failed']})." for name, figures in found.items() if "failed" in figures]
    found = {name: figures for name, figures in found.items() if "failed" not in figures}
    for name, figures in found.items():
        if name not in accepted:
            falls.append(f"{name} has no accepted score; look at it, then run with --accept.")
        elif figures["score"] < accepted[name] - HEAD_TOLERANCE:
            falls.append(f"{name} fell from {accepted[name]:.2f} to {figures['score']:.2f}.")
    both = [name for name in found if name in accepted]
    if both:
        new, old = (float(np.mean(v)) for v in ([found[n]["score"] for n in both], [accepted[n] for n in both]))
        if new < old - MEAN_TOLERANCE:
            falls.append(f"The mean fell from {old:.2f} to {new:.2f}.")
    return falls


def load_accepted(path: Path = ACCEPTED) -> Figures:
    return json.loads(path.read_text())["heads"] if path.is_file() else {}


def rescore(accepted: Figures) -> Figures:
    """Return the accepted figures with the scores that the present regression gives their rows."""
    return {name: score_rows(figures["rows"]) for name, figures in accepted.items()}


def save_accepted(figures: Figures, path: Path = ACCEPTED) -> None:
    """Write the figures in the order of the heads; those of heads that were dropped go."""
    with atomic_write(path) as temporary:
        heads = {name: figures[name] for name in PORTRAITS if name in figures}
        temporary.write_text(json.dumps({"heads": heads}, indent=1) + "\n")


def print_figures(found: Figures, accepted: Figures) -> None:
    """Print the scores, and the rows that changed by more than a tenth."""
    for name, figures in found.items():
        if "failed" in figures:
            continue
        old = accepted.get(name, {}).get("score")
        print(f"{name:12s} {figures['score']:.2f}" + (f" (accepted {old:.2f})" if old is not None else ""))
        for row, value in figures["rows"].items():
            before = accepted.get(name, {}).get("rows", {}).get(row)
            if value is not None and before is not None and abs(value - before) > 0.1 * max(value, before, 0.05):
                print(f"    {row}: {before:.3f} -> {value:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PORTRAITS], default=[*PORTRAITS], metavar="NAME")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("--rescore", action="store_true")
    arguments = parser.parse_args()
    accepted = load_accepted()
    if arguments.rescore:
        save_accepted(rescore(accepted))
        return
    found = score_heads(arguments.only, arguments.workers, arguments.keep)
    print_figures(found, accepted)
    falls = find_falls(found, {name: figures["score"] for name, figures in accepted.items()})
    failed = [name for name, figures in found.items() if "failed" in figures]
    if arguments.accept and not failed:
        save_accepted(accepted | found)
    elif falls:
        sys.exit("\n".join(falls))


if __name__ == "__main__":
    main()
