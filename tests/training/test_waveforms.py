"""Training and validation straight from recordings, for networks that take waveforms."""

import re
from types import MappingProxyType

import numpy as np
import pytest
import soundfile
import torch
from corpus import RATE, TINY, write_all_trials
from runs import make_run
from sirens import write_sirens

from vouch.base.errors import VouchError
from vouch.encoder import load_encoder
from vouch.evaluation.metrics import equal_error_rate
from vouch.extraction.embed import embed_matrices
from vouch.features.config import FrontEndConfig
from vouch.kaldi.lists.trials import read_trials
from vouch.models import MODELS
from vouch.training.config import resolve_config
from vouch.training.data import TrainingSet
from vouch.training.loop import Interrupted
from vouch.training.setup import check_networks
from vouch.training.validation import ValidationSet

WAVEFORM_MODELS = [name for name in MODELS if MODELS[name].input_kind == "waveform"]
SHORT = {"epochs": 20, "batch_size": 6, "crop_seconds": 0.25, "learning_rate": 0.01}


def make(sirens, exp, model, should_stop=lambda: False, options=MappingProxyType({}), **train):
    """Return a training that can be run and the list that its log lines are appended to."""
    loss = {"name": "aamsoftmax", "margin": 0.1, "scale": 10.0}
    config = resolve_config({"model": {**TINY[model], **options}, "loss": loss, "train": {**SHORT, **train}}, {})
    feature = config.network.front_end
    run = make_run(config, sirens / "train", sirens / "valid", exp, feature, should_stop=should_stop)
    return run, run.lines


@pytest.mark.parametrize("model", WAVEFORM_MODELS)
def test_every_network_learns(sirens, tmp_path, model):
    run, lines = make(sirens, tmp_path, model)
    untrained = run.training.valid.eer(run.training.state.encoder.eval())
    final = run()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines if line.startswith("epoch")]
    assert losses[-1] < 0.7 * losses[0]
    encoder = load_encoder(final)
    assert encoder.config.front_end == FrontEndConfig("waveform", {"sample_rate": 16000})
    eer = ValidationSet(sirens / "valid", encoder.config.front_end).eer(encoder)
    assert eer < 0.15 < untrained
    assert f"(best {100 * eer:.2f} %)" in lines[-2]


@pytest.mark.parametrize(
    ("model", "options"), [*((model, {}) for model in WAVEFORM_MODELS), ("sinctdnn", {"dropout": 0.5})]
)
def test_a_continued_training_is_the_same_to_the_last_bit(sirens, tmp_path, model, options):
    """Whatever was drawn meanwhile: dropout follows from where the training is."""
    whole = make(sirens, tmp_path / "whole", model, options=options, epochs=2)[0]()
    left = iter([False] * 5 + [True])
    with pytest.raises(Interrupted):
        make(sirens, tmp_path / "cut", model, lambda: next(left), options, epochs=2)[0]()
    continued = make(sirens, tmp_path / "cut", model, options=options, epochs=2)[0]
    torch.manual_seed(999)
    expected = load_encoder(whole).state_dict()
    found = load_encoder(continued()).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_the_validation_eer_is_that_of_whole_recordings(sirens, tmp_path):
    run, _ = make(sirens, tmp_path, "sinctdnn")
    encoder = run.training.state.encoder.eval()
    store = run.training.valid._store
    embeddings = {name: embed_matrices(encoder, [store.matrix(row)])[0] for row, name in enumerate(store.utterances)}
    trials = read_trials(sirens / "valid/trials")
    scores = []
    for enrol, test in zip(trials.enrol, trials.test, strict=True):
        one, other = embeddings[enrol].astype(float), embeddings[test].astype(float)
        scores.append(one @ other / np.sqrt((one @ one) * (other @ other)))
    expected = equal_error_rate(np.array(scores), trials.is_target).value
    assert run.training.valid.eer(encoder) == pytest.approx(expected, abs=1e-6)


