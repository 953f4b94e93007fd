#!/usr/bin/env python3
"""Augmented training examples the way of voxceleb_trainer, utterance by utterance, and in batches, on one thread.

An example is a crop of 2 s of a wav file, with one of five augmentations (none, room, music, other voices, noise; the
preset voxceleb_trainer), and its 80 log mel filterbank energies. The classical way decodes speech and noises, in pieces
of 5 s as voxceleb_trainer cuts them, with soundfile, convolves with scipy.signal, mixes with numpy, and computes
features by torchaudio.compliance.kaldi.fbank; that is the first of three. The second is kinder than voxceleb_trainer,
which decodes whole files: it reads the crops alone. The third besides calls the front end of this project for each
utterance. Ours reads 16-bit crops into a batch, and does the rest with the effects of `vouch.augment` and the front end
on the batch; noises and rooms are in a bank. Prints milliseconds of CPU time an example for each part, in turns in the
same run, and the ratios of the sums.

    python3 tests/benchmarks/bench_augment.py --repeats 5
    python3 tests/benchmarks/bench_augment.py --speech FOLDER --noises MUSAN --rooms FOLDER
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np
import scipy.signal
import soundfile
import torch
from torchaudio.compliance import kaldi

from vouch.audio.reading import read_audio
from vouch.audio.tree import walk_audio
from vouch.augment.bank import read_bank, write_bank
from vouch.augment.config import AugmentConfig
from vouch.features.fbank import Fbank
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.stores.waves import WaveStore

RATE, CROP, BATCH = 16000, 32000, 200
# Number of files, and limits of the ratio in dB, by the kind of noise.
NOISES = {"noise": ((1, 1), (0, 15)), "music": ((1, 1), (5, 15)), "speech": ((3, 7), (13, 20))}
KINDS = ("utterances", *NOISES, "room")
Parts = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="folder of speech; by default, as for the others, it is made up")
    parser.add_argument("--noises", type=Path, help="folder with folders noise, music and speech")
    parser.add_argument("--rooms", type=Path, help="folder of responses")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=3, help="batches a measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sources = {"utterances": args.speech, "room": args.rooms}
    sources |= {kind: args.noises and args.noises / kind for kind in NOISES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:
            write_recordings(folder / kind, kind, sources[kind])
        ours, whole, cropped = Ours(folder), Classical(folder, read_whole), Classical(folder, read_crop)
        functions: dict[str, Callable[[], Parts]] = {
            "in batches": lambda: ours.run(args.batches),
            "each as voxceleb_trainer": lambda: whole.run(BATCH, whole.their_fbank),
            "each, reading crops": lambda: cropped.run(BATCH, cropped.their_fbank),
            "each, crops, our fbank": lambda: cropped.run(BATCH, cropped.our_fbank),
        }
        measured = measure(functions, args.repeats)
    own = measured.pop("in batches")
    print_parts("in batches", own)
    for name, parts in measured.items():
        print_parts(name, parts)
        print(f"{'':26s} {sum(parts.values()) / sum(own.values()):.1f} times as long as in batches")


def print_parts(name: str, parts: Parts) -> None:
    each = ", ".join(f"{part} {1000 * seconds:.3f}" for part, seconds in parts.items())
    total = sum(parts.values())
    print(f"{name:26s} {1000 * total:.3f} ms an example ({each}): {1 / total:.0f} examples per second", flush=True)


def write_recordings(folder: Path, kind: str, source: Path | None) -> None:
    """Write wav files of 16 bits; utterances last 8 s, about as those of VoxCeleb in the mean, noises 5 s at most."""
    folder.mkdir()
    found = make_up(kind) if source is None else [read_audio(path, RATE).samples for path in walk_audio(str(source))]
    if kind == "utterances":
        found = cut([np.concatenate(found[:2000])], 8 * RATE)
    elif kind in NOISES:
        found = cut(found, 5 * RATE)
    while kind == "speech" and len(found) < NOISES["speech"][0][1]:
        found = [half for samples in found for half in np.array_split(samples, 2)]
    for number, samples in enumerate(found):
        soundfile.write(folder / f"{number:05d}.wav", samples, RATE, subtype="PCM_16")


def cut(found: list[np.ndarray], samples: int) -> list[np.ndarray]:
    """Return recordings in pieces of equal length; shorter ones stay as they are."""
    pieces = [np.split(each, range(samples, len(each), samples)) for each in found]
    return [piece for own in pieces for piece in own if len(piece) == samples or len(own) == 1]


def make_up(kind: str) -> list[np.ndarray]:
    """Return noise that comes and goes; rooms decay, by 60 dB within 0.2 to 1 s."""
    rng = np.random.default_rng(KINDS.index(kind))
    made = []
    for _ in range(100):
        seconds = rng.uniform(0.2, 1) if kind == "room" else rng.uniform(5, 15)
        time_axis = np.arange(int(seconds * RATE)) / RATE
        shape = 10 ** (-3 * time_axis / seconds) if kind == "room" else 0.1 + np.abs(np.sin(3 * time_axis))
        made.append((0.1 * shape * rng.standard_normal(len(time_axis))).astype(np.float32))
    return made


def read_all(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted(folder.iterdir()):
        yield path.name, soundfile.read(path, dtype="float32")[0]


class Ours:
    """In batches."""

    def __init__(self, folder: Path) -> None:
        names = {path.stem: str(path) for path in sorted((folder / "utterances").iterdir())}
        write_data_dir(folder / "data", names, dict.fromkeys(names, "speaker"))
        self.store = WaveStore(DataDir.load(folder / "data", need=["wav.scp"]), RATE)
        write_bank(folder / "bank", {kind: read_all(folder / kind) for kind in KINDS[1:]}, RATE)
        bank = read_bank(folder / "bank", RATE)
        config = AugmentConfig.read(ROOT / "conf/augment/voxceleb_trainer.yaml")
        self.augmentation = config.build(bank, RATE)
        self.front_end = Fbank(num_mel_bins=80)

    @torch.inference_mode()
    def run(self, batches: int) -> Parts:
        rng, clock = np.random.default_rng(0), Stopwatch()
        for _ in range(batches):
            clock.start()
            indices = rng.integers(len(self.store), size=BATCH)
            starts = rng.integers(self.store.lengths[indices] - CROP + 1)
            crops = torch.empty(BATCH, CROP, dtype=torch.int16)
            out = crops.numpy()
            for row, (index, start) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
                self.store.crop16(index, start, out[row])
            waves = crops.float().mul_(1 / 32768)
            clock.stop("reading")
            plan, _ = self.augmentation.plan(rng, np.arange(BATCH), CROP, (200, 80), BATCH)
            waves = self.augmentation.change_waves(waves, plan, CROP)
            clock.stop("effects")
            self.front_end(waves)
            clock.stop("fbank")
        return clock.each(batches * BATCH)


class Classical:
    """Utterance by utterance, as voxceleb_trainer's loader does it."""

    def __init__(self, folder: Path, read: Callable[[np.random.Generator, str], np.ndarray]) -> None:
        self.files = {kind: sorted(map(str, (folder / kind).iterdir())) for kind in KINDS}
        self.read, self.front_end = read, Fbank(num_mel_bins=80)

    @torch.inference_mode()
    def run(self, examples: int, fbank: Callable[[np.ndarray], torch.Tensor]) -> Parts:
        rng, clock = np.random.default_rng(0), Stopwatch()
        for _ in range(examples):
            clock.start()
            audio = self.read(rng, self.files["utterances"][rng.integers(len(self.files["utterances"]))])
            clock.stop("reading")
            kind = ("none", "room", *NOISES)[rng.integers(5)]
            if kind == "room":
                audio = self.reverberate(rng, audio)
            elif kind != "none":
                audio = self.add_noise(rng, audio, kind)
            clock.stop("effects")
            fbank(audio)
            clock.stop("fbank")
        return clock.each(examples)

    def reverberate(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        response, _ = soundfile.read(self.files["room"][rng.integers(len(self.files["room"]))])
        response /= np.sqrt(np.sum(response**2))
        return scipy.signal.convolve(audio, response, mode="full")[:CROP]

    def add_noise(self, rng: np.random.Generator, audio: np.ndarray, kind: str) -> np.ndarray:
        (fewest, most), limits = NOISES[kind]
        mixed = audio.copy()
        for number in rng.choice(len(self.files[kind]), rng.integers(fewest, most + 1), replace=False):
            noise = self.read(rng, self.files[kind][number])
            mixed += 10 ** ((decibel(audio) - decibel(noise) - rng.uniform(*limits)) / 20) * noise
        return mixed

    def their_fbank(self, audio: np.ndarray) -> torch.Tensor:
        wave = torch.from_numpy(audio.astype(np.float32))[None] * 32768
        return kaldi.fbank(wave, num_mel_bins=80, sample_frequency=RATE)

    def our_fbank(self, audio: np.ndarray) -> torch.Tensor:
        return self.front_end(torch.from_numpy(audio.astype(np.float32))[None])


def decibel(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples**2) + 1e-4)


