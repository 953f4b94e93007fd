"""local/prepare_folders.py on small trees with everything that people's folders hold."""

import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

import prepare_folders
import vouch.corpora.prepared as prepared
from vouch.audio.reading import read_audio
from vouch.base.errors import VouchError
from vouch.cli.messages import reports_shown
from vouch.corpora.durations import read_duration, read_durations
from vouch.corpora.prepared import DataSet, write_data_sets
from vouch.corpora.tree import safe, scan
from vouch.corpora.trial_lists import Names, read_trial_list
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.lists.trials import Trials, read_trials
from vouch.kaldi.tables import read_table
from vouch.training.data import TrainingSet

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "prepare_folders.py"


def sound(path, seconds=0.1, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(len(str(path))).standard_normal((int(seconds * rate), channels))
    with open(path, "wb") as file:
        kind = path.suffix[1:].upper()
        soundfile.write(file, samples, rate, format=kind, subtype={"WAV": "PCM_16", "OGG": "VORBIS"}.get(kind))
    return path


def tree(root, speakers=8, utterances=3, sessions=()):
    for speaker in range(speakers):
        for session in sessions or ("",):
            for number in range(utterances):
                sound(root / f"s{speaker}" / session / f"u{number}.wav")
    return root


class Done(NamedTuple):
    output: str
    warnings: list
    error: str


def run(data, *options):
    """Run the script's main in this process."""
    output, messages, error = io.StringIO(), io.StringIO(), ""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(messages):
        patch.setattr(sys, "argv", [str(SCRIPT), str(data), *map(str, options)])
        try:
            with reports_shown():
                prepare_folders.main()
        except VouchError as refusal:
            error = str(refusal)
        except SystemExit:
            error = messages.getvalue()
    lines = re.findall(r"prepare_folders.py: warning: (.*)\n", messages.getvalue())
    return Done(output.getvalue(), lines, error)


def prepare(data, *options):
    done = run(data, *options)
    assert not done.error
    return done


def refusal(data, *options):
    done = run(data, *options)
    assert done.error and not done.output
    return done.error


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def speakers_of(folder):
    return set(DataDir.load(folder, need=("wav.scp",)).utt2spk.values())


def sorted_by_field_2(lines):
    """What `LC_ALL=C sort -k2` does: bytes from the second field on, then whole lines."""
    return sorted(lines, key=lambda line: (b" " + line.split(b" ", 1)[1], line))


# --- whole runs ----------------------------------------------------------------------------------------------------


def test_plain_tree(tmp_path):
    root = tree(tmp_path / "tree", speakers=30, utterances=2, sessions=("x", "y"))
    output, messages, _ = prepare(tmp_path / "data", "--root", root)
    sets = {name: DataDir.load(tmp_path / "data" / name, need=("wav.scp",)) for name in ("train", "valid", "test")}
    speakers = {name: set(made.utt2spk.values()) for name, made in sets.items()}
    assert [len(speakers[name]) for name in sets] == [24, 3, 3]
    assert len(set.union(*speakers.values())) == 30
    assert not messages
    assert f"{tmp_path}/data/test: 3 speakers, 12 utterances, 0.00 h; trials: 12 target, 48 nontarget" in output
    for name in ("valid", "test"):
        trials = read_trials(tmp_path / "data" / name / "trials")
        for enrol, test, is_target in zip(*trials, strict=True):
            assert {enrol, test} <= sets[name].utt2spk.keys()
            assert (sets[name].utt2spk[enrol] == sets[name].utt2spk[test]) == is_target
            assert not is_target or enrol.split("-")[1] != test.split("-")[1]
    assert not list((tmp_path / "data" / "train").glob("trials*"))
    durations = read_table(tmp_path / "data" / "train" / "utt2dur")
    assert set(durations.values()) == {"0.100"} and durations.keys() == sets["train"].utt2spk.keys()
    assert sets["test"].wav_scp[trials.enrol[0]] == str(root / (trials.enrol[0].replace("-", "/") + ".wav"))


def test_two_runs_are_alike_byte_for_byte(tmp_path):
    root = tree(tmp_path / "tree")
    prepare(tmp_path / "one", "--root", root)
    prepare(tmp_path / "two", "--root", root, "--nj", "1")
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


NASTY = {
    "a/u.wav": "a-u",
    "a-c/1.wav": "a_c-1",
    "a_b-1/x/u.WAV": "a_b_1-x-u",
    "a.b/one two  three.flac": "a.b-one_two__three",
    "ab/deep/er/still/é(1).ogg": "ab-deep-er-still-é_1_",
    "ab/flat.mp3": "ab-flat",
    "ab+x/100%.wav": "ab_x-100_",
    "Zoë O'Neil, Jr/$HOME;ls|.wav": "Zoë_O_Neil__Jr-_HOME_ls_",
    "李雷/中文 录音.wav": "李雷-中文_录音",
    "s1/v1.2.wav": "s1-v1.2",
    "s10/-rf.wav": "s10--rf",
    "s10/b/-.wav": "s10-b--",
    "--help/u.wav": "__help-u",
    "हिन्दी/u.wav": "हिन्दी-u",
}


def test_odd_names_rates_channels_and_formats(tmp_path):
    root = tmp_path / "my recordings"
    for number, path in enumerate(NASTY):
        sound(root / path, rate=(8000, 16000, 44100)[number % 3], channels=1 + number % 2)
    for name in ("a/.hidden.wav", "a/._u.wav", ".trash/x/u.wav", "a/.cache/u.wav"):
        sound(root / name)
    (root / "a" / "notes.txt").write_text("not audio")
    _, messages, _ = prepare(tmp_path / "data", "--root", root, "--test-only")
    assert not messages
    made = DataDir.load(tmp_path / "data" / "test", need=("wav.scp",))
    assert made.wav_scp == {utterance: str(root / path) for path, utterance in NASTY.items()}
    assert made.utt2spk == {utterance: utterance.split("-")[0] for utterance in NASTY.values()}
    for rxfilename in made.wav_scp.values():
        assert len(read_audio(rxfilename).samples) >= 1600
    lines = (tmp_path / "data" / "test" / "utt2spk").read_bytes().splitlines()
    assert lines == sorted(lines) == sorted_by_field_2(lines)


def test_order_rule_agrees_with_sort(tmp_path):
    """The ids keep the order rule under sort(1) itself, for names built to break it."""
    names = ["a", "a-", "a-b", "a b c", "a.b", "a!", "ab", "A", "a1", "a-1-2", "ä", "a,b", "_", "-", "a#b-c~", "аб"]
    speakers = sorted({safe(name, keep="_.") for name in names})
    assert len(speakers) > 12
    lines = [f"{speaker}-{stem} {speaker}\n" for speaker in speakers for stem in ("-", "b-1", "1", "zz", "é", ".", "_")]
    table = tmp_path / "utt2spk"
    table.write_text("".join(lines), encoding="utf-8")
    outputs = [
        subprocess.run(["sort", *key, table], env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=True).stdout
        for key in ((), ("-k2",))
    ]
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0].splitlines()) == outputs[0].splitlines()
    assert sorted_by_field_2(outputs[0].splitlines()) == outputs[0].splitlines()


