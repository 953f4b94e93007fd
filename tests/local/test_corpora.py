"""Every corpus of egs/ is one that run.sh can walk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPORA = sorted(path.parent.name for path in ROOT.glob("egs/*/corpus.sh"))
# What run.sh sets before it reads the file, and what it uses of it.
SHOW = """
set -euo pipefail
data=egs/$1/data prepare='' prepare_options=() prepare_values=() train_set=train valid_set=valid test_sets=(test)
recipe=default musan='' stop_stage=7
. "egs/$1/corpus.sh"
printf '%s\\n' "$prepare" "${prepare_options[*]}" "${prepare_values[*]}" "$recipe" "$stop_stage"
"""


def test_the_corpora():
    assert {"voxceleb", "librispeech", "librispeech_mini", "cnceleb", "ami", "musan", "rirs"} <= set(CORPORA)


@pytest.mark.parametrize("corpus", CORPORA)
def test_what_a_corpus_names_is_there(corpus):
    shown = subprocess.run(["bash", "-c", SHOW, "-", corpus], cwd=ROOT, capture_output=True, text=True, check=True)
    prepare, options, values, recipe, stop_stage = shown.stdout.splitlines()
    assert os.access(ROOT / prepare, os.X_OK) and (ROOT / "conf" / "recipes" / f"{recipe}.yaml").is_file()
    assert 0 <= int(stop_stage) <= 7
    words = subprocess.run(
        [sys.executable, ROOT / prepare, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in [*options.split(), *(word[2:] for word in values.split() if word.startswith("--"))]:
        assert f"--{option} " in words


@pytest.mark.parametrize(
    ("corpus", "options", "first"),
    [
        ("voxceleb", ["--train-on", "both", "--login", "my file"], "--train-on both --login my\\ file"),
        ("librispeech_mini", ["--root", "/corpora"], "--subset mini --root /corpora"),
        ("ami", ["--sets", "dev"], "--sets dev"),
    ],
)
def test_dry_run(corpus, options, first):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["./run.sh", "--corpus", corpus, "--dry-run", *options],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name = "librispeech" if corpus.startswith("librispeech") else corpus
    assert f" local/prepare_{name}.py egs/{corpus}/data {first}\n" in done.stdout
    stages = [line for line in done.stdout.splitlines() if line.startswith("== stage")]
    assert len(stages) == (1 if corpus == "ami" else 8)
