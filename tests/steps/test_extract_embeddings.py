"""Stage 4 as a user runs it, with good and with bad input."""

import signal
import struct

import numpy as np
import pytest
import soundfile
import torch
from corpus import assert_same_features, read_features, slow_pipes, tiny_encoder, write_features, write_recordings
from processes import fails, succeeds, wait_for

from vouch.encoder import save_encoder
from vouch.extraction.embed import embed_matrices
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table, write_table

EXTRACT = "steps/extract_embeddings.py"
FRONT_END = {"type": "fbank", "num_mel_bins": 20}


@pytest.fixture
def data(tmp_path):
    """Features of 24 utterances, and a model for them."""
    write_features(tmp_path / "data")
    save_encoder(tiny_encoder(), tmp_path / "final.pt")
    return tmp_path / "data"


@pytest.fixture
def recordings(scripts, tmp_path):
    """Recordings with their features, and a model that knows the front end."""
    write_recordings(tmp_path / "data")
    (tmp_path / "fbank.yaml").write_text("type: fbank\nnum_mel_bins: 20\n")
    succeeds(scripts.run("steps/make_fbank.py", "data", "--config", "fbank.yaml", cwd=tmp_path))
    save_encoder(tiny_encoder(num_bins=20, feature=FRONT_END), tmp_path / "final.pt")
    return tmp_path / "data"


def embeddings(folder):
    return dict(zip(*read_vectors(folder / "embedding.scp"), strict=True))


def unfinished(out):
    return list(out.glob("embedding.work-*/*.json"))


def test_help_is_for_people(scripts, tmp_path):
    done = succeeds(scripts.run(EXTRACT, "--help", cwd=tmp_path))
    for word in (
        "embedding.scp",
        "--max-seconds",
        "(default: 100)",
        "(default: what the model takes)",
        "--device",
    ):
        assert word in " ".join(done.stdout.split())


def test_every_utterance_gets_its_embedding_however_they_are_split(scripts, data, tmp_path):
    done = succeeds(scripts.run(EXTRACT, "data", "final.pt", "out", cwd=tmp_path))
    assert (done.stdout, done.stderr) == ("out: 24 embeddings of 8 dimensions\n", "")
    alone = embeddings(tmp_path / "out")
    encoder = tiny_encoder()
    expected = {name: embed_matrices(encoder, [x])[0] for name, x in read_features(data / "feats.scp").items()}
    assert_same_features(alone, expected, 1e-5)
    options = ("--nj", 2, "--shard-size", 5, "--device", "cpu")
    succeeds(scripts.run(EXTRACT, data, tmp_path / "final.pt", "out", *options, cwd=tmp_path))
    assert_same_features(embeddings(tmp_path / "out"), alone, 1e-5)
    assert len(list((tmp_path / "out/embedding").glob("*.ark"))) == 5


def test_audio_gives_what_its_features_give(scripts, recordings, tmp_path):
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "feats", cwd=tmp_path))
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "wav", "--input", "wav", cwd=tmp_path))
    assert_same_features(embeddings(tmp_path / "wav"), embeddings(tmp_path / "feats"), 1e-5)


def test_a_network_that_takes_waveforms_is_given_the_audio(scripts, tmp_path):
    write_recordings(tmp_path / "data")
    encoder = tiny_encoder("rawnet3")
    save_encoder(encoder, tmp_path / "final.pt")
    done = succeeds(scripts.run(EXTRACT, "data", "final.pt", "out", "--nj", 2, "--shard-size", 4, cwd=tmp_path))
    assert done.stdout == "out: 6 embeddings of 8 dimensions\n"
    samples = {
        name: soundfile.read(wav, dtype="float32")[0] for name, wav in read_table(tmp_path / "data/wav.scp").items()
    }
    expected = {name: embed_matrices(encoder, [wave])[0] for name, wave in samples.items()}
    assert_same_features(embeddings(tmp_path / "out"), expected, 1e-5)
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "pieces", "--max-seconds", 0.1875, cwd=tmp_path))
    expected = {name: embed_matrices(encoder, [wave], 0.1875)[0] for name, wave in samples.items()}
    assert_same_features(embeddings(tmp_path / "pieces"), expected, 1e-5)
    done = scripts.run(EXTRACT, "data", "final.pt", "out", "--input", "feats", cwd=tmp_path)
    fails(done, "--input feats: final.pt takes waveforms; leave --input out")


