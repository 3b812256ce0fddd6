"""What the user says an avatar is, in place of what its photo shows: a hairstyle, a length, a JSON file.

The file holds a part of the tree of `HeadParameters`. It comes from anybody, so all of it is checked: its size, every
name, type and range. Only light modules are imported before there is something to check.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from portrait360.synth.sampling.parameters import KINDS, HatFit, HeadParameters
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.suggestions import suggest_names

FILE = "parameters.json"  # what an avatar writes of itself
MOST_BYTES = 1 << 20
MOST_NUMBERS, MOST_LETTERS = 400, 60  # of a list or a table of numbers; of a name in a sentence
HAIR_COLOURS = ("colour", "tips", "grey", "streaks", "streaks_share", "streaks_from", "roots")
"""What of the hair is read off the photo; all else of it is searched for."""
LENGTHS = (0.1, 4.0)
SHARE = (0.0, 1.0)  # range of every number without one of its own
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "shape.morphs": (-2, 2),
    "shape.expression": (-2, 2),
    "shape.scan": (-100, 100),
    "pose": (-90, 90),
    "skin.blood": (0, 2),
    "skin.moles": (0, 200),
    "eyes.iris_size": (0.1, 0.9),
    "hair.length": LENGTHS,
    "hair.volume": (0.1, 3),
    "hair.curl": (0, 3),
    "hair.parting": (-0.3, 0.3),
    "hair.sweep": (-1, 1),
    "hair.wind": (-1, 1),
    "hair.hairline.height": (-1, 1),
    "facial.beard_length": (0.1, 4),
    "wear.fit": (-0.6, 0.6),
    "wear.fit.tilt": (-30, 30),
    "wear.fit.even": (0, 1),
    "wear.glasses_fit": (-0.06, 0.06),
    "wear.glasses_fit.forward": (0, 0.2),
    "wear.glasses_fit.power": (-2, 3),
    "wear.glasses_fit.taper": (0, 0.5),
    "wear.glasses_fit.tilt": (-30, 30),
    "clothes.drop": (-0.4, 0.5),
    "toon": (0, 2),
    "toon.steps": (0, 16),
    "fantasy": (0, 3),
    "fantasy.ear_angle": (-90, 90),
    "animal": (0, 3),
}
"""Of a value, or of all values below it."""


@dataclass(frozen=True)
class Overrules:
    """What the user says of an avatar; with nothing said, all is as the photo shows it."""

    tree: Mapping[str, Any] = field(default_factory=dict)  # checked: a part of HeadParameters as JSON has it
    hair_length: float | None = None  # factor on the length that is found
    is_shown: bool = False  # the photo shows just that, so that nothing of it is left out

    def __bool__(self) -> bool:
        return bool(self.tree) or self.hair_length is not None

    @property
    def hair(self) -> Mapping[str, Any]:
        return self.tree.get("hair", {})

    @property
    def style(self) -> str | None:
        """The name of the hairstyle, if one is given."""
        return self.hair.get("style")

    @property
    def names_hair(self) -> bool:
        """Whether they say anything of the shape of the hair."""
        return self.hair_length is not None or any(name not in HAIR_COLOURS for name in self.hair)

    def apply(self, parameters: HeadParameters) -> HeadParameters:
        """Return the parameters with what is overruled; a factor on the length comes after the search."""
        changed = _merge(parameters, self.tree)
        if changed.wear.hat != parameters.wear.hat and "fit" not in self.tree.get("wear", {}):
            changed = replace(changed, wear=replace(changed.wear, fit=HatFit()))  # that was another hat's
        kind = self.tree.get("kind") or next((k for k in KINDS if self.tree.get(k) is not None), changed.kind)
        parts = {k: getattr(changed, k) if k == kind else None for k in KINDS[1:]}
        if kind in parts and parts[kind] is None:
            parts[kind] = _default_part(kind)
        return replace(changed, kind=kind, **parts)

    def cache_inputs(self) -> dict[str, Any]:
        """Return what an avatar depends on, as part of its cache key; empty without any overrules."""
        return {"overrules": {"tree": self.tree, "hair_length": self.hair_length}} if self else {}


NOTHING = Overrules()


def make_overrules(hair: str | None, hair_length: float | None, parameters: Path | None) -> Overrules:
    """Return what the options say; a hairstyle given by name counts more than the one in the file.

    Raises:
        UserError: anything about them is wrong; its text is one plain sentence.
    """
    tree = read_tree(parameters) if parameters is not None else {}
    if hair is not None:
        if hair not in (find_choices("hair.style") or ()):
            name = _shorten(hair, quote=False)
            raise UserError(f"`hair={name}` is not a hairstyle; {_suggest('hair.style', hair)}.")
        tree = {**tree, "hair": {**tree.get("hair", {}), "style": hair}}
    if hair_length is not None and not LENGTHS[0] <= hair_length <= LENGTHS[1]:
        raise UserError(f"`hair_length={hair_length:g}` is not valid; choose {LENGTHS[0]:g} to {LENGTHS[1]:g}.")
    return Overrules(tree, hair_length)


def read_tree(path: Path) -> dict[str, Any]:
    """Read and check a file of parameters."""
    if Path(path).is_file() and Path(path).stat().st_size > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MB; a parameter file is much smaller.")
    text = read_limited(Path(path), MOST_BYTES)
    try:
        tree = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_refuse_doubles, parse_constant=_refuse_word)
    except _WrongError as error:
        raise UserError(f"{path}: {error}.") from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply for a parameter file.") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({_shorten(str(error), quote=False)}); see docs/avatar.md.") from error
    return check_tree(tree, str(path))


def check_tree(tree: Any, name: str) -> dict[str, Any]:
    """Return a tree of parameters as it is, or raise a UserError that begins with the name of where it comes from."""
    try:
        if not isinstance(tree, dict):
            raise _WrongError(f'it contains {_describe(tree)}, not parameters like {{"hair": {{"style": "bob"}}}}')
        _check(HeadParameters, tree, "")
        if tree.get("kind") == "animal" or tree.get("animal") is not None:
            raise _WrongError("an avatar is made from a face, so it cannot be an animal")
    except _WrongError as error:
        raise UserError(f"{name}: {error}.") from error
    return tree


class _WrongError(ValueError):
    """What is wrong with a file, as a clause."""


def _check(kind: Any, value: Any, path: str) -> None:
    """Raise an error unless a JSON value fits the declared type of its field; `path` is its place in the tree."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is not None:
            _check(next(k for k in typing.get_args(kind) if k is not type(None)), value, path)
    elif dataclasses.is_dataclass(kind):
        _check_part(kind, value, path)
    elif typing.get_origin(kind) is dict:
        if not isinstance(value, dict) or len(value) > MOST_NUMBERS:
            raise _WrongError(f"{path} must be an object with at most {MOST_NUMBERS} numbers, not {_describe(value)}")
        for number in value.values():
            _check_number(float, number, path)
    elif typing.get_origin(kind) is tuple:
        _check_numbers(typing.get_args(kind), value, path)
    elif kind is str:
        _check_word(value, path)
    elif kind is bool:
        if not isinstance(value, bool):
            raise _WrongError(f"{path} must be true or false, not {_describe(value)}")
    else:
        _check_number(kind, value, path)


