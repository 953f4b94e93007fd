"""Reads the fields of a JSON object, each with the type that it must have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Fields:
    """A JSON object whose fields are read by name and type; a missing field or another type is a `ValueError`.

    A reader of a file turns the error into one that names the file (`vouch.base.errors.about_file`).

    Parameters
    ----------
    content : object
        What `vouch.base.files.read_json` returned, or a part of it.
    """

    def __init__(self, content: object) -> None:
        self._content = check(content, dict, "it", "an object")

    def names(self) -> list[str]:
        """Return the names of all fields, in their order."""
        return list(self._content)

    def is_null(self, name: str) -> bool:
        """Return whether a field, which must be there, is null."""
        return self._content[name] is None

    def text(self, name: str) -> str:
        """Return a field that is text."""
        return check(self._content[name], str, f"'{name}'", "text")

    def number(self, name: str) -> float:
        """Return a field that is a finite number."""
        return check_number(self._content[name], f"'{name}'")

    def count(self, name: str, least: int = 0) -> int:
        """Return a field that is a whole number of at least `least`."""
        value = self._content[name]
        if type(value) is not int or value < least:
            raise ValueError(f"'{name}' is not a whole number of at least {least}")
        return value

    def truth(self, name: str) -> bool:
        """Return a field that is true or false."""
        return check(self._content[name], bool, f"'{name}'", "true or false")

    def values(self, name: str) -> Sequence[object]:
        """Return a field that is a list."""
        return check_list(self._content[name], f"'{name}'")

    def texts(self, name: str) -> list[str]:
        """Return a field that is a list of texts."""
        return [check(value, str, f"'{name}'", "a list of texts") for value in self.values(name)]

    def numbers(self, name: str) -> list[float]:
        """Return a field that is a list of finite numbers."""
        return [check_number(value, f"'{name}'") for value in self.values(name)]

    def fields(self, name: str) -> Fields:
        """Return a field that is an object."""
        return Fields(check(self._content[name], dict, f"'{name}'", "an object"))


def check(value: object, kind: type[T], what: str, called: str) -> T:
    """Return a value of the expected type; `ValueError` says what it should be."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} is not {called}")
    return value


def check_list(value: object, what: str = "a value") -> Sequence[object]:
    """Return the value if it is a list, else raise `ValueError`."""
    return check(value, list, what, "a list")


def check_number(value: object, what: str = "a value") -> float:
    """Return the value if it is a finite number, else raise `ValueError`; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{what} is not a finite number")
    return float(value)
