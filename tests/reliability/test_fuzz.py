"""Files of strangers, damaged at random: each reader understands them or says in one line what is wrong.

Beside these, tests/kaldi/test_fuzz.py damages archives and tables with what means something in Kaldi's formats.
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import signal
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from corpus import tiny_encoder, voice
from counts import count, seed

from ami.annotations import read_turns
from vouch.audio.reading import read_audio, read_channels
from vouch.augment.bank import INDEX, read_bank, write_bank
from vouch.augment.collect import read_held_back
from vouch.augment.config import AugmentConfig
from vouch.base.errors import VouchError
from vouch.base.files import read_json
from vouch.base.options import read_yaml
from vouch.corpora.archives import unpack
from vouch.encoder import load_encoder, save_encoder
from vouch.evaluation.result import Settings, evaluate
from vouch.evaluation.result_file import read_result, write_result
from vouch.features.config import FrontEndConfig
from vouch.interop import import_checkpoint
from vouch.jobs.line import parse_launch
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.datadirs.npytree import read_bins_first
from vouch.kaldi.datadirs.wavlist import read_wav_list
from vouch.kaldi.lists.scores import read_scores
from vouch.kaldi.lists.trials import read_trials
from vouch.kaldi.matrices.mapped import read_matrix, read_vectors
from vouch.kaldi.matrices.reading import read_entries
from vouch.kaldi.matrices.writing import open_ark, open_entries
from vouch.kaldi.tables import read_lines, read_table
from vouch.scoring.calibration import fit_calibration, read_calibration, write_calibration
from vouch.scoring.plda_file import read_mean, read_plda, read_transform
from vouch.stores.features import FeatureStore
from vouch.training.config import resolve_config

CONF = Path(__file__).resolve().parents[2] / "conf"
KALDI = Path(__file__).resolve().parents[1] / "golden"
# Above what the process had before a reader began; a header that promises more is not believed.
MOST_MEMORY = 400 << 10  # KiB
SECONDS = 60  # that nothing needs, on a busy machine either
LONGEST_LINE = 10_000  # with a thousand bytes that are shown as Python writes them


XML = """<?xml version="1.0"?>
<m><meeting observation="ES2004a"><speaker nxt_agent="A" global_name="FEE013"/></meeting>
<segment transcriber_start="0.5" transcriber_end="1.75"/></m>
"""


class Reader(NamedTuple):
    """A file, and what reads it.

    Attributes
    ----------
    make : writes a good one to the path that it is given
    read : reads it
    share : of the mutations of others, for slow ones
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    share: float = 1.0


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def copied(source: Path) -> Callable[[Path], object]:
    return lambda path: shutil.copy(source, path)


def sound(form: str, subtype: str) -> Callable[[Path], object]:
    return lambda path: soundfile.write(path, voice(0, 0, 0.3), 16000, subtype, format=form)


def archive(kind: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        with open_entries(f"ark:{path}", kind) as writer:
            for key in ("a", "b"):
                writer.write(key, rng.normal(size=(9, 7)).astype("f4"))

    return make


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("d/a.wav", "d/é.txt"):
            archive.writestr(name, b"content" * 30)


def make_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name in ("d/a.wav", "d/" + "long" * 40):
            member = tarfile.TarInfo(name)
            member.size = 210
            archive.addfile(member, io.BytesIO(b"content" * 30))


def unpacked(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> None:
        target = path.with_name("out")
        try:
            unpack(name, [path], target)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    return read


def make_bank_index(path: Path) -> None:
    write_bank(path.parent, {"noise": [("a.wav", np.ones(50, np.float32))]}, 16000)
    path.write_bytes((path.parent / INDEX).read_bytes())


def read_bank_index(path: Path) -> None:
    shutil.copy(path, path.parent / INDEX)
    read_bank(path.parent, 16000)


def make_result(path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=40)
    write_result(path, evaluate("mine", scores, np.arange(40) % 2 == 0, Settings(draws=5)))


def make_calibration(path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=(40, 2))
    write_calibration(path, fit_calibration(scores, {}, np.arange(40) % 2 == 0))


def turns(path: Path) -> None:
    folder = path.with_name("annotations")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "x.rttm")
    read_turns(folder, ["ES2004a"])


def xml_turns(path: Path) -> None:
    folder = path.with_name("manual")
    (folder / "corpusResources").mkdir(parents=True, exist_ok=True)
    (folder / "segments").mkdir(exist_ok=True)
    shutil.copy(path, folder / "corpusResources/meetings.xml")
    shutil.copy(path, folder / "segments/ES2004a.A.segments.xml")
    read_turns(folder, ["ES2004a"])


def data_dir(path: Path) -> None:
    folder = path.with_name("data")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "segments")
    (folder / "wav.scp").write_text("r /nowhere.wav\n")
    (folder / "utt2spk").write_text("a-1 a\na-2 a\n")
    DataDir.load(folder, need=["wav.scp"])


