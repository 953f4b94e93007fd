"""Held-out speakers and generated trials."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.corpora.splits import hold_out, make_trials

CORPORA = st.dictionaries(
    st.tuples(st.sampled_from("ABCD"), st.sampled_from(["", "s1", "s2", "s3"]), st.integers(0, 4)),
    st.none(),
    max_size=24,
).map(list)


def tables(corpus):
    """utt2spk and utt2session of (speaker, session, number) triples."""
    ids = {f"{speaker}-{session}-{number}": (speaker, session) for speaker, session, number in corpus}
    return {u: speaker for u, (speaker, _) in ids.items()}, {u: session for u, (_, session) in ids.items()}


def slow_pairs(utt2spk, utt2session):
    """All allowed target pairs and all non-target pairs, from the definition, as sets of unordered pairs."""
    sessions = {}
    for utterance, speaker in utt2spk.items():
        sessions.setdefault(speaker, set()).add(utt2session[utterance])
    targets, nontargets = set(), set()
    for a, b in itertools.combinations(utt2spk, 2):
        if utt2spk[a] != utt2spk[b]:
            nontargets.add(frozenset((a, b)))
        elif utt2session[a] != utt2session[b] or len(sessions[utt2spk[a]]) == 1:
            targets.add(frozenset((a, b)))
    return targets, nontargets


def made_pairs(trials):
    pairs = [frozenset(pair) for pair in zip(trials.enrol, trials.test, strict=True)]
    assert len(set(pairs)) == len(pairs), "a pair occurs twice"
    targets = {pair for pair, is_target in zip(pairs, trials.is_target, strict=True) if is_target}
    return targets, set(pairs) - targets


@settings(max_examples=300, deadline=None)
@given(CORPORA, st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_trials_agree_with_the_definition(corpus, max_targets, per_target, seed):
    utt2spk, utt2session = tables(corpus)
    targets, nontargets = slow_pairs(utt2spk, utt2session)
    if not targets or not nontargets:
        with pytest.raises(VouchError, match="no trials can be made of"):
            make_trials(utt2spk, utt2session)
        return
    trials = make_trials(utt2spk, utt2session, max_targets, per_target, seed)
    made_targets, made_nontargets = made_pairs(trials)
    assert made_targets <= targets and made_nontargets <= nontargets
    assert len(made_targets) == min(len(targets), max_targets)
    assert len(made_nontargets) == min(len(nontargets), per_target * len(made_targets))
    rows = list(zip(trials.enrol, trials.test, strict=True))
    assert rows == sorted(rows)


@settings(max_examples=100, deadline=None)
@given(CORPORA, st.integers(1, 40))
def test_speakers_share_the_targets_evenly(corpus, max_targets):
    utt2spk, utt2session = tables(corpus)
    targets, nontargets = slow_pairs(utt2spk, utt2session)
    if not targets or not nontargets:
        return
    available = Counter(utt2spk[next(iter(pair))] for pair in targets)
    made, _ = made_pairs(make_trials(utt2spk, utt2session, max_targets))
    used = Counter(utt2spk[next(iter(pair))] for pair in made)
    # Nobody who has pairs left is more than one below anybody else.
    for speaker, count in available.items():
        assert used[speaker] == count or used[speaker] >= max(used.values()) - 1


def test_trials_do_not_depend_on_the_order_of_the_tables_and_do_on_the_seed():
    utt2spk, utt2session = tables((s, f"s{n % 3}", n) for s in "ABCDE" for n in range(9))
    backwards = dict(reversed(utt2spk.items()))
    first = make_trials(utt2spk, utt2session, 20)
    again = make_trials(backwards, utt2session, 20)
    other = make_trials(utt2spk, utt2session, 20, seed=1)
    assert first[:2] == again[:2] and np.array_equal(first.is_target, again.is_target)
    assert first[:2] != other[:2]


def test_utterances_without_session_are_one_session():
    utt2spk = {"a-1": "a", "a-2": "a", "a-3": "a", "b-1": "b"}
    targets, _ = made_pairs(make_trials(utt2spk, {"a-3": "x"}))
    assert targets == {frozenset(("a-1", "a-3")), frozenset(("a-2", "a-3"))}


def test_a_corpus_of_billions_of_pairs():
    utt2spk = {f"{speaker:03d}-{number}": f"{speaker:03d}" for speaker in range(100) for number in range(1000)}
    trials = make_trials(utt2spk, {})
    targets, nontargets = made_pairs(trials)
    assert (len(targets), len(nontargets)) == (10_000, 100_000)
    assert set(Counter(utt2spk[next(iter(pair))] for pair in targets).values()) == {100}
    assert all(utt2spk[a] != utt2spk[b] for a, b in nontargets)


def test_hold_out_takes_the_smallest_digests():
    speakers = [f"s{number}" for number in range(57)]
    digests = {hashlib.sha256(speaker.encode()).hexdigest(): speaker for speaker in speakers}
    assert hold_out(speakers, 0.1, 2) == sorted(digests[key] for key in sorted(digests)[:6])
    assert hold_out(set(speakers), 0.1, 2) == hold_out(speakers[::-1], 0.1, 2)


@pytest.mark.parametrize(
    ("count", "share", "minimum", "size"), [(2, 0.1, 2, 2), (20, 0.1, 2, 2), (34, 0.1, 2, 3), (50, 0, 7, 7)]
)
def test_hold_out_size(count, share, minimum, size):
    assert len(hold_out([str(number) for number in range(count)], share, minimum)) == size


def test_one_speaker_more_changes_at_most_one_held_out():
    speakers = [f"speaker {number}" for number in range(100)]
    before = set(hold_out(speakers, 0.1, 2))
    for newcomer in ("Zoë", "new", "x"):
        assert len(before - set(hold_out([*speakers, newcomer], 0.1, 2))) <= 1


def test_hold_out_of_too_few():
    with pytest.raises(VouchError, match=r"^3 speakers cannot be held out of 2$"):
        hold_out(["a", "b"], 0.5, 3)
