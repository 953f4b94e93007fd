"""Stage 2 as a user runs it, with good and with bad input."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from corpus import RATE, assert_same_features, read_features, slow_pipes, voice, write_recordings
from processes import fails, succeeds, wait_for

from vouch.audio.reading import read_audio
from vouch.augment.bank import write_bank
from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lineage.records import check_current
from vouch.kaldi.tables import read_table, write_table
from vouch.stores.reader import WaveReader
from vouch.stores.waves import open_store

AUGMENT = "steps/augment_data.py"
ROOT = Path(__file__).resolve().parents[2]
NOISE = ("--augment", ROOT / "conf/augment/noise.yaml", "--bank")
KALDI = ("--augment", ROOT / "conf/augment/kaldi.yaml", "--bank")
NAMES = {"noise", "music", "babble"}


def recordings(seed=0):
    """Noises, speech shorter than the utterances, and a response longer than they are."""
    rng = np.random.default_rng(seed)
    lengths = {"noise": (20_000, 5000), "music": (12_000,), "speech": (3000,) * 8, "room": (800, 12_000)}
    for kind, each in lengths.items():
        made = [0.1 * rng.standard_normal(length) for length in each]
        if kind == "room":
            made = [samples * np.exp(-np.arange(len(samples)) / 900) for samples in made]
        yield kind, [(f"{row}.wav", samples.astype(np.float32)) for row, samples in enumerate(made)]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of noises and rooms."""
    folder = tmp_path_factory.mktemp("bank")
    write_bank(folder, dict(recordings()), RATE)
    return folder


@pytest.fixture
def data(scripts, tmp_path):
    """A data directory with features."""
    write_recordings(tmp_path / "data")
    succeeds(scripts.run("steps/make_fbank.py", "data", cwd=tmp_path))
    return tmp_path / "data"


def unfinished(out):
    return list(out.glob("noisy.work-*/*.json"))


def test_help_is_for_people(scripts, tmp_path):
    done = succeeds(scripts.run(AUGMENT, "--help", cwd=tmp_path))
    for word in ("--bank", "utt2uniq", "--copies", "--keep-ids", "16-bit"):
        assert word in " ".join(done.stdout.split())


def test_copies_stand_beside_the_originals(scripts, data, bank, tmp_path):
    done = succeeds(scripts.run(AUGMENT, "data", "out", *NOISE, bank, "--copies", 2, cwd=tmp_path))
    assert re.fullmatch(r"out: 12 copies of 6 utterances: \d 'babble', \d 'music', \d 'noise'\n", done.stdout)
    assert done.stderr == ""
    clean, found = read_features(data / "feats.scp"), read_features(tmp_path / "out/feats.scp")
    uniq = read_table(tmp_path / "out/utt2uniq")
    out = DataDir.load(tmp_path / "out", need=["feats.scp"])
    assert list(found) == list(uniq) == list(out.utt2spk)
    assert {len([copy for copy in uniq if uniq[copy] == name]) for name in clean} == {3}
    kinds = set()
    for copy, original in uniq.items():
        assert out.utt2spk[copy] == original.split("-")[0]
        assert read_table(tmp_path / "out/utt2num_frames")[copy] == str(len(clean[original]))
        if copy == original:
            np.testing.assert_array_equal(found[copy], clean[original])
        else:
            kinds.add(copy.removeprefix(f"{original}-"))
            # Added noise raises the energy between the harmonics.
            assert (found[copy] - clean[original]).mean() > 0.05
    assert kinds == NAMES
    assert (tmp_path / "out/feature.yaml").read_text() == (data / "feature.yaml").read_text()


