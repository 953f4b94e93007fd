"""run.sh --protocol: the options that each stage gets, and figures computed again from the files that it leaves."""

import json
import shlex
import subprocess
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from corpus import tiny_encoder, voice, write_all_trials, write_recordings
from processes import succeeds
from recipe import ROOT, copy_project, run

from vouch.encoder import save_encoder
from vouch.evaluation.definitions import feerci_eer, pyannote_eer, sequential_min_dcf, voxceleb_trainer_eer
from vouch.extraction.embed import embed_matrices
from vouch.kaldi.lists.scores import join_scores, read_scores
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.tables import read_table
from vouch.stores.features import FeatureStore

PROTOCOLS = sorted(path.stem for path in (ROOT / "conf/protocols").iterdir())
EXP, DATA = "egs/mine/exp", "egs/mine/data"
FRONT_END, WAVEFORM = {"type": "fbank", "num_mel_bins": 20}, {"type": "waveform"}
SETTINGS = {"extract_options", "score_options", "enrol_options", "norm", "norm_options", "metrics_options"}
# What stages 4 to 7 of each protocol run; {exp} is the experiment, {data} the corpus.
COMMANDS = {
    "default": """
steps/extract_embeddings.py {data}/train {exp}/final.pt {exp}/embeddings/train --device cpu --nj 1
steps/extract_embeddings.py {data}/test {exp}/final.pt {exp}/embeddings/test --device cpu --nj 1
steps/score_trials.py {data}/test/trials {exp}/embeddings/test/embedding.scp {exp}/scores/test_trials.txt
steps/normalize_scores.py {exp}/scores/test_trials.txt {exp}/embeddings/test/embedding.scp \
{exp}/embeddings/train/embedding.scp {exp}/scores/test_trials_asnorm.txt --method asnorm \
--utt2spk {data}/test/utt2spk --cohort-utt2spk {data}/train/utt2spk
steps/compute_metrics.py {data}/test/trials {exp}/scores/test_trials.txt {exp}/scores/test_trials_asnorm.txt \
{exp}/results
""",
    "voxceleb_trainer": """
steps/extract_embeddings.py {data}/test {exp}/final.pt {exp}/embeddings_voxceleb_trainer/test --input wav \
--crops 10 --crop-seconds 4 --device cpu --nj 1
steps/score_trials.py {data}/test/trials {exp}/embeddings_voxceleb_trainer/test/embedding.scp \
{exp}/scores_voxceleb_trainer/test_trials.txt --backend distance
steps/compute_metrics.py {data}/test/trials {exp}/scores_voxceleb_trainer/test_trials.txt \
{exp}/results_voxceleb_trainer --priors 0.05 --definitions voxceleb_trainer
""",
    "pyannote": """
steps/extract_embeddings.py {data}/train {exp}/final.pt {exp}/embeddings_pyannote/train --windows 3 \
--window-step 0.25 --window-average mean --device cpu --nj 1
steps/extract_embeddings.py {data}/test {exp}/final.pt {exp}/embeddings_pyannote/test --windows 3 \
--window-step 0.25 --window-average mean --device cpu --nj 1
steps/score_trials.py {data}/test/trials {exp}/embeddings_pyannote/test/embedding.scp \
{exp}/scores_pyannote/test_trials.txt
steps/normalize_scores.py {exp}/scores_pyannote/test_trials.txt {exp}/embeddings_pyannote/test/embedding.scp \
{exp}/embeddings_pyannote/train/embedding.scp {exp}/scores_pyannote/test_trials_asnorm.txt --method asnorm \
--utt2spk {data}/test/utt2spk --cohort-utt2spk {data}/train/utt2spk --cohort-average mean --top-n auto:400
steps/compute_metrics.py {data}/test/trials {exp}/scores_pyannote/test_trials.txt \
{exp}/scores_pyannote/test_trials_asnorm.txt {exp}/results_pyannote --definitions pyannote feerci
""",
    "wespeaker": """
steps/extract_embeddings.py {data}/train {exp}/final.pt {exp}/embeddings_wespeaker/train --device cpu --nj 1
steps/extract_embeddings.py {data}/test {exp}/final.pt {exp}/embeddings_wespeaker/test --device cpu --nj 1
steps/score_trials.py {data}/test/trials {exp}/embeddings_wespeaker/test/embedding.scp \
{exp}/scores_wespeaker/test_trials.txt --mean {exp}/embeddings_wespeaker/train/embedding.scp
steps/normalize_scores.py {exp}/scores_wespeaker/test_trials.txt {exp}/embeddings_wespeaker/test/embedding.scp \
{exp}/embeddings_wespeaker/train/embedding.scp {exp}/scores_wespeaker/test_trials_asnorm.txt --method asnorm \
--utt2spk {data}/test/utt2spk --cohort-utt2spk {data}/train/utt2spk --cohort-average mean --top-n auto:300 \
--mean {exp}/embeddings_wespeaker/train/embedding.scp
steps/compute_metrics.py {data}/test/trials {exp}/scores_wespeaker/test_trials.txt \
{exp}/scores_wespeaker/test_trials_asnorm.txt {exp}/results_wespeaker --priors 0.01
""",
}


