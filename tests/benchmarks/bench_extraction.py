#!/usr/bin/env python3
"""Print how long extraction takes on a CPU, beside ONNX Runtime on the same network exported to ONNX.

Both get features of 4 s and one thread, and take turns, so that what else the machine does slows both. In its turn a
network runs several times, as it does over a corpus, and the first run does not count: it brings back into the caches
what the others drove out. "plain" is the network as it is trained, "folded" the network as stage 4 runs it, with its
batch normalisation folded into its convolutions. A batch of 1 is a single request, the other is what stage 4 makes of
utterances of 4 s. With --lengths utterances of 2 to 9 s go through stage 4's batches, padded to few sizes or each to
its longest. Needs packages that nothing else here does:

    pip install --target /tmp/onnx onnx onnxruntime onnxscript
    PYTHONPATH=/tmp/onnx tests/benchmarks/bench_extraction.py
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name) for name in ("src", "utils")]

import numpy as np
import torch
from torch import nn

from vouch.cli.stage import keep_freed_memory
from vouch.deploy.folding import fold_batch_norm
from vouch.encoder import Encoder, EncoderConfig
from vouch.extraction import embed as embedding

try:
    import onnxruntime
    import onnxscript  # noqa: F401  torch.onnx needs it
except ImportError as error:
    sys.exit(f"{error}; pip install --target /tmp/onnx onnx onnxruntime onnxscript, then PYTHONPATH=/tmp/onnx")

FRAMES = 400
# Of a network, in each of its turns.
RUNS = 5
BINS = {"resnetse34l": 40, "resnet34": 80}
Run = Callable[[], np.ndarray]


def build(name: str) -> Encoder:
    """Make an encoder with the statistics that its batch normalisations might have after training."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.from_dict({"model": {"name": name}, "num_bins": BINS[name]})).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return encoder


def runtime(network: nn.Module, features: torch.Tensor) -> Run:
    """Return the exported network's run on features, in one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (features.clone(),), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: features.numpy()}
    return lambda: session.run(None, given)[0]


def torch_run(network: nn.Module, features: torch.Tensor) -> Run:
    """Return a network's run on features."""

    def run() -> np.ndarray:
        with torch.inference_mode():
            return network(features).numpy()

    return run


def measure(name: str, rows: int, rounds: int) -> None:
    """Print one line of the table."""
    encoder = build(name)
    features = torch.randn(rows, FRAMES, BINS[name])
    runs = {
        "onnx": runtime(encoder.model, features),
        "plain": torch_run(encoder.model, features),
        "folded": torch_run(fold_batch_norm(encoder).model, features),
    }
    results = {kind: run() for kind, run in runs.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, run in runs.items():
            run()
            # Of this process: what others take of the core is not counted.
            start = time.process_time()
            for _ in range(RUNS):
                run()
            seconds[kind].append((time.process_time() - start) / RUNS)
    each = {kind: 1000 * statistics.median(values) / rows for kind, values in seconds.items()}
    ratios = [folded / onnx for onnx, folded in zip(seconds["onnx"], seconds["folded"], strict=True)]
    difference = np.abs(results["folded"] - results["onnx"]).max() / np.abs(results["onnx"]).max()
    print(
        f"{name:12s} {rows:5d} {each['onnx']:8.1f} {each['plain']:8.1f} {each['folded']:8.1f}"
        f" {statistics.median(ratios):11.2f} {difference:12.1e}"
    )


def measure_lengths(name: str, count: int) -> None:
    """Print one line of the second table."""
    rng = np.random.default_rng(0)
    trained = build(name)
    folded = fold_batch_norm(trained)
    matrices = [rng.standard_normal((frames, BINS[name]), np.float32) for frames in rng.integers(200, 900, count)]
    each = []
    for encoder, step in ((trained, 0.01), (folded, 0.01), (folded, embedding.PADDING_SECONDS)):
        with mock.patch.object(embedding, "PADDING_SECONDS", step):
            embedding.embed_matrices(encoder, matrices[:5])
            start = time.process_time()
            embedding.embed_matrices(encoder, matrices)
            each.append(1000 * (time.process_time() - start) / count)
    print(f"{name:12s} {count:5d} {each[0]:8.1f} {each[1]:8.1f} {each[2]:8.1f}")


def main() -> None:
    """Measure the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(BINS), choices=BINS)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--lengths", type=int, default=0, help="also so many utterances of 2 to 9 s (default: 0)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    keep_freed_memory()
    print("ms of processor time an utterance of 4 s, one thread; difference relative to the largest value")
    heads = f"{'network':12s} {'batch':>5s} {'onnx':>8s} {'plain':>8s} {'folded':>8s}"
    print(f"{heads} {'folded/onnx':>11s} {'difference':>12s}")
    for name in options.models:
        for rows in (1, int(100 * embedding.BATCH_SECONDS["cpu"]) // FRAMES):
            measure(name, rows, options.rounds)
    if options.lengths:
        print(f"{'network':12s} {'utts':>5s} {'plain':>8s} {'longest':>8s} {'few':>8s}  ms an utterance of 2 to 9 s")
        for name in options.models:
            measure_lengths(name, options.lengths)


if __name__ == "__main__":
    main()