def test_long_recordings_are_cut(scripts, data, tmp_path):
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "out", "--max-seconds", 0.2, cwd=tmp_path))
    encoder = tiny_encoder()
    with torch.inference_mode():
        for name, matrix in read_features(data / "feats.scp").items():
            pieces = np.array_split(matrix, -(-len(matrix) // 20))
            each = [encoder(torch.from_numpy(piece)[None])[0].numpy() for piece in pieces]
            expected = np.average(each, axis=0, weights=[len(piece) for piece in pieces])
            np.testing.assert_allclose(embeddings(tmp_path / "out")[name], expected, atol=1e-5)


def test_parts_are_the_same_however_the_work_is_split(scripts, data, tmp_path):
    encoder, matrices = tiny_encoder(), read_features(data / "feats.scp")
    jobs, crops = ("--nj", 2, "--shard-size", 7, "--device", "cpu"), ("--crops", 3, "--crop-seconds", 0.2)
    succeeds(scripts.run(EXTRACT, data, tmp_path / "final.pt", "one", *crops, cwd=tmp_path))
    words = (EXTRACT, data, tmp_path / "final.pt", "crops", *crops, *jobs)
    succeeds(scripts.run(*words, cwd=tmp_path))
    crops = read_features(tmp_path / "crops/embedding.scp")
    assert_same_features(crops, read_features(tmp_path / "one/embedding.scp"), 1e-6)
    for name, matrix in matrices.items():
        starts = np.linspace(0, len(matrix) - 20, 3).astype(int)
        each = embed_matrices(encoder, [matrix[start : start + 20] for start in starts])
        np.testing.assert_allclose(crops[name], each, atol=1e-5)
    options = ("--windows", 0.2, "--window-step", 0.5, "--window-average", "unit-mean")
    succeeds(scripts.run(EXTRACT, data, tmp_path / "final.pt", "windows", *options, *jobs, cwd=tmp_path))
    for name, matrix in matrices.items():
        starts = sorted({*range(0, len(matrix) - 19, 10), len(matrix) - 20})
        each = embed_matrices(encoder, [matrix[start : start + 20] for start in starts])
        expected = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(embeddings(tmp_path / "windows")[name], expected, atol=1e-5)


def test_a_list_of_recordings(scripts, recordings, tmp_path):
    """In any order, without speakers: what the data directory gives, under the names in the list."""
    wav_scp = read_table(recordings / "wav.scp")
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "wav", "--input", "wav", cwd=tmp_path))
    expected = embeddings(tmp_path / "wav")
    backwards = dict(reversed(wav_scp.items()))
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in backwards.values()))
    (tmp_path / "ids").write_text("".join(f"{name} cat {path} |\n" for name, path in backwards.items()))
    done = succeeds(scripts.run(EXTRACT, "list", "final.pt", "out", cwd=tmp_path))
    note = f"out/embedding.scp: {len(wav_scp)} recordings are shorter than 1 s\n"
    assert (done.stdout, done.stderr) == (f"out: {len(wav_scp)} embeddings of 8 dimensions\n", note)
    assert_same_features(embeddings(tmp_path / "out"), {wav_scp[name]: x for name, x in expected.items()}, 1e-6)
    options = ("--nj", 2, "--shard-size", 2, "--input", "wav")
    succeeds(scripts.run(EXTRACT, "ids", "final.pt", "jobs", *options, cwd=tmp_path))
    assert_same_features(embeddings(tmp_path / "jobs"), expected, 1e-5)
    assert list(read_table(tmp_path / "jobs/embedding.scp")) == sorted(wav_scp)
    done = scripts.run(EXTRACT, "list", "final.pt", "out2", "--input", "feats", cwd=tmp_path)
    fails(done, "--input feats: list is a list of recordings; leave --input out")
    (tmp_path / "list").write_text(f"{wav_scp[min(wav_scp)]}\nnone.wav\n")
    done = scripts.run(EXTRACT, "list", "final.pt", "out2", cwd=tmp_path)
    fails(done, "list:2: 'none.wav': no such file")
    assert not (tmp_path / "out2").exists()


