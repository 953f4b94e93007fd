"""Stage 5 with its backends, averages of enrolments and centring, as a user runs them."""

import numpy as np
import pytest
from processes import fails, succeeds

from vouch.evaluation.metrics import equal_error_rate
from vouch.kaldi.matrices.writing import open_ark
from vouch.scoring.plda_file import read_mean, read_plda, read_transform

SCORE, TRAIN, NORMALIZE = "steps/score_trials.py", "steps/train_plda.py", "steps/normalize_scores.py"


def write_set(folder, name, seed, speakers, utterances, shape=(6,)):
    """Embeddings of speakers along the first two of their dimensions, with louder noise along the others."""
    rng = np.random.default_rng(seed)
    spread = np.array([1.5, 1.5, 0, 0, 0, 0]), np.array([0.3, 0.3, 2, 2, 2, 2])
    table = {}
    for speaker in range(speakers):
        voice = 4 + rng.standard_normal(6) * spread[0]
        for utterance in range(utterances):
            table[f"{name}{speaker:02d}-{utterance}"] = voice + rng.standard_normal(shape) * spread[1]
    with open_ark(folder / f"{name}.ark", folder / f"{name}.scp") as ark:
        for key, value in table.items():
            ark.write(key, value)
    (folder / f"{name}.utt2spk").write_text("".join(f"{key} {key[:-2]}\n" for key in table))
    return {key: np.asarray(value, np.float32).astype(np.float64) for key, value in table.items()}


@pytest.fixture
def data(tmp_path):
    write_set(tmp_path, "d", 0, 40, 4)
    table = write_set(tmp_path, "e", 1, 12, 4)
    (tmp_path / "map").write_text("".join(f"m{s:02d} e{s:02d}-0 e{s:02d}-1\n" for s in range(12)))
    lines = [
        f"m{s:02d} {key} {'target' if key[1:3] == f'{s:02d}' else 'nontarget'}\n"
        for s in range(12)
        for key in table
        if key[-1] in "23"
    ]
    (tmp_path / "trials").write_text("".join(lines))
    return tmp_path


def scores(path):
    return np.array([float(line.split()[2]) for line in path.read_text().splitlines()])


