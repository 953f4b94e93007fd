"""What the data doctor measures and how it judges it, on recordings that are made here."""

import json
import threading

import numpy as np
import pytest
import soundfile
from kaldi_cases import make_dir

import vouch.kaldi.datadirs.examine as examine
from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir, Segment
from vouch.kaldi.datadirs.doctor import Limits, judge_audio, judge_duplicates, judge_frames, judge_shared, judge_trials
from vouch.kaldi.datadirs.examine import examine_audio, examine_recording
from vouch.kaldi.datadirs.findings import Report

RATE = 16000
RNG = np.random.default_rng(3)


def noise(seconds, amplitude=0.1):
    return (amplitude * RNG.uniform(-1, 1, int(seconds * RATE))).astype(np.float32)


def audio_dir(path, recordings, **tables):
    """A directory with a wav for each recording: samples, or samples, rate and encoding; or a line of wav.scp."""
    lines = {}
    audio = path.with_name(f"{path.name} audio")
    audio.mkdir()
    for name, what in recordings.items():
        if isinstance(what, str):
            lines[name] = what
            continue
        samples, rate, encoding = what if isinstance(what, tuple) else (what, RATE, "PCM_16")
        lines[name] = f"{audio}/{name}.wav"
        soundfile.write(lines[name], samples, rate, subtype=encoding)
    wav_scp = "".join(f"{name} {lines[name]}\n" for name in sorted(lines))
    utt2spk = "".join(f"{name} {name.split('-')[0]}\n" for name in sorted(lines))
    return make_dir(path, {"wav.scp": wav_scp, "utt2spk": utt2spk, **tables})


def findings(path, **limits):
    data, report = DataDir.load(path, need=["wav.scp"]), Report()
    facts = examine_audio(data, path / "record", 2)
    judge_audio(data, facts, Limits(**limits), report)
    judge_duplicates(data, facts, report)
    return [str(finding).replace(f"{path}/", "") for finding in report.findings]


def test_measures_are_those_of_the_samples(tmp_path):
    stereo = np.stack([noise(0.5), noise(0.5, 0.3)], axis=1)
    stereo[100:150] = 1.0
    soundfile.write(tmp_path / "x.flac", stereo, 8000)
    segments = {"a": Segment("x"), "b": Segment("x", 0.005, 0.0275), "c": Segment("x", 1.0, 1.5)}
    facts = examine_recording(str(tmp_path / "x.flac"), segments)
    assert (facts.problem, facts.rate, facts.channels, facts.frames, facts.not_finite) == ("", 8000, 2, len(stereo), 0)
    assert sorted(facts.pieces) == ["a", "b"]
    assert [piece.frames for piece in facts.pieces.values()] == [len(stereo), 180]
    whole = soundfile.read(tmp_path / "x.flac")[0]
    assert facts.pieces["a"].peak == np.abs(whole).max()
    assert facts.pieces["a"].clipped == 100 / stereo.size
    assert facts.pieces["b"].clipped == 100 / 360


def test_a_sound_directory_has_no_findings(tmp_path):
    tables = {"utt2dur": "a-1 1.0\na-2 0.52\nb-1 0.7\n"}
    assert (
        findings(audio_dir(tmp_path / "set", {"a-1": noise(1), "a-2": noise(0.5), "b-1": noise(0.7)}, **tables)) == []
    )


