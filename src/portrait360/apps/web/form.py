"""The form's values and the options that they say. It knows the labels of the inputs, and nothing of gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from math import isfinite
from typing import Any

from portrait360.apps.web.checks import Choice
from portrait360.apps.web.markup import escape
from portrait360.apps.web.requests import HEAD, HEAD_AND_NERF
from portrait360.models.presets import PRESETS
from portrait360.pipeline.options import MakeOptions
from portrait360.utils.errors import UserError
from portrait360.utils.option_fields import OptionInfo, option_fields

VIEWS, FITTED = "Pictures only, no 3D head", f"{HEAD_AND_NERF} (slower)"
FROM_FACE, LARGEST = "estimated from the face", "the largest"
MOST_SEED = 2**31 - 1
Values = Sequence[Any]


@cache
def form_fields() -> tuple[tuple[str, Any, Any, OptionInfo], ...]:
    """Name, type, default and description of the fields that the form offers: those with a label."""
    labelled = [field for field in option_fields(MakeOptions) if field[-1].label]
    return tuple(sorted(labelled, key=lambda field: field[-1].form))


def read_form(values: Values) -> MakeOptions:
    """The options that the values of the form's inputs say, in the order of `form_fields`."""
    options: dict[str, Any] = {}
    for (name, kind, _, _), value in zip(form_fields(), values, strict=True):
        if name == "fit":
            options |= {"results": ()} if value == VIEWS else {"fit": True if value == FITTED else None}
        else:
            options[name] = _read_value(name, kind, value)
    options["quick"] = options["quick"] and "results" not in options
    return MakeOptions(**options)


def _read_value(name: str, kind: Any, value: Any) -> Any:
    if name in ("azimuth", "elevation"):
        return parse_degrees(value)
    if name == "face":
        return parse_whole(value, 1, 99, "face number")
    if name == "seed":
        return parse_whole(value, 0, MOST_SEED, "seed") or 0
    if name == "hair":
        return str(value) if value else None
    if name == "hair_length":
        return None if value in (None, 1, 1.0) else float(value)
    if name == "formats":
        return tuple(map(str, value or ())) or MakeOptions().formats
    return kind(value)


def fill_form(options: MakeOptions) -> list[Any]:
    """Return the values of the form's inputs that say these options: the inverse of `read_form`."""
    said = {one.name: getattr(options, one.name) for one in fields(MakeOptions)}
    said["fit"] = VIEWS if options.results == () else FITTED if options.fit else HEAD
    said["formats"] = list(options.formats)
    said["hair_length"] = 1.0 if options.hair_length is None else options.hair_length
    said["hair"] = options.hair or ""
    said["seed"] = str(options.seed)
    said |= {name: show_number(said[name]) for name in ("face", "azimuth", "elevation")}
    return [said[name] for name, *_ in form_fields()]


def read_choice(face: str, azimuth: str, elevation: str) -> Choice:
    """Return what the form says about the photo itself."""
    return Choice(parse_whole(face, 1, 99, "face number"), parse_degrees(azimuth), parse_degrees(elevation))


def show_number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def parse_degrees(text: str | None) -> float | None:
    """Parse a number of degrees; return None if the text is empty."""
    if not text or not text.strip():
        return None
    try:
        number = float(text)
        if not isfinite(number):
            raise ValueError(text)
        return number
    except ValueError as error:
        raise UserError(
            f"{text.strip()[:20]!r} is not a number; enter an angle in degrees, or leave the field empty."
        ) from error


def parse_whole(text: Any, low: int, high: int, what: str) -> int | None:
    """Parse a whole number; return None if the text is empty."""
    text = str(text if text is not None else "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise UserError(
            f"{text[:20]!r} is not a valid {what}; choose a number from {low} to {high}, or leave the field empty."
        )
    return int(text)


def preset_choices() -> list[str]:
    """Return the presets that can run here."""
    return [name for name in PRESETS if explain_preset(name) is None]


def explain_preset(name: str) -> str | None:
    """Return why a preset cannot run here and which command changes that; None if it can."""
    try:
        MakeOptions(preset=name).validate()
    except UserError as error:
        return str(error)
    return None


def render_presets() -> str:
    """Return what the presets that cannot run here lack, as HTML."""
    reasons = {name: reason for name in PRESETS if (reason := explain_preset(name))}
    items = "".join(f"<dt>{escape(name)}</dt><dd>{_mark_code(reason)}</dd>" for name, reason in reasons.items())
    if not items:
        return ""
    summary = f"<summary>Not installed: {', '.join(reasons)}</summary>"
    return f'<details class="p360-missing">{summary}<dl>{items}</dl></details>'


def _mark_code(sentence: str) -> str:
    """Return a sentence whose commands, between backquotes, can be told from its words."""
    parts = [escape(part) for part in sentence.split("`")]
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
