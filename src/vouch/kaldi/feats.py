"""Random access to the feature matrices of a data set: whole utterances and crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vouch.errors import VouchError
from vouch.kaldi.ark import Layout, map_file, npy_layout, parse_header, read_rows, split_rxfilename
from vouch.kaldi.tables import read_table


class FeatureStore:
    """The matrices that a `feats.scp` lists, memory-mapped: a crop touches only the bytes of its rows.

    Parameters
    ----------
    feats_scp : table of `utterance file.ark:offset` or `utterance file.npy`

    Attributes
    ----------
    utterances : list of str, in file order
    num_frames : (utterances,) int64 ndarray
    dim : number of feature dimensions, the same for all

    Raises
    ------
    VouchError
        naming the utterance: an archive is missing or truncated, a matrix is empty, or the dimensions differ
    """

    def __init__(self, feats_scp: str | Path) -> None:
        table = read_table(feats_scp)
        self.path = Path(feats_scp)
        self.utterances = list(table)
        self._files: dict[str, np.ndarray] = {}
        self._entries: list[tuple[np.ndarray, Layout]] = []
        for utterance, rxfilename in table.items():
            where = f"{feats_scp}: '{utterance}'"
            name, offset = split_rxfilename(rxfilename)
            if name.endswith(".npy"):
                # One map an utterance would exhaust the process's maps; the file is opened at each read instead.
                buffer, layout = name, npy_layout(name)
            else:
                if name not in self._files:
                    self._files[name] = map_file(name)
                buffer, layout = self._files[name], parse_header(self._files[name], offset, where)
            if layout.rows == 0 or layout.cols == 0:
                raise VouchError(f"{where}: the matrix is empty")
            if self._entries and layout.cols != self._entries[0][1].cols:
                raise VouchError(
                    f"{where}: {layout.cols} dimensions; the utterances before it have {self._entries[0][1].cols}"
                )
            self._entries.append((buffer, layout))
        self.num_frames = np.array([layout.rows for _, layout in self._entries], dtype=np.int64)
        self.dim = self._entries[0][1].cols

    def __len__(self) -> int:
        return len(self._entries)

    def matrix(self, index: int) -> np.ndarray:
        """Return utterance `index` as (frames, dim) float32."""
        out = np.empty((int(self.num_frames[index]), self.dim), np.float32)
        self._read(index, 0, out)
        return out

    def crop(self, index: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (frames, dim) float32, with the frames of utterance `index` from `first` on.

        An utterance that ends before the crop does is repeated from its beginning: padding with zeros
        would be something the network never meets at test time.
        """
        frames = int(self.num_frames[index])
        if first + len(out) <= frames:
            self._read(index, first, out)
        else:
            out[:] = np.take(self.matrix(index), np.arange(first, first + len(out)), axis=0, mode="wrap")

    def _read(self, index: int, first: int, out: np.ndarray) -> None:
        buffer, layout = self._entries[index]
        if isinstance(buffer, str):
            buffer = map_file(buffer)
        read_rows(buffer, layout, first, out)
