"""local/prepare_cnceleb.py on a small CN-Celeb of the real layout."""

import numpy as np
import pytest
from adapters import prepare, refusal, sound

import prepare_cnceleb
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table
from vouch.scoring.sides import load_sides

TRAIN = [f"id{number:05d}" for number in range(6)]
TEST = ["id00800", "id00801"]
SECOND = [f"id{number}" for number in range(10000, 10003)]
FILES = ["interview-01-001", "interview-01-002", "singing-02-001"]


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "CN-Celeb_flac"
    for speaker in TRAIN + TEST:
        for name in FILES:
            sound(root / "data" / speaker / f"{name}.flac")
    for speaker in SECOND:
        for name in FILES:
            sound(tmp_path / "CN-Celeb2_flac" / "data" / speaker / f"{name}.flac")
    for speaker in TEST:
        sound(root / "eval" / "enroll" / f"{speaker}-enroll.flac", seconds=0.2)
        sound(root / "eval" / "test" / f"{speaker}-singing-02-001.flac")
        sound(root / "eval" / "test" / f"{speaker}-vlog-01-001.flac")
    lists = root / "eval" / "lists"
    lists.mkdir()
    (root / "dev").mkdir()
    (root / "dev" / "dev.lst").write_text("".join(f"{speaker}\n" for speaker in TRAIN))
    (lists / "enroll.lst").write_text("".join(f"{s}-enroll enroll/{s}-enroll.wav\n" for s in TEST))
    enrolled = [f"{s}-enroll {s}/interview-01-001.wav {s}/interview-01-002.wav\n" for s in TEST]
    (lists / "enroll.map").write_text("".join(enrolled))
    trials = [f"{e}-enroll test/{t}-{n}.wav {int(e == t)}\n" for e in TEST for t in TEST for n in (FILES[2],)]
    (lists / "trials.lst").write_text("".join([*trials, "id00800-enroll test/id00800-vlog-01-001.wav 1\n"]))
    return tmp_path


def load(folder):
    return DataDir.load(folder, need=("wav.scp",))


def test_enrolment_from_several_utterances(tmp_path, corpus):
    data = tmp_path / "data"
    prepare(prepare_cnceleb, data, "--root", corpus)
    train, valid, test = (load(data / name) for name in ("train", "valid", "test"))
    assert {*train.utt2spk.values(), *valid.utt2spk.values()} == {*TRAIN, *SECOND}
    assert len({*valid.utt2spk.values()}) == 2 and not {*train.utt2spk.values()} & {*valid.utt2spk.values()}
    assert read_table(data / "test" / "enrol_map") == {
        f"{s}-enroll": f"{s}-enroll-interview-01-001 {s}-enroll-interview-01-002" for s in TEST
    }
    assert len(test.utt2spk) == 4 + 4
    where = "CN-Celeb_flac/data/id00801/interview-01-002.flac"
    assert test.wav_scp["id00801-enroll-interview-01-002"] == f"{corpus}/{where}"
    assert test.wav_scp["id00801-vlog-01-001"] == f"{corpus}/CN-Celeb_flac/eval/test/id00801-vlog-01-001.flac"
    trials = read_trials(data / "test" / "trials")
    assert trials.is_target.tolist() == [True, False, False, True, True]
    assert trials.enrol[1] == "id00800-enroll" and trials.test[1] == "id00801-singing-02-001"
    for enrol, test_id, is_target in zip(*read_trials(data / "valid" / "trials"), strict=True):
        assert not is_target or enrol.rpartition("-")[0] != test_id.rpartition("-")[0]  # across sessions
    # The map is one that stage 5 takes.
    vectors = np.random.default_rng(0).standard_normal((len(test.utt2spk), 4)).astype(np.float32)
    with open_ark(tmp_path / "e.ark", tmp_path / "e.scp") as ark:
        for utterance, vector in zip(test.utt2spk, vectors, strict=True):
            ark.write(utterance, vector)
    sides = load_sides(tmp_path / "e.scp", data / "test" / "enrol_map")
    assert set(trials.enrol) <= set(sides.enrol) and set(trials.test) <= set(sides.test)


def test_concatenated_enrolment_and_a_change_between_the_two(tmp_path, corpus):
    data = tmp_path / "data"
    prepare(prepare_cnceleb, data, "--root", corpus, "--train-on", "cnceleb1")
    prepare(prepare_cnceleb, data, "--root", corpus, "--train-on", "cnceleb1", "--enrolment", "concatenated")
    assert not (data / "test" / "enrol_map").exists()
    test = load(data / "test")
    assert test.wav_scp["id00800-enroll"] == f"{corpus}/CN-Celeb_flac/eval/enroll/id00800-enroll.flac"
    assert set(read_trials(data / "test" / "trials").enrol) <= test.utt2spk.keys()
    assert {*load(data / "train").utt2spk.values(), *load(data / "valid").utt2spk.values()} == {*TRAIN}


def test_other_spellings_of_the_map(tmp_path, corpus):
    path = corpus / "CN-Celeb_flac" / "eval" / "lists" / "enroll.map"
    path.write_text("id00800 data/id00800/interview-01-001.flac\nid00801-enroll id00801/singing-02-001.flac\n")
    prepare(prepare_cnceleb, tmp_path / "data", "--root", corpus)
    assert read_table(tmp_path / "data" / "test" / "enrol_map") == {
        "id00800-enroll": "id00800-enroll-interview-01-001",
        "id00801-enroll": "id00801-enroll-singing-02-001",
    }


@pytest.mark.parametrize(
    ("table", "line", "words"),
    [
        ("enroll.map", "id00800-enroll id00800/nothing.wav", ":1: there is no 'id00800/nothing.wav' below "),
        ("enroll.map", "id00800-enroll ../../secret.wav", ":1: there is no '../../secret.wav' below "),
        ("enroll.map", "id00800-enroll", ":1: 'id00800-enroll' has no utterances"),
        ("enroll.map", "id00800 id00800/singing-02-001.wav\n" * 2, ":2: 'id00800' is there twice"),
        ("trials.lst", "id00800-enroll test/id00800-x.wav 1", ":1: there is no usable recording 'test/id00800-x.wav'"),
        ("trials.lst", "id00700-enroll test/id00800-vlog-01-001.wav 1", ":1: 'id00700-enroll' is not an enrolment"),
        ("trials.lst", "id00800-enroll test/id00800-vlog-01-001.wav", "is not '<enrolment> <test file> 1|0'"),
        ("trials.lst", "id00800-enroll test/id00800-vlog-01-001.wav 2", "is not '<enrolment> <test file> 1|0'"),
    ],
)
def test_lists_with_a_mistake(tmp_path, corpus, table, line, words):
    path = corpus / "CN-Celeb_flac" / "eval" / "lists" / table
    path.write_text(line.rstrip() + "\n")
    message = refusal(prepare_cnceleb, tmp_path / "data", "--root", corpus)
    assert message.startswith(f"{path}:") and words in message
    assert not (tmp_path / "data").exists()


def test_training_on_a_test_speaker(tmp_path, corpus):
    (corpus / "CN-Celeb_flac" / "dev" / "dev.lst").write_text("".join(f"{s}\n" for s in [*TRAIN, "id00801"]))
    message = refusal(prepare_cnceleb, tmp_path / "data", "--root", corpus)
    assert message == f"{corpus}/CN-Celeb_flac/dev/dev.lst: 'id00801' is a test speaker too"
