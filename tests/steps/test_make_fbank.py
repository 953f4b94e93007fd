"""Stage 1 as a user runs it, with good and with bad input."""

import os
import signal
import stat
import subprocess

import numpy as np
import pytest
import soundfile
import torch
import yaml
from corpus import (
    RATE,
    assert_same_features,
    read_features,
    slow_pipes,
    tiny_encoder,
    voice,
    write_recordings,
)
from processes import ROOT, fails, succeeds, wait_for

from vouch.encoder import save_encoder
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.tables import read_table

MAKE_FBANK = "steps/make_fbank.py"


@pytest.fixture
def data(tmp_path):
    write_recordings(tmp_path / "data")
    return tmp_path / "data"


def expected_features(data):
    feature = FrontEndConfig.from_dict({"type": "fbank", "num_mel_bins": 40}).build()
    found = {}
    for name, wav in read_table(data / "wav.scp").items():
        samples = soundfile.read(wav, dtype="float32")[0]
        found[name] = feature(torch.from_numpy(samples)[None])[0].numpy()
    return found


def unfinished(data):
    """Finished archives of an unfinished run."""
    return list(data.glob("fbank.work-*/*.json"))


def test_help_is_for_people(scripts, tmp_path):
    done = succeeds(scripts.run(MAKE_FBANK, "--help", cwd=tmp_path))
    for word in ("feats.scp", "--nj", "--compress", "(default: ark)", "--max-failed"):
        assert word in " ".join(done.stdout.split())
    assert "--job " not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-sise", "3"], "unknown option '--shard-sise' (did you mean '--shard-size'?)"),
        (["--format", "np"], "unknown value 'np' (did you mean 'npy'?)"),
        (["--compress", "8bits"], "did you mean '8bit'?"),
        (["--nj", "two"], "invalid int value: 'two'"),
        (["--format", "npy", "--compress", "8bit"], "--compress is for archives"),
    ],
)
def test_misspelt_options_are_refused(scripts, data, options, message):
    fails(scripts.run(MAKE_FBANK, data, *options, cwd=data), message, status=2)
    assert not (data / "feats.scp").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nj", "0"], "--nj 0"),
        (["--shard-size", "0"], "--shard-size 0"),
        (["--max-failed", "5"], "--max-failed 5.0: is a share, from 0 to 1"),
        (["--max-failed", "nan"], "--max-failed nan"),
        (["--config", "none.yaml"], "none.yaml: No such file"),
        (["--nj", "2", "--cmd", "no_such_launcher"], "the launcher 'no_such_launcher' cannot be started"),
    ],
)
def test_impossible_options_are_refused(scripts, data, options, message):
    fails(scripts.run(MAKE_FBANK, data, *options, cwd=data), message)
    assert not (data / "feats.scp").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: fbnk", "unknown feature type 'fbnk' (did you mean 'fbank'?)"),
        (
            "type: fbank\nnum_mel_bin: 30",
            "unknown option 'num_mel_bin' of feature 'fbank' (did you mean 'num_mel_bins'?)",
        ),
        ("type: fbank\nnum_mel_bins: many", "'many' is not of type int"),
        ("type: fbank\nnum_mel_bins: 4000", "num_mel_bins must be from 1 to 1024, not 4000"),
        ("type: fbank\n40: num_mel_bins", "unknown option '40' of feature 'fbank'"),
        ("num_mel_bins: 40", "needs 'type', one of: fbank"),
        ("type: [", "x.yaml:2: not valid YAML"),
        ("", "x.yaml: holds no 'key: value' lines"),
    ],
)
def test_wrong_configurations_are_refused(scripts, data, text, message):
    (data / "x.yaml").write_text(text + "\n")
    fails(scripts.run(MAKE_FBANK, data, "--config", "x.yaml", cwd=data), message)


