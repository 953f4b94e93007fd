"""The recipe as its users run it: all stages on a tiny demo corpus, then other losses, stages and corpora."""

import json
import shutil

import pytest
from recipe import copy_project, run

TINY = [
    "--model.channels",
    "[8,8,8,8,16]",
    "--train.epochs",
    "2",
    "--train.batch_size",
    "8",
    "--train.crop_frames",
    "80",
]
TINY_CORPUS = ["--speakers", "8,3,4", "--sessions", "2", "--utterances", "2"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("with blank") / "vouch")


@pytest.fixture(scope="module")
def walked(clone):
    """All stages on the tiny corpus, split into two jobs."""
    return run(clone, *TINY_CORPUS, *TINY, "--name", "first", "--nj", "2")


def test_one_command_ends_with_a_table(clone, walked):
    assert [f"stage {number}:" in walked.stdout for number in range(8)] == [True] * 8
    assert "EER" in walked.stdout and "minDCF" in walked.stdout and "DET plot" in walked.stdout
    exp = clone / "egs/demo/exp/first"
    for name in ("final.pt", "config.yaml", "train.log", "embeddings/test/embedding.scp", "scores/test_trials.txt"):
        assert (exp / name).stat().st_size
    assert list((exp / "tensorboard").iterdir())
    for stem in ("test_trials", "test_trials_asnorm"):
        result = json.loads((exp / f"results/{stem}.json").read_text())
        low, high = result["eer_interval"]["low_percent"], result["eer_interval"]["high_percent"]
        assert 0 <= low <= result["eer"]["percent"] <= high <= 100
        assert (exp / f"results/{stem}_det.png").read_bytes().startswith(b"\x89PNG")
    assert not (clone / ".venv").exists()
    assert not list(clone.glob("egs/demo/**/.*.partial")) and not list(clone.glob("egs/demo/**/*.work-*"))


@pytest.mark.parametrize("loss", ["softmax", "ge2e"])
def test_another_loss_starts_at_stage_3(clone, walked, loss):
    run(clone, "--stage", "3", "--loss", loss, *TINY)
    names = {path.name for path in (clone / "egs/demo/exp").iterdir()}
    assert "first" in names
    assert sum(name.startswith(f"xvector_{loss}_") for name in names) == 1


@pytest.mark.parametrize(
    "model", [["resnetse34l", "--model.channels", "[8,8,8,8]"], ["lstm", "--model.hidden_size", "16"]]
)
def test_another_model(clone, walked, model):
    run(clone, "--stage", "3", "--stop-stage", "4", "--model", *model, "--name", model[0], *TINY[2:])
    assert (clone / f"egs/demo/exp/{model[0]}/final.pt").exists()


def test_a_network_that_takes_waveforms(clone, walked):
    """The features and noisy copies of another network are there; they are neither needed nor in the way."""
    tiny = ["--model.out_channels", "[8,8,8]", "--model.tdnn_channels", "[8,8,8,8,16]", "--train.batch_size", "8"]
    short = ["--train.epochs", "1", "--train.crop_frames", "4000"]
    done = run(clone, "--stage", "1", "--model", "sinctdnn", "--name", "waves", *tiny, *short)
    assert "no features: the network takes waveforms, straight from the recordings" in done.stdout
    assert "no augmentation: noisy copies are features, and the network takes waveforms" in done.stdout
    assert "DET plot" in done.stdout
    assert "type: waveform" not in (clone / "egs/demo/data/train/feature.yaml").read_text()
    done = run(clone, "--dry-run", "--model", "sinctdnn", "--train.crop_frames", "32000")
    assert "/make_fbank.py" not in done.stdout and "train_aug" not in done.stdout


def test_single_stages_run_again(clone, walked):
    scores = clone / "egs/demo/exp/first/scores/test_trials.txt"
    before = scores.read_text()
    scores.unlink()
    done = run(clone, "--stage", "5", "--stop-stage", "5", "--name", "first")
    assert scores.read_text() == before
    assert "stage 5" in done.stdout and "stage 6" not in done.stdout and "stage 4" not in done.stdout


