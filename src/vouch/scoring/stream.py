"""Scores of a trial list of any length, from file to file in bounded memory."""

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

# What a thread takes at once: some 60,000 trials, long enough that it seldom waits for others to start an operation.
_BLOCK_BYTES = 1 << 22


class Sources(NamedTuple):
    """Where trials and the ids of their sides come from, for reading the first and for messages."""

    trials: str | Path
    enrol: str | Path
    test: str | Path


class Unknown(NamedTuple):
    """Trials with an id that has no embedding: how many, and line and id of the first."""

    trials: int = 0
    line: int = 0
    name: str = ""

    def add(self, other: Unknown) -> Unknown:
        """Add those of a later part of the list; the first one stays the first."""
        return Unknown(self.trials + other.trials, *(self[1:] if self.trials else other[1:]))

    def say(self, sources: Sources, known_in: str | Path) -> str:
        """Return a message that says how many there are and names the first."""
        return f"{sources.trials}:{self.line}: '{shorten(self.name)}' is not in {known_in} ({self.trials} such)"


class Part(NamedTuple):
    """The scored lines of a block, how many they are and of how many, and the unknown ids of both sides."""

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
        The trial list, and where the ids of `sides` were read.
    scores_path : str or Path
        File to write.
    sides, scorer : Sides, Scorer
        Rows of ids, and their scores.
    allow_missing : bool
        Leave out trials with an id that has no row, instead of refusing them.
    threads : int
        Blocks of lines scored at once.

    Returns
    -------
    scored, trials : int
        Numbers of lines written and read.
    left_out : list of str
        A message for each side that has unknown ids, which names the first of them.

    Raises
    ------
    VouchError
        Naming file and line: a malformed trial, or an unknown id; or no trial can be scored.
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
    """Scores blocks of lines; several threads may call it."""

    def __init__(self, sources: Sources, sides: Sides, scorer: Scorer, allow_missing: bool) -> None:
        self._path, self._allow_missing = sources.trials, allow_missing
        self._members, self._scorer = sides.members, scorer
        self._test = IdTable(sides.test)
        self._enrol = self._test if sides.enrol is sides.test else IdTable(sides.enrol)
        # Once there will be an error, the rest is only read: for its malformed lines, and to count the unknown ids.
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