def test_links_are_followed(tmp_path):
    root = tree(tmp_path / "tree", speakers=6)
    elsewhere = tree(tmp_path / "elsewhere", speakers=1) / "s0"
    (root / "linked").symlink_to(elsewhere)
    (root / "s0" / "again.wav").symlink_to(elsewhere / "u0.wav")
    recordings = {recording.utterance: recording.path for recording in scan(root)}
    assert recordings["linked-u0"] == "linked/u0.wav" and recordings["s0-again"] == "s0/again.wav"


def test_sessions_are_the_first_folder(tmp_path):
    for path in ("s/x/1/u.wav", "s/x/2/u.wav", "s/y/u.wav", "s/u.wav"):
        sound(tmp_path / path)
    assert [(r.utterance, r.session) for r in scan(tmp_path)] == [
        ("s-u", ""),
        ("s-x-1-u", "x"),
        ("s-x-2-u", "x"),
        ("s-y-u", "y"),
    ]


def test_the_script_from_another_folder_in_the_c_locale(tmp_path):
    tree(tmp_path / "Größe")
    command = [SCRIPT, "data", "--root", "Größe", "--test-only"]
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for options, status in (["--nj", "2"], 0), (["--trials", "gone"], 1), (["--trails", "x"], 2):
        done = subprocess.run([*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr and (status == 0) == bool(done.stdout)
    assert f"{tmp_path}/Größe/s0/u0.wav" in read_table(tmp_path / "data" / "test" / "wav.scp").values()


# --- protocols -----------------------------------------------------------------------------------------------------


def test_test_speakers_and_one_list_of_paths(tmp_path):
    root = tree(tmp_path / "my tree", speakers=10)
    (root / "s9").rename(root / "Zoë B")
    (tmp_path / "speakers").write_text(unicodedata.normalize("NFD", "s0\ns1\nZoë B\n"), encoding="utf-8")
    (tmp_path / "list.txt").write_text(
        f"1 s0/u0.wav ./s0/u1.wav\n0 {root}/s0/u0.wav s1//u0.wav\n"
        "0 Zoë B/u0.wav   s1/u0.wav\n1 Zoë_B-u1 Zoë B/u2.wav\n",
        encoding="utf-8",
    )
    _, messages, _ = prepare(
        tmp_path / "data", "--root", root, "--test-speakers", tmp_path / "speakers", "--trials", tmp_path / "list.txt"
    )
    assert not messages
    assert speakers_of(tmp_path / "data" / "test") == {"s0", "s1", "Zoë_B"}
    assert not speakers_of(tmp_path / "data" / "test") & speakers_of(tmp_path / "data" / "train")
    assert (tmp_path / "data" / "test" / "trials").read_text(encoding="utf-8").splitlines() == [
        "s0-u0 s0-u1 target",
        "s0-u0 s1-u0 nontarget",
        "Zoë_B-u0 s1-u0 nontarget",
        "Zoë_B-u1 Zoë_B-u2 target",
    ]


def test_lists_alone_say_who_the_test_speakers_are(tmp_path):
    root = tree(tmp_path / "tree", speakers=10)
    (tmp_path / "easy.trials").write_text("s0-u0 s0-u1 target\ns0-u0 s3-u1 nontarget\n")
    (tmp_path / "hard one.trials").write_text("1 s7/u0.wav s7/u1.wav\n")
    lists = ("--trials", tmp_path / "easy.trials", "--trials", tmp_path / "hard one.trials")
    prepare(tmp_path / "data", "--root", root, *lists, "--valid-speakers", "4")
    assert speakers_of(tmp_path / "data" / "test") == {"s0", "s3", "s7"}
    assert [len(speakers_of(tmp_path / "data" / name)) for name in ("train", "valid")] == [3, 4]
    made = {path.name: path.read_text() for path in (tmp_path / "data" / "test").glob("trials*")}
    assert made == {
        "trials_easy": "s0-u0 s0-u1 target\ns0-u0 s3-u1 nontarget\n",
        "trials_hard_one": "s7-u0 s7-u1 target\n",
    }


def test_relative_root_is_accepted_in_lists_and_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "tree")
    (tmp_path / "list").write_text("1 tree/s0/u0.wav s0/u1.wav\n")
    prepare("data", "--root", "./tree", "--test-only", "--trials", "list")
    assert (tmp_path / "data" / "test" / "trials").read_text() == "s0-u0 s0-u1 target\n"
    assert read_table(tmp_path / "data" / "test" / "wav.scp")["s0-u0"] == f"{tmp_path}/tree/s0/u0.wav"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "1 s0/u0.wav s0/u9.wav",
            "'s0/u9.wav' is neither a file below the root nor an utterance id (did you mean 's0/",
        ),
        ("s0-u0 s00-u1 target", "'s00-u1' is neither a file below the root nor an utterance id; no speaker 's00' (did"),
        ("1 s0/u0.wav xyz", "'xyz' is neither a file below the root nor an utterance id; no speaker 'xyz'\n"),
        ("1 s0/u0.wav", "'1 s0/u0.wav' is neither '1|0 <path> <path>' nor '<id> <id> target|nontarget'"),
        ("2 s0/u0.wav s0/u1.wav", "'2 s0/u0.wav s0/u1.wav' is neither '1|0 <path> <path>' nor"),
        ("s0-u0 s0-u1 Target", "'s0-u0 s0-u1 Target' is neither"),
        ("", "'' is neither"),
        ("1 s0/u0.wav s0/u1.wav extra", "'s0/u0.wav s0/u1.wav extra' are not two files or utterances of the corpus"),
        ("0 a b/u0.wav b/u0.wav b/u0.wav", "'a b/u0.wav b/u0.wav b/u0.wav' are not two files"),
        ("0 p q r", "'p q r' can be read as two files in 2 ways; use utterance ids instead"),
    ],
)
def test_bad_trials(tmp_path, line, complaint):
    utterances = {f"s{speaker}/u{number}.wav": f"s{speaker}-u{number}" for speaker in range(3) for number in range(3)}
    utterances |= {name: f"id-{name}" for name in ("p", "p q", "r", "q r")}
    (tmp_path / "list").write_text(f"1 s0/u0.wav s0/u1.wav\n{line}\n")
    with pytest.raises(VouchError) as error:
        read_trial_list(tmp_path / "list", Names(utterances, ["/elsewhere"], {}))
    assert f"{error.value}\n".startswith(f"{tmp_path}/list:2: {complaint}")


