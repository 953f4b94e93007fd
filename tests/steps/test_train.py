"""Stage 3 as a user runs it, with good and with bad input."""

import fcntl
import json
import shutil
import signal

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch
import yaml
from corpus import TINY, write_all_trials, write_features, write_recordings
from processes import fails, succeeds, wait_for
from recipe import AUGMENTATIONS, ROOT

from vouch.base.torchfile import load_torch
from vouch.encoder import load_encoder
from vouch.features.config import FrontEndConfig
from vouch.kaldi.lineage.records import write_record
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.tables import read_table
from vouch.models.config import NetworkConfig

TRAIN = "steps/train.py"
TRAINING = {"epochs": 2, "batch_size": 8, "crop_seconds": 0.2, "checkpoint_minutes": 0}
WORDS = ("train", "exp", "--valid", "valid", "--config", "tiny.yaml")


@pytest.fixture
def folder(tmp_path):
    """A folder with a training set, a validation set and a configuration."""
    write_features(tmp_path / "train")
    write_features(tmp_path / "valid", speakers=range(4, 8), utterances=range(3))
    write_all_trials(tmp_path / "valid")
    config = {"model": TINY["lstm"], "loss": "softmax", "train": TRAINING}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def weights(path):
    return load_torch(path)["weights"]


def assert_same_weights(path, other):
    expected = weights(other)
    assert weights(path).keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights(path).items())


def test_help_is_for_people(scripts, tmp_path):
    text = " ".join(succeeds(scripts.run(TRAIN, "--help", cwd=tmp_path)).stdout.split())
    for word in ("final.pt", "--valid", "--train.epochs 3", "such as cuda:1 (default: auto)"):
        assert word in text


def test_a_training_leaves_all_that_it_should(scripts, folder):
    feature = FrontEndConfig.from_dict({"type": "fbank", "num_mel_bins": 8})
    (folder / "train/feature.yaml").write_text(yaml.safe_dump(feature.as_dict()))
    done = succeeds(
        scripts.run(TRAIN, *WORDS, "--train.epochs", 3, "--loss=aamsoftmax", "--loss.margin", 0.3, cwd=folder)
    )
    assert done.stderr == ""
    config = yaml.safe_load((folder / "exp/config.yaml").read_text())
    assert (config["loss"]["margin"], config["train"]["epochs"], config["train"]["batch_size"]) == (0.3, 3, 8)
    encoder = load_encoder(folder / "exp/final.pt")
    assert encoder.config.network == NetworkConfig.from_dict(TINY["lstm"])
    assert encoder.config.front_end == feature
    lines = (folder / "exp/train.log").read_text().splitlines()
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert f" 4 speakers, 24 utterances, 0.00 hours; lstm of {count} parameters, loss aamsoftmax of 32;" in lines[0]
    assert [line.split()[3] for line in lines[1:4]] == ["1/3:", "2/3:", "3/3:"]
    assert "validation EER" in lines[3]
    assert "final.pt: the encoder of epoch" in lines[4]
    assert config["feature"] == feature.as_dict()
    assert [line.split(maxsplit=2)[2] for line in lines] == done.stdout.splitlines()
    assert sorted(path.name for path in (folder / "exp").iterdir()) == [
        *("checkpoints", "config.yaml", "final.pt", "provenance.json", "tensorboard", "train.log", "training.png")
    ]
    pixels = matplotlib.image.imread(folder / "exp/training.png")
    assert min(pixels.shape[:2]) > 500


def test_a_finished_training_is_not_repeated(scripts, folder):
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    before = {path: path.stat().st_mtime_ns for path in (folder / "exp").rglob("*")}
    assert folder / "exp/training.png" in before
    done = succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    assert "exp/final.pt: is trained already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder / "exp").rglob("*")} == before


def test_another_configuration_or_data_moves_the_old_experiment_aside(scripts, folder):
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    first = (folder / "exp/final.pt").read_bytes()
    done = succeeds(scripts.run(TRAIN, *WORDS, "--train.seed", 1, cwd=folder))
    assert "exp: held an experiment with another configuration or other data; it is now exp.old1" in done.stderr
    assert (folder / "exp.old1/final.pt").read_bytes() == first
    assert (folder / "exp/final.pt").read_bytes() != first
    write_features(folder / "train", utterances=range(7))
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    assert (folder / "exp.old2/final.pt").exists()
    assert "continuing" not in (folder / "exp/train.log").read_text()


