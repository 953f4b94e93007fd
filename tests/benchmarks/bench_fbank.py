#!/usr/bin/env python3
"""Stage 1 against torchaudio.compliance.kaldi.fbank called file by file, in turns, on the same 600 s of audio.

Both read wav files and write archive and scp, in one process on one thread. CPU seconds exclude starting the
interpreter and importing. Prints audio seconds per CPU second of each, and their ratio.

    python3 tests/benchmarks/bench_fbank.py --repeats 7
"""

import argparse
import importlib.util
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

SECONDS, FILES = 10, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bins", type=int, default=80)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        config = data / "conf.yaml"
        config.write_text(f"type: fbank\nnum_mel_bins: {args.bins}\n")
        script = load_script()

        def ours() -> None:
            sys.argv = ["make_fbank.py", str(data), "--config", str(config)]
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                script.main()

        def theirs() -> None:
            with kaldiio.WriteHelper(f"ark,scp:{data}/peer.ark,{data}/peer.scp") as writer:
                for line in (data / "wav.scp").read_text().splitlines():
                    key, path = line.split()
                    samples, rate = soundfile.read(path, dtype="int16")
                    wave = torch.from_numpy(samples.astype(np.float32))[None]
                    writer(key, fbank(wave, num_mel_bins=args.bins, sample_frequency=rate, snip_edges=False).numpy())

        times = measure([ours, theirs], args.repeats)
        check_equal(data)
    for name, seconds in zip(["steps/make_fbank.py", "torchaudio per file"], times, strict=True):
        speeds = sorted(SECONDS * FILES / second for second in seconds)
        print(
            f"{name:20s} {statistics.median(speeds):6.0f} audio s per CPU s"
            f"   (lowest {speeds[0]:.0f}, highest {speeds[-1]:.0f})"
        )
    ratios = sorted(peer / own for own, peer in zip(*times, strict=True))
    print(f"ratio, pair by pair: median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def make_data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(FILES):
        path = folder / f"s{number:02d}.wav"
        soundfile.write(path, (3000 * rng.standard_normal(SECONDS * 16000)).astype(np.int16), 16000)
        lines.append(f"s{number:02d} {path}\n")
    (folder / "wav.scp").write_text("".join(lines))
    (folder / "utt2spk").write_text("".join(f"s{number:02d} s{number:02d}\n" for number in range(FILES)))
    return folder


def load_script() -> object:
    spec = importlib.util.spec_from_file_location("make_fbank", ROOT / "steps/make_fbank.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(functions: list[Callable[[], None]], repeats: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for own, function in zip(times, functions, strict=True):
            start = time.process_time()
            function()
            if repeat:  # the first round warms the caches
                own.append(time.process_time() - start)
    return times


def check_equal(data: Path) -> None:
    own, peer = (kaldiio.load_scp(str(data / name)) for name in ("feats.scp", "peer.scp"))
    assert set(own) == set(peer)
    for key in own:
        np.testing.assert_allclose(own[key], peer[key], atol=5e-3)


if __name__ == "__main__":
    main()