def test_as_a_program_from_another_directory(data, tmp_path):
    """By its first line, in a folder and with paths of the user's own."""
    program = ROOT / MAKE_FBANK
    assert program.stat().st_mode & stat.S_IXUSR
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    environment["PATH"] = f"{os.path.dirname(os.sys.executable)}:{environment['PATH']}"
    command = [program, "data"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    succeeds(done)
    assert done.stderr == ""
    found = read_features(data / "feats.scp")
    assert_same_features(found, expected_features(data), 1e-4)
    frames = sum(len(matrix) for matrix in found.values())
    assert done.stdout == f"data: features of 6 utterances, {frames} frames\n"
    assert read_table(data / "utt2num_frames") == {name: str(len(matrix)) for name, matrix in found.items()}
    config = yaml.safe_load((data / "feature.yaml").read_text())
    assert (config["type"], config["num_mel_bins"], config["snip_edges"]) == ("fbank", 40, False)


def test_the_front_end_of_another_toolkit(scripts, data):
    config = ROOT / "conf/features/voxceleb_trainer64.yaml"
    succeeds(scripts.run(MAKE_FBANK, data, "--config", config, "--nj", 2, "--shard-size", 3, cwd=data))
    made_with = yaml.safe_load((data / "feature.yaml").read_text())
    assert made_with.items() >= yaml.safe_load(config.read_text()).items()
    feature = FrontEndConfig.from_dict(made_with).build()
    found = read_features(data / "feats.scp")
    assert found.keys() == read_table(data / "wav.scp").keys()
    for name, wav in read_table(data / "wav.scp").items():
        samples = soundfile.read(wav, dtype="float32")[0]
        assert len(found[name]) == 1 + len(samples) // 160
        np.testing.assert_allclose(found[name], feature(torch.from_numpy(samples)[None])[0], atol=1e-4)


def test_networks_that_take_waveforms_need_no_features(scripts, data):
    config = ROOT / "conf/features/waveform.yaml"
    before = sorted(data.rglob("*"))
    done = succeeds(scripts.run(MAKE_FBANK, data, "--config", config, "--nj", 2, cwd=data))
    assert done.stdout == f"{data}: nothing to compute: networks that take waveforms need no features\n"
    assert done.stderr == ""
    assert sorted(data.rglob("*")) == before
    (data / "wav.scp").unlink()
    fails(scripts.run(MAKE_FBANK, data, "--config", config, cwd=data), "wav.scp: no such file")


def test_all_formats_hold_the_same_features(scripts, data):
    succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    plain = read_features(data / "feats.scp")
    succeeds(scripts.run(MAKE_FBANK, data, "--format", "npy", "--shard-size", 4, cwd=data))
    assert all(name.endswith(".npy") for name in read_table(data / "feats.scp").values())
    assert_same_features(read_features(data / "feats.scp"), plain)
    for compression, bits in (("8bit", 8), ("16bit", 16)):
        succeeds(scripts.run(MAKE_FBANK, data, "--compress", compression, cwd=data))
        # 8 bits are spread over quartiles, the widest of which holds 64 steps.
        step = np.ptp(np.concatenate(list(plain.values()))) / (64 if bits == 8 else 2**16)
        assert_same_features(read_features(data / "feats.scp"), plain, step)
    assert not unfinished(data)


def test_jobs_give_what_one_process_gives(scripts, data):
    succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    alone = read_features(data / "feats.scp")
    done = succeeds(scripts.run(MAKE_FBANK, data, "--nj", 2, "--shard-size", 2, cwd=data))
    assert done.stderr == ""
    assert_same_features(read_features(data / "feats.scp"), alone)
    assert sorted(path.name for path in (data / "fbank").glob("*.ark")) == [f"fbank.{n}.ark" for n in (1, 2, 3)]
    assert (data / "log/make_fbank.2.log").exists()


def test_a_failed_job_is_reported_in_one_line(scripts, data):
    """The error of a job on a full disk, through the launcher and its log."""
    done = scripts.run(MAKE_FBANK, data, "--nj", 2, "--shard-size", 2, cwd=data, largest_file=9000)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "make_fbank.py: error: " in last
    assert "File too large" in last
    assert "make_fbank.JOB.log" in last
    assert "Traceback" not in done.stderr
    assert not (data / "feats.scp").exists()


def test_segments_are_cut_out_of_recordings(scripts, data):
    recordings = sorted(read_table(data / "wav.scp"))
    for name in ("utt2spk", "spk2utt"):
        (data / name).unlink()
    segments = [(f"s0-{row}", recordings[row // 2], 0.05 * row, 0.05 * row + 0.2) for row in range(4)]
    (data / "segments").write_text("".join(f"{u} {r} {a:.2f} {b:.2f}\n" for u, r, a, b in segments))
    (data / "utt2spk").write_text("".join(f"{u} s0\n" for u, *_ in segments))
    succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    wavs = read_table(data / "wav.scp")
    feature = FrontEndConfig.from_dict({"type": "fbank", "num_mel_bins": 40}).build()
    found = read_features(data / "feats.scp")
    assert list(found) == [utterance for utterance, *_ in segments]
    for utterance, recording, start, end in segments:
        samples = soundfile.read(wavs[recording], dtype="float32")[0][round(start * RATE) : round(end * RATE)]
        expected = feature(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(found[utterance], expected, atol=1e-4)
    (data / "segments").write_text(f"s0-0 {recordings[0]} 7 8\n")
    (data / "utt2spk").write_text("s0-0 s0\n")
    fails(scripts.run(MAKE_FBANK, data, cwd=data), "segment 7 to 8 s is outside recording")


def swap_lines(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))


def repeat_line(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines]))


def drop_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("wav.scp", lambda path: path.unlink(), "wav.scp: no such file"),
        ("wav.scp", lambda path: path.write_text(""), "wav.scp: the file is empty"),
        ("wav.scp", swap_lines, "wav.scp:2: 's0-0' comes after 's0-1': not sorted"),
        ("wav.scp", repeat_line, "wav.scp:2: 's0-0' is repeated"),
        ("wav.scp", drop_line, "utt2spk:1: 's0-0' is not in"),
        ("utt2spk", drop_line, "wav.scp:1: utterance 's0-0' has no speaker in"),
        ("utt2spk", lambda path: path.unlink(), "utt2spk: no such file"),
        ("wav.scp", lambda path: path.write_bytes(b"s0-0 \xff\n"), "wav.scp:1: not UTF-8"),
    ],
)
def test_broken_tables_are_refused(scripts, data, name, spoil, message):
    spoil(data / name)
    fails(scripts.run(MAKE_FBANK, data, cwd=data), message)
    assert not (data / "feats.scp").exists()
    assert not unfinished(data)