def read_whole(rng: np.random.Generator, path: str) -> np.ndarray:
    samples, _ = soundfile.read(path)
    if len(samples) <= CROP:
        samples = np.pad(samples, (0, CROP - len(samples) + 1), mode="wrap")
    first = int(rng.random() * (len(samples) - CROP))
    return samples[first : first + CROP]


def read_crop(rng: np.random.Generator, path: str) -> np.ndarray:
    with soundfile.SoundFile(path) as file:
        if len(file) > CROP:
            file.seek(int(rng.integers(len(file) - CROP)))
        samples = file.read(CROP)
    return samples if len(samples) == CROP else np.pad(samples, (0, CROP - len(samples)), mode="wrap")


class Stopwatch:
    """Seconds of CPU time of each part of something, which other programs on the machine do not lengthen."""

    def __init__(self) -> None:
        self._parts: Parts = defaultdict(float)
        self._last = 0.0

    def start(self) -> None:
        self._last = time.process_time()

    def stop(self, part: str) -> None:
        now = time.process_time()
        self._parts[part] += now - self._last
        self._last = now

    def each(self, examples: int) -> Parts:
        return {part: seconds / examples for part, seconds in self._parts.items()}


def measure(functions: dict[str, Callable[[], Parts]], repeats: int) -> dict[str, Parts]:
    """Return the median of each part of each function; they are called in turns."""
    times: dict[str, list[Parts]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            parts = function()
            if repeat:  # the first round fills the page cache
                times[name].append(parts)
    return {
        name: {part: statistics.median(each[part] for each in found) for part in found[0]}
        for name, found in times.items()
    }


if __name__ == "__main__":
    main()
