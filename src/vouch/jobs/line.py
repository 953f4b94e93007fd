"""Parses the arguments of a launcher, `[options] [NAME=first:last] log-file command ...`, as Kaldi's run.pl does.

The launchers of this machine and of clusters share this parser. Unlike Kaldi's, it rejects unknown options, because a
misspelt `--max-job-run` would otherwise start all jobs at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vouch.base.errors import VouchError, nearest

# Options that every launcher accepts, so that a stage need not know which launcher it calls.
OPTIONS = ("--max-jobs-run", "--num-threads", "--mem", "--gpu", "--time")

_ARRAY = re.compile(r"([A-Za-z_]\w*)=([^/]*)")
_RANGE = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)


@dataclass(frozen=True)
class JobArray:
    """The request of one launcher call: the same command for each number of a range.

    Attributes
    ----------
    options : dict of str to str
        Option, with its dashes, to value.
    name : str or None
        Text that is replaced by the task number in the log name and in the command; None without `NAME=`.
    tasks : range
        The task numbers; only 1 without `NAME=`.
    log : str
        Path of the log file, with `name` in it.
    words : tuple of str
        The command, with `name` in it.
    """

    options: dict[str, str]
    name: str | None
    tasks: range
    log: str
    words: tuple[str, ...]

    def log_of(self, task: int | str) -> str:
        """Return the log file of one task; `"*"` gives the pattern of all logs."""
        return self._numbered(self.log, task)

    def line_of(self, task: int | str) -> str:
        """Return the command line of one task for bash; words with blanks are quoted, others stay as they are."""
        return "".join(f"{_quote(self._numbered(word, task))} " for word in self.words)

    def check_logs(self) -> None:
        """Raise `VouchError` when several tasks would write the same log."""
        if self.name is not None and len(self.tasks) > 1 and self.name not in self.log:
            raise VouchError(f"{len(self.tasks)} jobs would share the log {self.log}; put {self.name} into its name")

    def number(self, option: str, default: int, least: int = 1) -> int:
        """Return an option's value as an integer of at least `least`."""
        value = self.options.get(option, str(default))
        if not re.fullmatch(r"[0-9]+", value) or int(value) < least:
            raise VouchError(f"{option} takes a whole number of at least {least}, not '{value}'")
        return int(value)

    def failure(self, failed: int) -> str:
        """Return what a launcher prints when `failed` tasks failed."""
        if len(self.tasks) > 1:
            return f"{failed} / {len(self.tasks)} failed, log is in {self.log_of('*')}"
        message = f"job failed, log is in {self.log_of(self.tasks[0])}"
        if self.name is None and "JOB" in self.log:
            message += "; its name holds 'JOB': is JOB=1:$nj missing before it?"
        return message

    def _numbered(self, text: str, task: int | str) -> str:
        return text if self.name is None else text.replace(self.name, str(task))


def parse_launch(words: Sequence[str], known: Collection[str] = OPTIONS) -> JobArray:
    """Parse the arguments of a launcher.

    Parameters
    ----------
    words : sequence of str
        Options and `NAME=first:last` (or `NAME=number`) in any order, then the log file, then the command.
    known : collection of str
        The accepted options, each followed by one value.

    Raises
    ------
    VouchError
        An option is unknown or has no value, the range is malformed, or the log file or the command is missing.
    """
    options: dict[str, str] = {}
    name, tasks = None, range(1, 2)
    rest = list(words)
    while rest:
        array = _ARRAY.fullmatch(rest[0]) if name is None else None
        if array:
            name, tasks = array[1], _parse_range(rest.pop(0), array[2])
        elif rest[0].startswith("-"):
            option = rest.pop(0)
            if option not in known:
                raise VouchError(f"unknown option '{option}'{nearest(option, known)}")
            if not rest:
                raise VouchError(f"{option} needs a value")
            options[option] = rest.pop(0)
        else:
            break
    if len(rest) < 2:
        raise VouchError(f"{'no command after the log file' if rest else 'no log file and no command'}; see --help")
    return JobArray(options, name, tasks, rest[0], tuple(rest[1:]))


def _parse_range(word: str, text: str) -> range:
    match = _RANGE.fullmatch(text)
    if not match:
        raise VouchError(f"invalid job range {word}: write NAME=first:last, such as JOB=1:8")
    first, last = int(match[1]), int(match[2] or match[1])
    if first < 1 or last < first:
        raise VouchError(f"invalid job range {word}: it must count up from 1 or more")
    return range(first, last + 1)


def _quote(word: str) -> str:
    """Quote a word with blanks; other words stay unquoted, so that pipes and redirections can be passed as words."""
    if word and not re.search(r"\s", word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'
