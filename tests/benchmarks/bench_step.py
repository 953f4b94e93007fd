#!/usr/bin/env python3
"""Training steps (ResNetSE34L, AAM-softmax, batch 64, crops of 2 s) from stored features and from augmented waveforms.

Both take turns in the same run, on the CPU, each with its own thread that gathers batches in advance. Prints seconds a
step, the share of it that was spent waiting for data, and the ratio of the medians.

    python3 tests/benchmarks/bench_step.py --steps 12 --augment conf/augment/voxceleb_trainer.yaml

The speech is random numbers, 200 recordings of 4 s, and so are noises and rooms without --bank.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np
import soundfile
import torch

from vouch.augment.bank import Bank, read_bank, write_bank
from vouch.augment.config import AugmentConfig
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.matrices.writing import open_entries
from vouch.training.config import resolve_config
from vouch.training.data import Batch, TrainingSet, prefetch
from vouch.training.experiment import stored_front_end
from vouch.training.setup import Training, set_up
from vouch.training.step import train_step

RATE, SPEAKERS, UTTERANCES, SECONDS = 16000, 40, 200, 4
FEATURE = FrontEndConfig("fbank", {"num_mel_bins": 40, "sample_rate": RATE})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--augment", type=Path, default=ROOT / "conf/augment/voxceleb_trainer.yaml")
    parser.add_argument("--bank", type=Path, help="noises and rooms")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        bank = read_bank(args.bank or make_bank(Path(folder) / "bank"), RATE)
        augment = AugmentConfig.read(args.augment).as_dict()
        kinds = {"stored features": start(data, {}, args), "augmented waveforms": start(data, augment, args, bank)}
        runs = {name: steps(training, args) for name, training in kinds.items()}
        for run in runs.values():
            next(run)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(args.steps):
            for name, run in runs.items():
                taken[name].append(next(run))
        medians = {}
        for name, each in taken.items():
            medians[name] = statistics.median(waited + worked for waited, worked in each)
            waiting = sum(waited for waited, _ in each) / sum(map(sum, each))
            print(f"{name:20s} {medians[name]:.3f} s a step, waiting for data {100 * waiting:.1f} %")
        stored, augmented = medians.values()
        print(f"augmented / stored: {augmented / stored:.3f}")


def make_data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    front_end, data = FEATURE.build(), folder / "data"
    wavs, speakers = {}, {}
    data.mkdir()
    with open_entries(f"ark,scp:{data}/feats.ark,{data}/feats.scp", "none") as writer:
        for number in range(UTTERANCES):
            name = f"s{number * SPEAKERS // UTTERANCES:02d}-{number:03d}"
            samples = (rng.standard_normal(RATE * SECONDS) * 0.1).astype(np.float32)
            wavs[name], speakers[name] = str(folder / f"{name}.wav"), name[:3]
            soundfile.write(wavs[name], samples, RATE)
            writer.write(name, compute(front_end, samples))
    write_data_dir(data, wavs, speakers, dict.fromkeys(wavs, float(SECONDS)))
    return data


def make_bank(folder: Path) -> Path:
    rng = np.random.default_rng(1)

    def noises(count: int, seconds: float) -> Iterator[tuple[str, np.ndarray]]:
        for number in range(count):
            yield str(number), (rng.standard_normal(int(RATE * seconds)) * 0.1).astype(np.float32)

    def rooms(count: int) -> Iterator[tuple[str, np.ndarray]]:
        for name, samples in noises(count, 1.0):
            yield name, samples * np.exp(-np.arange(RATE, dtype=np.float32) / 3000)

    kinds = {"noise": noises(20, 10), "music": noises(5, 30), "speech": noises(20, 10), "room": rooms(20)}
    write_bank(folder, kinds, RATE)
    return folder


def start(data: Path, augment: dict, args: argparse.Namespace, bank: Bank | None = None) -> Training:
    recipe = {"model": "resnetse34l", "loss": "aamsoftmax", "train": {"batch_size": args.batch}, "augment": augment}
    config = resolve_config(recipe, {})
    found = TrainingSet(data, feature=stored_front_end(config, FEATURE))
    return set_up(config, found, None, FEATURE, None, torch.device("cpu"), bank)


def steps(training: Training, args: argparse.Namespace) -> Iterator[tuple[float, float]]:
    """Yield the seconds that each step waited for data, and worked."""
    batches = np.random.default_rng(2).integers(0, UTTERANCES, (args.steps + 2, args.batch))
    source: Iterator[Batch] = prefetch(
        training.data, batches, 0, training.input.piece, (0, 0), False, training.input.draw
    )
    training.begin_learning()
    while True:
        asked = time.perf_counter()
        batch = next(source)
        got = time.perf_counter()
        train_step(training, batch, 0.5)
        yield got - asked, time.perf_counter() - got


if __name__ == "__main__":
    main()
