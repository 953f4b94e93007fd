"""Looks up many ids that lie in text at once, without making a string for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Size of the hash table per id, as a power of two; few ids then share a slot.
_SPARE_BITS = 3
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class IdTable:
    """Hash table from ids to rows.

    Ids are compared completely, eight bytes at a time; the hash only selects the known id to compare with.

    Parameters
    ----------
    rows : mapping of str to int
        Row of each id; ids are not empty and have no zero bytes.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        encoded = [name.encode() for name in rows]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        ends = np.cumsum(lengths)
        text = np.frombuffer(b"".join(encoded) + bytes(8), np.uint8)
        values = np.fromiter(rows.values(), np.int64, len(rows))
        self._of_width = {
            width: _OfWidth(_words(text, ends[which] - lengths[which], lengths[which], width), values[which])
            for width, which in _by_width(lengths)
        }

    def rows(self, text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Look up the ids `text[start:end]`.

        Parameters
        ----------
        text : (bytes,) uint8 ndarray
            Text, followed by at least 8 more bytes after the last id.
        starts, ends : (n,) int64 ndarray

        Returns
        -------
        (n,) int64 ndarray
            Rows; -1 for unknown ids.
        """
        found = np.full(len(starts), -1, np.int64)
        lengths = ends - starts
        for width, which in _by_width(lengths):
            if width in self._of_width:
                words = _words(text, starts[which], lengths[which], width)
                found[which] = self._of_width[width].rows(words)
        return found


def _by_width(lengths: np.ndarray) -> list[tuple[int, np.ndarray | slice]]:
    """Group ids by their length in words of eight bytes."""
    widths = (lengths + 7) >> 3
    if (widths == widths[0]).all():
        return [(int(widths[0]), slice(None))]
    return [(int(width), np.flatnonzero(widths == width)) for width in np.unique(widths)]


def _words(text: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Return the ids as (n, width) uint64, padded with zero bytes."""
    pieces: np.ndarray = np.ndarray(len(text) - 8 * width + 1, f"V{8 * width}", text, strides=(1,))
    words = pieces[starts].view("<u8").reshape(-1, width)
    words[:, -1] &= np.uint64(2**64 - 1) >> ((8 * width - lengths) << 3).astype(np.uint64)
    return words


class _OfWidth:
    """The ids with the same number of words, sorted by their slots."""

    def __init__(self, words: np.ndarray, rows: np.ndarray) -> None:
        self._factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
        bits = len(rows).bit_length() + _SPARE_BITS
        self._shift = np.uint64(64 - bits)
        place = self._places(words)
        order = np.argsort(place, kind="stable")
        counts = np.bincount(place, minlength=2**bits)
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._most = int(counts.max())
        # One more entry that matches no id, for hashes after the last id.
        self._words = np.concatenate([words[order], np.zeros_like(words[:1])])
        self._rows = np.append(rows[order], -1).astype(np.int32)

    def _places(self, words: np.ndarray) -> np.ndarray:
        mixed = words[:, 0] * self._factors[0]
        for column in range(1, words.shape[1]):
            mixed += words[:, column] * self._factors[column]
        mixed ^= mixed >> np.uint64(32)
        mixed *= _MULTIPLIER
        return (mixed >> self._shift).astype(np.int64)

    def rows(self, words: np.ndarray) -> np.ndarray:
        """Return (n,) int rows, -1 for unknown ids."""
        place = self._places(words)
        at = self._first[place]
        same = self._equal(words, at)
        rows = np.where(same, self._rows[at], -1)
        # Several ids may share a slot, so ids that differ from the first one are compared with the next.
        left = np.flatnonzero(~same)
        for step in range(1, self._most):
            left = left[at[left] + step < self._first[place[left] + 1]]
            candidates = at[left] + step
            same = self._equal(words[left], candidates)
            rows[left[same]] = self._rows[candidates[same]]
            left = left[~same]
        return rows

    def _equal(self, words: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return (n,) bool, whether the known ids at positions `at` equal `words`."""
        different = self._words[at]
        different ^= words
        combined = different[:, 0]
        for column in range(1, words.shape[1]):
            combined |= different[:, column]
        return combined == 0