def test_bad_input_is_refused(scripts, data, tmp_path):
    def refused(message, *words, status=1):
        fails(scripts.run(EXTRACT, *words, cwd=tmp_path), message, status)

    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "final.pt").read_bytes()[:-1000])
    (tmp_path / "a_file").write_text("")
    refused("final.py: no such file; stage 3", "data", "final.py", "out")
    refused("text.pt: not readable as a checkpoint", "data", "text.pt", "out")
    refused("cut.pt: not readable as a checkpoint", "data", "cut.pt", "out")
    refused("none: no such data directory", "none", "final.pt", "out")
    refused("max_seconds 0.01 must be from 0.02", "data", "final.pt", "out", "--max-seconds", 0.01)
    refused("unknown device 'gpu'", "data", "final.pt", "out", "--device", "gpu")
    refused("torch finds no GPU", "data", "final.pt", "out", "--device", "cuda:99", "--nj", 2)
    refused("unknown device 'cuda:x'", "data", "final.pt", "out", "--device", "cuda:x", "--nj", 2)
    refused("unknown device 'cuda:x'", "data", "final.pt", "out", "--device", "cuda:x", "--nj", 2, "--cmd", "queue")
    refused("/dev/null: a list of recordings is read again by each job", "/dev/null", "final.pt", "out")
    refused("unknown value 'wave' (did you mean 'wav'?)", "data", "final.pt", "out", "--input", "wave", status=2)
    refused("it is '--max-seconds' now, in seconds", "data", "final.pt", "out", "--max-frames", 900, status=2)
    refused("did you mean '--max-seconds'?", "data", "final.pt", "out", "--max-second", 9, status=2)
    refused("wav.scp: no such file", "data", "final.pt", "out", "--input", "wav")
    refused("--crop-seconds is for --crops", "data", "final.pt", "out", "--crop-seconds", 9)
    refused("are for --windows", "data", "final.pt", "out", "--window-step", 0.5)
    refused("--max-seconds is for whole utterances", "data", "final.pt", "out", "--crops", 2, "--max-seconds", 9)
    refused("a step of 2 windows", "data", "final.pt", "out", "--windows", 0.2, "--window-step", 2)
    refused("not allowed with argument", "data", "final.pt", "out", "--windows", 0.2, "--crops", 2, status=2)
    refused("a_file", "data", "final.pt", "a_file")
    save_encoder(tiny_encoder(num_bins=9), tmp_path / "nine.pt")
    refused("8 dimensions, the model takes 9", "data", "nine.pt", "out")
    (data / "feats.scp").unlink()
    refused("feats.scp: no such file; run stage 1", "data", "final.pt", "out")
    assert not (tmp_path / "out/embedding.scp").exists()


def test_features_of_another_front_end_are_refused(scripts, recordings, tmp_path):
    other = {**FRONT_END, "low_freq": 60}
    save_encoder(tiny_encoder(num_bins=20, feature=other), tmp_path / "other.pt")
    done = scripts.run(EXTRACT, "data", "other.pt", "out", cwd=tmp_path)
    fails(done, "data/feature.yaml: low_freq is 20.0, the model was trained with 60.0")
    save_encoder(tiny_encoder(num_bins=20), tmp_path / "unknown.pt")
    succeeds(scripts.run(EXTRACT, "data", "unknown.pt", "out", cwd=tmp_path))
    fails(
        scripts.run(EXTRACT, "data", "unknown.pt", "out2", "--input", "wav", cwd=tmp_path),
        "this model was trained on features of an unknown front end",
    )


