"""The stages 0 to 7 on a corpus of seconds, each with its input as it was before and its output as it should be.

Every run of a stage happens in the same folder, put back to what it held before that stage: absolute paths and the
times of files are the same each time, so that outputs can be compared byte by byte.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
import yaml
from corpus import RATE, TINY, voice
from processes import Done, Running, ScriptServer, succeeds

NOISE = Path(__file__).resolve().parents[2] / "conf/augment/noise.yaml"
SPEAKERS, UTTERANCES = 8, 3
FEATURE = {"type": "fbank", "num_mel_bins": 16}
TRAINING = {"epochs": 3, "batch_size": 6, "crop_seconds": 0.4, "checkpoint_minutes": 0}
# A moment of writing, with the name of whoever ran it: in reports and logs, and nowhere else.
# In text, or as nanoseconds since 1970 in the lists of archives.
_DATE = re.compile(rb"20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?|\d\d:\d\d:\d\d|\b[12]\d{18}\b")
# What nobody believes: words and curves for people, and work that is gone on with.
_NOT_COMPARED = re.compile(r"\.log$|/tensorboard/|/log/|/q/|\.work|/\.|\.html$|\.png$|/checkpoints/")


class Stage(NamedTuple):
    """One command.

    Attributes
    ----------
    name : for people
    script : from the repository's root
    words : its arguments
    outputs : files and folders that it makes
    """

    name: str
    script: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]


def _fbank(name: str) -> Stage:
    words = (f"data/{name}", "--config", "fbank.yaml")
    return Stage(f"1 features of {name}", "steps/make_fbank.py", words, (f"data/{name}",))


def _embed(name: str) -> Stage:
    words = (f"data/{name}", "exp/final.pt", f"exp/embeddings/{name}")
    return Stage(f"4 embeddings of {name}", "steps/extract_embeddings.py", words, (f"exp/embeddings/{name}",))


_EMBEDDINGS, _SCORES = "exp/embeddings/test/embedding.scp", "exp/scores/trials.txt"
_NORMALISED = "exp/scores/trials_asnorm.txt"
STAGES = (
    Stage("0 corpus", "local/prepare_folders.py", ("data", "--root", "recordings", "--nj", "2"), ("data",)),
    _fbank("train"),
    _fbank("valid"),
    _fbank("test"),
    Stage("2 bank", "steps/make_bank.py", ("data/bank", "--musan", "musan"), ("data/bank",)),
    Stage(
        "2 augmentation",
        "steps/augment_data.py",
        ("data/train", "data/train_aug", "--augment", str(NOISE), "--bank", "data/bank"),
        ("data/train_aug",),
    ),
    Stage(
        "3 training",
        "steps/train.py",
        ("data/train_aug", "exp", "--valid", "data/valid", "--config", "tiny.yaml"),
        ("exp/final.pt", "exp/config.yaml", "exp/provenance.json"),
    ),
    _embed("train"),
    _embed("test"),
    Stage(
        "5 scores", "steps/score_trials.py", ("data/test/trials", _EMBEDDINGS, _SCORES), (_SCORES, f"{_SCORES}.made")
    ),
    Stage(
        "6 normalisation",
        "steps/normalize_scores.py",
        (_SCORES, _EMBEDDINGS, "exp/embeddings/train/embedding.scp", _NORMALISED, "--top-n", "4"),
        (_NORMALISED, f"{_NORMALISED}.made"),
    ),
    Stage(
        "7 results",
        "steps/compute_metrics.py",
        ("data/test/trials", _SCORES, _NORMALISED, "exp/results", "--draws", "20"),
        ("exp/results",),
    ),
)
# Those that the tests put to trial: the others do the same on other sets.
TRIED = tuple(
    number for number, stage in enumerate(STAGES) if not stage.name.endswith(("of valid", "features of test"))
)


def digests(folder: Path, outputs: tuple[str, ...] = (".",)) -> dict[str, str]:
    """Return a digest of each file that somebody believes, by its path; of a model's file that of the weights."""
    found = {}
    for output in outputs:
        root = folder / output
        for path in sorted(root.rglob("*") if root.is_dir() else [root] * root.exists()):
            name = str(path.relative_to(folder))
            if path.is_file() and not _NOT_COMPARED.search(f"/{name}"):
                found[name] = _digest(path)
    return found


def _digest(path: Path) -> str:
    if path.suffix != ".pt":
        return hashlib.sha256(_DATE.sub(b"DATE", path.read_bytes())).hexdigest()
    weights = torch.load(path, map_location="cpu", weights_only=True)["weights"]
    content = b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(weights.items()))
    return hashlib.sha256(content).hexdigest()


class Pipeline:
    """All stages, run once without any trouble.

    Parameters
    ----------
    folder : an empty one
    scripts : runs them

    Attributes
    ----------
    work : where stages run
    seconds : how long each took
    right : the digests of each stage's output
    """

    def __init__(self, folder: Path, scripts: ScriptServer) -> None:
        self.work, self._before, self._scripts = folder / "work", folder / "before", scripts
        self._make_inputs()
        self.seconds: list[float] = []
        self.right: list[dict[str, str]] = []
        for number, stage in enumerate(STAGES):
            shutil.copytree(self.work, self._before / str(number), symlinks=True)
            began = time.monotonic()
            succeeds(self.start(number).wait())
            self.seconds.append(time.monotonic() - began)
            self.right.append(digests(self.work, stage.outputs))
            assert self.right[-1], stage.name

    def start(self, number: int, *words: str, **environment: str) -> Running:
        """Start a stage."""
        stage = STAGES[number]
        return self._scripts.start(stage.script, *stage.words, *words, cwd=self.work, **environment)

    def restore(self, number: int) -> None:
        """Put everything back to what it was before a stage."""
        shutil.rmtree(self.work)
        shutil.copytree(self._before / str(number), self.work, symlinks=True)

    def inputs(self, number: int) -> dict[str, str]:
        """Return the digests of all that was there before a stage."""
        return digests(self._before / str(number))

    def check_nothing_half_made(self, number: int) -> None:
        """Check that what bears a final name is whole, or what it was before, and that no input has changed."""
        right, before = self.right[number], self.inputs(number)
        for name, digest in digests(self.work).items():
            assert digest in (right.get(name), before.get(name)), f"{STAGES[number].name}: {name} is half made"
        assert before.keys() <= digests(self.work).keys()

    def finish(self, number: int) -> Done:
        """Give the same command again and check that it makes what it makes without any trouble."""
        done = succeeds(self.start(number).wait())
        found = digests(self.work, STAGES[number].outputs)
        different = [name for name in {*found, *self.right[number]} if found.get(name) != self.right[number].get(name)]
        assert not different, f"{STAGES[number].name}: not what an undisturbed run makes: {different}"
        return done

    def _make_inputs(self) -> None:
        for speaker in range(SPEAKERS):
            for utterance in range(UTTERANCES):
                path = self.work / f"recordings/s{speaker}/{utterance}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, voice(speaker, utterance, 1.5), RATE)
        for kind in ("noise", "music", "speech"):
            for utterance in range(7):
                path = self.work / f"musan/{kind}/x/{utterance}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, voice(20, utterance, 1.0), RATE)
        (self.work / "fbank.yaml").write_text(yaml.safe_dump(FEATURE))
        config = {"model": TINY["lstm"], "loss": "softmax", "train": TRAINING}
        (self.work / "tiny.yaml").write_text(yaml.safe_dump(config))