def eer(data, path):
    is_target = np.array([line.endswith(" target") for line in (data / "trials").read_text().splitlines()])
    return equal_error_rate(scores(path), is_target).value


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_plda_from_training_to_scores(scripts, data):
    done = succeeds(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", "--lda-dim", 3, cwd=data))
    assert done.stdout == "plda/plda: 3 dimensions from 40 speakers\n"
    files = ["mean.vec", "plda", "transform.mat"]
    assert sorted(path.name for path in (data / "plda").iterdir()) == sorted(
        [*files, *(f"{file}.made" for file in files)]
    )
    prepare = ("--mean", "plda/mean.vec", "--lda", "plda/transform.mat", "--enrol-map", "map")
    score = (SCORE, "trials", "e.scp")
    succeeds(scripts.run(*score, "plda.txt", "--backend", "plda", "--plda", "plda/plda", *prepare, cwd=data))
    succeeds(scripts.run(*score, "cosine.txt", "--enrol-map", "map", cwd=data))
    # The noise is along other directions than the speakers: what PLDA learns from the training set helps.
    assert eer(data, data / "plda.txt") < 0.25 < 0.35 < eer(data, data / "cosine.txt")

    plda, mean, lda = (
        read_plda(data / "plda/plda"),
        read_mean(data / "plda/mean.vec"),
        read_transform(data / "plda/transform.mat"),
    )
    table = write_set(data, "e", 1, 12, 4)
    ready = [
        np.sqrt(3) * unit(lda @ np.append(x - mean, 1))
        for x in (np.mean([table["e00-0"], table["e00-1"]], axis=0), table["e00-2"])
    ]
    a, b = (plda.transform @ (x - plda.mean) for x in ready)
    a, b = a * np.sqrt(3 / (a**2 / (plda.psi + 1 / 2)).sum()), b * np.sqrt(3 / (b**2 / (plda.psi + 1)).sum())
    variance, expected = 1 + plda.psi / (2 * plda.psi + 1), 2 * plda.psi / (2 * plda.psi + 1) * a
    same = (np.log(variance) + (b - expected) ** 2 / variance).sum()
    ratio = 0.5 * ((np.log(1 + plda.psi) + b**2 / (1 + plda.psi)).sum() - same)
    assert scores(data / "plda.txt")[0] == pytest.approx(ratio, abs=1e-4)


def test_adaptation_and_smoothing_reach_the_model(scripts, data):
    base = (TRAIN, "d.scp", "d.utt2spk")
    succeeds(scripts.run(*base, "plain", cwd=data))
    succeeds(scripts.run(*base, "smooth", "--smoothing", 0.5, "--text", cwd=data))
    psi = read_plda(data / "plain/plda").psi
    assert read_plda(data / "smooth/plda").psi == pytest.approx(psi / (1 + 0.5 * psi), rel=1e-4)
    succeeds(scripts.run(*base, "adapted", "--adapt", "e.scp", cwd=data))
    table = write_set(data, "e", 1, 12, 4)
    assert read_mean(data / "adapted/mean.vec") == pytest.approx(np.mean(list(table.values()), axis=0), abs=1e-5)
    assert read_plda(data / "adapted/plda").psi != pytest.approx(psi, rel=1e-3)


def test_averages_of_enrolments_and_centring(scripts, data):
    table = write_set(data, "e", 1, 12, 4)
    centre = np.mean(list(table.values()), axis=0)
    first, second, test = (table[name] - centre for name in ("e00-0", "e00-1", "e00-2"))
    expected = {
        "mean": unit(first + second) @ unit(test),
        "unit-mean": unit(unit(first) + unit(second)) @ unit(test),
        "scores": (unit(first) @ unit(test) + unit(second) @ unit(test)) / 2,
    }
    for average, score in expected.items():
        options = ("--enrol-map", "map", "--enrol-average", average, "--mean", "data")
        succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
        assert scores(data / "s.txt")[0] == pytest.approx(score, abs=1e-5)


def test_a_table_of_other_embeddings_stands_for_their_mean(scripts, data):
    table, others = write_set(data, "e", 1, 12, 4), list(write_set(data, "d", 0, 40, 4).values())
    centre = np.mean(others, axis=0)
    options = ("--enrol-map", "map", "--enrol-average", "mean", "--mean", "d.scp")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    model = unit((table["e00-0"] + table["e00-1"]) / 2 - centre)
    assert scores(data / "s.txt")[0] == pytest.approx(model @ unit(table["e00-2"] - centre), abs=1e-5)
    fails(scripts.run(SCORE, "trials", "e.scp", "s.txt", "--mean", "no.scp", cwd=data), "no.scp: no such file")


def test_normalisation_prepares_as_scoring_did(scripts, data):
    options = ("--enrol-map", "map", "--enrol-average", "mean", "--mean", "data")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    cohort = ("--cohort-utt2spk", "d.utt2spk", "--cohort-average", "mean", "--method", "tnorm")
    succeeds(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *options, *cohort, cwd=data))
    table, others = write_set(data, "e", 1, 12, 4), list(write_set(data, "d", 0, 40, 4).values())
    centre = np.mean(list(table.values()), axis=0)
    members = [unit(np.mean(others[row : row + 4], axis=0) - centre) for row in range(0, 160, 4)]
    against = [member @ unit(table["e00-2"] - centre) for member in members]
    expected = (scores(data / "s.txt")[0] - np.mean(against)) / np.std(against)
    assert scores(data / "n.txt")[0] == pytest.approx(expected, abs=1e-4)


