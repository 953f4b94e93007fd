"""Reads text with three fields per line, such as trial lists and score files, in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, shorten
from vouch.kaldi.tables import iterate_blocks, split_lines

# Number of zero bytes after the text, so that eight bytes can be read at the start of any field.
PAD = 8
_SIGNS = np.frombuffer(b"  \n", np.uint8)


class Form(NamedTuple):
    """Form of the lines of a file.

    Attributes
    ----------
    shown : str
        Description for messages, such as `<enrol-id> <test-id> <score>`.
    accepts : callable
        Function that returns whether a word is valid as the third field.
    """

    shown: str
    accepts: Callable[[str], bool]

    def refuse(self, path: str | Path, number: int, line: str) -> VouchError:
        """Return the error for a malformed line."""
        return VouchError(f"{path}:{number}: '{shorten(line.strip())}' is not '{self.shown}'")


class Triples(NamedTuple):
    """Lines of three fields with one blank between them.

    Attributes
    ----------
    text : (bytes + PAD,) uint8 ndarray
    ends : (lines, 3) int64 ndarray
        Positions of the two blanks and the newline of each line.
    before : int
        Number of lines of the file before these.
    """

    text: np.ndarray
    ends: np.ndarray
    before: int

    def starts(self) -> np.ndarray:
        """Return (lines, 3) int64, the start of each field."""
        starts = np.empty(self.ends.size, np.int64)
        starts[0] = 0
        starts[1:] = self.ends.ravel()[:-1] + 1
        return starts.reshape(-1, 3)

    def words(self) -> tuple[list[str], list[str], list[str]]:
        """Return the three columns as strings."""
        words = self.text[:-PAD].tobytes().decode().split()
        return words[::3], words[1::3], words[2::3]

    def line(self, row: int) -> str:
        """Return the text of a line."""
        start = self.ends[row - 1, 2] + 1 if row else 0
        return self.text[start : self.ends[row, 2]].tobytes().decode()

    def word(self, row: int, column: int) -> str:
        """Return one field."""
        return self.line(row).split(" ")[column]


def iterate_triples(path: str | Path, form: Form) -> Iterator[Triples]:
    """Read a file in blocks of lines.

    Raises
    ------
    VouchError
        The file cannot be read or is empty, it is not UTF-8 text, or a line has another number of fields or a third
        field that `form` rejects (checked only if blanks are not single, see `parse_triples`). The message names file
        and line.
    """
    for before, block in iterate_blocks(path):
        yield parse_triples(block, before, path, form)


def parse_triples(block: bytes, before: int, path: str | Path, form: Form) -> Triples:
    """Find the fields in a block of whole lines, after `before` earlier lines.

    Lines of ASCII with single blanks between the fields, as programs write them, are not checked one by one: the caller
    must check whether `form` accepts their third field.

    Raises
    ------
    VouchError
        As from `iterate_triples`.
    """
    found = _find_fields(block, before)
    if found is None:
        found = _find_fields(_single_blanks(block, before, path, form), before, only_ascii=False)
        assert found is not None
    return found


def _find_fields(block: bytes, before: int, only_ascii: bool = True) -> Triples | None:
    """Find the fields of lines with three ASCII words and single blanks between them; None for any other lines."""
    if only_ascii and not block.isascii():
        return None
    if not block.endswith(b"\n"):
        block += b"\n"
    text = np.frombuffer(block + bytes(PAD), np.uint8)
    # In the original text other control characters may be blanks too; after rewriting, only these two are.
    signs = text[:-PAD]
    ends = np.flatnonzero(signs <= ord(" ") if only_ascii else (signs == ord(" ")) | (signs == ord("\n")))
    if len(ends) % 3 or ends[0] == 0 or (np.diff(ends) == 1).any():
        return None
    ends = ends.reshape(-1, 3)
    return Triples(text, ends, before) if (text[ends] == _SIGNS).all() else None


def _single_blanks(block: bytes, before: int, path: str | Path, form: Form) -> bytes:
    """Rewrite lines with one blank between fields, where Python's `split` splits them."""
    lines = split_lines(block, before, path)
    for row, line in enumerate(lines):
        fields = line.split()
        if len(fields) != 3 or not form.accepts(fields[2]):
            raise form.refuse(path, before + row + 1, line)
        lines[row] = " ".join(fields)
    return "\n".join(lines).encode()