def spoil_one(data, utterance):
    """Put NaN into the features of one utterance, which the writer of archives would refuse to write."""
    features = read_features(data / "feats.scp")
    with open_ark(data / "feats.ark", data / "feats.scp") as ark:
        for name, matrix in features.items():
            ark.write(name, matrix)
    where, offset = read_table(data / "feats.scp")[utterance].rsplit(":", 1)
    with open(where, "r+b") as file:
        file.seek(int(offset) + 15 + 4 * 8 * 3)
        file.write(struct.pack("<f", np.nan))


def test_nan_features_fail_their_utterance_only(scripts, data, tmp_path):
    succeeds(scripts.run(EXTRACT, "data", "final.pt", "out", cwd=tmp_path))
    expected = embeddings(tmp_path / "out")
    spoil_one(data, "s1-2")
    done = succeeds(scripts.run(EXTRACT, "data", "final.pt", "out", cwd=tmp_path))
    assert "1 failed: 's1-2': the embedding is NaN or infinite" in done.stderr
    del expected["s1-2"]
    assert_same_features(embeddings(tmp_path / "out"), expected, 1e-5)
    done = scripts.run(EXTRACT, "data", "final.pt", "out", "--max-failed", 0.04, cwd=tmp_path)
    fails(done, "1 of 24 items failed: 's1-2'")


def test_a_truncated_archive_is_named(scripts, data, tmp_path):
    with open(data / "feats.ark", "r+b") as file:
        file.truncate(2000)
    done = scripts.run(EXTRACT, "data", "final.pt", "out", cwd=tmp_path)
    fails(done, f"feats.scp: 's0-1': {data}/feats.ark:985: the archive is truncated")