def test_fine_tuning_starts_from_a_checkpoint(scripts, folder):
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    write_features(folder / "more", speakers=range(2, 6))
    checkpoint = "exp/checkpoints/last.pt"
    (folder / "other.yaml").write_text("model: xvector\nloss: softmax\n")
    words = ("more", "tuned", "--config", "other.yaml", "--finetune", checkpoint, "--train.crop_seconds", 0.2)
    words = (*words, "--train.batch_size", 8, "--train.epochs", 1)
    done = succeeds(scripts.run(TRAIN, *words, cwd=folder))
    assert f"fine-tuning {checkpoint}: the loss keeps its rows for 2 of 4 speakers" in done.stdout
    assert load_encoder(folder / "tuned/final.pt").config.network == NetworkConfig.from_dict(TINY["lstm"])
    assert "is trained already" in succeeds(scripts.run(TRAIN, *words, cwd=folder)).stdout
    name = scripts.run(TRAIN, "--print-name", "--config", "other.yaml", "--finetune", checkpoint, cwd=folder)
    assert succeeds(name).stdout == "lstm_softmax_finetuned features\n"
    fails(scripts.run(TRAIN, *words, "--model", "xvector", cwd=folder), f"{checkpoint}: has model lstm, not xvector")
    fails(scripts.run(TRAIN, *words[:4], "--finetune", "no.pt", cwd=folder), "no.pt: no such file")
    fails(scripts.run(TRAIN, *words, "--train.freeze", "[LSTM_stak]", cwd=folder), "did you mean 'LSTM_stack'")


def test_a_network_that_takes_waveforms(scripts, tmp_path):
    """It trains, validates and embeds straight from the recordings, whatever features there are."""
    names = write_recordings(tmp_path / "train", utterances=3)
    write_recordings(tmp_path / "valid", utterances=3)
    write_all_trials(tmp_path / "valid")
    training = {**TRAINING, "batch_size": 3, "crop_seconds": 0.25}
    config = {"model": TINY["sinctdnn"], "loss": "softmax", "normalization": "mean", "train": training}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    done = succeeds(scripts.run(TRAIN, "--print-name", "--config", "tiny.yaml", cwd=tmp_path))
    assert done.stdout == "sinctdnn_softmax waveform\n"
    done = succeeds(scripts.run(TRAIN, *WORDS, cwd=tmp_path))
    assert "epoch 2/2" in done.stdout and "validation EER" in done.stdout
    encoder = load_encoder(tmp_path / "exp/final.pt")
    assert encoder.config.front_end == FrontEndConfig("waveform", {"sample_rate": 16000})
    assert yaml.safe_load((tmp_path / "exp/config.yaml").read_text())["normalization"] == "none"

    succeeds(scripts.run("steps/extract_embeddings.py", "train", "exp/final.pt", "out", cwd=tmp_path))
    found = dict(zip(*read_vectors(tmp_path / "out/embedding.scp"), strict=True))
    assert list(found) == names
    for name, wav in read_table(tmp_path / "train/wav.scp").items():
        with torch.inference_mode():
            expected = encoder.model(torch.from_numpy(soundfile.read(wav, dtype="float32")[0])[None])[0]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)

    speakers = (tmp_path / "train/utt2spk").read_text()
    write_features(tmp_path / "train")
    (tmp_path / "train/feature.yaml").write_text("type: fbank\nnum_mel_bins: 8\n")
    (tmp_path / "train/utt2spk").write_text(speakers)
    assert "is trained already" in succeeds(scripts.run(TRAIN, *WORDS, cwd=tmp_path)).stdout
    (tmp_path / "train/utt2dur").write_text("".join(f"{name} 0.5\n" for name in names))
    assert "other data; it is now exp.old1" in succeeds(scripts.run(TRAIN, *WORDS, cwd=tmp_path)).stderr


