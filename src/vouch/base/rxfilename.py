"""Parses Kaldi's extended file names for reading: files, positions in archives, pipes, ranges of rows and columns."""

from __future__ import annotations

import re
from typing import NamedTuple

from vouch.base.errors import VouchError, shorten

# Most digits of an offset or a range limit. No file is larger, and the number would not fit into an index.
MAX_DIGITS = 18
_SPAN = rf"(\d{{1,{MAX_DIGITS}}}:\d{{1,{MAX_DIGITS}}}|:)"
_RANGE = re.compile(rf"(?a:{_SPAN}?(?:,{_SPAN})?)")
# A range may end this many rows after the last one: the frame counts of two programs differ by that much.
RANGE_SLACK = 2

Span = tuple[int, int]


class Source(NamedTuple):
    """Where one matrix, vector or recording is read from; see `parse_rxfilename` and `parse_place`.

    Attributes
    ----------
    name : str
        Path of a file, or a shell command.
    offset : int
        Position of its first byte in the file.
    is_pipe : bool
        Whether `name` is a command that writes to its standard output.
    rows : Span, optional
        First and last row that are wanted (elements, if it is a vector); None: all.
    cols : Span, optional
        First and last column that are wanted; None: all.
    """

    name: str
    offset: int = 0
    is_pipe: bool = False
    rows: Span | None = None
    cols: Span | None = None


def parse_rxfilename(rxfilename: str) -> Source:
    """Parse `file`, `file:offset` or `command |`, optionally followed by a range such as `[0:99]` or `[:,3:5]`.

    Raises
    ------
    VouchError
        The range is malformed, `|` is at the wrong end, the name is empty, or it stands for the standard input.
    """
    if not rxfilename.endswith("]"):
        return parse_place(rxfilename)
    name, _, text = rxfilename[:-1].rpartition("[")
    found = _RANGE.fullmatch(text)
    if found is None or not text or not name:
        raise VouchError(f"'{shorten(rxfilename)}': a range is [first:last] or [first:last,first:last], counted from 0")
    rows, cols = _parse_span(found[1], rxfilename), _parse_span(found[2], rxfilename)
    return parse_place(name)._replace(rows=rows, cols=cols)


def parse_place(rxfilename: str) -> Source:
    """Parse `file`, `file:offset` or `command |` as in `wav.scp`, where brackets are part of the name.

    Raises
    ------
    VouchError
        `|` is at the wrong end, the name is empty or stands for the standard input, or the offset is too large.
    """
    name = rxfilename.rstrip()
    if name.endswith("|"):
        return Source(name[:-1], is_pipe=True)
    if name in ("", "-") or name.startswith("|"):
        raise VouchError(f"'{rxfilename}': neither a file nor a command that ends in '|'")
    placed = split_offset(rxfilename)
    if placed is None:
        return Source(rxfilename)
    path, offset = placed
    if len(offset) > MAX_DIGITS:
        raise VouchError(f"{path}: the offset {shorten(offset)} is larger than any file; write the table again")
    return Source(path, int(offset))


def split_offset(name: str) -> tuple[str, str] | None:
    """Split `file:offset` into path and digits; None if the name does not end in an offset."""
    path, _, offset = name.rpartition(":")
    return (path, offset) if path and offset.isascii() and offset.isdigit() else None


def _parse_span(text: str | None, rxfilename: str) -> Span | None:
    if text is None or text == ":":
        return None
    first, last = (int(number) for number in text.split(":"))
    if first > last:
        raise VouchError(f"'{rxfilename}': the range ends before it begins")
    return first, last


def resolve_range(source: Source, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the slices that select a source's range from an array of the given shape.

    The range may end after the last row of a matrix or the last element of a vector, by at most `RANGE_SLACK`.

    Raises
    ------
    VouchError
        The range lies outside the array.
    """
    spans = (source.rows, source.cols)
    if len(shape) < sum(span is not None for span in spans) or (len(shape) < 2 and source.cols is not None):
        raise VouchError(f"a range of more axes than the {len(shape)} that there are")
    return tuple(
        _resolve_span(span, size, slack, shape)
        for span, size, slack in zip(spans, shape, (RANGE_SLACK, 0), strict=False)
    )


def _resolve_span(span: Span | None, size: int, slack: int, shape: tuple[int, ...]) -> slice:
    if span is None:
        return slice(0, size)
    first, last = span
    # Kaldi lets a range of rows end at size + 2, but a range of columns at the last column.
    highest = size + slack if slack else size - 1
    if first >= size or last > highest:
        raise VouchError(f"range {first}:{last} is outside of {' x '.join(map(str, shape))} values")
    return slice(first, min(last + 1, size))
