"""Voice activity and voiced frames as a user makes them, with good and with bad input."""

import kaldiio
import numpy as np
import pytest
import soundfile
import yaml
from corpus import RATE, read_features, voice, write_all_trials, write_recordings
from processes import ROOT, fails, succeeds

from vouch.features.cmvn import apply_cmvn, cmvn_stats
from vouch.features.vad import energy_vad
from vouch.kaldi.tables import read_table, write_table

COMPUTE, SELECT, MAKE = "steps/compute_vad.py", "steps/select_voiced_frames.py", "steps/make_fbank.py"
RECIPE = {"energy_threshold": 5.5, "energy_mean_scale": 0.5, "proportion_threshold": 0.12, "frames_context": 2}


@pytest.fixture(scope="module")
def made(scripts, tmp_path_factory):
    """Cepstra of recordings that are half silence."""
    data = tmp_path_factory.mktemp("vad") / "data"
    write_recordings(data, utterances=4)
    for row, wav in enumerate(read_table(data / "wav.scp").values()):
        speech = voice(row // 4, row % 4)
        gap = 1e-4 * np.random.default_rng(row).standard_normal(3000 + 500 * row)
        soundfile.write(wav, np.concatenate([speech[:4000], gap, speech[4000:]]), RATE)
    config = ROOT / "conf/features/mfcc30.yaml"
    done = succeeds(scripts.run(MAKE, data, "--config", config, "--nj", 2, "--shard-size", 5, cwd=data))
    assert "features of 12 utterances" in done.stdout
    return data


@pytest.fixture
def data(made, tmp_path):
    """A directory of its own that lists the same features."""
    for name in ("feats.scp", "utt2spk", "spk2utt", "utt2num_frames", "feature.yaml"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    return tmp_path


def test_features_are_cepstra_with_energies(made):
    assert yaml.safe_load((made / "feature.yaml").read_text())["num_ceps"] == 30
    features = read_features(made / "feats.scp")
    assert {matrix.shape[1] for matrix in features.values()} == {30}
    assert read_table(made / "utt2num_frames") == {name: str(len(matrix)) for name, matrix in features.items()}


def test_voice_activity(scripts, data):
    done = succeeds(scripts.run(COMPUTE, data, "--nj", 2, "--shard-size", 5, cwd=data))
    assert done.stdout == f"{data}: voice activity of 12 utterances\n"
    assert done.stderr == ""
    found = dict(kaldiio.load_scp(str(data / "vad.scp")))
    features = read_features(data / "feats.scp")
    assert list(found) == list(features)
    for name, matrix in features.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], energy_vad(matrix[:, 0], **RECIPE))
        assert 0.3 < found[name].mean() < 0.95
    (data / "strict.yaml").write_text("energy_threshold: 50\n")
    done = succeeds(scripts.run(COMPUTE, data, "--config", "strict.yaml", cwd=data))
    assert done.stderr == f"{data / 'vad.scp'}: 12 recordings without a voiced frame\n"


@pytest.mark.parametrize("cmvn", ["none", "sliding", "utterance", "speaker"])
def test_voiced_frames(scripts, data, tmp_path, cmvn):
    write_all_trials(data)
    write_table(data / "spk2gender", {"s0": "f", "s1": "m", "s2": "f"})
    succeeds(scripts.run(COMPUTE, data, cwd=data))
    out = tmp_path / "voiced"
    options = ["--cmvn", cmvn, "--window", 20, "--nj", 2, "--shard-size", 5]
    options += ["--norm-vars"] if cmvn in ("speaker", "utterance") else []
    done = succeeds(scripts.run(SELECT, data, out, *options, cwd=tmp_path))
    assert done.stderr == ""
    vad = dict(kaldiio.load_scp(str(data / "vad.scp")))
    features, found = read_features(data / "feats.scp"), read_features(out / "feats.scp")
    assert list(found) == list(features)
    for name, matrix in features.items():
        expected = matrix
        if cmvn == "sliding":
            starts = [min(max(0, t - 10), len(matrix) - 20) for t in range(len(matrix))]
            expected = np.stack([matrix[t] - matrix[s : s + 20].mean(axis=0) for t, s in enumerate(starts)])
        elif cmvn == "utterance":
            expected = apply_cmvn(matrix, cmvn_stats(matrix), True)
        elif cmvn == "speaker":
            same = np.concatenate([other for key, other in features.items() if key[:2] == name[:2]]).astype(float)
            expected = (matrix - same.mean(axis=0)) / same.std(axis=0)
        np.testing.assert_allclose(found[name], expected[vad[name] != 0], atol=1e-4)
    frames = sum(len(matrix) for matrix in found.values())
    assert done.stdout == f"{out}: {frames} voiced frames of 12 of 12 utterances\n"
    assert read_table(out / "utt2num_frames") == {name: str(len(matrix)) for name, matrix in found.items()}
    for name in ("utt2spk", "spk2utt", "spk2gender", "trials"):
        assert (out / name).read_text() == (data / name).read_text()
    # Their front end alone does not make these features again.
    assert not (out / "feature.yaml").exists() and not (out / "wav.scp").exists()
    assert succeeds(scripts.run("utils/validate_data_dir.py", out, "--no-text", "--no-wav", cwd=tmp_path))


