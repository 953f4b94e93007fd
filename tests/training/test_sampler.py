"""The batches of an epoch."""

import json
from pathlib import Path

import numpy as np
import pytest

from vouch.errors import VouchError
from vouch.training.sampler import epoch_batches

# Made by running voxceleb_trainer's sampler.
REFERENCE = json.loads((Path(__file__).parents[1] / "golden/voxceleb_trainer_sampler.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: "-".join(map(str, list(case.values())[:5])))
def test_groups_equal_the_reference(case):
    size, groups = case["nPerSpeaker"], case["batch_size"]
    labels = np.array(REFERENCE["labels"])

    def batches():
        return epoch_batches(labels, size * groups, size, True, case["max_seg_per_spk"], case["seed"] + case["epoch"])

    if not case["groups"]:
        with pytest.raises(VouchError, match=f"need {groups} speakers"):
            batches()
        return
    assert batches().reshape(-1, size).tolist() == case["groups"]


def test_metric_batches_hold_whole_groups_of_distinct_speakers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, 900)
    for batch in epoch_batches(labels, 40, 4, True, 0, seed=3):
        speakers, counts = np.unique(labels[batch], return_counts=True)
        assert len(speakers) == 10 and (counts == 4).all()
        assert len(set(batch.tolist())) == 40


def test_classification_sees_every_utterance_at_most_once_and_obeys_the_cap():
    labels = np.repeat(np.arange(5), [100, 3, 50, 20, 7])
    batches = epoch_batches(labels, 8, 1, False, 20, seed=1)
    assert len(set(batches.ravel().tolist())) == batches.size
    assert np.bincount(labels[batches.ravel()], minlength=5).max() <= 20
    assert batches.shape == ((20 + 3 + 20 + 20 + 7) // 8, 8)


def test_epochs_differ_and_repeat_with_their_seed():
    labels = np.repeat(np.arange(10), 10)
    first, again, other = (epoch_batches(labels, 10, 1, False, 0, seed=seed) for seed in (4, 4, 5))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("batch_size", "size", "distinct", "message"),
    [
        (300, 1, False, "100 training utterances do not fill a batch"),
        (24, 2, True, "batches of 12 speakers x 2 utterances need 12 speakers .* there are 10"),
        (7, 2, True, "multiple of"),
        (22, 11, True, "there are 0"),
    ],
)
def test_batches_that_cannot_be_filled_are_errors_with_the_numbers(batch_size, size, distinct, message):
    with pytest.raises(VouchError, match=message):
        epoch_batches(np.repeat(np.arange(10), 10), batch_size, size, distinct, 0, seed=0)
