#!/usr/bin/env python3
"""Examining the recordings of a data directory, one file each, made in a temporary folder.

Prints the seconds and recordings per second of `utils/validate_data_dir.py --audio`, and the same again when the run
before was interrupted half-way.

    python3 tests/benchmarks/bench_doctor.py --files 10000 --seconds 8 --nj 2
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "utils")]

import numpy as np
import soundfile

from validate_data_dir import RECORD
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.datadirs.examine import examine_audio

SPEAKERS, RATE = 100, 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="mean length of a recording")
    parser.add_argument("--nj", type=int, default=2)
    parser.add_argument("--format", default="wav", choices=("wav", "flac"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        size = make_data(path, args)
        print(f"{args.files} {args.format} files of {args.seconds:g} s, {size / 1e9:.2f} GB, {args.nj} at once")
        report("all", args.files, run(path, args.nj))
        half(path, args)
        report("after an interruption half-way", args.files, run(path, args.nj))


def make_data(path: Path, args: argparse.Namespace) -> int:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(int(2 * args.seconds * RATE)) * 3000).astype(np.int16)
    audio = path.parent / "audio"
    audio.mkdir()
    wav_scp, utt2spk, utt2dur = {}, {}, {}
    for number in range(args.files):
        name = f"s{number % SPEAKERS:03d}-{number:06d}"
        samples = np.roll(noise, number)[: int(rng.uniform(0.5, 1.5) * args.seconds * RATE)]
        wav_scp[name], utt2spk[name] = str(audio / f"{name}.{args.format}"), name[:4]
        utt2dur[name] = len(samples) / RATE
        soundfile.write(wav_scp[name], samples, RATE, subtype="PCM_16")
    write_data_dir(path, wav_scp, utt2spk, utt2dur)
    return sum(file.stat().st_size for file in audio.iterdir())


def run(path: Path, jobs: int) -> float:
    started = time.perf_counter()
    script = ROOT / "utils" / "validate_data_dir.py"
    words = [sys.executable, str(script), "--audio", "--no-feats", "--no-text", "--nj", str(jobs), str(path)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def half(path: Path, args: argparse.Namespace) -> None:
    """Leave the record that a run killed half-way would have left."""
    examine_audio(DataDir.load(path, need=["wav.scp"]), path / RECORD, args.nj)
    lines = (path / RECORD).read_bytes().splitlines(keepends=True)
    (path / RECORD).write_bytes(b"".join(lines[: len(lines) // 2]))


def report(what: str, files: int, seconds: float) -> None:
    print(f"{what}: {seconds:.1f} s, {files / seconds:.0f} files per second")


if __name__ == "__main__":
    main()
