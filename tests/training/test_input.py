"""What happens to batches on their way to the network: 16-bit crops, augmentation, front end, masks."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from corpus import write_features
from runs import make_run

from vouch.augment.bank import read_bank, write_bank
from vouch.augment.config import AugmentConfig
from vouch.base.errors import VouchError
from vouch.encoder import Encoder, EncoderConfig
from vouch.features import FEATURES
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig
from vouch.models.config import NetworkConfig
from vouch.training.config import resolve_config
from vouch.training.data import Batch, TrainingSet, prefetch
from vouch.training.experiment import Experiment
from vouch.training.finetune import load_start
from vouch.training.input import TrainingInput, samples_for
from vouch.training.loop import Interrupted

RATE = 16000
CPU = torch.device("cpu")
FBANK = FrontEndConfig("fbank", {"num_mel_bins": 24, "sample_rate": RATE})
WAVES = FrontEndConfig("waveform", {"sample_rate": RATE})
XVECTOR = {"name": "xvector", "channels": [8, 8, 8, 8, 16], "embedding_dim": 8}
EVERYTHING = {
    "speed": {"factors": [1.0, 0.9, 1.1], "as_speakers": True},
    "waveform": {
        "sequence": [
            {"reverberate": {}, "p": 0.5},
            {
                "one_of": [
                    "none",
                    {"add_noise": {}},
                    {"add_noise": {"kind": "speech", "files": [3, 5], "snr": [13, 20]}},
                ]
            },
            {"band": {"low": [0, 200], "high": [3000, 4000]}, "p": 0.3},
            {"g711": {}, "p": 0.2},
            {"gain": {}},
            {"clip": {}, "p": 0.1},
        ]
    },
    "features": {"time_masks": 2},
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("bank"), np.random.default_rng(4)

    def noises(count):
        return [(str(row), 0.1 * rng.standard_normal(3000 + 999 * row).astype(np.float32)) for row in range(count)]

    rooms = [(name, samples * np.exp(-np.arange(len(samples)) / 500)) for name, samples in noises(3)]
    write_bank(folder, {"noise": noises(4), "speech": noises(6), "room": rooms}, RATE)
    return folder


def make_input(sirens, bank, augment, device=CPU, feature=FBANK, seconds=0.3):
    encoder = Encoder(EncoderConfig(NetworkConfig.from_dict(XVECTOR), feature.build().dim, "mean", feature))
    data = TrainingSet(sirens / "train", feature=WAVES)
    held = read_bank(bank, RATE).to(device)
    augmentation = None if augment is None else AugmentConfig.from_dict(augment).build(held, RATE)
    return data, TrainingInput(encoder.to(device), data, seconds, augmentation, device)


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "waveform"])
@pytest.mark.parametrize("frames", [1, 7, 200])
def test_least_samples_for_frames(name, frames):
    front_end = FrontEndConfig(name).build()
    samples = samples_for(front_end, frames)
    assert front_end.output_length(samples) >= frames > front_end.output_length(samples - 1)
    assert front_end(torch.zeros(1, samples)).shape[1] == front_end.output_length(samples)


def test_without_augmentation_the_input_is_the_features_of_the_crops(sirens, bank):
    data, source = make_input(sirens, bank, None)
    batch = source.draw(data.gather(np.arange(24), source.piece, np.random.default_rng(3)), np.random.default_rng(0))
    inputs, plan = source.prepare(batch)
    assert inputs.shape == (24, 30, 24) and plan is None and batch.inputs.dtype == torch.int16
    found = [compute(FBANK.build(), (row / 32768).astype(np.float32)) for row in batch.inputs.numpy()]
    np.testing.assert_allclose(inputs, np.stack(found), atol=2e-5)


def test_crops_are_those_of_the_files(sirens, bank):
    data, source = make_input(sirens, bank, None)
    crops = data.gather(np.arange(24), source.piece, np.random.default_rng(3)).inputs.numpy()
    for index, crop in enumerate(crops):
        name = data.name(index)
        whole = soundfile.read(sirens / f"train.wavs/{name}.wav", dtype="int16")[0]
        wrapped = np.concatenate([whole, whole])
        assert any(np.array_equal(wrapped[first : first + len(crop)], crop) for first in range(len(whole)))


def test_a_batch_follows_from_its_seed_alone(sirens, bank):
    data, source = make_input(sirens, bank, EVERYTHING)
    batches = np.random.default_rng(0).integers(0, 24, (16, 16))
    whole = list(prefetch(data, batches, 0, source.piece, (5, 2), False, source.draw))
    rest = list(prefetch(data, batches, 14, source.piece, (5, 2), False, source.draw))
    seen = set()
    for one, other in zip(whole[14:], rest, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(source.prepare(one)[0], source.prepare(other)[0])
    for batch in whole:
        inputs, plan = source.prepare(batch)
        assert inputs.shape == (16, 30, 24) and torch.isfinite(inputs).all()
        masked = source.mask(inputs, plan)
        assert (masked == 0).any() and ((masked == 0) | (masked == inputs)).all()
        seen |= set(batch.labels.tolist())
    other = next(iter(prefetch(data, batches[14:], 0, source.piece, (5, 3), False, source.draw)))
    assert not torch.equal(source.prepare(other)[0], source.prepare(whole[14])[0])
    assert len(source.speakers) == 9 and seen == set(range(9))
    assert source.speakers[3] == f"sp0.9-{data.speakers[0]}"


def test_one_row_of_a_batch_does_not_depend_on_the_others(sirens, bank):
    data, source = make_input(sirens, bank, {"waveform": {"add_noise": {"snr": [5, 5]}}})
    batch = source.draw(data.gather(np.arange(24), source.piece, np.random.default_rng(3)), np.random.default_rng(0))
    inputs, _ = source.prepare(batch)
    changed = batch.inputs.clone()
    changed[5:] = 0
    alone, _ = source.prepare(Batch(changed, batch.labels, batch.plan))
    torch.testing.assert_close(alone[:5], inputs[:5], atol=2e-4, rtol=0)
    assert (alone[5:] == alone[5]).all(), "silence stays silent"


def test_nothing_waits_for_the_device_or_stays_on_the_host(sirens, bank):
    """On the meta device a number that the host asks for, and a tensor that stays on the CPU, are errors."""
    meta = torch.device("meta")
    data, source = make_input(sirens, bank, EVERYTHING, meta)
    batch = source.draw(data.gather(np.arange(24), source.piece, np.random.default_rng(3)), np.random.default_rng(0))
    inputs, plan = source.prepare(batch)
    masked = source.mask(inputs, plan)
    assert masked.device == meta and masked.shape == (24, 30, 24)


def config_of(augment, **train):
    recipe = {"model": XVECTOR, "train": {"epochs": 2, "batch_size": 6, "crop_seconds": 0.3, **train}}
    return resolve_config({**recipe, "augment": augment}, {})


class Stops:
    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_an_interrupted_training_ends_as_a_whole_one(sirens, bank, tmp_path):
    weights = []
    for number, stops in enumerate((None, 3)):
        folder = tmp_path / str(number)
        should_stop = (lambda: False) if stops is None else Stops(stops)

        def run(should_stop=should_stop, folder=folder):
            made = make_run(
                config_of(EVERYTHING), sirens / "train", None, folder, FBANK, should_stop=should_stop, bank=bank
            )
            return made, made()

        if stops is not None:
            with pytest.raises(Interrupted):
                run()
            made, _ = run(lambda: False)
        else:
            made, _ = run()
            assert any(line.startswith("augmentation: ") for line in made.lines)
        weights.append(torch.load(folder / "final.pt", weights_only=True)["weights"])
        last = torch.load(folder / "checkpoints/last.pt", weights_only=True)
        assert len(last["speakers"]) == 9
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_identity_of_an_experiment_has_the_augmentation_and_the_bank(sirens, bank, tmp_path):
    other = tmp_path / "bank"
    write_bank(other, {"noise": [("a", np.full(100, 0.5, np.float32))]}, RATE)
    quiet = {"waveform": {"add_noise": {"snr": [15, 20]}}}

    def fingerprint(augment, folder=None):
        return Experiment(tmp_path / "exp", config_of(augment), sirens / "train", None, FBANK, None, folder).fingerprint

    found = [fingerprint(quiet, bank), fingerprint(quiet, other), fingerprint({"waveform": {"add_noise": {}}}, bank)]
    assert len(set(found)) == 3 and found[0] == fingerprint(quiet, bank)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"waveform": {"add_noise": {"kind": "musik"}}}, "unknown kind of recordings in the bank 'musik'"),
        ({"waveform": {"add_noise": {"kind": "speech", "files": [3, 7]}}}, "up to 7 recordings of 'speech' at once"),
    ],
)
def test_a_bank_that_lacks_recordings(sirens, bank, tmp_path, augment, message):
    config = config_of(augment)
    with pytest.raises(VouchError, match=message):
        make_run(config, sirens / "train", None, tmp_path / "exp", FBANK, bank=bank)


def test_what_does_not_fit_is_refused_before_training(sirens, bank, tmp_path):
    noise = {"waveform": {"add_noise": {}}}
    with pytest.raises(VouchError, match="the augmentation takes recordings"):
        Experiment(tmp_path / "exp", config_of(noise), sirens / "train", None, FBANK, None, None)
    with pytest.raises(VouchError, match="need a front end; run stage 1"):
        Experiment(tmp_path / "exp", config_of({"waveform": {"gain": {}}}), sirens / "train", None, None, None)
    telephone = FrontEndConfig("fbank", {"num_mel_bins": 24, "sample_rate": 8000})
    with pytest.raises(VouchError, match="the bank is of 16000 Hz, the speech of 8000 Hz"):
        Experiment(tmp_path / "exp", config_of(noise), sirens / "train", None, telephone, None, bank)
    with pytest.raises(VouchError, match="masks features, and sinctdnn takes waveforms"):
        resolve_config({"model": "sinctdnn", "augment": {"features": {}}}, {})
    with pytest.raises(VouchError, match=r"unknown key 'wave' of an augmentation.*'waveform'"):
        resolve_config({"augment": {"wave": "none"}}, {})


def test_waveform_networks_are_augmented_too(sirens, bank, tmp_path):
    config = resolve_config(
        {
            "model": {"name": "sinctdnn"},
            "train": {"epochs": 1, "batch_size": 6, "crop_seconds": 0.3},
            "augment": {name: EVERYTHING[name] for name in ("speed", "waveform")},
        },
        {},
    )
    made = make_run(config, sirens / "train", None, tmp_path / "exp", WAVES, bank=bank)
    made()
    assert made.lines[-1].endswith("final.pt: the encoder of epoch 1")


def test_fine_tuning_keeps_the_rows_of_the_speakers_themselves(sirens, tmp_path):
    speeds = {"speed": {"factors": [0.9, 1.0, 1.1], "as_speakers": True}}
    make_run(config_of(speeds), sirens / "train", None, tmp_path / "exp", FBANK)()
    last = tmp_path / "exp/checkpoints/last.pt"
    start = load_start(last)
    assert [start.speakers[row] for row in (0, 3, 8)] == ["sp0.9-s0", "s0", "sp1.1-s2"]
    tuned = make_run(config_of({"waveform": {"gain": {}}}), sirens / "train", None, tmp_path / "tuned", FBANK, start)
    assert tuned.training.started_from.endswith("the loss keeps its rows for 3 of 3 speakers")
    name, rows = next((name, value) for name, value in start.loss.items() if len(value) == 9)
    assert torch.equal(tuned.training.state.loss.state_dict()[name], rows[3:6])


def test_losses_that_compare_utterances_of_a_speaker_find_them_at_every_speed(sirens, bank, tmp_path):
    recipe = {"model": XVECTOR, "loss": "ge2e", "train": {"epochs": 1, "batch_size": 6, "crop_seconds": 0.3}}
    config = resolve_config({**recipe, "augment": EVERYTHING}, {"loss.utterances_per_speaker": "2"})
    made = make_run(config, sirens / "train", None, tmp_path / "exp", FBANK, bank=bank)
    source, batches = made.training.input, made.training.plan_epoch(0)
    for number, batch in enumerate(prefetch(made.training.data, batches, 0, source.piece, (0, 0), False, source.draw)):
        labels = batch.labels.numpy()
        before = made.training.data.labels[batches[number]]
        assert (np.equal.outer(labels, labels) == np.equal.outer(before, before)).all()
    made()


def test_copies_of_another_augmentation_are_refused(sirens, tmp_path):
    asked = config_of({"when": "offline", "waveform": {"one_of": [{"gain": {}, "name": "loud"}]}})
    data = tmp_path / "data"
    shutil.copytree(sirens / "train", data)
    with pytest.raises(VouchError, match=r"holds no copies of an augmentation \(when: offline\); make them by stage 2"):
        Experiment(tmp_path / "exp", asked, data, None, FBANK, None)
    (data / "augment.yaml").write_text("when: offline\nwaveform: {one_of: [{clip: {}, name: loud}]}\n")
    with pytest.raises(VouchError, match=r"augment\.yaml: the copies are of another augmentation; run stage 2"):
        Experiment(tmp_path / "exp", asked, data, None, FBANK, None)
    (data / "augment.yaml").write_text("when: offline\nwaveform: {one_of: [{gain: {}, name: loud}]}\n")
    with pytest.raises(VouchError, match=r"feats\.scp: no such file"):
        Experiment(tmp_path / "exp", asked, data, None, FBANK, None)


def test_masks_are_for_stored_features_too(tmp_path):
    write_features(tmp_path / "train", range(6))
    config = config_of({"features": {"time_masks": 2, "time_width": 4}}, crop_seconds=0.2)
    made = make_run(config, tmp_path / "train", None, tmp_path / "exp")
    source, data = made.training.input, made.training.data
    batch = source.draw(data.gather(np.arange(6), source.piece, np.random.default_rng(3)), np.random.default_rng(0))
    inputs, plan = source.prepare(batch)
    np.testing.assert_array_equal(inputs, batch.inputs)
    normalized = made.training.state.encoder.normalize(inputs)
    masked = source.mask(normalized, plan)
    assert ((masked == normalized) | (masked == 0)).all() and ((masked == 0) & (normalized != 0)).any()
    made()
