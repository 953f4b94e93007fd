#!/usr/bin/env python3
"""Print how fast each network trains on 2 s crops and embeds 4 s crops, on random features or waveforms.

Example: tests/benchmarks/bench_models.py --threads 1
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src")]

import torch
from torch import nn

from vouch.losses import LOSSES
from vouch.models import MODELS

SPEAKERS = 5994
TRAINING_SECONDS, EXTRACTION_SECONDS = 2, 4
# Of the published systems; other networks are measured with 40.
BINS = {"resnetse34": 257, "resnetse34v2": 64, "res2netse34": 64, "resnet34": 80, "ecapa_tdnn": 80, "campplus": 80}


def best_time(step: Callable[[], object], repetitions: int, device: torch.device) -> float:
    """Seconds of the fastest of several runs after two to warm up."""
    times = []
    for _ in range(repetitions + 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[2:])


def build(name: str) -> nn.Module:
    """Make a network with its default options."""
    return MODELS[name](BINS.get(name, 40)) if MODELS[name].input_kind == "features" else MODELS[name]()


def draw(model: nn.Module, rows: int, seconds: int) -> torch.Tensor:
    """Return random features, 100 frames a second, or waveforms."""
    shape = (100 * seconds, model.num_bins) if model.input_kind == "features" else (model.sample_rate * seconds,)
    return torch.randn(rows, *shape)


def measure(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Utterances per second of a training step and of extraction."""
    device = torch.device(options.device)
    model = build(name).to(device)
    loss = LOSSES[options.loss](model.embedding_dim, SPEAKERS).to(device)
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()])
    features = draw(model, options.batch_size, TRAINING_SECONDS).to(device)
    labels = torch.arange(options.batch_size, device=device) // loss.utterances_per_speaker

    def train() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            value = loss(model(features), labels).loss
        value.backward()
        optimizer.step()

    crops = draw(model, options.extraction_batch_size, EXTRACTION_SECONDS).to(device)

    def extract() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            model(crops)

    trained = len(features) / best_time(train, options.repetitions, device)
    model.eval()
    return trained, len(crops) / best_time(extract, options.repetitions, device)


def main() -> None:
    """Measure the networks asked for."""
    defaults_in_help = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=defaults_in_help)
    parser.add_argument("models", nargs="*", help="names of networks; all when none is given")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--loss", choices=list(LOSSES), default="aamsoftmax", help="loss to train with")
    parser.add_argument("--batch-size", type=int, default=32, help="utterances in a training step")
    parser.add_argument("--extraction-batch-size", type=int, default=10, help="utterances embedded at once")
    parser.add_argument("--repetitions", type=int, default=6, help="timed runs; the fastest counts")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'model':<14}{'training 2 s, utt/s':>22}{'extraction 4 s, utt/s':>24}")
    for name in options.models or MODELS:
        trained, extracted = measure(name, options)
        print(f"{name:<14}{trained:>22.1f}{extracted:>24.1f}", flush=True)


if __name__ == "__main__":
    main()