def damage(path, how):
    """Make a recording unreadable; as a FLAC file, which says how long it is, it is noticed where it ends."""
    if how == "no header":
        path.write_bytes(b"RIFF\4\0\0\0WAVE")
        return "ends before its samples begin"
    samples, rate = soundfile.read(path)
    path.unlink()
    if how == "missing":
        return "No such file"
    soundfile.write(path, samples, rate, format="FLAC")
    path.write_bytes(path.read_bytes()[:3000])
    return "(truncated|seek)"


@pytest.mark.parametrize("has_lengths", [True, False])
@pytest.mark.parametrize("how", ["no header", "missing", "cut off"])
def test_one_bad_recording_among_many_is_left_out_and_named(tmp_path, how, has_lengths):
    write_sirens(tmp_path / "train", range(8))
    words = damage(tmp_path / "train.wavs/s1-01.wav", how)
    write_all_trials(tmp_path / "train")
    (tmp_path / "valid").symlink_to("train")
    if not has_lengths:
        (tmp_path / "train/utt2dur").unlink()
    run, lines = make(tmp_path, tmp_path / "exp", "sinctdnn", epochs=1)
    run()
    assert "s1-01" not in {run.training.data.name(index) for index in range(len(run.training.data.labels))}
    assert len(run.training.data.labels) == 23 and not run.training.data.left_out
    told = re.compile(rf"\S*(train|valid)/wav\.scp: 1 utterances that cannot be read left out: 's1-01': .*{words}.*")
    assert [told.fullmatch(line)[1] for line in lines if told.fullmatch(line)] == ["train", "valid"]
    trials = read_trials(tmp_path / "valid/trials")
    gone = sum("s1-01" in pair for pair in zip(trials.enrol, trials.test, strict=True))
    assert f": {gone} of {len(trials.enrol)} trials have an utterance of silence or 0 samples or one that" in "".join(
        lines
    )


def test_damage_that_a_crop_meets_is_replaced_by_the_next_recording_of_the_speaker(sirens, tmp_path):
    """Half a second of the middle is read beforehand, which is whole here."""
    (tmp_path / "valid").symlink_to(sirens / "valid")
    write_sirens(tmp_path / "train", range(8))
    path = tmp_path / "train.wavs/s1-03.wav"
    samples = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    path.unlink()
    soundfile.write(path, samples, RATE, format="FLAC")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    (tmp_path / "train/utt2dur").write_text(
        "".join(f"s{s}-{u:02d} {4 if (s, u) == (1, 3) else 0.3}\n" for s in range(3) for u in range(8))
    )
    run, lines = make(tmp_path, tmp_path / "exp", "sinctdnn", epochs=3)
    assert not run.training.data.unreadable
    write_all_trials(tmp_path / "train")
    assert (
        "1 utterances that cannot be read left out: 's1-03'"
        in ValidationSet(tmp_path / "train", FrontEndConfig("waveform", {"sample_rate": RATE})).unreadable
    )
    data, rng = run.training.data, np.random.default_rng(0)
    row = [data.name(index) for index in range(len(data.labels))].index("s1-03")
    many = data.gather(np.full(20, row), 4000, rng).inputs.numpy() / 32768
    expected = soundfile.read(tmp_path / "train.wavs/s1-04.wav", dtype="float32")[0][:4000]
    replaced = [np.array_equal(crop, expected) for crop in many]
    assert 1 <= sum(replaced) < 20
    run()
    assert sum("1 utterances that cannot be read left out: 's1-03': " in line for line in lines) == 1


@pytest.mark.parametrize("has_lengths", [True, False])
def test_many_bad_recordings_are_too_many(sirens, tmp_path, has_lengths):
    (tmp_path / "valid").symlink_to(sirens / "valid")
    write_sirens(tmp_path / "train", range(8))
    for name in ("s0-03", "s1-01"):
        damage(tmp_path / f"train.wavs/{name}.wav", "no header")
    if not has_lengths:
        (tmp_path / "train/utt2dur").unlink()
    message = r"train/wav\.scp: more than 5% of 24 utterances cannot be read: 's0-03': .*; 's1-01': .*its samples begin"
    with pytest.raises(VouchError, match=message) as caught:
        make(tmp_path, tmp_path / "exp", "sinctdnn")
    assert "\n" not in str(caught.value)