@pytest.mark.parametrize("name", sorted({*AUGMENTATIONS} - {"masked"}))
def test_what_run_sh_is_told_of_an_augmentation(scripts, tmp_path, name):
    words = ("--config", ROOT / "conf/recipes/demo.yaml", "--augment", ROOT / f"conf/augment/{name}.yaml")
    done = succeeds(scripts.run(TRAIN, "--print-name", *words, cwd=tmp_path))
    assert done.stdout == f"xvector_aamsoftmax features\n{AUGMENTATIONS[name]}\n"


def test_what_is_not_for_waveforms_is_refused(scripts, tmp_path):
    write_recordings(tmp_path / "train")
    config = {"model": TINY["sinctdnn"], "loss": "softmax", "train": {**TRAINING, "batch_size": 3}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "some.yaml").write_text("type: fbank\n")
    words = ("train", "exp", "--config", "tiny.yaml")

    def refused(message, *options):
        fails(scripts.run(TRAIN, *words, *options, cwd=tmp_path), message)

    short = "train.crop_seconds 0.1 is too short, the network needs at least 2646 samples, 0.1654 s"
    refused(short, "--train.crop_seconds", 0.1)
    crops = ("--train.crop_seconds", 0.25)
    refused("normalization 'mean' is for features, and sinctdnn takes waveforms", "--normalization", "mean", *crops)
    refused("sinctdnn takes waveforms; leave --feature some out", "--feature", "some.yaml", *crops)
    (tmp_path / "train.wavs/s1-1.wav").unlink()
    refused("train/wav.scp: 's1-1': ", *crops)
    (tmp_path / "train/wav.scp").unlink()
    refused("train/wav.scp: no such file", *crops)
    assert not (tmp_path / "exp").exists()


