"""Failures among many items: how many are tolerated, and how they are described in a message."""

from __future__ import annotations

FAILURES_SHOWN = 10
# Largest share of many files of which some may be bad, unless somebody says otherwise.
MAX_FAILED = 0.05


def describe_failures(failed: dict[str, str]) -> str:
    """Return the first few failures as one line."""
    shown = [f"'{item}': {reason}" for item, reason in list(failed.items())[:FAILURES_SHOWN]]
    if len(failed) > FAILURES_SHOWN:
        shown.append(f"and {len(failed) - FAILURES_SHOWN} more")
    return "; ".join(shown)