def network(model, front_end):
    """Return an encoder whose embeddings differ in direction: their common part is taken off, but for some of it."""
    encoder = tiny_encoder(model, num_bins=front_end.get("num_mel_bins"), feature=front_end)
    inputs = [encoder.feature(torch.from_numpy(voice(speaker, 9))[None])[0].numpy() for speaker in range(5)]
    embeddings = np.stack([embed_matrices(encoder, [x])[0] for x in inputs])
    with torch.no_grad():
        encoder.model.segment6.bias -= torch.from_numpy(embeddings.mean(axis=0) + embeddings.std(axis=0))
    return encoder


def planned(project, name, *options):
    """Return the commands of stages 4 to 7 of an experiment, as --dry-run prints them."""
    words = ("--corpus", "mine", "--name", name, "--device", "cpu", "--stage", "4", "--dry-run", *options)
    return [line.strip() for line in run(project, *words).stdout.splitlines() if line.startswith(" steps/")]


@pytest.fixture(scope="module")
def project(scripts, tmp_path_factory):
    """A copy of the project with a corpus of recordings and two models, of features and of waveforms."""
    clone = copy_project(tmp_path_factory.mktemp("protocols") / "vouch")
    data, exp = clone / DATA, clone / EXP
    write_recordings(data / "train", speakers=5, utterances=2, seconds=3.1, prefix="t")
    write_recordings(data / "test", speakers=4, utterances=3, seconds=3.3)
    write_all_trials(data / "test")
    (clone / "fbank20.yaml").write_text(json.dumps(FRONT_END))
    for name in ("train", "test"):
        succeeds(scripts.run("steps/make_fbank.py", data / name, "--config", "fbank20.yaml", cwd=clone))
    for name, encoder in (("features", network("xvector", FRONT_END)), ("waves", network("sinctdnn", WAVEFORM))):
        (exp / name).mkdir(parents=True)
        save_encoder(encoder, exp / name / "final.pt")
    return clone


@pytest.fixture(scope="module")
def evaluated(scripts, project):
    """What stage 7 of each protocol prints, after running the stages as the dry run prints them."""
    printed = {}
    for protocol, name in (("voxceleb_trainer", "features"), ("pyannote", "waves"), ("wespeaker", "features")):
        commands = planned(project, name, "--protocol", protocol)
        assert commands == expected_commands(protocol, name)
        for command in commands:
            printed[protocol] = succeeds(scripts.run(*shlex.split(command), cwd=project)).stdout
    return printed


def expected_commands(protocol, name):
    return COMMANDS[protocol].strip().format(data=DATA, exp=f"{EXP}/{name}").splitlines()


def judged(project, folder, stem):
    """Return the record of a score file, its scores and which are of targets."""
    name, protocol = folder
    path = project / EXP / name / f"scores_{protocol}/{stem}.txt"
    trials = read_trials(project / DATA / "test/trials")
    record = json.loads((project / EXP / name / f"results_{protocol}/{stem}.json").read_text())
    return record, *join_scores(trials, read_scores(path), "trials", path)


