"""Checks the matrices listed in a table of features, mostly by their headers."""

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
    """Report vectors, empty matrices and differing dimensions; with `values`, NaN and infinite values too.

    Parameters
    ----------
    table : Path
        The feats.scp.
    report : Report
        Receives the findings.
    values : bool
        Whether to read all numbers and to report unreadable entries. Otherwise entries without a header, such as pipes,
        and missing archives are skipped.
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
    """Return the keys of the extended file names whose headers declare an empty matrix."""
    found = []
    with Headers() as headers:
        for key, rxfilename in table.items():
            try:
                shape = _read_shape(headers, rxfilename, False)
            except VouchError:
                # An unreadable file is kept: its disk may just not be mounted.
                continue
            if shape is not None and len(shape) == 2 and not all(shape):
                found.append(key)
    return found