def test_two_trainings_in_one_folder_are_refused(scripts, folder):
    (folder / "exp").mkdir()
    with open(folder / "exp/train.log", "a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        done = scripts.run(TRAIN, *WORDS, cwd=folder)
    fails(done, "exp: another training is running in this folder")
    assert sorted(path.name for path in (folder / "exp").iterdir()) == ["train.log"]


def test_front_ends_must_agree(scripts, folder):
    for name, bins in (("train", 24), ("valid", 24), ("other", 25)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "feature.yaml").write_text(f"type: fbank\nnum_mel_bins: {bins}\n")
    other = folder / "other/feature.yaml"
    done = scripts.run(TRAIN, *WORDS, "--feature", other, cwd=folder)
    fails(done, "train/feature.yaml: not the front end of")
    (folder / "valid/feature.yaml").write_text(other.read_text())
    fails(scripts.run(TRAIN, *WORDS, cwd=folder), "valid/feature.yaml: another front end than that of train")
    assert not (folder / "exp").exists()


def test_what_a_run_leaves_that_was_killed_before_its_first_checkpoint_is_used_again(scripts, folder):
    (folder / "exp/tensorboard").mkdir(parents=True)
    (folder / "exp/checkpoints").mkdir()
    (folder / "exp/config.yaml").write_text("model: {name: xvector}\n")
    (folder / "exp/train.log").write_text("")
    (folder / "exp/checkpoints/.last.pt.partial").write_bytes(b"half a checkpoint")
    done = succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    assert done.stderr == ""
    assert sorted(path.name for path in folder.glob("exp*")) == ["exp"]
    assert "name: lstm" in (folder / "exp/config.yaml").read_text()
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_training_is_continued_to_the_last_bit(scripts, folder, number):
    long = ("--train.epochs", 15)
    succeeds(scripts.run(TRAIN, "train", "whole", *WORDS[2:], *long, cwd=folder))
    process = scripts.start(TRAIN, *WORDS, *long, cwd=folder)
    log = folder / "exp/train.log"
    wait_for(lambda: log.exists() and "epoch 2/" in log.read_text(), process)
    process.send(number)
    done = process.wait()
    assert not (folder / "exp/final.pt").exists()
    if number == signal.SIGKILL:
        assert done.returncode == -9
    else:
        assert (done.returncode, done.stderr) == (128 + number, "")
        assert done.stdout.splitlines()[-1] == "interrupted; the same command goes on from here"
    load_encoder(folder / "exp/checkpoints/last.pt")

    done = succeeds(scripts.run(TRAIN, *WORDS, *long, cwd=folder))
    assert done.stdout.splitlines()[1].startswith("continuing after epoch ")
    assert_same_weights(folder / "exp/final.pt", folder / "whole/final.pt")
    assert_same_weights(folder / "exp/checkpoints/best.pt", folder / "whole/checkpoints/best.pt")
    assert sorted(path.name for path in folder.glob("exp*")) == ["exp"]


def test_names_of_experiments(scripts, folder):
    name = ("--print-name", "--config", "tiny.yaml")
    assert scripts.run(TRAIN, *name, cwd=folder).stdout == "lstm_softmax features\n"
    options = ("--loss", "ge2e", "--train.epochs=9")
    assert scripts.run(TRAIN, *options, *name, cwd=folder).stdout == "lstm_ge2e_train.epochs9 features\n"
    fails(scripts.run(TRAIN, "--loss", "gee", *name, cwd=folder), "unknown loss 'gee' (did you mean 'ge2e'?)")


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--los", "ge2e"], "unknown option '--los' (did you mean '--loss'?)", 2),
        (["--loss.margin"], "option '--loss.margin' needs a value", 2),
        (["--loss", "--train.epochs", "3"], "option '--loss' needs a value", 2),
        (["--valdi", "valid"], "unknown option '--valdi' (did you mean '--valid'?)", 2),
        (["--trian.epochs", "3"], "unknown option '--trian.epochs'", 2),
        (["another"], "unexpected argument 'another'", 2),
        (["--loss", "aamsofmax"], "unknown loss 'aamsofmax' (did you mean 'aamsoftmax'?)", 1),
        (["--train.epoch", "3"], "unknown option 'epoch' of train (did you mean 'epochs'?)", 1),
        (["--train.epochs", "some"], "'some' is not of type int", 1),
        (["--model.hidden_size", "[3"], "'[3' is neither a plain value nor a list", 1),
        (["--train.learning_rate", "nan"], "nan is not a finite number", 1),
        (["--device", "tpu"], "unknown device 'tpu'", 1),
        (["--config", "none.yaml"], "none.yaml: No such file", 1),
        (["--valid", "none"], "none: no such data directory", 1),
        (["--train.batch_size", "25"], "24 training utterances do not fill a batch", 1),
        (["--loss", "ge2e", "--train.batch_size", "20"], "batches of 5 speakers x 4 utterances need 5 speakers", 1),
    ],
)
def test_mistakes_are_refused_before_training(scripts, folder, options, message, status):
    fails(scripts.run(TRAIN, *WORDS, *options, cwd=folder), message, status)
    assert not (folder / "exp/checkpoints").exists()


def test_bad_data_are_refused(scripts, folder):
    def refused(message, *words):
        fails(scripts.run(TRAIN, *(words or WORDS), cwd=folder), message)

    refused("none: no such data directory", "none", "exp")
    fails(scripts.run(TRAIN, "train", cwd=folder), "needs the training set and the folder of the experiment", 2)
    (folder / "a_file").write_text("")
    refused("a_file", "train", "a_file", "--config", "tiny.yaml")
    (folder / "train/feature.yaml").write_text("type: fbank\nnum_mel_bins: 40\n")
    refused("the front end gives 40 dimensions, the features have 8")
    (folder / "train/feature.yaml").unlink()
    (folder / "valid/trials").write_text("s4-0 s4-1 yes\n")
    refused("valid/trials:1: ")
    write_all_trials(folder / "valid")
    archive = next(iter(read_table(folder / "train/feats.scp").values())).rsplit(":", 1)[0]
    with open(archive, "r+b") as file:
        file.truncate(5000)
    refused("the archive is truncated")
    (folder / "train/feats.scp").unlink()
    refused("feats.scp: no such file; run stage 1")
    assert not (folder / "exp/checkpoints").exists()


