"""What is wrong with data: findings that name file and line, collected and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    level : str
        "error", which no later stage should meet, or "warning".
    check : str
        What was checked, for the summary ("order", "clipping", ...).
    path : Path
        The file.
    line : int
        Counted from 1; 0 when the whole file is meant.
    message : str
        The reason, without file and line.
    """

    level: str
    check: str
    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{self.level}: {where}: {self.message}"


@dataclass
class Report:
    """Findings in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)

    def error(self, check: str, path: Path, line: int, message: str) -> None:
        """Add what no later stage should meet."""
        self.findings.append(Finding("error", check, path, line, message))

    def warning(self, check: str, path: Path, line: int, message: str) -> None:
        """Add what may be meant so."""
        self.findings.append(Finding("warning", check, path, line, message))

    def count(self, level: str) -> int:
        """Return the number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)

    def shorten(self, shown: int) -> Iterator[str]:
        """Yield the findings as lines, the first `shown` of each kind in each file and how many more there are."""
        kinds: dict[tuple[str, str, Path], list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault((finding.level, finding.check, finding.path), []).append(finding)
        for (level, check, path), alike in kinds.items():
            yield from map(str, alike[:shown])
            if len(alike) > shown:
                yield f"{level}: {path}: {check}: {len(alike) - shown} more of {len(alike)}"

    def summarize(self) -> Iterator[str]:
        """Yield the lines of a table that counts errors and warnings of each check."""
        counts: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            of_check = counts.setdefault(finding.check, {"error": 0, "warning": 0})
            of_check[finding.level] += 1
        counts["all"] = {level: self.count(level) for level in ("error", "warning")}
        yield f"{'check':<24}{'errors':>9}{'warnings':>10}"
        for check, of_check in counts.items():
            yield f"{check:<24}{of_check['error']:>9}{of_check['warning']:>10}"
