#!/usr/bin/env python3
"""Print what a training step of each cosine softmax costs, against the same loss written with one-hot matrices.

Time is the median of runs that alternate between the two. Memory is what forward and backward add at their peak, the
gradient of the weights included; on a CPU it is measured in a process of its own.

Example: tests/benchmarks/bench_heads.py --threads 1
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src")]

import torch
from torch.nn import functional

from vouch.losses import LOSSES, SpeakerLoss

HEADS = ("coco", "amsoftmax", "aamsoftmax", "subcenter_aamsoftmax")
MIB = 2**20


def enlarged(cosine: torch.Tensor, angle: float) -> torch.Tensor:
    """Cosine of the angle increased by so much, for a whole matrix."""
    return cosine * math.cos(angle) - (1.0 - cosine.square()).clamp(1e-14, 1.0).sqrt() * math.sin(angle)


def one_hot(columns: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Matrix with ones in the given columns of each row."""
    return torch.zeros_like(like).scatter_(1, columns, 1.0)


def one_hot_loss(loss: SpeakerLoss, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of each head, written with masks over the whole `(batch, speakers)` matrix."""
    name = next(name for name in HEADS if LOSSES[name] is type(loss))
    vectors = loss.centers if name == "coco" else loss.weight
    cosine = functional.linear(functional.normalize(embeddings), functional.normalize(vectors))
    if name == "coco":
        return functional.cross_entropy(loss.scale * cosine, labels)
    if name == "amsoftmax":
        return functional.cross_entropy(loss.scale * (cosine - loss.margin * one_hot(labels[:, None], cosine)), labels)
    drop = loss.margin * math.sin(loss.margin)
    if name == "subcenter_aamsoftmax":
        cosine = cosine.view(len(cosine), -1, loss.subcenters).max(dim=2).values
        drop = 1.0 - math.cos(loss.margin)
    with_margin = torch.where(cosine > -math.cos(loss.margin), enlarged(cosine, loss.margin), cosine - drop)
    own = one_hot(labels[:, None], cosine)
    logits, rest = own * with_margin, 1.0 - own
    if name == "subcenter_aamsoftmax":
        hardest = one_hot((cosine - 3.0 * own).topk(loss.top_k, dim=1).indices, cosine)
        logits = logits + hardest * enlarged(cosine, -loss.top_k_margin * loss.margin / 0.2)
        rest = rest - hardest
    return functional.cross_entropy(loss.scale * (logits + rest * cosine), labels)


def prepare(name: str, options: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Functions that run forward and backward once on the same data, and return the loss."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    loss = LOSSES[name](options.embedding_dim, options.speakers).to(device)
    embeddings = torch.randn(options.batch_size, options.embedding_dim, device=device, requires_grad=True)
    labels = torch.randint(options.speakers, (options.batch_size,), device=device)

    def run(compute: Callable[[], object]) -> float:
        loss.zero_grad()
        embeddings.grad = None
        output = compute()  # held as in training, where the logits give the accuracy
        value = output if isinstance(output, torch.Tensor) else output.loss
        value.backward()
        return value.item()

    return {
        "vouch": lambda: run(lambda: loss(embeddings, labels)),
        "one-hot": lambda: run(lambda: one_hot_loss(loss, embeddings, labels)),
    }


def resident(field: str) -> float:
    """Memory of this process in MiB: "VmRSS" now, "VmHWM" at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def peak_memory(name: str, version: str, options: argparse.Namespace) -> float:
    """Peak of the memory that one step adds, in MiB; on a CPU, call it in a fresh process."""
    small = argparse.Namespace(**{**vars(options), "batch_size": 2, "speakers": 50, "embedding_dim": 4})
    prepare(name, small)[version]()  # what torch takes for itself at the first step
    step = prepare(name, options)[version]
    if options.device == "cpu":
        before = resident("VmRSS")
        step()
        return resident("VmHWM") - before
    torch.cuda.reset_peak_memory_stats(options.device)
    before = torch.cuda.memory_allocated(options.device)
    step()
    return (torch.cuda.max_memory_allocated(options.device) - before) / MIB


def measure(name: str, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Milliseconds and MiB of each version."""
    steps = prepare(name, options)
    values = [step() for step in steps.values()]
    if not math.isclose(*values, rel_tol=1e-4):
        raise RuntimeError(f"{name}: the two versions disagree: {values}")
    times: dict[str, list[float]] = {version: [] for version in steps}
    for _ in range(options.repetitions):
        for version, step in steps.items():
            start = time.perf_counter()
            step()  # reads the loss, and so waits for the device
            if options.device != "cpu":
                torch.cuda.synchronize(options.device)
            times[version].append(1000 * (time.perf_counter() - start))
    results = {}
    for version in steps:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(peak_memory, (name, version, options))
        results[version] = statistics.median(times[version]), memory
    return results


def main() -> None:
    """Measure every head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--speakers", type=int, default=18000, help="classes")
    parser.add_argument("--batch-size", type=int, default=512, help="embeddings in a step")
    parser.add_argument("--embedding-dim", type=int, default=256, help="dimension of the embeddings")
    parser.add_argument("--repetitions", type=int, default=9, help="timed runs of each version")
    options = parser.parse_args()
    print(f"{'head':<22}{'version':<10}{'step, ms':>10}{'peak, MiB':>12}")
    for name in HEADS:
        results = measure(name, options)
        for version, (milliseconds, memory) in results.items():
            print(f"{name:<22}{version:<10}{milliseconds:>10.1f}{memory:>12.1f}")
        time_ratio, memory_ratio = (old / new for new, old in zip(*results.values(), strict=True))
        print(f"{name:<22}{'ratio':<10}{time_ratio:>10.2f}{memory_ratio:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