def test_trials_of_left_out_files_and_of_training_speakers(tmp_path):
    root = tree(tmp_path / "tree", speakers=10)
    (root / "s0" / "empty.wav").touch()
    speakers, trials = tmp_path / "speakers", tmp_path / "list"
    speakers.write_text("s0\ns1\n")
    options = ("--root", root, "--test-speakers", speakers, "--trials", trials)
    for line, complaint in {
        f"1 s0/u0.wav {root}/s0/empty.wav": f"'{root}/s0/empty.wav' was left out: 0 bytes",
        "0 s0/u0.wav s2/u0.wav": "'s2-u0' is not of a test speaker; see --test-speakers",
    }.items():
        trials.write_text(line + "\n")
        assert refusal(tmp_path / "data", *options) == f"{trials}:1: {complaint}"
        assert not (tmp_path / "data").exists()


def test_labels_against_the_folders_are_reported(tmp_path):
    root = tree(tmp_path / "tree")
    (tmp_path / "list").write_text("1 s0/u0.wav s1/u0.wav\n0 s0/u0.wav s2/u1.wav\n0 s0/u0.wav s0/u1.wav\n")
    _, messages, _ = prepare(tmp_path / "data", "--root", root, "--test-only", "--trials", tmp_path / "list")
    assert messages == [f"{tmp_path}/list: 2 of 3 trials are labelled against their folders"]
    trials = read_trials(tmp_path / "data" / "test" / "trials")
    assert trials.is_target.tolist() == [True, False, False]