def test_a_missing_data_directory(scripts, data):
    fails(scripts.run(MAKE_FBANK, data / "none", cwd=data), "none: no such data directory")


def spoil_recordings(data, *names):
    """Break recordings, each in another way, and return what should be said about them."""
    wavs = read_table(data / "wav.scp")
    ways = {
        "truncated wav": lambda path: os.truncate(path, 3000),
        "0 bytes": lambda path: os.truncate(path, 0),
        "no samples": lambda path: soundfile.write(path, np.zeros(0, np.float32), RATE),
        "NaN or infinite": lambda path: soundfile.write(path, np.full(8000, np.nan), RATE, subtype="FLOAT"),
        "No such file": os.unlink,
        "shorter than one frame": lambda path: soundfile.write(path, np.sin(np.arange(20)), RATE),
    }
    said = []
    for name, (reason, spoil) in zip(names, ways.items(), strict=False):
        spoil(wavs[name])
        said.append((name, reason))
    return said


def test_a_few_broken_recordings_are_counted_and_named(scripts, tmp_path):
    data = tmp_path / "data"
    names = write_recordings(data, speakers=5, utterances=4, seconds=0.1)
    spoilt = spoil_recordings(data, *names[3:9])
    fails(scripts.run(MAKE_FBANK, data, "--shard-size", 5, cwd=data), "6 of 20 items failed: 's0-3': ")
    assert not (data / "feats.scp").exists()
    done = succeeds(scripts.run(MAKE_FBANK, data, "--shard-size", 5, "--max-failed", 0.3, cwd=data))
    assert "6 failed" in done.stderr
    for name, reason in spoilt:
        assert f"'{name}': " in done.stderr
        assert reason in done.stderr
    assert list(read_features(data / "feats.scp")) == [*names[:3], *names[9:]]
    assert "features of 14 utterances" in done.stdout