def test_jobs_and_parts_of_the_set_give_the_same_copies(scripts, data, bank, tmp_path):
    succeeds(scripts.run(AUGMENT, "data", "out", *NOISE, bank, cwd=tmp_path))
    alone = read_features(tmp_path / "out/feats.scp")
    options = (*NOISE, bank, "--nj", 2, "--shard-size", 2)
    succeeds(scripts.run(AUGMENT, "data", "out", *options, cwd=tmp_path))
    assert_same_features(read_features(tmp_path / "out/feats.scp"), alone)

    part = tmp_path / "part"
    part.mkdir()
    for name in ("utt2spk", "wav.scp", "feats.scp", "utt2num_frames"):
        write_table(part / name, {key: value for key, value in read_table(data / name).items() if key >= "s1-1"})
    (part / "feature.yaml").write_bytes((data / "feature.yaml").read_bytes())
    succeeds(scripts.run(AUGMENT, "part", "out2", *NOISE, bank, cwd=tmp_path))
    expected = {name: matrix for name, matrix in alone.items() if name >= "s1-1"}
    assert_same_features(read_features(tmp_path / "out2/feats.scp"), expected)

    succeeds(scripts.run(AUGMENT, "part", "out2", *NOISE, bank, "--seed", 1, cwd=tmp_path))
    other = read_features(tmp_path / "out2/feats.scp")
    assert any(name not in alone or (other[name] != alone[name]).any() for name in other)


def test_rooms_and_all_copies(scripts, data, bank, tmp_path):
    """As Kaldi's recipes make them: four of each, and of those a number; a response may be longer than the speech."""
    words = ("data", "all", *KALDI, bank, "--copies", 4)
    succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    clean, found = read_features(data / "feats.scp"), read_features(tmp_path / "all/feats.scp")
    assert set(found) == {*clean, *(f"{name}-{end}" for name in clean for end in (*NAMES, "reverb"))}
    assert all(np.isfinite(matrix).all() and matrix.shape == clean[name[:4]].shape for name, matrix in found.items())
    succeeds(scripts.run(AUGMENT, "data", "some", *KALDI, bank, "--copies", 4, "--subset", 9, cwd=tmp_path))
    some = read_features(tmp_path / "some/feats.scp")
    uniq = read_table(tmp_path / "some/utt2uniq")
    assert len(some) == 6 + 9
    # One or two copies of each, and what they are does not depend on how many there are.
    assert {list(uniq.values()).count(name) - 1 for name in clean} == {1, 2}
    assert_same_features(some, {name: found[name] for name in some})


def test_copies_with_audio_are_a_set_for_networks_that_take_waveforms(scripts, data, bank, tmp_path):
    (data / "utt2dur").write_text("".join(f"{name} 0.500\n" for name in read_table(data / "wav.scp")))
    words = (*KALDI, bank, "--copies", 4)
    succeeds(scripts.run(AUGMENT, "data", "out", *words, cwd=tmp_path))
    features = read_features(tmp_path / "out/feats.scp")
    done = succeeds(scripts.run(AUGMENT, "data", "out", *words, "--write-audio", "--nj", 2, cwd=tmp_path))
    assert "24 copies of 6 utterances" in done.stdout
    assert_same_features(read_features(tmp_path / "out/feats.scp"), features)
    out = DataDir.load(tmp_path / "out", need=["wav.scp", "feats.scp"])
    assert list(out.wav_scp) == list(out.utt2spk) == list(features) == list(read_table(tmp_path / "out/utt2dur"))
    front_end = FrontEndConfig.from_dict(read_yaml(data / "feature.yaml")).build()
    uniq = read_table(tmp_path / "out/utt2uniq")
    lengths = {name: len(read_audio(place).samples) for name, place in read_table(data / "wav.scp").items()}
    for name, place in out.wav_scp.items():
        audio = read_audio(place)
        assert (audio.source_rate, audio.source_channels, len(audio.samples)) == (RATE, 1, lengths[uniq[name]])
        # Rounding to 16 bits is all that features of the recording differ by.
        assert np.abs(compute(front_end, audio.samples) - features[name]).mean() < 0.02
    # Without audio again: the old recordings are gone, and their table.
    succeeds(scripts.run(AUGMENT, "data", "out", *words, cwd=tmp_path))
    assert not (tmp_path / "out/wav.scp").exists()
    assert not list((tmp_path / "out").glob("noisy/*.wav.ark"))