def test_each_fault_is_named_with_file_and_line(tmp_path):
    twice, clipped, bad, faint = noise(1), noise(1, 2.0), noise(1), noise(1, 0.0003)
    faint[5] = -16 / 32768
    bad[7] = np.nan
    bad[9] = np.inf
    recordings = {
        "a-1-good": twice,
        "a-2-same": (twice, RATE, "PCM_16"),
        "b-1-other": twice,
        "b-2-zero": np.zeros(RATE),
        "b-2-zero2": np.zeros(RATE),
        "b-3-faint": faint,
        "b-4-clipped": np.clip(clipped, -1, 1),
        "b-5-nan": (bad, RATE, "FLOAT"),
        "b-6-rate": (noise(1), 8000, "PCM_16"),
        "b-7-stereo": np.stack([noise(1), noise(1)], axis=1),
        "b-8-short": noise(0.1),
        "b-9-none": "/nowhere/x.wav",
        "c-1-fails": "false |",
        "c-2-empty": np.zeros(0),
    }
    durations = {name: 2.0 if name == "b-6-rate" else 1.0 for name in recordings} | {"b-8-short": 1.0, "a-1-good": 1.04}
    utt2dur = "".join(f"{name} {seconds}\n" for name, seconds in sorted(durations.items()))
    path = audio_dir(tmp_path / "set", recordings, utt2dur=utt2dur)
    audio, share = f"{path} audio", np.mean(np.abs(clipped) >= 0.9999)
    assert sorted(findings(path, min_seconds=0.2)) == sorted(
        [
            "warning: wav.scp:2: 'a-2-same' has the samples of 'a-1-good'",
            "error: wav.scp:3: 'b-1-other' has the samples of 'a-1-good', which is of speaker 'a'",
            "error: wav.scp:4: 'b-2-zero': all samples are 0",
            "error: wav.scp:5: 'b-2-zero2': all samples are 0",
            "warning: wav.scp:6: 'b-3-faint': its loudest sample is 0.00049 of full scale",
            f"warning: wav.scp:7: 'b-4-clipped': {share:.1%} of its samples are at full scale",
            "error: wav.scp:8: 'b-5-nan' has 2 NaN or infinite samples",
            "warning: wav.scp:9: 'b-6-rate' has 8000 Hz, not 16000",
            "warning: wav.scp:10: 'b-7-stereo' has 2 channels",
            "error: wav.scp:11: 'b-8-short' has 0.100 s, fewer than 0.2",
            "error: utt2dur:11: 'b-8-short 1': its audio has 0.100 s",
            "error: wav.scp:12: 'b-9-none': /nowhere/x.wav: No such file or directory",
            "error: wav.scp:13: 'c-1-fails': 'false |' failed with status 1: no message",
            f"error: wav.scp:14: 'c-2-empty': {audio}/c-2-empty.wav: no samples",
        ]
    )


def test_truncated_files_are_unreadable(tmp_path):
    path = audio_dir(tmp_path / "set", {"a-1": noise(1)})
    file = tmp_path / "set audio/a-1.wav"
    file.write_bytes(file.read_bytes()[:-100])
    (found,) = findings(path)
    assert found.startswith(f"error: wav.scp:1: 'a-1': {file}: truncated wav")


def test_segments_are_judged_by_themselves(tmp_path):
    samples = noise(4)
    samples[RATE : 2 * RATE] = samples[2 * RATE : 3 * RATE]
    samples[3 * RATE :] = 0
    path = audio_dir(tmp_path / "set", {"call": samples})
    cuts = {"a-1": "1 2", "a-2": "2 3", "a-3": "3 4", "a-4": "3.9 4.4", "a-5": "3.5 4.6", "a-6": "5 6"}
    (path / "segments").write_text("".join(f"{name} call {cut}\n" for name, cut in cuts.items()))
    (path / "utt2spk").write_text("".join(f"{name} a\n" for name in cuts))
    (path / "utt2dur").write_text("a-1 1\na-2 1.2\n")
    (path / "reco2dur").write_text("call 5\n")
    assert sorted(findings(path)) == [
        "error: reco2dur:1: 'call 5': its audio has 4.000 s",
        "error: segments:3: 'a-3': all samples are 0",
        "error: segments:4: 'a-4': all samples are 0",
        "error: segments:5: 'a-5' is outside of recording 'call', which has 4.000 s",
        "error: segments:5: 'a-5': all samples are 0",
        "error: segments:6: 'a-6' is outside of recording 'call', which has 4.000 s",
        "error: utt2dur:2: 'a-2 1.2': its audio has 1.000 s",
        "warning: segments:2: 'a-2' has the samples of 'a-1'",
    ]


@pytest.fixture
def counted(monkeypatch):
    """How often recordings are examined, by name of the file."""
    calls, lock, original = [], threading.Lock(), examine.examine_recording

    def count(rxfilename, segments, source):
        with lock:
            calls.append(rxfilename.rsplit("/")[-1])
        return original(rxfilename, segments, source)

    monkeypatch.setattr(examine, "examine_recording", count)
    return calls


def test_what_was_examined_is_not_examined_again(tmp_path, counted):
    path = audio_dir(tmp_path / "set", {f"a-{n}": noise(0.1) for n in range(6)})
    data, record = DataDir.load(path, need=["wav.scp"]), tmp_path / "record"
    done = []
    facts = examine_audio(data, record, 2, done.append)
    assert sorted(counted) == [f"a-{n}.wav" for n in range(6)]
    assert done == [1] * 6
    lines = record.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6

    # As a killed run leaves it: two lines and the beginning of a third.
    record.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    known = {json.loads(line)[0] for line in lines[:2]}
    counted.clear()
    assert examine_audio(data, record, 2) == facts
    assert sorted(counted) == sorted(f"{name}.wav" for name in set(facts) - known)
    assert len(record.read_bytes().splitlines()) == 6

    # A file that has changed since is examined again.
    soundfile.write(tmp_path / "set audio/a-3.wav", noise(0.2), RATE)
    counted.clear()
    assert examine_audio(data, record, 2)["a-3"].frames == 0.2 * RATE
    assert counted == ["a-3.wav"]


