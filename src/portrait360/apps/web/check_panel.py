"""What a photo was read as, as HTML: crop, labels, pose, faces to choose from, and angles to correct."""

from __future__ import annotations

import re
from typing import Any

from portrait360.apps.web.checks import Choice
from portrait360.apps.web.markup import escape, render_message, render_warnings

PICTURES = {
    "crop": "The part of the photo that is used",
    "labels": "What was recognised",
    "pose": "Which way the head is facing",
}
WITHOUT_FACE = {"pose": "The head, cut out"}
STEP = 5  # degrees of one click
BASE64 = re.compile(r"[A-Za-z0-9+/=]*")
COLOUR = re.compile(r"#[0-9a-f]{6}")
OURS = "Rendered by portrait360"
EXAMPLES = {"astronaut": "Eileen Collins, NASA", "man": OURS, "statue": OURS}  # names and sources


def render_examples() -> str:
    """Return photos to click for whoever has none at hand."""
    buttons = "".join(
        f'<button type="button" data-example="{name}" title="{source}"><img src="/examples/{name}.jpg" '
        f'alt=""><b>{name.capitalize()}</b></button>'
        for name, source in EXAMPLES.items()
    )
    return f'<div class="p360-examples"><span>No photo at hand? Try one of these:</span>{buttons}</div>'


def render_waiting(name: str) -> str:
    return f'<div class="p360-check"><p class="p360-wait">Checking {escape(name)}…</p></div>'


def render_problem(message: str, choice: Choice) -> str:
    """Return why a photo could not be read, and a way back from what was chosen."""
    back = "" if choice == Choice() else f"<p>{_button('Reset to automatic', Choice())}</p>"
    return f'<div class="p360-check">{render_message(message)}{back}</div>'


def render_check(found: dict[str, Any], choice: Choice) -> str:
    """Return the panel; `choice` is what the user has said so far."""
    has_face = bool(found.get("has_face"))
    captions = PICTURES if has_face else PICTURES | WITHOUT_FACE
    pictures = "".join(
        f"<figure>{_image(found.get(name), caption)}<figcaption>{caption}</figcaption></figure>"
        for name, caption in captions.items()
    )
    return f"""<div class="p360-check"><div class="p360-trio">{pictures}</div>{_render_legend(found.get("names"))}
{_render_faces(found.get("faces"), choice)}{_render_angles(found, choice)}
{render_warnings(map(str, found.get("warnings") or ()), "p360-check-warnings")}</div>"""


def _image(data: Any, text: str) -> str:
    data = data if isinstance(data, str) and BASE64.fullmatch(data) else ""
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(text)}">'


def _render_legend(names: Any) -> str:
    colours = {str(n): str(c) for n, c in names.items()} if isinstance(names, dict) else {}
    chips = "".join(
        f'<li><i style="background:{colour}"></i>{escape(name)}</li>'
        for name, colour in colours.items()
        if COLOUR.fullmatch(colour)
    )
    return f'<ul class="p360-legend">{chips}</ul>' if chips else ""


def _render_faces(faces: Any, choice: Choice) -> str:
    """Return the faces as buttons; a click on one chooses it, with its own angles."""
    if not faces:
        return ""
    buttons = "".join(
        _button(_image(face, f"Face {i}"), Choice(face=i), pressed=i == (choice.face or 1))
        for i, face in enumerate(faces, 1)
    )
    return f'<h4>Which face?</h4><div class="p360-faces">{buttons}</div>'


def _render_angles(found: dict[str, Any], choice: Choice) -> str:
    azimuth, elevation = (round(float(found.get(name) or 0.0), 1) for name in ("azimuth", "elevation"))
    rows = []
    for name, value, limit, sides in (
        ("azimuth", azimuth, 180, ("To the subject's right", "To the subject's left")),
        ("elevation", elevation, 85, ("Lower", "Higher")),
    ):
        buttons = [
            _button(mark, _move(choice, azimuth, elevation, name, min(max(value + step, -limit), limit)), title=title)
            for mark, step, title in (("−", -STEP, sides[0]), ("+", STEP, sides[1]))
        ]
        rows.append(f"<div>{buttons[0]}<span>{_describe_angle(name, value)}</span>{buttons[1]}</div>")
    is_changed = (choice.azimuth, choice.elevation) != (None, None)
    reset = _button("Reset to automatic", Choice(face=choice.face)) if is_changed else ""
    return f'<h4>Where the photo was taken from</h4><div class="p360-angles">{"".join(rows)}{reset}</div>'


def _describe_angle(name: str, value: float) -> str:
    sides = (
        ("in front", "to the subject's left", "to the subject's right")
        if name == "azimuth"
        else ("level", "above", "below")
    )
    degrees = round(value)
    if degrees == 0:
        return sides[0]
    if name == "azimuth" and abs(degrees) == 180:
        return "behind"
    return f"{abs(degrees)}° {sides[1] if degrees > 0 else sides[2]}"


def _move(choice: Choice, azimuth: float, elevation: float, name: str, value: float) -> Choice:
    """Return the choice with one more angle named; the other one stays as it is."""
    if name == "azimuth":
        return Choice(choice.face, value, choice.elevation)
    return Choice(choice.face, choice.azimuth, value)


def _button(content: str, choice: Choice, *, pressed: bool | None = None, title: str = "") -> str:
    said = {"face": choice.face, "azimuth": choice.azimuth, "elevation": choice.elevation}
    data = "".join(f' data-{name}="{"" if value is None else f"{value:g}"}"' for name, value in said.items())
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    label = f' title="{title}" aria-label="{title}"' if title else ""
    return f'<button type="button" data-choice{data}{state}{label}>{content}</button>'
