"""Checks options by name against the signature of the function that takes them, so that a typo is never ignored."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from vouch.base.errors import VouchError, nearest, reason, shorten
from vouch.base.files import read_text

# A configuration has at most some hundred lines and few levels; a larger one is an accident or an attack.
LONGEST_YAML = 1 << 20  # bytes
DEEPEST = 32
MOST_VALUES = 20_000  # counted after aliases are expanded


class Options(Mapping[str, Any]):
    """Immutable mapping from option names to values; lists become tuples.

    Python's own read-only view of a dictionary can be neither copied nor pickled, but modules that hold options are.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Options({self._values})"


def plain_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as YAML and checkpoints hold them, with lists in place of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def resolve_options(
    function: Callable, options: Mapping[str, object], what: str, given: Collection[str] = ()
) -> dict[str, Any]:
    """Return all options of `function`: its defaults, overridden by `options` converted to the annotated types.

    Parameters
    ----------
    function : callable
        A class or function whose parameters are annotated (int, float, bool, str, Sequence, or `X | None`,
        `X | Literal["word"]`).
    options : mapping of str to object
        Names to values, as YAML or the command line gives them (`5e-05` may be text).
    what : str
        What is being configured, for messages ("loss 'aamsoftmax'").
    given : collection of str
        Parameters that the program passes itself and users cannot set.

    Raises
    ------
    VouchError
        An unknown name (the nearest is named), a value of the wrong type, or a missing option.
    """
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    parameters = {
        name: parameter for name, parameter in inspect.signature(function).parameters.items() if name not in given
    }
    for name in options:
        if name not in parameters:
            raise VouchError(f"unknown option '{name}' of {what}{nearest(str(name), parameters)}")
    resolved: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in options:
            resolved[name] = convert(options[name], hints[name], f"option '{name}' of {what}")
        elif parameter.default is inspect.Parameter.empty:
            raise VouchError(f"{what} needs the option '{name}'")
        else:
            resolved[name] = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return resolved


def describe_parameters(documented: object) -> dict[str, str]:
    """Return the description of each parameter (or attribute of a dataclass) in a NumPy docstring, on one line each.

    Parameters
    ----------
    documented : object
        Class or function whose docstring has entries `name, name : type` with indented descriptions.

    Returns
    -------
    dict of str to str
        Names to descriptions; each begins with the type if the entry has one.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    names: list[str] = []
    section = ""
    lines = (inspect.getdoc(documented) or "").splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"}:
            section = line
        elif section not in ("Parameters", "Attributes") or not line.strip("- "):
            continue
        elif line.startswith(" "):
            for name in names:
                found[name][1].append(line.strip())
        else:
            head, _, text = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            found |= {name: (text, []) for name in names}
    return {name: ": ".join(filter(None, (text, " ".join(rest)))) for name, (text, rest) in found.items()}


def convert(value: object, kind: object, what: str) -> object:
    """Convert a value from YAML or the command line to an annotated type; `VouchError` when it does not fit.

    Examples
    --------
    >>> convert("5e-05", float, "learning rate")
    5e-05
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        parts = typing.get_args(kind)
        if type(None) in parts and (value is None or value == "null"):
            return None
        words = [word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part)]
        if value in words:
            return value
        plain = next(part for part in parts if part is not type(None) and typing.get_origin(part) is not Literal)
        try:
            return convert(value, plain, what)
        except VouchError as error:
            raise VouchError(f"{error}{nearest(str(value), words)}" if words else str(error)) from None
    if origin is Sequence:
        items = _parse(value, what) if isinstance(value, str) else value
        if isinstance(items, (list, tuple)):
            return [convert(item, typing.get_args(kind)[0], what) for item in items]
        raise VouchError(f"{what}: {shorten(repr(value))} is not a list such as [1, 2]")
    if isinstance(value, str) and kind in (int, float) and ("_" in value or not value.isascii()):
        raise VouchError(f"{what}: '{shorten(value)}' is not a number")
    if isinstance(value, str) and kind in (int, float, bool):
        value = _parse(value, what)
        if kind is float and isinstance(value, str):  # YAML 1.1 reads 5e-05, which has no point, as text
            word = value
            try:
                value = float(word)
            except ValueError:
                raise VouchError(f"{what}: '{shorten(word)}' is not a number") from None
    if isinstance(value, int) and abs(value) >= 2**63:
        raise VouchError(f"{what}: a number that large fits no 64 bits")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise VouchError(f"{what}: {value} is not a finite number")
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool) == isinstance(value, bool):
        return value
    expected = getattr(kind, "__name__", str(kind))
    raise VouchError(f"{what}: {shorten(repr(value))} is not of type {expected}")


def _parse(text: str, what: str) -> object:
    try:
        return yaml.load(text, _Loader)
    except Exception:
        quoted = shorten(text)
        raise VouchError(f"{what}: '{quoted}' is neither a plain value nor a list such as [1, 2]") from None


class _Loader(yaml.SafeLoader):
    """YAML loader with bounded size whose errors all carry a line number.

    A key that is given twice is an error too, because the first value would be lost silently.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._values_of: dict[yaml.Node | None, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark, is_alias, before = self.peek_event().start_mark, self.check_event(yaml.AliasEvent), self._values
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias:
            self._values += 1
            self._values_of[node] = self._values - before
        elif node in self._values_of:
            # An alias counts as often as it occurs, since its values are converted and shown each time: a few nested
            # aliases can stand for more values than any memory holds.
            self._values += self._values_of[node]
        else:
            raise yaml.MarkedYAMLError(problem="a value that holds itself", problem_mark=mark)
        if self._values > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MOST_VALUES} values", problem_mark=mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            # Impossible dates, numbers with more digits than Python converts, incomplete tags.
            raise yaml.MarkedYAMLError(problem=reason(error), problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        mapping: set[object] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise yaml.MarkedYAMLError(problem=f"'{key}' is there twice", problem_mark=key_node.start_mark)
            mapping.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, object]:
    """Read a YAML mapping.

    Parameters
    ----------
    path : str or Path
        A file with at most 1 MiB, 32 levels and 20,000 values.

    Returns
    -------
    dict of str to object
        Option to value.

    Raises
    ------
    VouchError
        The file cannot be read, is too large or broken, or repeats a key; the message has the file and the line.
    """
    text = read_text(path, LONGEST_YAML)
    try:
        content = yaml.load(text, _Loader)
    except Exception as error:
        # PyYAML reports the line in three ways; the errors of other libraries have none.
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or reason(error)
        raise VouchError(f"{path}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {shorten(problem)}") from None
    if not isinstance(content, dict):
        raise VouchError(f"{path}: holds no 'key: value' lines")
    return content
