"""Selects held-out speakers and generates trials, for corpora without a protocol of their own."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from vouch.base.errors import VouchError
from vouch.kaldi.lists.trials import Trials


def hold_out(speakers: Collection[str], share: float, minimum: int) -> list[str]:
    """Choose the speakers to keep out of the training set: round(share * speakers) of them, at least `minimum`.

    The speakers whose names have the smallest SHA-256 digests are chosen. The choice looks random, is reproducible, and
    hardly changes when speakers are added or removed.

    Parameters
    ----------
    speakers : collection of str
        Distinct names to choose from.
    share : float
        Share of the speakers, between 0 and 1; 0 chooses exactly `minimum`.
    minimum : int
        Least number of speakers.

    Returns
    -------
    list of str
        The chosen names, sorted.

    Raises
    ------
    VouchError
        There are fewer than `minimum` speakers.
    """
    if len(speakers) < minimum:
        raise VouchError(f"{minimum} speakers cannot be held out of {len(speakers)}")
    ranked = sorted(speakers, key=lambda speaker: hashlib.sha256(speaker.encode()).digest())
    return sorted(ranked[: max(minimum, round(share * len(speakers)))])


def make_trials(
    utt2spk: Mapping[str, str],
    utt2session: Mapping[str, str],
    max_targets: int = 10_000,
    nontargets_per_target: int = 10,
    seed: int = 0,
) -> Trials:
    """Make a trial list of utterance pairs, each at most once and in one direction.

    A speaker with several sessions contributes target pairs across sessions only, because within a session the channel
    would reveal the speaker; other speakers contribute all pairs. If there are more than `max_targets`, each speaker
    contributes the same number, or all pairs. Non-target pairs are drawn uniformly from all pairs of different
    speakers.

    Parameters
    ----------
    utt2spk : mapping of str to str
        Utterance to speaker.
    utt2session : mapping of str to str
        Utterance to session, named within its speaker; utterances that are missing count as one session.
    max_targets : int
        Largest number of target trials.
    nontargets_per_target : int
        Non-target trials per target trial; fewer if there are not enough.
    seed : int
        Seed of the random draws.

    Returns
    -------
    Trials
        Trials, sorted by ids.

    Raises
    ------
    VouchError
        There is no target or no non-target pair.
    """
    order = sorted(utt2spk, key=lambda utterance: (utt2spk[utterance], utt2session.get(utterance, ""), utterance))
    speaker_starts, speaker_stops = _runs(utt2spk[u] for u in order)
    _, session_stops = _runs((utt2spk[u], utt2session.get(u, "")) for u in order)
    speakers = np.unique(speaker_starts)
    one_session = session_stops[speaker_starts] == speaker_stops
    target_starts = np.where(one_session, np.arange(len(order)) + 1, session_stops)
    available = np.add.reduceat(speaker_stops - target_starts, speakers) if len(order) else np.zeros(0, np.int64)
    if not available.sum() or len(speakers) < 2:
        raise VouchError(
            f"no trials can be made of {len(speakers)} speakers and {len(order)} utterances:"
            " at least 2 speakers are needed, one of them with 2 utterances"
        )
    rng = np.random.default_rng(seed)
    targets = np.concatenate(
        [
            first + _draw_pairs(target_starts[first:last] - first, speaker_stops[first:last] - first, quota, rng)
            for first, last, quota in zip(
                speakers, speaker_stops[speakers], _share_out(available, max_targets), strict=True
            )
        ]
    )
    # Non-target trials pair an utterance with the utterances of later speakers.
    everyone = np.full(len(order), len(order))
    count = min(nontargets_per_target * len(targets), int((everyone - speaker_stops).sum()))
    nontargets = _draw_pairs(speaker_stops, everyone, count, rng)
    rows = [(order[a], order[b], True) for a, b in targets] + [(order[a], order[b], False) for a, b in nontargets]
    enrol, test, is_target = zip(*sorted(rows), strict=True)
    return Trials(list(enrol), list(test), np.array(is_target))


def _runs(labels: Iterable[object]) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and stop of the run of equal labels around each position: two (labels,) int64."""
    lengths = np.array([len(list(group)) for _, group in itertools.groupby(labels)], dtype=np.int64)
    stops = np.cumsum(lengths)
    return np.repeat(stops - lengths, lengths), np.repeat(stops, lengths)


def _share_out(available: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` equally, but none above its `available`; the others share the remainder."""
    quotas = np.zeros_like(available)
    for done, index in enumerate(np.argsort(available, kind="stable")):
        quotas[index] = min(available[index], (total - quotas.sum()) // (len(available) - done))
    return quotas


def _draw_pairs(starts: np.ndarray, stops: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw distinct pairs (i, j), starts[i] <= j < stops[i].

    The pairs are numbered instead of listed, because a large corpus has billions.

    Returns
    -------
    (count, 2) int64 ndarray
    """
    ends = np.cumsum(stops - starts)
    numbers = rng.choice(int(ends[-1]), int(count), replace=False) if count else np.zeros(0, np.int64)
    first = np.searchsorted(ends, numbers, side="right")
    return np.stack([first, stops[first] - (ends[first] - numbers)], axis=1)
