"""Stage 2 as a user runs it, with good and with bad input."""

import shutil
import signal

import numpy as np
import pytest
import soundfile
from corpus import RATE, assert_same_features, read_features, slow_pipes, write_recordings
from processes import fails, succeeds, wait_for

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lineage.records import check_current
from vouch.kaldi.tables import read_table, write_table

AUGMENT = "steps/augment_data.py"


@pytest.fixture(scope="module")
def musan(tmp_path_factory):
    """Noise of 8 kHz, stereo music, and speech shorter than the utterances."""
    folder = tmp_path_factory.mktemp("musan")
    rng = np.random.default_rng(0)
    shapes = {"noise": (8000, (5000,)), "music": (RATE, (12000, 2)), "speech": (RATE, (3000,))}
    for name, (rate, shape) in shapes.items():
        for row in range(2):
            path = folder / name / "set" / f"{row}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(shape), rate)
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
    for word in ("--musan", "utt2uniq", "--copies", "(default: 1)"):
        assert word in " ".join(done.stdout.split())


def test_copies_stand_beside_the_originals(scripts, data, musan, tmp_path):
    done = succeeds(scripts.run(AUGMENT, "data", "out", "--musan", musan, "--copies", 2, cwd=tmp_path))
    assert (done.stdout, done.stderr) == ("out: 6 utterances and 12 noisy copies\n", "")
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
    assert kinds == {"noise", "music", "babble"}
    assert (tmp_path / "out/feature.yaml").read_text() == (data / "feature.yaml").read_text()


def test_jobs_and_parts_of_the_set_give_the_same_copies(scripts, data, musan, tmp_path):
    succeeds(scripts.run(AUGMENT, "data", "out", "--musan", musan, cwd=tmp_path))
    alone = read_features(tmp_path / "out/feats.scp")
    options = ("--musan", musan, "--nj", 2, "--shard-size", 2)
    succeeds(scripts.run(AUGMENT, "data", "out", *options, cwd=tmp_path))
    assert_same_features(read_features(tmp_path / "out/feats.scp"), alone)

    part = tmp_path / "part"
    part.mkdir()
    for name in ("utt2spk", "wav.scp", "feats.scp", "utt2num_frames"):
        write_table(part / name, {key: value for key, value in read_table(data / name).items() if key >= "s1-1"})
    (part / "feature.yaml").write_bytes((data / "feature.yaml").read_bytes())
    succeeds(scripts.run(AUGMENT, "part", "out2", "--musan", musan, cwd=tmp_path))
    expected = {name: matrix for name, matrix in alone.items() if name >= "s1-1"}
    assert_same_features(read_features(tmp_path / "out2/feats.scp"), expected)

    succeeds(scripts.run(AUGMENT, "part", "out2", "--musan", musan, "--seed", 1, cwd=tmp_path))
    other = read_features(tmp_path / "out2/feats.scp")
    assert any(name not in alone or (other[name] != alone[name]).any() for name in other)


def test_kinds_without_recordings_are_named(scripts, data, musan, tmp_path):
    (tmp_path / "noises").mkdir()
    (tmp_path / "noises/noise").symlink_to(musan / "noise")
    (tmp_path / "noises/music").mkdir()
    done = succeeds(scripts.run(AUGMENT, "data", "out", "--musan", "noises", cwd=tmp_path))
    assert "noises: no recordings for 'music' in music/" in done.stderr
    assert "noises: no recordings for 'babble' in speech/" in done.stderr
    assert len(read_features(tmp_path / "out/feats.scp")) == 12
    fails(
        scripts.run(AUGMENT, "data", "out", "--musan", "noises", "--copies", 2, cwd=tmp_path),
        "2 copies need 2 kinds of noise, there are 1: noise",
    )


def test_bad_input_is_refused(scripts, data, musan, tmp_path):
    def refused(message, *words, status=1):
        fails(scripts.run(AUGMENT, *words, cwd=tmp_path), message, status)

    to_out = ("data", "out", "--musan", musan)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/wav.scp").write_text("x x.wav\n")
    refused("empty: no recordings in any of music/, noise/, speech/", "data", "out", "--musan", "empty")
    refused("none: no recordings", "data", "out", "--musan", "none")
    refused("must be another data directory", "data", "../" + tmp_path.name + "/data", "--musan", musan)
    refused("other: holds recordings of its own", "data", "other", "--musan", musan)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/utt2spk").write_text("x y\n")
    refused("mine: is a data directory that this stage did not make", "data", "mine", "--musan", musan)
    refused("--copies 0", *to_out, "--copies", 0)
    refused("did you mean '--copies'?", *to_out, "--copys", 2, status=2)
    refused("arguments are required: --musan", "data", "out", status=2)
    (tmp_path / "x.yaml").write_text("noise: {folder: noise, files_min: 1, files_max: 1, snr_min: 9, snr_maxx: 8}\n")
    refused(
        "unknown option 'snr_maxx' of augmentation 'noise' (did you mean 'snr_max'?)", *to_out, "--config", "x.yaml"
    )
    (tmp_path / "x.yaml").write_text("noise: {folder: noise, files_min: 1, files_max: 1, snr_min: 9, snr_max: 8}\n")
    refused("augmentation 'noise' needs -200 <= snr_min", *to_out, "--config", "x.yaml")
    (data / "feature.yaml").rename(data / "feature.yaml.away")
    refused("feature.yaml: no such file; the copies need", *to_out)
    (data / "feature.yaml.away").rename(data / "feature.yaml")
    (data / "utt2num_frames").unlink()
    refused("utt2num_frames: no such file", *to_out)
    (data / "feats.scp").unlink()
    refused("feats.scp: no such file; run stage 1", *to_out)
    assert not (tmp_path / "out/feats.scp").exists()