def test_plda_scores_are_normalised_with_plda_scores_of_the_cohort(scripts, data):
    table, cohort = write_set(data, "e", 1, 12, 4), write_set(data, "d", 0, 40, 4)
    succeeds(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", cwd=data))
    options = ("--backend", "plda", "--plda", "plda/plda", "--mean", "plda/mean.vec", "--enrol-map", "map")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    # The cohort as trials of its own: its utterances as tests for the models, as models for the test utterances.
    with open_ark(data / "both.ark", data / "both.scp") as ark:
        for key, value in (table | cohort).items():
            ark.write(key, value)
    models = [f"m{s:02d}" for s in range(12)]
    (data / "alone").write_text("".join([*(f"{key} {key}\n" for key in cohort), (data / "map").read_text()]))
    (data / "z.trials").write_text("".join(f"{m} {key} nontarget\n" for m in models for key in cohort))
    tests = [key for key in table if key[-1] in "23"]
    (data / "t.trials").write_text("".join(f"{key} {test} nontarget\n" for test in tests for key in cohort))
    against = {}
    for name, rows in (("z", models), ("t", tests)):
        each = (*options[:-1], "alone")
        succeeds(scripts.run(SCORE, f"{name}.trials", "both.scp", f"{name}.txt", *each, cwd=data))
        against |= dict(zip(rows, scores(data / f"{name}.txt").reshape(len(rows), -1), strict=True))
    pairs = [line.split()[:2] for line in (data / "trials").read_text().splitlines()]
    raw = scores(data / "s.txt")
    for method, top_n in (("znorm", 160), ("tnorm", 160), ("snorm", 160), ("asnorm", 20)):
        choice = ("--method", method, *(("--top-n", top_n) if method == "asnorm" else ()))
        succeeds(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *options, *choice, cwd=data))
        sides = [[np.sort(against[pair[side]])[-top_n:] for pair in pairs] for side in (0, 1)]
        z, t = ((raw - np.mean(side, axis=1)) / np.std(side, axis=1) for side in sides)
        expected = {"znorm": z, "tnorm": t}.get(method, (z + t) / 2)
        assert scores(data / "n.txt") == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_cohort_with_utterances_or_speakers_of_the_trials_is_refused(scripts, data):
    options = ("--enrol-map", "map", "--enrol-average", "mean")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    normalize = (NORMALIZE, "s.txt", "e.scp", "both.scp", "n.txt", *options)
    lines = {name: (data / f"{name}.scp").read_text() for name in "de"}
    # The embeddings of everything, as they lie in one table.
    (data / "both.scp").write_text(lines["d"] + lines["e"])
    fails(scripts.run(*normalize, cwd=data), "both.scp: 'e00-0' is in the cohort and in the trials of s.txt (48 such)")
    # Other utterances of the trials' speakers, e00 and e01.
    others = "".join(line.replace("e", "o", 1) for line in lines["e"].splitlines(keepends=True)[:8])
    (data / "both.scp").write_text(lines["d"] + others)
    rows = [line.split()[0] for line in others.splitlines()]
    (data / "both.utt2spk").write_text((data / "d.utt2spk").read_text() + "".join(f"{r} e{r[1:3]}\n" for r in rows))
    normalize += ("--cohort-utt2spk", "both.utt2spk", "--cohort-average", "mean")
    done = scripts.run(*normalize, "--utt2spk", "e.utt2spk", cwd=data)
    fails(done, "both.utt2spk: 'e00', whose 'e00-0' is in the trials of s.txt, is a speaker of the cohort too (2 such)")
    assert not (data / "n.txt").exists()
    # Whose the trials are, nobody knows.
    succeeds(scripts.run(*normalize, cwd=data))


