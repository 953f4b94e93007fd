"""Collects and counts findings, the faults of data, each with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """One fault.

    Attributes
    ----------
    level : str
        "error" if later stages cannot use the data, or "warning".
    check : str
        Name of the check, for the summary ("order", "clipping", ...).
    path : Path
        The file.
    line : int
        Line number from 1; 0 for the whole file.
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
    """Findings in the order in which they were added."""

    findings: list[Finding] = field(default_factory=list)

    def error(self, check: str, path: Path, line: int, message: str) -> None:
        """Add a fault that makes the data unusable for later stages."""
        self.findings.append(Finding("error", check, path, line, message))

    def warning(self, check: str, path: Path, line: int, message: str) -> None:
        """Add a fault that may be intended."""
        self.findings.append(Finding("warning", check, path, line, message))

    def count(self, level: str) -> int:
        """Return the number of findings of one level."""
        return sum(finding.level == level for finding in self.findings)

    def shorten(self, shown: int) -> Iterator[str]:
        """Yield the first `shown` findings of each kind in each file as lines, and the number of further ones."""
        kinds: dict[tuple[str, str, Path], list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault((finding.level, finding.check, finding.path), []).append(finding)
        for (level, check, path), alike in kinds.items():
            yield from map(str, alike[:shown])
            if len(alike) > shown:
                yield f"{level}: {path}: {check}: {len(alike) - shown} more of {len(alike)}"

    def summarize(self) -> Iterator[str]:
        """Yield the lines of a table with the number of errors and warnings of each check."""
        counts: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            of_check = counts.setdefault(finding.check, {"error": 0, "warning": 0})
            of_check[finding.level] += 1
        counts["all"] = {level: self.count(level) for level in ("error", "warning")}
        yield f"{'check':<24}{'errors':>9}{'warnings':>10}"
        for check, of_check in counts.items():
            yield f"{check:<24}{of_check['error']:>9}{of_check['warning']:>10}"