def test_errors_in_a_thread_reach_the_caller_and_keep_what_is_known(tmp_path, monkeypatch):
    path = audio_dir(tmp_path / "set", {f"a-{n}": noise(0.1) for n in range(6)})
    original = examine.examine_recording

    def fail(rxfilename, segments, source):
        if rxfilename.endswith("a-3.wav"):
            raise MemoryError
        return original(rxfilename, segments, source)

    monkeypatch.setattr(examine, "examine_recording", fail)
    with pytest.raises(MemoryError):
        examine_audio(DataDir.load(path, need=["wav.scp"]), tmp_path / "record", 1)
    assert len((tmp_path / "record").read_bytes().splitlines()) == 3


def test_foreign_and_locked_records(tmp_path):
    path = audio_dir(tmp_path / "set", {"a-1": noise(0.1)})
    data, record = DataDir.load(path, need=["wav.scp"]), tmp_path / "record"
    record.write_text("[1, 2]\n")
    with pytest.raises(VouchError, match=r"record:1: not the record of an interrupted run; remove the file"):
        examine_audio(data, record, 1)
    record.unlink()
    with examine._open_record(record), pytest.raises(VouchError, match="another process is examining"):
        examine_audio(data, record, 1)


def test_what_training_and_test_share(tmp_path):
    shared = noise(1)
    train = audio_dir(tmp_path / "train", {"a-1": noise(1), "a-2": shared, "b-1": noise(1), "c-1": noise(1)})
    test = audio_dir(tmp_path / "test", {"a-1": noise(1), "d-1": shared, "e-1": f"{tmp_path}/train audio/c-1.wav"})
    data, other = (DataDir.load(path, need=["wav.scp"]) for path in (train, test))
    facts, others = (examine_audio(one, tmp_path / one.path.name / "record", 1) for one in (data, other))
    report = Report()
    judge_shared(data, other, facts, others, report)
    assert [str(finding).replace(f"{tmp_path}/", "") for finding in report.findings] == [
        "error: train/utt2spk:1: utterance 'a-1' is in test too",
        "error: train/utt2spk:1: speaker 'a' is in test too",
        "error: train/wav.scp:4: the audio of 'c-1' is in test/wav.scp too",
        "error: train/wav.scp:2: 'a-2' has the samples of 'd-1' in test",
        "error: train/wav.scp:4: 'c-1' has the samples of 'e-1' in test",
    ]


def test_trials(tmp_path):
    trials = "a-1 b-1 nontarget\nm-1 a-1 target\na-1 zz target\nmodel a-1 yes\na a-1 target\n"
    path = make_dir(
        tmp_path / "set",
        {
            "utt2spk": "a-1 a\nb-1 b\n",
            "trials": trials,
            "trials_2": "",
            "trials_3": "a-1 a-1 target\n",
            "map": "m-1 a-1 c-1\n",
        },
    )
    data, report = DataDir.load(path), Report()
    judge_trials(data, path / "map", report)
    assert [str(finding).replace(f"{path}/", "") for finding in report.findings] == [
        "error: map:1: 'c-1' of 'm-1' is not in utt2spk",
        "error: trials:3: test 'zz' is not in utt2spk",
        "error: trials:4: 'model a-1 yes' is not '<enrol-id> <test-id> target|nontarget'",
        "error: trials_2: the file is empty",
        "warning: trials_3: no nontarget trial: there is no error rate without",
    ]
    without = Report()
    judge_trials(data, None, without)
    assert "enrolment 'm-1' is not in utt2spk" in str(without.findings[0])


def test_shortest_utterance_in_frames(tmp_path):
    path, report = make_dir(tmp_path / "set", {"utt2num_frames": "a-1 400\na-2 399\n"}), Report()
    judge_frames(path, 400, report)
    assert [str(finding) for finding in report.findings] == [
        f"error: {path}/utt2num_frames:2: 'a-2' has 399 frames, fewer than 400"
    ]
    judge_frames(tmp_path, 400, report)
    assert str(report.findings[1]).startswith(f"error: {tmp_path}/utt2num_frames: no such file")