def test_a_damaged_checkpoint_is_named(scripts, folder):
    (folder / "exp/checkpoints").mkdir(parents=True)
    (folder / "exp/checkpoints/last.pt").write_bytes(b"damaged")
    fails(scripts.run(TRAIN, *WORDS, cwd=folder), "exp/checkpoints/last.pt: not readable as a checkpoint")


def test_a_diverging_training_is_one_line(scripts, folder):
    done = scripts.run(
        TRAIN, *WORDS, "--train.learning_rate", 1e30, "--train.clip_norm", 0, "--train.epochs", 9, cwd=folder
    )
    fails(done, "try a smaller train.learning_rate")
    assert not (folder / "exp/final.pt").exists()


def test_a_full_disk(scripts, folder):
    """Whatever does not fit any more, the run ends with one line and goes on when there is room again."""
    succeeds(scripts.run(TRAIN, "train", "whole", *WORDS[2:], cwd=folder))
    for size in (100, 4000, 16000):
        done = scripts.run(TRAIN, *WORDS, cwd=folder, largest_file=size)
        fails(done, "File too large; nothing half-written was kept")
        assert not (folder / "exp/final.pt").exists()
        assert not list(folder.rglob("*.partial"))
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    assert_same_weights(folder / "exp/final.pt", folder / "whole/final.pt")
    assert sorted(path.name for path in folder.glob("exp*")) == ["exp"]


def test_other_features_under_the_same_names_are_other_data(scripts, tmp_path):
    """As of anonymised recordings, which replace the originals: the tables are equal to the last byte."""
    names = write_recordings(tmp_path / "train", utterances=4)
    (tmp_path / "fbank.yaml").write_text("type: fbank\nnum_mel_bins: 8\n")
    config = {"model": TINY["lstm"], "loss": "softmax", "train": {**TRAINING, "epochs": 4}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    words, stage_1 = ("train", "exp", "--config", "tiny.yaml"), ("train", "--config", "fbank.yaml")

    def train():
        succeeds(scripts.run("steps/make_fbank.py", *stage_1, cwd=tmp_path))
        return succeeds(scripts.run(TRAIN, *words, cwd=tmp_path))

    train()
    first, table = weights(tmp_path / "exp/final.pt"), (tmp_path / "train/feats.scp").read_text()
    assert "is trained already" in train().stdout  # stage 1 made the same again
    rng = np.random.default_rng(1)
    for name in names:
        wav = tmp_path / f"train.wavs/{name}.wav"
        soundfile.write(wav, 0.1 * rng.standard_normal(soundfile.info(wav).frames), 16000)
    assert "other data; it is now exp.old1" in train().stderr
    assert (tmp_path / "train/feats.scp").read_text() == table
    assert not all(torch.equal(value, first[name]) for name, value in weights(tmp_path / "exp/final.pt").items())
    # Neither does an unfinished training go on over them.
    (tmp_path / "exp/final.pt").unlink()
    for name in names[:1]:
        wav = tmp_path / f"train.wavs/{name}.wav"
        soundfile.write(wav, 0.1 * rng.standard_normal(soundfile.info(wav).frames), 16000)
    done = train()
    assert "it is now exp.old2" in done.stderr and "continuing" not in done.stdout


def test_recordings_that_changed_in_place_are_other_data_for_waveforms(scripts, tmp_path):
    names = write_recordings(tmp_path / "train", utterances=3)
    training = {**TRAINING, "batch_size": 3, "crop_seconds": 0.25, "epochs": 1}
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({"model": TINY["sinctdnn"], "loss": "softmax", "train": training})
    )
    words = ("train", "exp", "--config", "tiny.yaml")
    succeeds(scripts.run(TRAIN, *words, cwd=tmp_path))
    assert "is trained already" in succeeds(scripts.run(TRAIN, *words, cwd=tmp_path)).stdout
    wav = tmp_path / f"train.wavs/{names[0]}.wav"
    soundfile.write(wav, soundfile.read(wav)[0][::-1], 16000)
    assert "other data; it is now exp.old1" in succeeds(scripts.run(TRAIN, *words, cwd=tmp_path)).stderr


