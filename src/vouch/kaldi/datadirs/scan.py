"""Reads faulty tables completely and reports each fault as a finding, for tools that check and repair."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vouch.base.numbers import plain_float
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.tables import BYTE_ORDER_MARK

MEND = "utils/fix_data_dir.py mends it"


class Rows(NamedTuple):
    """The lines of a table that have a key, in file order.

    Attributes
    ----------
    path : Path
        The file.
    keys : list of str
    values : list of str
        The rest of each line.
    numbers : sequence of int
        Line numbers, counted from 1.
    """

    path: Path
    keys: list[str]
    values: list[str]
    numbers: Sequence[int]


def scan_rows(path: Path, report: Report, bare: bool = False) -> Rows:
    """Read a table in any state.

    Parameters
    ----------
    path : Path
        The file.
    report : Report
        Receives a finding for a file that is missing, empty or not UTF-8 (which gives no rows), for byte order marks,
        carriage returns, blank and unfinished lines, and for blanks at either end of a line.
    bare : bool
        Whether keys without a value are allowed; otherwise such lines are reported and left out.
    """
    lines = scan_lines(path, report)
    pairs = [line.split(None, 1) for line in lines]
    numbers: Sequence[int] = range(1, len(pairs) + 1)
    shortest = min(map(len, pairs), default=2)
    if shortest < 2:
        kept = []
        for number, pair in enumerate(pairs, start=1):
            if not pair:
                report.error("blank lines", path, number, f"blank line; {MEND}")
            elif len(pair) == 1 and not bare:
                report.error("columns", path, number, f"'{pair[0]}' has no value; each line is '<key> <value>'")
            else:
                kept.append(number)
        pairs = [[*pairs[number - 1], ""][:2] for number in kept]
        numbers = kept
    values = [value.rstrip() for _, value in pairs]
    _check_edges(path, lines, report)
    return Rows(path, [key for key, _ in pairs], values, numbers)


def parse_number(value: str) -> float:
    """Return the number that a value holds, or NaN if it is not a number."""
    try:
        return plain_float(value)
    except ValueError:
        return math.nan


def scan_lines(path: Path, report: Report) -> list[str]:
    """Return the lines of a text file; faults that rewriting repairs are reported, and repaired in the result."""
    try:
        content = path.read_bytes()
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        report.error("missing files", path, 0, what)
        return []
    if not content.strip():
        report.error("empty files", path, 0, "the file is empty")
        return []
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        report.error("encoding", path, number, "not UTF-8 text; convert it with iconv")
        return []
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        report.error("encoding", path, number, "a zero byte; this is no text file")
        return []
    if "\r" in text:
        number = text.count("\n", 0, text.index("\r")) + 1
        count = sum("\r" in line for line in text.split("\n"))
        report.error("line ends", path, number, f"carriage return, on {count} lines in all; {MEND}")
        text = text.replace("\r", "")
    if not text.endswith("\n"):
        report.error("line ends", path, text.count("\n") + 1, f"the last line has no end; {MEND}")
    # Not splitlines(): it would also split at characters such as U+2028, which ids and paths may hold.
    lines = text.removesuffix("\n").split("\n")
    if BYTE_ORDER_MARK in text:
        # Kaldi's own programs and Python's split() would take it for part of the key.
        marked = [number for number, line in enumerate(lines, start=1) if line.startswith(BYTE_ORDER_MARK)]
        for number in marked:
            report.error("byte order mark", path, number, f"byte order mark before the line; {MEND}")
            lines[number - 1] = lines[number - 1].lstrip(BYTE_ORDER_MARK)
    return lines


def _check_edges(path: Path, lines: list[str], report: Report) -> None:
    after = [number for number, line in enumerate(lines, start=1) if line[-1:].isspace() and not line.isspace()]
    if after:
        message = f"blank at the end of the line, on {len(after)} lines in all; {MEND}"
        # Kaldi's own programs write trailing blanks in other tables, and its readers accept them.
        add = report.error if path.name == "utt2spk" else report.warning
        add("blanks", path, after[0], message)
    for number, line in enumerate(lines, start=1):
        if line[:1].isspace() and not line.isspace():
            report.error("blanks", path, number, f"blank before the key; {MEND}")


def check_order(rows: Rows, report: Report) -> None:
    """Report keys that are repeated or not in the order of `LC_ALL=C sort`."""
    keys = rows.keys
    if all(map(operator.lt, keys, islice(keys, 1, None))):
        return
    seen: set[str] = set()
    previous, unsorted = "", []
    for key, number in zip(keys, rows.numbers, strict=True):
        if key in seen:
            report.error("repeated keys", rows.path, number, f"'{key}' is repeated; {MEND}")
        # Python compares strings by code point, which is also the byte order of UTF-8, and so the C-locale order.
        elif key < previous:
            unsorted.append((number, key, previous))
        seen.add(key)
        previous = key
    if unsorted:
        number, key, previous = unsorted[0]
        more = f" (and so on {len(unsorted) - 1} more lines)" if len(unsorted) > 1 else ""
        report.error("order", rows.path, number, f"'{key}' comes after '{previous}': not sorted{more}; {MEND}")


def advise_order(utterance: str, speaker: str, previous: str) -> str:
    """Advise on ids when an utterance sorts after those of speaker `previous`, who sorts after the utterance's speaker.

    Examples
    --------
    >>> advise_order("1_2", "1", "13")
    "'1' is the beginning of '13', and '_' sorts after '3': give ids one length, or put '-' after them"
    >>> advise_order("x1", "a", "b")
    "begin utterance ids with the speaker's and '-', and give speaker ids one length"
    """
    if utterance.startswith(speaker) and previous.startswith(speaker) and utterance != speaker:
        sign, other = utterance[len(speaker)], previous[len(speaker)]
        return (
            f"'{speaker}' is the beginning of '{previous}', and '{sign}' sorts after '{other}':"
            " give ids one length, or put '-' after them"
        )
    return "begin utterance ids with the speaker's and '-', and give speaker ids one length"


def check_keys(rows: Rows, reference: Rows, what: str, report: Report) -> None:
    """Report keys of either table that are missing in the other.

    If either table has no rows, nothing is reported, since reading it did. `what` says what the keys are ids of.
    """
    if rows.keys and reference.keys and rows.keys != reference.keys:
        check_known(rows, dict.fromkeys(reference.keys, ""), reference.path.name, what, report)
        check_known(reference, dict.fromkeys(rows.keys, ""), rows.path.name, what, report)


def check_known(rows: Rows, known: Mapping[str, object], name: str, what: str, report: Report) -> None:
    """Report keys of a table that are not in `known`, the keys of the file `name`."""
    for key, number in zip(rows.keys, rows.numbers, strict=True):
        if key not in known:
            report.error("matching keys", rows.path, number, f"{what} '{key}' is not in {name}")
