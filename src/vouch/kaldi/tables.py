"""Reads and writes Kaldi's text tables: one `key value` per line, sorted by key in the C locale."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from vouch.base.errors import VouchError
from vouch.base.files import write_text

# Size of the blocks that tables are read in, which bounds the memory beyond the result.
_BLOCK_BYTES = 1 << 20
# Programs on Windows write this invisible mark before Unicode text; it would become part of the first key.
BYTE_ORDER_MARK = "\ufeff"


def read_table(path: str | Path, bare: bool = False, same_keys: Iterable[str] = ()) -> dict[str, str]:
    """Read a table such as `wav.scp` or `utt2spk`, from first field to the rest of the line.

    Parameters
    ----------
    path : str or Path
        The file.
    bare : bool
        Whether a key may lack a value, as in `text` for an utterance without words.
    same_keys : iterable of str
        Sorted strings to use for equal keys, so that two tables of a million utterances share the objects.

    Raises
    ------
    VouchError
        The file is missing, empty or not UTF-8; a line is blank, has carriage returns or no value; keys are repeated or
        not in the order of `LC_ALL=C sort`. The message names file and line.
    """
    path = Path(path)
    table: dict[str, str] = {}
    previous = ""
    others = iter(same_keys)
    other = next(others, None)
    for number, key, value in split_pairs(iterate_lines(path), path, bare):
        # Python compares strings by code point, which is also the byte order of UTF-8, and so the C-locale order.
        if key <= previous:
            what = "is repeated" if key in table else f"comes after '{previous}': not sorted"
            raise VouchError(f"{path}:{number}: '{key}' {what}; sort it with: LC_ALL=C sort -u -k1,1")
        while other is not None and other < key:
            other = next(others, None)
        if key == other:
            key = other
        table[key] = value
        previous = key
    return table


def split_pairs(lines: Iterable[str], path: str | Path, bare: bool = False) -> Iterator[tuple[int, str, str]]:
    """Yield number, key and value of each line of a table, in any order.

    Parameters
    ----------
    lines : iterable of str
        Lines of the table.
    path : str or Path
        The file, for messages.
    bare : bool
        Whether a key may lack a value, which is then empty.

    Raises
    ------
    VouchError
        A line is blank or has no value; the message names file and line.
    """
    for number, line in enumerate(lines, start=1):
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            if not (bare and fields):
                what = f"'{fields[0]}' has no value" if fields else "blank line"
                raise VouchError(f"{path}:{number}: {what}; each line is '<key> <value>'")
            fields.append("")
        yield number, fields[0], fields[1].rstrip()


def read_lines(path: str | Path) -> list[str]:
    """Read a UTF-8 text file of at least one line; `VouchError` says what is wrong with it."""
    return list(iterate_lines(path))


def iterate_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file without loading all of it; `VouchError` as from `read_lines`."""
    for before, block in iterate_blocks(path):
        yield from split_lines(block, before, path)


def iterate_blocks(path: str | Path, size: int = _BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield the content of a file in blocks of whole lines, each with the number of lines before it.

    Parameters
    ----------
    path : str or Path
        The file.
    size : int
        Size of a block in bytes, to which the rest of its last line is added.

    Raises
    ------
    VouchError
        The file cannot be read or has only blank lines; the lines are not checked otherwise.
    """
    try:
        with open(path, "rb") as file:
            yield from _whole_lines(file, path, size)
    except FileNotFoundError:
        raise VouchError(f"{path}: no such file") from None
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None


def decode_lines(content: bytes, path: str | Path) -> list[str]:
    """Split the content of `path` into lines; `VouchError` says why it is not text of at least one line."""
    blocks = _whole_lines(io.BytesIO(content), path, _BLOCK_BYTES)
    return [line for before, block in blocks for line in split_lines(block, before, path)]


def _whole_lines(file: BinaryIO, path: str | Path, size: int) -> Iterator[tuple[int, bytes]]:
    before, held, is_blank = 0, b"", True
    while block := file.read(size) + file.readline():
        if is_blank:
            # Hold leading blank lines back until another line follows: a file of blank lines only is an error.
            held += block
            if not held.strip():
                continue
            block, is_blank = held, False
        yield before, block
        before += block.count(b"\n")
    if is_blank:
        raise VouchError(f"{path}: the file is empty")


def split_lines(block: bytes, before: int, path: str | Path) -> list[str]:
    """Split a block of whole lines, after `before` earlier lines; `VouchError` names a line that is not text."""
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as error:
        number = before + block.count(b"\n", 0, error.start) + 1
        raise VouchError(f"{path}:{number}: not UTF-8 text") from None
    if "\0" in text:
        number = before + text.count("\n", 0, text.index("\0")) + 1
        raise VouchError(f"{path}:{number}: a zero byte; this is no text file")
    if "\r" in text:
        number = before + text.count("\n", 0, text.index("\r")) + 1
        raise VouchError(f"{path}:{number}: carriage return; convert the line ends with: sed -i 's/\\r$//' {path}")
    # Not splitlines(): it would also split at characters such as U+2028, which ids and paths may hold.
    lines = text.removesuffix("\n").split("\n")
    if BYTE_ORDER_MARK in text:
        # In concatenated files, the mark may also occur in the middle.
        for number, line in enumerate(lines, start=before + 1):
            if line.startswith(BYTE_ORDER_MARK):
                raise VouchError(
                    f"{path}:{number}: byte order mark before the line; remove it with:"
                    f" sed -i 's/^\\xEF\\xBB\\xBF//' {path}"
                )
    return lines


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write `table` sorted by key in C-locale order, whole or not at all.

    Raises
    ------
    VouchError
        A key or value could not be read back: it is empty, has line ends or zero bytes, or a key has blanks.
    """
    for key, value in table.items():
        is_key = key.split() == [key] and not key.startswith(BYTE_ORDER_MARK)
        if not is_key or not value.strip() or any(sign in key + value for sign in "\0\n\r"):
            raise VouchError(f"{path}: {key!r} {value!r} cannot be a line '<key> <value>' of a table")
    write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table)))
