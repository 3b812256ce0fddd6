"""How a message goes on after a word that is none of the names there are."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

MOST_NAMED = 25  # names that fit into a message
NEAREST = 3


def suggest_names(word: str, names: Sequence[str], where: str) -> str:
    """Return all names, or the nearest ones where there are too many; `where` is what shows all of them."""
    if len(names) <= MOST_NAMED:
        return f"choose from {', '.join(names)}"
    *others, last = get_close_matches(word.lower(), names, NEAREST, cutoff=0.0)
    return f"did you mean {', '.join(others)} or {last}? {where} lists all {len(names)}"