# --- what cannot be done -------------------------------------------------------------------------------------------


def test_unknown_test_speaker(tmp_path):
    root = tree(tmp_path / "tree")
    sound(root / "Marta" / "u.wav")
    (tmp_path / "list").write_text("s0\nMarte\n")
    message = refusal(tmp_path / "data", "--root", root, "--test-speakers", tmp_path / "list")
    assert message == f"{tmp_path}/list:2: no speaker 'Marte' with usable audio in {root} (did you mean 'Marta'?)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nj", "0"], "--nj 0: must be at least 1"),
        (["--valid-speakers", "1"], "--valid-speakers 1: must be 'auto' or a number of at least 2"),
        (["--valid-speakers", "²"], "--valid-speakers ²: must be 'auto' or a number of at least 2"),
        (
            ["--test-only", "true", "--valid-speakers", "2"],
            "--test-only puts all speakers into test: leave out --test-speakers and --valid-speakers",
        ),
        (["--test-speaker", "x"], "unknown option '--test-speaker' (did you mean '--test-speakers'?)"),
        (["--trials", "a/x.txt", "--trials", "b/x"], "--trials b/x: would be 'trials_x', as a/x.txt is; rename one"),
        (["--trials", "nowhere"], "nowhere: no such file"),
    ],
)
def test_bad_options(tmp_path, options, message):
    root = tree(tmp_path / "tree", speakers=6, utterances=2)
    error = refusal(tmp_path / "data", "--root", root, *options)
    assert error.removeprefix("prepare_folders.py: error: ").rstrip("\n") == message
    assert not (tmp_path / "data").exists()


