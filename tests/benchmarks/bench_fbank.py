#!/usr/bin/env python3
"""Stage 1 against torchaudio.compliance.kaldi.fbank called file by file, in turns, on the same 2,400 s of audio.

Each contender is a process of its own with one thread for arithmetic, and reads 240 wav files (or FLAC) and writes
archive and scp. CPU seconds exclude starting the interpreter and importing. Prints seconds of audio per CPU second, as
multiples of torchaudio's, pair by pair; how FLAC compares with decoding alone, in elapsed time; and how the memory
grows when there are five times as many files.

    python3 tests/benchmarks/bench_fbank.py --repeats 7
"""

import argparse
import importlib.util
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "utils")]

import kaldiio
import numpy as np
import soundfile
import torch
from torchaudio.compliance.kaldi import fbank

SECONDS, FILES, MORE = 10, 240, 5
# Options of a feature and of the script, by the name that is printed.
CONTENDERS = {
    "fbank": ("type: fbank\nnum_mel_bins: {bins}", []),
    "fbank, dither 1": ("type: fbank\nnum_mel_bins: {bins}\ndither: 1", []),
    "fbank, 8-bit archive": ("type: fbank\nnum_mel_bins: {bins}", ["--compress", "8bit"]),
    "mfcc30": ("type: mfcc\nnum_mel_bins: 30\nnum_ceps: 30\nhigh_freq: 7600", []),
}


class Worker:
    """A process that runs one function again and again and says how long it took."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._serve, args=(function, theirs))
        self._process.start()

    @staticmethod
    def _serve(function: Callable[[], None], pipe: multiprocessing.connection.Connection) -> None:
        torch.set_num_threads(1)
        while pipe.recv():
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            pipe.send((cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))

    def run(self) -> tuple[float, float, float]:
        """Run once; return CPU seconds, elapsed seconds, and the most memory that there was so far in MiB."""
        self._pipe.send(True)
        return self._pipe.recv()

    def stop(self) -> None:
        self._pipe.send(False)
        self._process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bins", type=int, default=80)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wavs = make_recordings(Path(folder), "wav")
        flacs = make_recordings(Path(folder), "flac")
        functions = {"torchaudio per file": lambda: run_peer(wavs, Path(folder), args.bins)}
        for name, (config, options) in CONTENDERS.items():
            data = make_data(Path(folder) / name, wavs, config.format(bins=args.bins))
            functions[name] = make_stage(data, options)
        plain = CONTENDERS["fbank"][0].format(bins=args.bins)
        functions["FLAC decoding alone"] = lambda: [soundfile.read(path, dtype="float32") for path in flacs]
        functions["fbank from FLAC"] = make_stage(make_data(Path(folder) / "flac", flacs, plain), [])
        results = measure(functions, args.repeats)
        check_equal(Path(folder) / "peer.scp", Path(folder) / "fbank/feats.scp")
        few, many = (
            peak_memory(make_stage(make_data(Path(folder) / f"m{times}", wavs * times, plain), []))
            for times in (1, MORE)
        )
    report(results)
    print(f"memory: {few:.0f} MiB for {FILES} files, {many:.0f} MiB for {MORE * FILES}")


def report(results: dict[str, list[tuple[float, float, float]]]) -> None:
    cpu = {name: [seconds for seconds, *_ in measured] for name, measured in results.items()}
    wall = {name: [seconds for _, seconds, _ in measured] for name, measured in results.items()}
    peer = cpu["torchaudio per file"]
    print("seconds of audio per CPU second: median, best; times torchaudio's: median of the rounds, best to best")
    for name, own in cpu.items():
        ratio = statistics.median(theirs / ours for ours, theirs in zip(own, peer, strict=True))
        speeds = f"{SECONDS * FILES / statistics.median(own):6.0f} {SECONDS * FILES / min(own):6.0f}"
        print(f"{name:22s} {speeds}   {ratio:5.2f} {min(peer) / min(own):5.2f}")
    decoding, stage = "FLAC decoding alone", "fbank from FLAC"
    shares = [alone / own for own, alone in zip(wall[stage], wall[decoding], strict=True)]
    print(f"from FLAC, elapsed: {statistics.median(shares):.0%} of the speed of decoding alone, best {max(shares):.0%}")
    share = min(cpu[stage]) / (min(cpu[decoding]) + min(cpu["fbank"]))
    print(f"from FLAC, CPU: {share:.0%} of the time of decoding and of the features from wav together")


def make_recordings(folder: Path, kind: str) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"s{number:02d}.{kind}" for number in range(FILES)]
    for path in paths:
        soundfile.write(path, (3000 * rng.standard_normal(SECONDS * 16000)).astype(np.int16), 16000)
    return paths


def make_data(folder: Path, paths: list[Path], config: str) -> Path:
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"s{number:05d} {path}\n" for number, path in enumerate(paths)))
    (folder / "utt2spk").write_text("".join(f"s{number:05d} s{number:05d}\n" for number in range(len(paths))))
    (folder / "conf.yaml").write_text(f"{config}\n")
    return folder


def make_stage(data: Path, options: list[str]) -> Callable[[], None]:
    def stage() -> None:
        script = load_script()
        sys.argv = ["make_fbank.py", str(data), "--config", str(data / "conf.yaml"), *options]
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            script.main()

    return stage


def load_script() -> object:
    spec = importlib.util.spec_from_file_location("make_fbank", ROOT / "steps/make_fbank.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_peer(paths: list[Path], folder: Path, bins: int) -> None:
    with kaldiio.WriteHelper(f"ark,scp:{folder}/peer.ark,{folder}/peer.scp") as writer:
        for number, path in enumerate(paths):
            samples, rate = soundfile.read(path, dtype="int16")
            wave = torch.from_numpy(samples.astype(np.float32))[None]
            matrix = fbank(wave, num_mel_bins=bins, sample_frequency=rate, snip_edges=False)
            writer(f"s{number:05d}", matrix.numpy())


def measure(functions: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[tuple[float, float, float]]]:
    load_script()  # imported before the processes are made
    workers = {name: Worker(function) for name, function in functions.items()}
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, worker in workers.items():
            measured = worker.run()
            if repeat:  # the first round warms the caches
                results[name].append(measured)
    for worker in workers.values():
        worker.stop()
    return results


def peak_memory(function: Callable[[], None]) -> float:
    worker = Worker(function)
    _, _, memory = worker.run()
    worker.stop()
    return memory


def check_equal(peer_scp: Path, own_scp: Path) -> None:
    own, peer = (kaldiio.load_scp(str(scp)) for scp in (own_scp, peer_scp))
    assert set(own) == set(peer)
    for key in own:
        np.testing.assert_allclose(own[key], peer[key], atol=5e-3)


if __name__ == "__main__":
    main()
