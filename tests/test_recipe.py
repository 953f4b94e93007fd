"""The recipe as its users run it: all stages on a tiny demo corpus, then other losses, stages and corpora."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from recipe import ROOT, copy_project, environment, replace_training, run

from vouch.losses import LOSSES
from vouch.models import MODELS

TINY = [
    "--model.channels",
    "[8,8,8,8,16]",
    "--train.epochs",
    "2",
    "--train.batch_size",
    "8",
    "--train.crop_seconds",
    "0.8",
]
TINY_CORPUS = ["--speakers", "8,3,4", "--sessions", "2", "--utterances", "2"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("with blank") / "vouch")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The project with a stage 3 that can be asked at once, for what run.sh does by itself."""
    return replace_training(copy_project(tmp_path_factory.mktemp("quick one") / "vouch"))


@pytest.fixture(scope="module")
def walked(clone):
    """All stages on the tiny corpus, split into two jobs, each script in a Python of its own."""
    return run(clone, *TINY_CORPUS, *TINY, "--name", "first", "--nj", "2", fresh=True)


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
    """The features of another network are there, not needed and not in the way; the noisy copies get audio."""
    tiny = ["--model.out_channels", "[8,8,8]", "--model.tdnn_channels", "[8,8,8,8,16]", "--train.batch_size", "8"]
    short = ["--train.epochs", "1", "--train.crop_seconds", "0.25"]
    done = run(clone, "--stage", "1", "--model", "sinctdnn", "--name", "waves", *tiny, *short)
    assert "no features: the network takes waveforms, straight from the recordings" in done.stdout
    assert "data/bank: is the bank of these recordings already" in done.stdout
    copied = (clone / "egs/demo/data/train_aug/wav.scp").read_text().splitlines()
    assert len(copied) == 2 * len((clone / "egs/demo/data/train/wav.scp").read_text().splitlines())
    assert "DET plot" in done.stdout
    assert "type: waveform" not in (clone / "egs/demo/data/train/feature.yaml").read_text()
    done = run(clone, "--dry-run", "--model", "sinctdnn", "--train.crop_seconds", "2")
    assert "/make_fbank.py" not in done.stdout and "/train_aug " in done.stdout


def test_changes_in_stage_3_need_no_copies(clone, walked):
    done = run(clone, "--stage", "2", "--stop-stage", "3", "--augment", "pyannote", "--name", "online", *TINY)
    assert "no copies: stage 3 changes each batch anew (--augment pyannote)" in done.stdout
    assert (clone / "egs/demo/exp/online/final.pt").exists()


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
    assert "/exp/resnetse34l_ge2e_train.epochs3 " in done.stdout
    assert sorted(path for path in clone.rglob("*") if "__pycache__" not in path.parts) == before


def commands(done):
    """The words of each command that a dry run prints."""
    return [shlex.split(line) for line in done.stdout.splitlines() if line.startswith(" ")]


def test_an_equals_sign_stands_for_the_blank(quick):
    words = ["--corpus=folders", "--root=some where", "--train.epochs=3", "--nj=2", "--feature=fbank80", "--loss=ge2e"]
    blank = [word for pair in words for word in pair.split("=")]
    assert commands(run(quick, "--dry-run", *words)) == commands(run(quick, "--dry-run", *blank))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "xvector_aamsoftmax"),
        # What is so anyway, whichever way it is said.
        (["--recipe", "demo", "--feature=fbank40"], "xvector_aamsoftmax"),
        (["--feature", "fbank80"], "xvector_aamsoftmax_fbank80"),
        (["--augment", "noise"], "xvector_aamsoftmax"),
        (["--augment", "pyannote"], "xvector_aamsoftmax_pyannote"),
        (["--augment", "none"], "xvector_aamsoftmax_none"),
        (["--musan", ""], "xvector_aamsoftmax_none"),
        (["--augment", "voxceleb_trainer", "--rirs", "egs"], "xvector_aamsoftmax_voxceleb_trainer"),
        (["--recipe", "folders"], "xvector_aamsoftmax_folders"),
        (["--recipe=sinctdnn"], "sinctdnn_aamsoftmax_sinctdnn"),
        (["--recipe=sinctdnn", "--musan="], "sinctdnn_aamsoftmax_sinctdnn_none"),
    ],
)
def test_the_folder_is_called_after_what_differs_from_the_defaults(quick, options, name):
    (train,) = (words for words in commands(run(quick, "--dry-run", *options)) if words[0] == "steps/train.py")
    assert train[2] == f"egs/demo/exp/{name}"


def words_of(quick, script, *options):
    """The arguments of a script in a dry run; None when it is not run."""
    found = [words[1:] for words in commands(run(quick, "--dry-run", *options)) if words[0] == f"steps/{script}.py"]
    return found[0] if found else None