def test_one_broken_recording_of_twenty_is_let_pass(scripts, tmp_path):
    data = tmp_path / "data"
    names = write_recordings(data, speakers=5, utterances=4, seconds=0.1)
    spoil_recordings(data, names[7])
    done = succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    assert f"1 failed: '{names[7]}': " in done.stderr
    assert len(read_table(data / "feats.scp")) == 19
    for row in (8, 9):
        spoil_recordings(data, names[row])
    fails(scripts.run(MAKE_FBANK, data, cwd=data), "3 of 20 items failed")
    # What was made before is still there, and whole.
    assert len(read_features(data / "feats.scp")) == 19


def test_other_rates_and_channels_are_noted(scripts, data):
    wavs = list(read_table(data / "wav.scp").values())
    soundfile.write(wavs[0], voice(0, 0, rate=8000), 8000)
    soundfile.write(wavs[1], np.stack([voice(0, 1), voice(1, 1)], axis=1), RATE)
    soundfile.write(wavs[2], np.stack([voice(1, 0, rate=8000)] * 2, axis=1), 8000)
    done = succeeds(scripts.run(MAKE_FBANK, data, "--shard-size", 2, cwd=data))
    assert "2 recordings resampled from 8000 Hz" in done.stderr
    assert "2 recordings averaged over 2 channels" in done.stderr
    assert len(read_features(data / "feats.scp")) == 6


@pytest.mark.parametrize("options", [(), ("--format", "npy")])
def test_a_full_disk(scripts, data, options):
    done = scripts.run(MAKE_FBANK, data, *options, cwd=data, largest_file=5000)
    fails(done, "File too large; nothing half-written was kept")
    assert not (data / "feats.scp").exists()
    assert not [path for path in data.rglob("*") if path.name.endswith((".partial", ".ark", ".npy"))]
    succeeds(scripts.run(MAKE_FBANK, data, *options, cwd=data))
    assert_same_features(read_features(data / "feats.scp"), expected_features(data), 1e-4)


def test_a_read_only_output(scripts, data):
    (data / "fbank").write_text("a file where the folder should be")
    (data / "feats.scp").mkdir()
    done = scripts.run(MAKE_FBANK, data, cwd=data)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_in_the_middle(scripts, data, number):
    expected = expected_features(data)
    reads = slow_pipes(data)
    process = scripts.start(MAKE_FBANK, data, "--shard-size", 2, cwd=data)
    wait_for(lambda: unfinished(data), process)
    process.send(number)
    done = process.wait()
    if number == signal.SIGINT:
        assert done.returncode == 130
        assert "interrupted; the same command starts again" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    else:
        assert (done.returncode, done.stderr) == (143 if number == signal.SIGTERM else -9, "")
    assert not (data / "feats.scp").exists()
    finished = 2 * len(unfinished(data))

    done = succeeds(scripts.run(MAKE_FBANK, data, "--shard-size", 2, cwd=data))
    assert f"{finished // 2} of 3 parts are there from a run that was interrupted" in done.stderr
    assert_same_features(read_features(data / "feats.scp"), expected, 1e-4)
    read = reads.read_text().split()
    assert [read.count(name) for name in list(expected)[:finished]] == [1] * finished
    assert not unfinished(data)
    assert not list(data.rglob("*.partial"))


def test_the_old_features_stay_valid_until_the_new_ones_are_complete(scripts, data):
    succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    old = read_features(data / "feats.scp")
    slow_pipes(data)
    process = scripts.start(
        MAKE_FBANK, data, "--shard-size", 2, "--config", ROOT / "conf/features/fbank80.yaml", cwd=data
    )
    wait_for(lambda: unfinished(data), process)
    process.send(signal.SIGKILL)
    process.wait()
    assert_same_features(read_features(data / "feats.scp"), old)
    assert "num_mel_bins: 40" in (data / "feature.yaml").read_text()
    # Another command: what the killed one left is not taken for its own.
    done = succeeds(scripts.run(MAKE_FBANK, data, "--shard-size", 3, cwd=data))
    assert done.stderr == ""
    assert_same_features(read_features(data / "feats.scp"), old)
    assert not unfinished(data)