def few(root, counts):
    for speaker, count in enumerate(counts):
        for number in range(count):
            sound(root / f"s{speaker}" / f"u{number}.wav", seconds=0.01)
    return root


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (
            [2, 2],
            [],
            "2 speakers, 2 of them with 2 utterances or more; at least 6 are needed, 4 of them with 2 utterances or"
            " more: 2 to train, 2 to validate, 2 to test; add speakers, or score them with a model that exists:"
            " --test-only",
        ),
        ([3, 3, 3, 1, 1, 1, 1], [], "7 speakers, 3 of them with 2 utterances or more; at least 6 are needed, 4 of"),
        ([2] * 6, ["--valid-speakers", "3"], "6 speakers, 6 of them with 2 utterances or more; at least 7 are needed"),
        ([2] * 5, ["--test-speakers", "list"], "3 speakers beside the test speakers, 3 of them with 2 utterances or"),
        ([9], ["--test-only"], "no trials can be made of 1 speakers and 9 utterances: at least 2 speakers are needed"),
        ([1, 1], ["--test-only"], "no trials can be made of 2 speakers and 2 utterances: at least 2 speakers are"),
    ],
)
def test_too_few(tmp_path, monkeypatch, counts, options, message):
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("s0\ns1\n")
    few(tmp_path / "tree", counts)
    assert message in refusal("data", "--root", tmp_path / "tree", *options)
    assert not Path("data").exists()


def test_smallest_trees_that_work(tmp_path):
    prepare(tmp_path / "six", "--root", few(tmp_path / "tree6", [2, 2, 2, 2, 1, 1]))
    for name in ("train", "valid", "test"):
        assert len(speakers_of(tmp_path / "six" / name)) == 2
    assert speakers_of(tmp_path / "six" / "train") == {"s4", "s5"}
    prepare(tmp_path / "two", "--root", few(tmp_path / "tree2", [2, 1]), "--test-only")
    assert (tmp_path / "two" / "test" / "trials").read_text() == (
        "s0-u0 s0-u1 target\ns0-u0 s1-u0 nontarget\ns0-u1 s1-u0 nontarget\n"
    )


def test_trees_that_cannot_be_used(tmp_path):
    (tmp_path / "a").mkdir()

    def complaint():
        with pytest.raises(VouchError) as error:
            scan(tmp_path)
        return str(error.value)

    (tmp_path / "a" / "text.txt").touch()
    assert complaint().startswith(f"{tmp_path}: no audio in it (.aac, .flac, .m4a,")
    sound(tmp_path / "a" / "u.wav")
    sound(tmp_path / "stray.wav")
    assert complaint() == f"{tmp_path}/stray.wav: has no speaker; move it into a folder that is named after its speaker"
    (tmp_path / "stray.wav").unlink()
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    assert complaint() == f"{tmp_path}/a/b/up: a link to a folder that it lies in; remove it"
    (tmp_path / "a" / "b" / "up").unlink()
    sound(tmp_path / "a" / "line\nbreak.wav")
    assert complaint() == f"{tmp_path}/a/line\\nbreak.wav: its name holds a line break; rename it"
    (tmp_path / "a" / "line\nbreak.wav").unlink()
    (tmp_path / "a" / os.fsdecode(b"caf\xe9.wav")).touch()
    assert complaint() == f"{tmp_path}/a/caf\\udce9.wav: its name is not UTF-8; rename it"
    with pytest.raises(VouchError, match="nowhere: no such folder; --root is the folder whose folders are the speak"):
        scan(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("first", "second", "identity"),
    [
        ("s/u.flac", "s/u.wav", "utterance 's-u'"),
        ("s/u.WAV", "s/u.wav", "utterance 's-u'"),
        ("s/a b.wav", "s/a_b.wav", "utterance 's-a_b'"),
        ("s/a-b/c.wav", "s/a/b-c.wav", "utterance 's-a-b-c'"),
        ("s/é.wav", "s/e\N{COMBINING ACUTE ACCENT}.wav", "utterance 's-é'"),
    ],
)
def test_clashing_files(tmp_path, first, second, identity):
    sound(tmp_path / first)
    sound(tmp_path / second)
    pair = sorted((first, second))
    with pytest.raises(VouchError) as error:
        scan(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: '{pair[0]}' and '{pair[1]}' would both be {identity}; rename or remove one"
    )


