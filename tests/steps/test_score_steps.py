"""Stages 5 to 7 as a user runs them, with good and with bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from processes import Done, fails

from vouch.evaluation.metrics import equal_error_rate
from vouch.evaluation.result import PRIORS
from vouch.kaldi.matrices.writing import open_ark

STEPS = Path(__file__).parents[2] / "steps"
IDS = [f"s{speaker}-{utterance}" for speaker in range(6) for utterance in range(4)]
COHORT = [f"c{speaker}-{utterance}" for speaker in range(5) for utterance in range(2)]


def write_embeddings(folder: Path, name: str, embeddings: dict[str, np.ndarray]) -> Path:
    with open_ark(folder / f"{name}.ark", folder / f"{name}.scp") as ark:
        for key, embedding in embeddings.items():
            ark.write(key, embedding)
    return folder / f"{name}.scp"


def speakers(seed: int, ids: list[str]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    voices = {name.split("-")[0]: rng.standard_normal(8) for name in ids}
    return {name: (voices[name.split("-")[0]] + 0.8 * rng.standard_normal(8)) * rng.uniform(1, 9) for name in ids}


@pytest.fixture
def data(tmp_path):
    """A folder with embeddings, a cohort of 5 speakers with 2 utterances each, and all pairs as trials."""
    write_embeddings(tmp_path, "test", speakers(0, IDS))
    write_embeddings(tmp_path, "cohort", speakers(1, COHORT))
    (tmp_path / "cohort_utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in COHORT))
    pairs = [(a, b) for row, a in enumerate(IDS) for b in IDS[:row]]
    lines = [f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs]
    (tmp_path / "trials").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def step(scripts):
    """Run a step in a folder."""

    def run(name: str, *arguments: object, cwd: Path, **options: object) -> Done:
        return scripts.run(f"steps/{name}.py", *arguments, cwd=cwd, **options)

    return run


def interpret(
    name: str, *arguments: object, cwd: Path, piped: str | None = None, **environment: str
) -> CompletedProcess:
    """Run a step in a Python of its own, which has imported nothing."""
    command = [sys.executable, str(STEPS / f"{name}.py"), *map(str, arguments)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "",
        **environment,
    }
    return subprocess.run(command, cwd=cwd, env=environment, input=piped, capture_output=True, text=True, check=False)


def read_scores(path: Path) -> dict[tuple[str, str], float]:
    return {(a, b): float(score) for a, b, score in map(str.split, path.read_text().splitlines())}


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_from_embeddings_to_results(step, data):
    assert step("score_trials", "trials", "test.scp", "scores/t.txt", cwd=data).returncode == 0
    scores = read_scores(data / "scores/t.txt")
    embeddings = {name: unit(vector) for name, vector in speakers(0, IDS).items()}
    assert list(scores) == [tuple(line.split()[:2]) for line in (data / "trials").read_text().splitlines()]
    assert list(scores.values()) == pytest.approx([embeddings[a] @ embeddings[b] for a, b in scores], abs=1e-6)

    arguments = ("scores/t.txt", "test.scp", "cohort.scp", "scores/t_asnorm.txt", "--cohort-utt2spk", "cohort_utt2spk")
    done = step("normalize_scores", *arguments, "--top-n", 3, cwd=data)
    assert done.returncode == 0, done.stderr
    assert "3 of 5 cohort members" in done.stdout
    for number, used in (("auto:3", 3), ("auto:6", 5), ("auto", 5)):
        others = (*arguments[:3], f"scores/{number}.txt", *arguments[4:])
        assert f"{used} of 5 cohort members" in step("normalize_scores", *others, "--top-n", number, cwd=data).stdout
    assert (data / "scores/auto:3.txt").read_bytes() == (data / "scores/t_asnorm.txt").read_bytes()
    cohort = [unit(vector) for vector in speakers(1, COHORT).values()]
    members = [unit(cohort[row] + cohort[row + 1]) for row in range(0, 10, 2)]

    def side(name: str, score: float) -> float:
        highest = sorted(embeddings[name] @ member for member in members)[-3:]
        return (score - np.mean(highest)) / np.std(highest)

    expected = [(side(a, score) + side(b, score)) / 2 for (a, b), score in scores.items()]
    assert list(read_scores(data / "scores/t_asnorm.txt").values()) == pytest.approx(expected, rel=1e-4, abs=1e-4)

    done = step("compute_metrics", "trials", "scores/t.txt", "scores/t_asnorm.txt", "results", cwd=data)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "results/t_det.all.png" in done.stdout
    endings = [f"{stem}{end}" for stem in ("t", "t_asnorm") for end in (".json", ".txt", "_det.png", "_hist.png")]
    assert {path.name for path in (data / "results").iterdir()} == {*endings, "t_det.all.png", "report.html"}
    is_target = np.array([a[:2] == b[:2] for a, b in scores])
    record = json.loads((data / "results/t.json").read_text())
    rate = 100 * equal_error_rate(np.array(list(scores.values())), is_target).value
    assert record["eer"]["percent"] == pytest.approx(rate)
    assert (record["targets"], record["nontargets"]) == (36, 240)
    assert list(record["min_dcf"]) == [str(prior) for prior in PRIORS]
    assert f"{rate:.2f} [" in (data / "results/t.txt").read_text()


def test_list_called_all_keeps_its_picture(step, data):
    assert step("score_trials", "trials", "test.scp", "t.txt", cwd=data).returncode == 0
    (data / "t_all.txt").write_bytes((data / "t.txt").read_bytes())
    for scores, out_dir in ((("t.txt", "t_all.txt"), "both"), (("t_all.txt",), "one")):
        done = step("compute_metrics", "trials", *scores, out_dir, "--draws", 5, cwd=data)
        assert done.returncode == 0, done.stderr
    picture = (data / "one/t_all_det.png").read_bytes()
    assert (data / "both/t_all_det.png").read_bytes() == picture
    assert (data / "both/t_det.all.png").read_bytes() != picture


def test_enrolment_of_several_utterances(step, data):
    (data / "map").write_text("m0 s0-0 s0-1 s0-2\nm1 s1-3\n")
    (data / "trials").write_text("m0 s0-3 target\nm1 s0-3 nontarget\n")
    assert step("score_trials", "trials", "test.scp", "t.txt", "--enrol-map", "map", cwd=data).returncode == 0
    embeddings = {name: unit(vector) for name, vector in speakers(0, IDS).items()}
    model = unit(sum(embeddings[f"s0-{utterance}"] for utterance in range(3)))
    expected = [model @ embeddings["s0-3"], embeddings["s1-3"] @ embeddings["s0-3"]]
    assert list(read_scores(data / "t.txt").values()) == pytest.approx(expected, abs=1e-6)
    arguments = ("t.txt", "test.scp", "cohort.scp", "z.txt", "--method", "znorm")
    assert step("normalize_scores", *arguments, "--enrol-map", "map", cwd=data).returncode == 0
    assert list(read_scores(data / "z.txt")) == [("m0", "s0-3"), ("m1", "s0-3")]
    fails(step("normalize_scores", *arguments, cwd=data), "t.txt:1: 'm0' is not in test.scp")


def test_unknown_utterance_is_named_or_left_out(step, data):
    with open(data / "trials", "a") as trials:
        trials.write("s0-0 s9-9 nontarget\n")
    fails(step("score_trials", "trials", "test.scp", "t.txt", cwd=data), "trials:277: 's9-9' is not in test.scp")
    assert not (data / "t.txt").exists()
    done = step("score_trials", "trials", "test.scp", "t.txt", "--allow-missing", cwd=data)
    assert done.returncode == 0
    assert "1 of 277 trials left out: trials:277: 's9-9' is not in test.scp (1 such)" in done.stderr
    assert len(read_scores(data / "t.txt")) == 276
    judge = ("compute_metrics", "trials", "t.txt", "r")
    fails(step(*judge, cwd=data), "trials:277: 's0-0 s9-9' has no score in t.txt")
    assert not (data / "r").exists()
    done = step(*judge, "--allow-missing", cwd=data)
    assert "t: 1 trials without a score were left out" in done.stdout
    assert json.loads((data / "r/t.json").read_text())["unscored"] == 1


def test_no_known_utterance_at_all_is_an_error(step, data):
    (data / "trials").write_text(f"x {'y' * 5000} target\n")
    done = step("score_trials", "trials", "test.scp", "t.txt", "--allow-missing", cwd=data)
    fails(
        done, "trials: no trial has the embeddings of both sides; trials:1: 'x' is not in test.scp (1 such); trials:1:"
    )
    assert len(done.stderr) < 400
    (data / "trials").write_text(f"x {'y' * 5000}\n")
    fails(step("score_trials", "trials", "test.scp", "t.txt", cwd=data), "yyy...' is not '<enrol-id>")


def damage_truncated(data: Path) -> str:
    ark = data / "test.ark"
    ark.write_bytes(ark.read_bytes()[:-5])
    return "the archive is truncated"


def damage_nan(data: Path) -> str:
    ark = bytearray((data / "test.ark").read_bytes())
    ark[ark.index(b"s2-2 ") - 4 : ark.index(b"s2-2 ")] = np.float32(np.nan).tobytes()
    (data / "test.ark").write_bytes(ark)
    return "'s2-1' holds NaN"


def damage_zero(data: Path) -> str:
    write_embeddings(data, "test", speakers(0, IDS) | {"s3-0": np.zeros(8)})
    return "'s3-0': the embedding is zero"


def damage_duplicate(data: Path) -> str:
    lines = (data / "test.scp").read_text().splitlines(keepends=True)
    (data / "test.scp").write_text("".join([lines[0], *lines]))
    return "test.scp:2: 's0-0' is repeated"


def damage_dimension(data: Path) -> str:
    write_embeddings(data, "test", speakers(0, IDS) | {"s3-1": np.ones(9)})
    return "'s3-1' has shape 1 x 9, not one vector of 8"


def damage_trials(data: Path) -> str:
    (data / "trials").write_text("s0-0 s0-1 target\ns0-0 s1-1 maybe\n")
    return "trials:2: 's0-0 s1-1 maybe' is not"


@pytest.mark.parametrize(
    "damage", [damage_truncated, damage_nan, damage_zero, damage_duplicate, damage_dimension, damage_trials]
)
def test_bad_input_is_one_line_and_keeps_old_scores(step, data, damage):
    message = damage(data)
    (data / "t.txt").write_text("old\n")
    fails(step("score_trials", "trials", "test.scp", "t.txt", cwd=data), message)
    assert (data / "t.txt").read_text() == "old\n"


def test_full_disk_leaves_nothing(step, data):
    (data / "t.txt").write_text("old\n")
    assert step("score_trials", "trials", "test.scp", "t.txt", cwd=data, largest_file=1000).returncode != 0
    assert (data / "t.txt").read_text() == "old\n"
    assert not list(data.glob(".t.txt*"))


@pytest.mark.parametrize("value", ["1_0", "auto:1_0", "３", "-3", "", "auto:"])
def test_what_top_n_does_not_mean(step, data, value):
    done = step("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt", "--top-n", value, cwd=data)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "--top-n" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "nan.vec"], "nan.vec: 1 values are NaN or infinite, the first is number 3"),
        (["--lda", "nan.mat"], "nan.mat: 2 values are NaN or infinite, the first is number 1, 2"),
        (["--top-n", "11"], "top-n is 11, but must be between 2 and the size of the cohort, 10"),
        (["--top-n", "auto:1"], "top-n is 1, but must be between 2 and the size of the cohort, 10"),
        (["--top-n", "6", "--cohort-utt2spk", "cohort_utt2spk"], "the size of the cohort, 5"),
        (["--method", "znorm", "--top-n", "4"], "--top-n is for --method asnorm"),
        (["--cohort-utt2spk", "nowhere"], "nowhere: no such file"),
    ],
)
def test_impossible_normalisations_are_refused(step, data, options, message):
    (data / "nan.vec").write_text(" [ 1 2 nan 4 5 6 7 8 ]\n")
    (data / "nan.mat").write_text(" [\n  1 nan 3 4 5 6 7 8\n  1 2 3 4 5 inf 7 8 ]\n")
    assert step("score_trials", "trials", "test.scp", "t.txt", cwd=data).returncode == 0
    done = step("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt", *options, cwd=data)
    fails(done, message)
    assert not (data / "n.txt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "asnrm"], "did you mean 'asnorm'?"),
        (["--top-n", "many"], "'many' is neither a number nor 'auto'"),
        (["--top-n", "auto:"], "'auto:' is neither a number nor 'auto'"),
        (["--topn", "3"], "did you mean '--top-n'?"),
    ],
)
def test_misspelt_options_are_refused(step, data, options, message):
    done = step("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt", *options, cwd=data)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def test_scores_of_other_options_are_not_normalised(step, data):
    assert step("score_trials", "trials", "test.scp", "t.txt", "--mean", "data", cwd=data).returncode == 0
    normalize = ("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt")
    fails(step(*normalize, cwd=data), "t.txt:1: the score is ")
    assert not (data / "n.txt").exists()
    assert step(*normalize, "--mean", "data", cwd=data).returncode == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("score_trials", "trials", "test.scp", "trials"), "trials"),
        (("score_trials", "trials", "test.scp", "./test.scp"), "embeddings"),
        (("score_trials", "trials", "test.scp", "cohort.scp", "--mean", "cohort.scp"), "mean"),
        (("normalize_scores", "t.txt", "test.scp", "cohort.scp", "t.txt"), "scores"),
        (("normalize_scores", "t.txt", "test.scp", "cohort.scp", "cohort.scp"), "cohort"),
    ],
)
def test_an_input_is_not_overwritten(step, data, words, name):
    assert step("score_trials", "trials", "test.scp", "t.txt", cwd=data).returncode == 0
    before = {path: path.read_bytes() for path in data.iterdir() if path.is_file()}
    fails(step(*words, cwd=data), f"is to be written and is read too, as '{name}'; give another file")
    assert {path: path.read_bytes() for path in data.iterdir() if path.is_file()} == before


def test_scores_that_cannot_be_judged(step, data):
    (data / "trials").write_text("s0-0 s0-1 target\ns0-0 s0-2 target\n")
    (data / "t.txt").write_text("s0-0 s0-1 0.5\ns0-0 s0-2 0.25\n")
    judge = ("compute_metrics", "trials", "t.txt", "r")
    fails(step(*judge, cwd=data), "t.txt: error rates need target and non-target trials; these are 2 target")
    (data / "t.txt").write_text("s0-0 s0-1 0.5\ns0-0 s0-2 nan\n")
    fails(step(*judge, cwd=data), "t.txt:2: the score is not a finite number")
    fails(step("compute_metrics", "trials", "t.txt", "x/t.txt", "r", cwd=data), "are called 't'")
    fails(step(*judge, "--name", "a", "--name", "b", cwd=data), "1 score files but 2 --name")
    assert not (data / "r").exists()


def test_one_trial_is_scored_and_normalised_but_not_judged(step, data):
    (data / "trials").write_text("s0-0 s0-1 target\n")
    assert step("score_trials", "trials", "test.scp", "t.txt", cwd=data).returncode == 0
    assert step("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt", cwd=data).returncode == 0
    assert [*read_scores(data / "n.txt")] == [("s0-0", "s0-1")]
    judge = ("compute_metrics", "trials", "n.txt", "r")
    fails(step(*judge, cwd=data), "n.txt: error rates need target and non-target trials; these are 1 target")


def test_tied_scores_are_judged(step, data):
    lines = (data / "trials").read_text().splitlines()
    (data / "t.txt").write_text("".join(f"{' '.join(line.split()[:2])} 0.5\n" for line in lines))
    assert step("compute_metrics", "trials", "t.txt", "r", cwd=data).returncode == 0
    record = json.loads((data / "r/t.json").read_text())
    # All or none are accepted; half way between the two errors are equal.
    assert record["eer"]["percent"] == pytest.approx(50)
    assert set(record["min_dcf"]) == set(map(str, PRIORS))


def test_no_step_imports_torch(data):
    (data / "without" / "torch").mkdir(parents=True)
    (data / "without" / "torch" / "__init__.py").write_text("raise ImportError('slow to import')\n")
    for name, *arguments in (
        ("score_trials", "trials", "test.scp", "t.txt"),
        ("normalize_scores", "t.txt", "test.scp", "cohort.scp", "n.txt"),
        ("compute_metrics", "trials", "t.txt", "n.txt", "r"),
        ("train_plda", "cohort.scp", "cohort_utt2spk", "plda"),
        ("calibrate", "c.json", "t.txt", "n.txt", "--fit", "trials", "--embeddings", "test.scp"),
    ):
        done = interpret(name, *arguments, cwd=data, PYTHONPATH=str(data / "without"))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["score_trials", "normalize_scores", "compute_metrics", "train_plda", "calibrate"])
def test_help_says_what_the_step_does(step, name, tmp_path):
    done = step(name, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"steps/{name}.py" in done.stdout


def test_scores_of_another_trial_list_are_not_believed(step, data):
    assert step("score_trials", "trials", "test.scp", "scores/t.txt", cwd=data).returncode == 0
    results = ("compute_metrics", "trials", "scores/t.txt", "results")
    assert step(*results, cwd=data).returncode == 0
    lines = (data / "trials").read_text().splitlines()
    (data / "trials").write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    message = "trials has changed since this was made from it; run stage 5 (steps/score_trials.py) again"
    fails(step(*results, cwd=data), message)
    fails(step("normalize_scores", "scores/t.txt", "test.scp", "cohort.scp", "scores/n.txt", cwd=data), message)
    assert step("score_trials", "trials", "test.scp", "scores/t.txt", cwd=data).returncode == 0
    assert step(*results, cwd=data).returncode == 0
    # A list that comes through a pipe cannot be looked at again, and is no reason to wait.
    piped = "\n".join(lines) + "\n"
    done = interpret("score_trials", "/dev/stdin", "test.scp", "scores/t.txt", cwd=data, piped=piped)
    assert done.returncode == 0, done.stderr
    assert step(*results, cwd=data).returncode == 0
