"""What the published networks need of a graphics card, told by the memory model (`memory_model.py`); it needs none.

python -m benchmarks.memory [--views 32] [--sizes 512 768 1024]
"""

from __future__ import annotations

import argparse
from itertools import product

import torch

from portrait360.models.weights.registry import MODEL_SPECS
from portrait360.pipeline.views.memory_estimate import CONTEXT, peak_bytes
from portrait360.pipeline.views.multiview_sampler import SamplerConfig

CARDS = (8, 12, 16, 24)  # GB
NAMES = ("diffportrait360", "diffportrait3d")
PRECISIONS = (torch.float16, torch.float32)
HOW = SamplerConfig(2, faithful=False)  # more steps take no more, but for what the host keeps


def row(name: str, size: int, dtype: torch.dtype, thrifty: bool, views: int) -> str:
    peak = peak_bytes(MODEL_SPECS[name], views, size, dtype, HOW, offload=thrifty) + CONTEXT
    fits = " | ".join("yes" if peak < card * 1e9 else "no" for card in CARDS)
    way = "R before the views" if thrifty else "all at once"
    return f"| {name} | {size} | {str(dtype).removeprefix('torch.')} | {way} | {peak / 1e9:.1f} | {fits} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 768, 1024])
    a = parser.parse_args()
    print("| networks | size | precision | on the card | GB | " + " | ".join(f"{card} GB" for card in CARDS) + " |")
    print("|" + "---|" * (5 + len(CARDS)))
    for name in NAMES:
        for size, dtype, thrifty in product(a.sizes, PRECISIONS, (True, False)):
            print(row(name, size, dtype, thrifty, a.views), flush=True)


if __name__ == "__main__":
    main()
