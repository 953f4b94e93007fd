"""Random access to the feature matrices of a data set: whole utterances and crops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.mapped import MappedArchives
from vouch.kaldi.tables import read_table


class FeatureStore:
    """The matrices that a `feats.scp` lists, memory-mapped: a crop touches only the bytes of its rows.

    Text archives and pipes are read once, whole, when the store is opened, and stay in memory: what is more than the
    memory holds, or read more than once, is better copied with utils/copy_feats.py.

    Parameters
    ----------
    feats_scp : str or Path
        Table of `utterance file.ark:offset`, `utterance file.npy` or `utterance command |`, with ranges or not.
    table : mapping of str to str, optional
        Its content, where it has been read already.
    vectors : bool
        Whether vectors may be among the matrices, each as one frame; what is meant for features has none.

    Attributes
    ----------
    utterances : list of str
        Ids, in file order.
    num_frames : (utterances,) int64 ndarray
        Frames of each matrix; 0 if it is empty, as Kaldi writes it for a recording shorter than one frame.
    dim : int
        Number of feature dimensions, the same for all.

    Raises
    ------
    VouchError
        An archive is missing or truncated, it holds vectors, or the dimensions differ (the utterance is named); or no
        matrix has a frame.
    """

    def __init__(self, feats_scp: str | Path, table: Mapping[str, str] | None = None, vectors: bool = False) -> None:
        table = read_table(feats_scp) if table is None else table
        self.path = Path(feats_scp)
        self.utterances = list(table)
        self._archives = MappedArchives(table, feats_scp, vectors)
        rows, cols = self._archives.rows, self._archives.cols
        has_frames = (rows > 0) & (cols > 0)
        if not has_frames.any():
            raise VouchError(f"{feats_scp}: no matrix in it has a frame, the first is that of '{self.utterances[0]}'")
        self.dim = int(cols[has_frames.argmax()])
        odd = np.flatnonzero(has_frames & (cols != self.dim))
        if len(odd):
            raise VouchError(
                f"{feats_scp}: '{self.utterances[odd[0]]}': {cols[odd[0]]} dimensions; the utterances before it have"
                f" {self.dim}"
            )
        self.num_frames = np.where(has_frames, rows, 0).astype(np.int64)

    def __len__(self) -> int:
        return len(self.utterances)

    def matrix(self, index: int) -> np.ndarray:
        """Return utterance `index` as (frames, dim) float32."""
        out = np.empty((int(self.num_frames[index]), self.dim), np.float32)
        if len(out):
            self._archives.read(index, 0, out)
        return out

    def crop(self, index: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (frames, dim) float32, with the frames of utterance `index` from `first` on.

        An utterance that ends before the crop does is repeated from its beginning: padding with zeros
        would be something the network never meets at test time. `VouchError` when it has no frame.
        """
        frames = int(self.num_frames[index])
        if not frames:
            raise VouchError(f"{self.path}: '{self.utterances[index]}' has 0 frames")
        if first + len(out) <= frames:
            self._archives.read(index, first, out)
        else:
            out[:] = np.take(self.matrix(index), np.arange(first, first + len(out)), axis=0, mode="wrap")
