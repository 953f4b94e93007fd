#!/usr/bin/env python3
"""Data directories of the size of VoxCeleb 2: 1,092,009 utterances of 5,994 speakers, with short simulated features.

Makes the directory in a temporary folder and prints seconds and peak memory of checking it, of cutting it into 64
parts, of `DataDir.load`, and of opening the training set, each in a process of its own.

    python3 tests/benchmarks/bench_scale.py --utterances 1092009
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np

from vouch.base.files import atomic_write
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.matrices.compression import compress

SPEAKERS, BINS, ARCHIVES = 5994, 8, 32
IMPORTS = """import sys; sys.path.insert(0, {src!r})
import vouch.training.data as b, vouch.kaldi.datadirs.datadir as d
"""
# Resident memory also counts the pages of libraries and mapped archives, which the system can take back at any time.
ANONYMOUS = """
kilobytes = [line.split()[1] for line in open('/proc/self/status') if line.startswith('RssAnon')]
print(f"of the memory in the next line, {int(kilobytes[0]) / 1e6:.2f} GB are no file's")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_092_009)
    parser.add_argument("--frames", type=int, default=20, help="of each utterance, 8 bytes each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train"
        # Not in this process: Linux counts the memory of a process as that of those it starts.
        making = multiprocessing.Process(target=make_data, args=(path, args.utterances, args.frames))
        making.start()
        making.join()
        imports = IMPORTS.format(src=str(ROOT / "src"))
        utils = f"{ROOT}/utils"
        measure("validate", [f"{utils}/validate_data_dir.py", "--no-text", "--no-wav", str(path)])
        measure("split into 64 parts", [f"{utils}/split_data.py", str(path), "64"])
        measure("fix, with nothing to mend", [f"{utils}/fix_data_dir.py", str(path)])
        measure("choose 100,000", [f"{utils}/subset_data_dir.py", str(path), "100000", f"{folder}/part"])
        measure("import torch and the library", ["-c", imports + ANONYMOUS])
        measure("DataDir.load", ["-c", f"{imports}kept = d.DataDir.load({str(path)!r}, ['feats.scp'])" + ANONYMOUS])
        measure("TrainingSet", ["-c", f"{imports}kept = b.TrainingSet({str(path)!r})" + ANONYMOUS])


def make_data(path: Path, utterances: int, frames: int) -> None:
    """Write utt2spk, spk2utt, feats.scp, utt2num_frames and compressed archives with the same matrix in all places."""
    entry = b"\0B" + compress(np.random.default_rng(0).standard_normal((frames, BINS)).astype(np.float32), "8bit")
    names = [f"id{1 + n * SPEAKERS // utterances:05d}-video{n % 997:06d}-{n:07d}" for n in range(utterances)]
    names.sort()
    write_data_dir(path, {}, {name: name[:7] for name in names})
    with atomic_write(path / "feats.scp") as scp:
        for archive in range(ARCHIVES):
            chosen = names[archive * len(names) // ARCHIVES : (archive + 1) * len(names) // ARCHIVES]
            with atomic_write(path / f"feats.{archive + 1}.ark", "wb") as ark:
                for name in chosen:
                    ark.write(name.encode() + b" ")
                    scp.write(f"{name} {path}/feats.{archive + 1}.ark:{ark.tell()}\n")
                    ark.write(entry)
    with atomic_write(path / "utt2num_frames") as table:
        table.writelines(f"{name} {frames}\n" for name in names)


def measure(what: str, words: list[str]) -> None:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{what}: failed")
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{what}: {seconds:.1f} s, {cpu:.1f} s of CPU, {usage.ru_maxrss / 1e6:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
