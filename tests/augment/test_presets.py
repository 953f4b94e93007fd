"""The presets in conf/augment: what they ask for, and how often they choose what."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from vouch.augment.additive import AddNoise
from vouch.augment.bank import Bank, Places
from vouch.augment.config import AugmentConfig
from vouch.augment.level import NormalizePeak
from vouch.augment.room import Reverberate
from vouch.base.errors import VouchError

FOLDER = Path(__file__).resolve().parents[2] / "conf/augment"
PRESETS = {path.stem: AugmentConfig.read(path) for path in sorted(FOLDER.glob("*.yaml"))}
ROWS, RATE = 10_000, 16000
KINDS = ("music", "noise", "room", "speech")


def bank(kinds=KINDS):
    """Ten recordings of half a second of each kind; those of a kind lie together."""
    samples = torch.from_numpy(np.random.default_rng(0).integers(-9000, 9000, 80_000 * len(kinds)).astype(np.int16))
    first = {kind: 80_000 * number + 8000 * np.arange(10) for number, kind in enumerate(kinds)}
    return Bank(
        samples, {kind: Places(["x"] * 10, first[kind], np.full(10, 8000), np.ones(10)) for kind in kinds}, RATE
    )


def describe(step):
    """Kind of a step: that of its recordings, of which each takes so many."""
    effect = step.effect
    if isinstance(effect, Reverberate):
        return "room"
    if isinstance(effect, NormalizePeak):
        return "peak"
    first = step.drawn["first"].reshape(len(step.rows), -1)
    kinds = np.unique(first.numpy() // 80_000)
    if isinstance(effect, AddNoise):
        assert len(kinds) == 1
    return "+".join(KINDS[kind] for kind in kinds)


def shares(augmentation):
    """Share of the rows that get each combination of steps, in order."""
    plan, _ = augmentation.plan(np.random.default_rng(1), np.arange(ROWS), 32_000, (200, 40), ROWS)
    of_row = [[] for _ in range(ROWS)]
    for step in plan.steps:
        for row in step.rows.tolist():
            of_row[row].append(describe(step))
    return plan, {"+".join(names) or "none": count / ROWS for names, count in Counter(map(tuple, of_row)).items()}


def assert_shares(found, expected):
    assert found.keys() == expected.keys()
    for name, share in expected.items():
        # Five standard deviations.
        assert abs(found[name] - share) < 5 * (share * (1 - share) / ROWS) ** 0.5, (name, found[name], share)


def ratios(plan, kind):
    (step,) = (step for step in plan.steps if step.effect.__class__ is AddNoise and describe(step) == kind)
    return step.drawn["snr"][step.drawn["is_used"]].numpy(), step.drawn["is_used"].sum(1).numpy()


def test_there_is_a_preset_for_each_recipe_and_each_is_read_as_it_is_written():
    assert {"hyperion", "kaldi", "noise", "none", "pyannote", "voxceleb_trainer", "wespeaker"} <= PRESETS.keys()
    for config in PRESETS.values():
        assert AugmentConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.as_dict()))) == config


def test_voxceleb_trainer():
    plan, found = shares(PRESETS["voxceleb_trainer"].build(bank(), RATE))
    assert_shares(found, dict.fromkeys(("none", "room", "music", "speech", "noise"), 0.2))
    for kind, low, high, files in (("music", 5, 15, {1}), ("speech", 13, 20, {3, 4, 5, 6, 7}), ("noise", 0, 15, {1})):
        snr, count = ratios(plan, kind)
        assert low <= snr.min() < low + 0.2 and high - 0.2 < snr.max() <= high and set(count.tolist()) == files
        middle = (low + high) / 2
        assert abs(snr.mean() - middle) < 5 * (high - low) / (12 * len(snr)) ** 0.5
    _, count = ratios(plan, "speech")
    assert abs(count.mean() - 5) < 5 * (2 / len(count)) ** 0.5


def test_wespeaker():
    augmentation = PRESETS["wespeaker"].build(bank(), RATE)
    plan, found = shares(augmentation)
    files = {"noise": 930, "music": 660, "speech": 426}
    expected = {"none": 0.4, "room+peak": 0.3}
    assert_shares(found, expected | {f"{kind}+peak": 0.3 * count / 2016 for kind, count in files.items()})
    assert_shares({n: len(rows) / ROWS for n, rows in enumerate(plan.speeds)}, {0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    assert augmentation.speakers(["a"]) == ["a", "sp0.9-a", "sp1.1-a"]
    assert not plan.masks and augmentation.samples_needed(32_000) == 35_200


def test_hyperion():
    plan, found = shares(PRESETS["hyperion"].build(bank(), RATE))
    after = dict.fromkeys(("noise", "music", "speech"), 0.7 / 3)
    expected = {"none": 0.55 * 0.3, "room": 0.45 * 0.3}
    expected |= {kind: 0.55 * share for kind, share in after.items()}
    expected |= {f"room+{kind}": 0.45 * share for kind, share in after.items()}
    assert_shares(found, expected)
    width = plan.masks["last_frame"] - plan.masks["first_frame"]
    assert width.min() == 0 and width.max() == 5 and abs(width.double().mean() - 2.5) < 0.1
    assert (plan.masks["last_bin"] - plan.masks["first_bin"]).max() == 8


def test_pyannote():
    plan, found = shares(PRESETS["pyannote"].build(bank(), RATE))
    assert found and set("+".join(found).split("+")) == {"music", "noise"}
    (step,) = plan.steps
    snr = step.drawn["snr"].numpy()
    assert len(snr) == ROWS and 5 <= snr.min() < 5.1 and 14.9 < snr.max() <= 15


def test_kaldi():
    config = PRESETS["kaldi"]
    assert not config.is_online and list(config.branches) == ["reverb", "noise", "music", "babble"]
    snrs = {"noise": [15, 10, 5, 0], "music": [15, 10, 8, 5], "babble": [20, 17, 15, 13]}
    for name in config.branches:
        plan, found = shares(config.build_branch(name, bank(), RATE))
        assert list(found.values()) == [1.0] and len(plan.steps) == 1
        if name != "reverb":
            drawn = Counter(plan.steps[0].drawn["snr"].flatten().tolist())
            total = sum(drawn.values())
            assert_shares({snr: count / total for snr, count in drawn.items()}, dict.fromkeys(snrs[name], 0.25))


def test_nothing():
    assert PRESETS["none"] == AugmentConfig() and not PRESETS["none"].is_online and not PRESETS["none"].kinds


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].kinds])
def test_what_the_bank_lacks_is_named(name):
    config = PRESETS[name]
    for missing in config.kinds:
        few = bank([kind for kind in KINDS if kind != missing])
        with pytest.raises(VouchError, match=f"unknown kind of recordings in the bank '{missing}'"):
            for branch in [None] if config.is_online else config.branches:
                config.build(few, RATE) if branch is None else config.build_branch(branch, few, RATE)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"wen": "online"}, r"unknown key 'wen' of an augmentation \(did you mean 'when'"),
        ({"when": "of line"}, "must be online or offline, not of line"),
        ({"waveform": {"add_nois": {}}}, r"unknown augmentation 'add_nois' \(did you mean 'add_noise'"),
        ({"waveform": {"add_noise": {"snrr": 1}}}, r"unknown option 'snrr' of augmentation 'add_noise' \(did you mean"),
        ({"speed": 0.9}, "'speed' of an augmentation must hold 'option: value' pairs"),
        ({"speed": {"factors": [1, 1.0]}}, "must differ"),
        ({"features": {"time_mask": 1}}, r"unknown option 'time_mask' .*'time_masks'"),
        ({"copies": 1.5}, "must be a whole number, not 1.5"),
        ({"when": "offline", "waveform": {"gain": {}}}, "is a 'one_of' of nodes with names"),
        ({"when": "offline", "waveform": {"one_of": ["none"]}}, "needs a name of its own"),
        ({"when": "offline", "copies": 2, "waveform": {"one_of": [{"gain": {}, "name": "x"}]}}, r"1 \(x\), not 2"),
    ],
)
def test_what_is_no_augmentation_is_refused(config, message):
    with pytest.raises(VouchError, match=message):
        AugmentConfig.from_dict(config)
