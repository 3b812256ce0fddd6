"""HTML that is safe whatever the text: all untrusted strings pass through `escape` or `run_url`."""

from __future__ import annotations

import html
from collections.abc import Iterable
from urllib.parse import quote

from portrait360.apps.web.wording import name_inputs

WARNING_SIGN = """<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1 15.5 14.5H.5Z"/>
<path d="M8 6v4M8 11.6v1.2"/></svg>"""


def escape(text: str) -> str:
    """Escape HTML, and the characters that the page's template language would expand."""
    entities = {"{": "&#123;", "}": "&#125;", "$": "&#36;", "@": "&#64;", "`": "&#96;"}
    return "".join(entities.get(letter, letter) for letter in html.escape(text))


def run_url(id: str, name: str) -> str:
    return f"/runs/{quote(id, safe='')}/{quote(name)}"


def render_message(message: str, kind: str = "bad") -> str:
    return f'<div class="p360-said p360-{kind}" role="alert">{escape(name_inputs(message))}</div>'


def render_warnings(texts: Iterable[str], id: str = "p360-warnings") -> str:
    """Return warnings as a list under a heading; for example that the picture was reduced or turned.

    Its role is "note" and not "alert": the panel is renewed every second, and a screen reader would begin anew each
    time.
    """
    said = map(name_inputs, texts)
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}.</li>" for text in said)
    if not items:
        return ""
    heading = f'<h3 id="{id}">{WARNING_SIGN}Warnings</h3>'
    return f'<div class="p360-warnings" role="note" aria-labelledby="{id}">{heading}<ul>{items}</ul></div>'