def test_a_hand_made_corpus_needs_nothing_elsewhere(clone, walked):
    demo, mine = clone / "egs/demo/data", clone / "egs/mine/data"
    for name in ("train", "test"):
        (mine / name).mkdir(parents=True)
        for table in ("wav.scp", "utt2spk"):
            shutil.copy(demo / name / table, mine / name / table)
    shutil.copy(demo / "test/trials", mine / "test/trials")
    shutil.copy(demo / "test/trials", mine / "test/trials_again")
    done = run(clone, "--corpus", "mine", "--stage", "1", "--model", "xvector", *TINY)
    assert done.stdout.count("DET plot") == 2
    # Replacing a set by hand and starting at stage 1 is noticed: the old experiment is kept beside the new one.
    lines = (mine / "train/utt2spk").read_text().splitlines()[:-4]
    (mine / "train/utt2spk").write_text("\n".join(lines) + "\n")
    kept = {line.split()[0] for line in lines}
    wavs = [line for line in (mine / "train/wav.scp").read_text().splitlines() if line.split()[0] in kept]
    (mine / "train/wav.scp").write_text("\n".join(wavs) + "\n")
    done = run(clone, "--corpus", "mine", "--stage", "1", "--model", "xvector", *TINY)
    assert "is now" in done.stderr
    assert len(list((clone / "egs/mine/exp").iterdir())) == 2


def test_it_runs_from_another_directory_with_relative_paths(clone, walked, tmp_path):
    speakers = tmp_path / "my speakers"
    for line in (clone / "egs/demo/data/train/wav.scp").read_text().splitlines():
        utterance, path = line.split(maxsplit=1)
        speaker, session, _ = utterance.split("-")
        (speakers / speaker / session).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, speakers / speaker / session)
    done = run(clone, "--corpus", "folders", "--root", "my speakers", "--stop-stage", "1", cwd=tmp_path)
    assert "features of" in done.stdout


def test_dry_run_prints_the_commands_and_does_nothing(clone):
    before = sorted(path for path in clone.rglob("*") if "__pycache__" not in path.parts)
    done = run(
        clone, "--dry-run", "--loss", "ge2e", "--train.epochs", "3", "--corpus", "folders", "--root", "some where"
    )
    for script in ("prepare_folders", "make_fbank", "train", "extract_embeddings", "score_trials", "compute_metrics"):
        assert f"/{script}.py" in done.stdout
    assert "--root some\\ where" in done.stdout
    assert sorted(path for path in clone.rglob("*") if "__pycache__" not in path.parts) == before


def test_help_has_the_stage_table(clone):
    done = run(clone, "--help")
    assert all(f"    {number}    " in done.stdout for number in range(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--los", "ge2e"], "unknown option '--los' (did you mean '--loss'?)"),
        (["--loss", "aamsoftmx"], "unknown loss 'aamsoftmx' (did you mean 'aamsoftmax'?)"),
        (["--model", "resnetse43l"], "unknown model 'resnetse43l' (did you mean 'resnetse34l'?)"),
        (["--corpus", "folder"], "unknown corpus 'folder' (did you mean 'folders'?)"),
        (["--recipe", "dem"], "did you mean 'demo'?"),
        (["--feature", "fbank4"], "did you mean 'fbank40'?"),
        (["--loss.margn", "0.3"], "unknown option 'margn' of loss 'aamsoftmax' (did you mean 'margin'?)"),
        (["--train.epocs", "3"], "unknown option 'epocs' of train (did you mean 'epochs'?)"),
        (["--model.channels", "[8,8]"], "channels must be five positive numbers"),
        (["--norm", "asnrm"], "did you mean 'asnorm'?"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--device", "cuda:x"], "unknown device 'cuda:x' (did you mean 'cuda'?)"),
        (["--stage", "three"], "--stage needs a number"),
        (["--stage", "9"], "stages are 0 to 7"),
        (["--stage", "4", "--stop-stage", "2"], "stages are 0 to 7"),
        (["--model", "rawnet3"], "train.crop_frames 150 is below the network's minimum 541; it counts samples here"),
        (["--model", "rawnet3", "--normalization", "mean"], "normalization 'mean' is for features"),
        (["--loss"], "option '--loss' needs a value"),
        (["--loss", "--model"], "option '--loss' needs a value"),
        (["demo"], "unexpected argument 'demo'"),
        (["--musan", "/no/such/folder"], "no such folder"),
        (["--nj", "0"], "--nj"),
    ],
)
def test_a_mistake_is_one_line_before_any_stage(clone, options, message):
    done = run(clone, *options, status=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr and "stage 0" not in done.stdout
