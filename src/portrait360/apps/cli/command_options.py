"""How commands look in their `--help`, and commands whose options are the fields of an options dataclass."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand

from portrait360.models.presets import PRESETS
from portrait360.models.weights.installed import find_weights
from portrait360.pipeline.options import (
    ADVANCED,
    AVATAR,
    HEAD,
    PHOTO,
    RUN,
    VIEW,
    MakeOptions,
    parse_formats,
    parse_results,
)
from portrait360.pipeline.proxy import GENERATOR
from portrait360.pipeline.views import DENOISED, VIEW_DENOISER
from portrait360.utils.errors import UserError
from portrait360.utils.option_fields import JOINED, flags_for, option_fields

OTHERS = "Options"
INPUT, OUTPUT = PHOTO, HEAD
ResumedFolder = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Output folder. To resume a stopped run, repeat the same command.",
        rich_help_panel=OUTPUT,
    ),
]
HEADS, DRIVER = "Heads", "Motion (choose one)"  # of `synth` and of `animate`
GROUPS = (INPUT, HEADS, DRIVER, AVATAR, VIEW, OUTPUT, OTHERS, RUN, ADVANCED)  # in the order of `--help`
WIDTH = 100  # characters of `--help` at most
TYPES = {"int": "INTEGER", "float": "NUMBER", "str": "TEXT", "path": "PATH"}
EXAMPLE = re.compile(r"^(?=[ ]*(?:Example: )?portrait360 )", re.M)
NUMBER = r"-?\d+(?:\.\d+)?"
RANGE = re.compile(rf"{NUMBER} to {NUMBER}|at least {NUMBER}")
REWORDED: set[tuple[str, str]] = set()  # fields of MakeOptions and the help that some command gives them
KINDS_OF_NUMBERS = {"integer": "a whole number", "number": "a number", "float": "a number"}  # by words of an error
PARSERS = {"results": parse_results, "formats": parse_formats}


class GroupedCommand(TyperCommand):
    """A command whose help lists its options by group, and that refuses a wrong value in one plain sentence."""

    def __init__(self, *args: Any, **values: Any) -> None:
        values["context_settings"] = {"max_content_width": WIDTH, **(values.get("context_settings") or {})}
        super().__init__(*args, **values)
        self.help = EXAMPLE.sub("\b\n", self.help or "", count=1)  # the formatter wraps no lines after a \b

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if sentence := explain_value(error, words, ctx):
                raise UserError(sentence) from error
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(argument.metavar) for argument in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, groups = [], dict[str, list[tuple[str, str]]]()
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is None:
                continue
            if param.param_type_name == "argument":
                arguments.append((str(param.metavar), row[1]))
            else:
                panel = RUN if param.name == "help" else getattr(param, "rich_help_panel", None)
                groups.setdefault(panel or OTHERS, []).append(
                    (name_types(row[0]), name_range(add_remark(row[1], param)))
                )
        if set(groups) <= {OTHERS, RUN}:
            groups = {OTHERS: [*groups.get(OTHERS, []), *groups[RUN]]}
        named = sorted(groups.items(), key=lambda group: GROUPS.index(group[0] if group[0] in GROUPS else OTHERS))
        for title, rows in [("Arguments", arguments), *named]:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=26)


def explain_value(error: typer.BadParameter, words: list[str], ctx: Any) -> str | None:
    """Return which values an option has instead of the one that was given, which is no number or out of range."""
    param: Any = error.param
    if param is None:
        return None
    flag, value = find_value(words, (*param.opts, *param.secondary_opts))
    if value is None:
        return None
    kind = next((text for word, text in KINDS_OF_NUMBERS.items() if word in error.message), "")
    of_make = [info for name, *_, info in option_fields(MakeOptions) if name == param.name and is_of_make(param)]
    allowed = of_make[0].allowed if of_make else ""
    ranges = RANGE.findall(name_range((param.get_help_record(ctx) or ("", ""))[1]))
    limits = allowed or re.sub("at least (.+)", r"\1 or more", ranges[-1] if ranges else "")
    choices = ": ".join(part for part in (kind, limits) if part)
    return f"{flag} {value} is not valid; choose {choices}." if choices else None


def find_value(words: list[str], flags: Sequence[str]) -> tuple[str, str | None]:
    """Return the last of these flags on a command line, and the value that follows it."""
    for i, word in reversed(list(enumerate(words))):
        flag, has_value, value = word.partition("=")
        if flag in flags:
            return flag, value if has_value else next(iter(words[i + 1 : i + 2]), None)
    return "", None


def name_types(text: str) -> str:
    """Return an option as in `--views INTEGER`, where Typer writes `--views <int range>`."""

    def name(match: re.Match[str]) -> str:
        return TYPES.get(match[2].lower(), "TEXT")

    return re.sub(r"<(list\[)?(\w+)[^>]*>", name, text)


def name_range(text: str) -> str:
    """Return a help text with its range as in `1 to 64`, where Typer writes `1<=x<=64`."""
    text = re.sub(r"([\d.]+)<=x<=([\d.]+)(?=[];])", r"\1 to \2", text)
    return re.sub(r"\bx>=([\d.]+)(?=[];])", r"at least \1", text)


def add_remark(help: str, param: Any) -> str:
    """Add which choices of an option cannot be used here, because their weights are not installed."""
    if param.name not in ("preset", "method") or not is_of_make(param):
        return help
    text, bracket, rest = help.partition("  [")
    if param.name == "preset":
        remark = f"{', '.join(missing)} (see `portrait360 doctor`)" if (missing := find_missing_presets()) else ""
    else:
        named = [f"{name} ({why})" for name, why in find_missing_methods().items() if f"{name}:" in help]
        remark = ", ".join(named)
    return f"{text} Not installed: {remark}.{bracket}{rest}" if remark else help


def is_of_make(param: Any) -> bool:
    """Return whether an option is the field of MakeOptions that has its name."""
    own = [info.help for name, *_, info in option_fields(MakeOptions) if name == param.name]
    return param.help in own or (param.name, param.help) in REWORDED


def find_missing_presets() -> list[str]:
    """Return the presets whose weights are not installed."""
    return [name for name, one in PRESETS.items() if one.steps and not all(map(is_installed, one.weights))]


def find_missing_methods() -> dict[str, str]:
    """Return the methods whose weights are not installed, and what to do about it."""
    methods = {
        "gan": (is_installed(GENERATOR), "see panohead in `portrait360 doctor`"),
        DENOISED: (VIEW_DENOISER.is_file(), "has to be trained"),
    }
    return {name: why for name, (can_run, why) in methods.items() if not can_run}


def is_installed(system: str) -> bool:
    try:
        return find_weights(system) is not None
    except UserError:  # damaged weights cannot be used either
        return False


def with_make_options(
    names: Sequence[str] | None = None, texts: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of MakeOptions (or those named) as options; it receives them as `options`.

    The fields come between the command's positional and its keyword-only parameters. `texts` is the help of fields
    whose own speaks of options that the command lacks.
    """
    texts = texts or {}
    REWORDED.update(texts.items())

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        by_name = {entry[0]: entry for entry in option_fields(MakeOptions)}
        entries = [by_name[name] for name in names or by_name]
        entries = [(name, *kind, replace(info, help=texts.get(name, info.help))) for name, *kind, info in entries]
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]

        def run(**values: Any) -> None:
            fields = {name: _to_field(name, values.pop(name)) for name, *_ in entries}
            command(options=MakeOptions(**fields), **values)

        parameters = [p for p in own if p.kind is not p.KEYWORD_ONLY]
        parameters += [_parameter(name, kind, default, info) for name, kind, default, info in entries]
        parameters += [p for p in own if p.kind is p.KEYWORD_ONLY]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    """The option as Typer wants it: tuples are lists, but for those that are one word."""
    flags = flags_for(name, info)
    if name in JOINED:
        kind, default = (str | None, None) if default is None else (str, ",".join(default))
    elif get_origin(kind) is tuple:
        kind, default = list[get_args(kind)[0]] | None, None
    extra: dict[str, Any] = {"callback": show_hairstyles, "is_eager": True} if name == "hair" else {}
    option = typer.Option(*flags, help=info.help, metavar=info.metavar, rich_help_panel=info.group, **extra)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def show_hairstyles(value: str | None) -> str | None:
    """Print all hairstyles, by family, and end, where the name of a style is `list`."""
    if value != "list":
        return value
    from portrait360.synth.sampling.style_descriptor import FAMILIES

    typer.echo("Hairstyles for --hair (docs/avatar.md shows a picture of each):\n")
    for family, styles in FAMILIES.items():
        lines = textwrap.wrap(styles.replace(" ", ", "), WIDTH - 10)
        typer.echo("\n".join(f"  {title:8}{line}" for title, line in zip_longest([family], lines, fillvalue="")))
    raise typer.Exit


def _to_field(name: str, value: Any) -> Any:
    if name in PARSERS:
        return None if value is None else PARSERS[name](value)
    return tuple(value or ()) if name == "references" else value