def test_copies_are_made_in_stage_2_or_changes_in_stage_3(quick):
    noise = ["--augment", "conf/augment/noise.yaml", "--bank", "egs/demo/data/bank"]
    folders = ["--musan", "egs/demo/data/musan", "--sample-rate", "16000"]
    assert words_of(quick, "make_bank") == ["egs/demo/data/bank", *folders]
    sets = ["egs/demo/data/train", "egs/demo/data/train_aug"]
    assert words_of(quick, "augment_data") == [*sets, *noise, "--nj", "1"]
    assert words_of(quick, "augment_data", "--recipe", "sinctdnn") == [*sets, *noise, "--write-audio", "--nj", "1"]
    train = words_of(quick, "train")
    assert train[0] == sets[1] and train[train.index("--augment") + 1] == noise[1] and "--bank" not in train

    online = ("--augment", "wespeaker", "--rirs", "egs")
    assert words_of(quick, "augment_data", *online) is None
    assert words_of(quick, "make_bank", *online) == ["egs/demo/data/bank", *folders[:2], "--rirs", "egs", *folders[2:]]
    train = words_of(quick, "train", *online)
    at = train.index("--augment")
    assert train[0] == sets[0]
    assert train[at : at + 4] == ["--augment", "conf/augment/wespeaker.yaml", "--bank", "egs/demo/data/bank"]

    for script in ("make_bank", "augment_data"):
        assert words_of(quick, script, "--augment", "none") is None
    train = words_of(quick, "train", "--augment", "none")
    assert train[0] == sets[0] and "--augment" not in train


def test_masks_beside_copies_are_for_stage_3(quick):
    preset = quick / "conf/augment/masked.yaml"
    preset.write_text((quick / "conf/augment/noise.yaml").read_text() + "features: {time_masks: 2}\n")
    try:
        assert words_of(quick, "augment_data", "--augment", "masked")[3] == "conf/augment/masked.yaml"
        train = words_of(quick, "train", "--augment", "masked")
        assert train[0] == "egs/demo/data/train_aug" and "--bank" not in train
        assert train[train.index("--augment") + 1] == "conf/augment/masked.yaml"
    finally:
        preset.unlink()


def test_a_corpus_may_say_its_augmentation(quick):
    corpus = quick / "egs/roomy/corpus.sh"
    corpus.parent.mkdir(exist_ok=True)
    corpus.write_text("prepare=local/prepare_demo.py\nrecipe=demo\naugment=kaldi\nmusan=noises\nrirs=rooms\n")
    assert words_of(quick, "make_bank", "--corpus", "roomy")[1:5] == ["--musan", "noises", "--rirs", "rooms"]
    assert words_of(quick, "train", "--corpus", "roomy")[1] == "egs/roomy/exp/xvector_aamsoftmax"
    train = words_of(quick, "train", "--corpus", "roomy", "--augment", "noise")
    assert train[1] == "egs/roomy/exp/xvector_aamsoftmax_noise"


def test_the_features_that_run_sh_asks_for_are_those_it_trains_on(quick):
    """The default ones as well: those of another run may lie there still."""
    for options, feature in (([], "fbank40"), (["--feature", "fbank80"], "fbank80")):
        (train,) = (w for w in commands(run(quick, "--dry-run", *options)) if w[0] == "steps/train.py")
        assert train[train.index("--feature") + 1] == f"conf/features/{feature}.yaml"
    (train,) = (w for w in commands(run(quick, "--dry-run", "--recipe", "sinctdnn")) if w[0] == "steps/train.py")
    assert "--feature" not in train


def test_only_trial_lists_are_taken_for_trial_lists(quick):
    """Copies that editors and people leave beside them are named, and scored by nobody."""
    test = quick / "egs/copies/data/test"
    test.mkdir(parents=True)
    for name in ("trials", "trials_hard-2", "trials~", "trials.bak", "trials_old.txt", "trials#1", "trialsfoo"):
        (test / name).write_text("a b target\n")
    done = run(quick, "--corpus", "copies", "--dry-run", "--stage", "5")
    assert [words[1] for words in commands(done) if words[0] == "steps/score_trials.py"] == [
        f"egs/copies/data/test/{name}" for name in ("trials", "trials_hard-2")
    ]
    told = [line.split()[1] for line in done.stderr.splitlines() if "is not used as a trial list" in line]
    assert sorted(told) == sorted(
        f"egs/copies/data/test/{name}" for name in ("trials~", "trials.bak", "trials_old.txt", "trials#1", "trialsfoo")
    )
    (test / "trials_asnorm").write_text("a b target\n")
    done = run(quick, "--corpus", "copies", "--dry-run", "--stage", "5", status=1)
    assert "the normalised scores of trials are called so too" in done.stderr


