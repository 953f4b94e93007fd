"""Scores a trial list of any length from file to file, in bounded memory."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, shorten
from vouch.base.files import atomic_write
from vouch.kaldi.lists.ids import IdTable
from vouch.kaldi.lists.scoretext import score_lines
from vouch.kaldi.lists.trials import parse_trials
from vouch.kaldi.tables import iterate_blocks
from vouch.scoring.backends import Scorer
from vouch.scoring.sides import Sides, score_sides

# Size of a block for one thread: some 60,000 trials, so that threads seldom wait for each other.
_BLOCK_BYTES = 1 << 22


class Sources(NamedTuple):
    """Files of the trials and of the ids of both sides, for reading the trials and for messages."""

    trials: str | Path
    enrol: str | Path
    test: str | Path


class Unknown(NamedTuple):
    """Trials with an id that has no embedding: their number, and line and id of the first."""

    trials: int = 0
    line: int = 0
    name: str = ""

    def add(self, other: Unknown) -> Unknown:
        """Add those of a later part of the list, and keep the first one."""
        return Unknown(self.trials + other.trials, *(self[1:] if self.trials else other[1:]))

    def say(self, sources: Sources, known_in: str | Path) -> str:
        """Return a message with their number and the first one."""
        return f"{sources.trials}:{self.line}: '{shorten(self.name)}' is not in {known_in} ({self.trials} such)"


class Part(NamedTuple):
    """Scored lines of a block, the numbers of lines written and read, and the unknown ids of both sides."""

    lines: np.ndarray
    scored: int
    trials: int
    enrol: Unknown
    test: Unknown


def score_file(
    sources: Sources,
    scores_path: str | Path,
    sides: Sides,
    scorer: Scorer,
    allow_missing: bool = False,
    threads: int = 1,
) -> tuple[int, int, list[str]]:
    """Score the trials of a file, and write `enrol-id test-id score` lines in their order, whole or not at all.

    Parameters
    ----------
    sources : Sources
        The trial list, and the files of the ids of `sides`.
    scores_path : str or Path
        File to write.
    sides, scorer : Sides, Scorer
        Embeddings with the rows of their ids, and the scorer of rows.
    allow_missing : bool
        Whether to leave out trials with an id that has no row, instead of raising an error.
    threads : int
        Number of blocks that are scored at the same time.

    Returns
    -------
    scored, trials : int
        Numbers of lines written and read.
    left_out : list of str
        A message for each side with unknown ids, which names the first of them.

    Raises
    ------
    VouchError
        A trial is malformed or has an unknown id (the message names file and line), or no trial can be scored.
    """
    score = _BlockScorer(sources, sides, scorer, allow_missing)
    scored, trials, enrol, test = 0, 0, Unknown(), Unknown()
    with atomic_write(scores_path, "wb") as file:
        for part in _in_order(score, iterate_blocks(sources.trials, _BLOCK_BYTES), threads):
            file.write(part.lines)
            scored, trials = scored + part.scored, trials + part.trials
            enrol, test = enrol.add(part.enrol), test.add(part.test)
        sides_and_tables = ((enrol, sources.enrol), (test, sources.test))
        left_out = [unknown.say(sources, known_in) for unknown, known_in in sides_and_tables if unknown.trials]
        if left_out and not allow_missing:
            raise VouchError(left_out[0])
        if not scored:
            raise VouchError(f"{sources.trials}: no trial has the embeddings of both sides; {'; '.join(left_out)}")
    return scored, trials, left_out


class _BlockScorer:
    """Scores blocks of lines; several threads may call it at once."""

    def __init__(self, sources: Sources, sides: Sides, scorer: Scorer, allow_missing: bool) -> None:
        self._path, self._allow_missing = sources.trials, allow_missing
        self._members, self._scorer = sides.members, scorer
        self._test = IdTable(sides.test)
        self._enrol = self._test if sides.enrol is sides.test else IdTable(sides.enrol)
        # After an unknown id that is an error, the rest is only checked for malformed lines and more unknown ids.
        self._is_lost = threading.Event()

    def __call__(self, block: tuple[int, bytes]) -> Part:
        before, content = block
        triples = parse_trials(content, before, self._path)
        starts, ends = triples.starts(), triples.ends
        enrol = self._enrol.rows(triples.text, starts[:, 0], ends[:, 0])
        test = self._test.rows(triples.text, starts[:, 1], ends[:, 1])
        unknown = []
        for column, rows in enumerate((enrol, test)):
            missing = np.flatnonzero(rows < 0).tolist()
            first = (before + missing[0] + 1, triples.word(missing[0], column)) if missing else ()
            unknown.append(Unknown(len(missing), *first))
        known: slice | np.ndarray = slice(None)
        if any(each.trials for each in unknown):
            known = (enrol >= 0) & (test >= 0)
            if not self._allow_missing:
                self._is_lost.set()
        if self._is_lost.is_set():
            return Part(np.empty(0, np.uint8), 0, len(ends), *unknown)
        scores = score_sides(self._members, enrol[known], test[known], self._scorer.pairs)
        lines = score_lines(triples.text, starts[known, 0], ends[known, 1] + 1, scores)
        return Part(lines, len(scores), len(ends), *unknown)


def _in_order(
    work: Callable[[tuple[int, bytes]], Part], blocks: Iterable[tuple[int, bytes]], threads: int
) -> Iterator[Part]:
    """Yield the results of the blocks in order, while threads work on a bounded number of blocks ahead."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        waiting: deque[Future[Part]] = deque()
        stack.callback(lambda: [future.cancel() for future in waiting])
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > threads + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