def _check_part(kind: Any, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise _WrongError(f'{path} must be an object like {{"…": …}}, not {_describe(value)}')
    hints = typing.get_type_hints(kind)
    for name, inner in value.items():
        if name not in hints:
            where = f"in {path} " if path else ""
            raise _WrongError(f"{where}there is no parameter {_shorten(name)}; choose from {', '.join(hints)}")
        _check(hints[name], inner, f"{path}.{name}" if path else name)


def _check_numbers(kinds: tuple[Any, ...], value: Any, path: str) -> None:
    any_count = kinds[-1] is Ellipsis
    count = f"at most {MOST_NUMBERS}" if any_count else str(len(kinds))
    fits = isinstance(value, list) and (len(value) <= MOST_NUMBERS if any_count else len(value) == len(kinds))
    if not fits:
        found = f"{len(value)} of them" if isinstance(value, list) else _describe(value)
        raise _WrongError(f"{path} must be a list of {count} numbers, not {found}")
    for number in value:
        _check_number(float, number, path)


def _check_number(kind: Any, value: Any, path: str) -> None:
    low, high = find_range(path)
    name = "a whole number" if kind is int else "a number"
    is_number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # NaN is not, either
        raise _WrongError(f"{path} must be {name} from {low:g} to {high:g}, not {_describe(value)}")


def _check_word(value: Any, path: str) -> None:
    names = find_choices(path)
    if not isinstance(value, str):
        raise _WrongError(f"{path} must be a word, not {_describe(value)}")
    if names is not None and value not in names:
        raise _WrongError(f"{path} cannot be {_shorten(value)}; {_suggest(path, value)}")


def find_range(path: str) -> tuple[float, float]:
    """Return the range of the numbers at a place of the tree: its own, or that of the parts it lies in."""
    while path:
        if path in RANGES:
            return RANGES[path]
        path = path.rpartition(".")[0]
    return SHARE


@cache
def find_choices(path: str) -> tuple[str, ...] | None:
    """Return the names that a word of the tree may be, from the catalogues of the generator; None where any may."""
    match path:
        case "kind":
            return KINDS
        case "hair.style":
            from portrait360.synth.sampling.hairstyles import EXTRA_STYLES, STYLES

            return tuple(sorted(STYLES | EXTRA_STYLES))
        case "facial.beard":
            from portrait360.synth.hair.beard_brows import BEARDS

            return tuple(BEARDS)
        case "clothes.collar":
            from portrait360.synth.wear.necklines import NECKLINES

            return ("none", *NECKLINES)
        case "clothes.pattern":
            return ("plain", "stripes", "check", "melange", "flowers", "yoke")
        case "fantasy.horns":
            from portrait360.synth.head.fantasy_parts import HORNS

            return ("none", *HORNS)
        case "statue.stone":
            from portrait360.synth.sampling.kinds import STONES

            return tuple(STONES)
    return _find_wear(path)


def _find_wear(path: str) -> tuple[str, ...] | None:
    match path:
        case "wear.hat":
            from portrait360.synth.sampling.hats import EXTRA_HATS, HATS

            return ("none", *HATS, *EXTRA_HATS, "headphones")
        case "wear.glasses":
            from portrait360.synth.wear.glasses import FRAMES, WIRE_FRAMES

            return ("none", *FRAMES, *WIRE_FRAMES)
        case "wear.earrings":
            from portrait360.synth.sampling.sampler import EARRINGS
            from portrait360.synth.wear.jewels import LARGE_EARRINGS

            return (*EARRINGS, *LARGE_EARRINGS)
        case "wear.necklace":
            from portrait360.synth.wear.jewels import NECKLACES

            return ("chain", *NECKLACES)
    return None


def _suggest(path: str, word: str) -> str:
    """Return what else a word of the tree may be."""
    where = "`portrait360 make --hair list`" if path == "hair.style" else "docs/avatar.md"
    return suggest_names(word[:MOST_LETTERS], find_choices(path) or (), where)


def _describe(value: Any) -> str:
    """Return a few words for a JSON value."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return _shorten(value)
    try:
        return f"{value:g}"
    except OverflowError:
        return "a number with so many digits"


def _shorten(text: str, quote: bool = True) -> str:
    short = text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
    return repr(short) if quote else short


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        raise _WrongError(f"it names {_shorten(next(n for n in names if names.count(n) > 1))} twice")
    return tree


def _refuse_word(word: str) -> None:
    raise _WrongError(f"{word} is out of range")


def _merge(value: Any, tree: Mapping[str, Any]) -> Any:
    """Return a dataclass with the fields that a checked tree names."""
    hints = typing.get_type_hints(type(value))
    return replace(value, **{name: _merge_field(hints[name], getattr(value, name), v) for name, v in tree.items()})


def _merge_field(kind: Any, old: Any, new: Any) -> Any:
    if isinstance(new, list):
        return tuple(float(number) for number in new)
    kinds = [k for k in (typing.get_args(kind) or (kind,)) if dataclasses.is_dataclass(k)]
    if new is None or not kinds:
        return float(new) if isinstance(new, int) and kind is float else new
    return _merge(typing.cast(Any, kinds[0])() if old is None else old, new)


def _default_part(kind: str) -> Any:
    """Return the part of the parameters that makes a head of this kind."""
    hint = typing.get_type_hints(HeadParameters)[kind]
    return typing.get_args(hint)[0]()


def find_changes(before: HeadParameters, after: HeadParameters) -> frozenset[str]:
    """Return the places of the tree at which two heads differ, as `hair.length`."""

    def compare(a: Any, b: Any, path: str) -> list[str]:
        if not (dataclasses.is_dataclass(a) and type(a) is type(b)):
            return [] if a == b else [path]
        places = ((f.name, f"{path}.{f.name}" if path else f.name) for f in dataclasses.fields(a))
        return [found for name, place in places for found in compare(getattr(a, name), getattr(b, name), place)]

    return frozenset(compare(before, after, ""))
