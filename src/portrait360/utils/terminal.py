"""Text for a terminal: what comes from files and their names must not move its cursor or begin a line."""

from __future__ import annotations


def escape_controls(text: str) -> str:
    """Return the text with all that is no visible character, such as ESC or a newline, as in a Python string."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