def test_one_speaker_trains_nothing(scripts, data):
    (data / "one").write_text("".join(f"{line.split()[0]} me\n" for line in (data / "d.utt2spk").open()))
    for options in ((), ("--lda-dim", 3)):
        done = scripts.run(TRAIN, "d.scp", "one", "plda", *options, cwd=data)
        fails(done, "one: all 160 utterances are of one speaker, 'me'; PLDA and LDA tell speakers apart")
    fails(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", "--lda-dim", 40, cwd=data), "must be between 1 and 6")
    some = [line for line in (data / "d.scp").open() if line[:3] in ("d00", "d01", "d02")]
    (data / "some.scp").write_text("".join(some))
    done = scripts.run(TRAIN, "some.scp", "d.utt2spk", "plda", "--lda-dim", 3, cwd=data)
    fails(done, "LDA to 3 dimensions: 3 speakers differ in 2 directions at most")
    assert not (data / "plda").exists()


def test_speakers_can_be_the_members_of_a_plda_cohort(scripts, data):
    table, cohort = write_set(data, "e", 1, 12, 4), write_set(data, "d", 0, 40, 4)
    succeeds(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", cwd=data))
    options = ("--backend", "plda", "--plda", "plda/plda", "--mean", "plda/mean.vec", "--enrol-map", "map")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    choice = ("--cohort-utt2spk", "d.utt2spk", "--method", "tnorm")
    succeeds(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *options, *choice, cwd=data))
    with open_ark(data / "both.ark", data / "both.scp") as ark:
        for key, value in (table | cohort).items():
            ark.write(key, value)
    keys = list(cohort)
    (data / "speakers").write_text("".join(f"d{s:02d} {' '.join(keys[4 * s : 4 * s + 4])}\n" for s in range(40)))
    (data / "t.trials").write_text("".join(f"d{s:02d} e00-2 nontarget\n" for s in range(40)))
    succeeds(scripts.run(SCORE, "t.trials", "both.scp", "t.txt", *options[:-1], "speakers", cwd=data))
    against = scores(data / "t.txt")
    expected = (scores(data / "s.txt")[0] - against.mean()) / against.std()
    assert scores(data / "n.txt")[0] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_distances_are_normalised_with_distances_to_the_cohort(scripts, data):
    table, cohort = write_set(data, "e", 2, 6, 2, shape=(5, 6)), write_set(data, "d", 3, 4, 2, shape=(3, 6))
    (data / "trials").write_text("".join(f"{a} {b} nontarget\n" for a in table for b in table if a < b))
    options = ("--backend", "distance", "--keep-length")
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data))
    succeeds(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *options, "--top-n", 4, cwd=data))

    def side(name, score):
        far = [-np.mean([[np.linalg.norm(x - y) for x in table[name]] for y in other]) for other in cohort.values()]
        return (score - np.mean(sorted(far)[-4:])) / np.std(sorted(far)[-4:])

    words = [line.split() for line in (data / "s.txt").read_text().splitlines()]
    expected = [(side(a, float(score)) + side(b, float(score))) / 2 for a, b, score in words]
    assert scores(data / "n.txt") == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "plda"], "--backend plda needs --plda MODEL"),
        (["--keep-length"], "--keep-length is for --backend distance"),
        (["--backend", "distance", "--lda", "x"], "--mean and --lda are for the backends cosine and plda"),
        (["--backend", "distance", "--cohort-utt2spk", "d.utt2spk"], "leave out --cohort-utt2spk"),
        (["--backend", "distance", "--enrol-map", "map", "--enrol-average", "mean"], "can only average scores"),
        (["--enrol-average", "mean"], "--enrol-map; give one"),
    ],
)
def test_impossible_options_of_normalisation_are_refused(scripts, data, options, message):
    (data / "s.txt").write_text("e00-0 e00-1 0.5\n")
    fails(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *options, cwd=data), message)
    assert not (data / "n.txt").exists()


