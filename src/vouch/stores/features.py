"""Reads feature matrices of a data set by index, whole or cropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.matrices.mapped import MappedArchives
from vouch.kaldi.tables import read_table


class FeatureStore:
    """Matrices listed in a `feats.scp`, memory-mapped, so that a crop reads only its own rows.

    Text archives and pipes are read once, when the store is opened, and stay in memory. Convert those that do not fit
    into memory, or are read more than once, with utils/copy_feats.py.

    Parameters
    ----------
    feats_scp : str or Path
        Table of `utterance file.ark:offset`, `utterance file.npy` or `utterance command |`, optionally with ranges.
    table : mapping of str to str, optional
        Content of that table, if it has already been read.
    vectors : bool
        Whether vectors are accepted beside matrices, each as one frame; features have none.

    Attributes
    ----------
    utterances : list of str
        Utterance ids, in file order.
    lengths : (utterances,) int64 ndarray
        Frames of each matrix; 0 if empty, as Kaldi writes it for a recording shorter than one frame.
    dim : int
        Number of feature dimensions, the same for all.
    step_shape : tuple of int
        Shape of one frame: (dim,).

    Raises
    ------
    VouchError
        An archive is missing or truncated, it holds vectors, or the dimensions differ (the message names the
        utterance), or no matrix has a frame.
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
        self.step_shape = (self.dim,)
        odd = np.flatnonzero(has_frames & (cols != self.dim))
        if len(odd):
            raise VouchError(
                f"{feats_scp}: '{self.utterances[odd[0]]}': {cols[odd[0]]} dimensions; the utterances before it have"
                f" {self.dim}"
            )
        self.lengths = np.where(has_frames, rows, 0).astype(np.int64)

    def __len__(self) -> int:
        return len(self.utterances)

    def matrix(self, index: int) -> np.ndarray:
        """Return utterance `index` as (frames, dim) float32."""
        out = np.empty((int(self.lengths[index]), self.dim), np.float32)
        if len(out):
            self._archives.read(index, 0, out)
        return out

    def crop(self, index: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (frames, dim) float32, with the frames of utterance `index` from `first` on.

        An utterance that ends before the crop does is repeated from its beginning, because the network never meets
        zero padding at test time. `VouchError` if the utterance has no frame.
        """
        frames = int(self.lengths[index])
        if not frames:
            raise VouchError(f"{self.path}: '{self.utterances[index]}' has 0 frames")
        if first + len(out) <= frames:
            self._archives.read(index, first, out)
        else:
            out[:] = np.take(self.matrix(index), np.arange(first, first + len(out)), axis=0, mode="wrap")