def test_a_full_disk(scripts, data, tmp_path):
    done = scripts.run(EXTRACT, "data", "final.pt", "out", cwd=tmp_path, largest_file=500)
    fails(done, "File too large; nothing half-written was kept")
    assert not (tmp_path / "out/embedding.scp").exists()
    assert not list(tmp_path.glob("out/**/*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_in_the_middle(scripts, recordings, tmp_path, number):
    words = ("data", "final.pt", "out", "--input", "wav", "--shard-size", 2)
    succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    expected = embeddings(tmp_path / "out")
    reads = slow_pipes(recordings)
    process = scripts.start(EXTRACT, *words, cwd=tmp_path)
    wait_for(lambda: unfinished(tmp_path / "out"), process)
    process.send(number)
    done = process.wait()
    assert done.returncode == (130 if number == signal.SIGINT else -9)
    assert "Traceback" not in done.stderr
    # The old embeddings are valid until the new ones are complete.
    assert_same_features(embeddings(tmp_path / "out"), expected)
    finished = 2 * len(unfinished(tmp_path / "out"))

    done = succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    assert f"{finished // 2} of 3 parts are there" in done.stderr
    assert_same_features(embeddings(tmp_path / "out"), expected, 1e-6)
    read = reads.read_text().split()
    assert [read.count(name) for name in list(expected)[:finished]] == [1] * finished
    assert not unfinished(tmp_path / "out")


def test_another_model_does_not_take_over_the_parts_of_an_interrupted_run(scripts, recordings, tmp_path):
    wavs = read_table(recordings / "wav.scp")
    slow_pipes(recordings)
    words = ("data", "final.pt", "out", "--input", "wav", "--shard-size", 2)
    process = scripts.start(EXTRACT, *words, cwd=tmp_path)
    wait_for(lambda: unfinished(tmp_path / "out"), process)
    process.send(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/embedding.scp").exists()
    write_table(recordings / "wav.scp", wavs)
    other = tiny_encoder(num_bins=20, seed=1, feature=FRONT_END)
    save_encoder(other, tmp_path / "final.pt")
    succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    expected = {name: embed_matrices(other, [x])[0] for name, x in read_features(recordings / "feats.scp").items()}
    assert_same_features(embeddings(tmp_path / "out"), expected, 1e-5)


@pytest.mark.parametrize("source", ["feats", "wav"])
def test_utterances_shorter_than_the_networks_minimum(scripts, recordings, tmp_path, source):
    """Repeated by default; on request they fail by name, and the others are embedded as before."""
    encoder = tiny_encoder("xvector", num_bins=20, feature=FRONT_END)
    save_encoder(encoder, tmp_path / "final.pt")
    wav_scp = read_table(recordings / "wav.scp")
    name = sorted(wav_scp)[1]
    soundfile.write(wav_scp[name], np.random.default_rng(0).uniform(-0.1, 0.1, 1600), 16000)
    words = ("data", "final.pt", "out", "--input", source)
    if source == "feats":
        succeeds(scripts.run("steps/make_fbank.py", "data", "--config", "fbank.yaml", cwd=tmp_path))
    succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    repeated = embeddings(tmp_path / "out")
    assert sorted(repeated) == sorted(wav_scp)
    done = scripts.run(EXTRACT, *words, "--short", "fail", cwd=tmp_path)
    assert f"'{name}': 10 frames long, the network needs at least 15" in done.stderr
    assert done.returncode != 0  # one of six is more than the share that may fail
    done = succeeds(scripts.run(EXTRACT, *words, "--short", "fail", "--max-failed", 0.5, cwd=tmp_path))
    rest = embeddings(tmp_path / "out")
    assert sorted(rest) == sorted(set(wav_scp) - {name})
    for key, value in rest.items():
        np.testing.assert_allclose(value, repeated[key], atol=1e-5)


def test_silence_fails_and_doubts_are_counted(scripts, tmp_path):
    rng = np.random.default_rng(0)
    sounds = {f"s-{row:02d}": 0.1 * rng.standard_normal(17000) for row in range(20)}
    sounds["s-03"] = np.zeros(17000)
    sounds["s-04"] = 0.01 * sounds["s-04"]
    sounds["s-05"] = sounds["s-05"][:12000]
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
    write_table(tmp_path / "list", {name: f"{tmp_path}/{name}.wav" for name in sounds})
    save_encoder(tiny_encoder(num_bins=20, feature=FRONT_END), tmp_path / "final.pt")
    done = succeeds(scripts.run(EXTRACT, "list", "final.pt", "out", cwd=tmp_path))
    assert done.stdout == "out: 19 embeddings of 8 dimensions\n"
    assert done.stderr.splitlines() == [
        "out/embedding.scp: 1 recordings are quiet (below -50 dB of full scale)",
        "out/embedding.scp: 1 recordings are shorter than 1 s",
        "out/embedding.scp: 1 failed: 's-03': silence, all samples are 0",
    ]


def test_a_channel_is_chosen(scripts, tmp_path):
    left, right = 0.1 * np.random.default_rng(0).standard_normal((2, 17000))
    soundfile.write(tmp_path / "left.wav", left, 16000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 16000)
    save_encoder(tiny_encoder(num_bins=20, feature=FRONT_END), tmp_path / "final.pt")
    save_encoder(tiny_encoder(num_bins=20, feature={**FRONT_END, "channel": 0}), tmp_path / "first.pt")
    found = []
    for name, words in {
        "left": ("final.pt", "out"),
        "stereo": ("final.pt", "out", "--channel", "0"),
        "stereo ": ("first.pt", "out"),
        "stereo  ": ("final.pt", "out"),
    }.items():
        (tmp_path / "list").write_text(f"u {name.strip()}.wav\n")
        succeeds(scripts.run(EXTRACT, "list", *words, cwd=tmp_path))
        found.append(embeddings(tmp_path / "out")["u"])
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)
    assert np.abs(found[3] - found[0]).max() > 1e-3
    write_recordings(tmp_path / "data")
    (tmp_path / "fbank.yaml").write_text("type: fbank\nnum_mel_bins: 20\n")
    succeeds(scripts.run("steps/make_fbank.py", "data", "--config", "fbank.yaml", cwd=tmp_path))
    message = "--channel is for audio (--input wav); the channel of features was chosen in stage 1"
    fails(scripts.run(EXTRACT, "data", "final.pt", "out", "--channel", "0", cwd=tmp_path), message)


def test_old_embeddings_are_not_scored_as_if_they_were_new(scripts, data, tmp_path):
    """Another model, other features, or embeddings of two models: each is one line that says what to run."""
    (tmp_path / "trials").write_text("s0-0 s0-1 target\ns0-0 s1-0 nontarget\n")
    score = ("steps/score_trials.py", "trials", "out/embedding.scp", "scores.txt")
    judge = ("steps/compute_metrics.py", "trials", "scores.txt", "--out-dir", "results")

    def extract(out="out"):
        succeeds(scripts.run(EXTRACT, "data", "final.pt", out, cwd=tmp_path))

    extract()
    succeeds(scripts.run(*score, cwd=tmp_path))
    save_encoder(tiny_encoder(seed=1), tmp_path / "final.pt")
    stale = "final.pt has changed since this was made from it; run stage 4 (steps/extract_embeddings.py) again"
    fails(scripts.run(*score, cwd=tmp_path), f"out/embedding.scp: {tmp_path}/{stale}")
    fails(scripts.run(*judge, cwd=tmp_path), stale)
    fails(scripts.run("steps/train_plda.py", "out/embedding.scp", "data/utt2spk", "plda", cwd=tmp_path), stale)
    (tmp_path / "final.pt").rename(tmp_path / "second.pt")
    succeeds(scripts.run(EXTRACT, "data", "second.pt", "second", cwd=tmp_path))
    mixed = "out/embedding.scp and second/embedding.scp are of different models; make both with the same"
    fails(scripts.run(*score, "--mean", "second/embedding.scp", cwd=tmp_path), mixed)
    normalize = ("steps/normalize_scores.py", "scores.txt", "out/embedding.scp", "second/embedding.scp", "n.txt")
    fails(scripts.run(*normalize, cwd=tmp_path), "scores.txt and second/embedding.scp are of different models")
    (tmp_path / "second.pt").rename(tmp_path / "final.pt")
    extract()
    fails(scripts.run(*judge, cwd=tmp_path), "out/embedding.scp has changed since this was made from it; run stage 5")
    succeeds(scripts.run(*score, cwd=tmp_path))
    write_features(data, utterances=range(7))
    fails(scripts.run(*score, cwd=tmp_path), "data/feats.scp has changed since this was made from it; run stage 4")


def test_recordings_that_changed_during_an_interruption_are_read_again(scripts, recordings, tmp_path):
    words = ("data", "final.pt", "out", "--input", "wav", "--shard-size", 1)
    succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    before = embeddings(tmp_path / "out")
    wavs = [line.split()[1] for line in (recordings / "wav.scp").read_text().splitlines()]
    reads = slow_pipes(recordings)
    process = scripts.start(EXTRACT, *words, cwd=tmp_path)
    wait_for(lambda: len(unfinished(tmp_path / "out")) >= 2, process)
    process.send(signal.SIGINT)
    process.wait()
    done = len(unfinished(tmp_path / "out"))
    samples, rate = soundfile.read(wavs[0])
    soundfile.write(wavs[0], samples[::-1], rate)
    reads.unlink()
    finished = succeeds(scripts.run(EXTRACT, *words, cwd=tmp_path))
    assert f"{done - 1} of 6 parts are there" in finished.stderr
    names, after = list(before), embeddings(tmp_path / "out")
    assert reads.read_text().split() == [names[0], *names[done:]]
    assert not np.array_equal(after[names[0]], before[names[0]])
    assert all(np.array_equal(after[name], before[name]) for name in names[1:])
