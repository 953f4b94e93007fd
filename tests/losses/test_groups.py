"""Sorting of batches into groups, and the similarity and the split that the grouped losses share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vouch.base.errors import VouchError
from vouch.losses.base import LossOutput
from vouch.losses.groups import GroupedLoss, ScaledCosineLoss, match_queries, query_and_anchor


class Spread(GroupedLoss):
    """Mean distance of the utterances from the speaker's first one."""

    def compute(self, embeddings, labels):
        grouped = self.grouped(embeddings, labels)
        loss = (grouped - grouped[:, :1]).norm(dim=2).mean()
        return LossOutput(loss, torch.ones(len(labels), 1), torch.zeros_like(labels))


class Similar(ScaledCosineLoss):
    """Cross-entropy of the similarities of queries to anchors that are axes."""

    def compute(self, embeddings, labels):
        return match_queries(self.similarity(self.grouped(embeddings, labels)[:, 0]))


@settings(max_examples=60, deadline=None)
@given(
    speakers=st.sets(st.integers(0, 10**12), min_size=2, max_size=40),
    utterances=st.integers(2, 6),
    random=st.randoms(use_true_random=False),
)
def test_groups_are_sorted_and_stable(speakers, utterances, random):
    labels = [speaker for speaker in speakers for _ in range(utterances)]
    random.shuffle(labels)
    # The embedding of an utterance is its place in the batch.
    places = torch.arange(len(labels), dtype=torch.float32)[:, None]
    found = Spread(1, 2, utterances).grouped(places, torch.tensor(labels)).squeeze(2)
    expected = [[place for place, label in enumerate(labels) if label == speaker] for speaker in sorted(speakers)]
    assert found.tolist() == expected


def test_large_batches_are_stable_too():
    labels = torch.arange(300).repeat(7)
    found = Spread(1, 300, 7).grouped(torch.arange(2100.0)[:, None], labels)
    assert torch.equal(found.squeeze(2), torch.arange(2100.0).view(7, 300).T)


def test_gradient_returns_to_its_utterance():
    x = torch.zeros(4, 3, requires_grad=True)
    grouped = Spread(3, 2, 2).grouped(x, torch.tensor([9, 1, 1, 9]))
    (grouped * torch.arange(4.0).view(2, 2, 1)).sum().backward()
    assert x.grad[:, 0].tolist() == [2.0, 0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 0, 0, 1, 1, 1, 2], "7 utterances of 3 speakers, 1 to 3 of each"),
        ([0, 0, 1, 1, 2, 2], "6 utterances of 3 speakers, 2 to 2 of each"),
        ([0, 1, 1, 1, 1, 1], "6 utterances of 2 speakers, 1 to 5 of each"),
        ([4, 4, 4], "3 utterances of 1 speakers, 3 to 3 of each"),
        ([4, 4, 4, 4, 4, 4], "6 utterances of 1 speakers, 6 to 6 of each"),
        ([], "0 utterances"),
    ],
)
def test_incomplete_batches(labels, found):
    message = f"^spread needs 3 utterances of each of 2 or more speakers, not {found}$"
    with pytest.raises(VouchError, match=message):
        Spread(4, 9, 3)(torch.randn(len(labels), 4), torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize("utterances", [1, 0, -3])
def test_too_few_utterances(utterances):
    with pytest.raises(VouchError, match=f"^spread needs at least 2 utterances per speaker, not {utterances}$"):
        Spread(4, 9, utterances)


def test_what_batches_are_wanted():
    loss = Spread(4, 9, 5)
    assert loss.distinct_speakers and loss.utterances_per_speaker == 5


def test_similarity():
    loss = Similar(2, 2, 2)
    assert {key: value.item() for key, value in loss.state_dict().items()} == {"w": 10.0, "b": -5.0}
    assert loss.similarity(torch.tensor([[-1.0], [0.0], [0.5]])).tolist() == [[-15.0], [-5.0], [0.0]]


def test_w_stays_positive_and_comes_back():
    x, labels = torch.eye(2).repeat_interleave(2, dim=0), torch.tensor([0, 0, 1, 1])
    loss = Similar(2, 2, 2)
    with torch.no_grad():
        loss.w.fill_(-3.0)
    similarity = loss(x, labels).logits
    assert (similarity.diagonal() > similarity.fliplr().diagonal()).all(), "order kept, however slightly"
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss(x, labels).loss.backward()
        optimizer.step()
    assert loss.w > 0


def test_query_and_anchor():
    grouped = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]], [[0.0, 0.0], [-1.0, 1.0], [1.0, 3.0]]])
    query, anchor = query_and_anchor(grouped)
    assert query.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert anchor.tolist() == [[4.0, 6.0], [0.0, 2.0]]
