"""The one exception that means "the user can mend this", and the search for the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
# More choices than this would bury the message that they belong to.
CHOICES_SHOWN = 40


# Of a line or a name that is quoted in a message.
QUOTED = 100


class VouchError(Exception):
    """Something a user can cause and mend; its message is one line that scripts print before they exit with 1."""


def shorten(text: str) -> str:
    """Return what a message quotes of a text; a wrong file may have megabytes in one line."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names the choice closest to `word`, or all of a few when none is close.

    Examples
    --------
    >>> nearest("aamsoftmx", ["softmax", "aamsoftmax"])
    " (did you mean 'aamsoftmax'?)"
    >>> nearest("x", ["softmax", "ge2e"])
    ' (choose from: softmax, ge2e)'
    """
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (choose from: {', '.join(known)})" if 0 < len(known) <= CHOICES_SHOWN else ""


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Return `table[name]`; an unknown name raises `VouchError` naming the nearest entry.

    Parameters
    ----------
    table : mapping from names to values
    name : the name asked for
    what : what the table holds, for the message ("loss", "model", ...)
    """
    if name not in table:
        raise VouchError(f"unknown {what} '{name}'{nearest(name, table)}")
    return table[name]
