#!/usr/bin/env python3
"""Reading training crops of 2 s at 16 kHz from 500 recordings of 5 to 15 s, on one thread, files in the page cache.

Prints int16 crops per second of clock and of CPU time from wav files, wav files in an archive, FLAC and m4a. Beside
them, in turns in the same run: the float crops, and the classical way, in which soundfile opens the file, seeks and
reads; for m4a, PyAV decodes the whole file.

    python3 tests/benchmarks/bench_wave_crops.py --repeats 5
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import av
import numpy as np
import soundfile
import torch
from turns import measure

from vouch.audio.pcm16 import to_pcm16
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.tables import read_table, write_table
from vouch.stores.waves import WaveStore

UTTERANCES, RATE, SECONDS = 500, 16000, 2
BATCH = 200
Crop = Callable[[int, int, np.ndarray], None]
# Share of the crops that are measured: decoding is slower.
KINDS = {"wav": 1.0, "ark": 1.0, "flac": 0.1, "m4a": 0.02}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=int, default=20_000, help="crops a measurement; fewer from flac and m4a")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for kind, share in KINDS.items():
            store = make_store(Path(folder) / kind, kind)
            crops = max(BATCH, int(args.crops * share) // BATCH * BATCH)
            ways = {"int16": (store.crop16, torch.int16)}
            if kind == "m4a":
                ways["whole"] = (decode_whole(store), torch.int16)
            else:
                ways["float"] = (store.crop, torch.float32)
            if kind in ("wav", "flac"):
                ways["soundfile"] = (seek_and_read(store), torch.int16)
            functions = [partial(gather, crop, store, crops, dtype) for crop, dtype in ways.values()]
            for way, times in zip(ways, measure(functions, args.repeats), strict=True):
                clock, cpu = (statistics.median(crops / pair[index] for pair in times) for index in (0, 1))
                print(f"{kind:5s} {way:10s} {clock:8.0f} crops per second, {cpu:8.0f} per CPU second", flush=True)


def make_store(folder: Path, kind: str) -> WaveStore:
    rng = np.random.default_rng(0)
    folder.mkdir()
    wav_scp, lengths = {}, {}
    for number in range(UTTERANCES):
        name = f"s{number % 50:02d}-{number:03d}"
        path = folder / f"{name}.{'wav' if kind == 'ark' else kind}"
        samples = make_voice(rng, int(rng.uniform(5, 15) * RATE))
        if kind == "m4a":
            encode(path, samples)
        else:
            soundfile.write(path, samples, RATE)
        wav_scp[name], lengths[name] = str(path), str(len(samples))
    if kind == "ark":
        with open(folder / "wav.ark", "wb") as archive:
            for name, path in wav_scp.items():
                archive.write(f"{name} ".encode())
                wav_scp[name] = f"{folder}/wav.ark:{archive.tell()}"
                archive.write(Path(path).read_bytes())
    write_data_dir(folder, wav_scp, {name: name[:3] for name in wav_scp})
    write_table(folder / "utt2num_samples", lengths)
    return WaveStore(DataDir.load(folder, need=["wav.scp"]), RATE)


def encode(path: Path, samples: np.ndarray) -> None:
    """Write an m4a file as ffmpeg would."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        for first in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_voice(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Return a buzz with noise, which FLAC compresses about as well as speech."""
    pulses = np.cumsum(rng.normal(120, 2, samples)) * (2 * np.pi / RATE)
    buzz = sum(np.sin(harmonic * pulses) / harmonic for harmonic in range(1, 12))
    loudness = 0.02 + 0.1 * np.abs(np.sin(np.arange(samples) * (2 * np.pi * 2 / RATE)))
    return (loudness * buzz + 0.003 * rng.standard_normal(samples)).astype(np.float32)


def gather(crop: Crop, store: WaveStore, crops: int, dtype: torch.dtype) -> None:
    """Cut random crops, batch by batch, as `vouch.training.data.TrainingSet.gather` does."""
    rng = np.random.default_rng(1)
    for _ in range(crops // BATCH):
        batch = torch.empty(BATCH, SECONDS * RATE, dtype=dtype)
        out = batch.numpy()
        indices = rng.integers(0, UTTERANCES, BATCH)
        starts = (rng.random(BATCH) * (store.lengths[indices] - SECONDS * RATE + 1)).astype(np.int64)
        for row, (index, start) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
            crop(index, start, out[row])


def seek_and_read(store: WaveStore) -> Crop:
    paths = list(read_table(store.path).values())

    def crop(index: int, start: int, out: np.ndarray) -> None:
        with soundfile.SoundFile(paths[index]) as sound:
            sound.seek(start)
            sound.read(len(out), out=out)

    return crop


def decode_whole(store: WaveStore) -> Crop:
    paths = list(read_table(store.path).values())

    def crop(index: int, start: int, out: np.ndarray) -> None:
        with av.open(paths[index]) as container:
            whole = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        out[:] = to_pcm16(whole[start : start + len(out)])

    return crop


if __name__ == "__main__":
    main()