def test_noisy_copies_of_features_that_are_no_more_are_refused(scripts, folder):
    """Stage 1 was run again over other recordings, and stage 2 forgotten."""
    write_record(folder / "train/feats.scp", "stage 2", [folder / "valid/feats.scp"])
    succeeds(scripts.run(TRAIN, *WORDS, "--train.epochs", 1, cwd=folder))
    write_features(folder / "valid", speakers=range(4, 8), utterances=range(3))  # now later than the copies
    message = "valid/feats.scp has changed since this was made from it; run stage 2"
    fails(scripts.run(TRAIN, *WORDS, cwd=folder), message)


def test_a_model_tells_what_made_it(scripts, folder):
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    record = json.loads((folder / "exp/provenance.json").read_text())
    assert load_torch(folder / "exp/final.pt")["provenance"] == record
    assert record["command"][1:] == list(WORDS)
    assert record["configuration"] == yaml.safe_load((folder / "exp/config.yaml").read_text())
    assert record["versions"]["torch"] == torch.__version__ and record["date"] and record["git"]
    frames = sum(map(int, read_table(folder / "train/utt2num_frames").values()))
    train, valid = record["data"]["train"], record["data"]["valid"]
    assert (train["speakers"], train["utterances"], train["hours"]) == (4, 24, round(frames / 100 / 3600, 3))
    assert valid["utterances"] == 12 and len({train["digest"], valid["digest"]}) == 2
    log = (folder / "exp/train.log").read_text()
    for epoch in record["history"]:
        assert f"epoch {epoch['epoch']}/2: loss {epoch['loss']:.4f}" in log
        assert f"validation EER {100 * epoch['eer']:.2f} %" in log
    assert record["validation_eer"] == min(epoch["eer"] for epoch in record["history"])


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_a_final_model_that_is_none_is_written_again(scripts, folder, content):
    """From the best epoch; without its file, from the last one."""
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    final, first = folder / "exp/final.pt", weights(folder / "exp/final.pt")
    if content is None:
        final.unlink()
        (folder / "exp/checkpoints/best.pt").unlink()
    else:
        final.write_bytes(content)
    done = succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    expected = load_torch(folder / "exp/checkpoints/last.pt")["encoder"]["weights"] if content is None else first
    assert all(torch.equal(value, expected[name]) for name, value in weights(final).items())
    if content is None:
        assert (
            "best.pt: is missing or damaged" in done.stdout and "epochs before 2 can no longer be chosen" in done.stdout
        )
    else:
        assert "exp/final.pt: is no model; it is written anew from the checkpoints" in done.stderr
    assert not (folder / "exp.old1").exists()
    assert "is trained already" in succeeds(scripts.run(TRAIN, *WORDS, cwd=folder)).stdout


def test_a_finished_training_needs_no_checkpoints(scripts, folder):
    succeeds(scripts.run(TRAIN, *WORDS, cwd=folder))
    shutil.rmtree(folder / "exp/checkpoints")
    assert "is trained already" in succeeds(scripts.run(TRAIN, *WORDS, cwd=folder)).stdout


def test_the_configuration_of_an_experiment_asks_for_its_features(scripts, folder):
    (folder / "train/feature.yaml").write_text("type: fbank\nnum_mel_bins: 8\n")
    succeeds(scripts.run(TRAIN, *WORDS, "--train.epochs", 1, cwd=folder))
    words = ("train", "again", "--config", "exp/config.yaml")
    succeeds(scripts.run(TRAIN, *words, cwd=folder))
    (folder / "train/feature.yaml").write_text("type: fbank\nnum_mel_bins: 8\nlow_freq: 50\n")
    fails(scripts.run(TRAIN, *words, cwd=folder), "train/feature.yaml: not the front end of exp/config.yaml")
    assert "--loss" in succeeds(scripts.run(TRAIN, "--help", *words[2:], cwd=folder)).stdout


def test_short_memory_is_one_line_that_says_what_to_make_smaller(scripts, folder):
    words = (TRAIN, *WORDS, "--train.crop_seconds", 10**9, "--train.epochs", 1)
    fails(scripts.run(*words, cwd=folder), "make train.batch_size (8) or train.crop_seconds (1e+09) smaller")
