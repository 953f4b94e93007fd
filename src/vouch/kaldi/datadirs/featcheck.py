"""What is wrong with the matrices that a table of features lists; their headers tell most of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.scan import MEND, scan_rows
from vouch.kaldi.matrices.mapped import NO_MATRIX, Headers
from vouch.kaldi.matrices.reading import read_entry


def judge_features(
    table: Path, report: Report, values: bool = False, progress: Callable[[int], object] = lambda count: None
) -> None:
    """Report vectors, empty matrices and other dimensions among features; with `values` all that the numbers tell.

    Parameters
    ----------
    table : Path
        The feats.scp.
    report : Report
        Gets the findings.
    values : bool
        Whether to read all numbers, for NaN and infinity, and to report what cannot be read; otherwise entries without
        a header, those of pipes for instance, and archives that are not there are passed over.
    progress : callable
        Called with 1 after each utterance.
    """
    rows = scan_rows(table, Report())
    dim = 0
    with Headers() as headers:
        for key, rxfilename, line in zip(rows.keys, rows.values, rows.numbers, strict=True):
            try:
                shape = _read_shape(headers, rxfilename, values)
            except VouchError as error:
                if values:
                    report.error("features", table, line, f"'{key}': {error}")
                continue
            finally:
                progress(1)
            if shape is None:
                continue
            if len(shape) != 2:
                report.error("features", table, line, f"'{key}': {rxfilename}: {NO_MATRIX}")
            elif not all(shape):
                report.error("features", table, line, f"'{key}' has 0 frames; {MEND}")
            elif dim and shape[1] != dim:
                report.error("features", table, line, f"'{key}' has {shape[1]} dimensions, those before it {dim}")
            else:
                dim = shape[1]


def _read_shape(headers: Headers, rxfilename: str, values: bool) -> tuple[int, ...] | None:
    header = headers.read(rxfilename)
    if values and (header is None or not header.is_vector):
        matrix = read_entry(rxfilename, "matrix")
        if not np.isfinite(matrix).all():
            raise VouchError("NaN or infinite values")
        return matrix.shape
    if header is None:
        return None
    return (header.layout.cols,) if header.is_vector else (header.layout.rows, header.layout.cols)


def find_empty(table: Mapping[str, str]) -> list[str]:
    """Return the keys of those extended file names of which a header says that the matrix is empty."""
    found = []
    with Headers() as headers:
        for key, rxfilename in table.items():
            try:
                shape = _read_shape(headers, rxfilename, False)
            except VouchError:
                # It may be on a disk that is not mounted now, which is no reason to drop it.
                continue
            if shape is not None and len(shape) == 2 and not all(shape):
                found.append(key)
    return found