def test_clashing_speakers(tmp_path):
    for name in ("a b/1.wav", "a-b/2.wav", "a_b/3.wav"):
        sound(tmp_path / name)
    with pytest.raises(VouchError) as error:
        scan(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: 'a b' and 'a-b' would both be speaker 'a_b' (and 1 more clashes); rename or remove one"
    )


# --- unusable files ------------------------------------------------------------------------------------------------


def bad_files(folder):
    """Make one of each; returns the reason for each name."""
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no audio at all\n")
    soundfile.write(folder / "silent.wav", np.zeros(0), 16000)
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    return {
        "dangling.wav": "No such file or directory",
        "empty.wav": "0 bytes",
        "pipe.wav": "not a regular file",
        "silent.wav": "no samples",
        "text.wav": "not readable as audio (Format not recognised)",
    }


def test_unusable_files_are_named_and_left_out(tmp_path):
    root = tree(tmp_path / "tree", speakers=10, utterances=10)
    reasons = bad_files(root / "s3")
    output, messages, _ = prepare(tmp_path / "data", "--root", root, "--test-only")
    assert messages == [f"{root}/s3/{name}: left out: {reason}" for name, reason in reasons.items()]
    assert "10 speakers, 100 utterances" in output


def test_too_many_unusable_files(tmp_path):
    root = tree(tmp_path / "tree", speakers=5, utterances=15)
    reasons = bad_files(root / "s3")
    named = "; ".join(f"'s3/{name}': {reason}" for name, reason in reasons.items())
    assert refusal(tmp_path / "data", "--root", root, "--test-only") == (
        f"{root}: 5 of 80 files are not usable, more than 5%: {named}; mend or remove them"
    )
    assert not (tmp_path / "data").exists()