def pairs(project):
    trials = read_trials(project / DATA / "test/trials")
    return list(zip(trials.enrol, trials.test, strict=True))


def vectors(project, name, protocol, part):
    scp = project / EXP / name / f"embeddings_{protocol}/{part}/embedding.scp"
    return {key: vector.astype(np.float64) for key, vector in zip(*read_vectors(scp), strict=True)}


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def adaptive_snorm(score, a, b, cohort, number):
    sides = [sorted((cosine(side, member) for member in cohort), reverse=True)[:number] for side in (a, b)]
    return sum((score - np.mean(side)) / np.std(side) for side in sides) / 2


def speaker_means(embeddings):
    speakers = sorted({name.split("-")[0] for name in embeddings})
    return [np.mean([v for name, v in embeddings.items() if name.split("-")[0] == s], axis=0) for s in speakers]


def test_default_is_a_protocol_in_the_usual_places(project):
    assert planned(project, "features") == expected_commands("default", "features")


def test_voxceleb_trainer(project, evaluated):
    """Distances of ten crops, and its EER and minDCF in the table that stage 7 prints."""
    store = FeatureStore(project / EXP / "features/embeddings_voxceleb_trainer/test/embedding.scp")
    assert set(store.lengths) == {10}
    crops = {name: store.matrix(row).astype(np.float64) for row, name in enumerate(store.utterances)}
    crops = {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in crops.items()}
    record, scores, is_target = judged(project, ("features", "voxceleb_trainer"), "test_trials")
    distances = [np.mean([[np.linalg.norm(x - y) for y in crops[b]] for x in crops[a]]) for a, b in pairs(project)]
    assert scores == pytest.approx(-np.array(distances), abs=1e-5)
    eer = 100 * voxceleb_trainer_eer(scores, is_target).value
    cost = sequential_min_dcf(scores, is_target, 0.05, 1, 1).value
    assert record["other_eers_percent"] == {"voxceleb_trainer": pytest.approx(eer)}
    assert record["other_min_dcfs"] == {"voxceleb_trainer": {"0.05": pytest.approx(cost)}}
    assert list(record["min_dcf"]) == ["0.05"]
    heading, row = evaluated["voxceleb_trainer"].splitlines()[:2]
    figures = {"EER % of voxceleb_trainer": f"{eer:.2f}", "minDCF(0.05) of voxceleb_trainer": f"{cost:.4f}"}
    for name, value in figures.items():
        assert row[heading.index(name) :].split()[0] == value


def test_pyannote(project, evaluated):
    """Means of windows of 3 s of a network that takes waveforms, normalised by raw means of speakers."""
    embeddings = vectors(project, "waves", "pyannote", "test")
    encoder = network("sinctdnn", WAVEFORM)
    for name, path in read_table(project / DATA / "test/wav.scp").items():
        wave = soundfile.read(path, dtype="float32")[0]
        starts = {0, len(wave) - 48000}  # a second one would begin at 12,000 and pass the end
        assert 0 < len(wave) - 48000 < 12000
        windows = [embed_matrices(encoder, [wave[start : start + 48000]])[0] for start in starts]
        np.testing.assert_allclose(embeddings[name], np.mean(windows, axis=0), atol=2e-5)
    record, scores, is_target = judged(project, ("waves", "pyannote"), "test_trials")
    assert scores == pytest.approx([cosine(embeddings[a], embeddings[b]) for a, b in pairs(project)], abs=1e-5)
    cohort = speaker_means(vectors(project, "waves", "pyannote", "train"))
    normalized = [
        adaptive_snorm(score, embeddings[a], embeddings[b], cohort, 400)
        for score, (a, b) in zip(scores, pairs(project), strict=True)
    ]
    other, as_normalized, _ = judged(project, ("waves", "pyannote"), "test_trials_asnorm")
    assert as_normalized == pytest.approx(normalized, rel=1e-3, abs=2e-3)
    for figures, values in ((record, scores), (other, as_normalized)):
        rates = {"pyannote": pyannote_eer(values, is_target).value, "feerci": feerci_eer(values, is_target).value}
        assert figures["other_eers_percent"] == pytest.approx({name: 100 * rate for name, rate in rates.items()})
    heading = evaluated["pyannote"].splitlines()[0]
    assert heading.index("EER % of feerci") < heading.index("EER % of pyannote")


