#!/usr/bin/env python3
"""Gathering training crops of 200 frames x 80 bands from the archives of 2,000 utterances, on one thread.

Prints crops per second of CPU and of clock time for float, double and compressed archives and for .npy files, and the
ratio to reading each whole matrix with kaldiio and slicing it, in turns in the same run.

    python3 tests/benchmarks/bench_crops.py --repeats 5
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import kaldiio
import numpy as np
from turns import measure

from vouch.kaldi.matrices.writing import open_entries
from vouch.kaldi.tables import write_table
from vouch.training.data import TrainingSet

UTTERANCES, SPEAKERS, BINS, FRAMES = 2000, 100, 80, 200
BATCH = 256
KINDS = ("float", "double", "8bit", "16bit", "8bit-linear", "npy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=int, default=10_240, help="crops a measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            data = make_data(Path(folder) / kind, kind)
            functions = [lambda data=data: gather(data, args.crops)]
            if kind != "npy":
                functions.append(lambda data=data: slice_whole(data, args.crops // 16))
            own, *peer = measure(functions, args.repeats)
            clock, cpu = (statistics.median(args.crops / pair[index] for pair in own) for index in (0, 1))
            line = f"{kind:11s} {clock:8.0f} crops per second, {cpu:8.0f} per CPU second"
            if peer:
                slow = statistics.median(args.crops // 16 / pair[0] for pair in peer[0])
                line += f"; {clock / slow:.1f} times kaldiio's whole matrices, sliced"
            print(line)


def make_data(folder: Path, kind: str) -> TrainingSet:
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = [f"s{number % SPEAKERS:03d}-{number:04d}" for number in range(UTTERANCES)]
    matrices = ((name, rng.standard_normal((int(rng.integers(300, 1300)), BINS)).astype(np.float32)) for name in names)
    if kind == "npy":
        table = {}
        for name, matrix in matrices:
            np.save(folder / f"{name}.npy", matrix)
            table[name] = str(folder / f"{name}.npy")
        write_table(folder / "feats.scp", table)
    else:
        compression = "none" if kind in ("float", "double") else kind
        with open_entries(f"ark,scp:{folder}/feats.ark,{folder}/unsorted.scp", compression) as writer:
            for name, matrix in matrices:
                writer.write(name, matrix.astype("f8") if kind == "double" else matrix)
        lines = (folder / "unsorted.scp").read_text().splitlines()
        write_table(folder / "feats.scp", dict(line.split(" ", 1) for line in lines))
    write_table(folder / "utt2spk", {name: name[:4] for name in names})
    return TrainingSet(folder)


def gather(data: TrainingSet, crops: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(crops // BATCH):
        data.gather(rng.integers(0, UTTERANCES, BATCH), FRAMES, rng)


def slice_whole(data: TrainingSet, crops: int) -> None:
    rng = np.random.default_rng(1)
    lines = data.store.path.read_text().splitlines()
    for index in rng.integers(0, UTTERANCES, crops):
        matrix = kaldiio.load_mat(lines[index].split()[1])
        start = int(rng.integers(0, len(matrix) - FRAMES + 1))
        np.array(matrix[start : start + FRAMES])


if __name__ == "__main__":
    main()
