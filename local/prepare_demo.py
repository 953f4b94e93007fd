#!/usr/bin/env python3
"""Make the demo corpus: synthetic speech, recorded in simulated rooms with noise through various microphones.

    local/prepare_demo.py egs/demo/data --nj 2

Writes 16 kHz recordings to <data>/wav/<speaker>/<session>/, the data directories <data>/{train,valid,test} with
disjoint speakers, trial lists for valid and test whose trials never compare recordings of one session, and a small
folder of noise, music and speech in the layout of MUSAN, <data>/musan. The same seed gives the same samples, whatever
--nj is; recordings that were made with the same options are left as they are.
"""

import hashlib
import itertools
import json
import math
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

import numpy as np
import soundfile

from demo.noise import NOISES, music
from demo.score import SAMPLE_RATE
from demo.session import draw_session, record, to_int16
from demo.speaker import Manner, draw_speaker
from demo.voice import synthesise
from vouch.base.errors import VouchError
from vouch.base.files import atomic_write, read_text, write_text
from vouch.cli.parser import Parser, run_main
from vouch.corpora.prepared import DataSet, claim, write_data_sets
from vouch.corpora.worker_processes import in_processes
from vouch.kaldi.lists.trials import Trials

SETS = ("train", "valid", "test")
MUSAN_FILES = {"noise": 4, "music": 6, "speech": 8}  # per sub-folder
MUSAN_SECONDS = 8.0
# Beside the sets: what the recordings were made from.
RECORD = "demo.json"
# First number of the random seeds, so that different kinds of draws are independent.
SPEAKER, SESSION, UTTERANCE, TRIALS, MUSAN = range(5)


class Utterance(NamedTuple):
    """Numbers of an utterance, its session and its speaker, each counted from 1."""

    speaker: int
    session: int
    number: int

    @property
    def speaker_id(self) -> str:
        return f"d{self.speaker:04d}"

    @property
    def id(self) -> str:
        return f"{self.speaker_id}-s{self.session}-{self.number:02d}"

    @property
    def female(self) -> bool:
        return self.speaker % 2 == 0

    def path(self, data: Path) -> Path:
        return data / "wav" / self.speaker_id / f"s{self.session}" / f"{self.id}.wav"


def main() -> None:
    options = parse_options()
    data = options.data.resolve()
    folders = (*SETS, "wav", "musan")
    claim(data, folders)
    first, sets = 1, {}
    for name, speakers in zip(SETS, options.speakers, strict=True):
        numbers = range(first, first + speakers), range(1, options.sessions + 1), range(1, options.utterances + 1)
        sets[name] = [Utterance(*triple) for triple in itertools.product(*numbers)]
        first += speakers
    everything = [utterance for utterances in sets.values() for utterance in utterances]
    noises = list(musan_files(data / "musan"))
    record_file, what = data / RECORD, describe(options)
    paths = [*(utterance.path(data) for utterance in everything), *(path for *_, path in noises)]
    if record_file.exists() and read_text(record_file) == what and all(path.exists() for path in paths):
        print(f"{data}: the recordings are there already, of the same options; they are left as they are")
        lengths = (soundfile.info(utterance.path(data)).frames for utterance in everything)
        durations = {one.id: length / SAMPLE_RATE for one, length in zip(everything, lengths, strict=True)}
    else:
        record_file.unlink(missing_ok=True)
        for folder in folders:  # including features, which would belong to other audio
            shutil.rmtree(data / folder, ignore_errors=True)
        make = partial(make_utterance, data, options.seed)
        durations = dict(in_processes(make, everything, options.nj, "utterances"))
        for _ in in_processes(partial(make_musan, options.seed), noises, options.nj, "noises"):
            pass
        write_text(record_file, what)
    # Written last, so that no later stage accepts the directories of a killed run.
    made = {}
    for position, (name, utterances) in enumerate(sets.items()):
        rng = np.random.default_rng([options.seed, TRIALS, position])
        trials = {} if name == "train" else {"trials": draw_trials(utterances, rng)}
        wav_scp = {utterance.id: str(utterance.path(data)) for utterance in utterances}
        speakers = {utterance.id: utterance.speaker_id for utterance in utterances}
        made[name] = DataSet(wav_scp, speakers, {utterance: durations[utterance] for utterance in wav_scp}, trials)
    write_data_sets(data, made)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="folder to make; what an earlier run made there is replaced")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus")
    parser.add_argument("--nj", type=int, default=2, help="parallel processes")
    parser.add_argument("--speakers", default="96,12,24", help="numbers of training, validation and test speakers")
    parser.add_argument("--sessions", type=int, default=4, help="recording sessions of each speaker")
    parser.add_argument("--utterances", type=int, default=3, help="utterances in each session")
    options = parser.parse_args()
    counts = options.speakers.split(",")
    if len(counts) != 3 or not all(count.isascii() and count.isdigit() and int(count) >= 2 for count in counts):
        raise VouchError(f"--speakers {options.speakers}: give three numbers of at least 2, such as 96,12,24")
    options.speakers = [int(count) for count in counts]
    for name, least in {"seed": 0, "nj": 1, "sessions": 2, "utterances": 1}.items():
        if getattr(options, name) < least:
            raise VouchError(f"--{name} {getattr(options, name)}: must be at least {least}")
    return options