@pytest.mark.parametrize("backend", ["cosine", "plda", "distance"])
@pytest.mark.parametrize("method", ["znorm", "tnorm", "asnorm"])
def test_cohort_scores_are_averaged_as_scores_were(scripts, data, backend, method):
    if backend == "distance":
        write_set(data, "d", 3, 4, 4, shape=(5, 6))
        write_set(data, "e", 2, 12, 4, shape=(5, 6))
    plain, averaged = ["--backend", backend], ["--enrol-map", "map", "--enrol-average", "scores"]
    if backend == "plda":
        succeeds(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", cwd=data))
        plain += ["--plda", "plda/plda", "--mean", "plda/mean.vec"]
    tables = [(data / f"{name}.scp").read_text() for name in "de"]
    (data / "joint.scp").write_text("".join(tables))
    cohort = [line.split()[0] for line in tables[0].splitlines()]
    # The scores of either side against the cohort, from the scoring script.
    (data / "z").write_text("".join(f"m00 {name} nontarget\n" for name in cohort))
    (data / "t").write_text("".join(f"{name} e00-2 nontarget\n" for name in cohort))
    (data / "trial").write_text("m00 e00-2 target\n")
    succeeds(scripts.run(SCORE, "z", "joint.scp", "z.txt", *plain, *averaged, cwd=data))
    succeeds(scripts.run(SCORE, "t", "joint.scp", "t.txt", *plain, cwd=data))
    succeeds(scripts.run(SCORE, "trial", "e.scp", "s.txt", *plain, *averaged, cwd=data))
    number = 5 if method == "asnorm" else len(cohort)
    choice = ["--method", method, *(["--top-n", number] if method == "asnorm" else [])]
    succeeds(scripts.run(NORMALIZE, "s.txt", "e.scp", "d.scp", "n.txt", *plain, *averaged, *choice, cwd=data))
    (score,) = scores(data / "s.txt")
    highest = [np.sort(scores(data / f"{name}.txt"))[-number:] for name in "zt"]
    z, t = ((score - side.mean()) / side.std() for side in highest)
    expected = {"znorm": z, "tnorm": t, "asnorm": (z + t) / 2}[method]
    assert scores(data / "n.txt") == pytest.approx([expected], rel=1e-3, abs=1e-3)


def test_distance_of_crops(scripts, data):
    table = write_set(data, "e", 2, 12, 4, shape=(5, 6))
    succeeds(scripts.run(SCORE, "trials", "e.scp", "s.txt", "--backend", "distance", "--enrol-map", "map", cwd=data))

    def distance(a, b):
        return np.mean([np.linalg.norm(unit(x) - unit(y)) for x in table[a] for y in table[b]])

    expected = -(distance("e00-0", "e00-2") + distance("e00-1", "e00-2")) / 2
    assert scores(data / "s.txt")[0] == pytest.approx(expected, abs=1e-6)
    fails(scripts.run(SCORE, "trials", "e.scp", "s.txt", "--enrol-map", "map", cwd=data), "not one vector of 6")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "plda"], "--backend plda needs --plda MODEL"),
        (["--keep-length"], "--keep-length is for --backend distance"),
        (["--plda", "x"], "--plda and --plda-length are for --backend plda"),
        (["--backend", "distance", "--mean", "data"], "--mean and --lda are for the backends cosine and plda"),
        (["--backend", "distance", "--enrol-map", "map", "--enrol-average", "mean"], "can only average scores"),
        (["--enrol-average", "mean"], "--enrol-map; give one"),
        (["--mean", "nowhere"], "nowhere: No such file"),
        (["--enrol-map", "map", "--mean", "map"], "map: "),
        (["--enrol-map", "map", "--backend", "plda", "--plda", "map"], "map: not a PLDA model"),
    ],
)
def test_impossible_options_are_refused(scripts, data, options, message):
    fails(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data), message)
    assert not (data / "s.txt").exists()


def test_model_of_another_dimension_is_refused(scripts, data):
    succeeds(scripts.run(TRAIN, "d.scp", "d.utt2spk", "plda", "--lda-dim", 3, cwd=data))
    options = ("--backend", "plda", "--plda", "plda/plda", "--enrol-map", "map")
    done = scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data)
    fails(done, "plda/plda: the PLDA model takes 3 dimensions, these embeddings have 6")
    (data / "map").write_text("m00 e00-0 e99-9\n")
    fails(scripts.run(SCORE, "trials", "e.scp", "s.txt", *options, cwd=data), "map:1: 'e99-9' of 'm00' is not in e.scp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lda-dim", 7], "LDA to 7 dimensions: must be between 1 and 6"),
        (["--smoothing", -1], "--smoothing -1.0: must be a number that is not negative"),
        (["--iterations", 0], "at least 1 iteration"),
        (["--smoothing", "nan"], "--smoothing nan: must be a number"),
        (["--adapt", "d.scp", "--within-scale", -1], "--within-scale -1.0: must be a number that is not negative"),
        (["--adapt", "d.scp", "--between-scale", "inf"], "--between-scale inf: must be a number"),
        (["--within-scale", 0.2], "--within-scale says how to adapt: give --adapt too"),
        (["--total-covariance-factor", 0.1], "give --lda-dim too"),
        (["--adapt", "nowhere"], "nowhere: no such file"),
    ],
)
def test_impossible_training_is_refused(scripts, data, options, message):
    fails(scripts.run(TRAIN, "d.scp", "d.utt2spk", "out", *options, cwd=data), message)
    assert not (data / "out").exists()