def test_an_interrupted_run_of_jobs(scripts, data):
    expected = expected_features(data)
    reads = slow_pipes(data, 0.4)
    options = (data, "--shard-size", 1, "--nj", 2)
    process = scripts.start(MAKE_FBANK, *options, cwd=data)
    wait_for(lambda: unfinished(data), process)
    process.send(signal.SIGINT)
    done = process.wait()
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert not (data / "feats.scp").exists()
    before = reads.read_text().split()
    finished = [path.name.split(".")[1] for path in unfinished(data)]
    succeeds(scripts.run(MAKE_FBANK, *options, cwd=data))
    assert_same_features(read_features(data / "feats.scp"), expected, 1e-4)
    again = reads.read_text().split()[len(before) :]
    assert not {list(expected)[int(number) - 1] for number in finished} & set(again)


def test_a_channel_is_chosen_and_remembered(scripts, tmp_path):
    """Kaldi takes the first channel of several; features of another than the model's are not given to it."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((2, 16000)) * 3000).astype("<i2")
    for name, samples in {"stereo": np.stack([left, right], 1), "left": left, "right": right}.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
        write_data_dir(tmp_path / name, {"s-u": str(tmp_path / f"{name}.wav")}, {"s-u": "s"})
    features = {}
    for name, options in {"left": (), "right": ("--channel", "mean"), "stereo": ("--channel", "0")}.items():
        succeeds(scripts.run(MAKE_FBANK, name, *options, cwd=tmp_path))
        features[name] = read_features(tmp_path / name / "feats.scp")["s-u"]
    np.testing.assert_array_equal(features["stereo"], features["left"])
    assert "channel: 0" in (tmp_path / "stereo/feature.yaml").read_text()
    done = succeeds(scripts.run(MAKE_FBANK, "stereo", "--channel", "1", cwd=tmp_path))
    assert "1 recordings reduced to channel 1 of 2 channels" in done.stderr
    np.testing.assert_array_equal(read_features(tmp_path / "stereo/feats.scp")["s-u"], features["right"])
    save_encoder(tiny_encoder(num_bins=40, feature={"type": "fbank", "num_mel_bins": 40}), tmp_path / "final.pt")
    fails(
        scripts.run("steps/extract_embeddings.py", "stereo", "final.pt", "out", cwd=tmp_path),
        "channel is 1, the model was trained with mean",
    )
    fails(scripts.run(MAKE_FBANK, "left", "--channel", "1", cwd=tmp_path), "there is no channel 1, it has 1")
    fails(scripts.run(MAKE_FBANK, "left", "--channel", "left", cwd=tmp_path), "channel 'left': is mean, or the number")


@pytest.mark.parametrize("options", [(), ("--nj", "2", "--shard-size", "5")])
def test_recordings_that_promise_too_much_are_named_and_counted(scripts, tmp_path, options):
    rng = np.random.default_rng(0)
    where = {}
    for row in range(20):
        where[f"s-{row:02d}"] = str(tmp_path / f"{row}.flac")
        soundfile.write(where[f"s-{row:02d}"], (rng.standard_normal(4000) * 3000).astype("<i2"), 16000)
    content = bytearray((tmp_path / "7.flac").read_bytes())
    content[18:26] = (int.from_bytes(content[18:26], "big") | 2**36 - 1).to_bytes(8, "big")
    (tmp_path / "7.flac").write_bytes(content)
    where["s-08"] = str(tmp_path / "8.flac:99999999999999999999")
    write_data_dir(tmp_path / "data", where, dict.fromkeys(where, "s"))
    done = succeeds(scripts.run(MAKE_FBANK, "data", "--max-failed", "0.1", *options, cwd=tmp_path))
    assert "features of 18 utterances" in done.stdout
    assert "2 failed: 's-07': " in done.stderr
    assert "truncated, it promises 68719476735 samples and holds 4000" in done.stderr
    assert "8.flac: the offset 99999999999999999999 is larger than any file" in done.stderr
    done = scripts.run(MAKE_FBANK, "data", *options, cwd=tmp_path)
    fails(done, "2 of 20 items failed: 's-07': ")


def test_silence_fails_and_odd_audio_is_named_and_counted(scripts, data):
    """In the one pass that computes the features: nothing is decoded twice."""
    table = read_table(data / "wav.scp")
    soundfile.write(table["s0-0"], np.zeros(RATE), RATE)
    soundfile.write(table["s0-1"], np.clip(20 * voice(0, 1), -1, 1), RATE)
    soundfile.write(table["s1-0"], voice(1, 0, 0.2), RATE)
    soundfile.write(table["s2-0"], soundfile.read(table["s1-1"])[0], RATE)
    fails(scripts.run(MAKE_FBANK, data, cwd=data), "1 of 6 items failed: 's0-0': silence, all samples are 0")
    done = succeeds(scripts.run(MAKE_FBANK, data, "--max-failed", 0.2, cwd=data))
    assert "1 failed: 's0-0': silence, all samples are 0" in done.stderr
    for what in (
        "clipping: 1 utterances: 's0-1': clipped, ",
        "short: 1 utterances: 's1-0': 0.20 s long, shorter than 0.25 s",
        "same audio of two speakers: 1 utterances: 's2-0': has the samples of 's1-1' of 's1'",
    ):
        assert f"feats.scp: warning: {what}" in done.stderr
    assert list(read_table(data / "feats.scp")) == ["s0-1", "s1-0", "s1-1", "s2-0", "s2-1"]
    assert (data / "frame_shift").read_text() == "0.01\n"
    # Short utterances are what --min-seconds says; a strict run ends before it replaces anything.
    before = (data / "feats.scp").read_text()
    words = ("--max-failed", 0.2, "--min-seconds", 0.1)
    done = scripts.run(MAKE_FBANK, data, *words, "--strict", cwd=data)
    fails(done, "clipping: 1 utterances, the first is 's0-1'")
    assert "short" not in done.stderr
    assert (data / "feats.scp").read_text() == before


def test_audio_that_another_set_has_too_is_named(scripts, data, tmp_path):
    write_recordings(tmp_path / "test", speakers=2)
    wav = read_table(tmp_path / "test/wav.scp")["s1-1"]
    soundfile.write(wav, voice(7, 7), RATE)
    soundfile.write(read_table(data / "wav.scp")["s0-0"], voice(7, 7), RATE)
    assert "same audio" not in succeeds(scripts.run(MAKE_FBANK, data, cwd=tmp_path)).stderr
    done = succeeds(scripts.run(MAKE_FBANK, tmp_path / "test", cwd=tmp_path))
    assert "same audio in two sets: " in done.stderr
    assert "'s1-1': has the samples of 's0-0' in data" in done.stderr


def test_features_made_elsewhere_are_not_replaced(scripts, data):
    (data / "feats.scp").write_text("s0-0 /corpus/fbank/raw_fbank_train.1.ark:5\n")
    message = "was not made by this stage, it lists '/corpus/fbank/raw_fbank_train.1.ark:5'"
    fails(scripts.run(MAKE_FBANK, data, cwd=data), message)
    assert (data / "feats.scp").read_text() == "s0-0 /corpus/fbank/raw_fbank_train.1.ark:5\n"
    (data / "feats.scp").unlink()
    succeeds(scripts.run(MAKE_FBANK, data, cwd=data))
    succeeds(scripts.run(MAKE_FBANK, data, "--compress", "8bit", cwd=data))


def test_segments_that_are_shorter_than_kaldi_takes_are_left_out(scripts, data):
    names = list(read_table(data / "utt2spk"))
    ends = dict.fromkeys(names, 0.4) | {names[2]: 0.199, names[3]: 0.2}
    (data / "segments").write_text("".join(f"{name} {name} 0.1 {ends[name]}\n" for name in names))
    done = succeeds(scripts.run(MAKE_FBANK, data, "--max-failed", 0.2, cwd=data))
    assert f"1 failed: '{names[2]}': segment of 0.099 s; those below 0.1 s are left out, as by Kaldi" in done.stderr
    assert list(read_table(data / "feats.scp")) == [name for name in names if name != names[2]]
