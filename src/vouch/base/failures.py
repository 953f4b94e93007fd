"""Describes failures among many items, and defines how many are tolerated."""

from __future__ import annotations

FAILURES_SHOWN = 10
# Default for the largest share of files that may be bad.
MAX_FAILED = 0.05


def describe_failures(failed: dict[str, str]) -> str:
    """Return the first few failures as one line."""
    shown = [f"'{item}': {reason}" for item, reason in list(failed.items())[:FAILURES_SHOWN]]
    if len(failed) > FAILURES_SHOWN:
        shown.append(f"and {len(failed) - FAILURES_SHOWN} more")
    return "; ".join(shown)