def test_normalization_is_for_features():
    recipe = {"model": "xvector", "normalization": "meanvar"}
    assert resolve_config(recipe, {}).normalization == "meanvar"
    config = resolve_config(recipe, {"model": "sinctdnn"})
    assert config.normalization == "none"
    assert resolve_config(config.as_dict(), {}) == config
    assert resolve_config(recipe, {"model": "sinctdnn", "normalization": "none"}).normalization == "none"
    for asked in ("mean", "meanvar"):
        with pytest.raises(VouchError, match=f"normalization '{asked}' is for features, and sinctdnn takes waveforms"):
            resolve_config(recipe, {"model": "sinctdnn", "normalization": asked})
    with pytest.raises(VouchError, match="unknown normalization 'men'"):
        resolve_config({**recipe, "normalization": "men"}, {"model": "sinctdnn"})


def test_crops_count_samples():
    check_networks(resolve_config({}, {"model": "sinctdnn", "train.crop_seconds": "0.165375"}))
    message = r"train\.crop_seconds 0\.1653125 is too short, the network needs at least 2646 samples, 0\.1654 s"
    with pytest.raises(VouchError, match=message):
        check_networks(resolve_config({}, {"model": "sinctdnn", "train.crop_seconds": "0.1653125"}))
    with pytest.raises(VouchError, match=r"0\.14 is too short, the network needs at least 15 frames, 0\.15 s$"):
        check_networks(resolve_config({}, {"model": "xvector", "train.crop_seconds": "0.14"}), FrontEndConfig("fbank"))
    # Of 5 ms frames there are enough, and of unknown ones nobody knows yet.
    enough = resolve_config({}, {"model": "xvector", "train.crop_seconds": "0.1"})
    check_networks(enough, FrontEndConfig("fbank", {"frame_shift": 5}))
    check_networks(enough)


def test_silent_recordings_are_left_out_and_short_ones_counted(tmp_path):
    write_sirens(tmp_path / "train", range(8))
    write_all_trials(tmp_path / "train")
    # One of zeros, one of an offset, and one with a siren after seconds of zeros, which is none of them.
    siren = soundfile.read(tmp_path / "train.wavs/s0-03.wav")[0]
    for name, samples in {
        "s0-00": np.zeros(5000),
        "s1-02": np.full(40000, 0.25),
        "s2-05": np.concatenate([np.zeros(40000), siren]),
    }.items():
        soundfile.write(tmp_path / f"train.wavs/{name}.wav", samples, RATE)
    (tmp_path / "train/utt2dur").unlink()
    feature = FrontEndConfig("waveform", {"sample_rate": RATE})
    data = TrainingSet(tmp_path / "train", feature=feature)
    assert data.left_out == f"{tmp_path}/train/wav.scp: 2 utterances of silence or 0 samples left out: s0-00"
    assert data.short == f"{tmp_path}/train/wav.scp: 21 utterances shorter than 1 s: s0-01"
    left = {data.name(index) for index in range(len(data.labels))}
    assert len(left) == 22 and not left & {"s0-00", "s1-02"} and "s2-05" in left
    trials = read_trials(tmp_path / "train/trials")
    gone = sum(bool({"s0-00", "s1-02"} & {*pair}) for pair in zip(trials.enrol, trials.test, strict=True))
    remark = ValidationSet(tmp_path / "train", feature).left_out
    assert f": {gone} of {len(trials.enrol)} trials have an utterance of silence or 0 samples" in remark
    (tmp_path / "valid").symlink_to(tmp_path / "train")
    run, lines = make(tmp_path, tmp_path / "exp", WAVEFORM_MODELS[0], epochs=1)
    run()
    assert data.left_out in lines and data.short in lines
    assert run.training.valid.left_out in lines