def test_utterances_without_speech_are_named_and_left_out(scripts, data, tmp_path):
    succeeds(scripts.run(COMPUTE, data, cwd=data))
    vad = dict(kaldiio.load_scp(str(data / "vad.scp")))
    vad["s1-2"] = np.zeros_like(vad["s1-2"])
    vad["s2-0"] = vad["s2-0"][1:]
    del vad["s0-3"]
    kaldiio.save_ark(str(tmp_path / "other.ark"), vad, scp=str(tmp_path / "other.scp"))
    command = [SELECT, data, tmp_path / "out", "--vad", tmp_path / "other.scp"]
    fails(scripts.run(*command, cwd=tmp_path), "3 of 12 items failed: 's0-3': no voice activity is known")
    assert not (tmp_path / "out/feats.scp").exists()
    done = succeeds(scripts.run(*command, "--max-failed", 0.3, "--compress", "8bit", cwd=tmp_path))
    frames = len(vad["s2-0"])
    assert "3 failed: 's0-3'" in done.stderr and "'s1-2': no voiced frame" in done.stderr
    assert f"'s2-0': {frames + 1} frames of features, {frames} of voice activity" in done.stderr
    assert len(read_features(tmp_path / "out/feats.scp")) == len(read_table(tmp_path / "out/utt2spk")) == 9
    assert "of 9 of 12 utterances" in done.stdout


def test_what_cannot_be_is_refused(scripts, data, tmp_path):
    fails(
        scripts.run(SELECT, data, tmp_path / "out", cwd=data), "vad.scp: no such file; run steps/compute_vad.py first"
    )
    fails(scripts.run(SELECT, data, data, cwd=data), "must be another data directory than the input")
    fails(scripts.run(SELECT, data, data / "x", "--norm-vars", cwd=data), "--norm-vars needs --cmvn", status=2)
    fails(scripts.run(SELECT, data, data / "x", "--cmvn", "slide", cwd=data), "did you mean 'sliding'", status=2)
    fails(scripts.run(SELECT, data, data / "x", "--window", 0, cwd=data), "--window 0: needs at least 1 frame")
    (data / "wrong.yaml").write_text("energy_treshold: 5\n")
    fails(
        scripts.run(COMPUTE, data, "--config", "wrong.yaml", cwd=data),
        "unknown option 'energy_treshold' of voice activity detection (did you mean 'energy_threshold'?)",
    )
    (data / "feature.yaml").write_text("type: fbank\nnum_mel_bins: 30\n")
    fails(scripts.run(COMPUTE, data, cwd=data), "the first dimension of these features is not the frame's energy")
    assert not (data / "vad.scp").exists()
    (data / "feature.yaml").unlink()
    succeeds(scripts.run(COMPUTE, data, cwd=data))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/wav.scp").write_text("a b\n")
    fails(scripts.run(SELECT, data, tmp_path / "out", cwd=data), "holds recordings of its own")


def test_dither_does_not_depend_on_jobs(scripts, tmp_path):
    data = tmp_path / "data"
    write_recordings(data)
    (tmp_path / "dither.yaml").write_text("type: fbank\nnum_mel_bins: 24\ndither: 1\n")
    command = [MAKE, data, "--config", tmp_path / "dither.yaml", "--shard-size", 2]
    succeeds(scripts.run(*command, cwd=tmp_path))
    alone = read_features(data / "feats.scp")
    succeeds(scripts.run(*command, "--nj", 3, cwd=tmp_path))
    for name, matrix in read_features(data / "feats.scp").items():
        np.testing.assert_array_equal(matrix, alone[name])
