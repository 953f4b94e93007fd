"""Reads passwords and access keys from a file, the environment or the terminal, never from a command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.kaldi.tables import read_lines


@dataclass
class Credentials:
    """Secrets for one server, read when they are first needed.

    Attributes
    ----------
    prefix : str
        Prefix of the environment variables <prefix>_KEY, <prefix>_USER and <prefix>_PASSWORD.
    file : Path, optional
        File with one line (a key) or two (user and password); None: environment or terminal.
    ask : callable
        Function of a prompt and whether to hide the input that returns what is typed; "" without a terminal.
    """

    prefix: str
    file: Path | None = None
    ask: Callable[[str, bool], str] = lambda prompt, secret: ""
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    def key(self) -> str:
        """Return the access key; `VouchError` if it is not found."""
        return self._find("KEY", "an access key", line=0, lines=1)

    def login(self) -> tuple[str, str]:
        """Return user and password; `VouchError` if they are not found."""
        user = self._find("USER", "a user", line=0, lines=2)
        return user, self._find("PASSWORD", "a password", line=1, lines=2)

    def advice(self) -> str:
        """Return a text on where to provide the secrets."""
        return f"{self.prefix}_KEY, or {self.prefix}_USER and {self.prefix}_PASSWORD, or --login FILE"

    def _find(self, what: str, words: str, line: int, lines: int) -> str:
        if what not in self._known:
            value = self._look_up(what, words, line, lines).strip()
            if not value:
                raise VouchError(f"the server wants {words}: set {self.prefix}_{what}, or give --login FILE")
            self._known[what] = value
        return self._known[what]

    def _look_up(self, what: str, words: str, line: int, lines: int) -> str:
        if self.file is not None:
            content = read_lines(self.file)
            if len(content) != lines:
                wanted = "one line, the access key" if lines == 1 else "two lines, user and password"
                raise VouchError(f"{self.file}: has {len(content)} lines; this server wants {wanted}")
            return content[line]
        variable = f"{self.prefix}_{what}"
        if variable in os.environ:
            # Removed from the environment, so that programs started later do not inherit it.
            return os.environ.pop(variable)
        return self.ask(f"{self.prefix} {words.partition(' ')[2]}", what != "USER")
