#!/usr/bin/env python3
"""Reading training crops of 2 s at 16 kHz from 500 recordings of 5 to 15 s, on one thread, files in the page cache.

Prints int16 crops per second of clock time from wav files, wav files in an archive and FLAC, and beside them, in turns
in the same run, the float crops and the classical way: soundfile opens the file, seeks and reads.

    python3 tests/benchmarks/bench_wave_crops.py --repeats 5
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np
import soundfile
import torch

from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.stores.waves import WaveStore

UTTERANCES, RATE, SECONDS = 500, 16000, 2
BATCH = 200
# Crops a batch-sized measurement, relative to --crops: decoding is slower.
KINDS = {"wav": 1.0, "ark": 1.0, "flac": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=int, default=20_000, help="crops a measurement, a tenth of them from FLAC")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for kind, share in KINDS.items():
            store = make_store(Path(folder) / kind, kind)
            crops = max(BATCH, int(args.crops * share) // BATCH * BATCH)
            functions = [
                lambda store=store, crops=crops: gather(store.crop16, store, crops, torch.int16),
                lambda store=store, crops=crops: gather(store.crop, store, crops, torch.float32),
            ]
            if kind != "ark":
                functions.append(lambda store=store, crops=crops: gather(classical(store), store, crops, torch.int16))
            own, *others = (crops / seconds for seconds in measure(functions, args.repeats))
            line = f"{kind:5s} {own:8.0f} int16 crops per second; {others[0]:8.0f} as float"
            print(line + "".join(f"; {other:8.0f} with soundfile" for other in others[1:]), flush=True)


def make_store(folder: Path, kind: str) -> WaveStore:
    rng = np.random.default_rng(0)
    folder.mkdir()
    wav_scp = {}
    for number in range(UTTERANCES):
        name, suffix = f"s{number % 50:02d}-{number:03d}", "flac" if kind == "flac" else "wav"
        path = folder / f"{name}.{suffix}"
        soundfile.write(path, make_voice(rng, int(rng.uniform(5, 15) * RATE)), RATE)
        wav_scp[name] = str(path)
    if kind == "ark":
        with open(folder / "wav.ark", "wb") as archive:
            for name, path in wav_scp.items():
                archive.write(f"{name} ".encode())
                wav_scp[name] = f"{folder}/wav.ark:{archive.tell()}"
                archive.write(Path(path).read_bytes())
                Path(path).unlink()
    write_data_dir(folder, wav_scp, {name: name[:3] for name in wav_scp})
    return WaveStore(DataDir.load(folder, need=["wav.scp"]), RATE)


def make_voice(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Return a buzz with noise, which FLAC compresses about as well as speech."""
    pulses = np.cumsum(rng.normal(120, 2, samples)) * (2 * np.pi / RATE)
    buzz = sum(np.sin(harmonic * pulses) / harmonic for harmonic in range(1, 12))
    loudness = 0.02 + 0.1 * np.abs(np.sin(np.arange(samples) * (2 * np.pi * 2 / RATE)))
    return (loudness * buzz + 0.003 * rng.standard_normal(samples)).astype(np.float32)


def gather(crop: Callable[[int, int, np.ndarray], None], store: WaveStore, crops: int, dtype: torch.dtype) -> None:
    """Cut random crops, batch by batch, as `vouch.training.data.TrainingSet.gather` does."""
    rng = np.random.default_rng(1)
    for _ in range(crops // BATCH):
        batch = torch.empty(BATCH, SECONDS * RATE, dtype=dtype)
        out = batch.numpy()
        indices = rng.integers(0, UTTERANCES, BATCH)
        starts = (rng.random(BATCH) * (store.lengths[indices] - SECONDS * RATE + 1)).astype(np.int64)
        for row, (index, start) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
            crop(index, start, out[row])


def classical(store: WaveStore) -> Callable[[int, int, np.ndarray], None]:
    paths = [line.split(maxsplit=1)[1] for line in store.path.read_text().splitlines()]

    def crop(index: int, start: int, out: np.ndarray) -> None:
        with soundfile.SoundFile(paths[index]) as sound:
            sound.seek(start)
            sound.read(len(out), out=out)

    return crop


def measure(functions: list[Callable[[], None]], repeats: int) -> list[float]:
    """Return the median seconds of each function, called in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for own, function in zip(times, functions, strict=True):
            clock = time.perf_counter()
            function()
            if repeat:  # the first round fills the page cache
                own.append(time.perf_counter() - clock)
    return [statistics.median(own) for own in times]


if __name__ == "__main__":
    main()