def make_scp(path: Path, *shape: int) -> None:
    """Write a table that points into a good archive beside it."""
    rng = np.random.default_rng(0)
    with open_ark(path.with_name("beside.ark"), path) as ark:
        for number in range(6):
            ark.write(f"s{number}", rng.normal(size=shape or 8).astype("f4"))


def make_foreign_model(path: Path) -> None:
    """Write an LSTM as the GE2E code bases save theirs."""
    lstm = {"weight_ih": (32, 6), "weight_hh": (32, 8), "bias_ih": (32,), "bias_hh": (32,)}
    shapes = {f"LSTM_stack.{key}_l0": shape for key, shape in lstm.items()}
    shapes |= {"projection.weight": (4, 8), "projection.bias": (4,)}
    torch.save({key: torch.ones(shape) for key, shape in shapes.items()}, path)


READERS = {
    "yaml": Reader(copied(CONF / "augment/kaldi.yaml"), read_yaml),
    "feature": Reader(copied(CONF / "features/fbank40.yaml"), lambda path: FrontEndConfig.from_dict(read_yaml(path))),
    "recipe": Reader(copied(CONF / "recipes/demo.yaml"), lambda path: resolve_config(read_yaml(path), {})),
    "augmentation": Reader(copied(CONF / "augment/kaldi.yaml"), AugmentConfig.read),
    "bank": Reader(make_bank_index, read_bank_index),
    "held back": Reader(text("a.wav\nb/c.flac\n"), read_held_back),
    "json": Reader(text(json.dumps({"a": [1, 2.5, None, True, "é"], "b": {"c": -1e-3}})), read_json),
    "table": Reader(text("a-1 x y\na-2 z\nb-1  w\n"), read_table),
    "lines": Reader(text("one\ntwo\n"), read_lines),
    "trials": Reader(text("a-1 b-1 target\na-2 b-2 nontarget\n" * 4), read_trials),
    "scores": Reader(text("a-1 b-1 0.25\na-2 b-2 -1.5e-3\n" * 4), read_scores),
    "list of recordings": Reader(lambda path: path.write_text(f"a-1 {path}\nb-1 {path}\n"), read_wav_list),
    "segments": Reader(text("a-1 r 0 0.5\na-2 r 0.5 -1\n"), data_dir),
    "scp of vectors": Reader(make_scp, read_vectors),
    "scp of matrices": Reader(lambda path: make_scp(path, 9, 4), lambda path: FeatureStore(path).matrix(0)),
    "archive": Reader(archive("none"), lambda path: list(read_entries(f"ark:{path}"))),
    "compressed archive": Reader(archive("8bit"), lambda path: list(read_entries(f"ark:{path}"))),
    "archive in text": Reader(copied(KALDI / "kaldi_ark/mats.txt"), lambda path: list(read_entries(f"ark:{path}"))),
    "npy": Reader(lambda path: np.save(path.open("wb"), np.ones((1, 5, 7), "f4")), read_bins_first),
    "matrix": Reader(archive("none"), lambda path: read_matrix(f"{path}:2")),
    "plda": Reader(copied(KALDI / "kaldi_plda/plda"), read_plda),
    "plda in text": Reader(copied(KALDI / "kaldi_plda/plda.txt"), read_plda, 0.3),
    "result": Reader(make_result, read_result),
    "calibration": Reader(make_calibration, read_calibration),
    "turns": Reader(text("SPEAKER ES2004a 1 0.5 1.25 <NA> <NA> FEE013 <NA>\n" * 3), turns),
    "turns in XML": Reader(text(XML), xml_turns),
    "mean": Reader(text(" [ 1 2 3 ]\n"), read_mean),
    "transform": Reader(text(" [\n 1 2 3\n 4 5 6 ]\n"), read_transform),
    "wav": Reader(sound("WAV", "PCM_16"), lambda path: read_audio(str(path))),
    "flac": Reader(sound("FLAC", "PCM_16"), lambda path: read_channels(str(path))),
    "ogg": Reader(sound("OGG", "VORBIS"), lambda path: read_channels(str(path)), 0.3),
    "aiff": Reader(sound("AIFF", "PCM_16"), lambda path: read_channels(str(path))),
    "zip": Reader(make_zip, unpacked("x.zip")),
    "tar": Reader(make_tar, unpacked("x.tar.gz")),
    "model": Reader(lambda path: save_encoder(tiny_encoder("lstm"), path), load_encoder, 0.1),
    "foreign model": Reader(make_foreign_model, lambda path: import_checkpoint(path, "ge2e"), 0.1),
    "launch": Reader(text("--max-jobs-run 2 JOB=1:8 x.JOB.log echo JOB\n"), lambda path: parse_launch(words(path))),
}


