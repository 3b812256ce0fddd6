"""Commands whose options are the fields of an options dataclass, in groups in their `--help`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand

from portrait360.pipeline.options import MakeOptions, parse_results
from portrait360.utils.option_fields import flags_for, option_fields

OTHERS = "Options"


class GroupedCommand(TyperCommand):
    """A command whose help lists its options by group, in the order in which the groups first appear."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, groups = [], dict[str, list[tuple[str, str]]]()
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is None:
                continue
            if param.param_type_name == "argument":
                arguments.append(row)
            else:
                groups.setdefault(getattr(param, "rich_help_panel", None) or OTHERS, []).append(row)
        for title, rows in [("Arguments", arguments), *groups.items()]:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def with_make_options(names: Sequence[str] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of MakeOptions (or those named) as options; it receives them as `options`.

    The fields come between the command's positional and its keyword-only parameters.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        by_name = {entry[0]: entry for entry in option_fields(MakeOptions)}
        entries = [by_name[name] for name in names or by_name]
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]

        def run(**values: Any) -> None:
            fields = {name: _to_field(name, values.pop(name)) for name, *_ in entries}
            command(options=MakeOptions(**fields), **values)

        parameters = [p for p in own if p.kind is not p.KEYWORD_ONLY]
        parameters += [_parameter(*entry) for entry in entries]
        parameters += [p for p in own if p.kind is p.KEYWORD_ONLY]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    """The option as Typer wants it: tuples are lists, results are one word."""
    flags = flags_for(name, info)
    if name == "results":
        kind, default = str, ",".join("nerf" if one == "field" else one for one in default)
    elif get_origin(kind) is tuple:
        kind, default = list[get_args(kind)[0]] | None, None
    option = typer.Option(*flags, help=info.help, metavar=info.metavar, rich_help_panel=info.group)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _to_field(name: str, value: Any) -> Any:
    if name == "results":
        return parse_results(value)
    return tuple(value or ()) if name == "references" else value