def test_flac_without_a_count_and_truncated_files(tmp_path):
    """What stage 0 says of a file is what reading it says."""
    content = bytearray(sound(tmp_path / "x.flac", seconds=1).read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    (tmp_path / "x.flac").write_bytes(content)
    assert read_duration(str(tmp_path / "x.flac")) == 1
    for name in ("x.flac", "x.wav", "x.ogg", "x.mp3"):
        content = sound(tmp_path / name, seconds=1).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        _, failed = read_durations([str(tmp_path / name)], 1)
        assert failed[str(tmp_path / name)].startswith("truncated")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_durations_are_those_of_the_samples(tmp_path, suffix):
    path = sound(tmp_path / f"x.{suffix}", seconds=1.25, rate=8000, channels=2)
    decoded = len(soundfile.read(path)[0]) / 8000
    assert read_duration(str(path)) == pytest.approx(decoded, abs=1e-9)
    assert decoded == pytest.approx(1.25, abs=0.2)


def test_wav_whose_header_does_not_know_its_length(tmp_path):
    path = sound(tmp_path / "x.wav", seconds=0.5)
    content = bytearray(path.read_bytes())
    where = content.index(b"data") + 4
    for size in (0, 0x7FFFF000, 0xFFFFFFFF):
        content[where : where + 4] = size.to_bytes(4, "little")
        path.write_bytes(content)
        assert read_duration(str(path)) == pytest.approx(0.5)


def probe(folder, answer, status=0):
    """Put a program named ffprobe into a folder of its own that gives `answer`."""
    folder.mkdir()
    program = folder / "ffprobe"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\necho 'moov atom not found' >&2\nexit {status}\n")
    program.chmod(0o700)
    (folder / "ffmpeg").symlink_to(program)
    return folder


@pytest.mark.parametrize(
    ("answer", "status", "seconds"),
    [
        ('{"streams": [{"codec_name": "aac"}], "format": {"duration": "2.530000"}}', 0, 2.53),
        ('{"streams": [{"codec_name": "aac"}], "format": {}}', 0, None),
        ('{"streams": [], "format": {"duration": "2.5"}}', 0, "no audio in it"),
        ('{"streams": [{"codec_name": "aac"}], "format": {"duration": "N/A"}}', 0, None),
        ("", 1, "not readable as audio (moov atom not found)"),
        ("", 0, "ffprobe gives a strange answer: ''"),
        ('{"streams": [{"codec', 0, """ffprobe gives a strange answer: '{"streams": [{"codec'"""),
        ("[]", 0, "ffprobe gives a strange answer: '[]'"),
        ('{"streams": [1], "format": []}', 0, """ffprobe gives a strange answer: '{"streams": [1], "format": []}'"""),
        ('{"format": {"duration": "two"}}', 0, """ffprobe gives a strange answer: '{"format": {"duration": "two"}}'"""),
        ('{"format": {"duration": "-1"}}', 0, """ffprobe gives a strange answer: '{"format": {"duration": "-1"}}'"""),
        ("[" * 100000, 0, f"ffprobe gives a strange answer: '{'[' * 100}...'"),
    ],
)
def test_m4a_durations_come_from_ffprobe(tmp_path, monkeypatch, answer, status, seconds):
    path = tmp_path / "x.m4a"
    path.write_bytes(b"some")
    monkeypatch.setenv("PATH", f"{probe(tmp_path / 'bin', answer, status)}:{os.environ['PATH']}")
    found, failed = read_durations([str(path)], 1)
    assert (failed[str(path)] if isinstance(seconds, str) else found[str(path)]) == seconds


def test_silence_passes_stage_0_and_not_the_first_stage_that_reads_samples(tmp_path, scripts):
    """Stage 0 looks at headers; of features stage 1 reads the samples, of waveforms stage 3."""
    root = tree(tmp_path / "tree", speakers=10)
    soundfile.write(root / "s9/u1.wav", np.zeros(8000), 16000)
    prepare(tmp_path / "data", "--root", root)
    found = {path.parent for path in (tmp_path / "data").glob("*/wav.scp") if "s9/u1.wav" in path.read_text()}
    (data,) = found
    done = scripts.run("steps/make_fbank.py", data, "--max-failed", "0.5", cwd=tmp_path)
    assert "1 failed: 's9-u1': silence, all samples are 0" in done.stderr
    training = TrainingSet(tmp_path / "data/train", feature=FrontEndConfig("waveform"))
    assert training.left_out == f"{tmp_path}/data/train/wav.scp: 1 utterances of silence or 0 samples left out: s9-u1"


def test_no_utt2dur_when_a_duration_is_not_known(tmp_path, monkeypatch):
    root = tree(tmp_path / "tree")
    (root / "s0" / "x.m4a").write_bytes(b"some")
    unknowing = probe(tmp_path / "bin", '{"streams": [{"codec_name": "aac"}], "format": {}}')
    monkeypatch.setenv("PATH", f"{unknowing}:{os.environ['PATH']}")
    _, messages, _ = prepare(tmp_path / "data", "--root", root)
    assert messages == [
        f"1 durations are not known, so utt2dur is not written; the first is of {root}/s0/x.m4a (which takes ffprobe)"
    ]
    assert not list((tmp_path / "data").rglob("utt2dur"))


def test_without_ffmpeg_stage_0_says_how_many_files_need_it_before_it_looks_at_any(tmp_path, monkeypatch):
    root = tree(tmp_path / "tree", speakers=2)
    for number, suffix in enumerate((".m4a", ".MP4", ".opus")):
        (root / "s0" / f"x{number}{suffix}").write_bytes(b"some")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(tmp_path / "data", "--root", root, "--test-only") == (
        f"{root}: 2 of 9 recordings need ffmpeg, which is not installed, the first is s0/x0.m4a; install it"
        " (apt install ffmpeg, conda install ffmpeg), or convert or remove them"
    )
    assert not (tmp_path / "data").exists()


def test_without_ffprobe_m4a_durations_are_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.m4a").write_bytes(b"some")
    assert read_duration(str(tmp_path / "x.m4a")) is None


# --- again ---------------------------------------------------------------------------------------------------------


def test_another_run_replaces_the_sets_and_keeps_features_of_the_same_audio(tmp_path):
    root, data = tree(tmp_path / "tree", speakers=10), tmp_path / "data"
    prepare(data, "--root", root)
    before = {name: speakers_of(data / name) for name in ("train", "valid", "test")}
    for name in before:
        (data / name / "feats.scp").write_text("x")
        (data / name / "fbank").mkdir()
    (tmp_path / "list").write_text("\n".join(f"{s}-u0 {s}-u1 target" for s in sorted(before["test"])) + "\n")
    lists = ("--trials", tmp_path / "list")
    prepare(data, "--root", root, *lists)
    assert {name: speakers_of(data / name) for name in before} == before
    assert len((data / "test" / "trials").read_text().splitlines()) == 2
    assert all((data / name / "feats.scp").exists() and (data / name / "fbank").exists() for name in before)
    (tmp_path / "second").write_text((tmp_path / "list").read_text())
    prepare(data, "--root", root, *lists, "--trials", tmp_path / "second", "--valid-speakers", "3")
    assert sorted(path.name for path in (data / "test").glob("trials*")) == ["trials_list", "trials_second"]
    assert (data / "test" / "feats.scp").exists()
    assert len(speakers_of(data / "valid")) == 3
    for name in ("train", "valid"):
        assert not (data / name / "feats.scp").exists() and not (data / name / "fbank").exists()


def test_test_only_leaves_the_training_sets_alone(tmp_path):
    data = tmp_path / "data"
    prepare(data, "--root", tree(tmp_path / "tree"))
    before = {name: everything(data / name) for name in ("train", "valid")}
    prepare(data, "--root", tree(tmp_path / "other", speakers=3, utterances=2), "--test-only")
    assert {name: everything(data / name) for name in before} == before
    assert speakers_of(data / "test") == {"s0", "s1", "s2"}


def test_sets_made_by_hand_are_not_overwritten(tmp_path):
    root, data = tree(tmp_path / "tree", speakers=6), tmp_path / "data"
    (data / "valid").mkdir(parents=True)
    message = refusal(data, "--root", root)
    assert message == (
        f"{data}/valid: was not made by stage 0 and is not overwritten; start at stage 1 to use it, or move it away,"
        " or give another data folder"
    )
    prepare(data, "--root", root, "--test-only")
    assert not list((data / "valid").iterdir())
    (data / ".prepared.json").write_text("{")
    message = refusal(data, "--root", root, "--test-only")
    assert message.startswith(f"{data}/.prepared.json: not a record of stage 0 (")
    assert message.endswith("); remove it and the sets beside it")


def test_a_killed_run_leaves_no_set_that_a_stage_would_accept(tmp_path, monkeypatch):
    def small(trials):
        return DataSet({"a-1": "/a.wav", "b-1": "/b.wav"}, {"a-1": "a", "b-1": "b"}, None, {"trials": trials})

    trials = Trials(["a-1"], ["b-1"], np.array([False]))
    write_data_sets(tmp_path, {"valid": small(trials), "test": small(trials)})
    assert json.loads((tmp_path / ".prepared.json").read_text()) == {"sets": ["test", "valid"]}

    def killed(*_):
        raise KeyboardInterrupt

    for function in ("write_trials", "write_data_dir"):
        with monkeypatch.context() as patch:
            patch.setattr(prepared, function, killed)
            with pytest.raises(KeyboardInterrupt):
                write_data_sets(tmp_path, {"valid": small(trials), "test": small(trials)})
        for name in ("valid", "test"):
            with pytest.raises(VouchError):
                DataDir.load(tmp_path / name)
        write_data_sets(tmp_path, {"valid": small(trials), "test": small(trials)})
        assert DataDir.load(tmp_path / "test", need=("wav.scp",)).utt2spk == {"a-1": "a", "b-1": "b"}