def test_a_set_without_features_is_copied_as_audio(scripts, tmp_path, bank):
    """Of segments too; what is too loud for 16 bits is made quieter, not clipped."""
    write_recordings(tmp_path / "data")
    whole = DataDir.load(tmp_path / "data", need=["wav.scp"])
    loud = read_audio(whole.wav_scp["s0-0"]).samples
    soundfile.write(tmp_path / "loud.wav", loud / np.abs(loud).max(), RATE)
    write_table(tmp_path / "data/wav.scp", {**whole.wav_scp, "s0-0": str(tmp_path / "loud.wav")})
    parts = {name: f"{name} 0.10 0.40" for name in whole.wav_scp}
    write_table(tmp_path / "data/segments", parts)
    words = ("data", "out", *NOISE, bank, "--copies", 3, "--write-audio", "--seed", 3)
    done = succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    assert "recordings made quieter to fit into 16 bits" in done.stderr
    out = DataDir.load(tmp_path / "out", need=["wav.scp"])
    assert len(out.utt2spk) == 6 + 18 and not (tmp_path / "out/feats.scp").exists()
    reader = WaveReader(out, RATE)
    for name in out.utt2spk:
        samples = reader.read(name)
        assert len(samples) == 4800
        assert samples.any() and (np.abs(samples) > 0.9999).sum() <= 2
    assert len(open_store(tmp_path / "out", FrontEndConfig("waveform", {}))[1]) == 24


def test_a_noisy_version_of_a_test_set(scripts, data, bank, tmp_path):
    (data / "trials").write_text("s0-0 s0-1 target\n")
    (data / "trials_hard").write_text("s0-0 s1-1 nontarget\n")
    (data / "enrol_map").write_text("s0 s0-0\n")
    done = succeeds(scripts.run(AUGMENT, "data", "noisy_test", *KALDI, bank, "--keep-ids", cwd=tmp_path))
    assert "noisy_test: 6 copies in place of the utterances: " in done.stdout
    succeeds(scripts.run(AUGMENT, "data", "all", *KALDI, bank, "--copies", 4, cwd=tmp_path))
    clean, found = read_features(data / "feats.scp"), read_features(tmp_path / "noisy_test/feats.scp")
    copies = read_features(tmp_path / "all/feats.scp")
    assert list(found) == list(clean)
    for name, matrix in found.items():
        assert any((matrix == copies[f"{name}-{end}"]).all() for end in (*NAMES, "reverb"))
    for name in ("trials", "trials_hard", "enrol_map", "utt2spk", "spk2utt", "utt2num_frames", "feature.yaml"):
        assert (tmp_path / "noisy_test" / name).read_bytes() == (data / name).read_bytes()
    fails(scripts.run(AUGMENT, "data", "x", *KALDI, bank, "--keep-ids", "--copies", 2, cwd=tmp_path), "--keep-ids", 2)


def test_what_is_true_of_an_utterance_is_true_of_its_copies(scripts, data, bank, tmp_path):
    """Where there is speech as well: decided before noise was added."""
    names = list(read_table(data / "wav.scp"))
    (data / "text").write_text("".join(f"{name} hello\n" for name in names[:3]))
    (data / "vad.scp").write_text("".join(f"{name} vad.ark:{row}\n" for row, name in enumerate(names)))
    (data / "spk2gender").write_text("s0 f\ns1 m\n")
    succeeds(scripts.run(AUGMENT, "data", "out", *NOISE, bank, "--copies", 3, cwd=tmp_path))
    uniq, vad = read_table(tmp_path / "out/utt2uniq"), read_table(tmp_path / "out/vad.scp")
    assert vad == {name: read_table(data / "vad.scp")[original] for name, original in uniq.items()}
    assert set(read_table(tmp_path / "out/text")) == {name for name in uniq if uniq[name] in names[:3]}
    assert (tmp_path / "out/spk2gender").read_bytes() == (data / "spk2gender").read_bytes()
    assert (tmp_path / "out/frame_shift").read_bytes() == (data / "frame_shift").read_bytes()


