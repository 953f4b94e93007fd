"""Kaldi's text tables: one `key value` line each, sorted by key in the C locale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vouch.errors import VouchError
from vouch.files import write_text


def read_table(path: str | Path) -> dict[str, str]:
    """Read a table such as `wav.scp` or `utt2spk`: first field to the rest of the line.

    Raises
    ------
    VouchError
        naming file and line: the file is missing, empty or not UTF-8; a line is blank, has carriage returns or no
        value; keys are repeated or not in the order of `LC_ALL=C sort`.
    """
    path = Path(path)
    table: dict[str, str] = {}
    previous = ""
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            what = f"'{fields[0]}' has no value" if fields else "blank line"
            raise VouchError(f"{path}:{number}: {what}; each line is '<key> <value>'")
        key, value = fields
        # Python compares strings by code point, which is the byte order of their UTF-8: C-locale order.
        if key <= previous:
            what = "is repeated" if key in table else f"comes after '{previous}': not sorted"
            raise VouchError(f"{path}:{number}: '{key}' {what}; sort it with: LC_ALL=C sort -u -k1,1")
        table[key] = value.rstrip()
        previous = key
    return table


def read_lines(path: str | Path) -> list[str]:
    """Read a UTF-8 text file of at least one line; `VouchError` says what is wrong with the file."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise VouchError(f"{path}: no such file") from None
    except OSError as error:
        raise VouchError(f"{path}: {error.strerror}") from None
    if not content.strip():
        raise VouchError(f"{path}: the file is empty")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise VouchError(f"{path}:{number}: not UTF-8 text") from None
    if "\r" in text:
        number = text.count("\n", 0, text.index("\r")) + 1
        raise VouchError(f"{path}:{number}: carriage return; convert the line ends with: sed -i 's/\\r$//' {path}")
    # Not splitlines(): it would also split at characters such as U+2028, which ids and paths may hold.
    return text.removesuffix("\n").split("\n")


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write `table` sorted by key as the C locale sorts, whole or not at all.

    Raises
    ------
    VouchError : a key or value that could not be read back: empty, on several lines, or a key with blanks
    """
    for key, value in table.items():
        if key.split() != [key] or not value.strip() or "\n" in value or "\r" in value:
            raise VouchError(f"{path}: {key!r} {value!r} cannot be a line '<key> <value>' of a table")
    write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table)))
