#!/usr/bin/env python3
"""Print what a training step costs and how exact its gradient is, for three ways to normalise batches.

"as trained" is the network as it is; "torch's own kernel" the same with torch's batch normalisation, which adds up
channels_last images inexactly on a CPU; "contiguous" has all images in torch's other layout. Steps alternate between
them. The error is that of the whole gradient against float64, relative to its norm. Features are smooth noise, or those
of a data directory, each utterance with its mean subtracted.

Example: tests/benchmarks/bench_batch_norm.py --batch-size 64 --threads 1 --data egs/folders/data/train
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
import torch
from layouts import KINDS, Step, change_layout, error, smooth_noise

from vouch.losses import LOSSES
from vouch.models import MODELS
from vouch.stores.features import FeatureStore

FRAMES = 200


def crops(data: Path, rows: int) -> torch.Tensor:
    """`(rows, FRAMES, bins)` from the beginning of the first long enough utterances."""
    store = FeatureStore(data / "feats.scp")
    found = []
    for position in np.flatnonzero(np.asarray(store.lengths) >= FRAMES)[:rows]:
        crop = torch.from_numpy(np.array(store.matrix(int(position))[:FRAMES], dtype=np.float32))
        found.append(crop - crop.mean(dim=0))
    return torch.stack(found)


def seconds(name: str, features: torch.Tensor, labels: torch.Tensor, rounds: int) -> dict[str, float]:
    """Median time of a training step of each kind, one after the other in every round."""
    steps = {}
    for kind in KINDS:
        torch.manual_seed(0)
        network = MODELS[name](features.shape[2]).train()
        loss = LOSSES["aamsoftmax"](network.embedding_dim, int(labels.max()) + 1)
        change_layout(network, kind)
        steps[kind] = network, loss, torch.optim.Adam([*network.parameters(), *loss.parameters()])
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds + 1):
        for kind, (network, loss, optimizer) in steps.items():
            start = time.perf_counter()
            optimizer.zero_grad()
            loss(network(features), labels).loss.backward()
            optimizer.step()
            times[kind].append(time.perf_counter() - start)
    return {kind: statistics.median(taken[1:]) for kind, taken in times.items()}


def main() -> None:
    """Measure one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="resnetse34l", help="a network over features")
    parser.add_argument("--batch-size", type=int, default=64, help="utterances in a step")
    parser.add_argument("--bins", type=int, default=40, help="of the smooth noise")
    parser.add_argument("--data", type=Path, help="a data directory with features; smooth noise without it")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each kind")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = options.batch_size
    features = crops(options.data, rows) if options.data else smooth_noise(rows, FRAMES, options.bins)
    labels = torch.arange(len(features)) % 50
    step = Step(options.model, features, labels)
    exact, _ = step.gradient("as trained", torch.float64)
    taken = seconds(options.model, features, labels, options.rounds)
    print(f"{options.model}, batches of {len(features)}, {options.threads} thread(s)")
    print(f"{'':<20}{'step, ms':>10}{'utt/s':>8}{'gradient error':>16}")
    for kind in KINDS:
        wrong = error(step.gradient(kind)[0], exact)
        print(f"{kind:<20}{1000 * taken[kind]:>10.0f}{len(features) / taken[kind]:>8.1f}{100 * wrong:>14.3f} %")


if __name__ == "__main__":
    main()
