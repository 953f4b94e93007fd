"""Finds and reads trees of feature files, `speaker/00001.npy`, that other toolkits write."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError, about_file
from vouch.kaldi.matrices.npy import npy_layout

SUFFIX = ".npy"


def find_npy_tree(root: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the feature files below a folder with one subfolder for each speaker.

    Parameters
    ----------
    root : Path
        Holds `speaker/utterance.npy` or deeper `speaker/session/utterance.npy`; hidden files are skipped.

    Returns
    -------
    files : dict of str to Path
        Utterance id, which is `<speaker>-<folders>-<file name without suffix>`, to file.
    utt2spk : dict of str to str
        Utterance id to speaker id.

    Raises
    ------
    VouchError
        A file is outside of all speakers' folders, a name cannot be an id, two files have the same id, or there is
        none.
    """
    files: dict[str, Path] = {}
    utt2spk: dict[str, str] = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.endswith(SUFFIX):
                continue
            path = Path(folder, name)
            parts = path.relative_to(root).with_suffix("").parts
            utterance = "-".join(parts)
            if len(parts) < 2:
                raise VouchError(f"{path}: not in a speaker's folder; the layout is {root}/<speaker>/<utterance>.npy")
            if utterance.split() != [utterance]:
                raise VouchError(f"{path}: blanks cannot be part of an utterance's id; rename it")
            if utterance in files:
                raise VouchError(f"{path} and {files[utterance]}: both would be utterance '{utterance}'")
            files[utterance], utt2spk[utterance] = path, parts[0]
    if not files:
        raise VouchError(f"{root}: no .npy files in folders of speakers")
    return files, utt2spk


def count_frames(path: Path, dim: int) -> int:
    """Return the number of rows of a (frames, `dim`) feature file; `VouchError` for another content."""
    layout = npy_layout(str(path))
    if layout.cols != dim:
        raise VouchError(
            f"{path}: {layout.rows} x {layout.cols} values, where the files before have {dim} dimensions; are they"
            " stored the other way round (--bins-first)?"
        )
    return layout.rows


def read_bins_first(path: Path) -> np.ndarray:
    """Read a file that holds (bins, frames) or (1, bins, frames) numbers as (frames, bins) float32."""
    with about_file(path, "not a readable .npy file"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise VouchError(f"{path}: needs a matrix of floats, not {array.dtype} {array.shape}")
    return np.ascontiguousarray(array.T, np.float32)
