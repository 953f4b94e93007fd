"""Docstrings of the library are in NumPy's dialect: an entry is `name : type`, with a description indented below it."""

from __future__ import annotations

import builtins
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

import vouch

NAMED = ("Parameters", "Attributes")
RESULTS = ("Returns", "Yields")
# Types are made of names of classes, shapes in brackets, choices in quotes, number types, and these words.
WORDS = re.compile(
    "int|ints|float|str|bool|bytes|object|callable|function|sequence|collection|list|tuple|dict|set|iterable|iterator"
    "|mapping|range|generator|memoryview|array|ndarray|number|type|a|multiple|multiples|two|three|four|five|six"
    r"|of|to|or|and|in|optional|the|same|torch\.device|(u?int|float|complex)\d+|\d+"
)
BRACKETED = re.compile(r"\((?:[^()]|\([^()]*\))*\)|\[[^]]*[])]|\"[^\"]*\"|`[^`]*`")


def is_type(text: str) -> bool:
    words = re.findall(r"[A-Za-z_][\w.]*|\d+", BRACKETED.sub(" ", text))
    known = (word.split(".")[-1][0].isupper() or WORDS.fullmatch(word) for word in words)
    return bool(text.strip()) and ";" not in text and text != "Hz" and all(known)


def sections(docstring: str) -> dict[str, list[str]]:
    """Return the first lines of the entries of each section."""
    found: dict[str, list[str]] = {}
    section = ""
    lines = inspect.cleandoc(docstring).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"}:
            section = line
            found[section] = []
        elif section and line.strip("- ") and not line.startswith(" "):
            found[section].append(line)
    return found


def public_members(module) -> Iterator[tuple[str, object]]:
    """Yield the public classes and functions that a module defines, and the public methods of its classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or not callable(value) or getattr(value, "__module__", None) != module.__name__:
            continue
        yield f"{module.__name__}.{name}", value
        if inspect.isclass(value):
            for method in vars(value):
                found = inspect.getattr_static(value, method)
                if isinstance(found, (staticmethod, classmethod)):
                    found = found.__func__
                if inspect.isfunction(found) and (method == "__call__" or not method.startswith("_")):
                    yield f"{module.__name__}.{name}.{method}", found


MODULES = [importlib.import_module(found.name) for found in pkgutil.walk_packages(vouch.__path__, "vouch.")]
DOCUMENTED = {name: value for module in MODULES for name, value in public_members(module) if value.__doc__}
EXCEPTIONS = {
    value.__name__
    for value in (*vars(builtins).values(), *DOCUMENTED.values())
    if inspect.isclass(value) and issubclass(value, Exception)
}


def test_an_entry_has_a_type():
    wrong = []
    for name, value in DOCUMENTED.items():
        for section, entries in sections(value.__doc__).items():
            if section in NAMED:
                wrong += [f"{name}: {entry}" for entry in entries if not is_type(entry.partition(" : ")[2])]
            elif section in RESULTS:
                wrong += [f"{name}: {entry}" for entry in entries if not is_type(entry.rpartition(" : ")[2])]
    assert not wrong, "\n".join(wrong)


def test_an_entry_is_a_parameter():
    wrong = []
    for name, value in DOCUMENTED.items():
        entries = sections(value.__doc__).get("Parameters", [])
        known = inspect.signature(value).parameters if entries else {}
        for entry in entries:
            names = [word.strip() for word in entry.partition(" : ")[0].split(",")]
            wrong += [f"{name}: {word}" for word in names if word.lstrip("*") not in known]
    assert not wrong, "\n".join(wrong)


def test_raised_exceptions_exist():
    wrong = []
    for name, value in DOCUMENTED.items():
        for entry in sections(value.__doc__).get("Raises", []):
            wrong += [f"{name}: {word}" for word in entry.split(", ") if word not in EXCEPTIONS]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", True),
        ("(batch, frames) float32", True),
        ("(batch, (frames - 1) // stride + 1) bool, optional", True),
        ("(samples,) float32 in [-1, 1]", True),
        ("mapping of str to DataSet", True),
        ('float or "auto"', True),
        ("number of triangles", False),
        ("Hz", False),
        ("(trials,) bool, True for the same speaker", False),
        ("a file", False),
        ("", False),
    ],
)
def test_types_are_told_from_descriptions(text, expected):
    assert is_type(text) is expected