def test_it_runs_through_a_link_and_with_cdpath(quick, tmp_path):
    """People link scripts into their folders, and export CDPATH for their shells."""
    (tmp_path / "walk").symlink_to(quick / "run.sh")
    linked = subprocess.run(
        ["./walk", "--dry-run", "--stop-stage", "0"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert linked.returncode == 0 and linked.stderr == ""
    assert commands(linked) == [[f"{quick}/local/prepare_demo.py", f"{quick}/egs/demo/data"]]
    # From the folder above, without ./ before the name.
    for line in (
        f"{quick.name}/run.sh --dry-run --stop-stage 0 && exit",
        f'. {quick.name}/path.sh && [ "$PYTHONPATH" = "$PWD/{quick.name}/src" ] && exit',
    ):
        environment_with = {**environment(), "CDPATH": f".:{tmp_path}"}
        environment_with.pop("PYTHONPATH", None)
        done = subprocess.run(
            ["bash", "-c", line], cwd=quick.parent, env=environment_with, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert not (quick / ".venv").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--help"]])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_an_output_that_cannot_be_written_is_an_error(quick, options, redirection):
    """A stage that could not be announced was taken for one that was not asked for."""
    done = subprocess.run(
        ["bash", "-c", f'./run.sh "$@" {redirection}', "x", *options],
        cwd=quick,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ("run.sh: error: the standard output cannot be written to; is it closed, or a disk full?\n")


def test_run_sh_names_no_network_and_no_loss():
    """It would have to be edited with each new one; where they are listed is in its help."""
    words = set(re.findall(r"[a-z0-9_]+", (ROOT / "run.sh").read_text()))
    assert not words & {*MODELS, *LOSSES}


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
        (["--device", "gpu"], "unknown device 'gpu' (did you mean 'cuda'?)"),
        (["--device", "cuda:x"], "unknown device 'cuda:x' (did you mean 'cuda:1'?)"),
        (["--stage", "three"], "--stage needs a number"),
        (["--stage", "9"], "stages are 0 to 7"),
        (["--stage", "4", "--stop-stage", "2"], "stages are 0 to 7"),
        (
            ["--model", "rawnet3", "--train.crop_seconds", "0.03"],
            "needs at least 541 samples, 0.0339 s",
        ),
        (["--model", "rawnet3", "--normalization", "mean"], "normalization 'mean' is for features"),
        (["--loss"], "option '--loss' needs a value"),
        (["--loss", "--model"], "option '--loss' needs a value"),
        (["demo"], "unexpected argument 'demo'"),
        (["--musan", "/no/such/folder"], "no such folder"),
        (["--rirs", "/no/such/folder"], "no such folder"),
        (["--augment", "kald"], "unknown augmentation 'kald' (did you mean 'kaldi'?)"),
        (["--augment", "kaldi"], "takes responses of rooms; give a folder of them: --rirs DIR"),
        (["--augment", "noise", "--musan", ""], "takes recordings of music; give a folder of noises: --musan DIR"),
        (["--musan", "egs"], "takes recordings of music, and there is no egs/music"),
        (["--rirs", "egs"], "--augment noise takes no rooms"),
        (["--nj", "0"], "--nj"),
        (["--name", "../elsewhere"], "give the name of a folder, without slashes"),
        (["--train.crop_frames", "150"], "it is 'crop_seconds' now, in seconds"),
        # What only looks like an option of the recipe.
        (["--train", "5"], "unknown option '--train' (did you mean '--train.epochs'?)"),
        (["--norm.method", "none"], "unknown option '--norm.method' (did you mean '--norm'?)"),
        (["--nj.x", "4"], "unknown option '--nj.x' (did you mean '--nj'?)"),
        (["--finetune.rate", "0.1"], "unknown option '--finetune.rate' (did you mean '--finetune'?)"),
        (["--seed.x", "1"], "unknown option '--seed.x' (did you mean '--seed'?)"),
        (["--modl.channels", "[8]"], "unknown option '--modl.channels' (did you mean '--model.channels'?)"),
        (["--normalization.x=mean"], "did you mean '--normalization'?"),
        (["--los=ge2e"], "unknown option '--los' (did you mean '--loss'?)"),
        (["--corpus=folder"], "unknown corpus 'folder' (did you mean 'folders'?)"),
        (["--train.epochs=x"], "option 'epochs' of train: 'x' is not of type int"),
        (["--name", "x" * 244], "is too long (200 characters); choose one with --name"),
    ],
)
def test_a_mistake_is_one_line_before_any_stage(clone, options, message):
    done = run(clone, *options, status=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr and "stage 0" not in done.stdout