def test_wespeaker(project, evaluated):
    """Cosines after subtracting the mean of the training set; its EER is interpolated between neighbouring trials."""
    train = vectors(project, "features", "wespeaker", "train")
    mean = np.mean(list(train.values()), axis=0)
    centred = {name: x - mean for name, x in vectors(project, "features", "wespeaker", "test").items()}
    record, scores, is_target = judged(project, ("features", "wespeaker"), "test_trials")
    assert scores == pytest.approx([cosine(centred[a], centred[b]) for a, b in pairs(project)], abs=1e-5)
    cohort = [speaker - mean for speaker in speaker_means(train)]
    normalized = [
        adaptive_snorm(score, centred[a], centred[b], cohort, 300)
        for score, (a, b) in zip(scores, pairs(project), strict=True)
    ]
    other, as_normalized, _ = judged(project, ("features", "wespeaker"), "test_trials_asnorm")
    assert as_normalized == pytest.approx(normalized, rel=1e-3, abs=1e-3)
    for figures, values in ((record, scores), (other, as_normalized)):
        order = np.argsort(values)
        miss = np.cumsum(is_target[order]) / is_target.sum()
        false_alarm = 1 - np.cumsum(~is_target[order]) / (~is_target).sum()
        after = int(np.flatnonzero(miss >= false_alarm)[0])
        (m0, m1), (f0, f1) = ((rate[after - 1], rate[after]) for rate in (miss, false_alarm))
        weight = (f0 - m0) / ((f0 - m0) + (m1 - f1))
        assert figures["eer"]["percent"] == pytest.approx(100 * (m0 + weight * (m1 - m0)))
        assert list(figures["min_dcf"]) == ["0.01"]
        cost = sequential_min_dcf(values, is_target, 0.01).value
        assert figures["min_dcf"]["0.01"]["value"] == pytest.approx(cost)
    assert "minDCF(0.05)" not in evaluated["wespeaker"]


def test_results_of_several_protocols_stand_side_by_side(scripts, project, evaluated):
    """Two protocols on one experiment leave each other's files alone, and the table tells them apart."""
    exp = project / EXP / "features"
    before = {path: path.read_bytes() for path in sorted(exp.rglob("*.txt")) if "_wespeaker" in str(path)}
    assert before
    done = run(
        project,
        *("--corpus", "mine", "--name", "features", "--stage", "5", "--device", "cpu"),
        *("--protocol", "voxceleb_trainer"),
    )
    assert "== stage 6: normalised scores of test_trials, protocol voxceleb_trainer\nno normalisation" in done.stdout
    assert evaluated["voxceleb_trainer"].splitlines()[1] in done.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert not (exp / "results").exists() and not list(exp.glob("scores_voxceleb_trainer/*norm*"))
    report = (exp / "results_wespeaker/report.html").read_text()
    assert "<title>Results of features, results_wespeaker</title>" in report
    done = succeeds(scripts.run("utils/results.py", project / EXP, "--format", "json", cwd=project))
    table = json.loads(done.stdout)
    rows = [(row["experiment"], row["protocol"], row["system"]) for row in table]
    assert [name for name in table[0] if name.endswith(" of voxceleb_trainer")] == [
        "EER % of voxceleb_trainer",
        "minDCF(0.05) of voxceleb_trainer",
    ]
    normalized = ("test_trials", "test_trials_asnorm")
    assert rows == [
        ("features", "voxceleb_trainer", "test_trials"),
        *(("features", "wespeaker", system) for system in normalized),
        *(("waves", "pyannote", system) for system in normalized),
    ]
    # Neither an experiment of such a name nor a table written there hides others; nor does another "default".
    (project / EXP / "results_old").mkdir()
    (exp / "results_all.txt").write_text("")
    assert (
        succeeds(scripts.run("utils/results.py", project / EXP, "--format", "json", cwd=project)).stdout == done.stdout
    )
    (exp / "results").mkdir()
    (exp / "results/test_trials.json").write_bytes((exp / "results_wespeaker/test_trials.json").read_bytes())
    done = succeeds(scripts.run("utils/results.py", exp, cwd=project))
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:3]] == [
        ["features", "test_trials", "default"],
        ["features", "test_trials", "voxceleb_trainer"],
    ]


