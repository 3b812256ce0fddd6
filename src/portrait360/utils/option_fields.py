"""Options declared once, as fields of a dataclass: command line, web form and lists of photos derive from them.

A library error names a field as `` `views=3` ``; `name_flags` turns that into `--views 3` for the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

FIELD = re.compile(r"`([a-z_]+)=([^`]*)`")
RENAMED = {  # where the flag is not the field's name
    "references": "--reference",
    "results": "--as",
    "compiled": "--compile",
    "init_from": "--begin",
    "sd15": "--from",
}
JOINED = {"results": "views", "formats": ""}  # tuples that are one word, with commas between; what says that none


@dataclass(frozen=True)
class OptionInfo:
    """What the command line and the web form say about a field."""

    help: str
    group: str
    flags: tuple[str, ...] = ()  # derived from the name if empty
    metavar: str | None = None
    allowed: str = ""  # values of a number, as `choose …` goes on where another one was given
    label: str = ""  # in the web form; empty where the form does not offer the field
    form: int = 0  # position in the web form
    low: float | None = None
    high: float | None = None


def option(default: Any, help: str, group: str, **info: Any) -> Any:
    """A dataclass field with its description."""
    return field(default=default, metadata={"option": OptionInfo(help, group, **info)})


def option_fields(options: type) -> Iterator[tuple[str, Any, Any, OptionInfo]]:
    """Name, type, default and description of every field of an options dataclass."""
    types = get_type_hints(options)
    for one in fields(options):
        yield one.name, types[one.name], one.default, one.metadata["option"]


def option_info(options: type, name: str) -> OptionInfo:
    return next(one.metadata["option"] for one in fields(options) if one.name == name)


def flags_for(name: str, info: OptionInfo | None = None) -> tuple[str, ...]:
    return (info and info.flags) or (RENAMED.get(name, f"--{name.replace('_', '-')}"),)


def name_flags(sentence: str) -> str:
    """The sentence with every `` `field=value` `` as the flag that a user of the command line types."""

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        first = flags_for(name)[0]
        if value in ("True", "False"):
            return first if value == "True" else first.replace("--", "--no-", 1)
        return f"{first} {value}".rstrip()

    return FIELD.sub(flag, sentence)


def to_arguments(options: Any) -> list[str]:
    """The words of the command line that ask for these options; defaults are left out."""
    words: list[str] = []
    for name, _, default, info in option_fields(type(options)):
        value, flag = getattr(options, name), flags_for(name, info)[0].split("/")[0]
        if value == default or value is None:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple) and name in JOINED:
            words.append(f"{flag}={','.join(value) or JOINED[name]}")
        else:
            words += [f"{flag}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return words