def words(path: Path) -> list[str]:
    return path.read_bytes().decode("latin-1").split()


PIECES = [
    *(b"\0", b"\n", b"\r\n", b" ", b"\t", b"-", b"-1", b"1e999", b"nan", b"inf", b"9" * 30, b"9" * 5000, b"1_0"),
    *(b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xfe", b"\xef\xbb\xbf", "２".encode()),
    *(b"[", b"]", b"{", b"}", b":", b"&a ", b"*a", b"!!int ", b"? ", b"|", b"null", b"true", b"2001-99-99"),
]


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace, insert, delete, repeat or cut off at one to four places."""
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(content) + 1))
        piece = PIECES[rng.integers(len(PIECES))] if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 5)))
        match rng.integers(0, 6):
            case 0 | 1:
                content = content[:at] + piece + content[at + len(piece) :]
            case 2:
                content = content[:at] + piece + content[at:]
            case 3:
                content = content[:at] + content[at + int(rng.integers(1, 30)) :]
            case 4:
                content = content[:at] + content[max(0, at - int(rng.integers(1, 60))) :]
            case 5:
                content = content[:at]
    return content


def hangs(*_: object) -> None:
    raise AssertionError(f"reads for more than {SECONDS} seconds")


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(tmp_path, monkeypatch, name):
    monkeypatch.setattr("vouch.kaldi.matrices.reading.read_pipe", lambda command: b"")
    monkeypatch.setattr("vouch.audio.reading.read_pipe", lambda command: b"")
    reader = READERS[name]
    path = tmp_path / "damaged"
    reader.make(path)
    good = path.read_bytes()
    reader.read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng((seed(), *name.encode()))
    old = signal.signal(signal.SIGALRM, hangs)
    try:
        for number in range(round(reader.share * count(60, 996_000 // len(READERS)))):
            path.write_bytes(mutate(good, rng))
            signal.alarm(SECONDS)
            try:
                reader.read(path)
            except VouchError as error:
                line = str(error)
                assert line.isprintable() and 0 < len(line) < LONGEST_LINE, (number, line)
            except Exception as error:
                raise AssertionError(f"mutation {number} of {name}, {path}: {error!r}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY
