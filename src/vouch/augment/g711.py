"""The codecs of telephone lines, by table: mu-law and A-law of 8 bits (ITU-T Recommendation G.711)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vouch.augment.base import Constant, Effect
from vouch.base.errors import pick


def mu_law_table() -> np.ndarray:
    """Return what each 16-bit sample, -32768 first, becomes by coding and decoding: (65536,) int16.

    G.711, table 2: 14 bits of magnitude, shifted by 33, are kept to four bits behind the leading one.
    """
    samples = np.arange(-32768, 32768)
    shifted = np.minimum(np.abs(samples) >> 2, 8158) + 33
    exponent = np.frexp(shifted)[1] - 6
    mantissa = (shifted >> (exponent + 1)) & 15
    decoded = ((2 * mantissa + 33) << exponent) - 33
    return (np.where(samples < 0, -1, 1) * 4 * decoded).astype(np.int16)


def a_law_table() -> np.ndarray:
    """Return what each 16-bit sample, -32768 first, becomes by coding and decoding: (65536,) int16.

    G.711, table 1: of 11 bits of magnitude the leading one and four behind it are kept.
    """
    samples = np.arange(-32768, 32768)
    magnitude = np.minimum(np.abs(samples) >> 4, 2047)
    exponent = np.maximum(np.frexp(magnitude)[1] - 5, 0)
    decoded = (2 * (magnitude >> exponent) + 1) << exponent
    return (np.where(samples < 0, -1, 1) * 8 * decoded).astype(np.int16)


class G711(Effect):
    """Codes and decodes by mu-law or A-law, each as often as the other.

    Parameters
    ----------
    law : "mu", "a" or "both"

    Raises
    ------
    VouchError
        There is no such law.
    """

    def __init__(self, law: str = "both") -> None:
        tables = {"mu": [mu_law_table()], "a": [a_law_table()]}
        tables["both"] = tables["mu"] + tables["a"]
        chosen = np.stack(pick(tables, law, "law of g711"))
        self.laws, self._tables = len(chosen), Constant(torch.from_numpy(chosen.astype(np.float32) / 32768))

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {"law": rng.integers(self.laws, size=rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        codes = (waves * 32768).round().clamp(-32768, 32767).long() + 32768
        return self._tables.on(waves.device)[drawn["law"][:, None], codes]