def test_long_speech_in_a_long_room(scripts, bank, tmp_path):
    """Two minutes, of which a part is silent, and the rest of the time is as loud in a room as it was."""
    (tmp_path / "data").mkdir()
    speech = np.concatenate([voice(0, 0, 100.0), np.zeros(20 * RATE, np.float32)])
    soundfile.write(tmp_path / "long.wav", speech, RATE)
    (tmp_path / "data/wav.scp").write_text(f"long {tmp_path}/long.wav\n")
    (tmp_path / "data/utt2spk").write_text("long s0\n")
    words = ("data", "out", *KALDI, bank, "--copies", 4, "--write-audio")
    succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    table = read_table(tmp_path / "out/wav.scp")
    wet = read_audio(table["long-reverb"]).samples
    assert len(wet) == len(speech)
    assert abs(10 * np.log10(np.square(wet).sum() / np.square(speech).sum())) < 0.5
    assert np.abs(wet[-10 * RATE :]).max() == 0
    for end in NAMES:
        added = read_audio(table[f"long-{end}"]).samples - speech
        assert np.square(added[-10 * RATE :]).mean() > 1e-6


def test_silent_speech_stays_silent(scripts, bank, tmp_path):
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    (tmp_path / "data/wav.scp").write_text(f"silent {tmp_path}/silent.wav\n")
    (tmp_path / "data/utt2spk").write_text("silent s0\n")
    succeeds(scripts.run(AUGMENT, "data", "out", *KALDI, bank, "--copies", 4, "--write-audio", cwd=tmp_path))
    table = read_table(tmp_path / "out/wav.scp")
    assert len(table) == 5 and not any(read_audio(place).samples.any() for place in table.values())


def test_bad_input_is_refused(scripts, data, bank, tmp_path):
    def refused(message, *words, status=1):
        fails(scripts.run(AUGMENT, *words, cwd=tmp_path), message, status)

    to_out = ("data", "out", *NOISE, bank)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/wav.scp").write_text("x x.wav\n")
    refused("none: no bank of noises and rooms; run stage 2", "data", "out", *NOISE, "none")
    refused("noise.yaml: takes recordings (music, noise, speech); give their --bank", "data", "out", *NOISE[:2])
    refused("must be another data directory", "data", "../" + tmp_path.name + "/data", *NOISE, bank)
    refused("other/wav.scp: was not made by this stage", "data", "other", *NOISE, bank)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/utt2spk").write_text("x y\n")
    refused("mine: is a data directory that this stage did not make", "data", "mine", *NOISE, bank)
    refused("0 copies of each utterance need as many names, there are 3", *to_out, "--copies", 0)
    refused("4 copies of each utterance need as many names, there are 3: noise, music, babble", *to_out, "--copies", 4)
    refused("a subset of 7 copies cannot be taken of 6", *to_out, "--subset", 7)
    refused("did you mean '--copies'?", *to_out, "--copys", 2, status=2)
    refused("arguments are required: --augment", "data", "out", status=2)
    (tmp_path / "x.yaml").write_text("when: offline\nwaveform: {one_of: [{gain: {db: [-6, 6]}, nam: loud}]}\n")
    refused("x.yaml: ", "data", "out", "--augment", "x.yaml")
    (tmp_path / "x.yaml").write_text("when: online\nwaveform: {gain: {db: [-6, 6]}}\n")
    refused("x.yaml: this augmentation is drawn anew in stage 3", "data", "out", "--augment", "x.yaml")
    (tmp_path / "x.yaml").write_text("when: offline\nspeed: {factors: [1.0]}\n")
    refused("x.yaml: this augmentation changes nothing in stage 2", "data", "out", "--augment", "x.yaml")
    (tmp_path / "x.yaml").write_text("when: offline\nspeed: {}\n")
    refused("--keep-ids makes one copy of each utterance", "data", "out", "--augment", "x.yaml", "--keep-ids")
    write_bank(tmp_path / "few", {"noise": [("a", np.ones(9, np.float32))], "music": []}, RATE)
    refused("noise.yaml: unknown kind of recordings in the bank 'music'", "data", "out", *NOISE, "few")
    write_bank(tmp_path / "few", {kind: each[:6] for kind, each in recordings()}, RATE)
    refused("takes up to 7 recordings of 'speech' at once, the bank has 6", "data", "out", *NOISE, "few")
    write_bank(tmp_path / "few", dict(recordings()), 8000)
    refused("the bank is of 8000 Hz, the speech of 16000 Hz", "data", "out", *NOISE, "few")
    (data / "feature.yaml").rename(data / "feature.yaml.away")
    refused("feature.yaml: no such file; the copies need", *to_out)
    (data / "feature.yaml.away").rename(data / "feature.yaml")
    (data / "utt2num_frames").unlink()
    refused("utt2num_frames: no such file", *to_out)
    (data / "feats.scp").unlink()
    refused("feats.scp: no such file; run stage 1", *to_out)
    assert not (tmp_path / "out/feats.scp").exists()