def test_norm_by_hand_overrides_the_protocol(scripts, project):
    commands = planned(project, "features", "--protocol", "voxceleb_trainer", "--norm", "snorm")
    assert [shlex.split(command)[0] for command in commands].count("steps/extract_embeddings.py") == 2
    (normalize,) = (words for words in map(shlex.split, commands) if words[0] == "steps/normalize_scores.py")
    assert ("--method", "snorm") in pairwise(normalize) and ("--backend", "distance") in pairwise(normalize)
    assert "test_trials_snorm.txt" in commands[-1]
    printed = [succeeds(scripts.run(*shlex.split(command), cwd=project)).stdout for command in commands]
    assert "(snorm, 10 of 10 cohort members)" in printed[-2]
    (normalize,) = (c for c in planned(project, "waves", "--protocol", "pyannote", "--norm", "znorm") if "/norm" in c)
    assert "--cohort-average mean" in normalize and "--top-n" not in normalize
    commands = planned(project, "features", "--protocol", "wespeaker", "--norm", "none")
    assert not any("norm" in command for command in commands)
    # The mean of the training set is needed all the same.
    assert f"{DATA}/train " in commands[0]


def test_a_protocol_is_one_file(project):
    text = (project / "conf/protocols/default.sh").read_text()
    own = text.replace("enrol_options=()", "enrol_options=(--enrol-average scores)").replace(
        "norm:-asnorm", "norm:-none"
    )
    (project / "conf/protocols/my_own.sh").write_text(own)
    assert "my_own" in run(project, "--help").stdout
    test = project / "egs/other/data/test"
    test.mkdir(parents=True)
    (test / "enrol_map").write_text("a b c\n")
    done = run(project, "--corpus", "other", "--protocol", "my_own", "--dry-run", "--stage", "5")
    assert "/embeddings_my_own/test/embedding.scp" in done.stdout and "/results_my_own\n" in done.stdout
    assert "--enrol-map egs/other/data/test/enrol_map --enrol-average scores\n" in done.stdout
    assert "no normalisation: protocol my_own has none" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pyanote", "unknown protocol 'pyanote' (did you mean 'pyannote'?)"),
        ("voxceleb", "voxceleb_trainer"),
        ("../protocols/default", "unknown protocol '../protocols/default'"),
        ("", "unknown protocol ''"),
        ("default pyannote", "unknown protocol 'default pyannote'"),
    ],
)
def test_an_unknown_protocol_is_refused(project, name, message):
    done = run(project, "--protocol", name, status=1)
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert "stage" not in done.stdout


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_sets_what_is_read_and_nothing_else(protocol):
    """A misspelt name in one would be no error by itself."""
    script = """set -euo pipefail
data=D train_set=T embeddings=E norm=''
names() { compgen -v | grep -v -E '^(BASH|PIPESTATUS|FUNCNAME|_$|LINENO|RANDOM|SRANDOM|EPOCH|SECONDS)'; }
before=$(names)
unset norm && norm=''
. "$1"
comm -13 <(printf '%s\\nbefore\\n' "$before" | sort) <(names | sort)
echo "norm is $norm"
"""
    done = subprocess.run(
        ["bash", "-c", script, "-", ROOT / f"conf/protocols/{protocol}.sh"], capture_output=True, text=True, check=True
    )
    *new, norm = done.stdout.splitlines()
    assert {*new, "norm"} == SETTINGS
    assert norm.removeprefix("norm is ") in ("none", "znorm", "tnorm", "snorm", "asnorm")


def test_every_protocol_is_tested():
    assert sorted(COMMANDS) == PROTOCOLS
