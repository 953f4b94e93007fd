"""How many kills, faults and mutations: few in the gate, all with VOUCH_RELIABILITY=full, or a share such as 0.1."""

from __future__ import annotations

import os


def count(few: int, all_of_them: int) -> int:
    """Return how many of something to do; VOUCH_RELIABILITY=0.1 means a tenth of all, at least the few."""
    asked = os.environ.get("VOUCH_RELIABILITY", "")
    share = 1.0 if asked == "full" else float(asked or 0.0)
    return max(few, round(share * all_of_them))


def seed() -> int:
    """Return what all draws follow from; VOUCH_RELIABILITY_SEED=1 draws others."""
    return int(os.environ.get("VOUCH_RELIABILITY_SEED", "0"))
