"""The scripts for data directories: against Kaldi's own on recorded cases, and as they are used."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kaldi_cases import OPS, contents, make_dir, read_tree, small_dir
from processes import fails, succeeds, wait_for

SCRIPTS = ("split_data", "subset_data_dir", "copy_data_dir", "combine_data", "fix_data_dir")
# Kaldi's script leaves a blank at the end of each line there.
TRAILING_BLANKS = {"subset_perspk": "b/spk2utt"}
# Not recorded, since they follow from Perl's random numbers: 8 utterances of 17, as shuffled with seed 0.
SHUFFLED = {"subset_speakers": "s1 s2 s3"}


def command_of(case):
    """Split a recorded command line into what comes before the script, the script, and its arguments."""
    before, _, command = case["command"].rpartition("; ")
    script, *words = command.split()
    return before, Path(script).stem, words


@pytest.mark.parametrize("name", [name for name, case in OPS.items() if command_of(case)[1] in SCRIPTS])
def test_the_same_as_kaldi(scripts, tmp_path, name):
    case = OPS[name]
    for folder, files in case["inputs"].items():
        make_dir(tmp_path / "d" / folder, contents(files))
    before, script, words = command_of(case)
    if before:
        subprocess.run(["bash", "-c", before], cwd=tmp_path, check=True)
    done = scripts.run(f"utils/{script}.py", *words, cwd=tmp_path)
    assert done.returncode == case["exit_status"], done
    if case["exit_status"]:
        fails(done, "")
        assert sorted(os.listdir(tmp_path / "d")) == sorted(case["inputs"])
        for folder, files in case["inputs"].items():
            assert read_tree(tmp_path / "d" / folder) == contents(files)
    for folder, files in case["outputs"].items():
        wanted = contents(files)
        if TRAILING_BLANKS.get(name, "").startswith(folder):
            table = TRAILING_BLANKS[name].split("/")[1]
            wanted[table] = wanted[table].replace(" \n", "\n")
        assert read_tree(tmp_path / "d" / folder) == wanted
    if name in SHUFFLED:
        speakers = (tmp_path / "d/b/spk2utt").read_text().splitlines()
        assert " ".join(line.split()[0] for line in speakers) == SHUFFLED[name]


def test_inversion_is_that_of_kaldi(scripts, tmp_path):
    case = OPS["spk2utt_from_utt2spk"]
    path = make_dir(tmp_path / "a", contents(case["inputs"]["a"]))
    done = succeeds(scripts.run("utils/utt2spk_to_spk2utt.py", path / "utt2spk", cwd=tmp_path))
    assert done.stdout == contents(case["outputs"]["o"])["spk2utt"]


def test_inversion_keeps_the_order(scripts, tmp_path):
    (tmp_path / "utt2spk").write_text("u3 z\nu1 a\nu2 z\n")
    assert succeeds(scripts.run("utils/utt2spk_to_spk2utt.py", "utt2spk", cwd=tmp_path)).stdout == "z u3 u2\na u1\n"
    for content, message in (("u1 a\nu1 b\n", "utt2spk:2: 'u1 b' is repeated"), ("u1\n", "utt2spk:1: 'u1' is not")):
        (tmp_path / "utt2spk").write_text(content)
        fails(scripts.run("utils/utt2spk_to_spk2utt.py", "utt2spk", cwd=tmp_path), message)
    fails(scripts.run("utils/utt2spk_to_spk2utt.py", "none", cwd=tmp_path), "none: no such file")


@pytest.mark.parametrize(
    ("script", "words", "message", "status"),
    [
        ("validate_data_dir", ["--no-feat", "set"], "unknown option '--no-feat' (did you mean '--no-feats'?)", 2),
        ("validate_data_dir", ["set", "set"], "unexpected argument 'set'", 2),
        ("validate_data_dir", ["none"], "none: no such data directory", 1),
        ("validate_data_dir", ["--min-seconds", 1, "set"], "--min-seconds goes with --audio", 2),
        ("validate_data_dir", ["--nj", 0, "set"], "--nj and --sample-rate are at least 1", 2),
        ("subset_data_dir", ["set", "new"], "expected SOURCE COUNT TARGET, not 2 words", 2),
        ("subset_data_dir", ["set", "many", "new"], "COUNT: 'many' is not a number", 2),
        ("subset_data_dir", ["set", "0", "new"], "cannot choose 0 of 4 utterances", 1),
        ("subset_data_dir", ["--first", "--last", "set", "2", "new"], "not allowed with argument", 2),
        ("subset_data_dir", ["--utt-list", "none", "set", "new"], "none: no such file", 1),
        ("subset_data_dir", ["--speaker", "set", "2", "new"], "did you mean '--speakers'?", 2),
        ("combine_data", ["new"], "the following arguments are required: sources", 2),
        ("combine_data", ["--skip-fix", "yes", "new", "set"], "unknown value 'yes'", 2),
        ("combine_data", ["new", "set", "none"], "none: no such data directory", 1),
        ("copy_data_dir", ["--utt-prefx", "x", "set", "new"], "did you mean '--utt-prefix'?", 2),
        ("copy_data_dir", ["set", "new", "--utt-prefix"], "expected one argument", 2),
        ("copy_data_dir", ["--validate-opts", "--no-wavs", "set", "new"], "did you mean 'no-wav'?", 1),
        ("copy_data_dir", ["set", "set"], "is the source itself", 1),
        ("split_data", ["set", "0"], "cannot be split into 0 parts", 1),
        ("split_data", ["set", "two"], "invalid int value: 'two'", 2),
        ("fix_data_dir", ["--utt-extra-file", "x", "set"], "did you mean '--utt-extra-files'?", 2),
    ],
)
def test_refusals(scripts, tmp_path, script, words, message, status):
    small_dir(tmp_path / "set")
    before = read_tree(tmp_path)
    fails(scripts.run(f"utils/{script}.py", *words, cwd=tmp_path), message, status)
    assert read_tree(tmp_path) == before
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("subset_data_dir", ["set", 3, "new"]),
        ("copy_data_dir", ["set", "new"]),
        ("combine_data", ["new", "set"]),
        ("split_data", ["set", 2]),
        ("fix_data_dir", ["set"]),
    ],
)
def test_a_full_disk_leaves_all_as_it_was(scripts, tmp_path, script, words):
    lines = [f"{utterance} /{'long' * 500}.wav\n" for utterance in ("b-2", "b-1", "a-2", "a-1")]
    if script != "fix_data_dir":
        lines.reverse()
    small_dir(tmp_path / "set", **{"wav.scp": "".join(lines)})
    before = read_tree(tmp_path)
    fails(scripts.run(f"utils/{script}.py", *words, cwd=tmp_path, largest_file=3000), "File too large")
    assert read_tree(tmp_path) == before
    assert os.listdir(tmp_path) == ["set"]
    assert not [name for name in os.listdir(tmp_path / "set") if name.startswith((".", "split"))]


def test_fixing_says_what_it_removed(scripts, tmp_path):
    small_dir(tmp_path / "set", **{"wav.scp": "a-1 x\nb-1 x\n"})
    done = succeeds(scripts.run("utils/fix_data_dir.py", "set", cwd=tmp_path))
    assert done.stdout.splitlines()[0] == "set: utt2spk: 2 removed, not in wav.scp (first: 'a-2')"
    assert done.stdout.splitlines()[-1] == "set: kept 2 of 4 utterances"
    succeeds(scripts.run("utils/validate_data_dir.py", "--no-text", "set", cwd=tmp_path))
    done = succeeds(scripts.run("utils/fix_data_dir.py", "set", cwd=tmp_path))
    assert done.stdout == "set: kept all 2 utterances\n"


def test_validation_names_all_and_ends_with_one_line(scripts, tmp_path):
    small_dir(tmp_path / "set", utt2dur="a-1 0\na-2 0\nb-1 1\nb-2 1\n", **{"feats.scp": None})
    words = ["--no-text", "set", "--show", 1, "--report", "all.txt"]
    done = scripts.run("utils/validate_data_dir.py", *words, cwd=tmp_path)
    fails(done, "set: 3 errors")
    assert done.stdout.splitlines()[:3] == [
        "error: set/utt2dur:1: 'a-1 0': the value is not one number of seconds above 0",
        "error: set/utt2dur: values: 1 more of 2",
        "error: set/feats.scp: no such file; waive it with --no-feats",
    ]
    assert done.stdout.splitlines()[-1].split() == ["all", "3", "0"]
    assert [line.split(": ")[1] for line in (tmp_path / "all.txt").read_text().splitlines()] == [
        "set/utt2dur:1",
        "set/utt2dur:2",
        "set/feats.scp",
    ]
    words = ["--no-text", "--no-feats", "--min-frames", 149, "set"]
    done = scripts.run("utils/validate_data_dir.py", *words, cwd=tmp_path)
    fails(done, "set: 6 errors")


def audio_set(path, count):
    """A directory of pipes, each of which leaves a line in `read` when it runs, late while there is a file `slow`."""
    audio = path.with_name("audio")
    audio.mkdir(exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    wav_scp = ""
    for name in (f"{path.name}-{number:02d}" for number in range(count)):
        soundfile.write(audio / f"{name}.wav", rng.uniform(-0.1, 0.1, 1600), 16000)
        wait = f"test ! -e {path.with_name('slow')} || sleep 0.1"
        wav_scp += f"{name} {wait}; echo {name} >> {path.with_name('read')}; cat {audio}/{name}.wav |\n"
    utt2spk = "".join(f"{line.split()[0]} {path.name}\n" for line in wav_scp.splitlines())
    spk2utt = f"{path.name} {' '.join(line.split()[0] for line in utt2spk.splitlines())}\n"
    return make_dir(path, {"wav.scp": wav_scp, "utt2spk": utt2spk, "spk2utt": spk2utt})


DOCTOR = ("--audio", "--no-text", "--no-feats")


def test_the_doctor(scripts, tmp_path):
    train, test = audio_set(tmp_path / "train", 4), audio_set(tmp_path / "test", 3)
    done = succeeds(scripts.run("utils/validate_data_dir.py", *DOCTOR, "--against", "test", "train", cwd=tmp_path))
    assert done.stdout.splitlines()[-1] == "train: valid"
    assert sorted((tmp_path / "read").read_text().split()) == sorted(
        [f"train-{n:02d}" for n in range(4)] + [f"test-{n:02d}" for n in range(3)]
    )
    assert sorted(os.listdir(train)) == ["spk2utt", "utt2spk", "wav.scp"]
    shutil.copy(tmp_path / "audio/test-01.wav", tmp_path / "audio/train-02.wav")
    (test / "trials").write_text("test-00 test-01 target\ntest-00 train-01 nontarget\n")
    done = scripts.run("utils/validate_data_dir.py", *DOCTOR, "--against", "train", "test", cwd=tmp_path)
    fails(done, "test: 2 errors")
    assert "error: test/wav.scp:2: 'test-01' has the samples of 'train-02' in train" in done.stdout
    assert "error: test/trials:2: test 'train-01' is not in utt2spk" in done.stdout
    (test / "wav.scp").write_text("test-00 x\n\n")
    done = scripts.run("utils/validate_data_dir.py", *DOCTOR, "test", cwd=tmp_path)
    fails(done, "test: ")
    assert "not examined further before this is mended: test/wav.scp:2: blank line" in done.stdout


def test_shared_speakers_without_audio(scripts, tmp_path):
    for name, speakers in (("one", "ab"), ("two", "bc")):
        make_dir(
            tmp_path / name,
            {
                "utt2spk": "".join(f"{speaker}-{name} {speaker}\n" for speaker in speakers),
                "spk2utt": "".join(f"{speaker} {speaker}-{name}\n" for speaker in speakers),
            },
        )
    words = ["--no-text", "--no-feats", "--no-wav", "--against", "two", "one"]
    done = scripts.run("utils/validate_data_dir.py", *words, cwd=tmp_path)
    fails(done, "one: 1 error")
    assert done.stdout.splitlines()[0] == "error: one/utt2spk:2: speaker 'b' is in two too"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_doctor_goes_on_where_it_was(scripts, tmp_path, number):
    path = audio_set(tmp_path / "set", 80)
    (tmp_path / "slow").touch()
    record = path / ".doctor.jsonl"
    running = scripts.start("utils/validate_data_dir.py", *DOCTOR, "--nj", 2, "set", cwd=tmp_path)
    wait_for(lambda: record.exists() and record.read_bytes().count(b"\n") >= 3, running)
    running.send(number)
    done = running.wait()
    assert done.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    known = {line.split('"')[1] for line in record.read_text().splitlines()}
    assert 3 <= len(known) < 80
    # What was being read when it was killed may still come to an end.
    subprocess.run(["sleep", "1"], check=True)
    for name in ("read", "slow"):
        (tmp_path / name).unlink()
    succeeds(scripts.run("utils/validate_data_dir.py", *DOCTOR, "--nj", 2, "set", cwd=tmp_path))
    assert sorted((tmp_path / "read").read_text().split()) == sorted({f"set-{n:02d}" for n in range(80)} - known)
    assert not record.exists()