def test_an_augmented_set_is_not_augmented_again(scripts, data, musan, tmp_path):
    features = read_table(data / "feats.scp")
    for name in ("utt2spk", "wav.scp", "feats.scp"):
        table = read_table(data / name)
        write_table(
            data / name, table | {f"{key}-{kind}": table[key] for key in features for kind in ("noise", "music")}
        )
    done = scripts.run(AUGMENT, "data", "out", "--musan", musan, "--copies", 3, cwd=tmp_path)
    fails(done, "'s0-0-music' is there already; was this set augmented before?")


def test_a_kind_of_which_no_noise_can_be_read_is_an_error(scripts, data, tmp_path):
    noise = tmp_path / "noises/noise/x.wav"
    noise.parent.mkdir(parents=True)
    noise.write_text("not a sound")
    done = scripts.run(AUGMENT, "data", "out", "--musan", "noises", cwd=tmp_path)
    fails(done, "noises/noise: no file of 1 can be read: noises/noise/x.wav: not readable as audio")
    assert not (tmp_path / "out/feats.scp").exists()


def test_a_full_disk(scripts, data, musan, tmp_path):
    done = scripts.run(AUGMENT, "data", "out", "--musan", musan, cwd=tmp_path, largest_file=5000)
    fails(done, "File too large; nothing half-written was kept")
    assert not (tmp_path / "out/feats.scp").exists()
    assert not list(tmp_path.glob("out/**/*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_in_the_middle(scripts, data, musan, tmp_path, number):
    succeeds(scripts.run(AUGMENT, "data", "undisturbed", "--musan", musan, cwd=tmp_path))
    expected = read_features(tmp_path / "undisturbed/feats.scp")
    reads = slow_pipes(data)
    words = ("data", "out", "--musan", musan, "--shard-size", 2)
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


def test_the_old_set_stays_valid_until_the_new_one_is_complete(scripts, data, musan, tmp_path):
    succeeds(scripts.run(AUGMENT, "data", "out", "--musan", musan, cwd=tmp_path))
    old = read_features(tmp_path / "out/feats.scp")
    slow_pipes(data)
    words = ("data", "out", "--musan", musan, "--copies", 2, "--shard-size", 2)
    process = scripts.start(AUGMENT, *words, cwd=tmp_path)
    wait_for(lambda: unfinished(tmp_path / "out"), process)
    process.send(signal.SIGKILL)
    process.wait()
    assert_same_features(read_features(tmp_path / "out/feats.scp"), old)
    DataDir.load(tmp_path / "out", need=["feats.scp"])


def test_noises_that_cannot_be_read_are_named_and_never_drawn(scripts, data, musan, tmp_path):
    """As a copy by macOS leaves them: a hidden file beside each noise, and one that was never finished."""
    shutil.copytree(musan, tmp_path / "noises")
    for file in sorted((tmp_path / "noises").rglob("*.wav")):
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7" + bytes(60))
        file.with_name(f"{file.stem}-unfinished.wav").write_bytes(b"")
    done = succeeds(scripts.run(AUGMENT, "data", "out", "--musan", "noises", cwd=tmp_path))
    assert f"{len(read_table(data / 'feats.scp'))} noisy copies" in done.stdout
    assert "-unfinished.wav" in done.stderr and "files left out" in done.stderr
    assert "._" not in done.stderr


@pytest.mark.parametrize("changed", ["noise", "config"])
def test_copies_of_other_noises_are_not_believed(scripts, data, musan, tmp_path, changed):
    """Other samples under the same name and of the same size, or another kind of noise in the same file."""
    noises, config = tmp_path / "noises", tmp_path / "kinds.yaml"
    shutil.copytree(musan, noises)
    kind = "noise: {folder: noise, files_min: 1, files_max: 1, snr_min: %d, snr_max: 5}\n"
    config.write_text(kind % 5)
    words = ("data", "out", "--musan", noises, "--config", config)
    succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    first = read_features(tmp_path / "out/feats.scp")
    check_current(tmp_path / "out/feats.scp")

    for file in (noises / "noise/set").iterdir() if changed == "noise" else ():
        size = file.stat().st_size
        soundfile.write(file, 0.1 * np.random.default_rng(5).standard_normal(5000), 8000)
        assert file.stat().st_size == size
    config.write_text(kind % (0 if changed == "config" else 5))
    name = "noises/noise" if changed == "noise" else "kinds.yaml"
    # What training and all other stages that read features ask.
    with pytest.raises(VouchError, match=rf"{name} has changed since this was made from it; run stage 2 .* again"):
        check_current(tmp_path / "out/feats.scp")

    succeeds(scripts.run(AUGMENT, *words, cwd=tmp_path))
    other = read_features(tmp_path / "out/feats.scp")
    assert all((first[name] != other[name]).any() == name.endswith("-noise") for name in other)
    check_current(tmp_path / "out/feats.scp")
