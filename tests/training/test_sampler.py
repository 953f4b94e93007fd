"""The batches of an epoch."""

import json
from pathlib import Path

import numpy as np
import pytest

from vouch.base.errors import VouchError
from vouch.losses.config import LossConfig
from vouch.training.sampler import SAMPLERS, Demand, Sampling, epoch_batches
from vouch.training.setup import batch_demand
from vouch.training.train_options import TrainOptions

# Made by running voxceleb_trainer's sampler.
REFERENCE = json.loads((Path(__file__).parents[1] / "golden/voxceleb_trainer_sampler.json").read_text())


EVERYTHING = Sampling()


def draw(sampler, labels, demand, sampling=EVERYTHING, seed=0):
    return epoch_batches(sampler, labels, np.full(len(labels), 300), demand, sampling, seed)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: "-".join(map(str, list(case.values())[:5])))
def test_groups_equal_the_reference(case):
    size, groups = case["nPerSpeaker"], case["batch_size"]
    labels = np.array(REFERENCE["labels"])

    def batches():
        demand, sampling = Demand(size * groups, size, True), Sampling(cap=case["max_seg_per_spk"])
        return draw("utterances", labels, demand, sampling, case["seed"] + case["epoch"])

    if not case["groups"]:
        with pytest.raises(VouchError, match=f"need {groups} speakers"):
            batches()
        return
    assert batches().reshape(-1, size).tolist() == case["groups"]


def test_a_loss_that_takes_any_batch_can_have_the_batches_of_the_reference():
    """Of softmax, which asks for one utterance of a speaker: each speaker once in a batch, group for group."""
    cases = [case for case in REFERENCE["cases"] if case["nPerSpeaker"] == 1 and case["groups"]]
    assert len(cases) == 3
    loss = LossConfig.from_dict({"name": "softmax"}).build(8, 10)
    for case in cases:
        options = TrainOptions(batch_size=case["batch_size"], distinct_speakers=True)
        sampling = Sampling(cap=case["max_seg_per_spk"])
        labels, seed = np.array(REFERENCE["labels"]), case["seed"] + case["epoch"]
        batches = draw("utterances", labels, batch_demand(loss, options), sampling, seed)
        assert batches.reshape(-1, 1).tolist() == case["groups"]
        assert all(len(set(labels[batch])) == case["batch_size"] for batch in batches)
    assert not batch_demand(loss, TrainOptions(batch_size=4)).distinct


def test_advice_can_be_followed():
    """Of a single speaker with enough utterances no batch size helps; a cap below the loss's groups is named."""
    labels = np.repeat(np.arange(5), [4, 1, 1, 1, 1])
    for sampler in ("utterances", "speakers"):
        with pytest.raises(VouchError, match="but only one speaker here has so many; take a classification loss"):
            draw(sampler, labels, Demand(8, 4, True))
    with pytest.raises(VouchError, match=r"train\.max_utterances_per_speaker 3 is less than the 4 utterances"):
        draw("utterances", np.repeat(np.arange(5), 9), Demand(8, 4, True), Sampling(cap=3))
    # What is advised works.
    labels = np.repeat(np.arange(5), 4)
    with pytest.raises(VouchError, match=r"set train\.batch_size to at most 20$"):
        draw("utterances", labels, Demand(24, 4, True))
    assert draw("utterances", labels, Demand(20, 4, True)).shape == (1, 20)


def test_metric_batches_hold_whole_groups_of_distinct_speakers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, 900)
    for batch in draw("utterances", labels, Demand(40, 4, True), Sampling(), seed=3):
        speakers, counts = np.unique(labels[batch], return_counts=True)
        assert len(speakers) == 10 and (counts == 4).all()
        assert len(set(batch.tolist())) == 40


def test_classification_sees_every_utterance_at_most_once_and_obeys_the_cap():
    labels = np.repeat(np.arange(5), [100, 3, 50, 20, 7])
    batches = draw("utterances", labels, Demand(8), Sampling(cap=20), seed=1)
    assert len(set(batches.ravel().tolist())) == batches.size
    assert np.bincount(labels[batches.ravel()], minlength=5).max() <= 20
    assert batches.shape == ((20 + 3 + 20 + 20 + 7) // 8, 8)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("demand", [Demand(10), Demand(10, 2, True)])
def test_epochs_differ_and_repeat_with_their_seed(sampler, demand):
    labels = np.repeat(np.arange(10), 10)
    first, again, other = (draw(sampler, labels, demand, seed=seed) for seed in (4, 4, 5))
    assert (first == again).all()
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("groups", "per_speaker"), [(7, 3), (5, 2), (9, 2), (2, 4)])
def test_no_speaker_is_two_classes_of_a_metric_batch(sampler, groups, per_speaker):
    rng = np.random.default_rng(0)
    labels, frames = rng.integers(0, 9, 400), rng.integers(50, 900, 400)
    batches = epoch_batches(sampler, labels, frames, Demand(groups * per_speaker, per_speaker, True), Sampling(), 3)
    assert len(batches)
    for batch in labels[batches].reshape(len(batches), groups, per_speaker):
        assert (batch == batch[:, :1]).all()
        assert len(set(batch[:, 0].tolist())) == groups


