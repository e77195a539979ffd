"""A section of `params.yaml` becomes a frozen dataclass: strictly, with all problems reported at once.

Defaults stand in `params.yaml` alone, so every field is required there. What a stage asks for is
declared in its own `Params`; this module only binds.
"""

import difflib
import operator
import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from tidegate.errors import ParamsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds of a number (or of the length of a list or text), as `Annotated[int, Range(ge=1)]`."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        size = len(value) if isinstance(value, str | list | tuple | Mapping) else value
        for bound, holds, words in (
            (self.ge, operator.ge, "at least"),
            (self.gt, operator.gt, "above"),
            (self.le, operator.le, "at most"),
            (self.lt, operator.lt, "below"),
        ):
            if bound is not None and not holds(size, bound):  # nan holds nowhere
                return f"must be {words} {bound:,.12g}, is {_shown(value)}"
        return None


def load(path: Path) -> dict[str, Any]:
    """Reads a YAML file of sections.

    Raises:
        ParamsError: the file is missing, is no YAML, or is no mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            str(path), ["there is no such file"], "Run in the root of the clone, or `git checkout` it"
        ) from None
    except OSError as error:
        raise ParamsError(str(path), [f"cannot be read ({error.strerror})"], "Make it a readable file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), [f"not readable as YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(raw, dict):
        raise ParamsError(str(path), ["must be a mapping of sections"])
    return raw


def bind(cls: type[T], raw: object, *, section: str) -> T:
    """Makes a `cls` from plain YAML values.

    `cls` is a frozen keyword-only dataclass without defaults. Its fields may be `bool`, `int`, `float`
    (an int will do), `str`, `Literal`, unions, `list[X]`, `tuple[X, ...]`, `dict[str, X]`, dataclasses
    of the same kind, and `Annotated[X, Range(...)]`. A method `problems(self) -> Iterable[str]` may
    check what spans several fields.

    Raises:
        ParamsError: lists every unknown, missing, ill-typed or out-of-range key by its full name.
    """
    problems: list[str] = []
    bound = _bind(cls, raw, section, problems)
    if not problems:
        problems.extend(f"{section}: {problem}" for problem in getattr(bound, "problems", tuple)())
    if problems:
        raise ParamsError("params.yaml", problems, "Correct it in params.yaml; every key has a comment there")
    return bound  # type: ignore[no-any-return]


def _bind(kind: Any, raw: Any, name: str, problems: list[str]) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bind_annotated(args, raw, name, problems)
    if origin in (Union, types.UnionType):
        return _bind_union(kind, raw, name, problems)
    if is_dataclass(kind):
        return _bind_dataclass(kind, raw, name, problems)
    if origin in (list, tuple):
        return _bind_items(origin, args[0], raw, name, problems)
    if origin is dict:
        return _bind_mapping(args[1], raw, name, problems)
    if not _is_instance(kind, raw):
        problems.append(_ill_typed(kind, raw, name))
        return raw
    return float(raw) if kind is float else raw


def _bind_annotated(args: tuple[Any, ...], raw: Any, name: str, problems: list[str]) -> Any:
    before = len(problems)
    value = _bind(args[0], raw, name, problems)
    if len(problems) == before and value is not None and not (isinstance(value, str) and args[0] is not str):
        found = (rule.problem(value) for rule in args[1:] if isinstance(rule, Range))
        problems.extend(f"{name}: {problem}" for problem in found if problem)
    return value


def _bind_union(union: Any, raw: Any, name: str, problems: list[str]) -> Any:
    deeper: list[list[str]] = []
    for kind in get_args(union):
        attempt: list[str] = []
        value = _bind(kind, raw, name, attempt)
        if not attempt:
            return value
        if attempt != [_ill_typed(kind, raw, name)]:
            deeper.append(attempt)
    # What is wrong inside the right kind says more than the list of the kinds that are allowed.
    problems.extend(deeper[0] if deeper else [_ill_typed(union, raw, name)])
    return raw


def _bind_dataclass(cls: Any, raw: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(raw, Mapping):
        problems.append(_ill_typed(cls, raw, name))
        return raw
    before = len(problems)
    hints = get_type_hints(cls, include_extras=True)
    known = [field.name for field in fields(cls)]
    problems.extend(_unknown(raw, known, name))
    problems.extend(f"{name}.{key}: is missing" for key in known if key not in raw)
    values = {key: _bind(hints[key], raw[key], f"{name}.{key}", problems) for key in known if key in raw}
    return cls(**values) if len(problems) == before else raw


def _unknown(raw: Mapping[str, Any], known: list[str], name: str) -> Iterator[str]:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            yield f"{name}.{key}: is not known" + (f" (did you mean {near[0]!r}?)" if near else "")


def _bind_items(origin: Any, kind: Any, raw: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(raw, list):
        problems.append(_ill_typed(list, raw, name))
        return raw
    return origin(_bind(kind, item, f"{name}[{i}]", problems) for i, item in enumerate(raw))


def _bind_mapping(kind: Any, raw: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(raw, Mapping):
        problems.append(_ill_typed(dict, raw, name))
        return raw
    problems.extend(f"{name}.{key}: the key must be a text" for key in raw if not isinstance(key, str))
    return {key: _bind(kind, value, f"{name}.{key}", problems) for key, value in raw.items()}


def _is_instance(kind: Any, raw: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(raw == choice and type(raw) is type(choice) for choice in get_args(kind))
    if kind is float:
        return isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) <= sys.float_info.max
    if kind is int:
        return isinstance(raw, int) and not isinstance(raw, bool)
    if kind in (None, type(None)):
        return raw is None
    return kind is Any or isinstance(raw, kind)


def _ill_typed(kind: Any, raw: Any, name: str) -> str:
    return f"{name}: must be {_words(kind)}, is {_shown(raw)}{_hint(raw)}"


def _words(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(args[0])
    if origin is Literal:
        return " or ".join(repr(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(arg) for arg in args)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    lists = {list: "a list", tuple: "a list", dict: "a mapping"}
    return (names | lists).get(origin or kind, "a mapping" if is_dataclass(kind) else f"a {kind}")


def _hint(raw: Any) -> str:
    """YAML 1.1 reads a number such as 1e-4 as a text."""
    match = re.fullmatch(r"([+-]?\d+)(\.\d+)?[eE]([+-]?\d+)", raw) if isinstance(raw, str) else None
    return f" (write {match[1]}{match[2] or '.0'}e{int(match[3]):+d})" if match else ""


def _shown(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else f"{text[:57]}..."
