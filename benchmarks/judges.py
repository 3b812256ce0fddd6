"""How far judges of the same sheets (docs/research/judged_pairs.csv) agree: `python -m benchmarks.judges`."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

SCORES = Path(__file__).parent.parent / "docs" / "research" / "judged_pairs.csv"
FEWEST = 10  # sheets that two judges share


def main() -> None:
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    with SCORES.open() as lines:
        for row in csv.DictReader(lines):
            scores[row["commit"], row["judge"]][row["head"]] = float(row["overall"])
    for one, other in combinations(sorted(scores), 2):
        heads = sorted(set(scores[one]) & set(scores[other]))
        if one[0] != other[0] or len(heads) < FEWEST:
            continue
        first, second = (np.array([scores[key][head] for head in heads]) for key in (one, other))
        order, apart = np.corrcoef(rankdata(first), rankdata(second))[0, 1], np.abs(first - second).mean()
        print(f"{one[0]}, {one[1]}, {other[1]}: {len(heads)} sheets, rank correlation {order:.2f}, {apart:.2f} apart")


if __name__ == "__main__":
    main()