def describe(options: Namespace) -> str:
    """Return what the samples follow from: the options, and the programs that make them."""
    programs = [Path(__file__), *sorted((Path(__file__).parent / "demo").glob("*.py"))]
    digest = hashlib.sha256(b"".join(program.read_bytes() for program in programs)).hexdigest()
    numbers = {name: getattr(options, name) for name in ("seed", "speakers", "sessions", "utterances")}
    return json.dumps({**numbers, "programs": digest}) + "\n"


def make_utterance(data: Path, seed: int, utterance: Utterance) -> tuple[str, float]:
    """Synthesise and record one utterance; return its id and its length in seconds."""
    speaker_number, session_number, number = utterance
    speaker = draw_speaker(np.random.default_rng([seed, SPEAKER, speaker_number]), utterance.female)
    session = draw_session(np.random.default_rng([seed, SESSION, speaker_number, session_number]))
    rng = np.random.default_rng([seed, UTTERANCE, speaker_number, session_number, number])
    speech = synthesise(speaker, session.manner, rng.uniform(2.2, 4.0), rng)
    samples = record(speech, session, rng)
    write_wav(utterance.path(data), samples)
    return utterance.id, len(samples) / SAMPLE_RATE


def musan_files(folder: Path) -> Iterator[tuple[int, str, str, Path]]:
    """Yield number, class, sub-folder and path of each file."""
    subs = {"noise": list(NOISES), "music": ["melody"], "speech": ["voices"]}
    names = ((kind, sub, k) for kind in subs for sub in subs[kind] for k in range(MUSAN_FILES[kind]))
    for number, (kind, sub, k) in enumerate(names):
        yield number, kind, sub, folder / kind / sub / f"{kind}-{sub}-{k:04d}.wav"


def make_musan(seed: int, file: tuple[int, str, str, Path]) -> None:
    number, kind, sub, path = file
    rng = np.random.default_rng([seed, MUSAN, number])
    samples = int(MUSAN_SECONDS * SAMPLE_RATE)
    if kind == "noise":
        sound = NOISES[sub](samples, rng)
    elif kind == "music":
        sound = music(samples, rng)
    else:
        sound = synthesise(draw_speaker(rng, number % 2 == 0), Manner(), MUSAN_SECONDS, rng)
    write_wav(path, to_int16(sound, -24.0, rng))


def write_wav(path: Path, samples: np.ndarray) -> None:
    with atomic_write(path, "wb") as file:
        soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")


def draw_trials(utterances: list[Utterance], rng: np.random.Generator) -> Trials:
    """Draw all target trials across sessions, and as many non-target trials, half of them within a gender if possible.

    Non-target trials, too, compare sessions with different numbers, so that they differ from target trials only in the
    speaker.
    """
    pairs = [(a, b) for a, b in itertools.combinations(utterances, 2) if a.session != b.session]
    targets = [(a, b) for a, b in pairs if a.speaker == b.speaker]
    same = [(a, b) for a, b in pairs if a.speaker != b.speaker and a.female == b.female]
    cross = [(a, b) for a, b in pairs if a.female != b.female]
    half = min(math.ceil(len(targets) / 2), len(same))
    chosen = [same[k] for k in rng.choice(len(same), half, replace=False)] if same else []
    rest = min(len(targets) - half, len(cross))
    chosen += [cross[k] for k in rng.choice(len(cross), rest, replace=False)]
    labelled = sorted([(a.id, b.id, True) for a, b in targets] + [(a.id, b.id, False) for a, b in chosen])
    enrol, test, is_target = zip(*labelled, strict=True)
    return Trials(list(enrol), list(test), np.array(is_target))


if __name__ == "__main__":
    run_main(main)