def test_speakers_come_once_an_epoch_with_different_utterances():
    labels = np.repeat(np.arange(23), np.arange(1, 24))
    batches = draw("speakers", labels, Demand(20, 4, True), seed=2)
    assert batches.shape == (4, 20)  # 20 of the 23 speakers have 4 utterances
    assert (np.bincount(labels[batches.ravel()], minlength=23)[3:] == 4).all()
    assert len(set(batches.ravel().tolist())) == batches.size
    chosen = {tuple(sorted(draw("speakers", labels, Demand(20, 4, True), seed=seed)[0])) for seed in range(20)}
    assert len(chosen) == 20


def test_duration_draws_speakers_equally_and_their_utterances_by_length():
    labels = np.array([0, 0, 0, 1, 1, 2, 0])
    frames = np.array([100, 300, 20, 200, 200, 5000, 600])
    sampling = Sampling(longer_than=20, epoch_length=3 * 20000 * 20, length_per_utterance=20)
    batches = epoch_batches("duration", labels, frames, Demand(6), sampling, seed=0)
    assert batches.shape == (10000, 6)
    counts = np.bincount(batches.ravel(), minlength=7)
    assert counts[2] == 0  # not longer than a crop
    assert [counts[labels == speaker].sum() for speaker in range(3)] == [20000] * 3
    np.testing.assert_allclose(counts[[0, 1, 6]] / 20000, [0.1, 0.3, 0.6], atol=0.015)
    np.testing.assert_allclose(counts[[3, 4]] / 20000, [0.5, 0.5], atol=0.015)


def test_duration_goes_on_where_a_pass_over_the_speakers_ends():
    """Passes of 7 speakers in batches of 3: within 7 batches each is dealt exactly three times."""
    labels = np.repeat(np.arange(7), 5)
    sampling = Sampling(epoch_length=700 * 3 * 2 * 10, length_per_utterance=10)
    batches = draw("duration", labels, Demand(6, 2, True), sampling)
    assert batches.shape == (700, 6)
    counts = np.bincount(labels[batches.ravel()])
    assert counts.max() - counts.min() <= 2 * 2


def test_the_length_of_an_epoch_by_duration():
    labels, frames = np.repeat(np.arange(4), 6), np.full(24, 330)
    # 24 x 330 frames in batches of 8 crops of 200 frames, or of 8 utterances with two crops of 200 frames.
    for per_utterance, batches in ((200, 5), (400, 3)):
        sampling = Sampling(longer_than=200, length_per_utterance=per_utterance)
        assert len(epoch_batches("duration", labels, frames, Demand(8), sampling, 0)) == batches
    with pytest.raises(VouchError, match=r"is longer than train\.crop_seconds; the longest has 94% of that length"):
        epoch_batches("duration", labels, frames, Demand(8), Sampling(longer_than=350), 0)


@pytest.mark.parametrize(
    ("sampler", "demand", "message"),
    [
        ("utterances", (300,), "100 training utterances do not fill a batch"),
        ("utterances", (24, 2, True), "batches of 12 speakers x 2 utterances need 12 speakers .* there are 10"),
        ("utterances", (7, 2, True), "batches of 7 utterances must be .* a multiple of, 2"),
        ("utterances", (2, 2, True), "at least twice"),
        (
            "utterances",
            (22, 11, True),
            "takes 11 utterances of each speaker .* but no speaker here has so many; take a",
        ),
        ("speakers", (22, 11, True), "no speaker here has so many; take a classification loss"),
        ("utterances", (24, 2, True, 3), "there are 10; set train.batch_size to at most 60"),
        ("utterances", (300, 1, False, 2), "set train.batch_size to at most 200"),
        ("speakers", (24, 2, True), "batches of 12 speakers x 2 utterances need 12 speakers .* there are 10"),
        ("speakers", (11,), "need 11 speakers .* there are 10; set train.batch_size to at most 10"),
        ("duration", (24, 2, True), "need 12 speakers .* there are 10; set train.batch_size to at most 20"),
        ("speaker", (10,), r"unknown train.sampler 'speaker' \(did you mean 'speakers'\?\)"),
    ],
)
def test_batches_that_cannot_be_filled_are_errors_with_the_numbers(sampler, demand, message):
    with pytest.raises(VouchError, match=message):
        draw(sampler, np.repeat(np.arange(10), 10), Demand(*demand))