def test_an_augmented_set_is_not_augmented_again(scripts, data, bank, tmp_path):
    features = read_table(data / "feats.scp")
    for name in ("utt2spk", "wav.scp", "feats.scp"):
        table = read_table(data / name)
        write_table(
            data / name, table | {f"{key}-{kind}": table[key] for key in features for kind in ("noise", "music")}
        )
    done = scripts.run(AUGMENT, "data", "out", *NOISE, bank, "--copies", 3, cwd=tmp_path)
    fails(done, "'s0-0-music' is there already; was this set augmented before?")


def test_a_full_disk(scripts, data, bank, tmp_path):
    done = scripts.run(AUGMENT, "data", "out", *NOISE, bank, cwd=tmp_path, largest_file=5000)
    fails(done, "File too large; nothing half-written was kept")
    assert not (tmp_path / "out/feats.scp").exists()
    assert not list(tmp_path.glob("out/**/*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_in_the_middle(scripts, data, bank, tmp_path, number):
    succeeds(scripts.run(AUGMENT, "data", "undisturbed", *NOISE, bank, cwd=tmp_path))
    expected = read_features(tmp_path / "undisturbed/feats.scp")
    reads = slow_pipes(data)
    words = ("data", "out", *NOISE, bank, "--shard-size", 2)
    process = scripts.start(AUGMENT, *words, cwd=tmp_path)
    wait_for(lambda: unfinished(tmp_path / "out"), process)
    process.send(number)
    done = process.wait()
    assert done.returncode == (130 if number == signal.SIGINT else -9)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/feats.scp").exists()
    finished = 2 * len(unfinished(tmp_path / "out"))

    done = succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    assert f"{finished // 2} of 3 parts are there" in done.stderr
    assert_same_features(read_features(tmp_path / "out/feats.scp"), expected)
    read = reads.read_text().split()
    assert [read.count(name) for name in list(read_table(data / "wav.scp"))[:finished]] == [1] * finished
    assert not unfinished(tmp_path / "out")


def test_the_old_set_stays_valid_until_the_new_one_is_complete(scripts, data, bank, tmp_path):
    succeeds(scripts.run(AUGMENT, "data", "out", *NOISE, bank, cwd=tmp_path))
    old = read_features(tmp_path / "out/feats.scp")
    slow_pipes(data)
    words = ("data", "out", *NOISE, bank, "--copies", 2, "--shard-size", 2)
    process = scripts.start(AUGMENT, *words, cwd=tmp_path)
    wait_for(lambda: unfinished(tmp_path / "out"), process)
    process.send(signal.SIGKILL)
    process.wait()
    assert_same_features(read_features(tmp_path / "out/feats.scp"), old)
    DataDir.load(tmp_path / "out", need=["feats.scp"])


@pytest.mark.parametrize("changed", ["noise", "augmentation"])
def test_copies_of_other_noises_are_not_believed(scripts, data, bank, tmp_path, changed):
    """Other samples under the same name and of the same size, or another ratio in the same file."""
    config, musan = tmp_path / "kinds.yaml", tmp_path / "musan"
    (musan / "noise").mkdir(parents=True)
    soundfile.write(musan / "noise/a.wav", 0.1 * np.random.default_rng(1).standard_normal(5000), RATE)
    text = "when: offline\nwaveform: {one_of: [{add_noise: {snr: [%d, 5]}, name: noise}]}\n"
    config.write_text(text % 5)

    def make():
        succeeds(scripts.run("steps/make_bank.py", "bank", "--musan", "musan", cwd=tmp_path))
        succeeds(scripts.run(AUGMENT, "data", "out", "--augment", config, "--bank", "bank", cwd=tmp_path))
        check_current(tmp_path / "out/feats.scp")
        return read_features(tmp_path / "out/feats.scp")

    first = make()
    if changed == "noise":
        size = (musan / "noise/a.wav").stat().st_size
        soundfile.write(musan / "noise/a.wav", 0.1 * np.random.default_rng(5).standard_normal(5000), RATE)
        assert (musan / "noise/a.wav").stat().st_size == size
    else:
        config.write_text(text % 0)
    name = "musan" if changed == "noise" else "kinds.yaml"
    # What training and all other stages that read features ask.
    with pytest.raises(VouchError, match=rf"{name}\S* has changed since this was made from it; run stage 2 .* again"):
        check_current(tmp_path / "out/feats.scp")
    other = make()
    assert all((first[name] != other[name]).any() == name.endswith("-noise") for name in other)


@pytest.mark.parametrize("as_speakers", [True, False])
def test_copies_at_other_speeds(scripts, data, tmp_path, as_speakers):
    """Kaldi's names; lengths are those of the copies, and each new speaker has the gender of the original."""
    genders = dict.fromkeys(DataDir.load(data).utt2spk.values(), "f")
    write_table(data / "spk2gender", genders)
    clean = DataDir.load(data, need=["wav.scp"])
    lengths = {utterance: len(read_audio(clean.wav_scp[utterance], RATE).samples) for utterance in clean.utt2spk}
    write_table(data / "utt2dur", {utterance: f"{count / RATE}" for utterance, count in lengths.items()})
    config = f"when: offline\nspeed: {{factors: [1.0, 0.9, 1.1], as_speakers: {str(as_speakers).lower()}}}\n"
    (tmp_path / "x.yaml").write_text(config)
    options = ("--augment", "x.yaml", "--write-audio")
    done = succeeds(scripts.run(AUGMENT, "data", "out", *options, cwd=tmp_path))
    assert "12 copies of 6 utterances: 6 'sp0.9', 6 'sp1.1'" in done.stdout
    out = DataDir.load(tmp_path / "out", need=["wav.scp", "feats.scp"])
    frames, seconds = read_table(tmp_path / "out/utt2num_frames"), read_table(tmp_path / "out/utt2dur")
    for utterance, speaker in clean.utt2spk.items():
        whole = read_audio(clean.wav_scp[utterance], RATE).samples
        for name, up, down in (("sp0.9", 10, 9), ("sp1.1", 10, 11)):
            copy = f"{name}-{utterance}" if as_speakers else f"{utterance}-{name}"
            assert out.utt2spk[copy] == (f"{name}-{speaker}" if as_speakers else speaker)
            expected = scipy.signal.resample_poly(whole, up, down)
            found = read_audio(out.wav_scp[copy], RATE).samples
            assert len(found) == len(expected)
            assert abs(float(seconds[copy]) * RATE - len(found)) < 2
            np.testing.assert_allclose(found, expected, atol=1e-4)
            matrix = compute(FrontEndConfig.from_dict(read_yaml(data / "feature.yaml")).build(), expected)
            assert int(frames[copy]) == len(matrix)
    genders = read_table(tmp_path / "out/spk2gender")
    assert genders == dict.fromkeys(sorted(set(out.utt2spk.values())), "f")
